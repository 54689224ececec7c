"""Which chunks a new array gets: what was asked for, what it had when it was read, or the blocks of its dask array.

Imports xarray (types), array and errors. Invariant: what is chosen depends on the encoding, the blocks and the keywords
alone; a choice that somebody made explicitly is never changed, only refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from .array import Array
from .errors import ArgumentError, MetadataError, RegionError

Item = int | tuple[int, ...]  # the length of all chunks along a dimension, or of each


class Chunking(NamedTuple):
    """The keywords ``chunks`` and ``shards`` of `creation.build_spec`."""

    chunks: Any
    shards: Any = None


class Policy(NamedTuple):
    """``as_xarray``: choose and refuse as xarray does (``safe_chunks`` True or False, ``align_chunks``).

    ``explicit``: the encoding was given for this write. ``keeps``: inherited chunks do not yield to the blocks.
    ``rectilinear``: the format knows chunks of different lengths.
    """

    as_xarray: bool
    explicit: bool
    keeps: bool
    rectilinear: bool


def choose_chunks(name: Any, variable: xr.Variable, encoding: Mapping[str, Any], policy: Policy) -> Chunking:
    """Return the chunks and shards for ``variable``; raise `ArgumentError`, `MetadataError` or `RegionError`."""
    blocks = variable.chunks
    shards = _shards(name, variable, encoding.get("shards"), policy)
    given = _given(name, variable, encoding.get("chunks"), policy)
    if given is None:
        return Chunking(_from_blocks(name, blocks, policy), shards)
    if policy.as_xarray or policy.explicit or policy.keeps or not blocks:
        return Chunking(given, shards)
    if not isinstance(given, tuple) or _fit(given, blocks):
        return Chunking(given, shards)
    if any(_uniform(sizes) is None for sizes in blocks):
        return Chunking(given, shards)  # blocks that no regular grid describes share objects; the writer sees to that
    chosen = _from_blocks(name, blocks, policy)
    return Chunking(chosen, shards if shards is None or _divide(chosen, shards) else None)


def _from_blocks(name: Any, blocks: Any, policy: Policy) -> Any:
    """Return the chunks that dask's blocks make; "auto" where there are none."""
    if not blocks:
        return "auto"
    if policy.as_xarray:
        _refuse_uneven(name, blocks)
    return tuple(_item(sizes, policy.rectilinear) for sizes in blocks)


def _item(sizes: tuple[int, ...], rectilinear: bool) -> Item:
    uniform = _uniform(sizes)
    if uniform is not None:
        return max(uniform, 1)
    return tuple(size for size in sizes if size) if rectilinear else max(sizes)


def _uniform(sizes: tuple[int, ...]) -> int | None:
    """Return the length of blocks that are alike but for a shorter last one, else None."""
    return sizes[0] if len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0] else None


def _refuse_uneven(name: Any, blocks: Any) -> None:
    hint = "consider rechunking using `chunk()`, or deleting or modifying `encoding['chunks']`; safe_chunks='auto' "
    hint += "stores such blocks as they are"
    if any(len(set(sizes[:-1])) > 1 for sizes in blocks):
        raise RegionError(
            "Zarr requires uniform chunk sizes except for final chunk. "
            f"Variable named {name!r} has incompatible dask chunks: {blocks!r}.",
            hint=hint,
        )
    if any(sizes[0] < sizes[-1] for sizes in blocks):
        raise RegionError(
            "Final chunk of Zarr array must be the same size or smaller than the first. "
            f"Variable named {name!r} has incompatible Dask chunks {blocks!r}.",
            hint=hint,
        )


def _given(name: Any, variable: xr.Variable, chunks: Any, policy: Policy) -> Any:
    """Return the chunks that the encoding names, one item per dimension; "auto" and sizes in bytes as they are."""
    if chunks is None or (isinstance(chunks, list | tuple | dict) and not chunks and variable.ndim):
        return None
    if isinstance(chunks, str):
        return _named(name, variable, chunks, policy)
    if isinstance(chunks, Mapping):
        return _by_dimension(name, variable, chunks, policy)
    items = (chunks,) * variable.ndim if isinstance(chunks, int | np.integer) else tuple(chunks)
    if len(items) != variable.ndim:
        if policy.explicit and not policy.as_xarray:
            raise MetadataError(
                f"encoding['chunks']={chunks!r:.80} does not fit variable {name!r}, which has {variable.ndim} "
                "dimensions"
            )
        return None
    if policy.as_xarray:
        _refuse_rectilinear("chunks", items, name)
    return tuple(_checked(name, item, size, policy) for item, size in zip(items, variable.shape, strict=True))


