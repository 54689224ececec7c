"""The xarray engine ``xzarr``: what `xr.open_dataset(..., engine="xzarr")` calls.

Imports xarray (which loads this module) and the rows below. Invariant: the keywords are those of the built-in Zarr
engine and a few more; an unknown one is a TypeError; a dataset comes back lazy and without indexes, as xarray demands.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr
from xarray.backends import AbstractDataStore, BackendEntrypoint, StoreBackendEntrypoint

from .array import Array, Options
from .compat import check_quirks
from .errors import MemberNotFoundError, MetadataError, NodeNotFoundError, XzarrError
from .group import Group
from .nodes import clean_path
from .opening import MISSING, open_node
from .stores import open_store
from .stores.base import Store
from .xarray_dimensions import PhonyDimensions
from .xarray_store import GroupStore, Reading

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

MODES = ("r", "r+", "a", "a-")
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
        decode_semantics: bool | None = None,
    ) -> Dataset:
        """Return the group (or the array, as a dataset with one variable) at ``group`` of ``filename_or_obj``.

        ``filename_or_obj`` is anything that `xzarr_backend.open` takes, or an open `Group` or `Array`. Beyond the
        keywords of the built-in engine: ``keep_variables`` opens these and no others; ``missing`` says what chunks that
        are not stored are ("fill", "warn", "raise"); ``duplicate_dims`` "rename" makes the second ``x`` of a variable
        ``x_1``, "keep" leaves it; ``strict`` raises for members that cannot be read, which are skipped with a warning
        otherwise; ``quirks`` names a writer whose ways are assumed. ``synchronizer``, ``chunk_store``, ``engine`` and
        ``cache_members`` are accepted for compatibility; the first two must be None.
        Raises `NodeNotFoundError`, `MetadataError` or `UnsupportedError`.
        """
        _refuse(synchronizer=synchronizer, chunk_store=chunk_store)
        decoders = _Decoders(
            mask_and_scale, decode_times, concat_characters, decode_coords, drop_variables, use_cftime, decode_timedelta
        )
        if isinstance(store, AbstractDataStore):
            return decoders.decode(store)
        place = _place(filename_or_obj if store is None else store, mode, storage_options, missing, quirks, strict)
        reading = _reading(duplicate_dims, use_zarr_fill_value_as_mask, decode_semantics, strict)
        with place:
            node = place.open(group, consolidated, _one_format(zarr_format, zarr_version))
            arrays = _arrays_of(node, place, keep_variables)
            return decoders.decode(_group_store(node, arrays, place, reading))

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
        decode_semantics: bool | None = None,
    ) -> dict[str, Dataset]:
        """Return the group and all groups below it as datasets, by their paths relative to ``group``.

        The keywords are those of `open_dataset`; ``keep_variables`` and ``drop_variables`` mean names in every group.
        """
        _refuse(synchronizer=synchronizer, chunk_store=chunk_store)
        decoders = _Decoders(
            mask_and_scale, decode_times, concat_characters, decode_coords, drop_variables, use_cftime, decode_timedelta
        )
        place = _place(filename_or_obj, mode, storage_options, missing, quirks, strict)
        reading = _reading(duplicate_dims, use_zarr_fill_value_as_mask, decode_semantics, strict)
        kept = _as_names(keep_variables)
        with place:
            node = place.open(group, consolidated, _one_format(zarr_format, zarr_version))
            if isinstance(node, Array):
                return {"/": decoders.decode(_group_store(node, _arrays_of(node, place, kept), place, reading))}
            return {
                path: decoders.decode(
                    _group_store(each, {n: a for n, a in arrays.items() if kept is None or n in kept}, place, reading)
                )
                for path, each, arrays in _walk(node, "/")
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
        decode_semantics: bool | None = None,
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


class _Decoders(NamedTuple):
    """What xarray decodes, and how."""

    mask_and_scale: Any
    decode_times: Any
    concat_characters: Any
    decode_coords: Any
    drop_variables: Any
    use_cftime: Any
    decode_timedelta: Any

    def decode(self, store: AbstractDataStore) -> Dataset:
        """Return the dataset in ``store``; raise `MetadataError` where sizes of a dimension conflict."""
        try:
            return StoreBackendEntrypoint().open_dataset(store, **self._asdict())
        except ValueError as error:
            if isinstance(error, XzarrError) or not isinstance(store, GroupStore):
                raise
            conflict = store.conflict(_as_names(self.drop_variables) or ())
            if conflict is None:
                raise
            raise conflict from error


# --- finding the node ------------------------------------------------------------------------------------------------


class _Place:
    """A store, or a node of it that was open already; closes the store on errors when it was opened here."""

    def __init__(self, store: Store, ours: bool, options: Options, node: Array | Group | None = None) -> None:
        self.store, self._ours, self._options, self._node = store, ours, options, node

    def open(self, group: str | None, consolidated: bool | None, zarr_format: int | None) -> Array | Group:
        """Return the node at ``group``; warn as the built-in engine does where metadata are not consolidated."""
        path = clean_path(group or "")
        if self._node is not None:
            return _below(self._node, path)
        if consolidated is False or not path:
            node = open_node(self.store, path, self._options, consolidated=consolidated, zarr_format=zarr_format)
        else:
            node = self._open_below_root(path, consolidated, zarr_format)
        if consolidated is None and isinstance(node, Group) and not node.consolidated:
            self._warn_of_no_consolidated()
        return node

    def _open_below_root(self, path: str, consolidated: bool | None, zarr_format: int | None) -> Array | Group:
        """Return the node as the root's consolidated metadata know it, or else by its own documents."""
        try:
            root = open_node(self.store, "", self._options, consolidated=None, zarr_format=zarr_format)
        except NodeNotFoundError:
            root = None
        if isinstance(root, Group) and root.consolidated:
            return _below(root, path)
        try:
            return open_node(self.store, path, self._options, consolidated=consolidated, zarr_format=zarr_format)
        except NodeNotFoundError as error:
            if root is None:
                raise
            raise MemberNotFoundError(error.what, where=error.where, hint=error.hint) from None

    def _warn_of_no_consolidated(self) -> None:
        if not self.store.supports_consolidated_metadata:
            return
        warnings.warn(
            f"the metadata at {self.store.url} are not consolidated, so that opening takes a request for every array; "
            "write them with xz.consolidate_metadata(store), or pass consolidated=False (do not look for them) or "
            "consolidated=True (an error where there are none)",
            RuntimeWarning,
            stacklevel=_levels_to_the_caller(),
        )

    def close(self) -> None:
        """Close the store if it was opened here."""
        if self._ours:
            self.store.close()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, *error: object) -> None:
        if kind is not None:
            self.close()


