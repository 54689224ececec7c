"""Reading parts of shards: look up the index, fetch the ranges that are needed, decode the inner chunks.

Imports chunk_reading (its target), decoding, run_decoding, shard_cutting, shard_fetching and the rows below. Invariant:
no more of a shard is decoded than the selection needs; a shard that changes while it is read is read again. Nested
shards take the same road, one level down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .chunk_reading import WINDOW_NBYTES, WINDOW_REQUESTS, Source, Target, chunk_error, too_large
from .codecs.sharding import ABSENT
from .decoding import Decoder
from .errors import ChunkError
from .executor import Task, run, run_fetched, threads_for
from .layout import Layout
from .memory import Blocks, Lend, encoded_buffer
from .pieces import Pieces, Spans
from .plan import Part, Plan, open_mesh
from .run_decoding import RunDecoder, place_each, takes_runs
from .runs import LEAST_CHUNKS, LEAST_NBYTES, Run, RunPlan, chunks_at_once
from .shard_cutting import Cutter
from .shard_fetching import (
    Blob,
    Found,
    FoundIndex,
    Shard,
    ShardChanged,
    fetch_chunks,
    fetch_whole,
    load_indexes,
)

TRIES = 5  # how often a shard that changes while it is read is read again


class Reading(NamedTuple):
    """One read: where from, how shards are cut for it, and the memory that whole ones are fetched into."""

    source: Source
    cutter: Cutter
    lend: Lend


def read_shards(source: Source, planned: Plan, target: Target) -> None:
    """Fill ``target`` from shards, fetching no more of them than the plan needs."""
    layout, count = source.layout, planned.nparts
    threads = threads_for(count, layout.chunk_nbytes)
    # with several threads shards are fetched before others are decoded
    lend = Blocks().lend if threads > 1 else encoded_buffer
    reading = Reading(source, Cutter(count, threads), lend)
    size = max(1, min(WINDOW_REQUESTS, WINDOW_NBYTES // max(layout.chunk_nbytes, 1))) if source.store.concurrent else 1

    def fetch(parts: Sequence[Part]) -> Sequence[Task]:
        blobs = [(Blob(layout.key(part.coords), part.coords), part) for part in parts]
        return _fetch_window(reading, layout, blobs, planned.points, target)

    parts = planned.parts(opened=False)
    windows = iter(lambda: list(islice(parts, size)), [])
    if count == 1:  # nothing to fetch ahead of: the threads share the tasks of the one shard
        tasks = fetch(next(windows))
        if len(tasks) > 1:
            threads = threads_for(len(tasks), max(LEAST_NBYTES, layout.innermost.chunk_nbytes))
        run(_call_all, tasks, len(tasks), threads)
    elif layout.innermost.pipeline.raw and not source.store.concurrent:  # nothing to decode: all threads fetch
        run(partial(_fetch_and_call, fetch), windows, count, threads)
    else:
        # many requests are under way already: more of them would only take more memory
        run_fetched(fetch, windows, threads, patient=source.store.concurrent)


def _fetch_and_call(fetch: Callable[[Sequence[Part]], Sequence[Task]], windows: Iterator[Sequence[Part]]) -> None:
    for window in windows:
        _call_all(fetch(window))


def _call_all(tasks: Iterable[Task]) -> None:
    for task in tasks:
        task()


def _fetch_window(
    reading: Reading, layout: Layout, parts: Sequence[tuple[Blob, Part]], points: tuple[int, ...], target: Target
) -> Sequence[Task]:
    """Fetch what is needed of the shards of ``parts``, again where one of them changed meanwhile; return what to do."""
    for _ in range(TRIES):
        attempt = Target(target.array, target.filled, target.fill)  # what is missing counts once
        try:
            tasks = _fetch_parts(reading, layout, parts, points, attempt)
            target.missing += attempt.missing
            return tasks
        except ShardChanged as changed:
            key = changed.args[0]
            reading.source.indexes.drop(key)
    raise ChunkError(
        "the shard changes faster than it can be read",
        where=f"{reading.source.where}, key {key!r}",
        hint="wait until its writer has finished",
    )


def _fetch_parts(
    reading: Reading, layout: Layout, parts: Sequence[tuple[Blob, Part]], points: tuple[int, ...], target: Target
) -> Sequence[Task]:
    """Fetch what is needed of shards of one level, and return the tasks that decode it into ``target``."""
    source, shards, copies = reading.source, [], []
    for blob, (_, inside, place, _) in parts:
        cut = reading.cutter.cut(layout, blob.coords, inside, points)
        if points:  # those of each inner chunk go straight to their places
            cut, place = cut._replace(planned=cut.planned.scattered(place[0])), (slice(None), *place[1:])
        # through memory of its own where the place is no view of the result
        if cut.sliced or all(piece is Ellipsis or isinstance(piece, slice) for piece in place):
            goal = target.part(target.array[place])
        else:
            goal = target.part(np.empty(cut.shape, target.array.dtype), filled=False)
            copies.append((open_mesh(place), goal))
        if cut.turn is not None:
            goal = goal.part(goal.array.transpose(cut.turn))
        shards.append(Shard(blob, cut, goal))
    tasks = _fetch_shards(reading, layout, fetch_whole(source, layout, shards, reading.lend))
    if not copies:
        return tasks

    def decode_and_copy() -> None:
        _call_all(tasks)
        for place, goal in copies:
            target.array[place] = goal.array

    return [decode_and_copy]


def _fetch_shards(reading: Reading, layout: Layout, shards: Sequence[Shard]) -> list[Task]:
    source, found = reading.source, []
    for shard, index in zip(shards, load_indexes(source, shards), strict=True):
        if index is None:
            _miss_all(shard)
        else:
            found.append(_find(shard, index))
    if layout.shards is not None and layout.shards.inner.shards is not None:
        return [task for each in found for task in _fetch_nested(reading, each)]
    encoded = fetch_chunks(source, found)
    return [task for each, raws in zip(found, encoded, strict=True) for task in _tasks(reading, each, raws)]


def _miss_all(shard: Shard) -> None:
    key = shard.blob.key
    for part in shard.cut.planned.parts():
        shard.target.miss(part.place, lambda: repr(key))


def _find(shard: Shard, found: FoundIndex) -> Found:
    """Return where the inner chunks lie that are stored; the places of the others are filled."""
    stamp, index = found
    cut = shard.cut
    entries = index if cut.numbers is None else index.take(cut.numbers, axis=0)
    if entries.max() != ABSENT:  # which no other number of an index can be
        return Found(shard, stamp, entries.astype(np.int64), None)
    nested, key = cut.shards.inner.shards is not None, shard.blob.key
    stored, parts = entries[:, 0] != ABSENT, []
    for is_stored, part in zip(stored.tolist(), cut.planned.parts(opened=not nested), strict=True):
        if is_stored:
            parts.append(part)
        else:
            place = open_mesh(part.place) if nested and cut.planned.meshes else part.place
            shard.target.miss(place, lambda coords=part.coords: f"inner chunk {coords} of {key!r}")
    return Found(shard, stamp, entries[stored].astype(np.int64), parts)


def _fetch_nested(reading: Reading, found: Found) -> Sequence[Task]:
    shard, stamp, spans, parts = found
    blob, cut = shard.blob, shard.cut
    data = [None] * len(spans) if blob.data is None else Pieces(blob.data, spans)
    blobs = [
        Blob(blob.key, blob.coords, blob.start + start, nbytes, stamp, piece)
        for (start, nbytes), piece in zip(spans.tolist(), data, strict=True)
    ]
    if parts is None:
        parts = list(cut.planned.parts(opened=False))
    inner, points = cut.shards.inner, cut.planned.points  # which the order of the shard's dimensions may have moved
    return _fetch_parts(reading, inner, list(zip(blobs, parts, strict=True)), points, shard.target)


# --- decoding --------------------------------------------------------------------------------------------------------


def _tasks(reading: Reading, found: Found, encoded: Sequence[Any]) -> Iterator[Task]:
    """Yield what decodes the inner chunks and places their pieces: in runs where that can be done, else one by one."""
    shard, _, spans, parts = found
    inner, runs = shard.cut.shards.inner, shard.cut.runs
    whole = parts is None and inner.chunk_nbytes <= reading.source.limit
    if runs is not None and whole and takes_runs(inner.pipeline, encoded):
        for item in runs.runs:
            yield partial(_decode_run, reading.source, found, runs, item, encoded[item.start : item.stop])
        return
    step = 1 if len(spans) == 1 else chunks_at_once(len(spans), max(inner.chunk_nbytes, 1), reading.cutter.tasks)
    each = iter(shard.cut.planned.parts() if parts is None else parts)
    for start in range(0, len(spans), step):
        here = slice(start, start + step)
        yield partial(_decode_each, reading.source, shard, encoded[here], spans[here], list(islice(each, step)))


def _decode_run(source: Source, found: Found, runs: RunPlan, item: Run, encoded: Sequence[Any]) -> None:
    shard = found.shard
    if not RunDecoder(runs, shard.target.array).place(encoded, item):
        parts = islice(shard.cut.planned.parts(), item.start, item.stop)
        _decode_each(source, shard, encoded, found.spans[item.start : item.stop], parts)


def _decode_each(source: Source, shard: Shard, encoded: Sequence[Any], spans: Spans, parts: Iterable[Part]) -> None:
    """Decode inner chunks, with one call where that can be done, and place them one after the other."""
    inner, target, blob, front = shard.cut.shards.inner, shard.target, shard.blob, shard.cut.planned.front
    parts = list(parts)
    few = len(encoded) < LEAST_CHUNKS or inner.chunk_nbytes > source.limit
    if not few and place_each(inner.pipeline, encoded, parts, front, target.array):
        return
    decoder = Decoder(inner.pipeline, target.array)
    for raw, nbytes, (coords, inside, place, whole) in zip(encoded, spans[:, 1].tolist(), parts, strict=True):
        try:
            if len(raw) != nbytes:
                raise ChunkError(f"only {len(raw)} of {nbytes} bytes are there: the shard is cut short")
            if inner.chunk_nbytes > source.limit:
                raise too_large(inner, coords, source.limit)
            decoder.place(raw, inside, place, whole, front)
        except Exception as error:
            raise chunk_error(error, source, blob.coords, f"{blob.key}, inner chunk {coords}") from error
