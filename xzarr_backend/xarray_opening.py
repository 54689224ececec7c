"""`xz.open_dataset`, `open_zarr`, `open_datatree`, `open_mfdataset`: xarray's functions with this package's engine.

Imports errors, stores.base, and xarray_backend; stores.fsspec for remote globs, dask through xarray when chunks are
asked for. Invariant: every keyword that is not named here goes to xarray or to the engine as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import glob, has_magic
from typing import TYPE_CHECKING, Any

import xarray as xr

from .errors import NodeNotFoundError
from .stores.base import public_url
from .xarray_backend import XzarrBackendEntrypoint

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

Chunks = Any  # int, dict by dimension, "auto", {} or None


def open_dataset(store: Any, group: str | None = None, *, chunks: Chunks = None, **keywords: Any) -> Dataset:
    """Open a group as a dataset; ``keywords`` are those of `xarray.open_dataset` and of the engine.

    ``store``: a path, URL, mapping, store, `Group` or `Array`. ``chunks`` None: NumPy arrays, read when first used; {}:
    dask arrays with the stored chunks; "auto", a number or a dict by dimension: dask arrays with these chunks.
    """
    if chunks == {} and keywords.keys().isdisjoint(_CHUNKED_BY_XARRAY):
        return _open_as_stored(store, group, **keywords)
    more = _dask_arrays(chunks, keywords)
    return xr.open_dataset(store, engine=XzarrBackendEntrypoint, group=group, chunks=chunks, **more)


# with these, xarray makes the dask arrays
_CHUNKED_BY_XARRAY = frozenset({"chunked_array_type", "from_array_kwargs", "overwrite_encoded_chunks", "cache"})


def _open_as_stored(store: Any, group: str | None, *, inline_array: bool = False, **keywords: Any) -> Dataset:
    """Return what ``chunks={}`` stands for, without xarray's look at each block (benchmark: open_zarr_1d)."""
    from dask.base import tokenize

    from .xarray_dask import chunk_as_stored

    lazy = xr.open_dataset(store, engine=XzarrBackendEntrypoint, group=group, cache=False, **keywords)
    return chunk_as_stored(lazy, tokenize(store, _modified(store), group, keywords), inline_array)


def _modified(store: Any) -> float | None:
    """Return when a local store was last changed, as far as its folder or file tells; part of the arrays' names."""
    try:
        return os.path.getmtime(os.path.expanduser(os.fspath(store)))
    except (OSError, TypeError, ValueError):
        return None


def _dask_arrays(chunks: Chunks, keywords: dict[str, Any]) -> dict[str, Any]:
    """Add who makes the dask arrays, where they are asked for and the caller does not say."""
    if chunks is None or keywords.get("chunked_array_type") is not None:
        return keywords
    from .xarray_dask import chunk_manager

    return {**keywords, "chunked_array_type": chunk_manager()}


def open_zarr(
    store: Any,
    group: str | None = None,
    *,
    chunks: Chunks = {},  # noqa: B006 - xarray reads it only
    inline_array: bool = True,
    **keywords: Any,
) -> Dataset:
    """Open a group as a dataset of dask arrays with the stored chunks (keywords of `open_dataset`).

    ``inline_array``: put the stored array into every task instead of a task of its own, which makes graphs smaller.
    """
    return open_dataset(store, group, chunks=chunks, inline_array=inline_array, **keywords)


def open_datatree(store: Any, group: str | None = None, *, chunks: Chunks = None, **keywords: Any) -> DataTree:
    """Open a group and all groups below it as a tree (keywords of `xarray.open_datatree` and of the engine)."""
    more = _dask_arrays(chunks, keywords)
    return xr.open_datatree(store, engine=XzarrBackendEntrypoint, group=group, chunks=chunks, **more)


def open_mfdataset(paths: Any, **keywords: Any) -> Dataset:
    """Open many stores as one dataset (keywords of `xarray.open_mfdataset` and of the engine).

    ``paths``: a list of stores, or a path or URL with wildcards ("s3://bucket/era5-*.zarr"), opened in the order of
    their names. Raises `NodeNotFoundError` when nothing matches.
    """
    if isinstance(paths, str | os.PathLike):
        paths = _expand(os.fspath(paths), keywords.get("storage_options"))
    return xr.open_mfdataset(paths, engine=XzarrBackendEntrypoint, **keywords)


def _expand(pattern: str, storage_options: Any) -> Sequence[str]:
    if not has_magic(pattern):
        return [pattern]
    remote = "://" in pattern or "::" in pattern
    found = _expand_url(pattern, storage_options) if remote else glob(os.path.expanduser(pattern))
    if not found:
        raise NodeNotFoundError("no store matches the pattern", where=public_url(pattern), hint="check the wildcards")
    return sorted(found)


def _expand_url(pattern: str, storage_options: Any) -> list[str]:
    from .stores.fsspec import filesystem_of

    *outer, url = pattern.split("::")  # simplecache::s3://...: only the innermost place can be listed
    options = storage_options or {}
    if outer:
        options = options.get(url.partition("://")[0], {})
    filesystem, path = filesystem_of(url, options)
    return ["::".join([*outer, filesystem.unstrip_protocol(found)]) for found in filesystem.glob(path)]
