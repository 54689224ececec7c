"""What a read needs of one shard, worked out once for all shards of which the same is needed.

Imports run_decoding and the rows below. Invariant: a `Cut` depends on the shard's metadata and the selection within
it alone, never on the shard's place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .layout import Layout, Shards
from .plan import Plan, permute, plan, within
from .run_decoding import LEAST_CHUNKS, RunPlan, plan_runs
from .selection import Indices

MOST_KEPT = 256  # cuts of one read


class Cut(NamedTuple):
    """What is needed of a shard: the plan on its inner chunks, and their ``numbers`` in the index (None: all of it).

    ``shape`` is that of the piece in the result; ``turn`` brings its dimensions into the order of the inner chunks
    (None: they are). ``runs``: how to decode many inner chunks at once, where that can be done.
    """

    shards: Shards
    shape: tuple[int, ...]
    turn: tuple[int, ...] | None
    planned: Plan
    numbers: Indices | None
    runs: RunPlan | None


class Cutter:
    """Cuts the shards of one read.

    ``points`` are the dimensions of a pointwise selection; ``least``: the tasks that decoding one shard should make.
    """

    def __init__(self, points: tuple[int, ...], least: int) -> None:
        self.points, self.least = points, least
        self._known: dict[Hashable, Cut] = {}

    def cut(self, layout: Layout, coords: tuple[int, ...], inside: Sequence[Any]) -> Cut:
        """Return what the pieces ``inside`` the shard at ``coords`` of ``layout`` need."""
        shards = layout.shards if layout.regular else layout.shards_for(layout.grid.chunk_shape(coords))
        assert shards is not None
        if not all(type(piece) is slice for piece in inside):
            return self._new(shards, inside)
        key = (id(shards), *[(piece.start, piece.stop, piece.step) for piece in inside])
        cut = self._known.get(key)
        if cut is None:
            cut = self._new(shards, inside)
            if len(self._known) < MOST_KEPT:
                self._known[key] = cut
        return cut

    def _new(self, shards: Shards, inside: Sequence[Any]) -> Cut:
        selection, turn = within(inside, self.points), None
        shape, grid, inner = selection.planned_shape, shards.sharding.grid, shards.inner
        if shards.order is not None:
            selection, turn = permute(selection, shards.order)
        planned = plan(selection, grid)
        everything = planned.nparts == grid.nchunks and not self.points and not planned.meshes
        numbers = None if everything else np.array(planned.numbers(grid.counts), np.intp)
        pipeline = inner.pipeline
        runs = None
        if pipeline.decode_run is not None and pipeline.order is not None and planned.nparts >= LEAST_CHUNKS:
            bricks = planned.bricks()
            runs = None if bricks is None else plan_runs(pipeline, bricks, self.least)
        return Cut(shards, shape, turn, planned, numbers, runs)
