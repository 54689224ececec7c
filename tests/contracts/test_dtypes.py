"""What every row of the table of data types must keep: values, fill values and documents survive a round trip."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xzarr_backend.dtypes import ALIASES, ROWS, DataType, as_dtype, parse_dtype_v2, parse_dtype_v3
from xzarr_backend.errors import UnsupportedError

FIELDS = [
    {"name": "i", "data_type": "int32"},
    {"name": "x", "data_type": "float64"},
    {"name": "c", "data_type": "complex64"},
    {"name": "t", "data_type": {"name": "numpy.datetime64", "configuration": {"unit": "ms", "scale_factor": 5}}},
    {"name": "s", "data_type": {"name": "null_terminated_bytes", "configuration": {"length_bytes": 3}}},
    {"name": "u", "data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 8}}},
    {"name": "v", "data_type": {"name": "raw_bytes", "configuration": {"length_bytes": 2}}},
    {"name": "n", "data_type": {"name": "struct", "configuration": {"fields": [{"name": "b", "data_type": "bool"}]}}},
]
CONFIGURED: dict[str, Any] = {
    "numpy.datetime64": {"unit": "us", "scale_factor": 25},
    "numpy.timedelta64": {"unit": "D", "scale_factor": 1},
    "fixed_length_utf32": {"length_bytes": 20},
    "null_terminated_bytes": {"length_bytes": 5},
    "raw_bytes": {"length_bytes": 6},
    "struct": {"fields": FIELDS},
}
NATIVE_ORDER_ONLY = {name for name, row in ROWS.items() if row.from_ml_dtypes}


def document(name: str) -> Any:
    """Return a v3 document of the row called ``name``."""
    if name == "r*":
        return "r24"
    return {"name": name, "configuration": CONFIGURED[name]} if name in CONFIGURED else name


def dtype_of(name: str) -> DataType:
    """Return a data type of the row called ``name``."""
    if ROWS[name].from_ml_dtypes:
        pytest.importorskip("ml_dtypes")
    return as_dtype("object") if name == "object" else parse_dtype_v3(document(name))


def in_order(dtype: DataType, order: str) -> DataType:
    """Return ``dtype`` with the byte order ``order``."""
    return as_dtype(dtype.numpy.newbyteorder(order)) if dtype.itemsize else dtype


def scalar_of(dtype: DataType, data: bytes) -> Any:
    """Return the value of ``dtype`` that has the bytes ``data``, or that is made of them where the length varies."""
    if dtype.name == "string":
        return data.decode("latin-1")
    if dtype.name == "bytes":
        return data
    if dtype.name == "object":
        return list(data)
    return packed_values(dtype, data)[0]


def packed_values(dtype: DataType, data: bytes) -> Any:
    """Return an array of one element; text and bool take only some bit patterns."""
    values = np.frombuffer(data * (dtype.itemsize or 1), dtype=np.uint8)[: dtype.itemsize].copy()
    array = values.view(dtype.numpy)
    if dtype.fields:
        for field in dtype.fields:
            array[field.name] = packed_values(field.dtype, data[::-1])
    if dtype.name == "bool":
        array = (values > 127).view(dtype.numpy)
    if dtype.name == "fixed_length_utf32":
        array = np.array([data.decode("latin-1")], dtype=dtype.numpy)
    if dtype.name in ("int2", "uint2", "int4", "uint4") or dtype.name.startswith(("float4", "float6")):
        array = (values & (15 if "4" in dtype.name[:6] else 63 if "6" in dtype.name[:6] else 3)).view(dtype.numpy)
    return array


def bits(dtype: DataType, value: Any) -> Any:
    """Return what must be equal of two equal values: their bytes, or the value itself where the length varies."""
    return value if dtype.itemsize is None else np.array([value], dtype=dtype.numpy).tobytes()


def through_json(value: Any) -> Any:
    """Return ``value`` as a reader of strict JSON gets it."""
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("name", [name for name in ROWS if name != "object"])
def test_v3_documents_round_trip(name: str) -> None:
    """The v3 document of every row parses to a data type that writes the same document."""
    assert through_json(dtype_of(name).format_v3()) == document(name)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ROWS)
def test_v2_documents_round_trip(name: str, order: str) -> None:
    """The v2 document of every row, in both byte orders, parses to the same NumPy dtype."""
    dtype = in_order(dtype_of(name), order)
    codec = {"string": "vlen-utf8", "bytes": "vlen-bytes"}.get(name)
    again = parse_dtype_v2(through_json(dtype.format_v2()), codec)
    assert again.numpy == dtype.numpy
    assert again.format_v2() == dtype.format_v2()
    assert again.name == ("raw_bytes" if name == "r*" else dtype.name)


@pytest.mark.parametrize("name", ROWS)
def test_big_endian_is_kept(name: str) -> None:
    """A big-endian v2 document gives big-endian NumPy arrays, and v3 documents do not mention the order."""
    dtype = in_order(dtype_of(name), ">")
    if dtype.numpy.kind in "iufcmMU" and dtype.numpy.itemsize > 1 and name not in NATIVE_ORDER_ONLY:
        assert dtype.numpy.byteorder == ">"
    if name not in ("object", "r*"):
        assert dtype.format_v3() == document(name)


@pytest.mark.parametrize("name", ROWS)
def test_data_types_are_values(name: str) -> None:
    """A data type survives pickling, compares, hashes, and is found again through its NumPy dtype."""
    dtype = dtype_of(name)
    again = pickle.loads(pickle.dumps(dtype))
    assert again == dtype and hash(again) == hash(dtype)
    assert as_dtype(dtype) is dtype
    if name not in ("r*", "bytes"):
        assert as_dtype(dtype.numpy) == dtype


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ROWS)
def test_zero_round_trips(name: str, zarr_format: int) -> None:
    """The default fill value of every row is written and read back in both formats, and null means it or None."""
    dtype = dtype_of(name)
    text = through_json(dtype.format_fill(dtype.zero, zarr_format))
    assert bits(dtype, dtype.parse_fill(text, zarr_format)) == bits(dtype, dtype.zero)
    assert dtype.format_fill(None, zarr_format) == (None if zarr_format == 2 else text)
    assert dtype.parse_fill(None, 2) is None
    assert bits(dtype, dtype.parse_fill(None, 3)) == bits(dtype, dtype.zero)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", [name for name in ROWS if name != "object"])
@given(data=st.binary(min_size=5, max_size=5))
def test_fill_values_round_trip_bit_by_bit(name: str, order: str, data: bytes) -> None:
    """Whatever bits a value has, v3 JSON keeps them, payloads of NaN included."""
    dtype = in_order(dtype_of(name), order)
    value = scalar_of(dtype, data)
    again = dtype.parse_fill(through_json(dtype.format_fill(value, 3)), 3)
    assert bits(dtype, again) == bits(dtype, value)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ROWS)
@given(data=st.binary(min_size=5, max_size=5))
def test_fill_values_of_format_2_settle(name: str, order: str, data: bytes) -> None:
    """In v2 JSON a value is written the same again once it was read: only the payload of a NaN can be lost."""
    dtype = in_order(dtype_of(name), order)
    text = through_json(dtype.format_fill(scalar_of(dtype, data), 2))
    again = dtype.parse_fill(text, 2)
    assert through_json(dtype.format_fill(again, 2)) == text
    if dtype.numpy.kind not in "fc" and name not in NATIVE_ORDER_ONLY:
        assert bits(dtype, again) == bits(dtype, scalar_of(dtype, data))


@pytest.mark.parametrize("name", ROWS)
def test_arrays_can_be_filled(name: str) -> None:
    """An array of every row can be allocated and filled with its default value."""
    dtype = dtype_of(name)
    array = np.full(3, dtype.zero, dtype=dtype.numpy)
    assert dtype.itemsize in (None, array.itemsize)
    assert bits(dtype, array[1]) == bits(dtype, dtype.zero)


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_lead_to_rows(alias: str) -> None:
    """Every other name of v3 gives a data type that is written under the name of its row."""
    configuration = {"configuration": {"fields": [["a", "int8"]]}} if alias == "structured" else {}
    dtype = parse_dtype_v3({"name": alias, **configuration})
    assert dtype.name == ALIASES[alias][0]
    assert parse_dtype_v3(dtype.format_v3()) == dtype


def test_objects_have_no_place_in_v3() -> None:
    """Python objects are refused by the writer and the reader of v3 documents."""
    with pytest.raises(UnsupportedError):
        as_dtype(object).format_v3()
    with pytest.raises(UnsupportedError):
        parse_dtype_v3("object")


FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"


def test_documents_of_other_writers() -> None:
    """Every stored document that must be read has the NumPy dtype that is expected and a fill value that settles."""
    if not FIXTURES.is_dir():
        pytest.skip("the shared fixtures are not beside the project")
    arrays = json.loads((FIXTURES / "manifest.json").read_text())["arrays"]
    checked = [array["id"] for array in arrays if array["expect"] == "value" and check_stored(array)]
    assert len(checked) > 500


def check_stored(array: dict[str, Any]) -> bool:
    """Check the document of a fixture; False where it is not a plain, sound file of its own."""
    found = [name for name in ("zarr.json", ".zarray") if (FIXTURES / array["store"] / array["path"] / name).is_file()]
    if len(found) != 1:
        return False
    try:
        stored = json.loads((FIXTURES / array["store"] / array["path"] / found[0]).read_text())
    except ValueError:
        return False  # the good copy is in the consolidated metadata
    codec = next((codec["id"] for codec in stored.get("filters") or ()), None)
    dtype = parse_dtype_v3(stored["data_type"]) if "data_type" in stored else parse_dtype_v2(stored["dtype"], codec)
    zarr_format = stored["zarr_format"]
    text = dtype.format_fill(dtype.parse_fill(stored.get("fill_value"), zarr_format), zarr_format)
    assert dtype.format_fill(dtype.parse_fill(text, zarr_format), zarr_format) == text
    expected = FIXTURES / (array.get("expected") or "none")
    if dtype.itemsize and expected.suffix == ".npy":
        assert np.load(expected, mmap_mode="r").dtype.newbyteorder("=") == dtype.numpy.newbyteorder("="), array["id"]
    return True
