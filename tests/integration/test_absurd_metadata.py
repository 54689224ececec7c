"""Sizes beyond every number that a processor knows, and attributes nested as deep as Python reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import xzarr_backend as xz
from xzarr_backend.display_text import bytes_text

pytest.importorskip("xarray")
RANK, LENGTH = 40, 10**18
HUGE: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [LENGTH] * RANK,
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [LENGTH] * RANK}},
    "chunk_key_encoding": {"name": "default"},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}


def group_with(document: bytes) -> dict[str, bytes]:
    """Return a store with one group and one array in it."""
    return {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "a/zarr.json": document}


@pytest.mark.parametrize("chunk", [LENGTH, 1])
@pytest.mark.parametrize(
    "use",
    [
        lambda store: xz.open_array(store, "a").info,
        lambda store: xz.open_array(store, "a").info._repr_html_(),
        lambda store: xz.open_array(store, "a").explain((0,) * RANK),
        lambda store: xz.open(store).tree(),
        xz.doctor,
        xz.verify,
    ],
    ids=["info", "html", "explain", "tree", "doctor", "verify"],
)
def test_sizes_beyond_all_bounds_are_told(use: Callable[[Any], Any], chunk: int) -> None:
    """A number of bytes of 700 digits is written as it is."""
    grid = {"name": "regular", "configuration": {"chunk_shape": [chunk] * RANK}}
    assert str(use(group_with(json.dumps({**HUGE, "chunk_grid": grid}).encode())))


def test_converting_what_no_memory_holds() -> None:
    """It is refused, with the size of a chunk."""
    with pytest.raises(xz.XzarrError, match="memory"):
        xz.convert(group_with(json.dumps(HUGE).encode()), {}, zarr_format=2)


def test_numbers_of_bytes() -> None:
    """The largest unit is used for all that is larger, as long as that is a number one can write."""
    assert bytes_text(3 * 2**70).endswith("(3072 EiB)")
    assert bytes_text(2**1000) == f"{2**1000:,} bytes"


@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize(
    "use",
    [
        lambda store: xz.open_dataset(store, consolidated=False),
        lambda store: xz.open_datatree(store, consolidated=False),
        xz.doctor,
        xz.verify,
        xz.consolidate_metadata,
        lambda store: xz.convert(store, {}),
        lambda store: xz.open(store).tree(),
        lambda store: xz.open_array(store, "a", mode="r+").resize((5,)),
    ],
    ids=["open_dataset", "open_datatree", "doctor", "verify", "consolidate_metadata", "convert", "tree", "resize"],
)
def test_attributes_that_are_nested_deeply(use: Callable[[Any], Any], depth: int) -> None:
    """They work, or the error says so; the array itself can be read."""
    store: dict[str, bytes] = {}
    xz.create_array(store, "a", data=[1, 2])
    store["zarr.json"] = b'{"zarr_format": 3, "node_type": "group"}'
    nested = b'"attributes": {"h": ' + b"[" * depth + b"]" * depth + b"}"
    store["a/zarr.json"] = store["a/zarr.json"].replace(b'"attributes": {}', nested)
    assert xz.open_array(store, "a")[...].tolist() == [1, 2]
    before = dict(store)
    try:
        use(store)
    except xz.MetadataError as error:
        assert "nested too deeply" in error.what
        assert error.where
        assert store == before
