"""Reading a part of a chunk reads, or decodes, only what holds the part, and gives what NumPy gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import decoding, layout
from xzarr_backend.codecs import zstd
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

SHAPE, CHUNKS = (11, 9, 7), (5, 4, 7)
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
TRANSPOSE = {"name": "transpose", "configuration": {"order": [1, 2, 0]}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
KINDS: dict[str, dict[str, Any]] = {
    "raw": {"compressors": None},
    "raw, transposed": {"compressors": None, "filters": [TRANSPOSE]},
    "raw, big endian": {"compressors": None, "serializer": BIG},
    "raw, order F": {"compressors": None, "order": "F", "zarr_format": 2},
    "zstd": {"compressors": ZSTD},
    "zstd, transposed": {"compressors": ZSTD, "filters": [TRANSPOSE]},
    "zstd, order F": {"compressors": {"id": "zstd", "level": 1}, "order": "F", "zarr_format": 2},
}
VALUES = np.random.default_rng(0).integers(0, 2**31, SHAPE).astype("i4")


@pytest.fixture(autouse=True, scope="module")
def every_size() -> Iterator[None]:
    """Small chunks are read in part too, so that small arrays show it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SMALL_NBYTES", 1)
        patch.setattr(decoding, "RANGE_COST", 1)
        patch.setattr(zstd, "SMALL", 0)
        yield


@pytest.fixture(scope="module", params=KINDS)
def arrays(
    request: pytest.FixtureRequest, every_size: None, tmp_path_factory: pytest.TempPathFactory
) -> list[xz.Array]:
    """The same array in a folder and in memory, two chunks of it missing."""
    folder = LocalStore(tmp_path_factory.mktemp("partial"))
    found = []
    for store in (folder, MemoryStore()):
        array = xz.create_array(store, data=VALUES, chunks=CHUNKS, fill_value=3, **KINDS[request.param])
        for coords in ((1, 0, 0), (2, 2, 0)):
            store.delete(array.layout.key(coords))
        found.append(xz.open_array(store))
    return found


EXPECTED = VALUES.copy()
EXPECTED[5:10, 0:4] = EXPECTED[10:, 8:] = 3


def items(length: int) -> st.SearchStrategy[Any]:
    """An integer, a slice of any step, or a list of indices."""
    return st.one_of(
        st.integers(-length, length - 1),
        st.slices(length),
        st.lists(st.integers(0, length - 1), min_size=1, max_size=4),
    )


@given(key=st.tuples(*map(items, SHAPE)))
def test_parts_equal_numpy(arrays: list[xz.Array], key: Any) -> None:
    """Whatever is selected orthogonally, both stores give NumPy's values."""
    expected = EXPECTED
    for axis, item in enumerate(key):
        index = [item] if isinstance(item, int) else item
        expected = expected[(slice(None),) * axis + (index,)]
    expected = expected.reshape([n for n, item in zip(expected.shape, key, strict=True) if not isinstance(item, int)])
    for array in arrays:
        np.testing.assert_array_equal(array.oindex[key], expected)


@given(points=st.lists(st.tuples(*(st.integers(0, n - 1) for n in SHAPE)), min_size=1, max_size=6))
def test_points_equal_numpy(arrays: list[xz.Array], points: list[tuple[int, ...]]) -> None:
    """Points, which lie anywhere in their chunks."""
    key = tuple(map(list, zip(*points, strict=True)))
    for array in arrays:
        np.testing.assert_array_equal(array.vindex[key], EXPECTED[key])


@pytest.mark.parametrize("order", ["C", "F"])
def test_results_lie_as_the_elements_are_stored(order: str) -> None:
    """Chunks are copied as they lie: an array stored in order F reads as one, except point by point."""
    array = xz.create_array({}, data=VALUES, chunks=CHUNKS, order=order, zarr_format=2)
    for found in (array[...], array[1:9, 2:, :5]):
        assert found.flags["F_CONTIGUOUS" if order == "F" else "C_CONTIGUOUS"]
    assert array.vindex[[1, 2], :, [3, 4]].flags["C_CONTIGUOUS"]


def test_bytes_of_a_raw_part(tmp_path: Any) -> None:
    """A plane of a raw chunk costs one range; a column, one range for each of its rows; each chunk is asked once."""
    xz.create_array(tmp_path, data=VALUES, chunks=SHAPE, compressors=None)
    store = CountingStore(LocalStore(tmp_path))
    array = xz.open_array(store)
    for key, nbytes in ((np.s_[4:5], 9 * 7 * 4), (np.s_[:, 3:4, 2:3], 11 * 4), (np.s_[3:4, 2:3, 1:2], 4)):
        store.reset()
        np.testing.assert_array_equal(array[key], VALUES[key])
        ranges = [call.byte_range for call in store.requests]
        assert sum(one.length for one in ranges) == nbytes


def test_a_raw_chunk_that_is_cut_short(tmp_path: Any) -> None:
    """What is there can be read; what is not there is an error and no fill value."""
    xz.create_array(tmp_path, data=VALUES, chunks=SHAPE, compressors=None)
    chunk = tmp_path / "c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[: 6 * 9 * 7 * 4])
    array = xz.open_array(tmp_path)
    np.testing.assert_array_equal(array[2], VALUES[2])
    for key in (np.s_[7], np.s_[:, 1, 1], np.s_[...], np.s_[5:7]):
        with pytest.raises(xz.ChunkError, match=r"cut short|make"):
            array[key]


def test_checksums_are_looked_at_whatever_part_is_read() -> None:
    """A zstd frame with a checksum is decoded whole, so that damage behind the part is seen."""
    store = MemoryStore()
    checked = {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
    noise = np.random.default_rng(1).integers(0, 256, 2**20).astype("u1")
    xz.create_array(store, data=noise, chunks=noise.shape, compressors=checked)
    raw = bytearray(store.get("c/0"))
    raw[-1000] ^= 1
    store.set("c/0", bytes(raw))
    with pytest.raises(xz.ChunkError):
        xz.open_array(store)[:10]


def test_parts_of_large_chunks(tmp_path: Any) -> None:
    """The same with the real thresholds, in chunks of 2 MiB."""
    values = np.arange(64 * 128 * 128, dtype="i2").reshape(64, 128, 128)
    for name, kind in KINDS.items():
        array = xz.create_array(tmp_path / name, data=values, chunks=values.shape, **kind)
        for key in (np.s_[5], np.s_[:, 7], np.s_[..., 9:11], np.s_[3:9, 4, ::50], np.s_[60:]):
            np.testing.assert_array_equal(array[key], values[key])
