"""Stored arrays as xarray indexes them: lazily, any kind of selection in one plan, small ones fetched together.

Imports array, stores and the rows below, and xarray. Invariant: nothing is read before values are asked for; what is
read comes back as a NumPy array of the dtype that was promised; pickles hold places, never data.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

from .array import Array
from .errors import XzarrError
from .stores.base import Request
from .stores.memory import MappingStore

MAX_NBYTES = 16 * 2**20  # of one array that is prefetched, decoded
MAX_TOTAL_NBYTES = 64 * 2**20  # of all that are prefetched together
MAX_OBJECTS = 4096  # of a dimension coordinate, which xarray reads whole
FEW_OBJECTS = 16  # of another variable, of which xarray looks at the first and the last value only
LOOKS = 2  # xarray looks at the first and at the last value, which of one or two are the whole

Values = npt.NDArray[Any]
Key = tuple[Any, ...]


class IndexValues(np.ndarray[Any, Any]):
    """Values of a dimension coordinate, of which xarray makes an index: a NumPy array that says so itself.

    Of any other array xarray asks dask whether it is one of its own, and imports dask to do so, 60 to 200 ms
    (row ``cold_xr_plain`` of the benchmark).
    """

    def to_numpy(self) -> Values:
        """Return the array as one of NumPy's own class."""
        return self.view(np.ndarray)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.to_numpy().__reduce_ex__(protocol)


class StoredArray(BackendArray):
    """What xarray wraps into a variable: an `Array`, its dtype as xarray should see it, and a shared prefetch.

    ``is_index``: xarray will make an index of it.
    """

    __slots__ = ("_array", "_is_index", "_prefetch", "dtype", "shape")

    def __init__(self, array: Array, prefetch: Prefetch | None = None, *, is_index: bool = False) -> None:
        self._array, self._prefetch, self._is_index = array, prefetch, is_index
        self.shape = array.shape
        self.dtype = np.dtypes.StringDType() if _holds_text(array) else array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the values of an indexer of xarray as a NumPy array."""
        whole = None if self._prefetch is None else self._prefetch.values(self._array, key)
        if whole is not None:
            plain: Any = indexing.NumpyIndexingAdapter
            found = indexing.apply_indexer(plain(whole), key)
            return self._typed(found.copy() if found.base is not None else found)
        return self._typed(self._read(key))

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the same from a thread, so that several variables load at once."""
        import asyncio

        return await asyncio.to_thread(self.__getitem__, key)

    def _read(self, key: indexing.ExplicitIndexer) -> Values:
        # every kind of key is one of our own, so xarray need not split them into what it does and what the store does
        found: Values
        if isinstance(key, indexing.VectorizedIndexer):
            found = self._array.vindex[with_slices(key.tuple)]
        elif isinstance(key, indexing.OuterIndexer):
            found = self._array.oindex[key.tuple]
        else:
            found = self._array[(*key.tuple, ...)]  # the ellipsis makes single elements arrays too
        return found

    def _typed(self, found: Any) -> Any:
        if found.dtype != self.dtype:
            found = found.astype(self.dtype)
        return found.view(IndexValues) if self._is_index else found

    def __reduce__(self) -> Any:
        return StoredArray, (self._array,)

    def __dask_tokenize__(self) -> Any:
        return "xzarr_backend.StoredArray", self._array

    def __repr__(self) -> str:
        return repr(self._array)


def _holds_text(array: Array) -> bool:
    """Return whether the elements are strings of any length, which an object array would leave xarray to guess."""
    if array.spec.dtype.name == "object":
        return any(codec.name == "numcodecs.vlen-utf8" for codec in array.spec.codecs)
    return array.spec.dtype.name == "string"


