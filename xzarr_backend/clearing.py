"""Arrays of another shape: their spec, and removing what they store beyond a smaller one.

Imports stored, writing and the rows below. Invariant: what is removed are whole objects outside the new grid, and of
those at its edge the elements outside the new shape, which become the fill value.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING

from .chunk_grids import MAX_EDGES, ChunkGrid, EdgedAxis, format_chunk_grid
from .errors import MetadataError, UnsupportedError
from .layout import compile_layout
from .selection import parse_basic
from .spec import JSON, ArraySpec
from .stored import StoredChunk, stored_chunks
from .stores.files import own_lock
from .writing import Destination, erase

if TYPE_CHECKING:
    from .array import Array

FEW = 1000  # deletes that are sent without asking the store what there is
LOOKED_FOR = 100_000  # chunks that are looked for one by one, many at a time, without asking the store what there is

Listing = Callable[[], list[StoredChunk]]  # what is stored of an array, when that is asked for


def resized_spec(spec: ArraySpec, shape: tuple[int, ...]) -> ArraySpec:
    """Return ``spec`` for another shape, its document too; a rectilinear axis repeats its last chunk to grow."""
    for axis, length in zip(spec.chunk_grid, shape, strict=True):
        if isinstance(axis, EdgedAxis) and (length - int(axis.starts[-1])) // (axis.edges or (1,))[-1] > MAX_EDGES:
            raise MetadataError(f"the chunks of a dimension of length {length} would be more than {MAX_EDGES}")
    grid = ChunkGrid(spec.chunk_grid.resized(shape))
    new = spec._replace(shape=shape, chunk_grid=grid)
    return new._replace(document={**spec.document, **shape_members(new)})


def shape_members(spec: ArraySpec) -> dict[str, JSON]:
    """Return the members of an array's document that tell its shape."""
    if spec.chunk_grid.regular:
        return {"shape": list(spec.shape)}
    return {"shape": list(spec.shape), "chunk_grid": format_chunk_grid(spec.chunk_grid)}


def clear_beyond(array: Array, shape: tuple[int, ...]) -> None:
    """Remove what ``array`` (of its old shape) stores beyond ``shape``: objects, and parts of those at the edge."""
    counts = array.spec.chunk_grid.resized(shape).counts
    stored = cache(lambda: list(stored_chunks(array)))  # listed once, where anything is many
    for key in _keys_beyond(array, counts, stored):
        array.store.delete(key)
    ends = [_end_of_last(array, axis, count, n) for axis, (count, n) in enumerate(zip(counts, shape, strict=True))]
    if 0 in ends:
        return
    spec = resized_spec(array.spec, tuple(ends))
    layout = compile_layout(spec, array.path, array.options.allow_codecs)
    limit, lock = array.options.max_chunk_bytes, partial(own_lock, array.store)
    destination = Destination(array.store, layout, spec.shape, array.where, limit, False, lock)
    for axis, (length, end) in enumerate(zip(shape, ends, strict=True)):
        if length < end:
            for region in _cut_regions(spec.chunk_grid, axis, slice(length, end), stored):
                erase(destination, parse_basic(region, spec.shape))


def _cut_regions(grid: ChunkGrid, axis: int, cut: slice, stored: Listing) -> Iterator[tuple[slice, ...]]:
    """Yield regions that hold all that is stored in the ``cut`` along ``axis``, which lies in the last chunk there.

    That is the cut itself, or where it goes through many chunks, its part in each that is stored.
    """
    counts = grid.counts
    whole = (*(slice(None),) * axis, cut)
    if math.prod(counts) // counts[axis] <= LOOKED_FOR:
        yield whole
        return
    try:
        found = stored()
    except UnsupportedError:  # the store cannot be listed
        yield whole
        return
    for coords in (chunk.coords for chunk in found):
        if coords[axis] == counts[axis] - 1 and all(map(operator.lt, coords, counts)):
            region = grid.chunk_of(coords)
            yield (*region[:axis], cut, *region[axis + 1 :])


def _end_of_last(array: Array, axis: int, count: int, length: int) -> int:
    """Return where the last chunk that stays ends, as far as it held elements."""
    along = array.spec.chunk_grid[axis]
    old = array.shape[axis]
    if length >= old or count == 0:
        return min(length, old)
    return min(int(along.start(count - 1)) + along.size(count - 1), old)


def _keys_beyond(array: Array, counts: tuple[int, ...], stored: Listing) -> Iterator[str]:
    """Yield the keys of the objects that lie outside a grid of ``counts``: all, or where they are many, the stored."""
    old = array.spec.chunk_grid.counts
    kept = math.prod(min(a, b) for a, b in zip(old, counts, strict=True))
    if math.prod(old) - kept <= FEW:
        yield from (array.layout.key(coords) for coords in _coords_beyond(old, counts))
        return
    for chunk in stored():
        if any(coord >= count for coord, count in zip(chunk.coords, counts, strict=True)):
            yield chunk.key


def _coords_beyond(old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis in range(len(old)):
        inner = [range(min(a, b)) for a, b in zip(old[:axis], new[:axis], strict=True)]
        yield from product(*inner, range(new[axis], old[axis]), *map(range, old[axis + 1 :]))
