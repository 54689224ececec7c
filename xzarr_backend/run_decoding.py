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

from .codecs.pipeline import Pipeline
from .memory import decoded_buffer
from .pieces import Pieces
from .plan import Part
from .runs import Run, RunPlan


class RunDecoder:
    """Decodes the runs of a `RunPlan` and places their bricks into the result ``out``; one per thread.

    A run whose place is contiguous is decoded right there, others into this thread's memory for decoded chunks.
    """

    __slots__ = ("_chunks", "_goal", "_memory", "_plan", "_row")

    def __init__(self, planned: RunPlan, out: Any) -> None:
        pipeline = planned.pipeline
        assert pipeline.nbytes is not None
        self._plan = planned
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
            return _decoded(planned.pipeline, encoded, goal.reshape(-1).view(np.uint8))
        count, most = run.stop - run.start, planned.most
        if not _decoded(planned.pipeline, encoded, self._memory[: len(self._memory) // most * count]):
            return False
        chunks = self._chunks if count == most else self._chunks[:count]
        shape = chunks.shape[1:]
        pieces = chunks.reshape(*goal.shape[: -len(shape)], *shape)[planned.inside]
        goal[...] = pieces if self._row is None else pieces.view(self._row)
        return True


def place_each(
    pipeline: Pipeline, encoded: Sequence[Any], parts: Sequence[Part], front: tuple[int, ...] | None, out: Any
) -> bool:
    """Decode the chunks of ``parts`` with one call, and copy their pieces to ``out`` one after the other.

    For parts that are no bricks: boxes that begin and end within chunks, shards some of whose inner chunks are missing.
    Return False where that does not work.
    """
    view, nbytes = pipeline.view, pipeline.nbytes
    if not takes_runs(pipeline, encoded) or view is None or nbytes is None:
        return False
    memory = decoded_buffer(len(encoded) * nbytes)
    if not _decoded(pipeline, encoded, memory):
        return False
    order, shape = pipeline.order, pipeline.spec.shape
    if order is None:
        chunks: Any = [view(memory[start : start + nbytes]) for start in range(0, len(memory), nbytes)]
    else:  # the same, with one view
        chunks = memory.view(pipeline.spec.dtype.numpy).reshape(-1, *[shape[axis] for axis in order])
        chunks = chunks.transpose(0, *[1 + order.index(axis) for axis in range(len(order))])
    if front is None and order is not None and len(parts) > 1 and _are_points(parts):
        _pick(chunks, parts, out)
        return True
    for chunk, (_, inside, place, _) in zip(chunks, parts, strict=True):
        piece = chunk[inside]
        out[place] = piece if front is None else piece.transpose(front)
    return True


def _are_points(parts: Sequence[Part]) -> bool:
    """Tell whether all pieces are picked by indices, one for each element."""
    arrays = frozenset({np.ndarray})
    return all(len(place) == 1 and arrays.issuperset(map(type, (*place, *inside))) for _, inside, place, _ in parts)


def _pick(chunks: Any, parts: Sequence[Part], out: Any) -> None:
    """Copy the points of all ``parts`` with one call (row ``pick_shard`` of the benchmark)."""
    places = [part.place[0] for part in parts]
    which = np.repeat(np.arange(len(parts)), [len(place) for place in places])
    inside = map(np.concatenate, zip(*[part.inside for part in parts], strict=True))
    out[np.concatenate(places)] = chunks[(which, *inside)]


def takes_runs(pipeline: Pipeline, encoded: Sequence[Any]) -> bool:
    """Tell whether many chunks that lie as ``encoded`` do, in one memory or anywhere, are decoded with one call."""
    return (pipeline.decode_pieces if isinstance(encoded, Pieces) else pipeline.decode_run) is not None


def _decoded(pipeline: Pipeline, encoded: Sequence[Any], memory: Any) -> bool:
    decode: Any = pipeline.decode_pieces if isinstance(encoded, Pieces) else pipeline.decode_run
    try:
        return bool(decode(encoded, memory))
    except Exception:  # which of the chunks is damaged is found out one by one
        return False
