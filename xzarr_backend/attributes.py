"""Attributes of a node as a mapping that can be changed.

Imports changing and the rows below. Invariant: every change is stored at once, in one atomic step, or raises and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from .changing import Node, change_attributes


class Attributes(MutableMapping[str, Any]):
    """The attributes of an array or a group: ``node.attrs["units"] = "K"`` is stored at once.

    ``update`` and ``put`` store any number of changes in one step. Values are what JSON holds (numbers, text, None,
    lists, dicts), and besides NaN and infinity, bytes, dates and times, complex numbers, NumPy scalars and arrays
    (which become plain numbers and lists, as with xarray). Changing a list or dict that was returned changes nothing
    that is stored: assign it again. Raises `ReadOnlyError`, and `MetadataError` naming the key of what cannot be
    stored.
    """

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def asdict(self) -> dict[str, Any]:
        """Return a copy of the attributes as a dict."""
        return dict(self._values)

    def put(self, attributes: Mapping[str, Any]) -> None:
        """Replace all attributes by ``attributes``, in one step."""
        change_attributes(self._node, lambda _: attributes)

    def update(self, *others: Any, **attributes: Any) -> None:
        """Set several attributes in one step."""
        given = dict(*others, **attributes)
        change_attributes(self._node, lambda stored: {**stored, **given})

    def clear(self) -> None:
        """Remove all attributes in one step."""
        self.put({})

    def __getitem__(self, name: str) -> Any:
        """Return the value of an attribute."""
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        change_attributes(self._node, lambda stored: {**stored, name: value})

    def __delitem__(self, name: str) -> None:
        """Remove an attribute; raise `KeyError` when there is none of this name."""
        self._values[name]
        change_attributes(self._node, lambda stored: {n: value for n, value in stored.items() if n != name})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Attributes({dict(self._values)!r})"

    @property
    def _values(self) -> Mapping[str, Any]:
        attributes: Mapping[str, Any] = self._node.spec.attributes
        return attributes
