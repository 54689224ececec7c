"""Values on their way into an array: what fits comes back, what does not is refused and nothing of it is stored."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend.stores import MemoryStore

RECORD = [("i", "i1"), ("s", "S2"), ("f", "f4"), ("t", "M8[s]"), ("sub", [("x", "u1")])]
WIDE = [("i", "i4"), ("s", "S4"), ("f", "f8"), ("t", "M8[ms]"), ("sub", [("x", "i8")])]
GOOD = (3, b"ab", 1.5, "2020-01-01T00:00:01", (7,))
StringDType = np.dtypes.StringDType


def records(**changes: Any) -> Any:
    values = np.array([GOOD], WIDE)
    for name, value in changes.items():
        values[name] = value
    return values


@pytest.mark.parametrize(
    "values",
    [records(), [GOOD], GOOD, [(3, b"ab", 1.5, datetime.datetime(2020, 1, 1, 0, 0, 1), (7,))]],
    ids=["array", "tuples", "tuple", "objects"],
)
def test_records_that_fit(values: Any) -> None:
    array = xz.create_array({}, shape=(1,), dtype=RECORD)
    array[...] = values
    assert array[...].tolist() == np.array([GOOD], RECORD).tolist()
    assert xz.create_array({}, data=np.array([GOOD], WIDE), dtype=RECORD)[...].tolist() == array[...].tolist()


@pytest.mark.parametrize(
    "values",
    [
        records(i=300),
        records(s=b"abc"),
        records(f=1e300),
        records(t="2020-01-01T00:00:00.5"),
        records(sub=(256,)),
        [(300, *GOOD[1:])],
        [(*GOOD[:4], (-1,))],
        np.zeros(1, [("a", "i1"), ("b", "i1")]),
    ],
)
def test_records_with_a_field_that_does_not_fit(values: Any) -> None:
    """NumPy would wrap, cut off or round each of them."""
    store: dict[str, bytes] = {}
    array = xz.create_array(store, shape=(1,), dtype=RECORD, fill_value=(1, b"f", 1, "NaT", (1,)))
    with pytest.raises(xz.RegionError):
        array[...] = values
    assert list(store) == ["zarr.json"]


def test_arrays_inside_of_records() -> None:
    dtype = [("a", "i2"), ("b", "i1", (2,))]
    assert xz.create_array({}, data=[(1, [2, 3])], dtype=dtype, zarr_format=2)[...].tolist()[0][1].tolist() == [2, 3]
    with pytest.raises(xz.RegionError, match="300 does not fit"):
        xz.create_array({}, data=[(1, [2, 300])], dtype=dtype, zarr_format=2)


@pytest.mark.parametrize(
    ("dtype", "fits", "wrong"),
    [
        ("int4", [7, -8], [[8], [-9], [np.nan], [1.0, np.inf], [1j]]),
        ("uint2", [0, 3, True], [[4], [-1]]),
        ("bfloat16", [1.5, np.inf, np.nan], [[1e300], ["1"]]),
        ("float8_e4m3fn", [448, np.nan], [[1000.0], [np.inf]]),
        ("float4_e2m1fn", [6, -6, 0.5], [[7.0], [np.nan], [-np.inf]]),
        ("float8_e8m0fnu", [1, 0.5], [[-1.0], [0.0]]),
    ],
)
def test_the_types_of_ml_dtypes(dtype: str, fits: list[Any], wrong: list[list[Any]]) -> None:
    """They wrap, saturate or become NaN without a word."""
    pytest.importorskip("ml_dtypes")
    stored = xz.create_array({}, data=np.array(fits), dtype=dtype)[...].astype("f8")
    np.testing.assert_array_equal(stored, np.array(fits, "f8"))
    for values in wrong:
        with pytest.raises(xz.RegionError):
            xz.create_array({}, data=np.array(values), dtype=dtype)


def test_values_of_ml_dtypes_in_other_types() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert xz.create_array({}, data=np.array([5, -8], ml_dtypes.int4), dtype="i1")[...].tolist() == [5, -8]
    assert xz.create_array({}, data=np.array([1.5], ml_dtypes.bfloat16), dtype="f4")[...].tolist() == [1.5]
    for values, dtype in (([300], "i1"), ([np.nan], "i1")):
        with pytest.raises(xz.RegionError):
            xz.create_array({}, data=np.array(values, ml_dtypes.bfloat16), dtype=dtype)
    with pytest.raises(xz.RegionError):
        xz.create_array({}, data=np.array([-8], ml_dtypes.int4), dtype="u1")


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("V2", np.array([b"abc"])),
        ("r16", np.array([b"abc"], "V3")),
        (str, np.array(["a", None], object)),
        (str, np.array(["a", None], StringDType(na_object=None))),
        (str, np.array(["a", np.nan], StringDType(na_object=np.nan))),
        (str, np.array([b"a", b"\xe9"])),
        (bytes, np.array(["a"])),
        (bytes, np.array([b"a", "b"], object)),
        (bytes, np.array([b"a", 5], object)),
        ("i8", [2**70]),
        ("f2", np.array([1, 100000])),
        ("f2", np.array([1, 1e5])),
        ("M8[D]", [datetime.datetime(2020, 1, 1, 1)]),
        ("i4", [[1, 2], [3]]),
    ],
)
def test_what_has_no_meaning_in_the_type(dtype: Any, values: Any) -> None:
    """The old array stays, and of an assignment nothing is stored, not even the chunks before the wrong element."""
    store: dict[str, bytes] = {}
    xz.create_array(store, data=np.arange(5))
    with pytest.raises(xz.XzarrError):
        xz.create_array(store, data=values, dtype=dtype, overwrite=True)
    assert xz.open_array(store)[...].tolist() == [0, 1, 2, 3, 4]
    store = {}
    array = xz.create_array(store, shape=len(values) if np.iterable(values) else (), dtype=dtype, chunks=1)
    with pytest.raises(xz.XzarrError):
        array[...] = values
    assert list(store) == ["zarr.json"]


@pytest.mark.parametrize(
    ("dtype", "values", "stored"),
    [
        (bytes, np.array([b"a", None, 0, bytearray(b"c")], object), [b"a", b"", b"", b"c"]),
        (str, np.array([b"a"]), ["a"]),
        (str, np.array(["a", "ö"], StringDType(na_object=None)), ["a", "ö"]),
        ("V2", np.array([b"ab", b"c"]), [b"ab", b"c\0"]),
        ("M8[s]", [datetime.datetime(2020, 1, 1), None], [datetime.datetime(2020, 1, 1), None]),
        ("m8[s]", [datetime.timedelta(1)], [datetime.timedelta(1)]),
        ("f8", [2**70], [2.0**70]),
    ],
)
def test_python_objects(dtype: Any, values: Any, stored: list[Any]) -> None:
    assert xz.create_array({}, data=values, dtype=dtype)[...].tolist() == stored


def test_leading_dimensions_of_length_one() -> None:
    """NumPy drops them when it assigns."""
    array = xz.create_array({}, shape=(3,), dtype="i4")
    array[...] = np.ones((1, 1, 3))
    assert array[...].tolist() == [1, 1, 1]
    with pytest.raises(xz.SelectionError, match="do not fit"):
        array[...] = np.ones((2, 3))


def test_fields_that_are_not_there_are_refused_before_anything_is_read() -> None:
    """A name in the brackets of an array that is meant for its group does not fetch the whole array first."""
    store = CountingStore(MemoryStore())
    xz.create_array(store, "numbers", data=np.arange(6), chunks=2)
    xz.create_array(store, "records", data=np.ones(6, "i4,f8"), chunks=2)
    for name, hint in (("numbers", "has no fields"), ("records", "it has f0, f1")):
        array = xz.open_array(store, name)
        store.reset()
        for key in ("b", ["b"], ("b", 0)):
            with pytest.raises(xz.SelectionError, match=f"'b' is no field of the array.*{hint}"):
                array[key]
        assert store.requests == []
    np.testing.assert_array_equal(xz.open_array(store, "records")["f1", 1:3], [1, 1])


def test_fields_are_not_written_on_their_own() -> None:
    """Two writers of different fields would lose what one of them has written."""
    array = xz.create_array({}, data=np.zeros(2, [("a", "i4"), ("b", "i4")]))
    for key in ("a", (slice(1), "a"), ["a", "b"]):
        with pytest.raises(xz.SelectionError, match="on their own"):
            array[key] = 1


def test_bytes_of_numpy_are_bytes() -> None:
    """An element of an array of bytes can be stored as a value of variable length."""
    array = xz.create_array({}, shape=(2,), dtype=bytes)
    array[0] = np.array([b"ab", b"c"])[0]
    assert array[:].tolist() == [b"ab", b""]


def test_one_text_in_an_array_is_assigned_to_one_element() -> None:
    """Leading dimensions of length 1 fall away for texts too, as NumPy does it."""
    array = xz.create_array({}, data=np.array(["a", "b", "c"], object), chunks=(2,))
    array[1] = np.array([["x"]])
    assert array[...].tolist() == ["a", "x", "c"]