def _named(name: Any, variable: xr.Variable, chunks: str, policy: Policy) -> Any:
    if chunks != "dask":
        return chunks
    if not variable.chunks:
        raise MetadataError(
            f"encoding['chunks']=\"dask\" needs a dask array, but variable {name!r} is none", hint="call .chunk() first"
        )
    return tuple(_item(sizes, policy.rectilinear) for sizes in variable.chunks)


def _by_dimension(name: Any, variable: xr.Variable, chunks: Mapping[Any, Any], policy: Policy) -> tuple[Any, ...]:
    """Return the chunks by dimension; those not named follow the blocks, or take the whole dimension."""
    _refuse_unknown("chunks", chunks, name, variable)
    blocks = variable.chunks or tuple((size,) for size in variable.shape)
    return tuple(
        _checked(name, chunks[dim], size, policy) if dim in chunks else _item(sizes, policy.rectilinear)
        for dim, size, sizes in zip(variable.dims, variable.shape, blocks, strict=True)
    )


def _refuse_unknown(key: str, lengths: Mapping[Any, Any], name: Any, variable: xr.Variable) -> None:
    unknown = [dim for dim in lengths if dim not in variable.dims]
    if unknown:
        raise MetadataError(
            f"encoding[{key!r}] names the dimension {unknown[0]!r}, which variable {name!r} does not have",
            hint=f"it has {', '.join(map(repr, variable.dims))}",
        )


def _checked(name: Any, item: Any, length: int, policy: Policy) -> Any:
    """Return one dimension's item; chunks inherited from an array of another length fall back to the longest."""
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return int(item)
    if isinstance(item, list | tuple) and not policy.as_xarray:
        sizes = tuple(int(size) for size in item)
        if policy.explicit or (policy.rectilinear and sum(sizes) >= length):
            return sizes
        return max(sizes, default=1) or 1
    if item in ("auto", None) and not policy.as_xarray:
        return item
    raise ArgumentError(
        "zarr chunk sizes specified in `encoding['chunks']` must be an int or a tuple of ints. "
        f"Instead found {item!r} for variable named {name!r}."
    )


def _shards(name: Any, variable: xr.Variable, shards: Any, policy: Policy) -> Any:
    """Return the shards that the encoding names, by dimension or in their order; "auto" and sizes as they are."""
    if isinstance(shards, Mapping):
        _refuse_unknown("shards", shards, name, variable)
        left = [dim for dim in variable.dims if dim not in shards]
        if left:
            raise MetadataError(
                f"encoding['shards'] leaves the length along {left[0]!r} of variable {name!r} open",
                hint="name all dimensions",
            )
        shards = tuple(shards[dim] for dim in variable.dims)
    if isinstance(shards, list | tuple):
        if policy.as_xarray:
            _refuse_rectilinear("shards", shards, name)
        if len(shards) != variable.ndim and not policy.explicit:
            return None  # inherited from before dimensions were dropped
    return shards


def _refuse_rectilinear(key: str, items: Any, name: Any) -> None:
    if any(isinstance(item, list | tuple) for item in items):
        raise ArgumentError(
            f"encoding[{key!r}]={tuple(items)!r:.200} for variable {name!r} is a rectilinear (variable-sized) grid, "
            "which xarray reads but does not write",
            hint=f"safe_chunks='auto' writes it; or clear the encoding: del ds[{name!r}].encoding[{key!r}]",
        )


def refuse_stored(name: Any, array: Array) -> None:
    """Raise `ArgumentError`, as xarray does, where an array that is to be changed has a rectilinear grid."""
    _refuse_rectilinear("chunks", array.chunks, name)
    _refuse_rectilinear("shards", array.shards or (), name)


def _fit(chunks: tuple[Any, ...], blocks: tuple[tuple[int, ...], ...]) -> bool:
    """Return whether no two blocks share a chunk."""
    return all(
        set(accumulate(sizes[:-1])) <= _edges(item, sum(sizes)) for item, sizes in zip(chunks, blocks, strict=True)
    )


def _edges(item: Any, length: int) -> set[int]:
    if isinstance(item, tuple):
        return set(accumulate(item))
    return set(range(0, length + 1, item)) if isinstance(item, int) and item > 0 else {0}


def _divide(chunks: Any, shards: Any) -> bool:
    if not isinstance(shards, list | tuple) or not isinstance(chunks, tuple):
        return False
    return all(
        isinstance(shard, int) and isinstance(chunk, int) and shard % chunk == 0
        for shard, chunk in zip(shards, chunks, strict=True)
    )
