"""Reading parts of shards: look up the index, fetch the ranges that are needed, decode each inner chunk.

Imports chunk_reading (its decoder and target), shard_fetching and the rows below. Invariant: no more of a shard is
decoded than the selection needs; a shard that changes while it is read is read again. Nested shards take the same
road, one level down.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .chunk_reading import WINDOW_NBYTES, WINDOW_REQUESTS, Source, Target, chunk_error, too_large
from .codecs.sharding import ABSENT
from .decoding import Decoder
from .errors import ChunkError
from .executor import run, threads_for
from .layout import Layout
from .plan import Part, Plan, open_mesh, permute, plan, within
from .shard_fetching import Blob, FoundIndex, Job, Piece, Shard, ShardChanged, fetch_pieces, fetch_whole, load_indexes

WHOLE_SHARE = 0.5  # of the inner chunks of a shard: from here on the shard is fetched whole, with one request
TRIES = 5  # how often a shard that changes while it is read is read again


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
        except ShardChanged as changed:
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


def _read_jobs(source: Source, layout: Layout, jobs: Sequence[Job], inline: bool) -> None:
    opened = [_open_shard(source, layout, job) for job in jobs]
    indexes = load_indexes(source, opened)
    found = [_pieces(shard, index) for shard, index in zip(opened, indexes, strict=True) if index is not None]
    for shard, index in zip(opened, indexes, strict=True):
        if index is None:
            _miss_all(shard)
    if layout.shards is not None and layout.shards.inner.shards is not None:
        for shard, stamp, pieces in found:
            _read_nested(source, shard, stamp, pieces, inline)
    else:
        for (shard, _, pieces), raws in zip(found, fetch_pieces(source, found), strict=True):
            _decode(source, shard, pieces, raws, inline)


def _open_shard(source: Source, layout: Layout, job: Job) -> Shard:
    shards = layout.shards if layout.regular else layout.shards_for(layout.grid.chunk_shape(job.blob.coords))
    assert shards is not None
    job = job if shards.order is None else _permuted(job, shards.order)
    planned = plan(job.selection, shards.sharding.grid)
    if job.blob.data is None and planned.nparts >= WHOLE_SHARE * shards.sharding.grid.nchunks:
        job = job._replace(blob=fetch_whole(source, layout, job.blob))
    return Shard(job, shards, planned)


def _permuted(job: Job, order: tuple[int, ...]) -> Job:
    selection, array = permute(job.selection, job.target.array, order)
    return Job(job.blob, selection, job.target.part(array))


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
