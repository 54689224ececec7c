"""Reading parts of shards: look up the index, fetch the ranges that are needed, decode each inner chunk.

Imports chunk_reading (its decoder and target), codecs.sharding and the rows below. Invariant: an index and the ranges
it points at come from one version of the shard; where the store shows that the shard changed in between, both are
read again. Nested shards take the same road, one level down.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .chunk_reading import (
    WINDOW_NBYTES,
    WINDOW_REQUESTS,
    Decoder,
    Source,
    Target,
    chunk_error,
    fetch_many,
    scratch,
    too_large,
)
from .codecs.exzarr import looks_like_exzarr
from .codecs.sharding import ABSENT, Index
from .errors import ChunkError
from .executor import run, threads_for
from .index_cache import CacheKey
from .layout import Layout, Shards
from .plan import Part, Plan, open_mesh, plan
from .selection import AxisSelection, Selection
from .stores.base import ByteRange, Request

WHOLE_SHARE = 0.5  # of the inner chunks of a shard: from here on the shard is fetched whole, with one request
GAP_NBYTES = 64 * 1024  # ranges closer than this are fetched as one: a request costs more than the bytes between
TRIES = 5  # how often a shard that changes while it is read is read again


class Blob(NamedTuple):
    """A shard within an object: all of it, or ``nbytes`` from ``start`` where shards are nested.

    ``coords`` are those of the stored object. ``stamp`` is its version where that is known already; ``data`` holds the
    shard's bytes where they are in memory.
    """

    key: str
    coords: tuple[int, ...]
    start: int = 0
    nbytes: int | None = None
    stamp: Hashable = None
    data: memoryview | None = None


class Job(NamedTuple):
    """One shard to read: what of it is needed, and where that goes."""

    blob: Blob
    selection: Selection
    target: Target


class Shard(NamedTuple):
    """A job with what its metadata says: how the shard is cut, and the plan on its inner chunks."""

    job: Job
    shards: Shards
    planned: Plan


class Piece(NamedTuple):
    """One stored inner chunk: where its bytes lie within the shard, and its part of the plan."""

    start: int
    nbytes: int
    part: Part


class _Changed(Exception):
    """The object ``args[0]`` was replaced between two requests."""


def read_shards(source: Source, planned: Plan, target: Target) -> None:
    """Fill ``target`` from shards, fetching no more of them than the plan needs."""
    layout = source.layout
    threads = threads_for(planned.nparts, layout.chunk_nbytes)
    # many shards: the threads share the shards; few: they share the inner chunks of one shard after the other
    by_shard = threads > 1 and planned.nparts >= 2 * threads and not source.store.concurrent
    size = max(1, min(WINDOW_REQUESTS, WINDOW_NBYTES // max(layout.chunk_nbytes, 1))) if source.store.concurrent else 1

    def work(parts: Iterator[Part]) -> None:
        while window := list(islice(parts, size)):
            blobs = [(Blob(layout.key(part.coords), part.coords), part) for part in window]
            _read_window(source, layout, blobs, planned, target, inline=by_shard)

    run(work, planned.parts(opened=False), planned.nparts, threads if by_shard else 1)


def _read_window(
    source: Source, layout: Layout, parts: Sequence[tuple[Blob, Part]], planned: Plan, target: Target, inline: bool
) -> None:
    """Read the shards of ``parts``, again where one of them changed while it was read."""
    for _ in range(TRIES):
        try:
            _read_parts(source, layout, parts, planned, target, inline)
            return
        except _Changed as changed:
            key = changed.args[0]
            source.indexes.drop(key)
    raise ChunkError(
        "the shard changes faster than it can be read",
        where=f"{source.where}, key {key!r}",
        hint="wait until its writer has finished",
    )


def _read_parts(
    source: Source, layout: Layout, parts: Sequence[tuple[Blob, Part]], planned: Plan, target: Target, inline: bool
) -> None:
    """Read the shards of one level into ``target``, through memory of their own where the place is no view of it."""
    jobs, copies = [], []
    for blob, (_, inside, place, _) in parts:
        selection = within(inside, planned.points)
        if all(piece is Ellipsis or isinstance(piece, slice) for piece in place):
            goal = target.part(target.array[place])
        else:
            goal = target.part(np.empty(selection.planned_shape, target.array.dtype), filled=False)
            copies.append((place if planned.points else open_mesh(place), goal))
        jobs.append(Job(blob, selection, goal))
    _read_jobs(source, layout, jobs, inline)
    for place, goal in copies:
        target.array[place] = goal.array


def within(inside: Sequence[Any], points: tuple[int, ...]) -> Selection:
    """Return the selection within one shard that the pieces ``inside`` it stand for."""
    axes: tuple[AxisSelection, ...] = tuple(
        range(piece.start, piece.stop, piece.step or 1) if isinstance(piece, slice) else piece
        for piece in inside
        if piece is not Ellipsis
    )
    return Selection(axes, points, ())


def _read_jobs(source: Source, layout: Layout, jobs: Sequence[Job], inline: bool) -> None:
    opened = [_open_shard(source, layout, job) for job in jobs]
    indexes = _load_indexes(source, opened)
    found = [_pieces(shard, index) for shard, index in zip(opened, indexes, strict=True) if index is not None]
    for shard, index in zip(opened, indexes, strict=True):
        if index is None:
            _miss_all(shard)
    if layout.shards is not None and layout.shards.inner.shards is not None:
        for shard, stamp, pieces in found:
            _read_nested(source, shard, stamp, pieces, inline)
    else:
        for (shard, _, pieces), raws in zip(found, _fetch(source, found), strict=True):
            _decode(source, shard, pieces, raws, inline)


def _open_shard(source: Source, layout: Layout, job: Job) -> Shard:
    shards = layout.shards if layout.regular else layout.shards_for(layout.grid.chunk_shape(job.blob.coords))
    assert shards is not None
    job = job if shards.order is None else _permuted(job, shards.order)
    planned = plan(job.selection, shards.sharding.grid)
    if job.blob.data is None and planned.nparts >= WHOLE_SHARE * shards.sharding.grid.nchunks:
        job = job._replace(blob=_fetch_whole(source, layout, job.blob))
    return Shard(job, shards, planned)


def _permuted(job: Job, order: tuple[int, ...]) -> Job:
    selection, array = permute(job.selection, job.target.array, order)
    return Job(job.blob, selection, job.target.part(array))


def permute(selection: Selection, array: Any, order: tuple[int, ...]) -> tuple[Selection, Any]:
    """Turn a selection within a shard, and the array it reads into or writes from, to another order of dimensions.

    ``order`` is that of a transpose before sharding: dimension i of the inner chunks is dimension ``order[i]`` outside.
    """
    axes, points = selection.axes, selection.points
    rest = [axis for axis in range(len(axes)) if axis not in points]
    turned = [rest.index(axis) for axis in order if axis not in points]
    array = array.transpose((0, *(1 + at for at in turned)) if points else order)
    turned_points = tuple(sorted(order.index(axis) for axis in points))
    return Selection(tuple(axes[axis] for axis in order), turned_points, ()), array


def _fetch_whole(source: Source, layout: Layout, blob: Blob) -> Blob:
    """Return ``blob`` with its data, or as it is when there is no such shard."""
    try:
        if blob.nbytes is None:
            nested = layout.shards is not None and layout.shards.inner.shards is not None
            data = source.store.get(blob.key, None, None if nested else scratch(layout.pipeline))
        else:
            data = _get_ranges(source, blob, [ByteRange(blob.start, blob.nbytes)])[1][0]
    except _Changed:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error
    return blob if data is None else blob._replace(data=memoryview(data).cast("B"))


def _get_ranges(source: Source, blob: Blob, ranges: Sequence[ByteRange]) -> tuple[Hashable, list[Any]]:
    """Return the stamp and the ranges, all of one version: that of ``blob.stamp`` where it is known."""
    stamp, found = source.store.get_ranges(blob.key, ranges, blob.stamp)
    if found is None:
        raise _Changed(blob.key)
    return stamp, found


# --- indexes ---------------------------------------------------------------------------------------------------------

FoundIndex = tuple[Hashable, Index]


def _load_indexes(source: Source, opened: Sequence[Shard]) -> list[FoundIndex | None]:
    """Return stamp and index of each shard, None for those that do not exist; the unknown ones in one wave."""
    found: list[FoundIndex | None] = []
    unknown = []
    for shard in opened:
        blob, sharding = shard.job.blob, shard.shards.sharding
        if blob.data is not None:
            found.append((blob.stamp, _checked(source, blob, lambda b=blob, s=sharding: s.index_of(b.data))))
            continue
        known = source.indexes.get(_cache_key(shard))
        found.append(known)
        if known is None:
            unknown.append(shard)
    if not unknown:
        return found
    fetched = iter(_fetch_indexes(source, unknown))
    waiting = {id(shard) for shard in unknown}
    return [next(fetched) if id(shard) in waiting else index for shard, index in zip(opened, found, strict=True)]


def _fetch_indexes(source: Source, unknown: Sequence[Shard]) -> list[FoundIndex | None]:
    if not source.store.concurrent:
        return [_fetch_index(source, shard) for shard in unknown]
    requests = [Request(shard.job.blob.key, _index_range(shard)) for shard in unknown]
    fetched = fetch_many(source, requests)
    return [
        None if encoded is None else (None, _keep_index(source, shard, None, encoded))
        for shard, encoded in zip(unknown, fetched, strict=True)
    ]


def _fetch_index(source: Source, shard: Shard) -> FoundIndex | None:
    blob = shard.job.blob
    try:
        stamp, found = source.store.get_ranges(blob.key, [_index_range(shard)], blob.stamp)
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error
    if found is None:
        if blob.stamp is not None:
            raise _Changed(blob.key)
        return None
    return stamp, _keep_index(source, shard, stamp, found[0])


def _index_range(shard: Shard) -> ByteRange:
    blob, sharding = shard.job.blob, shard.shards.sharding
    if sharding.index_at_start:
        return ByteRange(blob.start, sharding.index_nbytes)
    if blob.nbytes is None:
        return ByteRange(-sharding.index_nbytes, sharding.index_nbytes)
    return ByteRange(max(blob.start + blob.nbytes - sharding.index_nbytes, blob.start), sharding.index_nbytes)


def _keep_index(source: Source, shard: Shard, stamp: Hashable, encoded: Any) -> Index:
    blob, sharding = shard.job.blob, shard.shards.sharding
    index = _checked(source, blob, lambda: sharding.parse_index(encoded, blob.nbytes))
    source.indexes.put(_cache_key(shard), stamp, index)
    return index


def _cache_key(shard: Shard) -> CacheKey:
    """Return the name of a shard's index; a nested shard may begin where the one around it begins."""
    return shard.job.blob.key, shard.job.blob.start, shard.shards.inner.depth


