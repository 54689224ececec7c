"""What the arrays of a group share is parsed once: their kind (type, fill value, codecs), and the form of each.

Imports spec types only. Invariant: two parts of documents count as alike when they are the same to the type and the
bit, so that what a document means never depends on what was parsed before it. Benchmark: xr_open_varied_c.
"""

from __future__ import annotations

import marshal

from ..spec import JSON, ArraySpec

KEPT = 256  # specs; a group has a few kinds of arrays, and some more forms
LARGEST = 16 * 1024  # bytes of a fingerprint


class Alike:
    """The specs parsed last, by the fingerprint of a part of their documents."""

    def __init__(self) -> None:
        self._specs: dict[bytes, ArraySpec] = {}

    def find(self, key: bytes | None) -> ArraySpec | None:
        """Return a spec whose document has this fingerprint, if one is kept."""
        return None if key is None else self._specs.get(key)

    def keep(self, key: bytes | None, spec: ArraySpec) -> None:
        """Keep ``spec``."""
        if key is not None:
            if len(self._specs) >= KEPT:
                self._specs = {}
            self._specs[key] = spec


def fingerprint(part: JSON) -> bytes | None:
    """Return what all parts alike share: 1, 1.0 and true differ in it, and so do 0.0 and -0.0.

    None for large parts, which are not worth keeping, and for what JSON cannot hold.
    """
    try:
        found = marshal.dumps(part, 2)  # version 2: equal values give equal bytes
    except ValueError:
        return None
    return found if len(found) <= LARGEST else None
