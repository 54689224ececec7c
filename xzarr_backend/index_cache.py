"""The indexes of the shards read last, so that reading a little of a shard again takes one wave, not two.

Imports nothing of this package but a type. Invariant: never more than ``limit`` bytes of indexes are kept; an index is
handed out with the stamp of the shard it was read from, for the reader to check.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from .codecs.sharding import Index

CacheKey = tuple[str, int, int]  # key of the object, first byte and depth of the shard in it


class IndexCache:
    """The indexes of the shards read last, at most ``limit`` bytes of them, with the stamp of their shard."""

    def __init__(self, limit: int = 32 * 2**20) -> None:
        self._limit, self._nbytes = limit, 0
        self._kept: OrderedDict[CacheKey, tuple[Hashable, Index]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: CacheKey) -> tuple[Hashable, Index] | None:
        """Return (stamp, index) of the shard ``key``, if it is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: CacheKey, stamp: Hashable, index: Index) -> None:
        """Keep an index, unless it is too large; the one used longest ago gives way."""
        with self._lock:
            self._forget(key)
            if index.nbytes > self._limit:
                return
            self._kept[key] = stamp, index
            self._nbytes += index.nbytes
            while self._nbytes > self._limit:
                self._forget(next(iter(self._kept)))

    def drop(self, name: str) -> None:
        """Forget the indexes of the object ``name``, nested ones too: it was replaced."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == name]:
                self._forget(key)

    def _forget(self, key: CacheKey) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._nbytes -= found[1].nbytes
