"""Reading many small chunks that are objects of their own in runs: fetch some, decode all with one call, place them.

Imports chunk_reading, executor, run_decoding and the rows below. Invariant: what is placed is what reading the chunks
one by one would place, and each object is fetched once. A call for many chunks is long enough for a second thread,
where one for a small chunk is not (row ``small_zstd`` of the benchmark).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from .chunk_reading import (
    LEAST_TURN,
    PART_NBYTES,
    WINDOW_REQUESTS,
    Source,
    Target,
    expected_nbytes,
    fetch_many,
    fetch_one,
    placing,
)
from .executor import LEAST_BYTES, LEAST_BYTES_PER_ITEM, Task, run_fetched, thread_budget
from .memory import Blocks, Lend, encoded_buffer
from .plan import Part, Plan
from .run_decoding import RunDecoder, place_each
from .runs import Run, RunPlan, chunks_at_once, least_runs, plan_runs
from .stores.base import Request


class Reading(NamedTuple):
    """Parts that are read in runs; ``bricks`` says how they are cut where one copy places them all."""

    source: Source
    parts: Iterator[Part]
    front: tuple[int, ...] | None
    target: Target
    bricks: RunPlan | None


class Turn(NamedTuple):
    """So many parts that are decoded with one call; ``run`` says where they go if they are bricks."""

    nparts: int
    run: Run | None


def read_in_runs(source: Source, planned: Plan, target: Target) -> bool:
    """Fill ``target`` from small chunks that are objects of their own; return False where runs are no gain."""
    layout, count = source.layout, planned.nparts
    pipeline, nbytes = layout.pipeline, layout.chunk_nbytes
    if pipeline.decode_run is None or not layout.regular or nbytes > source.limit:
        return False
    if nbytes >= LEAST_BYTES_PER_ITEM or count < LEAST_TURN or count * nbytes < LEAST_BYTES:
        return False
    # raw chunks are not decoded: a second thread would have nothing to do
    threads = 1 if pipeline.raw else thread_budget()
    least = least_runs(threads)
    parts = planned.parts()
    found = None if pipeline.order is None else planned.inner()
    bricks = found and found[0].bricks()
    if found and bricks:
        inner, place = found
        runs = plan_runs(pipeline, bricks, least)
        turns = [Turn(run.stop - run.start, run) for run in runs.runs]
        _read(Reading(source, inner.parts(), None, target.part(target.array[place]), runs), turns, threads)
        beside = [] if inner.nparts == count else planned.parts_beside(inner)
        parts, count = iter(beside), len(beside)
    most = chunks_at_once(count, nbytes, least)
    turns = [Turn(min(most, count - start), None) for start in range(0, count, most)]
    _read(Reading(source, parts, planned.front, target, None), turns, threads)
    return True


def _read(reading: Reading, turns: Sequence[Turn], threads: int) -> None:
    source, parts = reading.source, reading.parts
    concurrent = source.store.concurrent
    # with several threads the next turn is fetched before this one is decoded
    lend = Blocks().lend if threads > 1 else encoded_buffer
    size = max(1, WINDOW_REQUESTS // turns[0].nparts) if concurrent and turns else 1

    def fetch(window: Sequence[Turn]) -> Sequence[Task]:
        here = list(islice(parts, sum(turn.nparts for turn in window)))
        raws = _fetch(source, here, lend)
        fetched = zip(raws, here, strict=True)
        if all(raw is None for raw in raws):  # filled in less time than another thread needs to wake up
            for part in here:
                reading.target.miss(part.place, lambda coords=part.coords: repr(source.layout.key(coords)))
            return []
        return [partial(_decode, reading, turn.run, list(islice(fetched, turn.nparts))) for turn in window]

    windows = [turns[at : at + size] for at in range(0, len(turns), size)]
    # many requests are under way already, or the objects are small: a second thread that fetches would be in the way
    run_fetched(fetch, windows, min(threads, len(turns)), patient=True)


def _fetch(source: Source, parts: Sequence[Part], lend: Lend) -> list[Any]:
    """Return the objects of ``parts``: one behind the other in memory that is lent, if they are fetched one by one."""
    if source.store.concurrent:
        return fetch_many(source, [Request(source.layout.key(part.coords)) for part in parts])
    slot, used, raws = PART_NBYTES + (expected_nbytes(source.layout) or 0), 0, []
    memory = lend(slot * len(parts))
    for part in parts:
        raw = fetch_one(source, part, memory and memory[used : used + slot])
        raws.append(raw)
        used += PART_NBYTES + (0 if raw is None else len(raw))
    return raws


def _decode(reading: Reading, run: Run | None, fetched: Sequence[tuple[Any, Part]]) -> None:
    source, _, front, target, bricks = reading
    stored = [each for each in fetched if each[0] is not None]
    raws = [raw for raw, _ in stored]
    if bricks is not None and run is not None and len(stored) == len(fetched):
        done = RunDecoder(bricks, target.array).place(raws, run)
    else:
        parts = [part for _, part in stored]
        done = not stored or place_each(source.layout.pipeline, raws, parts, front, target.array)
    # one by one those that are missing, or all where one is damaged
    rest = [each for each in fetched if each[0] is None] if done else fetched
    placing(source, front, target)(iter(rest))
