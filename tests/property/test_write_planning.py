"""The plan of a write counts exactly the stored objects that blocks share, and fused blocks share none."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from xarray.backends.chunks import validate_grid_chunks_alignment

from xzarr_backend import RegionError
from xzarr_backend.chunk_grids import ChunkGrid, EdgedAxis, RegularAxis, regular_grid
from xzarr_backend.write_planning import check_aligned, check_region, cut_edges, plan_blocks


@st.composite
def axes(draw: st.DrawFn) -> Any:
    """A dimension of up to 30 elements, in equal chunks or in chunks of different lengths."""
    length = draw(st.integers(1, 30))
    if draw(st.booleans()):
        return RegularAxis(length, draw(st.integers(1, 12)))
    edges = []
    while sum(edges) < length:
        edges.append(draw(st.integers(1, 9)))
    return EdgedAxis(length, edges)


@st.composite
def cut_up(draw: st.DrawFn, length: int) -> tuple[slice, tuple[int, ...]]:
    """A piece of a dimension, and the blocks that its data come in; some of them may be empty."""
    start, stop = sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))
    bounds = sorted(draw(st.lists(st.integers(start, stop), max_size=6)))
    return slice(start, stop), tuple(np.diff([start, *bounds, stop]).tolist())


@st.composite
def situations(draw: st.DrawFn) -> tuple[ChunkGrid, tuple[slice, ...], tuple[tuple[int, ...], ...]]:
    """A grid, a region of it, and blocks that cover the region."""
    grid = ChunkGrid(draw(st.lists(axes(), max_size=3)))
    pieces = [draw(cut_up(axis.length)) for axis in grid]
    return grid, tuple(piece for piece, _ in pieces), tuple(blocks for _, blocks in pieces)


def sharers(grid: ChunkGrid, region: Any, blocks: Any) -> dict[tuple[int, ...], tuple[int, bool]]:
    """Return for each object in how many blocks its elements lie, and whether all its elements lie in the region."""
    found = {}
    for coords in product(*(range(axis.count) for axis in grid)):
        counts, whole = 1, True
        for axis, c, piece, sizes in zip(grid, coords, region, blocks, strict=True):
            first, last = axis.start(c), min(axis.start(c) + axis.size(c), axis.length)
            bounds = np.cumsum([piece.start, *sizes])
            counts *= sum(max(a, first) < min(b, last) for a, b in pairwise(bounds))
            whole &= piece.start <= first and last <= piece.stop
        if counts:
            found[coords] = counts, whole
    return found


@given(case=situations(), limit=st.one_of(st.none(), st.integers(0, 4000)))
def test_the_plan_counts_what_is_shared(case: Any, limit: int | None) -> None:
    """Objects, those that stay shared and those that were fused are what counting one by one gives."""
    grid, region, blocks = case
    plan = plan_blocks(grid, region, blocks, 8, limit)
    assert [sum(sizes) for sizes in plan.blocks] == [piece.stop - piece.start for piece in region]
    before, after = sharers(grid, region, blocks), sharers(grid, region, plan.blocks)
    assert plan.objects == len(before)
    assert plan.locked == sum(count > 1 or not whole for count, whole in after.values())
    assert plan.shared == sum(count > 1 or not whole for count, whole in before.values())
    assert plan.fused >= 0
    assert plan.shared_within == any(count > 1 for count, _ in after.values())


@given(case=situations())
def test_without_a_limit_no_two_blocks_share_an_object(case: Any) -> None:
    """Fusing goes as far as it must; what stays shared lies on the edges of the region."""
    grid, region, blocks = case
    plan = plan_blocks(grid, region, blocks, 8, None)
    assert not plan.shared_within
    assert all(count == 1 for count, _ in sharers(grid, region, plan.blocks).values())


@given(case=situations(), limit=st.integers(1, 2000))
def test_fused_blocks_stay_below_the_limit(case: Any, limit: int) -> None:
    """No block grows above the limit, other than those that were given so; 0 leaves the blocks as they are."""
    grid, region, blocks = case
    assert plan_blocks(grid, region, blocks, 8, 0).blocks == blocks
    fused = plan_blocks(grid, region, blocks, 8, limit).blocks
    if fused != blocks:
        assert math.prod(max(sizes) for sizes in fused) * 8 <= limit


@given(case=situations())
def test_aligned_blocks_are_left_alone(case: Any) -> None:
    """Where no block shares an object, the blocks that are written are the given ones."""
    grid, region, blocks = case
    plan = plan_blocks(grid, region, blocks, 8, None)
    assert plan_blocks(grid, region, plan.blocks, 8, None).blocks == plan.blocks


@given(case=situations())
def test_edges_inside_objects_are_found(case: Any) -> None:
    """An edge is cut if, and only if, an object has elements on both sides of it; the aligned bounds enclose it."""
    grid, region, _ = case
    cuts = {(cut.dimension, cut.edge): cut for cut in cut_edges(grid, region)}
    for dimension, (axis, piece) in enumerate(zip(grid, region, strict=True)):
        for edge, at in (("start", piece.start), ("stop", piece.stop)):
            inside = piece.stop > piece.start and 0 < at < axis.length and axis.find(at - 1) == axis.find(at)
            assert ((dimension, edge) in cuts) == inside
            if inside:
                cut = cuts[dimension, edge]
                assert cut.below < at < cut.above
                assert cut.below == axis.start(axis.find(at))


@given(data=st.data(), partial=st.booleans())
def test_true_refuses_what_xarray_refuses(data: st.DataObject, partial: bool) -> None:
    """``safe_chunks=True`` raises for the same blocks, regions and modes as xarray's own check."""
    length, step = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    piece, blocks = data.draw(cut_up(length))
    assume(piece.stop > piece.start and all(blocks))
    grid = regular_grid((length,), (step,))
    try:
        validate_grid_chunks_alignment((blocks,), (step,), (length,), (piece,), partial, "v")
    except ValueError:
        with pytest.raises(RegionError, match="named 'v' would overlap multiple Dask chunks"):
            check_aligned(grid, (piece,), (blocks,), "v", partial_edges=partial)
    else:
        check_aligned(grid, (piece,), (blocks,), "v", partial_edges=partial)


