"""Every kind of selection gives what NumPy gives, on every layout and any store, reading and writing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.strategies import LAYOUTS, SELECTIONS, cases, keys_for, places, stored, view_for
from xzarr_backend import executor

each_pair = pytest.mark.parametrize(
    ("selection", "layout"), [(selection, layout) for selection in SELECTIONS for layout in LAYOUTS]
)
# the fixture only counts, so it may live through all examples
counted = settings(
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)


@each_pair
@counted
@given(data=st.data())
def test_read(selection: str, layout: str, count_example: Any, data: st.DataObject) -> None:
    """What is read has the shape, data type and values that NumPy selects."""
    case = data.draw(cases(layout))
    with stored(case) as array:
        key = data.draw(keys_for(selection, array))
        expected = case.values.reshape(-1)[places(selection, array, key)]
        found = view_for(selection, array)[key]
        assert np.shape(found) == np.shape(expected)
        if selection in ("basic", "mask"):
            assert type(found) is type(case.values[key]), "an array or a scalar, as in NumPy"
        is_array = isinstance(found, np.ndarray)
        assert found.dtype == (array.dtype if is_array else array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(found, expected)
    count_example()


@each_pair
@counted
@given(data=st.data())
def test_write(selection: str, layout: str, count_example: Any, data: st.DataObject) -> None:
    """What is assigned to a selection is stored there, as NumPy would, and nothing else changes."""
    case = data.draw(cases(layout))
    with stored(case, write=data.draw(st.booleans())) as array:
        expected = np.array(array[...], order="C")  # reading gives the order of the stored elements
        key = data.draw(keys_for(selection, array))
        where = places(selection, array, key)
        new = data.draw(new_values(np.shape(where)))
        view_for(selection, array)[key] = new
        expected.reshape(-1)[where] = new
        np.testing.assert_array_equal(array[...], expected)
    count_example()


@st.composite
def new_values(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """A scalar, the fill value among them, or values that broadcast to ``shape``."""
    if draw(st.booleans()):
        return draw(st.sampled_from([0, 7, 99]))
    cut = draw(st.integers(0, len(shape)))
    shape = tuple(draw(st.sampled_from([n, n, 1])) for n in shape[cut:])
    return (100 + np.arange(np.prod(shape, dtype=int)) % 20).reshape(shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_array_protocol(layout: str, data: st.DataObject) -> None:
    """`numpy.asarray`, `len` and iteration see the same values as `[...]`."""
    case = data.draw(cases(layout, least=1))
    with stored(case) as array:
        np.testing.assert_array_equal(np.asarray(array), case.values)
        assert len(array) == len(case.values)
        rows = list(array)
        assert len(rows) == len(case.values)
        for row, expected in zip(rows, case.values, strict=True):
            np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_on_threads(layout: str, data: st.DataObject) -> None:
    """Reading and writing give the same on several threads, however small the chunks are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "LEAST_BYTES_PER_ITEM", 0)
        patch.setattr(executor, "LEAST_BYTES", 0)
        patch.setattr(executor, "_cores", lambda: 3)
        case = data.draw(cases(layout, least=1))
        with stored(case) as array:
            np.testing.assert_array_equal(array[...], case.values)
            key = data.draw(keys_for("outer", array))
            where = places("outer", array, key)
            np.testing.assert_array_equal(array.oindex[key], case.values.reshape(-1)[where])
            expected = case.values.copy()
            new = data.draw(st.integers(0, 99))
            array.oindex[key] = new
            expected.reshape(-1)[where] = new
            np.testing.assert_array_equal(array[...], expected)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (0, 0, 1, 1), (2, 1, 1, 3)])
@pytest.mark.parametrize(
    "key", [np.s_[:, :1, [0, 0], ..., 0], np.s_[:, :, [[0]], ..., [0, 0]], np.s_[:, :, 0, ..., [0]]]
)
def test_an_ellipsis_of_no_dimensions_separates_index_arrays(shape: tuple[int, ...], key: Any) -> None:
    """As in NumPy, dimensions of separated index arrays come first, even where the ellipsis stands for nothing."""
    values = np.arange(np.prod(shape)).reshape(shape)
    array = xz.create_array({}, data=values, chunks=(1, 1, 1, 1))
    np.testing.assert_array_equal(array[key], values[key])
    assert array[key].shape == values[key].shape
