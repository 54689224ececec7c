"""Documents of Zarr v2 become the one model, and come back as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.chunk_keys import ChunkKeyEncoding
from xzarr_backend.formats.documents import format_json, parse_json
from xzarr_backend.formats.v2 import dimension_names, format_array_v2, parse_array_v2, parse_group_v2, split_v2

BASE: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [10, 20],
    "chunks": [5, 10],
    "dtype": "<f4",
    "compressor": {"id": "zlib", "level": 1},
    "fill_value": "NaN",
    "order": "C",
    "filters": None,
    "dimension_separator": ".",
}


def names(document: dict[str, Any]) -> list[str]:
    """The codec chain that a document means, by name."""
    return [codec.name for codec in parse_array_v2(document, {}).codecs]


@pytest.mark.parametrize(
    ("members", "chain"),
    [
        ({}, ["bytes", "numcodecs.zlib"]),
        ({"compressor": None}, ["bytes"]),
        ({"order": "F"}, ["transpose", "bytes", "numcodecs.zlib"]),
        ({"order": "F", "shape": [10], "chunks": [5]}, ["bytes", "numcodecs.zlib"]),
        ({"filters": [{"id": "delta", "dtype": "<f4"}]}, ["bytes", "numcodecs.delta", "numcodecs.zlib"]),
        ({"filters": []}, ["bytes", "numcodecs.zlib"]),
        (
            {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "fill_value": ""},
            ["numcodecs.vlen-utf8", "numcodecs.zlib"],
        ),
    ],
)
def test_chains(members: dict[str, Any], chain: list[str]) -> None:
    """Order, byte order, filters and compressor become one chain in the order of encoding."""
    assert names({**BASE, **members}) == chain


def test_order_f_is_a_transpose() -> None:
    """Order F reverses the dimensions."""
    spec = parse_array_v2({**BASE, "order": "F"}, {})
    assert spec.codecs[0].configuration == {"order": [1, 0]}


@pytest.mark.parametrize(("dtype", "endian"), [("<i2", "little"), (">i2", "big"), ("|u1", "little"), ("<u1", "little")])
def test_byte_order(dtype: str, endian: str) -> None:
    """The byte order of the data type is that of the chunks."""
    spec = parse_array_v2({**BASE, "dtype": dtype, "fill_value": 0}, {})
    assert dict(spec.codecs[0].configuration) == {"endian": endian}


@pytest.mark.parametrize("members", [{}, {"dimension_separator": "/"}, {"order": "F"}, {"compressor": None}])
def test_round_trip(members: dict[str, Any]) -> None:
    """What is parsed is formatted as the same document."""
    document = {**BASE, **members}
    assert format_array_v2(parse_array_v2(document, {})) == document


def test_documents_are_kept() -> None:
    """Members that nobody knows stay in the document."""
    document = {**BASE, "_NCZARR_ARRAY": {"dimrefs": ["/g/y", "/x"]}, "note": [1]}
    spec = parse_array_v2(document, {"a": 1})
    assert spec.document == document
    assert spec.attributes == {"a": 1}
    assert spec.dimension_names == ("y", "x")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"_ARRAY_DIMENSIONS": ["y", "x"]}, ("y", "x")),
        ({"_ARRAY_DIMENSIONS": ["y", None]}, ("y", None)),
        ({"_ARRAY_DIMENSIONS": ["y"]}, None),
        ({"_ARRAY_DIMENSIONS": "yx"}, None),
        ({"_ARRAY_DIMENSIONS": [1, 2]}, None),
        ({"_nczarr_array": {"dimrefs": ["/y", "/x"]}}, ("y", "x")),
        ({"_nczarr_array": {"dimension_references": ["/g/y", "/x"]}}, ("y", "x")),
        ({"_nczarr_array": {"dimension_references": None}}, None),
        ({"_nczarr_array": 7}, None),
    ],
)
def test_dimension_names(attributes: dict[str, Any], expected: Any) -> None:
    """Names come from xarray's attribute or from NCZarr; what is no list of names is ignored."""
    assert dimension_names({}, attributes, 2) == expected


def test_separators() -> None:
    """Without a separator it is a dot; null means the same."""
    without = {name: value for name, value in BASE.items() if name != "dimension_separator"}
    for document in (without, {**BASE, "dimension_separator": None}):
        assert parse_array_v2(document, {}).chunk_key_encoding == ChunkKeyEncoding("v2", ".")
    assert parse_array_v2({**BASE, "dimension_separator": "/"}, {}).chunk_key_encoding.separator == "/"


@pytest.mark.parametrize(("fill", "value"), [(None, None), (5, 5.0), ("Infinity", np.inf), ("-Infinity", -np.inf)])
def test_fill_values(fill: Any, value: Any) -> None:
    """Null stays None, and reads as zero; the others are values of the data type."""
    spec = parse_array_v2({**BASE, "fill_value": fill}, {})
    assert spec.fill_value == value
    store = {".zarray": format_json({**BASE, "fill_value": fill})}
    assert xz.open_array(store)[0, 0] == (0 if value is None else value)


def test_missing_members() -> None:
    """Only what reading needs must be there."""
    document = {name: BASE[name] for name in ("zarr_format", "shape", "chunks", "dtype")}
    spec = parse_array_v2(document, {})
    assert (spec.fill_value, [codec.name for codec in spec.codecs]) == (None, ["bytes"])
    for name in ("shape", "chunks", "dtype"):
        with pytest.raises(xz.MetadataError, match=name):
            parse_array_v2({key: value for key, value in document.items() if key != name}, {})
    with pytest.raises(xz.MetadataError, match="zarr_format"):
        parse_array_v2({**document, "zarr_format": "2"}, {})


def test_v3_documents_under_the_v2_name() -> None:
    """ExZarr stores v3 documents of zips as `.zarray`."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2],
        "data_type": "int8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
    }
    assert parse_array_v2(document, {}).zarr_format == 3


def test_what_v2_cannot_say() -> None:
    """Codecs and orders that only v3 has are refused."""
    spec = xz.create_array({}, shape=(4, 4, 4), dtype="i4", chunks=(2, 2, 2), shards=(4, 4, 4)).spec
    with pytest.raises(xz.UnsupportedError):
        format_array_v2(spec)
    with pytest.raises(xz.UnsupportedError, match="sharding_indexed"):
        split_v2(spec)


def test_groups() -> None:
    """A group's document says nothing but its format."""
    assert parse_group_v2({"zarr_format": 2}, {"a": 1}).attributes == {"a": 1}
    with pytest.raises(xz.MetadataError):
        parse_group_v2({"zarr_format": 1}, {})


def test_json_of_other_writers() -> None:
    """A byte order mark and bare NaN are read."""
    assert np.isnan(parse_json(b'\xef\xbb\xbf{"fill_value": NaN}', ".zarray")["fill_value"])
