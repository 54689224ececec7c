"""What arrays share is parsed once: their kind (type, fill value, codecs), and the form of each; layouts use it, too.

Imports spec types only. Invariant: two parts of documents count as alike when they are the same to the type and the
bit, so that what a document means never depends on what was parsed before it. Benchmark: xr_open_varied_c.
"""

from __future__ import annotations

import marshal
from collections.abc import Hashable
from typing import Generic, TypeVar

from ..spec import JSON

KEPT = 256  # a group has a few kinds of arrays, and some more forms
LARGEST = 16 * 1024  # bytes of a fingerprint

T = TypeVar("T")


class Alike(Generic[T]):
    """What was made last, by what it was made from (None: that is not kept)."""

    def __init__(self) -> None:
        self._made: dict[Hashable, T] = {}

    def find(self, key: Hashable | None) -> T | None:
        """Return what was made from ``key``, if it is kept."""
        return None if key is None else self._made.get(key)

    def keep(self, key: Hashable | None, made: T) -> None:
        """Keep ``made``."""
        if key is not None:
            if len(self._made) >= KEPT:
                self._made = {}
            self._made[key] = made


def fingerprint(part: JSON) -> bytes | None:
    """Return what all parts alike share: 1, 1.0 and true differ in it, and so do 0.0 and -0.0.

    None for large parts, which are not worth keeping, and for what JSON cannot hold.
    """
    try:
        found = marshal.dumps(part, 2)  # version 2: equal values give equal bytes
    except ValueError:
        return None
    return found if len(found) <= LARGEST else None
