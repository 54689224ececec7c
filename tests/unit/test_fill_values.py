"""The spellings of fill values that writers use, those that are refused, and malformed data types."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest

from xzarr_backend.dtypes import DataType, as_dtype, parse_dtype_v2, parse_dtype_v3
from xzarr_backend.errors import MetadataError, UnsupportedError

NAT = -(2**63)
RECORD = [["a", "<i4"], ["b", ">f8"], ["s", "|S3"]]


def same(found: Any, wanted: Any) -> bool:
    """Whether two values are equal, where NaN equals NaN and not-a-time equals not-a-time."""
    return bool(found == wanted) or (found != found and wanted != wanted)


@pytest.mark.parametrize(
    ("dtype", "spelling", "value"),
    [
        ("<f4", 0, 0.0),
        ("<f4", "0", 0.0),
        ("<f8", "1e3", 1000.0),
        ("<f8", "NaN", math.nan),
        ("<f8", "nan", math.nan),
        ("<f8", math.nan, math.nan),
        (">f8", "Infinity", math.inf),
        ("<f8", "+Infinity", math.inf),
        ("<f2", "-Infinity", -math.inf),
        ("<f4", "0x7fc00000", math.nan),
        ("<f4", "0x3fc00000", 1.5),
        (">f8", "0x3FF8000000000000", 1.5),
        ("<f4", 9.969209968386869e36, np.float32(9.969209968386869e36)),
        ("<u8", 2**64 - 1, 2**64 - 1),
        ("<i8", NAT, NAT),
        ("|u1", 1.0, 1),
        ("|i1", "0", 0),
        ("<i4", "-7.0", -7),
        ("|u1", True, 1),
        ("|b1", True, True),
        ("|b1", 0, False),
        ("|b1", "0", False),
        ("|b1", "true", True),
        ("<c8", 0, 0j),
        ("<c16", [1.5, "-Infinity"], complex(1.5, -math.inf)),
        ("<c16", [1, "2"], 1 + 2j),
        ("|S4", 0, b""),
        ("|S4", "", b""),
        ("|S4", "eno=", b"zz"),
        ("|S4", "AAAA", b""),
        ("|S4", "YWIAYw==", b"ab\0c"),
        ("|S1", "x", b"x"),
        ("|S8", "plain!", b"plain!"),
        ("|S4", [97, 98], b"ab"),
        ("<U4", 0, ""),
        ("<U4", "Zß", "Zß"),
        (">U4", "0", "0"),
        ("|V3", 0, np.void(b"\0\0\0")),
        ("|V3", "YWJj", np.void(b"abc")),
        ("|V3", [1, 2, 255], np.void(b"\x01\x02\xff")),
        ("<M8[s]", "NaT", np.datetime64("NaT", "s")),
        ("<M8[s]", NAT, np.datetime64("NaT", "s")),
        (">M8[s]", 7, np.datetime64(7, "s")),
        ("<m8[25us]", 2, np.timedelta64(50, "us")),
        ("<M8", 0, np.datetime64(0, "us")),
        (RECORD, 0, np.array((0, 0.0, b""), dtype="i4,>f8,S3").tolist()),
    ],
)
def test_spellings(dtype: Any, spelling: Any, value: Any) -> None:
    """Every spelling that writers are known to use gives the value that they meant."""
    found = parse_dtype_v2(dtype).parse_fill(spelling, 2)
    assert same(found.tolist() if isinstance(value, tuple) else found, value)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("name", "spelling", "value"),
    [
        ("string", 0, ""),
        ("string", "ä", "ä"),
        ("bytes", 0, b""),
        ("bytes", "", b""),
        ("bytes", [1, 2, 3], b"\1\2\3"),
        ("bytes", "AQID", b"\1\2\3"),
    ],
)
def test_spellings_of_variable_length(name: str, zarr_format: int, spelling: Any, value: Any) -> None:
    """Text and bytes of variable length take 0 for nothing; bytes are a list of numbers or base64 text."""
    assert as_dtype(name).parse_fill(spelling, zarr_format) == value


@pytest.mark.parametrize(
    ("dtype", "spelling"),
    [
        ("|u1", 300),
        ("|u1", -1),
        ("<i4", 2**31),
        ("<i4", 1.5),
        ("<i4", "NaN"),
        ("<i4", math.inf),
        ("<i4", "seven"),
        ("<i4", [1]),
        ("<i4", {}),
        ("|b1", 2),
        ("|b1", "maybe"),
        ("<f4", "0x7fc0"),
        ("<f4", "one"),
        ("<f8", 10**400),
        ("<f8", [1.0]),
        ("<f8", {}),
        ("<c8", [1, 2, 3]),
        ("<c8", "{1.0, 2.0}"),
        ("|S2", "YWJjZA=="),
        ("|S2", "äöü"),
        ("|S2", [256]),
        ("|S2", ["a"]),
        ("|S2", 5),
        ("<U2", "abc"),
        ("<U2", 5),
        ("|V3", "YWJjZA=="),
        ("|V3", "not base64"),
        ("<M8[s]", 2**63),
        ("<M8[s]", "yesterday"),
        ("<m8[s]", 0.5),
        (RECORD, "AAAA"),
        (RECORD, {"z": 1}),
        (RECORD, [1, 2.0]),
        (RECORD, {"a": 2**40}),
        (RECORD, 5),
    ],
)
def test_wrong_fill_values(dtype: Any, spelling: Any) -> None:
    """What is no value of the data type is refused with the place in the document."""
    with pytest.raises(MetadataError) as caught:
        parse_dtype_v2(dtype).parse_fill(spelling, 2)
    assert caught.value.where == "fill_value"


def test_payload_of_nan_survives_in_v3() -> None:
    """Only v3 can spell a NaN with a payload; v2 knows one NaN."""
    dtype = as_dtype("float32")
    value = dtype.parse_fill("0x7fc00001", 3)
    assert value.tobytes() == b"\x01\x00\xc0\x7f"
    assert dtype.format_fill(value, 3) == "0x7fc00001"
    assert dtype.format_fill(value, 2) == "NaN"
    assert dtype.format_fill(np.float32("nan"), 3) == "NaN"


def test_records_of_format_3() -> None:
    """Records are spelled field by field, or as in older arrays by base64 text of little-endian bytes."""
    dtype = parse_dtype_v3({"name": "structured", "configuration": {"fields": [["a", "int32"], ["b", "float32"]]}})
    assert dtype.parse_fill("AQAAAAAAwH8=", 3)["a"] == 1
    assert dtype.parse_fill({"a": 3, "b": "NaN"}, 3)["a"] == 3
    assert dtype.parse_fill({"a": 3}, 3).tolist() == (3, 0.0)
    assert dtype.parse_fill([3, 1.5], 3).tolist() == (3, 1.5)
    assert dtype.format_fill((3, math.inf), 3) == {"a": 3, "b": "Infinity"}
    assert dtype.format_v3()["configuration"]["fields"][0] == {"name": "a", "data_type": "int32"}


def test_arrays_inside_records() -> None:
    """Fields that are arrays themselves exist in v2; v3 has no spelling for them."""
    dtype = parse_dtype_v2([["a", "<i4"], ["m", ">f4", [2, 3]], ["s", "|S2"]])
    assert dtype.numpy["m"].shape == (2, 3) and dtype.itemsize == 30
    value = dtype.cast_fill((1, np.arange(6).reshape(2, 3), b"x"))
    again = dtype.parse_fill(dtype.format_fill(value, 2), 2)
    assert again.tobytes() == value.tobytes() and again["m"][1, 2] == 5
    with pytest.raises(UnsupportedError):
        dtype.format_v3()
    with pytest.raises(MetadataError):
        dtype.format_fill(value, 3)


def test_gaps_inside_records() -> None:
    """Fields without a name, as NumPy describes gaps, get NumPy's default names."""
    assert parse_dtype_v2([["a", "|i1"], ["", "|V3"], ["b", "<i4"]]).numpy.names == ("a", "f1", "b")


