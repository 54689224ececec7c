"""The stored group that a dataset is written into: what is there already, and making what is not.

Imports xarray, group, opening, xarray_store and the rows below. Invariant: finding a target writes nothing; a group is
created with all its parents, and never over something that is there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import xarray as xr
from xarray import conventions

from .array import Array
from .errors import MemberNotFoundError, MetadataError, NodeExistsError, NodeNotFoundError, UnsupportedError
from .fetching import get_documents, list_names
from .formats.documents import NODES, parse_json
from .group import Group
from .nodes import GROUP, place_of
from .opening import open_node
from .options import Options
from .paths import join, prefix_of
from .placing import format_above
from .spec import JSON
from .stored_documents import store_document
from .stores.base import Store
from .xarray_dimensions import PhonyDimensions
from .xarray_store import DatasetOptions, GroupStore


class Target(NamedTuple):
    """A group by its place in a store. ``group`` is None where it is to be created."""

    store: Store
    path: str
    zarr_format: int
    group: Group | None
    arrays: Mapping[str, Array]

    @property
    def where(self) -> str:
        """How errors name the group."""
        return place_of(self.store, self.path)

    def dims(self) -> dict[str, tuple[Hashable, ...]]:
        """Return the dimensions of the arrays that are there."""
        return {name: variable.dims for name, variable in self.variables(self.arrays).items()}

    def variables(self, names: Iterable[Hashable]) -> dict[str, xr.Variable]:
        """Return arrays as variables, not decoded and not read."""
        arrays = {str(name): self.arrays[str(name)] for name in names}
        if not arrays:
            return {}
        return GroupStore(
            arrays, {}, self.zarr_format, self.where, DatasetOptions(PhonyDimensions(), strict=True), lambda: None
        ).get_variables()

    def decoded(self, names: Iterable[Hashable]) -> dict[Hashable, xr.Variable]:
        """Return arrays as decoded variables, whose encoding is the one to write with."""
        found, _, _ = conventions.decode_cf_variables(self.variables(names), {})
        return dict(found)

    def coordinate(self, name: Hashable) -> xr.Variable:
        """Return one decoded variable; raise `MemberNotFoundError` where it is not there."""
        if name not in self.arrays:
            raise MemberNotFoundError(f"no array {name!r} is stored", where=self.where)
        return self.decoded([name])[name]


def new_target(store: Store, path: str, zarr_format: int | None) -> Target:
    """Return the target for a group that is created, whatever is there now, in the format of the groups above it.

    Raises `MetadataError` where ``zarr_format`` is another one: few readers would find the group.
    """
    above = format_above(store, path)
    if above is not None and zarr_format not in (None, above):
        raise MetadataError(
            f"the groups above are of Zarr v{above}, not v{zarr_format}",
            where=place_of(store, path),
            hint="leave zarr_format out, or use another store",
        )
    return Target(store, path, zarr_format or above or 3, None, {})


def find_target(
    store: Store, path: str, mode: str, consolidated: bool | None, zarr_format: int | None, write_empty_chunks: bool
) -> Target:
    """Return what ``mode`` finds at ``path``.

    Raises `NodeExistsError` for "w-" where a node is there, `NodeNotFoundError` for "r+" where none is.
    """
    if mode == "w-":
        refuse_existing(store, path)
        return new_target(store, path, zarr_format)
    try:
        group = _open_group(store, path, consolidated if mode == "r+" else False)
    except NodeNotFoundError:
        if mode == "r+":
            raise
        refuse_existing(store, path)
        return new_target(store, path, zarr_format)
    if mode != "r+" and not group.declared and not any(True for _ in group.arrays()):
        return new_target(store, path, zarr_format)  # a folder of stores
    if zarr_format not in (None, group.zarr_format):
        raise MetadataError(
            f"the group is of Zarr v{group.zarr_format}, not v{zarr_format}",
            where=place_of(store, path),
            hint='leave zarr_format out, or replace the group with mode="w"',
        )
    return target_of(group, write_empty_chunks)


def target_of(group: Group, write_empty_chunks: bool) -> Target:
    """Return the target that an open group is."""
    options = Options(writable=True, write_empty_chunks=write_empty_chunks or None)
    arrays = {name: Array(group.store, array.path, array.spec, options) for name, array in group.arrays()}
    return Target(group.store, group.path, group.zarr_format, group, arrays)


def _open_group(store: Store, path: str, consolidated: bool | None) -> Group:
    options = Options(writable=True)
    if not store.supports_consolidated_metadata:
        consolidated = False
    if path and consolidated is not False:
        try:
            root: Any = open_node(store, "", options, kind=GROUP, consolidated=consolidated)
        except NodeNotFoundError:
            root = None
        if root is not None and root.consolidated:
            found = root[path]
            if isinstance(found, Group):
                return found
    group = open_node(store, path, options, kind=GROUP, consolidated=None if path else consolidated)
    assert isinstance(group, Group)
    return group


def refuse_existing(store: Store, path: str) -> None:
    """Raise `NodeExistsError` where a node is stored at ``path``."""
    prefix = prefix_of(path)
    if any(raw is not None for raw in get_documents(store, [prefix + name for name in NODES])):
        raise NodeExistsError(
            "a node is stored here already",
            where=place_of(store, path),
            hint='use mode="w" to replace it, or mode="a" to add to it',
        )


def refuse_other_kinds(store: Store, top: str, groups: Iterable[str], arrays: Iterable[str]) -> None:
    """Raise `NodeExistsError` where an array is stored at a path of ``groups``, or a group at one of ``arrays``.

    The document of a node would take the place of the other one's, whose members or chunks nobody would find any more.
    All lie below ``top``, which is listed first: mostly nothing is there.
    """
    new = dict.fromkeys(groups, "group") | dict.fromkeys(arrays, "array")
    if not new:
        return
    prefix = prefix_of(top)
    with suppress(UnsupportedError):  # where nothing can be listed, all are asked for
        names = {name.removesuffix("/") for name in list_names(store, prefix)}
        new = {path: kind for path, kind in new.items() if path.removeprefix(prefix).partition("/")[0] in names}
    found = iter(get_documents(store, [join(path, name) for path in new for name in NODES]))
    for path, kind in new.items():
        v3, array, group = (next(found) for _ in NODES)
        stored = {"array": array is not None, "group": group is not None}
        if v3 is not None:
            is_group = parse_json(v3, f"{path}/zarr.json").get("node_type") == "group"
            stored["group" if is_group else "array"] = True
        other = "group" if kind == "array" else "array"
        if stored[other]:
            raise NodeExistsError(
                f"the {other} that is stored here would be replaced by the {kind} {path.rpartition('/')[2]!r}",
                where=place_of(store, path),
                hint=f"rename the {'variable' if kind == 'array' else 'group'}, or delete what is stored first",
            )


# --- creating -------------------------------------------------------------------------------------------------------


def store_documents(store: Store, documents: Mapping[str, JSON]) -> None:
    """Store all ``documents``, in their order."""
    for key, document in documents.items():
        store_document(store, key, document)