def _place(
    given: Any,
    mode: str,
    storage_options: Mapping[str, Any] | None,
    missing: str,
    quirks: str | None,
    strict: bool,
) -> _Place:
    _check("mode", mode, MODES)
    _check("missing", missing, MISSING)
    check_quirks(quirks)
    if isinstance(given, Group | Array):
        options = given.options
        if missing != "fill" or strict:
            options = options._replace(missing=missing, strict=strict)
        return _Place(given.store, False, options, _with_options(given, options))
    store = open_store(_normalised(given), mode="r" if mode == "r" else "r+", storage_options=storage_options)
    return _Place(store, store is not given, Options(missing=missing, quirks=quirks, strict=strict))


def _with_options(node: Array | Group, options: Options) -> Array | Group:
    if options == node.options:
        return node
    changed = copy.copy(node)
    changed.options = options
    return changed


def _normalised(given: Any) -> Any:
    if not isinstance(given, str | os.PathLike):
        return given
    path = os.fspath(given)
    return path if re.match(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)", path) else os.path.abspath(os.path.expanduser(path))


def _below(node: Array | Group, path: str) -> Array | Group:
    if not path:
        return node
    if isinstance(node, Array):
        raise MemberNotFoundError(f"an array has no member {path!r}", where=node.where)
    return node[path]


def _walk(group: Group, path: str) -> Iterator[tuple[str, Group, dict[str, Array]]]:
    """Yield (path, group, its arrays) of the group and all groups below it; each group's members are asked for once."""
    members = dict(group.members())
    yield path, group, {name: node for name, node in members.items() if isinstance(node, Array)}
    for name, node in members.items():
        if isinstance(node, Group):
            yield from _walk(node, f"{path.rstrip('/')}/{name}")


def _arrays_of(node: Array | Group, place: _Place, keep: str | Iterable[str] | None) -> dict[str, Array]:
    """Return the arrays to open: those of a group, those to keep, or the one array that ``node`` is."""
    if isinstance(node, Array):
        return {_name_of(node, place.store): node}
    kept = _as_names(keep)
    if kept is None:
        return dict(node.arrays())
    found = ((name, node[name]) for name in kept)
    return {name: member for name, member in found if isinstance(member, Array)}


def _name_of(array: Array, store: Store) -> str:
    """Return the name of a variable for an array: its own, else that of its store's folder or file, else "data"."""
    if array.path:
        return array.basename
    if not re.match(r"/|[A-Za-z]:\\|[A-Za-z][A-Za-z0-9+.-]*://", store.url):
        return "data"
    last = re.split(r"[/\\]", store.url.rstrip("/\\"))[-1]
    return re.sub(r"(\.zarr)?(\.zip)?$", "", last) or "data"


def _group_store(node: Array | Group, arrays: Mapping[str, Array], place: _Place, reading: Reading) -> GroupStore:
    attributes = {} if isinstance(node, Array) else node.spec.attributes
    where = node.where if isinstance(node, Array) else f"{node.store.url}, group {node.name}"
    return GroupStore(arrays, attributes, node.zarr_format, where, reading, place.close)


# --- keywords --------------------------------------------------------------------------------------------------------


def _reading(
    duplicate_dims: str, fill_value_as_mask: bool | None, decode_semantics: bool | None, strict: bool
) -> Reading:
    _check("duplicate_dims", duplicate_dims, ("rename", "keep"))
    _check("decode_semantics", decode_semantics, (None, True, False))
    return Reading(PhonyDimensions(), duplicate_dims, fill_value_as_mask, strict)


def _as_names(names: str | Iterable[str] | None) -> list[str] | None:
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def _one_format(zarr_format: int | None, zarr_version: int | None) -> int | None:
    if zarr_version is not None and zarr_format not in (None, zarr_version):
        raise XzarrError(f"zarr_format={zarr_format} and zarr_version={zarr_version} disagree", hint="give one of them")
    found = zarr_version if zarr_format is None else zarr_format
    _check("zarr_format", found, (None, 2, 3))
    return found


def _refuse(**keywords: Any) -> None:
    for name, value in keywords.items():
        if value is not None:
            raise XzarrError(f"{name}= is not supported", hint="leave it out: it belongs to zarr-python 2")


def _check(keyword: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise MetadataError(f"{keyword}={value!r} is not possible", hint=f"use one of {', '.join(map(repr, allowed))}")


def _levels_to_the_caller() -> int:
    """Return the stacklevel of the first frame outside xarray and this package."""
    inside = tuple(os.path.dirname(os.path.abspath(path)) for path in (__file__, xr.__file__))
    level, frame = 1, sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    return level + 1
