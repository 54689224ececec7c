"""Groups: a mapping from names to arrays and groups.

Imports array, nodes and the rows below. Invariant: a group knows its members through consolidated metadata or by
listing its folder, never by listing folders of arrays; a member that cannot be read is reported, not hidden.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from .array import Array
from .attribute_values import encode_attributes
from .attributes import Attributes
from .changing import check_writable
from .consolidating import consolidate, update_member
from .errors import MemberNotFoundError, NodeExistsError, NodeNotFoundError, SkippedNodeWarning, XzarrError
from .formats.v2 import parse_group_v2
from .formats.v3 import parse_group_v3
from .nodes import (
    GROUP,
    Child,
    Found,
    attempt,
    clean_path,
    consolidated_child,
    find_in_parents,
    find_node,
    load_children,
    near_name,
    place_of,
)
from .options import Options
from .paths import join, prefix_of
from .placing import group_documents, place_node
from .spec import JSON, ArraySpec, GroupSpec
from .stores.base import Store

if TYPE_CHECKING:
    from .display import Info, Tree


class Group(Mapping[str, "Array | Group"]):
    """A group of arrays and groups: ``group["name"]``, ``group["a/b"]``, iteration over the names.

    ``attrs`` are its attributes; ``arrays()``, ``groups()`` and ``members(depth)`` give (name, node) pairs.
    """

    def __init__(self, store: Store, path: str, found: Found, options: Options = Options()) -> None:  # noqa: B008
        self.store, self.path, self.options = store, path, options
        self._found = found

    # --- facts

    @property
    def spec(self) -> GroupSpec:
        """What the group's own documents say."""
        assert isinstance(self._found.spec, GroupSpec)
        return self._found.spec

    @property
    def attrs(self) -> Attributes:
        """The attributes; where the group was opened for writing, each change is stored at once."""
        return Attributes(self)

    @property
    def zarr_format(self) -> int:
        """2 or 3."""
        return self.spec.zarr_format

    @property
    def consolidated(self) -> bool:
        """Whether the members were found in consolidated metadata."""
        return self._found.members is not None

    @property
    def declared(self) -> bool:
        """Whether a document says that this is a group; older writers left folders with nodes in them."""
        return self._found.listing is None or ".zgroup" in self._found.listing

    @property
    def name(self) -> str:
        """The path with a leading slash."""
        return f"/{self.path}"

    @property
    def basename(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    # --- members

    @cached_property
    def children(self) -> Mapping[str, Child]:
        """What is right below the group, those that cannot be read included, found in one wave of requests."""
        return {child.name: child for child in load_children(self.store, self.path, self._found, self.options.reading)}

    def __getitem__(self, name: str) -> Array | Group:
        """Return the member at the relative path ``name``; raise `NodeNotFoundError` (a KeyError too)."""
        try:
            return self._member(name)
        except MemberNotFoundError as error:
            if isinstance(name, str):
                error.hint = near_name(self.store, self.path, name.strip("/"), self._found.members) or error.hint
            raise

    def _member(self, name: str) -> Array | Group:
        try:
            path = clean_path(name)
        except XzarrError as error:
            where = place_of(self.store, self.path)
            raise MemberNotFoundError(f"the group has no member {name!r:.80}", where=where, hint=error.what) from None
        if not path:
            return self
        members = self._found.members
        found = None
        full = join(self.path, path)
        if members is not None:
            known = attempt(self.store, self.path, path, consolidated_child, members, path, self.options.reading)
            if known.error is not None:
                raise known.error
            found = known.found
        elif "children" in self.__dict__ and "/" not in path and path in self.children:
            found = _usable(self.children[path])
        if found is None:
            found = self._find(full, path)
        return self._node(full, found)

    def _find(self, full: str, name: str) -> Found:
        try:
            return find_node(self.store, full, consolidated=self.options.consolidated, reading=self.options.reading)
        except NodeNotFoundError as error:
            ignored = self.options.consolidated is False
            found = None if ignored else find_in_parents(self.store, full, self.options.reading)
            if found is not None:
                return found
            raise MemberNotFoundError(
                f"the group has no member {name!r}", where=place_of(self.store, self.path), hint=error.hint
            ) from None

    def _node(self, path: str, found: Found) -> Array | Group:
        if isinstance(found.spec, ArraySpec):
            return Array(self.store, path, found.spec, self.options)
        return Group(self.store, path, found, self.options)

    def __iter__(self) -> Iterator[str]:
        return iter(self.children)

    def __len__(self) -> int:
        return len(self.children)

    def __contains__(self, name: object) -> bool:
        try:
            self._member(name)  # type: ignore[arg-type]
        except NodeNotFoundError:
            return False
        return True

    def members(self, depth: int | None = 1) -> Iterator[tuple[str, Array | Group]]:
        """Yield (relative path, node) of the members down to ``depth`` levels (None: all).

        A member whose metadata cannot be read is skipped with a warning; with ``strict`` its error is raised.
        """
        prefix = prefix_of(self.path)
        for name, child in self.children.items():
            if child.error is not None:
                self._report(child)
                continue
            node = self._node(f"{prefix}{name}", _usable(child))
            yield name, node
            if isinstance(node, Group) and depth != 1:
                for inner, below in node.members(None if depth is None else depth - 1):
                    yield f"{name}/{inner}", below

    def _report(self, child: Child) -> None:
        assert child.error is not None
        if self.options.strict:
            raise child.error
        warnings.warn(f"skipped {child.name!r}: {child.error}", SkippedNodeWarning, stacklevel=3)

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Yield (name, array) of the arrays right below the group."""
        return ((name, node) for name, node in self.members() if isinstance(node, Array))

    def groups(self) -> Iterator[tuple[str, Group]]:
        """Yield (name, group) of the groups right below the group."""
        return ((name, node) for name, node in self.members() if isinstance(node, Group))

    def tree(self, depth: int | None = None) -> Tree:
        """Return the group and its members as a tree, which prints as text and shows as HTML in notebooks."""
        from .display import Tree

        return Tree(self, depth)

    @property
    def info(self) -> Info:
        """A summary that prints as text and shows as HTML in notebooks."""
        from .display import group_info

        return group_info(self)

    # --- changing the group

    def create_array(self, name: str, **keywords: Any) -> Array:
        """Create an array below the group (keywords of `xz.create_array`; the format is the group's) and return it.

        Groups between this one and ``name`` that are missing are created. Raises `NodeExistsError` and what
        `xz.create_array` raises.
        """
        from .creation import create_array  # late: who reads creates nothing

        path = self._new(name)
        array = create_array(self.store, path, **{"zarr_format": self.zarr_format, **keywords})
        self._created(path)
        return array

    def create_group(
        self, name: str, *, attributes: Mapping[str, JSON] | None = None, overwrite: bool = False
    ) -> Group:
        """Create a group below this one and return it; raise `NodeExistsError` where something is stored."""
        path = self._new(name)
        group = new_group(self.store, path, attributes, self.zarr_format, overwrite, self.options)
        self._created(path)
        return group

    def require_group(self, name: str, *, attributes: Mapping[str, JSON] | None = None) -> Group:
        """Return the group ``name`` below this one, created if it is missing; raise `NodeExistsError` for an array."""
        try:
            found = self._member(name)
        except NodeNotFoundError:
            return self.create_group(name, attributes=attributes)
        if not isinstance(found, Group):
            where = place_of(self.store, found.path)
            raise NodeExistsError("an array lies here, not a group", where=where, hint="use another name")
        return found

    def consolidate(self) -> Group:
        """Write consolidated metadata of all members (`xz.consolidate_metadata`), use them, and return the group."""
        check_writable(self)
        self._found = consolidate(self.store, self.path)
        self.__dict__.pop("children", None)
        return self

    def __delitem__(self, name: str) -> None:
        """Delete the member ``name`` with all that lies below it; raise `NodeNotFoundError` (a KeyError too)."""
        path = self._new(name)
        node = self[name]
        self.store.delete_prefix(f"{path}/")
        update_member(self.store, node.path, None)
        self._reload()

    def _new(self, name: str) -> str:
        check_writable(self)
        name = clean_path(name)
        if not name:
            raise NodeExistsError("the group itself has no name below it", where=place_of(self.store, self.path))
        return join(self.path, name)

    def _created(self, path: str) -> None:
        """Make consolidated metadata above say what was created at ``path``, the groups on the way to it too."""
        parts = path[len(self.path) :].strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            place = join(self.path, *parts[:depth])
            update_member(self.store, place, find_node(self.store, place, consolidated=False).spec)
        self._reload()

    def _reload(self) -> None:
        """Look for the members anew: some were created or deleted."""
        self._found = find_node(self.store, self.path, kind=GROUP) if self.consolidated else Found(self.spec)
        self.__dict__.pop("children", None)

    def adopt(self, spec: GroupSpec) -> None:
        """Be the group that ``spec`` describes, which was just stored."""
        self._found = self._found._replace(spec=spec)

    def close(self) -> None:
        """Close the store, which finishes an archive; the store opens again when it is used again."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- identity

    def __reduce__(self) -> Any:
        return Group, (self.store, self.path, self._found, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and (self.store, self.path, self.spec) == (other.store, other.path, other.spec)

    def __hash__(self) -> int:
        return hash((self.store.url, self.path))

    def __repr__(self) -> str:
        return f"<xzarr_backend.Group {self.name} zarr_format={self.zarr_format}>"

    def _repr_html_(self) -> str:
        return self.info._repr_html_()


def new_group(
    store: Store, path: str, attributes: Mapping[str, JSON] | None, zarr_format: int, overwrite: bool, options: Options
) -> Group:
    """Store a new group at ``path`` and return it."""
    documents = group_documents(encode_attributes(attributes or {}), path, zarr_format)
    place_node(store, path, documents, zarr_format, overwrite)
    prefix = prefix_of(path)
    if zarr_format == 3:
        spec = parse_group_v3(documents[f"{prefix}zarr.json"])
    else:
        spec = parse_group_v2(documents[f"{prefix}.zgroup"], documents.get(f"{prefix}.zattrs", {}))
    return Group(store, path, Found(spec), options)


def _usable(child: Child) -> Found:
    if child.error is not None:
        raise child.error
    assert child.found is not None
    return child.found