def with_slices(key: Key) -> Key:
    """Return the same selection with slices for the index arrays that xarray made out of slices.

    xarray spells a slice beside index arrays as one more index array along a dimension of its own, behind those of the
    points. Read as points, such a selection would list every element.
    """
    arrays = [np.asarray(item) for item in key]
    ndim = max(array.ndim for array in arrays)
    found: dict[int, slice] = {}
    last = len(arrays)
    while ndim > 1:
        # only the last dimension of the points may become a slice, and slices must keep the order of their axes
        varying = [axis for axis, array in enumerate(arrays) if array.ndim == ndim and array.shape[-1] != 1]
        if len(varying) != 1 or varying[0] >= last or (run := _as_slice(arrays[varying[0]])) is None:
            break
        last = varying[0]
        found[last] = run
        arrays = [array[..., 0] if array.ndim == ndim else array for array in arrays]
        arrays[last] = np.zeros((), int)
        ndim -= 1
    if not found or len(found) == len(arrays):
        return key
    return tuple(found.get(axis, array) for axis, array in enumerate(arrays))


def _as_slice(array: Values) -> slice | None:
    """Return the slice of the indices that ``array`` lists along its last and only dimension, None if there is none."""
    if array.size != array.shape[-1] or array.size < 2 or array.dtype.kind not in "iu":
        return None
    indices = array.reshape(-1)
    start, step, end = int(indices[0]), int(indices[1]) - int(indices[0]), int(indices[-1])
    if step == 0 or min(start, end) < 0 or not np.array_equal(np.diff(indices), np.full(array.size - 1, step)):
        return None
    stop = end + (1 if step > 0 else -1)
    return slice(start, None if stop < 0 else stop, step)


class Prefetch:
    """Arrays that xarray is about to look into: the first one that is touched fetches them all.

    On stores where many requests at once are cheaper, that is one wave for all of them; elsewhere an array that is
    looked into several times is decoded once. What was handed out whole is forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Array] = {}
        self._fetched: dict[str, Array] = {}  # arrays whose objects lie in memory
        self._values: dict[str, Values] = {}
        self._looks: dict[str, int] = {}  # how often an array was read whole
        self._total = 0

    def add(self, array: Array, max_objects: int) -> bool:
        """Take ``array`` in unless it is too large or has more than ``max_objects``; return whether it was."""
        if not 0 < array.nbytes <= min(MAX_NBYTES, MAX_TOTAL_NBYTES - self._total):
            return False
        if array.spec.chunk_grid.nchunks > max_objects:
            return False
        self._total += array.nbytes
        self._waiting[array.path] = array
        return True

    def values(self, array: Array, key: indexing.ExplicitIndexer) -> Values | None:
        """Return the whole array for a read of ``key``, None where it has to be read from its store."""
        path = array.path
        with self._lock:
            if path in self._waiting:
                self._fetch(array)
            fetched = self._fetched.pop(path, None)
            if fetched is not None:
                self._values[path] = fetched[...]
            values = self._values.get(path)
            if values is not None and _is_whole(key, array.shape):
                self._looks[path] = looks = self._looks.get(path, 0) + 1
                if looks > LOOKS or array.size > LOOKS:
                    del self._values[path]
            return values

    def _fetch(self, array: Array) -> None:
        if not array.store.concurrent:
            self._fetched[array.path] = self._waiting.pop(array.path)
            return
        waiting, self._waiting = self._waiting, {}
        keys: list[str] = []
        for path, each in list(waiting.items()):
            try:
                keys += object_keys(each)
            except XzarrError:
                del waiting[path]  # it cannot be decoded, which only a read of it should say
        try:
            found = array.store.get_many([Request(key) for key in keys])
        except Exception:
            return  # the read of each array meets the failure again and reports it with its chunk
        objects = {key: value for key, value in zip(keys, found, strict=True) if value is not None}
        memory = MappingStore(objects, read_only=True)
        memory.url = array.store.url
        self._fetched = {path: Array(memory, path, each.spec, each.options) for path, each in waiting.items()}


def object_keys(array: Array) -> list[str]:
    """Return the keys of all objects that ``array`` may consist of."""
    layout = array.layout
    return [layout.key(coords) for coords in product(*map(range, layout.grid.counts))]


def _is_whole(key: indexing.ExplicitIndexer, shape: Sequence[int]) -> bool:
    return all(
        isinstance(item, slice) and item.indices(length) == (0, length, 1)
        for item, length in zip(key.tuple, shape, strict=True)
    )
