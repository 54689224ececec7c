"""Many small chunks are fetched in turns, each once, and read like any others; what fails is named."""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import chunk_reading
from xzarr_backend.stores import MemoryStore

VALUES = np.arange(1, 4001, dtype="i4").reshape(40, 100)
ZLIB = {"zarr_format": 2, "compressors": {"id": "zlib", "level": 1}}


@pytest.fixture
def store() -> MemoryStore:
    """A store of 40 chunks, of which one was not stored and another is damaged."""
    store = MemoryStore()
    xz.create_array(store, data=VALUES, chunks=(5, 20), **ZLIB)
    return store


@pytest.mark.parametrize("turn", [1, 700, 1 << 20])
def test_each_chunk_is_fetched_once_in_turns(turn: int, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fits into a turn, the values are right, missing chunks are fill values, and nothing is fetched twice."""
    monkeypatch.setattr(chunk_reading, "TURN_NBYTES", turn)
    store.delete("3.2")
    expected = VALUES.copy()
    expected[15:20, 40:60] = 0
    counting = CountingStore(store)
    array = xz.open_array(counting)
    for key in (..., np.s_[3:37, 11:], np.s_[::-1, ::3], (np.arange(0, 40, 2), slice(None)), np.s_[[3, 30], [5, 99]]):
        counting.reset()
        np.testing.assert_array_equal(array[key], expected[key])
        names = [call.key for call in counting.requests]
        assert len(names) == len(set(names))
    with pytest.raises(xz.ChunkError, match=r"3\.2"):
        xz.open_array(store, missing="raise")[...]


def test_turns_are_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that are larger than their chunks do not pile up: no more than one turn of them is held."""
    held: list[int] = []

    class Watching(CountingStore):
        def get(self, key: str, *args: Any) -> Any:
            raw = super().get(key, *args)
            if key[0].isdigit():
                held.append(len(raw))
            return raw

    monkeypatch.setattr(chunk_reading, "TURN_NBYTES", 10_000)
    padding = b"x" * 4000  # nothing that may stand behind zlib data
    for key in [key for key, _ in store.walk("") if key[0].isdigit()]:
        store.set(key, bytes(store.get(key)) + padding)
    with pytest.raises(xz.ChunkError, match=r"chunk \(0, 0\)"):
        xz.open_array(Watching(store))[...]
    assert 1 <= len(held) <= 4


@pytest.mark.parametrize("failure", ["fetch", "decode"])
def test_the_failing_chunk_is_named(failure: str, store: MemoryStore) -> None:
    """A chunk that cannot be fetched, or not be decoded, is named with its key; the others can be read."""

    class Failing(CountingStore):
        def get(self, key: str, *args: Any) -> Any:
            if key == "4.3" and failure == "fetch":
                raise OSError(5, "no such luck")
            return super().get(key, *args)

    store.set("4.3", b"no zlib at all")
    array = xz.open_array(Failing(store))
    with pytest.raises(xz.ChunkError, match=r"chunk \(4, 3\), key '4\.3'") as caught:
        array[...]
    assert ("no such luck" in str(caught.value)) == (failure == "fetch")
    np.testing.assert_array_equal(array[:20], VALUES[:20])


ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
SLOT = 5 * 20 * 4 + chunk_reading.PART_NBYTES  # what an object is expected to take at most


@pytest.mark.parametrize("turn", [1, 1500, 1 << 20])
def test_objects_of_any_size_share_the_memory_of_a_turn(
    turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are as large as expected, and larger ones, are read whole, and none into another one's place."""
    monkeypatch.setattr(chunk_reading, "TURN_NBYTES", turn)
    xz.create_array(tmp_path, data=VALUES, chunks=(5, 20), compressors=ZSTD)
    for number, place in enumerate(sorted((tmp_path / "c").glob("*/*"))):
        raw = place.read_bytes()
        wanted = (0, SLOT - 1, SLOT, SLOT + 1, 7 * SLOT)[number % 5]
        if wanted:  # followed by a frame to be skipped (RFC 8878, 3.1.2)
            rest = wanted - len(raw) - 8
            place.write_bytes(raw + struct.pack("<II", 0x184D2A50, rest) + bytes(rest))
    (tmp_path / "c" / "3" / "2").unlink()
    expected = VALUES.copy()
    expected[15:20, 40:60] = 0
    array = xz.open_array(tmp_path)
    for key in (..., np.s_[3:37, 11:], np.s_[::-1, ::3]):
        np.testing.assert_array_equal(array[key], expected[key])


def test_small_files_are_read_with_three_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open, read, close: nobody asks how large a file is that fits where it goes (benchmark: small_all)."""
    array = xz.create_array(tmp_path, data=VALUES, chunks=(5, 20), compressors=ZSTD)
    calls: Counter[str] = Counter()

    def counting(name: str) -> Any:
        call = getattr(os, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return call(*arguments)

        return counted

    for name in ("open", "fstat", "stat", "pread", "preadv", "readv", "close"):
        monkeypatch.setattr(os, name, counting(name))
    np.testing.assert_array_equal(array[:], VALUES)
    assert calls == {"open": 40, "readv": 40, "close": 40}
