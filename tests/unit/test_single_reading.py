"""The short way to what lies in one small chunk: what goes it, what does not, and that both give and say the same."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import reading
from xzarr_backend.selection import parse_basic, parse_orthogonal, parse_points
from xzarr_backend.single_reading import read_single
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

SHAPE, CHUNKS, SHARDS = (37, 25, 18), (7, 5, 6), (14, 10, 12)
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
KINDS: dict[str, dict[str, Any]] = {
    "raw": {"compressors": None},
    "raw, v2, order F": {"zarr_format": 2, "compressors": None, "order": "F"},
    "shards of raw": {"compressors": None, "shards": SHARDS},
    "zstd": {"compressors": ZSTD},
    "gzip": {"compressors": {"name": "gzip", "configuration": {"level": 1}}},
    "blosc": {"zarr_format": 2, "compressors": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    "zlib, order F": {"zarr_format": 2, "compressors": {"id": "zlib", "level": 1}, "order": "F"},
    "big endian": {"compressors": ZSTD, "serializer": {"name": "bytes", "configuration": {"endian": "big"}}},
    "shards": {"compressors": ZSTD, "shards": SHARDS},
    "shards of raw and checksum": {"compressors": {"name": "crc32c"}, "shards": SHARDS},
    "shards, order F": {"compressors": ZSTD, "shards": SHARDS, "order": "F"},
    "shards, big endian": {
        "compressors": ZSTD,
        "shards": SHARDS,
        "serializer": {"name": "bytes", "configuration": {"endian": "big"}},
    },
}
VALUES = np.random.default_rng(0).integers(1, 1000, SHAPE).astype("i4")
ARRAYS = {
    kind: xz.create_array(MemoryStore(), data=VALUES, chunks=CHUNKS, **keywords) for kind, keywords in KINDS.items()
}


def short(array: xz.Array, key: Any) -> Any:
    """Return what the short way gives, None where it is not taken."""
    found = read_single(array.compiled.source, parse_basic(key, array.shape))
    return None if found is None else found.array


@st.composite
def boxes(draw: st.DrawFn) -> tuple[slice, ...]:
    """Return a box within one chunk."""
    box = []
    for length, chunk in zip(SHAPE, CHUNKS, strict=True):
        start = draw(st.integers(0, length - 1))
        end = min(length, (start // chunk + 1) * chunk)
        box.append(slice(start, draw(st.integers(start + 1, end))))
    return tuple(box)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(boxes())
def test_boxes_within_a_chunk(kind: str, box: tuple[slice, ...]) -> None:
    """They go the short way, and are what NumPy gives, in memory of their own."""
    array = ARRAYS[kind]
    array[box]  # the index of the shard is known from here on
    found = short(array, box)
    np.testing.assert_array_equal(found, VALUES[box])
    assert found.dtype == array.dtype
    found[...] = 0
    np.testing.assert_array_equal(array[box], VALUES[box])
    point = tuple(piece.start for piece in box)
    assert array[point] == VALUES[point]
    assert np.ndim(array[point]) == 0


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_box(kind: str, data: st.DataObject) -> None:
    """What reaches over chunks, beyond the array, or nowhere, is what NumPy gives, too."""
    box = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n + 3)] * 2)))) for n in SHAPE)
    np.testing.assert_array_equal(ARRAYS[kind][box], VALUES[box])


@pytest.mark.parametrize("kind", ["zstd", "shards"])
def test_what_goes_another_way(kind: str) -> None:
    """More than a chunk, nothing, steps, and index arrays."""
    array = ARRAYS[kind]
    array[0, 0, 0]
    assert short(array, np.s_[0:7, 0:5, 0:6]) is not None
    for key in (np.s_[0:8, 0:5, 0:6], np.s_[6:8, 0, 0], np.s_[3:3, 0, 0], np.s_[0:6:2, 0, 0], np.s_[5:1:-1, 0, 0]):
        assert short(array, key) is None
        np.testing.assert_array_equal(array[key], VALUES[key])
    few = np.array([1, 3])
    assert read_single(array.compiled.source, parse_orthogonal((few, few, few), SHAPE)) is None
    assert read_single(array.compiled.source, parse_points((few, few, few), SHAPE)) is None


def test_chunks_that_are_not_for_it() -> None:
    """Large ones are read or decoded in part, those of other shapes and nested ones planned."""
    values = np.arange(2**16, dtype="i4").reshape(256, 256)
    nested = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [16, 16],
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, ZSTD],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "index_location": "end",
        },
    }
    others: list[dict[str, Any]] = [
        {"chunks": (256, 256), "compressors": None},
        {"chunks": (256, 256), "compressors": ZSTD},
        {"chunks": [[100, 156], [256]], "compressors": ZSTD},
        {"chunks": (64, 64), "shards": (128, 128), "serializer": nested, "compressors": None},
    ]
    for keywords in others:
        array = xz.create_array(MemoryStore(), data=values, **keywords)
        assert array[5, 7] == values[5, 7]
        assert short(array, np.s_[5:6, 7:8]) is None
        assert array[5, 7] == values[5, 7]
    assert xz.create_array(MemoryStore(), data=np.float32(3), compressors=ZSTD)[()] == 3
    words = xz.create_array(MemoryStore(), data=np.array(["a", "bc"], object), dtype="string", chunks=(1,))
    assert words[1] == "bc"


@pytest.mark.parametrize("kind", ["zstd", "shards"])
def test_chunks_that_are_not_stored(kind: str) -> None:
    """They read as the fill value, are warned of, or refused, as everywhere; none is asked for twice."""
    store = CountingStore(MemoryStore())
    array = xz.create_array(store, shape=SHAPE, dtype="i4", chunks=CHUNKS, fill_value=7, **KINDS[kind])
    array[0, 0, 0] = 1
    hole = np.s_[0:3, 5:7, 0:6]
    for _ in range(2):
        store.reset()
        np.testing.assert_array_equal(array[hole], np.full((3, 2, 6), 7))
        assert set(Counter(store.requests).values()) <= {1}
    with pytest.warns(UserWarning, match="not stored"):
        xz.open_array(store, missing="warn")[hole]
    strict = xz.open_array(store, missing="raise")
    with pytest.raises(xz.ChunkError, match="not stored"):
        strict[hole]
    with pytest.raises(xz.ChunkError, match="not stored"):
        strict[36, 24, 17]  # a whole shard that is missing
    assert strict[0, 0, 0] == 1


@pytest.mark.parametrize("kind", ["zstd", "blosc", "gzip", "shards", "shards of raw and checksum"])
def test_damaged_chunks(kind: str) -> None:
    """The error is the one that reading more than the chunk raises, and names the chunk."""
    objects = MemoryStore()
    array = xz.create_array(objects, data=VALUES, chunks=CHUNKS, **KINDS[kind])
    assert array[1, 1, 1] == VALUES[1, 1, 1]
    key = array.layout.key((0, 0, 0))
    whole = bytes(objects.get(key) or b"")
    index = None if array.shards is None else array.compiled.source.indexes.get((key, 0, 1))
    start, stop = (0, len(whole)) if index is None else index[1][0].cumsum()
    damaged = bytearray(whole)
    damaged[start:stop] = b"\xff" * (stop - start)
    objects.set(key, bytes(damaged))
    said = []
    for box in (np.s_[1:2, 1:2, 1:2], np.s_[0:20, 0:20, 0:18]):
        with pytest.raises(xz.ChunkError, match=r"chunk \(0, 0, 0\)") as caught:
            array[box]
        said.append((caught.value.what, caught.value.where))
    assert said[0] == said[1]
    objects.set(key, whole)
    assert array[1, 1, 1] == VALUES[1, 1, 1]


def test_shards_that_are_replaced(tmp_path: Path) -> None:
    """An index that is known is not used for another version of its shard."""
    array = xz.create_array(tmp_path, data=VALUES, chunks=CHUNKS, **KINDS["shards"])
    for round_ in range(3):
        other = VALUES * (round_ + 2)
        xz.open_array(tmp_path, mode="r+")[...] = other
        assert array[1, 1, 1] == other[1, 1, 1]
        assert short(array, np.s_[1:2, 1:2, 1:2]) == other[1, 1, 1]
        assert array[8, 8, 8] == other[8, 8, 8]
    for path in (tmp_path / "c").rglob("*"):
        if path.is_file():
            path.unlink()
    assert array[1, 1, 1] == 0


@pytest.mark.parametrize("kind", ["raw", "zstd", "shards"])
def test_too_large_for_the_limit(kind: str) -> None:
    """A chunk that would need more memory than allowed is refused."""
    store = MemoryStore()
    xz.create_array(store, data=VALUES, chunks=CHUNKS, **KINDS[kind])
    for most, fits in ((7 * 5 * 6 * 4, True), (7 * 5 * 6 * 4 - 1, False)):
        array = xz.open_array(store, max_chunk_bytes=most)
        for _ in range(2):
            if fits:
                assert array[1, 1, 1] == VALUES[1, 1, 1]
            else:
                with pytest.raises(xz.ChunkError, match="more than the limit"):
                    array[1, 1, 1]


def test_the_limit_is_of_decoded_elements() -> None:
    """Eight booleans in a byte are eight bytes in memory."""
    store, values = MemoryStore(), np.arange(1000) % 3 == 0
    xz.create_array(store, data=values, chunks=(500,), serializer={"name": "packbits"}, compressors=None)
    assert xz.open_array(store, max_chunk_bytes=500)[7] == values[7]
    with pytest.raises(xz.ChunkError, match="more than the limit"):
        xz.open_array(store, max_chunk_bytes=499)[7]


NOT_COMPRESSED = [None, *({"name": name, "configuration": {}} for name in ("crc32c", "zstd", "blosc", "gzip"))]


@pytest.mark.parametrize(("chunk", "shards"), [(16, None), (16, (32, 32, 64)), (4, (32, 32, 64))])
@pytest.mark.parametrize("codec", NOT_COMPRESSED, ids=lambda codec: codec and codec["name"])
def test_memory_for_the_object_is_large_enough(codec: Any, chunk: int, shards: Any, tmp_path: Path) -> None:
    """Of noise, too, with the index of a shard, a chunk fits into what is lent for it: else it would be read twice."""
    lent: dict[str, int] = {}
    noise = np.random.default_rng(1).integers(2**32, size=(32, 32, 64), dtype="u4")

    class Watching(LocalStore):
        def get(self, key: str, byte_range: Any = None, scratch: memoryview | None = None) -> Any:
            lent[key] = 0 if scratch is None else len(scratch)
            return super().get(key, byte_range, scratch)

    xz.create_array(tmp_path, data=noise, chunks=(chunk,) * 3, shards=shards, compressors=codec)
    array = xz.open_array(Watching(tmp_path), mode="r+")
    for selection in (np.s_[...], np.s_[1, 1, 1], np.s_[:, 1:]):
        lent.clear()
        np.testing.assert_array_equal(array[selection], noise[selection])
        if selection is not ...:
            array[selection] = noise[selection]  # what stays of an object is read before
        for key, nbytes in lent.items():
            assert key == "zarr.json" or nbytes >= (tmp_path / key).stat().st_size
    assert lent


def test_stores_that_answer_many_requests_at_once_are_not_asked_one_by_one() -> None:
    """The way that fetches in waves serves them, and nothing of it is planned twice."""
    store = CountingStore(MemoryStore())
    xz.create_array(store, data=VALUES, chunks=CHUNKS, **KINDS["shards"])
    store.concurrent = True
    array = xz.open_array(store)
    assert array[1, 1, 1] == VALUES[1, 1, 1]
    assert short(array, np.s_[1:2, 1:2, 1:2]) is None


def test_no_plan_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way is the one that reads take."""

    def no_plan(*_: Any) -> Any:
        raise AssertionError("a plan was made")

    for array in ARRAYS.values():
        array[0, 0, 0]
    monkeypatch.setattr(reading, "plan", no_plan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in ARRAYS.values():
            assert array[1, 2, 3] == VALUES[1, 2, 3]
            np.testing.assert_array_equal(array[0:7, 0:5, 6:12], VALUES[0:7, 0:5, 6:12])
