"""The keywords of ``to_zarr`` for xarray objects: what a call means, and the datasets that it is about.

Imports xarray, xarray_planning and the rows below. Invariant: keywords that do not go together are refused before
anything is looked at.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import xarray as xr

from .errors import ArgumentError, MetadataError, unknown_keyword
from .nodes import clean_path
from .profiles import choose_format, find_profile
from .xarray_planning import Call, choose_mode

VARIABLE = "__xarray_dataarray_variable__"  # how xarray stores a DataArray that has no name of its own,
NAME = "__xarray_dataarray_name__"  # and where it keeps one that is taken by a coordinate

Node = tuple[str, xr.Dataset, Mapping[Any, Any]]  # path below the call's group, data, encoding


def dataset_of(da: xr.DataArray) -> xr.Dataset:
    if da.name is None:
        return da.to_dataset(name=VARIABLE)
    if da.name in da.coords or da.name in da.dims:
        ds = da.to_dataset(name=VARIABLE)
        ds.attrs[NAME] = da.name
        return ds
    return da.to_dataset()


def dataset_call(
    ds: xr.Dataset, *, encoding: Mapping[Any, Any] | None = None, **keywords: Any
) -> tuple[list[Node], Call, Any]:
    if not isinstance(encoding, Mapping | None):
        raise ArgumentError(f"encoding={encoding!r:.80} is no mapping from names of variables to their encodings")
    call, options = _call(**keywords)
    return [("", ds, encoding or {})], call, options


def tree_call(
    tree: xr.DataTree,
    *,
    encoding: Mapping[str, Any] | None = None,
    write_inherited_coords: bool = False,
    **keywords: Any,
) -> tuple[list[Node], Call, Any]:
    for name, what in (("group", "a root group for the tree"), ("append_dim", "``append_dim``")):
        if keywords.get(name) is not None:
            raise _NotForTrees(f"specifying {what} with ``DataTree.to_zarr`` has not been implemented")
    unknown = set(encoding or {}) - set(tree.groups)
    if unknown:
        raise MetadataError(f"unexpected encoding group name(s) provided: {unknown}")
    nodes = [
        (
            "" if path == "." else path,
            node.to_dataset(inherit=write_inherited_coords or node is tree),
            (encoding or {}).get(node.path) or {},
        )
        for path, node in tree.subtree_with_keys
    ]
    keywords["mode"] = keywords.get("mode") or (None if keywords.get("region") is not None else "w-")
    call, options = _call(**keywords)
    return nodes, call, options


class _NotForTrees(ArgumentError, NotImplementedError):
    """A keyword that has no meaning for a tree yet."""


def _call(
    *,
    chunk_store: Any = None,
    mode: str | None = None,
    synchronizer: Any = None,
    group: str | None = None,
    compute: bool = True,
    consolidated: bool | None = None,
    append_dim: Hashable | None = None,
    region: Any = None,
    safe_chunks: bool | Literal["auto"] = "auto",
    align_chunks: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    zarr_version: int | None = None,
    zarr_format: int | None = None,
    write_empty_chunks: bool | None = None,
    chunkmanager_store_kwargs: Mapping[str, Any] | None = None,
    resume: bool = False,
    durable: bool = False,
    profile: str | None = None,
    **unknown: Any,
) -> tuple[Call, Mapping[str, Any] | None]:
    if unknown:
        raise unknown_keyword("to_zarr", next(iter(unknown)), "datasets", {"encoding", *(_call.__kwdefaults__ or ())})
    for name, value in (("chunk_store", chunk_store), ("synchronizer", synchronizer)):
        if value is not None:
            raise ArgumentError(f"{name}= is not supported", hint="leave it out")
    if safe_chunks not in (True, False, "auto"):
        raise MetadataError(f"safe_chunks={safe_chunks!r} is not possible", hint='use True, False or "auto"')
    if zarr_version is not None and zarr_format not in (None, zarr_version):
        raise MetadataError(f"zarr_format={zarr_format} and zarr_version={zarr_version} disagree")
    zarr_format = zarr_version if zarr_format is None else zarr_format
    if zarr_format not in (None, 2, 3):
        raise MetadataError(f"zarr_format={zarr_format!r} is not possible", hint="use 2 or 3")
    chosen = None if profile is None else find_profile(profile)
    if chosen is not None and zarr_format is not None:
        choose_format(chosen, zarr_format)
    mode_in_force = choose_mode(mode, append_dim, region)
    # arrays that are there may have a fill value that the readers of a profile cannot read
    adds = chosen is not None and write_empty_chunks is None and mode_in_force not in ("w", "w-")
    return Call(
        mode=mode_in_force,
        asked=mode,
        path=clean_path(group or ""),
        compute=compute,
        consolidated=consolidated,
        append_dim=append_dim,
        region=region,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
        zarr_format=zarr_format,
        write_empty_chunks=True if adds else write_empty_chunks,
        computing=chunkmanager_store_kwargs or {},
        resume=resume,
        durable=durable,
        profile=chosen,
    ), storage_options
