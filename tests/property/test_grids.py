"""Chunk grids: every element lies in exactly one chunk, whichever way the edges are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import edges
from xzarr_backend.chunk_grids import Axis, ChunkGrid, EdgedAxis, RegularAxis, format_chunk_grid, parse_chunk_grid
from xzarr_backend.errors import MetadataError
from xzarr_backend.spec import Named


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """An axis of either kind."""
    length = draw(st.integers(0, 40))
    if draw(st.booleans()):
        return RegularAxis(length, draw(st.integers(1, 50)))
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=12))
    return EdgedAxis(min(length, sum(sizes)), sizes)


@given(axes())
def test_chunks_cover_the_axis(axis: Axis) -> None:
    """The chunks follow each other from 0 to the end, each holds an element, and `find` knows which."""
    stop = 0
    for chunk in range(axis.count):
        assert axis.start(chunk) == stop < axis.length
        stop += axis.size(chunk)
    assert stop >= axis.length
    for index in range(axis.length):
        chunk = axis.find(index)
        assert axis.start(chunk) <= index < axis.start(chunk) + axis.size(chunk)


@given(axes())
def test_arrays_of_indices_give_what_single_ones_give(axis: Axis) -> None:
    """`find` and `start` answer for whole arrays."""
    indices = np.arange(axis.length)
    assert axis.find(indices).tolist() == [axis.find(index) for index in range(axis.length)]
    chunks = np.arange(axis.count)
    assert axis.start(chunks).tolist() == [axis.start(chunk) for chunk in range(axis.count)]


@given(axes(), st.integers(0, 80))
def test_resizing_keeps_the_chunks(axis: Axis, length: int) -> None:
    """An axis of another length has the same chunks where both have some, and still covers everything."""
    resized = axis.resized(length)
    assert resized.length == length
    for chunk in range(min(axis.count, resized.count)):
        assert (resized.start(chunk), resized.size(chunk)) == (axis.start(chunk), axis.size(chunk))
    assert sum(resized.size(chunk) for chunk in range(resized.count)) >= length


@given(st.data())
def test_documents_of_rectilinear_grids(data: st.DataObject) -> None:
    """A grid that is formatted and parsed again has the same chunks."""
    shape = tuple(data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=3)))
    shapes = [data.draw(edges(length, 3, 1)) for length in shape]
    grid = parse_chunk_grid(shape, Named("rectilinear", {"kind": "inline", "chunk_shapes": shapes}))
    document = format_chunk_grid(grid)
    again = parse_chunk_grid(shape, Named(document["name"], document["configuration"]))
    for axis, other in zip(grid, again, strict=True):
        assert axis.count == other.count
        assert [axis.size(chunk) for chunk in range(axis.count)] == [other.size(chunk) for chunk in range(other.count)]


def test_chunk_of_is_cut_off_at_the_end() -> None:
    """The last chunk covers only what there is of the array."""
    grid = ChunkGrid([RegularAxis(10, 4), EdgedAxis(5, (2, 9))])
    assert grid.counts == (3, 2)
    assert grid.chunk_of((2, 1)) == (slice(8, 10), slice(2, 5))
    assert grid.chunk_shape((2, 1)) == (4, 9)
    assert grid.largest_chunk == (4, 9)


@pytest.mark.parametrize("length", [0, 2**40, 2**63 - 1])
def test_huge_regular_axes_cost_nothing(length: int) -> None:
    """A header may claim any length: finding a chunk is arithmetic."""
    axis = RegularAxis(length, 1000)
    assert axis.count == -(-length // 1000)
    assert axis.find(max(length - 1, 0)) == max(length - 1, 0) // 1000


@pytest.mark.parametrize(
    "shapes",
    [
        [[3, 0]],
        [[-1]],
        [[[3, -1]]],
        [[[3, 10**9]]],
        [[1, 1]],
        ["ab"],
        [None],
        [[2.5]],
        [[True]],
        [[[1, 2, 3]]],
        [[[]]],
        [{}],
        [0],
        None,
        7,
        [],
        [[10], [10]],
        [[10**30]],
        [10**30],
    ],
)
def test_wrong_edges(shapes: object) -> None:
    """Edges that are no lengths, that are too many or too short are refused by our error or make a usable axis."""
    try:
        grid = parse_chunk_grid((10,), Named("rectilinear", {"kind": "inline", "chunk_shapes": shapes}))
    except MetadataError as error:
        assert error.problems
        return
    assert shapes in ([[10**30]], [10**30]), "must be refused"
    assert grid[0].find(9) == 0
