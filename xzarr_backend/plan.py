"""Which chunks a selection touches, which piece of each, and where the piece goes. Pure arithmetic.

Imports errors, selection and chunk_grids (types). Invariant: the parts of a plan are disjoint in the result and cover
it; work and memory grow with the sum of the chunks along each dimension, not with their product, until the parts are
walked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from .chunk_grids import Axis, ChunkGrid, RegularAxis
from .errors import SelectionError
from .selection import AxisSelection, Indices, Selection

MOST_SECTIONS = 1 << 24  # chunks along one dimension: a header may claim more of them than a plan has memory for

Piece = slice | Indices


class Section(NamedTuple):
    """What one chunk index contributes along one dimension."""

    chunk: int
    inside: Piece  # of the chunk
    place: Piece  # of the planned result
    whole: bool  # the piece is the chunk from end to end


class Points(NamedTuple):
    """The points of a pointwise selection, sorted by the chunks along the pointed dimensions that they lie in.

    ``groups`` has, for each of these chunks, its coords and which of the points are in it. ``inside`` and ``place`` are
    where each point lies in its chunk, and in the planned result.
    """

    groups: list[tuple[tuple[int, ...], slice]]
    inside: tuple[Indices, ...]
    place: Indices


class Part(NamedTuple):
    """``chunk[inside]`` goes to ``result[place]``. ``whole``: the piece is the whole chunk, in order."""

    coords: tuple[int, ...]
    inside: tuple[Any, ...]
    place: tuple[Any, ...]
    whole: bool


class Bricks(NamedTuple):
    """Parts that are all the same piece ``inside`` of their chunks, and lie side by side in the planned result.

    ``counts`` is the number of parts along each dimension, ``sizes`` the shape of a piece.
    """

    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    inside: tuple[slice, ...]


class Plan(NamedTuple):
    """All parts of one read or write on one grid.

    ``shape`` is that of the planned result. ``sections`` holds one list per dimension, empty for the ``points``,
    which are ``grouped`` by chunk. ``meshes``: more than one dimension is picked by an index array, so pieces must be
    opened into a mesh.
    """

    shape: tuple[int, ...]
    rank: int
    sections: tuple[list[Section], ...]
    points: tuple[int, ...]
    grouped: Points | None
    meshes: bool

    @property
    def nparts(self) -> int:
        """The number of parts."""
        if not self.points:
            return math.prod(map(len, self.sections))
        others = [len(along) for axis, along in enumerate(self.sections) if axis not in self.points]
        return math.prod(others) * len(self.grouped.groups) if self.grouped else 0

    @property
    def front(self) -> tuple[int, ...] | None:
        """How to transpose ``chunk[inside]`` to bring the points in front, where NumPy leaves them elsewhere."""
        if not self.points or self.points[-1] - self.points[0] != len(self.points) - 1 or self.points[0] == 0:
            return None
        at = self.points[0]
        return (at, *range(at), *range(at + 1, len(self.shape)))

    def bricks(self) -> Bricks | None:
        """Return how the parts lie, where each is the same piece of its chunk and none is turned; else None."""
        if self.points or not self.rank or not self.nparts:
            return None
        sizes, insides = [], []
        for first, *others in self.sections:
            inside, place = first.inside, first.place
            if not isinstance(inside, slice) or not isinstance(place, slice) or (place.step or 1) < 0:
                return None
            if others and not (first.whole and all(other.whole and other.inside == inside for other in others)):
                return None
            sizes.append(place.stop - place.start)
            insides.append(inside)
        return Bricks(tuple(map(len, self.sections)), tuple(sizes), tuple(insides))

    def inner(self) -> tuple[Plan, tuple[slice, ...]] | None:
        """Return the plan of the chunks that are needed whole, and its place in the result; None where there are none.

        Along dimensions where the selection lies in one chunk, it is the piece of that one.
        """
        if self.points:
            return None
        sections, places = [], []
        for along in self.sections:
            kept = along if len(along) == 1 else [section for section in along if section.whole]
            if not kept or not all(isinstance(place, slice) and place.step in (None, 1) for _, _, place, _ in kept):
                return None
            start, stop = kept[0].place.start, kept[-1].place.stop  # type: ignore[union-attr]
            if start:
                kept = [Section(chunk, piece, _moved(place, -start), whole) for chunk, piece, place, whole in kept]
            sections.append(kept)
            places.append(slice(start, stop))
        shape = tuple(place.stop - place.start for place in places)
        return Plan(shape, self.rank, tuple(sections), (), None, False), tuple(places)

    def parts_beside(self, inner: Plan) -> list[Part]:
        """Return the parts whose chunks are not those of ``inner``."""
        chunks = [range(along[0].chunk, along[-1].chunk + 1) for along in inner.sections]
        return [part for part in self.parts() if not all(map(range.__contains__, chunks, part.coords))]

    def scattered(self, positions: Indices) -> Plan:
        """Return this plan of points for a larger result, in which the points have these ``positions``."""
        found = self.grouped
        return self._replace(grouped=found and found._replace(place=positions[found.place]))

    def numbers(self, counts: Sequence[int]) -> list[int]:
        """Return the number of each part's chunk, counted in C order of a grid of ``counts`` chunks, as `parts` go."""
        if self.points:
            if self.grouped and len(self.points) == self.rank:
                coords = [chunk for chunk, _ in self.grouped.groups]
            else:
                coords = [part.coords for part in self._point_parts()]
            return [_number(at, counts) for at in coords]
        numbers = [0]
        for sections, count in zip(self.sections, counts, strict=True):
            numbers = [number * count + section.chunk for number in numbers for section in sections]
        return numbers

    def parts(self, *, opened: bool = True) -> Iterator[Part]:
        """Yield the parts, in C order of the chunks (pointwise: group by group).

        ``opened``: pieces by index arrays along several dimensions are opened into a mesh, ready for NumPy.
        """
        if self.points:
            yield from self._point_parts()
        elif self.meshes and opened:
            yield from map(_mesh_part, product(*self.sections))
        elif not self.rank:
            yield Part((), (Ellipsis,), (Ellipsis,), True)  # array[()] would be a scalar, array[...] is a view
        else:
            *outer, last = self.sections
            new = tuple.__new__  # what a NamedTuple does itself, one call further
            for combination in product(*outer):
                coords, inside, place, whole = zip(*combination, strict=True) if outer else ((), (), (), ())
                all_whole = False not in whole
                for chunk, piece, goal, end_to_end in last:  # few operations and no call: this runs for every chunk
                    yield new(Part, ((*coords, chunk), (*inside, piece), (*place, goal), all_whole and end_to_end))

    def _point_parts(self) -> Iterator[Part]:
        if self.grouped is None:
            return
        groups, inside, place = self.grouped
        if len(self.points) == self.rank:  # nothing else is selected
            for coords, here in groups:
                yield Part(coords, tuple([index[here] for index in inside]), (place[here],), False)
            return
        others = [axis for axis in range(self.rank) if axis not in self.points]
        order = [*self.points, *others]
        back = [order.index(axis) for axis in range(self.rank)]
        for coords, here in groups:
            pieces, goal = [index[here] for index in inside], place[here]
            for combination in product(*(self.sections[axis] for axis in others)):
                chunks = [*coords, *(section.chunk for section in combination)]
                all_pieces = [*pieces, *(section.inside for section in combination)]
                places = (goal, *(section.place for section in combination))
                yield Part(tuple([chunks[at] for at in back]), tuple([all_pieces[at] for at in back]), places, False)