def _checked(source: Source, blob: Blob, parse: Callable[[], Index]) -> Index:
    try:
        return parse()
    except Exception as error:
        failure = chunk_error(error, source, blob.coords, blob.key)
        if blob.nbytes is None and _written_by_exzarr(source, blob):
            failure.hint = 'the shard is in the format of ExZarr: open the array with quirks="exzarr"'
        raise failure from error


def _written_by_exzarr(source: Source, blob: Blob) -> bool:
    """Look at the whole of a shard whose index cannot be read, to tell the user what it is."""
    data = blob.data if blob.data is not None else source.store.get(blob.key)
    return data is not None and looks_like_exzarr(memoryview(data).cast("B"), len(blob.coords))


# --- inner chunks ----------------------------------------------------------------------------------------------------


def _miss_all(shard: Shard) -> None:
    key = shard.job.blob.key
    for part in shard.planned.parts():
        shard.job.target.miss(part.place, lambda: repr(key))


def _pieces(shard: Shard, found: FoundIndex) -> tuple[Shard, Hashable, list[Piece]]:
    """Return the inner chunks that are stored; the places of the others are filled."""
    stamp, index = found
    job, planned = shard.job, shard.planned
    rows = planned.numbers(shard.shards.sharding.grid.counts)
    nested = shard.shards.inner.shards is not None
    pieces = []
    for (start, nbytes), part in zip(index[rows].tolist(), planned.parts(opened=not nested), strict=True):
        if start == ABSENT:
            place = open_mesh(part.place) if nested and planned.meshes else part.place
            job.target.miss(place, lambda coords=part.coords: f"inner chunk {coords} of {job.blob.key!r}")
        else:
            pieces.append(Piece(start, nbytes, part))
    return shard, stamp, pieces