def test_padded_numpy_records_are_packed() -> None:
    """A NumPy dtype with gaps becomes a record without gaps, which is what both formats store."""
    assert as_dtype(np.dtype("i1,f8", align=True)).itemsize == 9


@pytest.mark.parametrize(
    ("dtype", "given", "value"),
    [
        ("uint8", np.int64(7), 7),
        ("uint8", np.array(7.0), 7),
        ("float32", np.float64(1.5), 1.5),
        ("float32", "NaN", math.nan),
        ("complex64", np.complex128(1 + 2j), 1 + 2j),
        ("complex64", 3, 3 + 0j),
        ("bool", np.True_, True),
        ("S4", b"ab", b"ab"),
        ("S4", "AAAA", b"AAAA"),
        ("U4", np.str_("ab"), "ab"),
        ("V2", b"ab", np.void(b"ab")),
        ("string", np.str_("ab"), "ab"),
        ("bytes", bytearray(b"ab"), b"ab"),
        ("M8[s]", np.datetime64("2000-01-01"), np.datetime64("2000-01-01")),
        ("M8[s]", "2000-01-01", np.datetime64("2000-01-01")),
        ("M8[D]", datetime.date(2000, 1, 1), np.datetime64("2000-01-01")),
        ("m8[ms]", datetime.timedelta(seconds=1), np.timedelta64(1, "s")),
        ("M8[ns]", np.datetime64("NaT", "D"), np.datetime64("NaT", "s")),
        ("m8[s]", 5, np.timedelta64(5, "s")),
    ],
)
def test_values_of_callers(dtype: str, given: Any, value: Any) -> None:
    """A caller's value becomes a scalar of the data type when that changes nothing."""
    assert same(as_dtype(dtype).cast_fill(given), value)


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("uint8", 300),
        ("uint8", 1.5),
        ("uint8", math.nan),
        ("int64", np.datetime64(5, "ns")),
        ("float32", 1j),
        ("float32", [1.0]),
        ("float32", np.zeros(2)),
        ("float32", b"x"),
        ("bool", 2),
        ("S2", b"abc"),
        ("U2", "abc"),
        ("V2", b"abc"),
        ("string", 5),
        ("bytes", "äö"),
        ("M8[D]", np.datetime64("2000-01-01T12", "h")),
        ("M8[ns]", np.datetime64("9999-01-01")),
        ("m8[s]", np.datetime64("2000-01-01")),
    ],
)
def test_values_of_callers_that_would_change(dtype: str, given: Any) -> None:
    """A caller's value that the data type cannot hold is refused instead of being cut off or wrapped."""
    with pytest.raises(MetadataError):
        as_dtype(dtype).cast_fill(given)


