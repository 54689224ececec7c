"""From the keywords ``chunks`` and ``shards`` to a grid: lengths, sizes in bytes, "auto", lists of edges.

Imports errors, spec and chunk_grids. Invariant: what comes out fits the shape, and the chunks of a shard divide it
without a rest; what the caller gave in elements is kept, and only what was left open is chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .chunk_grids import ChunkGrid, parse_chunk_grid, regular_grid
from .errors import MetadataError
from .spec import Named

TARGET_CHUNK_NBYTES = 16 * 2**20  # what "auto" aims at: large enough to stream, small enough for a worker's memory
TARGET_INNER_NBYTES = 2**20  # within shards: what one reader of a point has to fetch and decode
TARGET_SHARD_NBYTES = 64 * 2**20  # a shard is held in memory while it is written

_NBYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)


class Chosen(NamedTuple):
    """The grid of stored objects, and the shape of the chunks within them (None without shards)."""

    grid: ChunkGrid
    inner: tuple[int, ...] | None


class _Given(NamedTuple):
    """A keyword, taken apart: a length, a tuple of edges or None (to be chosen) per dimension; bytes to aim at."""

    items: tuple[int | tuple[int, ...] | None, ...]
    nbytes: int | None


def choose_grid(shape: tuple[int, ...], itemsize: int, chunks: Any, shards: Any) -> Chosen:
    """Return the grid for an array of ``shape`` whose elements take ``itemsize`` bytes.

    Each keyword is one length for all dimensions, or one item per dimension: a length, -1 or None for all of it,
    "auto", or the lengths of all chunks along it (a rectilinear grid, or a regular one where they are equal); or
    "auto" or a number of bytes ("16 MiB") for all. Raises `MetadataError` for anything else.
    """
    asked = _given("chunks", chunks, shape)
    if shards is None:
        return Chosen(_grid(shape, _complete(asked, shape, itemsize, TARGET_CHUNK_NBYTES)), None)
    if any(isinstance(item, tuple) for item in asked.items):
        raise MetadataError("chunks of different lengths cannot stand in shards", hint="give their lengths to shards=")
    outer = _given("shards", shards, shape)
    if isinstance(shards, str):
        inner = _lengths(_complete(asked, shape, itemsize, TARGET_INNER_NBYTES))
        outer = outer._replace(items=_grown(inner, shape, itemsize, outer.nbytes or TARGET_SHARD_NBYTES))
    elif None in outer.items:
        raise MetadataError(f"shards={shards!r:.80} leaves lengths open", hint='give all of them, or shards="auto"')
    else:
        inner = _lengths(_complete(asked, tuple(map(_step, outer.items)), itemsize, TARGET_INNER_NBYTES, divide=True))
    for lengths, length in zip(outer.items, inner, strict=True):
        if any(n % length for n in (lengths if isinstance(lengths, tuple) else (lengths,))):  # type: ignore[operator]
            raise MetadataError(
                f"chunks {inner} do not divide the shards {outer.items}",
                hint="choose shards that are multiples of the chunks",
            )
    return Chosen(_grid(shape, outer.items), inner)


def _grid(shape: tuple[int, ...], items: Sequence[int | tuple[int, ...] | None]) -> ChunkGrid:
    if any(isinstance(item, tuple) for item in items):
        axes = [list(item) if isinstance(item, tuple) else item for item in items]
        return parse_chunk_grid(shape, Named("rectilinear", {"kind": "inline", "chunk_shapes": axes}))
    return regular_grid(shape, _lengths(items))


def _lengths(items: Sequence[int | tuple[int, ...] | None]) -> tuple[int, ...]:
    return tuple(item for item in items if isinstance(item, int))


def _step(item: int | tuple[int, ...] | None) -> int:
    """Return a length that whatever divides all lengths of an axis of shards must divide."""
    return math.gcd(*item) if isinstance(item, tuple) else item or 1


# --- what callers give


def _given(keyword: str, given: Any, shape: tuple[int, ...]) -> _Given:
    if isinstance(given, str):
        return _Given((None,) * len(shape), None if given == "auto" else _nbytes(keyword, given))
    items = (given,) * len(shape) if given is None or _is_number(given) else _several(keyword, given)
    if len(items) != len(shape):
        raise _wrong(keyword, given, shape)
    sizes = {_nbytes(keyword, item) for item in items if isinstance(item, str) and item != "auto"}
    return _Given(
        tuple(_item(keyword, item, length) for item, length in zip(items, shape, strict=True)), min(sizes, default=None)
    )


def _several(keyword: str, given: Any) -> tuple[Any, ...]:
    try:
        return tuple(given)
    except TypeError:
        raise MetadataError(f"{keyword}={given!r:.80} is neither a number nor a sequence of them") from None


def _is_number(given: Any) -> bool:
    return isinstance(given, int | np.integer) and not isinstance(given, bool)


def _item(keyword: str, item: Any, length: int) -> int | tuple[int, ...] | None:
    if isinstance(item, str):
        return None
    if item is None or (_is_number(item) and item == -1):
        return max(length, 1)
    if _is_number(item) and item > 0:
        return int(item)
    edges = () if _is_number(item) else _several(keyword, item)
    if not edges or not all(_is_number(n) and n > 0 for n in edges):
        raise MetadataError(f"{keyword}: {item!r:.80} is no positive length of a chunk, nor a sequence of such lengths")
    return _equal(tuple(int(n) for n in edges), length)


def _equal(edges: tuple[int, ...], length: int) -> int | tuple[int, ...]:
    """Edges that are those of a regular grid, such as dask's, are stored as one: every reader knows it."""
    first = edges[0]
    regular = all(n == first for n in edges[:-1]) and edges[-1] <= first and sum(edges) == length
    return first if regular else edges


