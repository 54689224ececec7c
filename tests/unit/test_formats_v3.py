"""Documents of Zarr v3 become the one model, and come back as they were."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.formats.consolidated import below, child_names, parse_inline, parse_zmetadata
from xzarr_backend.formats.v3 import format_array_v3, must_understand, node_type, parse_array_v3, parse_group_v3
from xzarr_backend.spec import Named

BASE: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [10, 20],
    "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 10]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": "NaN",
    "codecs": [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
    ],
    "attributes": {"a": [1, {"b": None}]},
    "storage_transformers": [],
    "dimension_names": ["y", None],
}
RECTILINEAR = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[5, 5], [3, 7, [5, 2]]]}}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"fill_value": "0x7fc00001"},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, *BASE["codecs"]]},
    ],
)
def test_round_trip(members: dict[str, Any]) -> None:
    """What is parsed is formatted as the same document."""
    document = {**BASE, **members}
    assert format_array_v3(parse_array_v3(document)) == document


BIG = {"name": "bytes", "configuration": {"endian": "big"}}
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
SHARDS = {"name": "sharding_indexed", "configuration": {"chunk_shape": [5, 5], "codecs": [BIG]}}


@pytest.mark.parametrize(
    ("codecs", "order"), [([BIG], ">"), ([LITTLE], "<"), (["bytes"], "<"), ([SHARDS], ">"), ([], "<"), (None, "<")]
)
def test_records_in_base64_have_the_byte_order_of_the_chunks(codecs: Any, order: str) -> None:
    """The packed bytes of a fill value follow the endian of the bytes codec; without one they are little-endian."""
    fields = [["a", "int16"], ["n", {"name": "structured", "configuration": {"fields": [["b", "float32"]]}}]]
    packed = np.array((258, (1.5,)), [("a", f"{order}i2"), ("n", [("b", f"{order}f4")])]).tobytes()
    members = {"codecs": codecs, "fill_value": base64.b64encode(packed).decode()}
    data_type = {"name": "structured", "configuration": {"fields": fields}}
    fill = parse_array_v3({**BASE, "data_type": data_type, **members}).fill_value
    assert fill.tolist() == (258, (1.5,)) and fill.dtype["a"] == np.dtype("<i2")


def test_grids_round_trip() -> None:
    """Explicit edges keep their chunks."""
    spec = parse_array_v3({**BASE, "chunk_grid": RECTILINEAR})
    again = parse_array_v3(format_array_v3(spec))
    assert [axis.sizes for axis in again.chunk_grid] == [(5, 5), (3, 7, 5, 5)]
    assert again.chunk_grid == spec.chunk_grid


def test_bare_names() -> None:
    """Codecs, key encodings and data types may be given as strings."""
    document = {**BASE, "codecs": ["bytes", "zstd"], "chunk_key_encoding": "default"}
    spec = parse_array_v3(document)
    assert spec.codecs == (Named("bytes", {}), Named("zstd", {}))
    assert spec.chunk_key_encoding.separator == "/"


@pytest.mark.parametrize("codecs", [None, "absent"])
def test_no_codecs(codecs: Any) -> None:
    """Writers of 2022 left the codecs out: the elements are little-endian."""
    document = {**BASE, "codecs": codecs}
    if codecs == "absent":
        del document["codecs"]
    assert [codec.name for codec in parse_array_v3(document).codecs] == ["bytes"]


def test_key_encodings() -> None:
    """The separator has a default of its own for each encoding."""
    for name, separator in (("default", "/"), ("v2", ".")):
        document = {**BASE, "chunk_key_encoding": {"name": name}}
        assert parse_array_v3(document).chunk_key_encoding == (name, separator)


@pytest.mark.parametrize("names", [["y", "x"], [None, None], ["", "x"], None])
def test_dimension_names(names: Any) -> None:
    """Names may be null, each of them and all together."""
    found = parse_array_v3({**BASE, "dimension_names": names}).dimension_names
    assert found == (None if names is None else tuple(names))


def test_names_in_attributes() -> None:
    """xarray's attribute stands in where the document has no names."""
    document = {**BASE, "dimension_names": None, "attributes": {"_ARRAY_DIMENSIONS": ["a", "b"]}}
    assert parse_array_v3(document).dimension_names == ("a", "b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), ({}, True), ({"must_understand": True}, True), ({"must_understand": False}, False), (None, True)],
)
def test_must_understand(value: Any, expected: bool) -> None:
    """An extension may be ignored only when it says so."""
    assert must_understand(value) is expected


