"""How an array is cut into chunks: one `Axis` per dimension, regular or by explicit edges.

Imports NumPy, errors and spec only. Invariant: an axis answers for whole index arrays as well as for single numbers,
and a regular axis costs the same whatever the size of the array, so that a header may claim petabytes.
Sources: Zarr v3 core "Chunk grids", "Regular grids"; zarr-extensions "rectilinear".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MetadataError, UnsupportedError
from .spec import JSON, Named

MAX_EDGES = 1_000_000  # explicit edges per axis: what a stranger's document may make us allocate
MOST_BLOCKS = 1 << 22  # chunks along one dimension that dask is to list one by one


@dataclass(frozen=True, slots=True)
class RegularAxis:
    """Chunks of one length; the last may reach beyond the array. ``length`` and ``step`` count elements."""

    length: int
    step: int

    @property
    def count(self) -> int:
        """The number of chunks along this axis."""
        return -(-self.length // self.step) if self.step else 0

    @property
    def sizes(self) -> int:
        """The chunk length, as `preferred_chunks` of xarray and `chunks` of zarr-python give it."""
        return self.step

    def find(self, index: Any) -> Any:
        """Return the chunk that holds element ``index`` (an int or an array of ints)."""
        return index // self.step

    def start(self, chunk: Any) -> Any:
        """Return the first element of ``chunk`` (an int or an array of ints)."""
        return chunk * self.step

    def size(self, chunk: int) -> int:
        """Return the stored length of ``chunk``, which may reach beyond the array."""
        return self.step

    def resized(self, length: int) -> RegularAxis:
        """Return this axis for an array of another length."""
        return RegularAxis(length, self.step)


class EdgedAxis:
    """Chunks of any lengths, given by their ``edges``; those that begin behind ``length`` hold no element."""

    __slots__ = ("edges", "length", "starts")

    def __init__(self, length: int, edges: Sequence[int]) -> None:
        self.length = length
        self.edges = tuple(edges)
        self.starts = np.concatenate([[0], np.cumsum(np.asarray(self.edges, dtype="i8"))])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EdgedAxis) and (self.length, self.edges) == (other.length, other.edges)

    def __hash__(self) -> int:
        return hash((self.length, self.edges))

    def __repr__(self) -> str:
        return f"EdgedAxis(length={self.length}, edges={self.edges})"

    @property
    def count(self) -> int:
        """The number of chunks that hold at least one element."""
        return int(np.searchsorted(self.starts[:-1], self.length, side="left"))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths of the chunks that hold elements."""
        return self.edges[: self.count]

    def find(self, index: Any) -> Any:
        """Return the chunk that holds element ``index`` (an int or an array of ints)."""
        found = np.searchsorted(self.starts, index, side="right") - 1
        return found if isinstance(index, np.ndarray) else int(found)

    def start(self, chunk: Any) -> Any:
        """Return the first element of ``chunk`` (an int or an array of ints)."""
        found = self.starts[chunk]
        return found if isinstance(chunk, np.ndarray) else int(found)

    def size(self, chunk: int) -> int:
        """Return the stored length of ``chunk``."""
        return self.edges[chunk]

    def resized(self, length: int) -> EdgedAxis:
        """Return this axis for another length: the last chunk is repeated as often as growing needs it."""
        missing = length - int(self.starts[-1])
        last = self.edges[-1] if self.edges else max(length, 1)
        more = -(-missing // last) if missing > 0 else 0
        return EdgedAxis(length, self.edges + (last,) * more)


Axis = RegularAxis | EdgedAxis


def listable(size: Any, length: int) -> Any:
    """Return the length of blocks that may be listed: the chunks' own ``size``, but of very many a multiple of it.

    dask lists the blocks along each dimension, and a header may claim more chunks than any memory has room for. Of
    explicit edges the last is cut off at the array's end, as dask wants it.
    """
    if isinstance(size, tuple):
        return (*size[:-1], length - sum(size[:-1])) if size else (0,)
    if not isinstance(size, int) or not 0 < size * MOST_BLOCKS < length:
        return size
    return size * -(-length // (size * MOST_BLOCKS))


class ChunkGrid(tuple[Axis, ...]):
    """One axis per dimension of the array."""

    @property
    def regular(self) -> bool:
        """Whether all chunks have one shape."""
        return all(isinstance(axis, RegularAxis) for axis in self)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(axis.count for axis in self)

    @cached_property
    def nchunks(self) -> int:
        """The number of chunks in the grid, stored or not."""
        return math.prod(self.counts)

    def chunk_shape(self, coords: Sequence[int]) -> tuple[int, ...]:
        """Return the stored shape of the chunk at ``coords``."""
        return tuple(axis.size(c) for axis, c in zip(self, coords, strict=True))

    @property
    def largest_chunk(self) -> tuple[int, ...]:
        """The shape of the largest chunk, edge by edge (a regular grid: of every chunk)."""
        return tuple(
            axis.step if isinstance(axis, RegularAxis) else max(axis.sizes, default=axis.edges[0] if axis.edges else 1)
            for axis in self
        )

    def resized(self, shape: Sequence[int]) -> ChunkGrid:
        """Return the grid of the same chunks for an array of another ``shape``."""
        return ChunkGrid(axis.resized(n) for axis, n in zip(self, shape, strict=True))

    def chunk_of(self, coords: Sequence[int]) -> tuple[slice, ...]:
        """Return the part of the array that the chunk at ``coords`` covers, cut off at the array's end."""
        starts = [axis.start(c) for axis, c in zip(self, coords, strict=True)]
        return tuple(
            slice(start, min(start + axis.size(c), axis.length))
            for axis, start, c in zip(self, starts, coords, strict=True)
        )


def regular_grid(shape: Sequence[int], chunk_shape: Sequence[int]) -> ChunkGrid:
    """Return the grid of equal chunks of ``chunk_shape`` elements for an array of ``shape``."""
    return ChunkGrid(RegularAxis(n, c) for n, c in zip(shape, chunk_shape, strict=True))


def _is_size(value: JSON, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _parse_regular(shape: tuple[int, ...], configuration: Any) -> ChunkGrid:
    sizes = configuration.get("chunk_shape")
    if not isinstance(sizes, list) or len(sizes) != len(shape):
        raise _wrong("chunk_shape", f"needs {len(shape)} sizes, one for each dimension, not {sizes!r}")
    for place, (size, length) in enumerate(zip(sizes, shape, strict=True)):
        if not _is_size(size, least=0 if length == 0 else 1):
            raise _wrong(f"chunk_shape[{place}]", f"must be a positive whole number, not {size!r}")
    return regular_grid(shape, [max(size, 1) for size in sizes])


def _parse_rectilinear(shape: tuple[int, ...], configuration: Any) -> ChunkGrid:
    kind = configuration.get("kind", "inline")
    if kind != "inline":
        raise UnsupportedError(
            f"rectilinear chunk grid of kind {kind!r} is not known", where="chunk_grid.configuration.kind"
        )
    return _parse_edges(shape, configuration.get("chunk_shapes"), "chunk_shapes")


def _parse_irregular(shape: tuple[int, ...], configuration: Any) -> ChunkGrid:
    # ExZarr's name for the same idea (explicit edges per axis)
    return _parse_edges(shape, configuration.get("chunk_sizes"), "chunk_sizes")


def _parse_edges(shape: tuple[int, ...], axes: JSON, member: str) -> ChunkGrid:
    if not isinstance(axes, list) or len(axes) != len(shape):
        raise _wrong(member, f"needs {len(shape)} entries, one for each dimension, not {axes!r}")
    return ChunkGrid(
        _parse_axis(length, given, f"{member}[{place}]")
        for place, (length, given) in enumerate(zip(shape, axes, strict=True))
    )


def _parse_axis(length: int, given: JSON, place: str) -> Axis:
    if _is_size(given):
        return RegularAxis(length, given)
    if not isinstance(given, list):
        raise _wrong(place, f"must be a size or a list of sizes, not {given!r}")
    runs = []
    total = 0
    for item in given:
        run = (item, 1) if _is_size(item) else item
        if not (isinstance(run, list | tuple) and len(run) == 2 and _is_size(run[0]) and _is_size(run[1])):
            raise _wrong(place, f"holds {item!r}; a positive size or a run [size, count] is allowed")
        total += run[1]
        if total > MAX_EDGES:
            raise _wrong(place, f"lists more than {MAX_EDGES} chunks")
        runs.append([run[0]] * run[1])
    edges = tuple(chain.from_iterable(runs))
    if not length <= sum(edges) < 2**63:
        problem = "less than the array's length" if sum(edges) < length else "more than an array can have; it has"
        raise _wrong(place, f"the sizes add up to {sum(edges)}, {problem} {length}")
    return EdgedAxis(length, edges)


def _wrong(member: str, problem: str) -> MetadataError:
    place = f"chunk_grid.configuration.{member}"
    return MetadataError(f"wrong chunk grid: {problem}", where=place, problems=[(place, problem)])


GRIDS: dict[str, Callable[[tuple[int, ...], Any], ChunkGrid]] = {
    "regular": _parse_regular,
    "rectilinear": _parse_rectilinear,
    "irregular": _parse_irregular,
}


def parse_chunk_grid(shape: tuple[int, ...], grid: Named) -> ChunkGrid:
    """Return the grid that a v3 document describes; raise `MetadataError` or `UnsupportedError`."""
    parse = GRIDS.get(grid.name)
    if parse is None:
        raise UnsupportedError(
            f"chunk grid {grid.name!r} is not known", where="chunk_grid.name", hint=f"known are {', '.join(GRIDS)}"
        )
    return parse(shape, grid.configuration)


def format_chunk_grid(grid: ChunkGrid) -> JSON:
    """Return the v3 document of ``grid``: regular where all chunks are equal, else rectilinear with run lengths."""
    if grid.regular:
        return {"name": "regular", "configuration": {"chunk_shape": [axis.step for axis in grid]}}  # type: ignore[union-attr]
    axes = [axis.step if isinstance(axis, RegularAxis) else _run_lengths(axis.edges) for axis in grid]
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": axes}}


def _run_lengths(edges: Sequence[int]) -> list[JSON]:
    values: npt.NDArray[np.int64] = np.asarray(edges, dtype="i8")
    breaks = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *breaks.tolist(), len(values)]
    runs = [(int(values[a]), b - a) for a, b in pairwise(bounds) if b > a]
    return [size if count == 1 else [size, count] for size, count in runs]
