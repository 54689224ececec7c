"""How `open_dataset` and `open_zarr` make dask arrays: as xarray does, but for very many blocks.

Imports xarray's documented interface for chunked arrays, and dask_lazy. Invariant: blocks and values are those of
xarray's own manager, and names as deterministic; only what it costs to make and to pickle them differs (benchmark:
open_zarr_1d).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.namedarray.parallelcompat import list_chunkmanagers

from .dask_lazy import LONG, Recipe, equal_lengths, lazy_array, shortened

if TYPE_CHECKING:
    from xarray import Dataset


@cache
def chunk_manager() -> Any:
    """Return the manager to give as ``chunked_array_type``; None where xarray has none for dask."""
    own = list_chunkmanagers().get("dask")
    return None if own is None else type("LazyDaskManager", (_ManyBlocks, type(own)), {})()


def chunk_as_stored(dataset: Dataset, token: str, inline_array: bool) -> Dataset:
    """Return a lazy dataset as dask arrays of the stored chunks, with the names and blocks that ``chunks={}`` gives.

    xarray also looks at the end of every block, to warn of those that cut stored chunks; these cut none.
    """
    manager, variables = chunk_manager(), dict(dataset.variables)
    for name, variable in variables.items():
        if variable.ndim and not variable._in_memory:
            preferred = variable.encoding.get("preferred_chunks", {})
            sizes = tuple(preferred.get(dim, size) for dim, size in zip(variable.dims, variable.shape, strict=True))
            blocks = manager.normalize_chunks(sizes, variable.shape, dtype=variable.dtype)
            variables[name] = variable.chunk(
                dict(zip(variable.dims, blocks, strict=True)),
                name=f"open_dataset-{name}-{token}",
                inline_array=inline_array,
                chunked_array_type=manager,
            )
    chunked = dataset._replace(variables)
    chunked.set_close(dataset.close)
    return chunked


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
        if math.prod(map(len, blocks)) > LONG and given.keys() <= {"name", "inline_array"} and len(given) == 2:
            sizes = tuple(map(shortened, blocks))
            if all(isinstance(size, int) for size in sizes):
                meta = np.empty((0,) * data.ndim, data.dtype)
                return lazy_array(Recipe(data, sizes, given["name"], True, meta))
        return super().from_array(data, chunks, **keywords)  # type: ignore[misc]