def test_records_of_callers() -> None:
    """A record is taken as a tuple, a mapping, a NumPy record or its bytes, each field checked."""
    dtype = as_dtype([("a", "u1"), ("b", ">f4")])
    wanted = dtype.cast_fill((3, 1.5)).tobytes()
    assert dtype.cast_fill({"a": 3, "b": 1.5}).tobytes() == wanted
    assert dtype.cast_fill(np.array((3, 1.5), dtype=[("a", "i8"), ("b", "f8")])[()]).tobytes() == wanted
    assert dtype.cast_fill(np.array((3, 1.5), dtype=[("a", "u1"), ("b", "<f4")])).tobytes() == wanted
    assert dtype.cast_fill(wanted).tobytes() == wanted
    with pytest.raises(MetadataError, match="field 'a'"):
        dtype.cast_fill((300, 1.5))


@pytest.mark.parametrize(
    ("name", "spelling", "value"),
    [
        ("bfloat16", "NaN", "0x7fc0"),
        ("bfloat16", "-Infinity", "0xff80"),
        ("float8_e5m2", "NaN", "0x7e"),
        ("float8_e4m3fn", 1.5, "0x3c"),
        ("float8_e8m0fnu", "NaN", "0xff"),
        ("int4", -8, None),
        ("uint2", "3", None),
    ],
)
def test_small_types(name: str, spelling: Any, value: str | None) -> None:
    """The types of ml_dtypes take numbers, constants and bit patterns like all floats and integers."""
    pytest.importorskip("ml_dtypes")
    dtype = as_dtype(name)
    found = dtype.parse_fill(spelling, 3)
    assert dtype.format_fill(found, 3) == (int(spelling) if value is None else spelling)
    if value is not None:
        assert dtype.parse_fill(value, 3).tobytes() == found.tobytes()


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("int4", 8),
        ("uint2", -1),
        ("float4_e2m1fn", "NaN"),
        ("float4_e2m1fn", "Infinity"),
        ("float8_e4m3fn", "-Infinity"),
    ],
)
def test_small_types_refuse(name: str, spelling: Any) -> None:
    """What a small type cannot represent is refused; ml_dtypes itself would wrap it or make it another number."""
    pytest.importorskip("ml_dtypes")
    with pytest.raises(MetadataError):
        as_dtype(name).parse_fill(spelling, 3)


