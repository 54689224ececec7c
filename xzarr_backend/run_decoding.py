"""Decoding many small chunks with one call of their codec, and placing them with one copy.

Imports the rows below. Invariant: what is placed is what decoding the chunks one by one would
place; whatever speaks against a run (a damaged chunk too) is told, and left to those who decode one by one.
Rows ``plane_shard`` and ``column_shard`` of the benchmark: between two calls of a codec Python runs, on one core at a
time, and waiting for the interpreter leaves the other core idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .memory import decoded_buffer
from .runs import Run, RunPlan


class RunDecoder:
    """Decodes the runs of a `RunPlan` and places their bricks into the result ``out``; one per thread.

    A run whose place is contiguous is decoded right there, others into this thread's memory for decoded chunks.
    """

    __slots__ = ("_chunks", "_decode", "_goal", "_memory", "_plan", "_row")

    def __init__(self, planned: RunPlan, out: Any) -> None:
        pipeline = planned.pipeline
        assert pipeline.decode_run is not None and pipeline.nbytes is not None
        self._plan, self._decode = planned, pipeline.decode_run
        self._memory = decoded_buffer(planned.most * pipeline.nbytes)
        chunks, split = self._memory.view(out.dtype).reshape(planned.stored), planned.split
        self._chunks = chunks.transpose(planned.turned)
        self._row = planned.row if out.strides[-1] == out.itemsize else None
        if self._row is not None:
            out, split = out.view(self._row), (*split[:-1], 1)
        self._goal = out.reshape(split).transpose(planned.apart)

    def place(self, encoded: Sequence[Any], run: Run) -> bool:
        """Decode and place the chunks of ``run``; return False where that does not work."""
        goal, planned = self._goal[run.place], self._plan
        if planned.direct and goal.flags.c_contiguous:
            return self._try(encoded, goal.reshape(-1).view(np.uint8))
        count, most = len(encoded), planned.most
        if not self._try(encoded, self._memory[: len(self._memory) // most * count]):
            return False
        chunks = self._chunks if count == most else self._chunks[:count]
        shape = chunks.shape[1:]
        pieces = chunks.reshape(*goal.shape[: -len(shape)], *shape)[planned.inside]
        goal[...] = pieces if self._row is None else pieces.view(self._row)
        return True

    def _try(self, encoded: Sequence[Any], memory: Any) -> bool:
        try:
            return self._decode(encoded, memory)
        except Exception:  # which of the chunks is damaged is found out one by one
            return False
