"""Which stored objects a write shares between its blocks, and how to cut the blocks so that it shares none.

Pure arithmetic, no I/O: imports errors and chunk_grids. A *block* is what one task writes; an *object* is what the
store holds (a chunk, or a shard where there are shards). Invariant: an object that is not counted as shared is
replaced whole, by one block, as far as the array reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .chunk_grids import Axis, ChunkGrid
from .errors import RegionError

Region = tuple[slice, ...]  # start and stop in elements of the array, one per dimension
Blocks = tuple[tuple[int, ...], ...]  # the lengths of the blocks along each dimension, as dask's ``chunks``
Bounds = npt.NDArray[np.int64]  # where the blocks along one dimension begin, and where the last one ends


class WritePlan(NamedTuple):
    """How one region of one array is written.

    ``blocks``: what to write with. ``objects``: how many stored objects the region touches. ``fused``: how many of
    them several of the given blocks would have shared, and none of ``blocks`` does. ``locked``: how many ``blocks``
    still share, with each other or, at the region's edges, with whoever writes beside the region. ``shared_within``:
    whether two of ``blocks`` share an object.
    """

    blocks: Blocks
    objects: int
    fused: int
    locked: int
    shared_within: bool

    @property
    def shared(self) -> int:
        """How many objects are shared in one way or the other."""
        return self.fused + self.locked


class Cut(NamedTuple):
    """An edge of a region that lies inside stored objects: at ``position``; ``below`` and ``above`` are aligned."""

    dimension: int
    edge: str  # "start" or "stop"
    position: int
    below: int
    above: int


def plan_blocks(grid: ChunkGrid, region: Region, blocks: Blocks, itemsize: int, limit: int | None = None) -> WritePlan:
    """Plan the write of ``region``, which comes in ``blocks``, to the stored objects of ``grid``.

    Along each dimension where blocks share objects, their bounds move to the nearest bounds of objects, as long as
    no block grows above ``limit`` bytes of ``itemsize`` each (None: in any case; 0: never).
    """
    given = [_bounds(piece, sizes) for piece, sizes in zip(region, blocks, strict=True)]
    chosen = _fused(grid, given, itemsize, limit)
    objects = math.prod(_touched(axis, bounds) for axis, bounds in zip(grid, given, strict=True))
    shared_before = objects - _alone(grid, given)
    locked = objects - _alone(grid, chosen)
    within = bool(objects) and any(_between(axis, b).any() for axis, b in zip(grid, chosen, strict=True))
    return WritePlan(
        tuple(_sizes(new, sizes, new is old) for new, old, sizes in zip(chosen, given, blocks, strict=True)),
        objects,
        shared_before - locked,
        locked,
        within,
    )


def _bounds(piece: slice, sizes: Sequence[int]) -> Bounds:
    bounds: Bounds = np.cumsum(np.asarray([piece.start, *sizes], "i8"))
    return bounds


def _sizes(bounds: Bounds, given: tuple[int, ...], unchanged: bool) -> tuple[int, ...]:
    return given if unchanged else tuple(np.diff(bounds).tolist())


def _fused(grid: ChunkGrid, given: list[Bounds], itemsize: int, limit: int | None) -> list[Bounds]:
    """Move bounds along as many dimensions as the limit allows, those first that make blocks grow the least."""
    chosen = list(given)
    longest = [_longest(bounds) for bounds in given]
    moved = {
        place: snap(axis, bounds)
        for place, (axis, bounds) in enumerate(zip(grid, given, strict=True))
        if _between(axis, bounds).any()
    }
    for place in sorted(moved, key=lambda p: _longest(moved[p]) / longest[p]):
        grown = [*longest[:place], _longest(moved[place]), *longest[place + 1 :]]
        if limit is None or (limit and math.prod(grown) * itemsize <= limit):
            chosen[place], longest = moved[place], grown
    return chosen


def _longest(bounds: Bounds) -> int:
    return int(np.diff(bounds).max(initial=1))


def snap(axis: Axis, bounds: Bounds) -> Bounds:
    """Move the inner ``bounds`` to the nearest bounds of objects; those that fall together become one."""
    inner = bounds[1:-1]
    below, above = _neighbours(axis, inner)
    nearest = np.where(inner - below <= above - inner, below, above)
    nearest = nearest[(nearest > bounds[0]) & (nearest < bounds[-1])]
    return np.concatenate([bounds[:1], np.unique(nearest), bounds[-1:]])


def _neighbours(axis: Axis, positions: Bounds) -> tuple[Bounds, Bounds]:
    """Return the nearest bounds of objects at or below, and at or above each position; the array's end is one."""
    inside = np.minimum(positions, max(axis.length - 1, 0))
    chunks = np.asarray(axis.find(inside))
    below = np.asarray(axis.start(chunks))
    end = np.minimum(np.asarray(axis.start(chunks + 1)), axis.length)
    reached = positions >= end
    return np.where(reached, end, below), np.where(positions == below, below, end)


def _misaligned(axis: Axis, positions: Bounds) -> npt.NDArray[np.bool_]:
    """Return which positions lie inside an object."""
    if not positions.size or not axis.length:
        return np.zeros(positions.shape, bool)
    below, above = _neighbours(axis, positions)
    inside: npt.NDArray[np.bool_] = (below != positions) & (above != positions)
    return inside


