"""What of an array is really stored: its chunk objects, found by walking the store.

Imports array for types only, and the rows below. Invariant: an object counts when its key is the key of a chunk of the
grid; documents, lock files and foreign files never count, and no object is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .paths import prefix_of

if TYPE_CHECKING:
    from .array import Array

_NUMBER = re.compile(r"[0-9]+")


class StoredChunk(NamedTuple):
    """One stored object: a chunk, or a shard where there are shards. ``nbytes`` is its encoded size."""

    coords: tuple[int, ...]
    key: str
    nbytes: int


def stored_chunks(array: Array) -> Iterator[StoredChunk]:
    """Yield the stored objects of ``array``; raise `UnsupportedError` where the store cannot be listed."""
    prefix = prefix_of(array.path)
    for key, nbytes in array.store.walk(prefix):
        coords = parse_key(array, key)
        if coords is None:
            continue
        size = array.store.size(key) if nbytes is None else nbytes
        if size is not None:  # None: deleted since it was listed
            yield StoredChunk(coords, key, size)


def parse_key(array: Array, key: str) -> tuple[int, ...] | None:
    """Return the coords of the chunk that is stored under ``key``, None when it is the key of no chunk."""
    counts, rank = array.spec.chunk_grid.counts, array.ndim
    found = _NUMBER.findall(key, len(array.path))
    if len(found) < rank or any(len(number) > 19 for number in found):
        return None
    coords = tuple(int(number) for number in found[len(found) - rank :])
    inside = all(coord < count for coord, count in zip(coords, counts, strict=True))
    # whatever the encoding is: a key belongs to a chunk when the chunk's key is that key
    return coords if inside and array.layout.key(coords) == key else None
