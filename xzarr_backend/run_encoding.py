"""Encoding many small chunks with one call of their codec, picked out of the values with one copy.

Imports the rows below. Invariant: what a run gives is, chunk by chunk, what encoding them one by one would give.
Row ``write_shard`` of the benchmark: between two calls of a codec Python runs, on one core at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .codecs.base import Buffer
from .codecs.empty import is_empty
from .codecs.pipeline import Pipeline
from .memory import Bytes1D, aligned, copy_rows, decoded_buffer
from .plan import Plan
from .runs import LEAST_CHUNKS, Run, RunPlan, least_runs, plan_runs


def plan_encoding(pipeline: Pipeline, planned: Plan, values: Any, threads: int) -> RunPlan | None:
    """Return how ``values`` are encoded, in runs that ``threads`` share.

    None unless the codec takes runs and every part of ``planned`` is a whole chunk.
    """
    if pipeline.encode_run is None or pipeline.order is None or planned.nparts < LEAST_CHUNKS:
        return None
    bricks = planned.bricks()
    if bricks is None or bricks.sizes != pipeline.spec.shape or values.shape != planned.shape:
        return None
    return plan_runs(pipeline, bricks, least_runs(threads))


class RunEncoder:
    """Encodes the runs of a `RunPlan` out of ``values``; one per thread.

    A run that is contiguous in the values is encoded from there, others from this thread's memory for decoded chunks.
    ``keep_empty``: chunks that hold nothing but ``fill`` are encoded, too.
    """

    __slots__ = ("_bricks", "_dtype", "_encode", "_fill", "_head", "_nbytes", "_plan")

    def __init__(self, planned: RunPlan, values: Any, fill: Any, keep_empty: bool) -> None:
        pipeline = planned.pipeline
        assert pipeline.encode_run is not None and pipeline.nbytes is not None
        self._plan, self._encode, self._nbytes = planned, pipeline.encode_run, pipeline.nbytes
        self._dtype, self._fill = pipeline.spec.dtype.numpy, fill
        self._head = None if keep_empty else np.asarray(fill).astype(self._dtype).tobytes()
        self._bricks = values.reshape(planned.split).transpose(planned.apart)

    def encode(self, run: Run) -> list[Buffer | None]:
        """Return the encoded chunks of ``run``, None for those that are empty."""
        memory, nbytes = self._stored(run), self._nbytes
        chunks = [memory[start : start + nbytes] for start in range(0, len(memory), nbytes)]
        if self._head is None:
            return [*self._encode(chunks)]
        kept = [not self._is_empty(chunk) for chunk in chunks]
        encoded = iter(self._encode([chunk for chunk, keep in zip(chunks, kept, strict=True) if keep]))
        return [next(encoded) if keep else None for keep in kept]

    def _stored(self, run: Run) -> Bytes1D:
        """Return the bytes of the chunks of ``run``, one behind the other, as they are before the codec."""
        planned, picked = self._plan, self._bricks[run.place]
        if planned.direct and picked.flags.c_contiguous and picked.dtype == self._dtype:
            return picked.reshape(-1).view(np.uint8)  # type: ignore[no-any-return]
        nbytes = (run.stop - run.start) * self._nbytes
        memory = aligned(nbytes) if planned.pipeline.raw else decoded_buffer(nbytes)  # raw chunks stay until stored
        counts = picked.shape[: 1 - len(planned.stored)]
        chunks = memory.view(self._dtype).reshape(*counts, *planned.stored[1:])
        behind = len(counts) - 1
        copy_rows(picked, chunks.transpose(*range(len(counts)), *[behind + axis for axis in planned.turned[1:]]))
        return memory

    def _is_empty(self, chunk: Bytes1D) -> bool:
        # most chunks differ in the first element
        return chunk[: self._dtype.itemsize].tobytes() == self._head and is_empty(chunk.view(self._dtype), self._fill)