def _moved(place: Any, by: int) -> slice:
    return slice(place.start + by, place.stop + by)


def _number(coords: Sequence[int], counts: Sequence[int]) -> int:
    number = 0
    for coord, count in zip(coords, counts, strict=True):
        number = number * count + coord
    return number


def _mesh_part(combination: tuple[Section, ...]) -> Part:
    coords, inside, place, _ = zip(*combination, strict=True)
    return Part(coords, open_mesh(inside), open_mesh(place), False)


def open_mesh(pieces: tuple[Piece, ...]) -> tuple[Any, ...]:
    """Turn pieces along each dimension into arrays that NumPy combines orthogonally."""
    flat = [_arange(piece) if isinstance(piece, slice) else piece for piece in pieces]
    return np.ix_(*flat)


def _arange(piece: slice) -> Indices:
    step = piece.step or 1
    stop = -1 if piece.stop is None else piece.stop  # None appears only in slices that count down to 0
    return np.arange(piece.start, stop, step)


def plan(selection: Selection, grid: ChunkGrid) -> Plan:
    """Return the plan of ``selection`` on ``grid``."""
    axes, points, shape = selection.axes, selection.points, selection.planned_shape
    if 0 in shape:  # along the other dimensions there may be any number of chunks
        return Plan(shape, len(axes), ([],) * len(axes), points, None, False)
    if points:
        sections = tuple([] if at in points else plan_axis(axis, grid[at]) for at, axis in enumerate(axes))
        found = _sort_points([axes[at] for at in points], [grid[at] for at in points])  # type: ignore[misc]
        return Plan(shape, len(axes), sections, points, found, False)
    sections = tuple(map(plan_axis, axes, grid))
    arrays = [axis for axis in axes if type(axis) is not range]
    return Plan(shape, len(axes), sections, (), None, len(arrays) > 1)


