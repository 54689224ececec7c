"""``max_chunk_bytes`` holds for elements of variable length, too, of which only the encoded data tell the size."""

from __future__ import annotations

import bz2
import tracemalloc
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.stores import MemoryStore

LENGTH, COUNT, LIMIT = 10**5, 20, 10**6
TEXTS = np.array(["a" * LENGTH] * COUNT, object)
CODECS = ["gzip", "zlib", "zstd", "bz2", "lzma", "blosc", "lz4", "snappy", "base64", "crc32c", None]
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (COUNT,)},
    "shards": {"chunks": (COUNT,), "shards": (2 * COUNT,)},
    "v2": {"chunks": (COUNT,), "zarr_format": 2},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codec", CODECS)
def test_chunks_of_more_are_refused(codec: str | None, layout: str) -> None:
    """When they are read, when a part of them changes, and by `verify`; with a larger limit they are read."""
    store = MemoryStore()
    xz.create_array(store, data=TEXTS, dtype="string", compressors=codec, **LAYOUTS[layout])
    array = xz.open_array(store, mode="r+", max_chunk_bytes=LIMIT)
    before = {key: bytes(store.get(key) or b"") for key, _ in store.walk("")}
    for use in (lambda: array[...], lambda: array[3], lambda: array.__setitem__(3, "b")):
        with pytest.raises(xz.ChunkError, match=f"limit is {LIMIT}") as caught:
            use()
        assert "max_chunk_bytes" in caught.value.hint
        assert "chunk (0,)" in caught.value.where
    assert {key: bytes(store.get(key) or b"") for key, _ in store.walk("")} == before
    assert xz.open_array(store, max_chunk_bytes=3 * LIMIT)[3] == TEXTS[3]
    array[...] = "b"  # nothing has to be decoded
    assert array[3] == "b"


@pytest.mark.parametrize("dtype", ["json2", "msgpack2", "vlen-bytes"])
def test_other_elements_of_variable_length(dtype: str) -> None:
    """They are not made from more bytes than the limit."""
    values = np.array([b"a" * LENGTH] * COUNT, object) if dtype == "vlen-bytes" else TEXTS
    options = {"filters": [{"id": dtype}], "compressors": None, "chunks": (COUNT,)}
    store: dict[str, bytes] = {}
    xz.create_array(store, data=values, dtype=object, zarr_format=2, **options)
    with pytest.raises(xz.ChunkError, match=f"limit is {LIMIT}"):
        xz.open_array(store, max_chunk_bytes=LIMIT)[...]
    assert xz.open_array(store)[3] == values[3]


def test_a_small_object_that_expands_to_much() -> None:
    """It is refused before its bytes are made."""
    store: dict[str, bytes] = {}
    xz.create_array(store, data=TEXTS, dtype="string", chunks=(COUNT,), compressors="bz2")
    store["c/0"] = bz2.compress(bytes(1 << 25))
    array = xz.open_array(store, max_chunk_bytes=LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(xz.ChunkError, match=f"limit is {LIMIT}"):
            array[0]
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
