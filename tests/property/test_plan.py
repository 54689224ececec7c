"""The plan: its parts cover the result exactly once, and take each element from where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.strategies import basic_keys, outer_keys, points_keys, shapes
from xzarr_backend.chunk_grids import ChunkGrid, EdgedAxis, RegularAxis, regular_grid
from xzarr_backend.errors import SelectionError
from xzarr_backend.plan import plan
from xzarr_backend.selection import Selection, parse_basic, parse_orthogonal, parse_points


@st.composite
def grids(draw: st.DrawFn, shape: tuple[int, ...]) -> ChunkGrid:
    """A grid over ``shape`` with axes of both kinds."""
    axes: list[Any] = []
    for length in shape:
        if draw(st.booleans()):
            axes.append(RegularAxis(length, draw(st.integers(1, 12))))
            continue
        sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        axes.append(EdgedAxis(length, [*sizes, *([1] * max(0, length - sum(sizes)))]))
    return ChunkGrid(axes)


@st.composite
def selections(draw: st.DrawFn, shape: tuple[int, ...]) -> Selection:
    """A parsed selection of any kind."""
    kinds = [(basic_keys, parse_basic), (outer_keys, parse_orthogonal), (points_keys, parse_points)]
    keys, parse = draw(st.sampled_from(kinds))
    return parse(draw(keys(shape)), shape)


@given(st.data())
def test_bricks_are_the_parts(data: st.DataObject) -> None:
    """Where a plan is one of bricks, part and place of each follow from its position among them."""
    shape = data.draw(shapes(least=1))
    grid = data.draw(st.one_of(grids(shape), st.builds(regular_grid, st.just(shape), st.just((3,) * len(shape)))))
    planned = plan(data.draw(selections(shape)), grid)
    bricks = planned.bricks()
    if bricks is None:
        assert planned.nparts != 1 or planned.points or any(map(_is_turned_or_picked, planned.sections))
        return
    parts = list(planned.parts())
    assert len(parts) == np.prod(bricks.counts)
    for at, part in zip(np.ndindex(bricks.counts), parts, strict=True):
        assert part.inside == bricks.inside
        expected = [slice(n * size, (n + 1) * size) for n, size in zip(at, bricks.sizes, strict=True)]
        assert [range(100)[piece] for piece in part.place] == [range(100)[piece] for piece in expected]


def _is_turned_or_picked(sections: Any) -> bool:
    (section,) = sections
    return not isinstance(section.inside, slice) or not isinstance(section.place, slice) or section.place.step == -1


@given(st.data())
def test_parts_cover_the_result_once(data: st.DataObject) -> None:
    """Every element of the planned result is filled by one part, from the chunk that holds it."""
    shape = data.draw(shapes())
    grid = data.draw(grids(shape))
    selection = data.draw(selections(shape))
    planned = plan(selection, grid)
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    result = np.full(planned.shape, -1)
    times = np.zeros(planned.shape, int)
    count = 0
    for part in planned.parts():
        chunk = np.full(grid.chunk_shape(part.coords), -2)
        covered = numbers[grid.chunk_of(part.coords)]
        chunk[tuple(map(slice, covered.shape))] = covered
        piece = chunk[part.inside]
        result[part.place] = piece if planned.front is None else piece.transpose(planned.front)
        times[part.place] += 1
        assert not part.whole or piece.shape == chunk.shape
        assert not part.whole or (piece == chunk).all()
        count += 1
    assert count == planned.nparts
    assert (times == 1).all()
    expected = numbers.reshape(-1)[_expected(selection, shape)]
    np.testing.assert_array_equal(result, expected)


def _expected(selection: Selection, shape: tuple[int, ...]) -> Any:
    """The C-order numbers of the selected elements in the planned shape, from the axes of the selection alone."""
    rest = [axis for axis in range(len(shape)) if axis not in selection.points]
    rank = len(rest) + bool(selection.points)
    total: Any = np.zeros(selection.planned_shape, int)
    for axis, chosen in enumerate(selection.axes):
        stride = int(np.prod(shape[axis + 1 :], dtype=int))
        place = 0 if axis in selection.points else rest.index(axis) + bool(selection.points)
        along = np.asarray(chosen, dtype=int) * stride
        total = total + along.reshape([-1 if at == place else 1 for at in range(rank)])
    return total


@given(st.data())
def test_numbers_of_parts(data: st.DataObject) -> None:
    """`numbers` lists the chunks in the order of `parts`, opened or not, and each of them once."""
    shape = data.draw(shapes())
    grid = data.draw(grids(shape))
    planned = plan(data.draw(selections(shape)), grid)
    coords = [part.coords for part in planned.parts()]
    numbers = np.arange(grid.nchunks).reshape(grid.counts)
    assert planned.numbers(grid.counts) == [numbers[c] for c in coords]
    assert [part.coords for part in planned.parts(opened=False)] == coords
    assert len(set(coords)) == len(coords), "each chunk is needed by one part only"


def test_planning_costs_the_sum_of_the_chunks() -> None:
    """A selection of 10^12 chunks is planned by its 3 * 10^4 chunk indices; parts are made as they are walked."""
    grid = regular_grid((10**4,) * 3, (1, 1, 1))
    planned = plan(parse_basic(..., (10**4,) * 3), grid)
    assert planned.nparts == 10**12
    first = next(planned.parts())
    assert first.coords == (0, 0, 0)
    assert sum(map(len, planned.sections)) == 3 * 10**4


def test_few_elements_of_a_huge_axis() -> None:
    """A slice with a large step touches only the chunks that it hits."""
    grid = regular_grid((10**15,), (10,))
    planned = plan(parse_basic(slice(None, None, 10**14), (10**15,)), grid)
    assert [part.coords for part in planned.parts()] == [(n * 10**13,) for n in range(10)]


@pytest.mark.parametrize("key", [np.s_[:], np.s_[5:5], np.s_[3:3, :], np.s_[..., :7]])
def test_nothing_of_very_many_chunks(key: Any) -> None:
    """An empty selection has no parts, however many chunks there are along the other dimensions."""
    array = xz.create_array({}, shape=(10**9, 10**9, 0), chunks=(10, 10, 1), dtype="u1")
    assert array[key].shape == np.empty(array.shape, "u1")[key].shape
    array[key] = 1
    assert array.nchunks_stored() == 0


@pytest.mark.parametrize("key", [slice(None), slice(3, 10**15 - 5), slice(None, None, -1), slice(None, None, 9)])
def test_more_chunks_than_a_plan_has_room_for(key: slice) -> None:
    """A selection across more chunks than could be listed is refused before they are, also where it takes no memory."""
    grid = regular_grid((10**15,), (10,))
    with pytest.raises(SelectionError, match="chunks along one dimension"):
        plan(parse_basic(key, (10**15,)), grid)
    array = xz.create_array({}, shape=(10**15,), chunks=(10,), dtype="u1")
    with pytest.raises(SelectionError, match="chunks along one dimension"):
        array[key] = 1
