"""The pieces of work of a conversion: copying some objects, rewriting one region, comparing either.

Imports array, rechunking and the rows below. Invariant: a task writes whole objects that no other task writes, so tasks
run in any order, in threads, in processes or on the workers of a cluster, and running one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, islice, pairwise, product
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .chunk_grids import ChunkGrid
from .errors import ChunkError, UnsupportedError, XzarrError
from .executor import inline
from .rechunking import Bounds, Pass
from .selection import parse_basic
from .stored import stored_chunks
from .stores.base import Request

MANY = 4096  # tasks: from here on it pays to ask the store which objects exist


class Done(NamedTuple):
    """What a task did: objects stored, and their bytes (stored ones where they were copied, else decoded ones)."""

    objects: int
    nbytes: int


class CopyObjects(NamedTuple):
    """Take the objects with these numbers (in C order of the grid) over as they are.

    Those that are not stored are skipped, or made of the fill value where the target is to store every chunk.
    """

    source: Array
    target: Array
    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """What the journal calls this task."""
        return f"{self.target.path}[{self.numbers[0]}-{self.numbers[-1]}]"

    def keys(self) -> list[tuple[str, str]]:
        """Return the keys of the objects in the source and in the target."""
        counts = self.source.spec.chunk_grid.counts
        coords = [tuple(map(int, np.unravel_index(number, counts))) if counts else () for number in self.numbers]
        return [(self.source.layout.key(c), self.target.layout.key(c)) for c in coords]

    def run(self) -> Done:
        """Copy the objects; raise `ChunkError`."""
        objects = nbytes = 0
        for (_, key), raw in zip(self.keys(), self._wanted(), strict=True):
            if raw is not None:
                guarded(self.target.where, key, partial(self.target.store.set, key, raw))
                objects, nbytes = objects + 1, nbytes + memoryview(raw).nbytes
        return Done(objects, nbytes)

    def compare(self) -> None:
        """Raise `ChunkError` unless the target's objects are those of the source."""
        both = zip(self.keys(), self._wanted(), self._fetch(self.target, 1), strict=True)
        for (_, key), old, new in both:
            if (old is None) != (new is None) or (old is not None and bytes(old) != bytes(new)):
                raise _different(self.target, f"key {key!r}")

    def _wanted(self) -> Iterator[Any]:
        """Yield what the target is to hold for each object, None for nothing."""
        if not self.target.options.write_empty_chunks:
            yield from self._fetch(self.source, 0)
            return
        layout, empty = self.source.layout, None
        for raw in self._fetch(self.source, 0):
            if raw is None and empty is None:
                empty = bytes(layout.pipeline.encode(np.full(layout.grid.largest_chunk, layout.fill, layout.dtype)))
            yield empty if raw is None else raw

    def _fetch(self, array: Array, side: int) -> Iterator[Any]:
        keys = [pair[side] for pair in self.keys()]
        if array.store.concurrent:
            yield from guarded(array.where, keys[0], lambda: array.store.get_many([Request(key) for key in keys]))
            return
        for key in keys:
            yield guarded(array.where, key, partial(array.store.get, key))


class Rewrite(NamedTuple):
    """Read a region of one array and write it to the other.

    ``stage`` counts the passes, the ``last`` one writes what was asked for. ``alone``: on one thread. ``exact``: zeros
    are stored if they were, and only then.
    """

    source: Array
    target: Array
    region: tuple[slice, ...]
    stage: int
    alone: bool
    last: bool = True
    exact: bool = False

    @property
    def name(self) -> str:
        """What the journal calls this task."""
        return f"{self.target.path}/{self.stage}[{','.join(f'{p.start}:{p.stop}' for p in self.region)}]"

    def run(self) -> Done:
        """Rewrite the region; raise `ChunkError`."""
        with inline() if self.alone else nullcontext():
            values = np.asarray(self.source.read(parse_basic(self.region, self.source.shape)))
            self._write(values)
            if self.exact:
                self._remove_unstored()
        return Done(
            sum(1 for _ in _coords_in(self.target.spec.chunk_grid, self.region)) if self.last else 0, values.nbytes
        )

    def _write(self, values: Any) -> None:
        try:
            self.target.write(parse_basic(self.region, self.target.shape), values)
        except ChunkError as error:
            if self.last and self.target.filters:
                error.hint = f"{error.hint}; or leave the filters out, which may not take these values: filters=None"
            raise

    def _remove_unstored(self) -> None:
        """Where no chunk means anything, not zero, what was never stored must not be stored as zeros."""
        source, target = self.source, self.target
        for coords in _coords_in(target.spec.chunk_grid, self.region):
            piece = target.spec.chunk_grid.chunk_of(coords)
            keys = map(source.layout.key, _coords_in(source.spec.chunk_grid, piece))
            if all(source.store.size(key) is None for key in keys):
                target.store.delete(target.layout.key(coords))

    def compare(self) -> None:
        """Raise `ChunkError` unless the region has, bit by bit, the same values in the source and in the target."""
        selection = parse_basic(self.region, self.target.shape)
        with inline() if self.alone else nullcontext():
            old = np.asarray(self.source.read(selection))
            new = np.asarray(self.target.read(selection))
        if not same_values(old, new):
            raise _different(self.target, f"region {self.name}")