def _read_nested(source: Source, shard: Shard, stamp: Hashable, pieces: Sequence[Piece], inline: bool) -> None:
    blob = shard.job.blob
    parts = []
    for start, nbytes, part in pieces:
        data = None if blob.data is None else blob.data[start : start + nbytes]
        parts.append((Blob(blob.key, blob.coords, blob.start + start, nbytes, stamp, data), part))
    _read_parts(source, shard.shards.inner, parts, shard.planned, shard.job.target, inline)


def _fetch(source: Source, found: Sequence[tuple[Shard, Hashable, list[Piece]]]) -> Iterator[list[Any]]:
    """Yield the encoded inner chunks of each shard, in the order of its pieces."""
    if source.store.concurrent:
        return iter(_fetch_coalesced(source, found))
    return (_fetch_pieces(source, shard.job.blob._replace(stamp=stamp), pieces) for shard, stamp, pieces in found)


def _fetch_pieces(source: Source, blob: Blob, pieces: Sequence[Piece]) -> list[Any]:
    data = blob.data
    if data is not None:
        return [data[start : start + nbytes] for start, nbytes, _ in pieces]
    if not pieces and blob.stamp is None:
        return []
    ranges = [ByteRange(blob.start + start, nbytes) for start, nbytes, _ in pieces]
    try:
        return _get_ranges(source, blob, ranges)[1]
    except _Changed:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error


