"""Documents that differ in their attributes only are parsed once, and mean what they would mean alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from xzarr_backend.compat import TOLERANT, Reading
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


def test_wrong_attributes_are_refused_every_time() -> None:
    """The attributes are checked even when the rest is known."""
    parse_array_v3(V3)
    with pytest.raises(MetadataError, match="attributes"):
        parse_array_v3({**V3, "attributes": [1]})


def test_a_strict_reader_does_not_share_with_a_tolerant_one() -> None:
    """How documents are read belongs to the fingerprint."""
    assert fingerprint(V3, TOLERANT) != fingerprint(V3, Reading(strict=True))


def test_what_is_large_or_no_json_is_not_kept() -> None:
    """There is no fingerprint for it; it is parsed each time."""
    assert fingerprint({"shape": [1] * 100_000}, TOLERANT) is None
    assert fingerprint({"shape": object()}, TOLERANT) is None
