"""Stored arrays as xarray indexes them: lazily, any kind of selection in one plan, small ones fetched together.

Imports array, stores.base and the rows below, and xarray. Invariant: nothing is read before values are asked for; what
is read comes back as a NumPy array of the dtype that was promised; pickles hold places, not data.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from .array import Array
from .stores.base import Buffer, ByteRange, Request, Store, slice_buffer
from .stores.memory import MappingStore

MAX_PREFETCH_NBYTES = 16 * 2**20  # of one array, decoded
MAX_PREFETCH_TOTAL = 64 * 2**20  # of all that are fetched together
MAX_PREFETCH_OBJECTS = 4096

Key = tuple[Any, ...]


class StoredArray(BackendArray):
    """What xarray wraps into a variable: an `Array`, its dtype as xarray should see it, and a shared prefetch."""

    __slots__ = ("_array", "_convert", "_prefetch", "dtype", "shape")

    def __init__(self, array: Array, prefetch: Prefetch | None = None) -> None:
        self._array, self._prefetch = array, prefetch
        self.shape = array.shape
        self.dtype = array.dtype
        self._convert = array.spec.dtype.name == "string" and array.dtype.kind != "T"
        if self._convert:
            self.dtype = np.dtypes.StringDType()

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the values of an indexer of xarray as a NumPy array."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.VECTORIZED, _READERS[type(key)](self._source(key.tuple))
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the same from a thread, so that several variables load at once."""
        import asyncio

        return await asyncio.to_thread(self.__getitem__, key)

    def _source(self, key: Key) -> Array | Whole:
        raise NotImplementedError
