"""Fixed-length text of damaged chunks: numbers that are no characters are errors when they are read, not later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.code_points import holds_text, wrong_character
from xzarr_backend.stores import MemoryStore

VALUES = np.array([f"{n:03}" for n in range(64)]).reshape(8, 8)
BAD, AT = 0x110000, (5, 6)  # one more than the last character
KINDS: dict[str, dict[str, Any]] = {
    "v2 raw": {"zarr_format": 2, "compressors": None},
    "v2 big-endian": {"zarr_format": 2, "compressors": None, "dtype": ">U3"},
    "v2 zlib": {"zarr_format": 2, "compressors": {"id": "zlib"}},
    "v2 order F": {"zarr_format": 2, "order": "F"},
    "v3 raw": {"compressors": None},
    "v3 zstd": {"compressors": "zstd"},
    "shards": {"shards": (8, 4), "compressors": "zstd"},
}


def damaged(kind: str) -> xz.Array:
    """Return an array of which one element holds a number that is no character."""
    options = {"data": VALUES, "chunks": (4, 4), **KINDS[kind]}
    array = xz.create_array(MemoryStore(), **options)
    wrong = VALUES.astype(array.dtype)
    # nobody looks at the element on its way into the store
    wrong.view(f"{wrong.dtype.str[0]}u4").reshape(8, 8, 3)[(*AT, 1)] = BAD
    array[4:8, 4:8] = wrong[4:8, 4:8]
    return array


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_is_none(kind: str) -> None:
    """Every way of reading the element says in which chunk it lies; all else of the array is read."""
    array = damaged(kind)
    coords = (0, 1) if array.shards else (1, 1)
    for read in (
        lambda: array[...],
        lambda: array[AT],
        lambda: array[5, ::2],
        lambda: array[4:8, 4:8],
        lambda: array.oindex[[0, 5], [1, 6]],
        lambda: array.vindex[[0, 5], [1, 6]],
        lambda: array.blocks[1, 1],
    ):
        with pytest.raises(xz.ChunkError, match="0x110000") as caught:
            read()
        assert f"chunk {coords}" in caught.value.where
    np.testing.assert_array_equal(array[:5], VALUES[:5])
    np.testing.assert_array_equal(array[5, 7:], VALUES[5, 7:])
    assert array[5, 5] == VALUES[5, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_verify_names_the_chunk(kind: str) -> None:
    """Damage that decoding does not see is found, too."""
    report = str(xz.verify(damaged(kind).store))
    assert "0x110000" in report
    assert "damaged" in report


def test_text_within_records() -> None:
    """Fields, and records and arrays inside of records, are looked at."""
    dtype = np.dtype([("n", "i4"), ("r", [("t", "U2", (2,))])])
    values = np.zeros(4, dtype)
    values["r"]["t"] = "ab"
    array = xz.create_array({}, data=values, chunks=2, zarr_format=2)
    np.testing.assert_array_equal(array[...]["r"]["t"], values["r"]["t"])
    values["r"]["t"][3].view("u4")[2] = BAD
    array[...] = values
    np.testing.assert_array_equal(array[:2]["r"]["t"], values["r"]["t"][:2])
    for key in (3, slice(None)):
        with pytest.raises(xz.ChunkError, match="0x110000") as caught:
            array[key]
        assert "chunk (1,)" in caught.value.where


def test_the_last_character_and_empty_text() -> None:
    """Whatever is a code point is text, even what no encoding takes; nothing at all is fine."""
    for text in (chr(0x10FFFF), chr(0xD800), ""):
        values = np.array([text, "a"])
        np.testing.assert_array_equal(xz.create_array({}, data=values)[...], values)
    array = xz.create_array({}, shape=(2, 0), dtype="<U3", chunks=(1, 1))
    assert array[...].shape == (2, 0)
    assert wrong_character(np.empty(3, "U0")) is None
    assert xz.create_array({}, data=np.array("one"))[()] == "one"


@pytest.mark.parametrize(
    ("dtype", "text"),
    [("U1", True), (">U3", True), ([("a", "U1")], True), (("U2", 3), True), ("S3", False), ("i4", False), ("O", False)],
)
def test_which_data_types_hold_text(dtype: Any, text: bool) -> None:
    """All others cost nothing."""
    assert holds_text(np.dtype(dtype)) is text
