"""Lazy dask arrays over stored arrays.

Imports dask, dask_lazy, opening and array. Invariant: what a caller's ``chunks`` mean depends on the array's metadata
and dask's settings only, and so does the name in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.utils import parse_bytes

from .array import Array
from .chunk_grids import listable
from .dask_lazy import LONG, Recipe, Sizes, lazy_array, shortened
from .errors import MetadataError
from .opening import open_array


def from_zarr(
    store: Any,
    component: str | None = None,
    *,
    chunks: Any = None,
    storage_options: dict[str, Any] | None = None,
    name: str | Literal[False] | None = None,
    inline_array: bool = True,
    meta: Any = None,
    **open_options: Any,
) -> da.Array:
    """Return the stored array as a lazy `dask.array.Array`.

    ``store`` is anything that `xzarr_backend.open` takes, or an `Array`; ``component`` the path of the array in it.
    ``chunks``: None for the stored objects (shards, or chunks where there are no shards), "auto" for as many of them
    as fit ``array.chunk-size``, or what dask takes; a mapping goes by dimension name or number. ``name``: the name in
    the graph, by default deterministic, False for a random one. ``inline_array``: put the handle into every task, which
    keeps graphs of many chunks small and fast to optimise. ``open_options``: the other keywords of `open_array`.
    """
    if isinstance(store, Array):
        array = store
    else:
        array = open_array(store, component or "", storage_options=storage_options, **open_options)
    sizes = block_sizes(array, chunks)
    if name is False:
        name = f"from-zarr-{uuid4()}"  # as in dask: a graph that nothing else shares
    elif name is None:
        name = f"from-zarr-{tokenize(array, sizes)}"
    if meta is None:
        meta = np.empty((0,) * array.ndim, array.dtype)
    return lazy_array(Recipe(array, sizes, name, inline_array, meta))


def stored_blocks(array: Array) -> tuple[Any, ...]:
    """Return the lengths of the stored objects along each dimension, as dask's ``chunks``; of very many, multiples."""
    sizes = array.chunks if array.shards is None else array.shards
    return tuple(
        found if isinstance(found := listable(size, length), tuple) else max(min(found, length), 1)
        for size, length in zip(sizes, array.shape, strict=True)
    )


def block_sizes(array: Array, chunks: Any) -> Sizes:
    """Return the blocks that a caller's ``chunks`` mean: the length of equal ones, all lengths of others."""
    stored = stored_blocks(array)
    if chunks is None or chunks == {}:
        return stored
    if isinstance(chunks, Mapping):
        chunks = _by_dimension(array, chunks, stored)
    if array.ndim == 1 and isinstance(chunks, str | tuple) and chunks in ("auto", ("auto",)):
        fused = _as_many_as_fit(array, stored[0])
        if fused:
            return (fused,)
    try:
        normalized = da.core.normalize_chunks(
            chunks, shape=array.shape, dtype=_sized(array.dtype), previous_chunks=stored
        )
    except (ValueError, TypeError, ZeroDivisionError) as error:
        hint = "give lengths, -1 for all along a dimension, or 'auto'"
        raise MetadataError(f"chunks={chunks!r:.80} make no blocks: {error}", where=array.where, hint=hint) from error
    return tuple(map(shortened, normalized))


def _as_many_as_fit(array: Array, size: int | tuple[int, ...]) -> int:
    """Return how long blocks of very many equal chunks are, as many as a task may hold; 0 for others, and larger ones.

    dask says the same, but for a last block that it may make longer, and looks at each chunk to do so, a quarter of a
    second for a million (benchmark: sum_auto_1d).
    """
    if not isinstance(size, int) or array.shape[0] <= LONG * size:
        return 0
    most = int(parse_bytes(dask.config.get("array.chunk-size"))) // _sized(array.dtype).itemsize
    return min(most // size * size, array.shape[0])


def _by_dimension(array: Array, chunks: Mapping[Any, Any], stored: tuple[Any, ...]) -> tuple[Any, ...]:
    names = array.dimension_names or (None,) * array.ndim
    unknown = [key for key in chunks if key not in names and key not in range(array.ndim)]
    if unknown:
        known = ", ".join(repr(name) for name in names if name is not None)
        raise MetadataError(
            f"chunks name the dimension {unknown[0]!r}, which the array does not have",
            where=array.where,
            hint=f"it has {known or f'{array.ndim} dimensions without names'}",
        )
    return tuple(chunks.get(name, chunks.get(axis, stored[axis])) for axis, name in enumerate(names))


def _sized(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """dask cannot guess the size of variable-length elements; a pointer with a short string is near enough."""
    return np.dtype("V32") if dtype.hasobject or dtype.kind == "T" else dtype