@pytest.mark.parametrize(
    ("spelling", "numpy"),
    [
        ("<u1", "|u1"),
        (">i1", "|i1"),
        (">S1", "|S1"),
        ("<b1", "|b1"),
        ("<M8", "<M8[us]"),
        ("<m8", "<m8[us]"),
        ("<M8[μs]", "<M8[us]"),
        ("i4", "<i4"),
        ("|O8", "|O"),
    ],
)
def test_tolerated_type_strings(spelling: str, numpy: str) -> None:
    """Type strings that other writers store mean what they say: a byte order where it has no meaning, or none."""
    assert parse_dtype_v2(spelling).numpy == np.dtype(numpy)


@pytest.mark.parametrize(
    ("codec", "name"),
    [("vlen-utf8", "string"), ("vlen-bytes", "bytes"), ("json2", "object"), ("vlen-array", "object"), (None, "object")],
)
def test_objects_of_format_2(codec: str | None, name: str) -> None:
    """The codec of an object array says what its elements are."""
    assert parse_dtype_v2("|O", codec).name == name


NESTED: Any = "<i4"
for _ in range(100):
    NESTED = [["a", NESTED]]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("<U99999999999", "dtype"),
        ("|V9999999999999", "dtype"),
        ("|S" + "9" * 5000, "dtype"),
        ("|S0", "dtype"),
        ("<U", "dtype"),
        ("<M8[fortnight]", "dtype"),
        ("<M8[0s]", "dtype"),
        ("<M8[9999999999s]", "dtype"),
        ("<i4[s]", "dtype"),
        (5, "dtype"),
        (None, "dtype"),
        ([], "dtype"),
        ([["a"]], "dtype[0]"),
        ([["a", "<i4"], [["t", "b"], "<i4"]], "dtype[1]"),
        ([["a", "<i4"], ["a", "<i4"]], "dtype"),
        ([["a", "<i4"], ["b", "<i4", [0]]], "dtype[1][2]"),
        ([["a", "<i4", [2**20, 2**20]]], "dtype"),
        ([["a", "<i4", [1] * 40]], "dtype[0][2]"),
        ([["a", [["b", 7]]]], "dtype[0][1][0][1]"),
    ],
)
def test_malformed_v2(document: Any, place: str) -> None:
    """A malformed v2 data type is refused with its place, and nothing of an absurd size is built."""
    with pytest.raises(MetadataError) as caught:
        parse_dtype_v2(document)
    assert caught.value.where == place
    assert len(str(caught.value)) < 500


def test_deeply_nested_records_are_refused() -> None:
    """A record inside a record inside a record ... ends in an error of ours, not in a full stack."""
    with pytest.raises(MetadataError, match="too deeply"):
        parse_dtype_v2(NESTED)


