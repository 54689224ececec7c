"""Filters of numcodecs: what they cannot store raises, and fill values that they cannot store do no harm."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from xzarr_backend.errors import ChunkError


def stored(data: Any, zarr_format: int, name: str, **configuration: Any) -> xz.Array:
    """Return an array of one chunk with one filter."""
    given = {"id": name, **configuration}
    if zarr_format == 3:
        given = {"name": f"numcodecs.{name}", "configuration": configuration}
    return xz.create_array({}, data=data, chunks=-1, filters=[given], compressors=None, zarr_format=zarr_format)


LOST: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("i4", [1, 70000], "astype", {"encode_dtype": "<i2", "decode_dtype": "<i4"}),
    ("i4", [-1], "astype", {"encode_dtype": "<u4", "decode_dtype": "<i4"}),
    ("f4", [70000], "astype", {"encode_dtype": "<i2", "decode_dtype": "<f4"}),
    ("f4", [1, np.nan], "astype", {"encode_dtype": "<i2", "decode_dtype": "<f4"}),
    ("f4", [1e30], "astype", {"encode_dtype": "<f2", "decode_dtype": "<f4"}),
    ("u1", [0, 1, 2], "astype", {"encode_dtype": "|b1", "decode_dtype": "|u1"}),
    ("<U4", ["ab", "abcd"], "astype", {"encode_dtype": "<U2", "decode_dtype": "<U4"}),
    ("i4", [1, 70000, 5], "delta", {"dtype": "<i4", "astype": "|i1"}),
    ("u4", [70000, 70001], "delta", {"dtype": "<u4", "astype": "<u2"}),
    ("f8", [1.5, 1e8], "delta", {"dtype": "<f8", "astype": "<i2"}),
    ("f8", [1e30], "delta", {"dtype": "<f8", "astype": "<f2"}),
    ("<U3", ["a", "b"], "categorize", {"labels": ["a"], "dtype": "<U3"}),
    ("f4", [1e30], "quantize", {"digits": 2, "dtype": "<f4", "astype": "<f2"}),
    ("f2", [10], "quantize", {"digits": 4, "dtype": "<f2"}),
    ("f4", [1e30], "fixedscaleoffset", {"scale": 1e20, "offset": 0, "dtype": "<f4"}),
]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("dtype", "values", "name", "configuration"), LOST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_filter_cannot_store_raises(
    dtype: str, values: Any, name: str, configuration: dict[str, Any], zarr_format: int
) -> None:
    """Values that would be read as others, where numcodecs stores these, are refused when they are written."""
    with pytest.raises(ChunkError, match=f"{name} (cannot store|has no label)"):
        stored(np.array(values, dtype), zarr_format, name, **configuration)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=9), st.sampled_from(["<u4", "<i4", "<i8", "<u2", "|i1"]))
def test_differences_wrap_around_or_raise(values: list[int], astype: str) -> None:
    """Whatever delta stores is read back: differences may wrap around as long as the sums come out right."""
    data = np.array(values, "u4")
    try:
        array = stored(data, 2, "delta", dtype="<u4", astype=astype)
    except ChunkError:
        assert np.dtype(astype).itemsize < 4
    else:
        np.testing.assert_array_equal(array[...], data)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", ["fixedscaleoffset", "astype"])
def test_fill_values_that_a_filter_cannot_store(name: str, fill: float, zarr_format: int) -> None:
    """Arrays open with them, and chunks at the end are written; elements within a chunk cannot be left out."""
    configuration: dict[str, Any] = {"encode_dtype": "<i2", "decode_dtype": "<f4"}
    if name == "fixedscaleoffset":
        configuration = {"offset": 0, "scale": 10, "dtype": "<f4", "astype": "<i2"}
    filters = {"name": f"numcodecs.{name}", "configuration": configuration}
    keywords: dict[str, Any] = {"dtype": "f4", "chunks": 4, "fill_value": fill, "zarr_format": zarr_format}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = xz.create_array({}, shape=9, filters=[filters], **keywords)
        np.testing.assert_array_equal(array[...], np.full(9, fill, "f4"))
        array[4:] = np.arange(5)
        np.testing.assert_array_equal(array[...], np.array([fill] * 4 + [0, 1, 2, 3, 4], "f4"))
        with pytest.raises(ChunkError, match="cannot store"):
            array[0] = 1
        array.resize((6,))
        np.testing.assert_array_equal(array[...], np.array([fill] * 4 + [0, 1], "f4"))
        array.resize((12,))
        np.testing.assert_array_equal(array[...], np.array([fill] * 4 + [0, 1, 0, 0] + [fill] * 4, "f4"))


def test_an_array_shrinks_within_shards_whose_codecs_refuse_its_fill_value() -> None:
    """What is cut off of an inner chunk becomes zero, as in chunks that are no shards."""
    filters = {"id": "fixedscaleoffset", "offset": 0, "scale": 10, "dtype": "<f4", "astype": "<i2"}
    keywords: dict[str, Any] = {"filters": [filters], "chunks": 4, "shards": 8, "fill_value": np.nan}
    array = xz.create_array({}, data=np.arange(8, dtype="f4"), **keywords)
    array.resize((6,))
    array.resize((8,))
    np.testing.assert_array_equal(array[...], np.array([0, 1, 2, 3, 4, 5, 0, 0], "f4"))
