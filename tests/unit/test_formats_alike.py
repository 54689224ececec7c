"""What documents share is parsed once, and means what it would mean alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from xzarr_backend.compat import Reading
from xzarr_backend.errors import MetadataError
from xzarr_backend.formats.alike import fingerprint
from xzarr_backend.formats.v2 import parse_array_v2
from xzarr_backend.formats.v3 import parse_array_v3

V3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4],
    "data_type": "float64",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default"},
    "fill_value": 0.0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {"units": "m"},
}
V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4],
    "chunks": [2],
    "dtype": "<f8",
    "compressor": None,
    "fill_value": 0.0,
    "order": "C",
    "filters": None,
}


def test_attributes_and_document_are_those_of_each_array() -> None:
    """Only what is the same is shared."""
    first = parse_array_v3(V3)
    other = {**V3, "attributes": {"units": "K", "_ARRAY_DIMENSIONS": ["x"]}}
    second = parse_array_v3(other)
    assert second.codecs is first.codecs
    assert (dict(first.attributes), first.dimension_names) == ({"units": "m"}, None)
    assert second.attributes["units"] == "K" and second.dimension_names == ("x",)
    assert first.document is V3 and second.document is other


def test_v2_attributes_are_those_of_each_array() -> None:
    """The second document of a v2 array gives the dimension names, too."""
    first, second = parse_array_v2(V2, {"_ARRAY_DIMENSIONS": ["x"]}), parse_array_v2(V2, {"a": 1})
    assert (first.dimension_names, second.dimension_names) == (("x",), None)
    assert dict(second.attributes) == {"a": 1}


@pytest.mark.parametrize(("fill", "sign"), [(0.0, 1.0), (-0.0, -1.0)])
def test_the_sign_of_zero_is_not_shared(fill: float, sign: float) -> None:
    """0.0 and -0.0 are equal in Python, but not the same fill value."""
    parse_array_v3({**V3, "fill_value": -fill})
    assert math.copysign(1.0, parse_array_v3({**V3, "fill_value": fill}).fill_value) == sign


def test_true_is_not_one() -> None:
    """A shape of [true] is refused, also after a shape of [1]."""
    parse_array_v3({**V3, "shape": [1]})
    with pytest.raises(MetadataError, match="shape"):
        parse_array_v3({**V3, "shape": [True]})


@pytest.mark.parametrize("wrong", [[1], [], 0, "", False])
def test_wrong_attributes_are_refused_every_time(wrong: Any) -> None:
    """The attributes are checked even when the rest is known."""
    parse_array_v3(V3)
    with pytest.raises(MetadataError, match="attributes"):
        parse_array_v3({**V3, "attributes": wrong})


def test_arrays_without_attributes_share_too() -> None:
    """Members that are null, or left out, are no attributes."""
    first = parse_array_v3(V3)
    without = {name: value for name, value in V3.items() if name != "attributes"}
    for document in ({**V3, "attributes": None}, without):
        spec = parse_array_v3(document)
        assert spec.codecs is first.codecs and dict(spec.attributes) == {} and spec.document is document


def test_a_strict_reader_does_not_share_with_a_tolerant_one() -> None:
    """What is known from a tolerant reading is no excuse under strict."""
    quirky = {**V3, "codecs": [{"name": "bytes"}]}
    assert parse_array_v3(quirky).shape == parse_array_v3(quirky).shape == (4,)
    with pytest.raises(MetadataError, match="not what the specification demands"):
        parse_array_v3(quirky, Reading(strict=True))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_kind_and_form_are_shared_apart(zarr_format: int) -> None:
    """Arrays of one kind and other shapes, of one shape and other kinds, mean what they would mean alone."""
    for shape, chunk, fill in [([4], 2, 0.0), ([6], 3, 0.0), ([4], 2, 1.0), ([6], 3, 1.0), ([6], 2, 1.0)]:
        if zarr_format == 3:
            grid = {"name": "regular", "configuration": {"chunk_shape": [chunk]}}
            spec = parse_array_v3({**V3, "shape": shape, "chunk_grid": grid, "fill_value": fill})
        else:
            spec = parse_array_v2({**V2, "shape": shape, "chunks": [chunk], "fill_value": fill}, {})
        assert (list(spec.shape), spec.chunk_grid.largest_chunk, spec.fill_value) == (shape, (chunk,), fill)


def test_names_from_attributes_are_not_shared() -> None:
    """Where the document has no names, each array has those of its own attributes."""
    named = [parse_array_v3({**V3, "attributes": {"_ARRAY_DIMENSIONS": [name]}}) for name in ("a", "b")]
    assert [spec.dimension_names for spec in named] == [("a",), ("b",)]
    assert parse_array_v3({**V3, "dimension_names": ["c"]}).dimension_names == ("c",)


def test_problems_of_a_known_kind_are_found() -> None:
    """A wrong shape or grid is reported with its place although the rest is known."""
    parse_array_v3(V3)
    with pytest.raises(MetadataError) as caught:
        parse_array_v3({**V3, "shape": [4, 4], "dimension_names": ["a"]})
    assert {place for place, _ in caught.value.problems} == {"chunk_grid.configuration.chunk_shape", "dimension_names"}
    parse_array_v2(V2, {})
    with pytest.raises(MetadataError, match="chunks"):
        parse_array_v2({**V2, "chunks": [0]}, {})


def test_v2_order_matters_with_the_rank() -> None:
    """The chain of an array in order F depends on its rank."""
    chains = [
        parse_array_v2({**V2, "order": "F", "shape": [4] * rank, "chunks": [2] * rank}, {}).codecs for rank in (1, 2, 3)
    ]
    assert [chain[0].configuration.get("order") for chain in chains] == [None, [1, 0], [2, 1, 0]]


def test_what_is_large_or_no_json_is_not_kept() -> None:
    """There is no fingerprint for it; it is parsed each time."""
    assert fingerprint({"shape": [1] * 100_000}) is None
    assert fingerprint({"shape": object()}) is None