@pytest.mark.parametrize("document", ["<z4", "<i3", "<f16", "<c32", "float128", "<M4[s]", [["a", "|O"]]])
def test_unknown_v2(document: Any) -> None:
    """A v2 data type that is not known is refused as such."""
    with pytest.raises(UnsupportedError):
        parse_dtype_v2(document)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (5, "data_type"),
        ({"configuration": {}}, "data_type"),
        ({"name": "int32", "configuration": 5}, "data_type"),
        ("r12", "data_type"),
        ("r8" + "0" * 500, "data_type"),
        ({"name": "raw_bytes"}, "data_type.configuration.length_bytes"),
        ({"name": "raw_bytes", "configuration": {"length_bytes": 2**40}}, "data_type.configuration.length_bytes"),
        ({"name": "fixed_length_utf32", "configuration": {"length_bytes": 7}}, "data_type.configuration.length_bytes"),
        ({"name": "numpy.datetime64"}, "data_type.configuration"),
        ({"name": "numpy.datetime64", "configuration": {"unit": "x", "scale_factor": 1}}, "data_type.configuration"),
        ({"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 0}}, "data_type.configuration"),
        ({"name": "struct"}, "data_type.configuration.fields"),
        ({"name": "struct", "configuration": {"fields": []}}, "data_type.configuration.fields"),
        ({"name": "struct", "configuration": {"fields": [5]}}, "data_type.configuration.fields[0]"),
        (
            {"name": "struct", "configuration": {"fields": [["a", "int8"], {"name": "b", "data_type": 5}]}},
            "data_type.configuration.fields[1].data_type",
        ),
    ],
)
def test_malformed_v3(document: Any, place: str) -> None:
    """A malformed v3 data type is refused with its place."""
    with pytest.raises(MetadataError) as caught:
        parse_dtype_v3(document)
    assert caught.value.where == place
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "document",
    ["int128", "r*", "<i4", {"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": "string"}]}}],
)
def test_unknown_v3(document: Any) -> None:
    """A v3 data type that is not known, or a record of elements that vary in length, is refused as such."""
    with pytest.raises(UnsupportedError):
        parse_dtype_v3(document)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (int, "int64"),
        (float, "float64"),
        (bool, "bool"),
        (complex, "complex128"),
        (str, "string"),
        (bytes, "bytes"),
        (object, "object"),
        (np.dtypes.StringDType(), "string"),
        (np.float32, "float32"),
        ("f4", "float32"),
        (">i2", "int16"),
        ("r24", "r24"),
        ("complex_float32", "complex64"),
        ("datetime64[ns]", "numpy.datetime64"),
        ("V3", "raw_bytes"),
        ([("a", "i4")], "struct"),
        ([["a", "<i4"]], "struct"),
        ({"name": "raw_bytes", "configuration": {"length_bytes": 3}}, "raw_bytes"),
    ],
)
def test_what_callers_mean(given: Any, name: str) -> None:
    """Callers name data types in the vocabularies of Python, NumPy and both formats."""
    found = as_dtype(given)
    assert isinstance(found, DataType) and found.name == name


@pytest.mark.parametrize("given", ["flaot32", "f16", object(), 7])
def test_what_callers_cannot_mean(given: Any) -> None:
    """A data type that has no place in Zarr is refused with an error of ours."""
    with pytest.raises(UnsupportedError):
        as_dtype(given)


def test_times_without_unit() -> None:
    """NumPy's generic times exist in v3; v2 demands a unit, and readers disagree about what its absence means."""
    dtype = as_dtype("M8")
    assert dtype.format_v3()["configuration"]["unit"] == "generic"
    assert dtype.format_fill(None, 3) == NAT
    with pytest.raises(UnsupportedError):
        dtype.format_v2()


def test_zero_of_a_type_without_zero() -> None:
    """Numbers are rounded to the nearest value (v3 core, "Permitted fill values"); tensorstore writes this one."""
    pytest.importorskip("ml_dtypes")
    dtype = as_dtype("float8_e8m0fnu")
    assert dtype.parse_fill(0.0, 3).tobytes() == b"\0"
    with pytest.raises(MetadataError):
        dtype.parse_fill(-1.0, 3)
