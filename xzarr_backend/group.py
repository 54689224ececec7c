"""Groups: a mapping from names to arrays and groups.

Imports array, nodes and the rows below. Invariant: a group knows its members through consolidated metadata or by
listing its folder, never by listing folders of arrays; a member that cannot be read is reported, not hidden.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .array import Array, Options
from .errors import MemberNotFoundError, NodeNotFoundError, SkippedNodeWarning
from .nodes import (
    Child,
    Found,
    clean_path,
    consolidated_child,
    find_in_parents,
    find_node,
    load_children,
    place_of,
)
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
    def attrs(self) -> Mapping[str, JSON]:
        """The attributes, read-only."""
        return MappingProxyType(dict(self.spec.attributes))

    @property
    def zarr_format(self) -> int:
        """2 or 3."""
        return self.spec.zarr_format

    @property
    def consolidated(self) -> bool:
        """Whether the members were found in consolidated metadata."""
        return self._found.members is not None

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
        path = clean_path(name)
        if not path:
            return self
        members = self._found.members
        found = None
        if members is not None:
            found = consolidated_child(members, path, self.options.reading)
        elif "children" in self.__dict__ and "/" not in path and path in self.children:
            found = _usable(self.children[path])
        full = f"{self.path}/{path}" if self.path else path
        if found is None:
            found = self._find(full, path)
        return self._node(full, found)

    def _find(self, full: str, name: str) -> Found:
        try:
            return find_node(self.store, full, reading=self.options.reading)
        except NodeNotFoundError as error:
            found = find_in_parents(self.store, full, self.options.reading)
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
            self[str(name)]
        except NodeNotFoundError:
            return False
        return True

    def members(self, depth: int | None = 1) -> Iterator[tuple[str, Array | Group]]:
        """Yield (relative path, node) of the members down to ``depth`` levels (None: all).

        A member whose metadata cannot be read is skipped with a warning; with ``strict`` its error is raised.
        """
        for name, child in self.children.items():
            if child.error is not None:
                self._report(child)
                continue
            node = self._node(f"{self.path}/{name}" if self.path else name, _usable(child))
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


def _usable(child: Child) -> Found:
    if child.error is not None:
        raise child.error
    assert child.found is not None
    return child.found
