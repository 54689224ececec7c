"""From one chunk grid to another within a bound on memory: which regions of the array to read and to write, and when.

Imports chunk_grids and errors. Invariant: a plan writes every object once, whole: the regions of a pass cover the
array, are disjoint, and each holds whole objects of what the pass writes. Pure arithmetic; nothing is read or stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .chunk_grids import Axis, ChunkGrid, EdgedAxis

Bounds = npt.NDArray[np.int64]  # where the regions along one dimension begin, and the array's length behind them

COMFORTABLE_NBYTES = 64 * 2**20  # larger regions gain nothing once no chunk is read twice
TOUCH_NBYTES = 16 * 1024  # what opening one more stored object costs, in bytes decoded in the same time
OBJECT_NBYTES = 128 * 1024  # what storing and reading one more intermediate object costs, in the same measure
MUCH_CHEAPER = 0.8  # two passes need room on the disk: they must be worth it


class Budget(NamedTuple):
    """What a pass may take. ``memory``: bytes in all. ``fixed``: of these, what every region takes besides itself.

    ``factor``: how many times a region is in memory.
    """

    memory: int
    fixed: int = 0
    factor: int = 1

    @property
    def region(self) -> int:
        """The bytes that the elements of one region may take."""
        return max((self.memory - self.fixed) // self.factor, 0)


class Pass(NamedTuple):
    """One walk through the array, region by region. ``reads``: how often a source chunk is read, on average."""

    bounds: tuple[Bounds, ...]
    reads: float

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of regions along each dimension."""
        return tuple(len(b) - 1 for b in self.bounds)

    @property
    def nregions(self) -> int:
        """The number of regions."""
        return math.prod(self.counts)

    @property
    def largest(self) -> tuple[int, ...]:
        """The shape of the largest region, edge by edge."""
        return tuple(int(np.diff(b).max(initial=0)) for b in self.bounds)

    def regions(self) -> Iterator[tuple[slice, ...]]:
        """Yield the regions, in C order."""
        along = [[slice(int(a), int(b)) for a, b in pairwise(bounds)] for bounds in self.bounds]
        yield from product(*along)


class Rechunking(NamedTuple):
    """One pass from source to target; or two, with an intermediate array of the grid ``middle`` between them."""

    passes: tuple[Pass, ...]
    middle: ChunkGrid | None = None


class _Option(NamedTuple):
    """``every``: so many target objects make a region along one dimension. ``size``: elements of the longest region.

    ``touches``: how many source chunks are read along the dimension, those that two regions share counted twice.
    """

    every: int
    size: int
    touches: int


def plan_rechunking(
    source: ChunkGrid,
    target: ChunkGrid,
    itemsize: int,
    budget: Budget,
    spare: int = 0,
    object_cost: int = OBJECT_NBYTES,
) -> Rechunking | None:
    """Return the cheapest plan, None where not even one object of ``target`` has room in ``budget``.

    ``source``: what can be read on its own. ``spare``: bytes that an intermediate array may take, 0 for none.
    ``object_cost``: what one object of it costs, in bytes decoded in the same time.
    """
    once = _one_pass(source, target, itemsize, budget.region)
    if once is None or once.reads == 1:
        return None if once is None else Rechunking((once,))
    nbytes = math.prod(axis.length for axis in target) * itemsize
    if nbytes > spare:
        return Rechunking((once,))
    twice = _two_passes(source, target, itemsize, budget)
    if twice is None or twice.middle is None:
        return Rechunking((once,))
    chunks = source.nchunks * TOUCH_NBYTES
    price = once.reads * (nbytes + chunks), 2 * nbytes + chunks + twice.middle.nchunks * object_cost
    return twice if price[1] < MUCH_CHEAPER * price[0] else Rechunking((once,))


# --- one pass ---------------------------------------------------------------------------------------------------------


