"""Small chunks that are fetched and decoded in runs are the chunks read one by one, wherever they go."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.property.test_runs import runs_of
from tests.stores_fakes import CountingStore
from tests.strategies import SELECTIONS, basic_keys, keys_for, places, view_for
from xzarr_backend import run_reading
from xzarr_backend.stores import MemoryStore

ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
CODECS: dict[str, Any] = {
    "raw": None,
    "zstd": ZSTD,
    "zstd and crc32c": [ZSTD, {"name": "crc32c"}],
    "gzip": {"name": "gzip", "configuration": {"level": 1}},
}


class RemoteLike(MemoryStore):
    """A store that is asked for many objects at once."""

    concurrent = True


def stored(store: MemoryStore, values: Any, chunks: tuple[int, ...], codecs: Any, **more: Any) -> Any:
    return xz.create_array(store, data=values, chunks=chunks, compressors=codecs, **more)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Any, tuple[int, ...]]:
    """Values, some of whose chunks hold nothing but the fill value, and the shape of the chunks."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    dtype = draw(st.sampled_from(["u1", "<i2", ">i4", "<f8", "bool"]))
    values = (np.arange(prod(shape)) % 250 + 1).astype(dtype).reshape(shape)
    if draw(st.booleans()):
        values[draw(basic_keys(shape))] = 0
    return values, chunks


@given(arrays(), st.sampled_from(list(CODECS)), st.sampled_from([1, 40, 1 << 19]), st.sampled_from([1, 2]), st.data())
def test_any_selection(
    array: tuple[Any, tuple[int, ...]], codec: str, most: int, threads: int, data: st.DataObject
) -> None:
    """Whatever is selected, of whatever chunks and store, is what NumPy gives; objects are fetched once."""
    values, chunks = array
    order = data.draw(st.sampled_from(["C", "F"]))
    store = data.draw(st.sampled_from([MemoryStore, RemoteLike]))()
    stored(store, values, chunks, CODECS[codec], order=order, zarr_format=3)
    counting = CountingStore(store)
    opened = xz.open_array(counting)
    selection = data.draw(st.sampled_from(SELECTIONS))
    key = data.draw(keys_for(selection, opened))
    view = view_for(selection, opened)
    counting.reset()
    with runs_of(most, threads), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_reading, "LEAST_BYTES", 1)
        patch.setattr(run_reading, "LEAST_TURN", 1)
        found = view[key]
    np.testing.assert_array_equal(found, values.reshape(-1)[places(selection, opened, key)])
    names = [call.key for call in counting.requests]
    assert len(names) == len(set(names))


VALUES = np.arange(1, 300 * 400 + 1, dtype="f8").reshape(300, 400)


def runs_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of chunks of every run."""
    counts: list[int] = []
    decode = run_reading._decode

    def counted(reading: Any, run: Any, fetched: Any) -> None:
        counts.append(len(fetched))
        decode(reading, run, fetched)

    monkeypatch.setattr(run_reading, "_decode", counted)
    return counts


@pytest.mark.parametrize("codec", ["raw", "zstd", "zstd and crc32c"])
@pytest.mark.parametrize("store", [MemoryStore, RemoteLike])
def test_runs_are_used(store: Any, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of which any part is needed are decoded in runs: those that are needed whole first, then the others."""
    array = stored(store(), VALUES, (20, 20), CODECS[codec])
    counts = runs_read(monkeypatch)
    np.testing.assert_array_equal(array[...], VALUES)
    assert sum(counts) == 300
    assert max(counts) >= 10
    counts.clear()
    np.testing.assert_array_equal(array[15:291, 19:381], VALUES[15:291, 19:381])
    assert sum(counts) == 15 * 20
    assert max(counts) >= 10
    counts.clear()
    np.testing.assert_array_equal(array.oindex[[1, 5, 250, 299], ::3], VALUES[[1, 5, 250, 299], ::3])
    np.testing.assert_array_equal(array.vindex[:, 7], VALUES[:, 7])
    assert counts == []  # a few chunks
    np.testing.assert_array_equal(array.oindex[::15, ::3], VALUES[::15, ::3])
    np.testing.assert_array_equal(array[::-1, ::-1], VALUES[::-1, ::-1])
    assert sum(counts) == 2 * 300


