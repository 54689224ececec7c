"""Copying by rows gives what NumPy's assignment gives, whatever the memory looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xzarr_backend.memory import copy_rows

FIELDS = [("a", "i2"), ("b", "f4")]
SAME = ["u1", "<u2", ">u2", "f4", "c16", "M8[s]", "S3", "U2", FIELDS]
PAIRS = [*((dtype, dtype) for dtype in SAME), ("u1", ">f8"), ("<u2", ">f8"), (">u2", "<u2")]  # source, goal


@st.composite
def cut(draw: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return some view, of ``shape``, of an array that holds more."""
    order = draw(st.permutations(range(len(shape))))
    steps = draw(st.lists(st.sampled_from([1, -1, 2]), min_size=len(shape), max_size=len(shape)))
    whole = np.zeros([shape[axis] * 2 + 1 for axis in order], dtype).transpose(np.argsort(order))
    return whole[
        tuple(slice(None, n * s, s) if s > 0 else slice(n - 1, None, -1) for n, s in zip(shape, steps, strict=True))
    ]


@given(data=st.data())
def test_rows_are_copied(data: Any) -> None:
    """Every element arrives, and nothing beside the goal changes."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    source_type, goal_type = data.draw(st.sampled_from(PAIRS))
    source, goal = data.draw(cut(shape, source_type)), data.draw(cut(shape, goal_type))
    numbers = np.random.default_rng(0).integers(1, 100, size=source.size)
    source.flat = (
        [(n, n) for n in numbers.tolist()]
        if source_type is FIELDS
        else numbers.astype("S2" if source_type == "S3" else None)
    )
    before = goal.base.copy()
    copy_rows(source, goal)
    np.testing.assert_array_equal(goal, source.astype(goal.dtype))
    assert np.count_nonzero(goal.base != before) == goal.size


def test_one_row_for_all() -> None:
    """A row that stands for all rows (no strides), and one element for all, are copied as often as they are needed."""
    goal = np.zeros((3, 4), "i4")
    copy_rows(np.broadcast_to(np.arange(4, dtype="i4"), (3, 4)), goal)
    assert goal.tolist() == [[0, 1, 2, 3]] * 3
    copy_rows(np.broadcast_to(np.int32(7), (3, 4)), goal)
    assert goal.tolist() == [[7] * 4] * 3


def test_rows_of_strings_and_objects() -> None:
    """Elements that are no plain bytes are assigned one by one."""
    for dtype in (object, np.dtypes.StringDType()):
        source = np.array([["a", "bc"], ["def", "g"]], dtype)
        goal = np.empty_like(source)
        copy_rows(source, goal)
        assert goal.tolist() == source.tolist()