@given(data=st.data())
def test_regions_mean_what_numpy_means(data: st.DataObject) -> None:
    """A region inside the array is the part that NumPy selects; integers are reported as dimensions without data."""
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=3)))
    items = []
    for length in shape:
        whole = st.integers(-length, length - 1)
        bound = st.one_of(st.none(), st.integers(-length, length))
        items.append(data.draw(st.one_of(whole, st.builds(slice, bound, bound))))
    key = tuple(items[: data.draw(st.integers(0, len(items)))])
    if data.draw(st.booleans()):
        key = (*key, Ellipsis)
    values = np.arange(math.prod(shape)).reshape(shape)
    region, single = check_region(key, shape)
    np.testing.assert_array_equal(values[region].squeeze(single) if single else values[region], values[key])
    assert all(0 <= piece.start <= piece.stop <= n for piece, n in zip(region, shape, strict=True))


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        (slice(0, 11), "outside the array"),
        (slice(-11, None), "outside the array"),
        (10, "outside the array"),
        (slice(0, 10, 2), "step 2"),
        ((slice(None), slice(None), 0), "more dimensions"),
        ((Ellipsis, Ellipsis), "more dimensions"),
        ("x", "is not a region"),
        (True, "is not a region"),
        ([1, 2], "is not a region"),
    ],
)
def test_bad_regions_are_refused(region: Any, problem: str) -> None:
    """A region must lie inside the array and be made of slices of step 1 and integers."""
    with pytest.raises(RegionError, match=problem):
        check_region(region, (10, 10))
