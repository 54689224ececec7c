"""Reading many small chunks that are objects of their own in runs: fetch some, decode all with one call, place them.

Imports chunk_reading, executor, run_decoding and the rows below. Invariant: what is placed is what reading the chunks
one by one would place, and each object is fetched once. A call for many chunks is long enough for a second thread,
where one for a small chunk is not (row ``small_zstd`` of the benchmark).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    read_parts,
)
from .executor import LEAST_BYTES, LEAST_BYTES_PER_ITEM, Task, run_fetched, thread_budget
from .memory import Blocks, Lend, encoded_buffer
from .plan import Part, Plan
from .run_decoding import RunDecoder
from .runs import TASKS_EACH, Run, RunPlan, plan_runs
from .stores.base import Request


class Reading(NamedTuple):
    """The part of a read that is done in ``runs``: its plan, and where it goes."""

    source: Source
    planned: Plan
    runs: RunPlan
    target: Target


def read_in_runs(source: Source, planned: Plan, target: Target) -> bool:
    """Fill ``target`` from small chunks that are objects of their own; return False where runs are no gain.

    Chunks at the edges of the selection, of which less is needed, are read one by one.
    """
    layout = source.layout
    pipeline, nbytes = layout.pipeline, layout.chunk_nbytes
    if pipeline.decode_run is None or pipeline.order is None or not layout.regular or nbytes > source.limit:
        return False
    found = planned.inner() if planned.nparts >= LEAST_TURN and nbytes < LEAST_BYTES_PER_ITEM else None
    if found is None:
        return False
    inner, place = found
    bricks = inner.bricks()
    if bricks is None or inner.nparts < LEAST_TURN or inner.nparts * nbytes < LEAST_BYTES:
        return False
    # raw chunks are not decoded: a second thread would have nothing to do
    threads = 1 if pipeline.raw else thread_budget()
    runs = plan_runs(pipeline, bricks, 1 if threads == 1 else TASKS_EACH * threads)
    _read(Reading(source, inner, runs, target.part(target.array[place])), threads)
    if inner.nparts < planned.nparts:
        others = planned.parts_beside(inner)
        read_parts(source, others, len(others), None, target)
    return True


def _read(reading: Reading, threads: int) -> None:
    source, planned, runs, _ = reading
    parts, concurrent = planned.parts(), source.store.concurrent
    # with several threads the next run is fetched before this one is decoded
    lend = Blocks().lend if threads > 1 else encoded_buffer
    size = max(1, WINDOW_REQUESTS // runs.most) if concurrent else 1

    def fetch(window: Sequence[Run]) -> Sequence[Task]:
        here = list(islice(parts, window[-1].stop - window[0].start))
        fetched = zip(_fetch(source, here, lend), here, strict=True)
        return [partial(_decode, reading, run, list(islice(fetched, run.stop - run.start))) for run in window]

    windows = [runs.runs[at : at + size] for at in range(0, len(runs.runs), size)]
    # many requests are under way already: more of them would only take more memory
    run_fetched(fetch, windows, threads, patient=concurrent)


def _fetch(source: Source, parts: Sequence[Part], lend: Lend) -> list[Any]:
    """Return the objects of ``parts``: one behind the other in memory that is lent, if they are fetched one by one."""
    if source.store.concurrent:
        return fetch_many(source, [Request(source.layout.key(part.coords)) for part in parts])
    slot, used, raws = PART_NBYTES + (expected_nbytes(source.layout.pipeline) or 0), 0, []
    memory = lend(slot * len(parts))
    for part in parts:
        raw = fetch_one(source, part, memory and memory[used : used + slot])
        raws.append(raw)
        used += PART_NBYTES + (0 if raw is None else len(raw))
    return raws


def _decode(reading: Reading, run: Run, fetched: Sequence[tuple[Any, Part]]) -> None:
    source, planned, runs, target = reading
    raws = [raw for raw, _ in fetched]
    if any(raw is None for raw in raws) or not RunDecoder(runs, target.array).place(raws, run):
        placing(source, planned.front, target)(iter(fetched))