Task = CopyObjects | Rewrite

SLAB = 1 << 20  # elements compared at a time


def same_values(old: Any, new: Any) -> bool:
    """Return whether two arrays hold the same values, to the bit; byte orders may differ."""
    if old.shape != new.shape:
        return False
    if old.dtype.hasobject or old.dtype.kind == "T":
        return all(_same_object(a, b) for a, b in zip(old.flat, new.flat, strict=True))
    old, new = old.reshape(-1), new.reshape(-1)
    slabs = (slice(at, at + SLAB) for at in range(0, len(old), SLAB))
    return all(old[slab].astype(new.dtype, copy=False).tobytes() == new[slab].tobytes() for slab in slabs)


def _same_object(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return same_values(np.asarray(a), np.asarray(b))
    return bool(a == b) or (a != a and b != b)


def _coords_in(grid: ChunkGrid, region: Sequence[slice]) -> Iterator[tuple[int, ...]]:
    """Yield the coords of the objects that a region touches."""
    return product(
        *(range(axis.find(p.start), axis.find(p.stop - 1) + 1) for axis, p in zip(grid, region, strict=True))
    )


def guarded(place: str, key: str, action: Callable[[], Any]) -> Any:
    """Return what ``action`` returns; any failure of a store becomes a `ChunkError` that names the object."""
    try:
        return action()
    except Exception as error:
        where = f"{place}, key {key!r}"
        if isinstance(error, XzarrError):
            raise error.at(where)  # noqa: B904 (the same error, with its place)
        raise ChunkError(
            f"the object could not be copied: {error}",
            where=where,
            hint="check the space on the disk, the permissions and the connection, then resume",
        ) from error


def _different(array: Array, what: str) -> ChunkError:
    return ChunkError(
        "the target differs from the source",
        where=f"{array.where}, {what}",
        hint="was one of them written to meanwhile? convert it again with overwrite=True",
    )


# --- which tasks there are --------------------------------------------------------------------------------------------


def copy_tasks(source: Array, target: Array, batch: int) -> Iterator[CopyObjects]:
    """Yield tasks of ``batch`` objects each; objects known not to be stored are left out."""
    grid = source.spec.chunk_grid
    numbers: Any = range(grid.nchunks)
    sparse = grid.nchunks > MANY and not target.options.write_empty_chunks
    stored = _stored_coords(source) if sparse else None
    if stored is not None:
        numbers = np.sort(np.ravel_multi_index(tuple(stored.T), grid.counts)).tolist() if len(stored) else []
    following = iter(numbers)
    while some := tuple(islice(following, batch)):
        yield CopyObjects(source, target, some)


def rewrite_regions(source: Array, walk: Pass) -> Iterator[tuple[slice, ...]]:
    """Yield the regions of a pass; where there are many, only those in which something is stored."""
    stored = _stored_coords(source) if walk.nregions > MANY else None
    if stored is None:
        yield from walk.regions()
        return
    wanted = _touched(source.spec.chunk_grid, walk.bounds, stored)
    along = [[slice(int(a), int(b)) for a, b in pairwise(bounds)] for bounds in walk.bounds]
    for places in sorted(wanted):
        yield tuple(pieces[at] for pieces, at in zip(along, places, strict=True))


def _stored_coords(source: Array) -> Any:
    """Return the coords of the stored objects, a row for each; None where the store cannot list them."""
    try:
        found = np.fromiter(chain.from_iterable(chunk.coords for chunk in stored_chunks(source)), "i8")
    except UnsupportedError:
        return None
    return found.reshape(-1, source.ndim)


def _touched(grid: ChunkGrid, bounds: Sequence[Bounds], stored: Any) -> set[tuple[int, ...]]:
    """Return the places of the regions that hold an element of a ``stored`` object."""
    firsts, lasts = [], []
    for axis, edges, coords in zip(grid, bounds, stored.T, strict=True):
        starts = np.asarray(axis.start(coords), "i8")
        sizes = np.asarray([axis.size(int(c)) for c in coords], "i8")
        firsts.append(np.searchsorted(edges, starts, side="right") - 1)
        lasts.append(np.searchsorted(edges, np.minimum(starts + sizes, axis.length), side="left") - 1)
    wanted: set[tuple[int, ...]] = set()
    for first, last in zip(np.stack(firsts, 1).tolist(), np.stack(lasts, 1).tolist(), strict=True):
        spans = [range(a, b + 1) for a, b in zip(first, last, strict=True)]
        wanted.update(product(*spans))
    return wanted
