"""What a read needs of one shard, worked out once for all shards of which the same is needed.

Imports executor, runs and the rows below. Invariant: a `Cut` depends on the shard's metadata, the selection within it
and the number of tasks alone, never on the shard's place; so it is kept for other reads (row ``chunks_shard``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .executor import thread_budget
from .layout import Layout, Shards
from .plan import Plan, permute, plan, within
from .runs import LEAST_CHUNKS, TASKS_EACH, RunPlan, plan_runs
from .selection import Indices

_SLICE = frozenset({slice})
MOST_KEPT, LARGEST_KEPT = 64, 4096  # cuts, and inner chunks of one that does not take all of them


class Cut(NamedTuple):
    """What is needed of a shard: the plan on its inner chunks, and their ``numbers`` in the index (None: all of it).

    ``shape`` is that of the piece in the result, which is a view of it where it is ``sliced`` along every dimension;
    ``turn`` brings its dimensions into the order of the inner chunks (None: they are). ``share``: of the inner chunks
    that are needed. ``runs``: how to decode many of them at once, where that can be done.
    """

    shards: Shards
    shape: tuple[int, ...]
    sliced: bool
    turn: tuple[int, ...] | None
    planned: Plan
    share: float
    numbers: Indices | None
    runs: RunPlan | None


class Cutter:
    """Cuts the shards of one read.

    ``count`` is the number of shards, ``threads`` that of the threads that share them.
    """

    def __init__(self, count: int, threads: int) -> None:
        self._count, self._threads = count, threads

    def cut(self, layout: Layout, coords: tuple[int, ...], inside: Sequence[Any], points: tuple[int, ...]) -> Cut:
        """Return what the pieces ``inside`` the shard at ``coords`` of ``layout`` need.

        ``points`` are the dimensions of the shard that a pointwise selection takes together.
        """
        shards = layout.shards if layout.regular else layout.shards_for(layout.grid.chunk_shape(coords))
        assert shards is not None
        sliced = _SLICE.issuperset(map(type, inside))
        if not sliced:
            return self._new(shards, inside, points, sliced)
        cuts, key = shards.cuts, (self.tasks, points, *[(piece.start, piece.stop, piece.step) for piece in inside])
        cut: Cut | None = cuts.get(key)
        if cut is None:
            cut = self._new(shards, inside, points, sliced)
            if cut.numbers is None or len(cut.numbers) <= LARGEST_KEPT:
                if len(cuts) >= MOST_KEPT:
                    cuts.clear()
                cuts[key] = cut
        return cut

    @cached_property
    def tasks(self) -> int:
        """How many tasks the decoding of one shard should make at least; the threads share those of a single one."""
        threads = thread_budget() if self._count == 1 else self._threads
        return 1 if threads == 1 else -(-TASKS_EACH * threads // self._count)

    def _new(self, shards: Shards, inside: Sequence[Any], points: tuple[int, ...], sliced: bool) -> Cut:
        selection, turn = within(inside, points), None
        shape, grid, inner = selection.planned_shape, shards.sharding.grid, shards.inner
        if shards.order is not None:
            selection, turn = permute(selection, shards.order)
        planned = plan(selection, grid)
        count = planned.nparts
        everything = count == grid.nchunks and not points and not planned.meshes
        numbers = None if everything else np.array(planned.numbers(grid.counts), np.intp)
        pipeline = inner.pipeline
        runs = None
        if pipeline.decode_pieces is not None and pipeline.order is not None and count >= LEAST_CHUNKS:
            bricks = planned.bricks()
            runs = None if bricks is None else plan_runs(pipeline, bricks, self.tasks)
        return Cut(shards, shape, sliced, turn, planned, count / grid.nchunks, numbers, runs)
