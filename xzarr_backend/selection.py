"""What the user wrote between the brackets, reduced to plain numbers.

Imports NumPy and errors. Invariant: a `Selection` holds, for each dimension, a `range` or an array of indices within
the shape, so that nothing behind it has to think about ellipsis, newaxis, masks, negative numbers or bounds; it also
knows how to turn the planned result into the shape that NumPy would return.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import SelectionError

Indices = npt.NDArray[np.int64]
AxisSelection = range | Indices


class Selection(NamedTuple):
    """``axes``: one range or 1-d index array per dimension.

    ``points``: the dimensions whose index arrays are taken together, element by element (empty: every combination of
    the axes). The planned result has the shape ``planned_shape``: the points first, then the other dimensions.
    ``shape`` and ``order`` turn it into the user's result: reshape to ``shape``, then transpose by ``order``.
    """

    axes: tuple[AxisSelection, ...]
    points: tuple[int, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...] | None = None
    scalar: bool = False

    @property
    def planned_shape(self) -> tuple[int, ...]:
        """The shape of the array that reading fills."""
        if not self.points:
            return tuple(map(len, self.axes))
        rest = [len(axis) for place, axis in enumerate(self.axes) if place not in self.points]
        return (len(self.axes[self.points[0]]), *rest)

    def finish(self, planned: Any) -> Any:
        """Return the planned result as the user asked for it (a view, or a scalar)."""
        result = planned.reshape(self.shape)
        if self.order is not None:
            result = result.transpose(self.order)
        return result[()] if self.scalar else result

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape that the user sees."""
        return self.shape if self.order is None else tuple(self.shape[place] for place in self.order)

    def arrange(self, values: Any) -> Any:
        """Return ``values``, which broadcast to `result_shape`, in the planned shape: the inverse of `finish`."""
        if values.shape != self.result_shape:
            while values.ndim > len(self.result_shape) and len(values) == 1:
                values = values[0, ...]  # as NumPy does when it assigns; an array still, of objects too
            try:
                values = np.broadcast_to(values, self.result_shape)
            except ValueError as error:
                raise SelectionError(
                    f"values of shape {values.shape} do not fit the selection of shape {self.result_shape}",
                    hint="give a scalar or values that broadcast to the selection",
                ) from error
        if self.order is not None:
            values = values.transpose(np.argsort(self.order))
        return values.reshape(self.planned_shape)


# --- one dimension -----------------------------------------------------------------------------------------------


def _axis_int(item: Any, length: int, axis: int) -> int:
    index = operator.index(item)
    if not -length <= index < length:
        raise SelectionError(f"index {index} is out of bounds for dimension {axis} with size {length}")
    return index + length if index < 0 else index


def _axis_slice(item: slice, length: int) -> range:
    try:
        return range(*item.indices(length))
    except (TypeError, ValueError) as error:
        raise SelectionError(f"{item} is not a slice of whole numbers: {error}") from error


def _axis_array(item: Any, length: int, axis: int) -> Indices:
    """Check an integer array of any shape against the bounds and make its indices positive."""
    found: Indices = np.asarray(item)
    if found.dtype.kind not in "iu":
        if found.size:
            raise SelectionError(f"an array of {found.dtype} cannot index dimension {axis}: use integers or booleans")
        found = found.astype("i8")
    if found.dtype.kind == "u" and found.size and found.max() >= 2**63:
        raise SelectionError(f"index {found.max()} is out of bounds for dimension {axis} with size {length}")
    found = found.astype("i8", copy=False)
    if found.size and (found.min() < -length or found.max() >= length):
        wrong = found[(found < -length) | (found >= length)].flat[0]
        raise SelectionError(f"index {wrong} is out of bounds for dimension {axis} with size {length}")
    return np.where(found < 0, found + length, found) if found.size and found.min() < 0 else found


def _is_array(item: Any) -> bool:
    """Whether an item indexes by an array: lists and arrays, but no 0-d integers."""
    if isinstance(item, list | range | tuple):
        return True
    return isinstance(item, np.ndarray) and (item.ndim > 0 or item.dtype == bool)


