"""The xarray engine ``xzarr``: what `xr.open_dataset(..., engine="xzarr")` calls.

Imports xarray (which loads this module) and the rows below. Invariant: the keywords are those of the built-in Zarr
engine and a few more; an unknown one is a TypeError; a dataset comes back lazy and without indexes, as xarray demands.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.backends import AbstractDataStore, BackendEntrypoint

from . import xarray_accessors as xarray_accessors  # registers them
from .array import Array
from .collecting import paused
from .errors import XzarrError, not_too_deep
from .group import Group
from .stores.local import LocalStore
from .xarray_decoding import Decoders, as_names
from .xarray_dimensions import PhonyDimensions
from .xarray_place import Place, arrays_of, check, chosen, place_of_given, walk
from .xarray_store import DatasetOptions, GroupStore

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

DOCUMENTS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


class XzarrBackendEntrypoint(BackendEntrypoint):
    """Opens Zarr v2 and v3 stores, whoever wrote them."""

    description = "Open Zarr v2 and v3 stores with xzarr_backend"
    url = "https://pypi.org/project/xzarr-backend/"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether to open what no engine was named for: only where zarr-python is not installed."""
        if not isinstance(filename_or_obj, str | os.PathLike) or importlib.util.find_spec("zarr") is not None:
            return False
        path = os.fspath(filename_or_obj).rstrip("/")
        if path.endswith((".zarr", ".zarr.zip")):
            return True
        return any(os.path.isfile(os.path.join(path, name)) for name in DOCUMENTS)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        mode: str = "r",
        synchronizer: Any = None,
        consolidated: bool | None = None,
        chunk_store: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        zarr_version: int | None = None,
        zarr_format: int | None = None,
        store: Any = None,
        engine: str | None = None,
        use_zarr_fill_value_as_mask: bool | None = None,
        cache_members: bool = True,
        keep_variables: str | Iterable[str] | None = None,
        missing: str = "fill",
        quirks: str | None = None,
        strict: bool = False,
        duplicate_dims: str = "rename",
        decode_semantics: bool = True,
    ) -> Dataset:
        """Return the group (or the array, as a dataset with one variable) at ``group`` of ``filename_or_obj``.

        ``filename_or_obj`` is anything that `xzarr_backend.open` takes, or an open `Group` or `Array`. Beyond the
        keywords of the built-in engine: ``keep_variables`` opens these and no others; ``missing`` says what chunks that
        are not stored are ("fill", "warn", "raise"); ``duplicate_dims`` "rename" makes the second ``x`` of a variable
        ``x_1``, "keep" leaves it; ``strict`` raises for members that cannot be read, which are skipped with a warning
        otherwise; ``quirks`` names a writer whose ways are assumed; ``decode_semantics`` False shows the
        stored numbers where ``dtype_semantic`` attributes say what they stand for. ``synchronizer``, ``chunk_store``,
        ``engine`` and ``cache_members`` are accepted for compatibility; the first two must be None.
        Raises `NodeNotFoundError`, `MetadataError` or `UnsupportedError`.
        """
        _refuse(synchronizer=synchronizer, chunk_store=chunk_store)
        dropped = as_names(drop_variables)
        decoders = Decoders(
            mask_and_scale, decode_times, concat_characters, decode_coords, dropped, use_cftime, decode_timedelta
        )
        if isinstance(store, AbstractDataStore):
            return decoders.decode(store)
        place = place_of_given(
            filename_or_obj if store is None else store, mode, storage_options, missing, quirks, strict
        )
        options = _dataset_options(duplicate_dims, use_zarr_fill_value_as_mask, decode_semantics, strict)
        with place, _fitting_collector(place), not_too_deep(place.store.url):
            node = place.open(group, consolidated, _one_format(zarr_format, zarr_version))
            arrays = arrays_of(node, place, as_names(keep_variables))
            return decoders.decode(_group_store(node, arrays, place, options))

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        mode: str = "r",
        synchronizer: Any = None,
        consolidated: bool | None = None,
        chunk_store: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        zarr_version: int | None = None,
        zarr_format: int | None = None,
        use_zarr_fill_value_as_mask: bool | None = None,
        keep_variables: str | Iterable[str] | None = None,
        missing: str = "fill",
        quirks: str | None = None,
        strict: bool = False,
        duplicate_dims: str = "rename",
        decode_semantics: bool = True,
    ) -> dict[str, Dataset]:
        """Return the group and all groups below it as datasets, by their paths relative to ``group``.

        The keywords are those of `open_dataset`; ``keep_variables`` and ``drop_variables`` mean names in every group.
        """
        _refuse(synchronizer=synchronizer, chunk_store=chunk_store)
        dropped = as_names(drop_variables)
        decoders = Decoders(
            mask_and_scale, decode_times, concat_characters, decode_coords, dropped, use_cftime, decode_timedelta
        )
        place = place_of_given(filename_or_obj, mode, storage_options, missing, quirks, strict)
        options = _dataset_options(duplicate_dims, use_zarr_fill_value_as_mask, decode_semantics, strict)
        kept = as_names(keep_variables)
        with place, _fitting_collector(place), not_too_deep(place.store.url):
            node = place.open(group, consolidated, _one_format(zarr_format, zarr_version))
            if isinstance(node, Array):
                return {"/": decoders.decode(_group_store(node, arrays_of(node, place, kept), place, options))}
            return {
                path: decoders.decode(_group_store(each, chosen(arrays, kept), place, options))
                for path, each, arrays in walk(node, "/")
            }

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        mode: str = "r",
        synchronizer: Any = None,
        consolidated: bool | None = None,
        chunk_store: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        zarr_version: int | None = None,
        zarr_format: int | None = None,
        use_zarr_fill_value_as_mask: bool | None = None,
        keep_variables: str | Iterable[str] | None = None,
        missing: str = "fill",
        quirks: str | None = None,
        strict: bool = False,
        duplicate_dims: str = "rename",
        decode_semantics: bool = True,
    ) -> DataTree:
        """Return the group and all groups below it as a tree; the keywords are those of `open_groups_as_dict`."""
        groups = self.open_groups_as_dict(
            filename_or_obj,
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            use_cftime=use_cftime,
            decode_timedelta=decode_timedelta,
            group=group,
            mode=mode,
            synchronizer=synchronizer,
            consolidated=consolidated,
            chunk_store=chunk_store,
            storage_options=storage_options,
            zarr_version=zarr_version,
            zarr_format=zarr_format,
            use_zarr_fill_value_as_mask=use_zarr_fill_value_as_mask,
            keep_variables=keep_variables,
            missing=missing,
            quirks=quirks,
            strict=strict,
            duplicate_dims=duplicate_dims,
            decode_semantics=decode_semantics,
        )
        tree = xr.DataTree.from_dict(groups)
        for path, dataset in groups.items():
            tree[path].set_close(dataset.close)
        return tree