def test_extensions() -> None:
    """Unknown members and transformers are refused unless they may be ignored, then kept."""
    for members in (
        {"x": {"must_understand": False}},
        {"storage_transformers": [{"name": "t", "must_understand": False}]},
    ):
        assert parse_array_v3({**BASE, **members}).document == {**BASE, **members}
    for members in ({"x": 1}, {"storage_transformers": [{"name": "t"}]}):
        with pytest.raises(xz.UnsupportedError):
            parse_array_v3({**BASE, **members})


def test_problems_come_before_what_is_unknown() -> None:
    """A document that is wrong and has something unknown is wrong first; both kinds are collected."""
    with pytest.raises(xz.MetadataError) as caught:
        parse_array_v3({**BASE, "codecs": 1, "data_type": "acme", "shape": None})
    assert {place for place, _ in caught.value.problems} >= {"codecs", "shape"}


@pytest.mark.parametrize(("document", "expected"), [({"node_type": "group"}, "group"), ({"shape": []}, "array")])
def test_node_types(document: dict[str, Any], expected: str) -> None:
    """The node type says what a document is; without it, the shape does."""
    assert node_type(document) == expected
    with pytest.raises(xz.MetadataError):
        node_type({"node_type": "folder"})
    with pytest.raises(xz.MetadataError):
        node_type({})


@pytest.mark.parametrize("consolidated", [None, {}, {"metadata": 3}, 7, {"kind": "inline", "metadata": {}}])
def test_groups(consolidated: Any) -> None:
    """A group's consolidated metadata are used when they are some."""
    document = {"zarr_format": 3, "node_type": "group", "consolidated_metadata": consolidated}
    spec = parse_group_v3(document)
    assert spec.consolidated == ({} if consolidated == {"kind": "inline", "metadata": {}} else None)
    with pytest.raises(xz.MetadataError):
        parse_group_v3({**document, "attributes": []})


def test_inline_members() -> None:
    """Members may be listed by their whole paths, or nested in their groups."""
    group: dict[str, Any] = {"zarr_format": 3, "node_type": "group"}
    flat = parse_inline({"g": group, "g/a": BASE, "b": BASE})
    nested = parse_inline({"g": {**group, "consolidated_metadata": {"metadata": {"a": BASE}}}, "b": BASE})
    assert set(flat) == set(nested) == {"g", "g/a", "b"}
    assert child_names(flat) == ["b", "g"]
    assert set(below(flat, "g")) == {"", "a"}
    assert below(flat, "") is flat


def test_zmetadata_members() -> None:
    """The keys of a `.zmetadata` are those of the documents; ExZarr lists v3 documents there, too."""
    documents = {".zgroup": {}, ".zattrs": {"t": 1}, "a/.zarray": {"x": 1}, "a/.zattrs": {}, "b/zarr.json": BASE}
    members = parse_zmetadata({"metadata": documents})
    assert members[""].zattrs == {"t": 1}
    assert members["a"].zarray == {"x": 1}
    assert members["b"].zarr_json == BASE
    for wrong in ({}, {"metadata": []}):
        with pytest.raises(xz.MetadataError):
            parse_zmetadata(wrong)
    for path in ("../x", "a/../x", "a//b", "."):
        with pytest.raises(xz.MetadataError):
            parse_zmetadata({"metadata": {f"{path}/.zarray": {}}})
        with pytest.raises(xz.MetadataError):
            parse_inline({path: BASE})


@pytest.mark.parametrize(("kinds", "allowed"), [(("int8", "bool"), True), (("int8", "int16"), False)])
def test_records_of_single_bytes_need_no_byte_order(kinds: tuple[str, ...], allowed: bool) -> None:
    """They "MAY omit the endian configuration" (zarr-extensions, "struct"); records of larger fields may not."""
    fields = [{"name": kind, "data_type": kind} for kind in kinds]
    store: dict[str, bytes] = {}
    xz.create_array(store, shape=(1,), dtype={"name": "struct", "configuration": {"fields": fields}})
    document = json.loads(store["zarr.json"])
    document["codecs"] = ["bytes"]
    store["zarr.json"] = json.dumps(document).encode()
    with nullcontext() if allowed else pytest.raises(xz.MetadataError):
        xz.open_array(store, strict=True)
