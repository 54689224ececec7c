"""Reading what lies in one small chunk, in fewer steps than a plan takes.

Imports chunk_reading and the rows below. Invariant: only the plainest of reads goes this way, an object that the store
says is not there among it; all else, every error too, is left to the way that all reads can go. Rows ``small_points``,
``points_shard`` and ``subchunks_shard`` of the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .chunk_reading import Source, Target, allocate, expected_nbytes
from .codecs.sharding import ABSENT
from .layout import Small
from .memory import encoded_buffer
from .selection import Selection
from .stores.base import ByteRange


def read_single(source: Source, selection: Selection) -> Target | None:
    """Return the planned result of a box within one small chunk; None where that takes another way."""
    small = source.layout.small
    if small is None or source.store.concurrent or selection.points or small.nbytes > source.limit:
        return None
    coords, inside, number = [], [], 0
    for chosen, (step, length, count) in zip(selection.axes, small.steps, strict=True):
        if type(chosen) is not range or chosen.step != 1:
            return None
        start = chosen.start
        coord, rest = divmod(start, step)
        at, low = divmod(rest, length)
        high = low + chosen.stop - start
        if not low < high <= length:
            return None
        coords.append(coord)
        inside.append(slice(low, high))
        number = number * count + at
    target = allocate(selection.planned_shape, source.layout, source.layout.order)
    try:
        key = source.layout.key(tuple(coords))
        if source.layout.shards is not None:
            raw = _inner_chunk(source, key, number)
            if raw is None:
                return None
        else:
            raw = source.store.get(key, None, encoded_buffer(expected_nbytes(source.layout)))
            if raw is None:
                target.miss((...,), lambda: repr(key))
                return target
        _decode(small, raw, tuple(inside), target.array)
    except Exception:
        return None  # the other way comes upon it, too, and says what it is and where
    return target


def _inner_chunk(source: Source, key: str, number: int) -> Any:
    """Return the encoded inner chunk where the index of its shard is known and holds still; else None."""
    shards = source.layout.shards
    assert shards is not None
    known = source.indexes.get((key, 0, shards.inner.depth))
    if known is None:
        return None
    stamp, index = known
    start, nbytes = index[number].tolist()
    if start == ABSENT:
        return None
    found = source.store.get_ranges(key, [ByteRange(start, nbytes)], stamp)[1]
    return found[0] if found is not None and len(found[0]) == nbytes else None


def _decode(small: Small, raw: Any, inside: Sequence[slice], out: Any) -> None:
    pipeline = small.pipeline
    if small.in_place and out.nbytes == small.nbytes:
        assert pipeline.decode_into is not None
        pipeline.decode_into(raw, out.reshape(-1).view(np.uint8))
    else:
        out[...] = pipeline.decode(raw)[inside]