# xarray infers this for engines that it finds by name; a class handed over as ``engine=`` has to say it
XzarrBackendEntrypoint.open_dataset_parameters = tuple(
    inspect.signature(XzarrBackendEntrypoint.open_dataset).parameters
)[1:]


def _fitting_collector(place: Place) -> AbstractContextManager[None]:
    """Return the context to open in: without garbage collections, unless the store may keep us waiting."""
    return paused() if isinstance(place.store, LocalStore) else nullcontext()


def _group_store(node: Array | Group, arrays: Mapping[str, Array], place: Place, options: DatasetOptions) -> GroupStore:
    attributes = {} if isinstance(node, Array) else node.spec.attributes
    where = node.where if isinstance(node, Array) else f"{node.store.url}, group {node.name}"
    return GroupStore(arrays, attributes, node.zarr_format, where, options, place.close)


# --- keywords --------------------------------------------------------------------------------------------------------


def _dataset_options(
    duplicate_dims: str, fill_value_as_mask: bool | None, decode_semantics: bool | None, strict: bool
) -> DatasetOptions:
    check("duplicate_dims", duplicate_dims, ("rename", "keep"))
    check("decode_semantics", decode_semantics, (None, True, False))
    return DatasetOptions(PhonyDimensions(), duplicate_dims, fill_value_as_mask, strict, decode_semantics is not False)


def _one_format(zarr_format: int | None, zarr_version: int | None) -> int | None:
    if zarr_version is not None and zarr_format not in (None, zarr_version):
        raise XzarrError(f"zarr_format={zarr_format} and zarr_version={zarr_version} disagree", hint="give one of them")
    found = zarr_version if zarr_format is None else zarr_format
    check("zarr_format", found, (None, 2, 3))
    return found


def _refuse(**keywords: Any) -> None:
    for name, value in keywords.items():
        if value is not None:
            raise XzarrError(f"{name}= is not supported", hint="leave it out: it belongs to zarr-python 2")
