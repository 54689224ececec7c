"""Finding what to open: from what xarray was given to a group or an array, and the arrays in it.

Imports xarray_store, opening, group, array and the rows below. Invariant: metadata are asked for once; a store that was
opened here is closed when opening fails, one that the caller handed over never is.
"""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from .array import Array
from .compat import check_quirks
from .errors import MemberNotFoundError, MetadataError, NodeNotFoundError, XzarrError
from .group import Group
from .nodes import clean_path, place_of
from .opening import MISSING, open_node
from .options import Options
from .stores import open_store
from .stores.base import Store
from .xarray_store import levels_to_the_caller

MODES = ("r", "r+", "a", "a-")


class Place:
    """A store, or a node of it that was open already; closes the store on errors when it was opened here."""

    def __init__(self, store: Store, ours: bool, options: Options, node: Array | Group | None = None) -> None:
        self.store, self._ours, self._options, self._node = store, ours, options, node

    def open(self, group: str | None, consolidated: bool | None, zarr_format: int | None) -> Array | Group:
        """Return the node at ``group``; warn as the built-in engine does where metadata are not consolidated."""
        path = clean_path(group or "")
        if self._node is not None:
            return _below(self._node, path)
        if not self.store.supports_consolidated_metadata:
            consolidated = False  # as in xarray, asking for them is no error: such a store has no need of them
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
        except XzarrError:  # no root, or one that cannot be read, which need not keep anybody from what lies below
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
            "Failed to open Zarr store with consolidated metadata: "
            f"those at {self.store.url} are not consolidated, so that opening takes a request for every array; "
            "write them with xz.consolidate_metadata(store), or pass consolidated=False (do not look for them) or "
            "consolidated=True (an error where there are none)",
            RuntimeWarning,
            stacklevel=levels_to_the_caller(),
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


def place_of_given(
    given: Any,
    mode: str,
    storage_options: Mapping[str, Any] | None,
    missing: str,
    quirks: str | None,
    strict: bool,
) -> Place:
    """Return the place that ``given`` stands for: what `open_store` takes, or a node of its options.

    Raise `XzarrError` for impossible keywords and for what is no store.
    """
    check("mode", mode, MODES)
    check("missing", missing, MISSING)
    check_quirks(quirks)
    if isinstance(given, Group | Array):
        options = given.options
        kept = options.missing if missing == "fill" else missing
        options = options._replace(missing=kept, strict=strict or options.strict)
        return Place(given.store, False, options, _with_options(given, options))
    store = open_store(_normalised(given), mode="r" if mode == "r" else "r+", storage_options=storage_options)
    return Place(store, store is not given, Options(missing=missing, quirks=quirks, strict=strict))


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


def walk(group: Group, path: str) -> Iterator[tuple[str, Group, dict[str, Array]]]:
    """Yield (path, group, its arrays) of the group and all groups below it; each group's members are asked for once."""
    members = dict(group.members())
    yield path, group, {name: node for name, node in members.items() if isinstance(node, Array)}
    for name, node in members.items():
        if isinstance(node, Group):
            yield from walk(node, f"{path.rstrip('/')}/{name}")


def arrays_of(node: Array | Group, place: Place, kept: Sequence[str] | None) -> dict[str, Array]:
    """Return the arrays to open: those of a group, those to keep, or the one array that ``node`` is."""
    if isinstance(node, Array):
        return {_name_of(node, place.store): node}
    if kept is None:
        found = dict(node.arrays())
        if not found and not node.declared:  # a folder of stores, most likely
            raise NodeNotFoundError(
                "no dataset is stored here, but nodes lie below",
                where=place_of(node.store, node.path),
                hint=f"open one of {', '.join(map(repr, islice(node, 5)))}, or all with open_datatree",
            )
        return found
    from .xarray_expression import parts_named  # late: few calls keep variables

    arrays: dict[str, Array] = {}
    for name in kept:
        parts = {} if name in node else parts_named(dict(node.arrays()), name)
        member = None if parts else node[name]
        arrays |= parts if not isinstance(member, Array) else {name: member}
    return arrays


def chosen(arrays: Mapping[str, Array], kept: Sequence[str] | None) -> Mapping[str, Array]:
    """Return those of a group's ``arrays`` that are to be kept, all of them where nothing is said."""
    if kept is None:
        return arrays
    from .xarray_expression import parts_named

    parts = {part for name in kept for part in parts_named(arrays, name)}
    return {name: array for name, array in arrays.items() if name in kept or name in parts}


def _name_of(array: Array, store: Store) -> str:
    """Return the name of a variable for an array: its own, else that of its store's folder or file, else "data"."""
    if array.path:
        return array.basename
    if not re.match(r"/|[A-Za-z]:\\|[A-Za-z][A-Za-z0-9+.-]*://", store.url):
        return "data"
    last = re.split(r"[/\\]", store.url.rstrip("/\\"))[-1]
    return re.sub(r"(\.zarr)?(\.zip)?$", "", last) or "data"


def check(keyword: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise unless the value of the keyword is one of those ``allowed``."""
    if value not in allowed:
        raise MetadataError(f"{keyword}={value!r} is not possible", hint=f"use one of {', '.join(map(repr, allowed))}")
