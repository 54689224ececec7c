"""Plans of rechunking: every object written once and whole, within the memory, with few chunks read twice."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xzarr_backend.chunk_grids import Axis, ChunkGrid, EdgedAxis, RegularAxis, regular_grid
from xzarr_backend.rechunking import Budget, Pass, plan_rechunking

MIB = 2**20


@st.composite
def axes(draw: st.DrawFn, length: int) -> Axis:
    """An axis of an array of ``length``: regular, or by edges."""
    if draw(st.booleans()) or not length:
        return RegularAxis(length, draw(st.integers(1, length + 3)))
    cuts = sorted(draw(st.sets(st.integers(1, length), max_size=6)) | {length})
    return EdgedAxis(length, [b - a for a, b in pairwise([0, *cuts])])


@st.composite
def rechunkings(draw: st.DrawFn) -> tuple[ChunkGrid, ChunkGrid, Budget]:
    """Two grids for one array, and a budget."""
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    grids = [ChunkGrid(draw(axes(n)) for n in shape) for _ in range(2)]
    return grids[0], grids[1], Budget(draw(st.integers(1, 20_000)))


def starts_of(axis: Axis) -> set[int]:
    """Where the chunks along one dimension begin, and the end of the array."""
    return {int(axis.start(at)) for at in range(axis.count)} | {axis.length}


def check_pass(walk: Pass, written: ChunkGrid) -> None:
    """The regions cover the array, are disjoint, and hold whole objects of what is written."""
    for bounds, axis in zip(walk.bounds, written, strict=True):
        assert bounds[0] == 0
        assert bounds[-1] == axis.length
        assert (np.diff(bounds) > 0).all()
        assert set(bounds.tolist()) <= starts_of(axis)


@given(rechunkings(), st.booleans())
def test_every_object_is_written_once_and_whole(case: tuple[ChunkGrid, ChunkGrid, Budget], two: bool) -> None:
    """Whatever the grids are, regions are unions of whole objects, and fit the budget."""
    source, target, budget = case
    found = plan_rechunking(source, target, 4, budget, 2**40 if two else 0, object_cost=0)
    if found is None:
        assert math.prod(target.largest_chunk) * 4 >= budget.region or budget.region < 4 * math.prod(
            min(n, axis.length) for n, axis in zip(target.largest_chunk, target, strict=True)
        )
        return
    check_pass(found.passes[-1], target)
    assert all(math.prod(walk.largest) * 4 <= budget.region for walk in found.passes)
    if found.middle is None:
        assert len(found.passes) == 1
        return
    check_pass(found.passes[0], found.middle)
    for bounds, axis in zip(found.passes[1].bounds, found.middle, strict=True):
        assert set(bounds.tolist()) <= starts_of(axis)  # the second pass reads each of them once


@given(rechunkings())
def test_reads_are_counted_right(case: tuple[ChunkGrid, ChunkGrid, Budget]) -> None:
    """How often a chunk is read is what walking the regions gives."""
    source, target, budget = case
    found = plan_rechunking(source, target, 4, budget)
    if found is None:
        return
    touched = sum(
        math.prod(axis.find(p.stop - 1) - axis.find(p.start) + 1 for axis, p in zip(source, region, strict=True))
        for region in found.passes[0].regions()
    )
    assert found.passes[0].reads == pytest.approx(touched / source.nchunks)


@pytest.mark.parametrize(
    ("source", "target", "memory", "passes"),
    [
        ((10, 100), (10, 100), MIB, 1),
        ((10, 100), (100, 10), MIB, 1),  # it fits as a whole
        ((1, 1000), (1000, 1), 400_000, 2),  # one region would read each chunk ten times
        ((100, 100), (50, 50), 200_000, 1),
    ],
)
def test_two_passes_only_where_they_pay(source: Any, target: Any, memory: int, passes: int) -> None:
    """Grids that are alike need one pass; where each chunk would be read many times, an intermediate array is used."""
    shape = (1000, 1000)
    found = plan_rechunking(
        regular_grid(shape, source), regular_grid(shape, target), 8, Budget(memory), 2**40, object_cost=100
    )
    assert found is not None
    assert len(found.passes) == passes
    assert (found.middle is None) == (passes == 1)


def test_without_room_on_the_disk_chunks_are_read_again() -> None:
    """Without spare room there is one pass, which says how often a chunk is read."""
    grids = [regular_grid((1000, 1000), chunks) for chunks in ((1, 1000), (1000, 1))]
    found = plan_rechunking(*grids, 8, Budget(400_000), 0)
    assert found is not None
    assert found.middle is None
    assert found.passes[0].reads == 20


def test_a_budget_below_one_object_has_no_plan() -> None:
    """Where one object of the target does not fit, the plan is None; fixed costs and copies count."""
    grids = [regular_grid((100,), (10,)), regular_grid((100,), (50,))]
    assert plan_rechunking(*grids, 8, Budget(399)) is None
    assert plan_rechunking(*grids, 8, Budget(400)) is not None
    assert plan_rechunking(*grids, 8, Budget(800, 1, 2)) is None


def test_a_petabyte_is_planned_at_once() -> None:
    """The work grows with the chunks along each dimension, not with their product."""
    grids = [regular_grid((100_000, 100_000, 100_000), c) for c in ((1, 1000, 1000), (100, 100, 100))]
    found = plan_rechunking(*grids, 8, Budget(10**9))
    assert found is not None
    assert math.prod(found.passes[0].largest) * 8 <= 10**9