def _one_pass(source: ChunkGrid, target: ChunkGrid, itemsize: int, room: int) -> Pass | None:
    """Return the pass that reads the fewest source chunks twice, of all that have room."""
    options = [_options(s, t) for s, t in zip(source, target, strict=True)]
    chosen = _fewest_touches([_frontier(along) for along in options], room // max(itemsize, 1))
    if chosen is None:
        return None
    chosen = _grown(options, chosen, min(room, COMFORTABLE_NBYTES) // max(itemsize, 1))
    touched = math.prod(option.touches for option in chosen)
    bounds = tuple(_bounds(axis, option.every) for axis, option in zip(target, chosen, strict=True))
    return Pass(bounds, touched / max(source.nchunks, 1))


def _bounds(axis: Axis, every: int) -> Bounds:
    starts = np.asarray(axis.start(np.arange(0, axis.count, every)), "i8")
    return np.append(starts, axis.length)


def _options(source: Axis, target: Axis) -> list[_Option]:
    count = max(target.count, 1)
    found = []
    for every in _multiples(source, target, count):
        bounds = _bounds(target, every)
        if len(bounds) < 2:
            return [_Option(1, 1, 1)]
        last, first = source.find(bounds[1:] - 1), source.find(bounds[:-1])
        found.append(_Option(every, int(np.diff(bounds).max()), int((last - first + 1).sum())))
    return found


def _multiples(source: Axis, target: Axis, count: int) -> list[int]:
    """Return in how many target objects at a time a dimension may be walked: what is likely to fit source chunks."""
    found = {count, *range(1, min(count, 16) + 1), *(-(-count // parts) for parts in range(1, 33))}
    found.update(2**power for power in range(count.bit_length()))
    size = target.size(0) if target.count else 1
    aligned = math.lcm(size, source.size(0) if source.count else 1) // max(size, 1)
    found.update(aligned * 2**power for power in range(count.bit_length()) if aligned * 2**power <= count)
    return sorted(found)


def _frontier(options: Sequence[_Option]) -> list[_Option]:
    """Return the options to which no smaller one is equal or better."""
    kept: list[_Option] = []
    for option in sorted(options, key=lambda o: (o.size, o.touches)):
        if not kept or option.touches < kept[-1].touches:
            kept.append(option)
    return kept


def _fewest_touches(options: Sequence[list[_Option]], room: int) -> list[_Option] | None:
    """Return one option per dimension with the fewest chunks read, out of those of at most ``room`` elements."""
    best: list[tuple[int, int, list[_Option]]] = [(1, 1, [])]
    for along in options:
        made = [
            (size * option.size, touches * option.touches, [*chosen, option])
            for size, touches, chosen in best
            for option in along
            if size * option.size <= room
        ]
        best = []
        for entry in sorted(made, key=lambda e: e[:2]):
            if not best or entry[1] < best[-1][1]:
                best.append(entry)
    return best[-1][2] if best else None


def _grown(options: Sequence[list[_Option]], chosen: list[_Option], room: int) -> list[_Option]:
    """Return larger regions that read no more chunks: the fewer regions, the less is spent on each."""
    chosen = list(chosen)
    for axis in reversed(range(len(chosen))):
        others = math.prod(option.size for at, option in enumerate(chosen) if at != axis)
        fitting = [o for o in options[axis] if o.touches <= chosen[axis].touches and o.size * others <= room]
        chosen[axis] = max([chosen[axis], *fitting], key=lambda o: o.size)
    return chosen


# --- two passes -------------------------------------------------------------------------------------------------------


def _two_passes(source: ChunkGrid, target: ChunkGrid, itemsize: int, budget: Budget) -> Rechunking | None:
    """Return two passes, the first along the source chunks, the second along the target objects.

    The intermediate objects are what a region of the first has in common with a region of the second, so that both
    read and write them whole. Half of the room is for the regions, half for the objects on their way.
    """
    room = budget.region // 2 // max(itemsize, 1)
    every = [[1] * len(source), [1] * len(target)]
    grids = (source, target)
    if any(_size(grid, steps) > room for grid, steps in zip(grids, every, strict=True)):
        return None
    while True:
        grown = [
            (_middle_count(grids, step), step)
            for step in _steps(grids, every)
            if all(_size(grid, steps) <= room for grid, steps in zip(grids, step, strict=True))
        ]
        fewest = min(grown, key=lambda g: g[0], default=None)
        if fewest is None or fewest[0] >= _middle_count(grids, every):
            break
        every = fewest[1]
    bounds = [
        tuple(_bounds(axis, n) for axis, n in zip(grid, steps, strict=True))
        for grid, steps in zip(grids, every, strict=True)
    ]
    middle = ChunkGrid(
        EdgedAxis(axis.length, np.diff(np.union1d(a, b)).tolist())
        for axis, a, b in zip(target, bounds[0], bounds[1], strict=True)
    )
    return Rechunking((Pass(bounds[0], 1.0), Pass(bounds[1], 1.0)), middle)


def _steps(grids: Sequence[ChunkGrid], every: list[list[int]]) -> Iterator[list[list[int]]]:
    """Yield what doubling the regions of one pass along one dimension gives."""
    for side, axis in product(range(2), range(len(every[0]))):
        if every[side][axis] < grids[side][axis].count:
            step = [list(steps) for steps in every]
            step[side][axis] = min(2 * step[side][axis], grids[side][axis].count)
            yield step


def _size(grid: ChunkGrid, every: Sequence[int]) -> int:
    return math.prod(int(np.diff(_bounds(axis, n)).max(initial=1)) for axis, n in zip(grid, every, strict=True))


def _middle_count(grids: Sequence[ChunkGrid], every: Sequence[Sequence[int]]) -> int:
    return math.prod(
        len(np.union1d(_bounds(a, n), _bounds(b, m))) - 1
        for a, b, n, m in zip(grids[0], grids[1], every[0], every[1], strict=True)
    )