def _fetch_coalesced(source: Source, found: Sequence[tuple[Shard, Hashable, list[Piece]]]) -> list[list[Any]]:
    """Fetch what is not in memory yet with one wave of requests, neighbouring ranges as one."""
    requests: list[Request] = []
    spans: list[
        list[tuple[int, int]]
    ] = []  # for each piece of each shard: its request and where in the answer it begins
    for shard, _, pieces in found:
        blob = shard.job.blob
        here = [(0, 0)] * len(pieces)
        for at in sorted(range(len(pieces)), key=lambda i, p=pieces: p[i].start) if blob.data is None else ():
            start, nbytes = blob.start + pieces[at].start, pieces[at].nbytes
            last = requests[-1].byte_range if requests and requests[-1].key == blob.key else None
            if last is not None and 0 <= start - (last.start + (last.length or 0)) <= GAP_NBYTES:
                requests[-1] = Request(blob.key, ByteRange(last.start, start + nbytes - last.start))
            else:
                requests.append(Request(blob.key, ByteRange(start, nbytes)))
            fetched_from = requests[-1].byte_range
            assert fetched_from is not None
            here[at] = len(requests) - 1, start - fetched_from.start
        spans.append(here)
    answers = fetch_many(source, requests) if requests else []
    return [_cut(shard.job.blob, pieces, here, answers) for (shard, _, pieces), here in zip(found, spans, strict=True)]


def _cut(blob: Blob, pieces: Sequence[Piece], spans: Sequence[tuple[int, int]], answers: Sequence[Any]) -> list[Any]:
    if blob.data is not None:
        return [blob.data[start : start + nbytes] for start, nbytes, _ in pieces]
    if any(answers[request] is None for request, _ in spans):
        raise _Changed(blob.key)  # the index was there a moment ago
    return [
        memoryview(answers[request])[start : start + piece.nbytes]
        for (request, start), piece in zip(spans, pieces, strict=True)
    ]


def _decode(source: Source, shard: Shard, pieces: Sequence[Piece], raws: Sequence[Any], inline: bool) -> None:
    """Decode the inner chunks and place their pieces, on several threads where ``inline`` allows it."""
    inner, planned, target, blob = shard.shards.inner, shard.planned, shard.job.target, shard.job.blob
    front = planned.front

    def work(items: Iterator[tuple[Any, Piece]]) -> None:
        decoder = Decoder(inner.pipeline, target.array)
        for raw, (_, nbytes, (coords, inside, place, whole)) in items:
            try:
                if len(raw) != nbytes:
                    raise ChunkError(f"only {len(raw)} of {nbytes} bytes are there: the shard is cut short")
                if inner.chunk_nbytes > source.limit:
                    raise too_large(inner, coords, source.limit)
                decoder.place(raw, inside, place, whole, front)
            except Exception as error:
                raise chunk_error(error, source, blob.coords, f"{blob.key}, inner chunk {coords}") from error

    threads = 1 if inline else threads_for(len(pieces), inner.chunk_nbytes)
    run(work, zip(raws, pieces, strict=True), len(pieces), threads)