def _as_array(item: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(item)
    except (TypeError, ValueError, OverflowError) as error:
        raise SelectionError(f"{item!r:.80} is no array of indices: {error}") from error


def _as_items(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _masks_to_indices(items: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """Replace each boolean array of k dimensions by k integer arrays; check its shape."""
    found: list[Any] = []
    axis = 0
    for item in items:
        if item is None or item is Ellipsis:
            found.append(item)
            continue
        array = _as_array(item) if _is_array(item) else None
        if array is None or array.dtype != bool:
            found.append(array if array is not None else item)
            axis += 1
            continue
        if array.ndim == 0 or array.shape != shape[axis : axis + array.ndim]:
            raise SelectionError(
                f"a mask of shape {array.shape} does not fit dimensions {axis} to {axis + array.ndim - 1} "
                f"of an array of shape {shape}"
            )
        found.extend(array.nonzero())
        axis += array.ndim
    return found


def _expand(items: tuple[Any, ...], shape: tuple[int, ...], *, keep_ellipsis: bool = False) -> list[Any]:
    """Replace the ellipsis, add the missing slices at the end; newaxis (None) stays.

    ``keep_ellipsis``: one that stands for no dimension stays, since it separates index arrays nevertheless.
    """
    used = sum(np.ndim(i) if _is_mask(i) else i is not None and i is not Ellipsis for i in items)
    ellipses = sum(item is Ellipsis for item in items)
    if ellipses > 1:
        raise SelectionError("a selection can hold only one ellipsis (...)")
    if used > len(shape):
        raise SelectionError(f"too many indices: {used} for an array with {len(shape)} dimensions")
    place = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    missing: list[Any] = [slice(None)] * (len(shape) - used)
    if keep_ellipsis and ellipses and not missing:
        missing = [Ellipsis]
    before, after = list(items[:place]), list(items[place + 1 :])
    # a mask that stands behind the ellipsis must be measured at its own dimensions, so expand first
    return _masks_to_indices([*before, *missing, *after], shape)


def _is_mask(item: Any) -> bool:
    return _is_array(item) and _as_array(item).dtype == bool


# --- a[...] ------------------------------------------------------------------------------------------------------


def parse_basic(key: Any, shape: tuple[int, ...]) -> Selection:
    """Parse ``a[key]`` with NumPy's meaning: ints, slices, ellipsis, newaxis, masks, and index arrays."""
    items = key if type(key) is tuple else (key,)
    plain = _PLAIN.issuperset(map(type, items))
    if not plain and any(map(_is_array, items)):
        return _parse_fancy(_expand(items, shape, keep_ellipsis=True), shape)
    expanded = items if plain and len(items) == len(shape) else _expand(items, shape)
    axes: list[range] = []
    result = []
    for item in expanded:
        axis = len(axes)
        if type(item) is slice:
            axes.append(_axis_slice(item, shape[axis]))
            result.append(len(axes[-1]))
        elif item is None:
            result.append(1)
        else:
            axes.append(_one(item, shape[axis], axis))
    scalar = not result and (bool(shape) or not items) and Ellipsis not in items
    return Selection(tuple(axes), (), tuple(result), None, scalar)


_PLAIN = frozenset({int, slice})


def _one(item: Any, length: int, axis: int) -> range:
    if isinstance(item, bool):
        raise SelectionError(f"{item} is no index of dimension {axis}: use an integer or a mask of the array's shape")
    try:
        index = _axis_int(item, length, axis)
    except TypeError:
        raise SelectionError(
            f"{item!r} cannot index an array: use integers, slices, '...', None, arrays, masks or field names"
        ) from None
    return range(index, index + 1)


def _parse_fancy(items: list[Any], shape: tuple[int, ...], *, in_front: bool = False) -> Selection:
    """Parse a selection that holds index arrays; their dimensions go where NumPy puts them, or ``in_front``."""
    axes: list[AxisSelection] = []
    advanced: dict[int, Indices] = {}  # dimension -> index array; ints count as such here, as in NumPy
    positions = []  # places among the items
    rest: list[int] = []  # result lengths of slices and newaxis, in order
    first = None  # how many of them stand before the first index array
    for place, item in enumerate(items):
        if item is None:
            rest.append(1)
            continue
        if item is Ellipsis:
            continue
        axis = len(axes)
        if isinstance(item, slice):
            axes.append(_axis_slice(item, shape[axis]))
            rest.append(len(axes[-1]))
            continue
        array = item if isinstance(item, np.ndarray) else np.asarray(_one(item, shape[axis], axis)[0])
        advanced[axis] = _axis_array(array, shape[axis], axis)
        axes.append(range(0))  # replaced below
        positions.append(place)
        first = len(rest) if first is None else first
    adjacent = positions[-1] - positions[0] == len(positions) - 1
    return _with_points(axes, advanced, rest, (first or 0) if adjacent and not in_front else 0)


def _with_points(axes: list[AxisSelection], advanced: dict[int, Indices], rest: list[int], position: int) -> Selection:
    """Broadcast the index arrays against each other; their dimensions come out at ``position`` of the ``rest``."""
    try:
        arrays = np.broadcast_arrays(*advanced.values())
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in advanced.values())
        raise SelectionError(f"index arrays of shapes {shapes} cannot be broadcast together") from error
    together = arrays[0].shape
    for axis, array in zip(advanced, arrays, strict=True):
        axes[axis] = array.reshape(-1)
    order = _points_to(position, len(together), len(rest))
    return Selection(tuple(axes), tuple(advanced), (*together, *rest), order)


def _points_to(position: int, points: int, rest: int) -> tuple[int, ...] | None:
    if position == 0 or points == 0:
        return None
    before = range(points, points + position)
    return (*before, *range(points), *range(points + position, points + rest))


# --- oindex, vindex, blocks ----------------------------------------------------------------------------------------


def parse_orthogonal(key: Any, shape: tuple[int, ...]) -> Selection:
    """Parse ``a.oindex[key]``: every combination of ints, slices, 1-d index arrays and 1-d masks."""
    axes: list[AxisSelection] = []
    result = []
    for item in _expand(_as_items(key), shape):
        if item is None:
            raise SelectionError("oindex does not take newaxis (None)")
        axis = len(axes)
        if isinstance(item, slice):
            axes.append(_axis_slice(item, shape[axis]))
        elif isinstance(item, np.ndarray) and item.ndim:
            if item.ndim > 1:
                raise SelectionError(f"oindex takes 1-d arrays; dimension {axis} got one of shape {item.shape}")
            axes.append(_axis_array(item, shape[axis], axis))
        else:
            axes.append(_one(item, shape[axis], axis))
            continue
        result.append(len(axes[-1]))
    return Selection(tuple(axes), (), tuple(result))


def parse_points(key: Any, shape: tuple[int, ...]) -> Selection:
    """Parse ``a.vindex[key]``: index arrays taken together, their dimensions first, then those of slices."""
    items = _expand(_as_items(key), shape)
    if any(item is None for item in items):
        raise SelectionError("vindex does not take newaxis (None)")
    if all(isinstance(item, slice) for item in items):
        return parse_basic(tuple(items), shape)._replace(scalar=False)
    return _parse_fancy(items, shape, in_front=True)


def parse_blocks(key: Any, grid: Any) -> Selection:
    """Parse ``a.blocks[key]``: ints and slices (step 1) that count chunks of ``grid`` instead of elements."""
    counts = grid.counts
    axes: list[AxisSelection] = []
    for item in _expand(_as_items(key), counts):
        axis = len(axes)
        along = grid[axis] if axis < len(counts) else None
        if item is None or isinstance(item, np.ndarray) or along is None:
            raise SelectionError("blocks takes integers and slices only")
        chosen = _axis_slice(item, counts[axis]) if isinstance(item, slice) else _one(item, counts[axis], axis)
        if chosen.step != 1:
            raise SelectionError(f"blocks takes slices of step 1, not {chosen.step}")
        stop = min(along.start(chosen[-1]) + along.size(chosen[-1]), along.length) if chosen else 0
        axes.append(range(along.start(chosen[0]), stop) if chosen else range(0))
    return Selection(tuple(axes), (), tuple(map(len, axes)))


# --- fields ----------------------------------------------------------------------------------------------------------


def split_fields(key: Any) -> tuple[Any, Any]:
    """Return (key without field names, the field name, list of names, or None), as in ``a["x", 0:3]``."""
    items = _as_items(key)
    if _PLAIN.issuperset(map(type, items)):
        return key, None
    if isinstance(key, list) and key and all(isinstance(name, str) for name in key):
        return Ellipsis, key
    names = [item for item in items if isinstance(item, str)]
    if not names:
        return key, None
    rest = tuple(item for item in items if not isinstance(item, str))
    return (rest or Ellipsis), names[0] if len(names) == 1 else names


def check_fields(fields: Any, dtype: np.dtype[Any]) -> None:
    """Raise `SelectionError` for ``fields``, as `split_fields` gives them, that records of ``dtype`` do not have."""
    names = dtype.names or ()
    for field in [fields] if isinstance(fields, str) else fields or ():
        if field not in names:
            known = f"it has {', '.join(names)}" if names else f"it holds {dtype}, which has no fields"
            raise SelectionError(f"{field!r} is no field of the array: {known}")
