"""Documents that differ in their attributes only, as those of most arrays of a group do, are parsed once.

Imports spec and compat types only. Invariant: two documents count as alike when every member but the attributes is the
same to the type and the bit, so that what a document means never depends on what was parsed before it.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping

from ..compat import Reading
from ..spec import JSON, ArraySpec

KEPT = 64  # specs; a group has a few kinds of arrays
LARGEST = 16 * 1024  # bytes of a fingerprint


class Alike:
    """The specs parsed last, by the fingerprint of their documents."""

    def __init__(self) -> None:
        self._specs: dict[bytes, ArraySpec] = {}

    def find(self, key: bytes | None) -> ArraySpec | None:
        """Return the spec of a document with this fingerprint, if it is kept."""
        return None if key is None else self._specs.get(key)

    def keep(self, key: bytes | None, spec: ArraySpec) -> ArraySpec:
        """Keep ``spec`` and return it."""
        if key is not None:
            if len(self._specs) >= KEPT:
                self._specs = {}
            self._specs[key] = spec
        return spec


def fingerprint(document: Mapping[str, JSON], reading: Reading) -> bytes | None:
    """Return what all documents alike share: 1, 1.0 and true differ in it, and so do 0.0 and -0.0.

    None for large documents, which are not worth keeping, and for what JSON cannot hold.
    """
    rest = {name: value for name, value in document.items() if name != "attributes"}
    try:
        found = marshal.dumps((rest, reading.writer, reading.strict), 2)  # version 2: equal values give equal bytes
    except ValueError:
        return None
    return found if len(found) <= LARGEST else None
