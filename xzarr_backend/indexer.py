"""The ways of selecting that are no plain brackets: `oindex`, `vindex` and `blocks`.

Imports array for types only, errors and selection. Invariant: an indexer holds nothing but the array it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import SelectionError
from .selection import Selection, parse_blocks, parse_orthogonal, parse_points

if TYPE_CHECKING:
    from .array import Array

_PARSERS: dict[str, Callable[[Array, Any], Selection]] = {
    "oindex": lambda array, key: parse_orthogonal(key, array.shape),
    "vindex": lambda array, key: parse_points(key, array.shape),
    "blocks": lambda array, key: parse_blocks(key, array.chunk_grid),
}


class Indexer:
    """One way of selecting from an array, as ``array.oindex``, ``array.vindex`` and ``array.blocks`` give it."""

    __slots__ = ("_array", "_way")

    def __init__(self, array: Array, way: str) -> None:
        self._array, self._way = array, way

    def __getitem__(self, key: Any) -> Any:
        """Return the selected values."""
        return self._array.read(self._parse(key))

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write ``values``, which broadcast to the selection."""
        self._array.write(self._parse(key), values)

    def _parse(self, key: Any) -> Selection:
        try:
            return _PARSERS[self._way](self._array, key)
        except SelectionError as error:
            raise error.at(self._array.where)  # noqa: B904 (the same error, with its place)