def plan_axis(chosen: range | Indices, axis: Axis) -> list[Section]:
    """Return the sections of one dimension, of which something is chosen; raise `SelectionError` for too many."""
    if type(chosen) is not range:
        return _array_sections(chosen, axis)
    if chosen.step == 1 and isinstance(axis, RegularAxis):
        start, count, step = chosen.start, len(chosen), axis.step
        chunk, low = divmod(start, step)
        if low + count > step:
            return _contiguous_sections(start, chosen.stop, step)
        # most reads of a little have one section: made without the call that a NamedTuple makes
        return [tuple.__new__(Section, (chunk, slice(low, low + count), slice(0, count), count == step))]
    _check_number(abs(axis.find(chosen[-1]) - axis.find(chosen[0])) + 1, len(chosen))
    if chosen.step < 0:
        return [_reversed(section, len(chosen)) for section in _range_sections(chosen[::-1], axis)]
    return _range_sections(chosen, axis)


def _contiguous_sections(start: int, stop: int, step: int) -> list[Section]:
    """Return the sections of more than one chunk."""
    first, last = start // step, (stop - 1) // step
    _check_number(last - first + 1, stop - start)
    all_of_it = slice(0, step)
    offset = start - first * step
    sections = [Section(first, slice(offset, step), slice(0, step - offset), offset == 0)]
    for chunk in range(first + 1, last):
        place = chunk * step - start
        sections.append(Section(chunk, all_of_it, slice(place, place + step), True))
    place, size = last * step - start, stop - last * step
    sections.append(Section(last, slice(0, size), slice(place, place + size), size == step))
    return sections


def _check_number(chunks: int, elements: int) -> None:
    if min(chunks, elements) > MOST_SECTIONS:
        raise SelectionError(
            f"the selection touches more than {MOST_SECTIONS} chunks along one dimension",
            hint="select less at once; larger chunks would make fewer of them",
        )


