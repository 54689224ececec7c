"""How `open_dataset` and `open_zarr` make dask arrays: as xarray does, but for very many blocks along a dimension.

Imports xarray's documented interface for chunked arrays, and dask_lazy. Invariant: blocks and values are those of
xarray's own manager, and names as deterministic; only what it costs to make and to pickle them differs (benchmark:
open_zarr_1d).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from xarray.namedarray.parallelcompat import list_chunkmanagers

from .dask_lazy import LONG, Recipe, equal_lengths, lazy_array, shortened


@cache
def chunk_manager() -> Any:
    """Return the manager to give as ``chunked_array_type``; None where xarray has none for dask."""
    own = list_chunkmanagers().get("dask")
    return None if own is None else type("LazyDaskManager", (_ManyBlocks, type(own)), {})()


class _ManyBlocks:
    """Makes arrays of very many blocks from a recipe, and leaves all others to the class behind it."""

    def __dask_tokenize__(self) -> str:
        return "xzarr_backend.xarray_dask"  # part of the names of the arrays

    def normalize_chunks(self, chunks: Any, shape: Any = None, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(chunks, tuple) and shape is not None and len(chunks) == len(shape):
            many = [n for n, size in zip(shape, chunks, strict=True) if type(size) is int and 0 < size * LONG < n]
            if many and all(type(size) is int and size > 0 for size in chunks):
                return tuple(equal_lengths(n, min(size, n) or 1) for n, size in zip(shape, chunks, strict=True))
        return super().normalize_chunks(chunks, shape, *arguments, **keywords)  # type: ignore[misc]

    def from_array(self, data: Any, chunks: Any, **keywords: Any) -> Any:
        given = {name: value for name, value in keywords.items() if value}
        blocks = chunks if isinstance(chunks, tuple) and all(isinstance(one, tuple) for one in chunks) else ()
        if max(map(len, blocks), default=0) > LONG and given.keys() <= {"name", "inline_array"} and len(given) == 2:
            sizes = tuple(map(shortened, blocks))
            if all(isinstance(size, int) for size in sizes):
                meta = np.empty((0,) * data.ndim, data.dtype)
                return lazy_array(Recipe(data, sizes, given["name"], True, meta))
        return super().from_array(data, chunks, **keywords)  # type: ignore[misc]