def _between(axis: Axis, bounds: Bounds) -> npt.NDArray[np.bool_]:
    """Return which of the inner bounds part two blocks inside an object (beside an empty block there is nothing)."""
    inner = bounds[1:-1]
    between: npt.NDArray[np.bool_] = _misaligned(axis, inner) & (inner > bounds[0]) & (inner < bounds[-1])
    return between


def _touched(axis: Axis, bounds: Bounds) -> int:
    start, stop = int(bounds[0]), int(bounds[-1])
    return int(axis.find(stop - 1)) - int(axis.find(start)) + 1 if stop > start else 0


def _alone(grid: ChunkGrid, bounds: Sequence[Bounds]) -> int:
    """Return how many objects are replaced whole by one block each."""
    return math.prod(_alone_along(axis, along) for axis, along in zip(grid, bounds, strict=True))


def _alone_along(axis: Axis, bounds: Bounds) -> int:
    cuts = bounds[_misaligned(axis, bounds)]
    return _touched(axis, bounds) - np.unique(np.asarray(axis.find(cuts))).size if bounds[-1] > bounds[0] else 0


def cut_edges(grid: ChunkGrid, region: Region) -> list[Cut]:
    """Return the edges of ``region`` that lie inside stored objects."""
    found = []
    for dimension, (axis, piece) in enumerate(zip(grid, region, strict=True)):
        positions = np.asarray([piece.start, piece.stop], "i8")
        if piece.stop <= piece.start:
            continue
        below, above = _neighbours(axis, positions)
        for place in np.flatnonzero(_misaligned(axis, positions)).tolist():
            edge = ("start", "stop")[place]
            found.append(Cut(dimension, edge, int(positions[place]), int(below[place]), int(above[place])))
    return found


def check_aligned(grid: ChunkGrid, region: Region, blocks: Blocks, name: str, *, partial_edges: bool = True) -> None:
    """Raise `RegionError` where two blocks share an object, as xarray's ``safe_chunks=True`` does.

    ``partial_edges``: the edges of the region itself may lie inside objects (xarray: every mode but "r+").
    """
    for dimension, (axis, piece, sizes) in enumerate(zip(grid, region, blocks, strict=True)):
        inner = _between(axis, _bounds(piece, sizes))
        if inner.any():
            at = int(np.flatnonzero(inner)[0])
            raise _overlap(name, dimension, at, at + 1, piece, axis)
    for cut in () if partial_edges else cut_edges(grid, region):
        at = 0 if cut.edge == "start" else len(blocks[cut.dimension]) - 1
        raise _overlap(name, cut.dimension, at, at, region[cut.dimension], grid[cut.dimension])


def _overlap(name: str, dimension: int, first: int, second: int, piece: slice, axis: Axis) -> RegionError:
    where = f"at positions {first} and {second}" if first != second else f"at position {first}"
    stored = f"of {axis.sizes} elements" if isinstance(axis.sizes, int) else "of different lengths"
    return RegionError(
        f"Specified Zarr chunks {stored} along dimension {dimension} of the variable named {name!r} would overlap "
        f"multiple Dask chunks ({where}, in the region {piece.start}:{piece.stop}): written in parallel they could "
        "lose data",
        hint='rechunk the data, choose other chunks to store them in, or use safe_chunks="auto"; datasets may also use '
        "align_chunks=True",
    )


def check_region(region: Any, shape: tuple[int, ...]) -> tuple[Region, tuple[int, ...]]:
    """Return ``region`` (slices, integers, an ellipsis; None: everything) with all bounds given, in elements.

    The second item are the dimensions that an integer chose, which the data do not have. Raise `RegionError` for
    what lies outside an array of ``shape``, and for steps other than 1.
    """
    items = () if region is None else region if isinstance(region, tuple) else (region,)
    if sum(item is Ellipsis for item in items) > 1 or len(items) - (Ellipsis in items) > len(shape):
        raise RegionError(f"the region {region!r} has more dimensions than an array of shape {shape}")
    at = next((place for place, item in enumerate(items) if item is Ellipsis), len(items))
    missing = (slice(None),) * (len(shape) - len(items) + (Ellipsis in items))
    full = (*items[:at], *missing, *items[at + 1 :])
    pieces = tuple(_piece(item, length, d) for d, (item, length) in enumerate(zip(full, shape, strict=True)))
    return pieces, tuple(d for d, item in enumerate(full) if not isinstance(item, slice))


def _piece(item: Any, length: int, dimension: int) -> slice:
    if not isinstance(item, slice):
        return _single(item, length, dimension)
    if item.step not in (None, 1):
        raise RegionError(f"the region has step {item.step} along dimension {dimension}: only 1 can be written")
    start = 0 if item.start is None else int(item.start)
    stop = length if item.stop is None else int(item.stop)
    start, stop = (n + length if n < 0 else n for n in (start, stop))
    if not 0 <= start <= length or not 0 <= stop <= length:
        raise _outside(f"{item.start}:{item.stop}", length, dimension)
    return slice(start, max(start, stop))


def _single(item: Any, length: int, dimension: int) -> slice:
    if isinstance(item, bool) or not isinstance(item, int | np.integer):
        raise RegionError(f"{item!r} is not a region along dimension {dimension}: use slices and integers")
    index = int(item) + (length if item < 0 else 0)
    if not 0 <= index < length:
        raise _outside(str(item), length, dimension)
    return slice(index, index + 1)


def _outside(given: str, length: int, dimension: int) -> RegionError:
    return RegionError(
        f"the region {given} along dimension {dimension} lies outside the array, which has {length} elements there",
        hint="resize the array first, or append",
    )