def _range_sections(chosen: range, axis: Axis) -> list[Section]:
    first, step = chosen.start, chosen.step
    sections = []
    chunk, done = axis.find(first), 0
    while done < len(chosen):
        start, size = axis.start(chunk), axis.size(chunk)
        stop = min(-((first - start - size) // step), len(chosen))  # elements before the chunk's end
        low = first + done * step - start
        high = first + (stop - 1) * step - start + 1
        sections.append(
            Section(chunk, slice(low, high, step), slice(done, stop), step == 1 and low == 0 and high == size)
        )
        done = stop
        if done < len(chosen):
            chunk = axis.find(first + done * step)
    return sections


def _reversed(section: Section, count: int) -> Section:
    place = section.place
    start, stop = count - 1 - place.start, count - 1 - place.stop  # type: ignore[union-attr]
    return section._replace(place=slice(start, stop if stop >= 0 else None, -1), whole=False)


def _array_sections(chosen: Indices, axis: Axis) -> list[Section]:
    sections = []
    chunks = axis.find(chosen)
    order, groups = _sorted_by(chunks)
    for here in groups:
        positions = order[here]
        chunk = int(chunks[positions[0]])
        inside = chosen[positions] - axis.start(chunk)
        sections.append(Section(chunk, inside, _as_slice(positions), False))
    return sections


def _sorted_by(*keys: Indices) -> tuple[Indices, list[slice]]:
    """Return positions sorted by ``keys``, and where among them each distinct combination of keys lies."""
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    changes: Any = False
    for key in keys:
        ordered = key[order]
        changes = changes | (ordered[1:] != ordered[:-1])
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
    return order, [slice(start, stop) for start, stop in pairwise(bounds)]


def _as_slice(positions: Indices) -> Piece:
    """Return a slice in place of positions that follow each other: it needs no gather."""
    first, last = int(positions[0]), int(positions[-1])
    if last - first == len(positions) - 1 and (len(positions) < 2 or bool((np.diff(positions) == 1).all())):
        return slice(first, last + 1)
    return positions


def _sort_points(points: list[Indices], axes: list[Axis]) -> Points:
    chunks = [np.asarray(axis.find(index)) for axis, index in zip(axes, points, strict=True)]
    order, groups = _sorted_by(*chunks)
    firsts = order[[here.start for here in groups]]
    coords = zip(*[along[firsts].tolist() for along in chunks], strict=True)
    inside = [(index - axis.start(chunk))[order] for index, axis, chunk in zip(points, axes, chunks, strict=True)]
    return Points(list(zip(coords, groups, strict=True)), tuple(inside), order)


# --- bytes within chunks ---------------------------------------------------------------------------------------------


def span(inside: Sequence[Any], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """Return the first byte and the end of the bytes that hold ``chunk[inside]``, by the chunk's ``strides``."""
    first = last = 0
    for piece, stride in zip(inside, strides, strict=True):
        if isinstance(piece, slice):
            first += piece.start * stride
            last += (piece.stop - 1) * stride
        else:
            first += int(piece.min()) * stride
            last += int(piece.max()) * stride
    return first, last + itemsize


# --- plans within shards ---------------------------------------------------------------------------------------------


def within(inside: Sequence[Any], points: tuple[int, ...]) -> Selection:
    """Return the selection within one shard that the pieces ``inside`` it stand for."""
    axes: list[AxisSelection] = [
        range(piece.start, piece.stop, piece.step or 1) if isinstance(piece, slice) else piece
        for piece in inside
        if piece is not Ellipsis
    ]
    return Selection(tuple(axes), points, ())


def permute(selection: Selection, order: tuple[int, ...]) -> tuple[Selection, tuple[int, ...]]:
    """Turn a selection within a shard to another order of dimensions; return it, and how to transpose its result alike.

    ``order`` is that of a transpose before sharding: dimension i of the inner chunks is dimension ``order[i]`` outside.
    """
    axes, points = selection.axes, selection.points
    rest = [axis for axis in range(len(axes)) if axis not in points]
    turned = [rest.index(axis) for axis in order if axis not in points]
    turned_points = tuple(sorted(order.index(axis) for axis in points))
    selection = Selection(tuple(axes[axis] for axis in order), turned_points, ())
    return selection, (0, *(1 + at for at in turned)) if points else order