@pytest.mark.parametrize(
    ("codec", "chunks"), [("gzip", (20, 20)), ("raw", (50, 50)), ("zstd", (100, 100)), ("zstd", (150, 200))]
)
def test_runs_are_not_used(codec: str, chunks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the codec takes no runs, nor for chunks that are worth a call each, nor for a few."""
    array = stored(MemoryStore(), VALUES, chunks, CODECS[codec])
    counts = runs_read(monkeypatch)
    np.testing.assert_array_equal(array[...], VALUES)
    np.testing.assert_array_equal(array[:40, :40], VALUES[:40, :40])
    np.testing.assert_array_equal(array.oindex[[1, 5, 250], :], VALUES[[1, 5, 250]])
    assert counts == []


@pytest.mark.parametrize("damage", ["none", "cut", "nonsense", "two frames", "longer"])
@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_a_bad_chunk_is_named(damage: str, codec: str) -> None:
    """In a run with a chunk that is missing it is filled; with a damaged one, that one is named."""
    store = MemoryStore()
    array = stored(store, VALUES, (20, 20), CODECS[codec])
    raw = bytes(store.get("c/7/3") or b"")
    expected = VALUES.copy()
    if damage == "none":
        store.delete("c/7/3")
        expected[140:160, 60:80] = 0
    elif damage == "two frames":  # an empty one to be skipped (RFC 8878, 3.1.2)
        store.set("c/7/3", raw + b"\x50\x2a\x4d\x18\0\0\0\0")
    else:
        store.set("c/7/3", {"cut": raw[:-3], "nonsense": b"nonsense" * 40, "longer": raw + b"x" * 8}[damage])
    if damage == "none" or (damage, codec) == ("two frames", "zstd"):
        np.testing.assert_array_equal(array[...], expected)
        return
    with pytest.raises(xz.ChunkError, match=r"chunk \(7, 3\), key 'c/7/3'"):
        array[...]
    np.testing.assert_array_equal(array[:140], VALUES[:140])


def test_a_chunk_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's failure names the chunk, and every thread stops."""

    class Failing(CountingStore):
        def get(self, key: str, *arguments: Any) -> Any:
            if key == "c/7/3":
                raise OSError(5, "no such luck")
            return super().get(key, *arguments)

    store = MemoryStore()
    stored(store, VALUES, (20, 20), ZSTD)
    with pytest.raises(xz.ChunkError, match=r"chunk \(7, 3\), key 'c/7/3'.*") as caught:
        xz.open_array(Failing(store))[...]
    assert "no such luck" in str(caught.value)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks larger than ``max_chunk_bytes`` are refused as ever."""
    store = MemoryStore()
    stored(store, VALUES, (20, 20), ZSTD)
    counts = runs_read(monkeypatch)
    with pytest.raises(xz.ChunkError, match="limit"):
        xz.open_array(store, max_chunk_bytes=1000)[...]
    assert counts == []


def test_other_files_of_a_run_share_its_memory(tmp_path: Path) -> None:
    """Files larger than their room are read all the same, and none into the place of another."""
    array = xz.create_array(tmp_path, data=VALUES, chunks=(20, 20), compressors=ZSTD)
    for number, place in enumerate(sorted((tmp_path / "c").glob("*/*"))):
        if number % 3:  # followed by a frame to be skipped
            rest = 5000 * (number % 3)
            place.write_bytes(place.read_bytes() + b"\x50\x2a\x4d\x18" + rest.to_bytes(4, "little") + bytes(rest))
    np.testing.assert_array_equal(array[...], VALUES)