def _nbytes(keyword: str, text: str) -> int:
    nbytes = parse_nbytes(text)
    if nbytes is None:
        raise MetadataError(f'{keyword}={text!r:.80} is neither "auto" nor a number of bytes such as "16 MiB"')
    return nbytes


def parse_nbytes(text: str) -> int | None:
    """Return the number of bytes that a text such as "16 MiB" or "2.5 GB" spells; None where it spells none, or 0."""
    found = _NBYTES.fullmatch(text.strip())
    if found is None or not float(found[1]):
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))


def _wrong(keyword: str, given: Any, shape: tuple[int, ...]) -> MetadataError:
    return MetadataError(f"{keyword}={given!r:.80} must have {len(shape)} items, one for each dimension")


# --- what is chosen


def _complete(
    given: _Given, within: tuple[int, ...], itemsize: int, target: int, *, divide: bool = False
) -> tuple[int | tuple[int, ...], ...]:
    """Return the items with those left open chosen: the longest is halved until a chunk has the size aimed at.

    ``divide``: what is chosen divides ``within`` without a rest.
    """
    target = target if given.nbytes is None else given.nbytes
    items = [max(n, 1) if item is None else item for item, n in zip(given.items, within, strict=True)]
    sizes = [max(item) if isinstance(item, tuple) else item for item in items]
    while math.prod(sizes) * itemsize > target:
        halves = {p: _halved(sizes[p], divide) for p, item in enumerate(given.items) if item is None}
        place = max((p for p, half in halves.items() if half < sizes[p]), key=lambda p: sizes[p], default=None)
        if place is None:
            break
        items[place] = sizes[place] = halves[place]
    return tuple(items)


def _halved(size: int, divide: bool) -> int:
    if not divide:
        return -(-size // 2)
    return next((size // k for k in range(2, math.isqrt(size) + 1) if size % k == 0), 1)


def _grown(inner: tuple[int, ...], shape: tuple[int, ...], itemsize: int, target: int) -> tuple[int, ...]:
    """Return the lengths of a shard: the chunk's, doubled where most chunks are left out, up to ``target`` bytes."""
    limits = [max(-(-n // size), 1) * size for n, size in zip(shape, inner, strict=True)]
    sizes = list(inner)
    while any(size < limit for size, limit in zip(sizes, limits, strict=True)):
        place = max(range(len(sizes)), key=lambda p: limits[p] / sizes[p])
        grown = min(2 * sizes[place], limits[place])
        if math.prod(sizes) // sizes[place] * grown * itemsize > target:
            break
        sizes[place] = grown
    return tuple(sizes)
