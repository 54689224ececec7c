"""Runs: many small chunks that one call of their codec decodes or encodes, and one copy places or picks.

Imports plan, codecs and the row below. Invariant: the runs of a plan hold each of its parts once, in C order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .codecs.pipeline import Pipeline
from .memory import LONGEST_ROW
from .plan import Bricks

# Decoded bytes of one run: parts of chunks are picked out of what is still in the cache. Runs of whole chunks are
# longer, as between two runs threads wait for the interpreter (rows ``small_all`` and ``write_shard``).
LEAST_NBYTES, MOST_NBYTES, MOST_WHOLE = 1 << 17, 1 << 19, 1 << 21
LEAST_CHUNKS = 3  # fewer are as fast one by one
TASKS_EACH = 4  # tasks that the chunks of shards should make at least, for each thread that shares them


class Run(NamedTuple):
    """The parts ``start`` to ``stop`` of a plan, and where among its bricks they lie."""

    start: int
    stop: int
    place: tuple[int | slice, ...]


class RunPlan(NamedTuple):
    """How a plan whose parts are bricks is decoded or encoded: its ``runs``, of up to ``most`` chunks.

    ``stored`` is the shape of ``most`` decoded chunks in memory, ``turned`` the order of its dimensions that makes them
    chunks again, ``inside`` the piece of every chunk. ``split`` and ``apart`` turn the result, or the values, into an
    array of bricks: a shape with two dimensions for each, and an order with those that count bricks in front.
    ``direct``: pieces are whole chunks in stored order. ``row``: the type of one row of a piece, where rows are short
    and contiguous in memory.
    """

    pipeline: Pipeline
    runs: list[Run]
    most: int
    stored: tuple[int, ...]
    turned: tuple[int, ...]
    inside: tuple[Any, ...]
    split: tuple[int, ...]
    apart: tuple[int, ...]
    direct: bool
    row: np.dtype[Any] | None


def least_runs(threads: int) -> int:
    """Return how many runs ``threads`` should have to share at least."""
    return 1 if threads == 1 else TASKS_EACH * threads


def chunks_at_once(count: int, nbytes: int, least: int, *, whole: bool = False) -> int:
    """Return how many of ``count`` chunks of ``nbytes`` go into one task, for ``least`` tasks if possible."""
    most = MOST_WHOLE if whole else MOST_NBYTES
    return max(1, min(most // nbytes, max(-(-count // least), LEAST_NBYTES // nbytes)))


def plan_runs(pipeline: Pipeline, bricks: Bricks, least: int) -> RunPlan:
    """Return how chunks of ``pipeline``, whose codec takes runs, are cut into runs, ``least`` of them if possible."""
    shape, order, nbytes = pipeline.spec.shape, pipeline.order, pipeline.nbytes
    assert order is not None and nbytes is not None
    count, ndim = math.prod(bricks.counts), len(shape)
    whole = bricks.sizes == shape
    # raw chunks are copied twice, the second time from the cache
    most = min(count, chunks_at_once(count, nbytes, least, whole=whole and not pipeline.raw))
    return RunPlan(
        pipeline=pipeline,
        runs=list(cut_runs(bricks.counts, most)),
        most=most,
        stored=(most, *[shape[axis] for axis in order]),
        turned=(0, *[1 + order.index(axis) for axis in range(ndim)]),
        inside=(..., *bricks.inside),
        split=tuple(length for pair in zip(bricks.counts, bricks.sizes, strict=True) for length in pair),
        apart=(*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2)),
        direct=whole and order == tuple(range(ndim)),
        row=_row_type(pipeline, bricks) if order[-1] == ndim - 1 else None,
    )


def cut_runs(counts: Sequence[int], most: int) -> Iterator[Run]:
    """Cut bricks of ``counts`` along each dimension, in C order, into boxes of at most ``most`` bricks."""
    axis = len(counts) - 1  # the boxes are whole behind this dimension, and one brick thick before it
    while axis and math.prod(counts[axis:]) <= most:
        axis -= 1
    behind = math.prod(counts[axis + 1 :])
    step, start = max(1, most // behind), 0
    for before in product(*map(range, counts[:axis])):
        for low in range(0, counts[axis], step):
            high = min(low + step, counts[axis])
            stop = start + (high - low) * behind
            yield Run(start, stop, (*before, slice(low, high)))
            start = stop


def _row_type(pipeline: Pipeline, bricks: Bricks) -> np.dtype[Any] | None:
    itemsize, inside = pipeline.spec.dtype.numpy.itemsize, bricks.inside[-1]
    nbytes = bricks.sizes[-1] * itemsize
    short = itemsize < nbytes <= LONGEST_ROW and inside.step in (None, 1)
    return np.dtype((np.void, nbytes)) if short else None
