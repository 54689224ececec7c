"""Elements of variable length: one thread makes them, a second one decompresses meanwhile; nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend import chunk_reading, executor

COUNT, CHUNK = 70_000, 7_000
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
TEXTS = np.array([f"station {'ü' * (k % 40)}{k}" for k in range(COUNT)], object)
BYTES = np.array([text.encode() for text in TEXTS.tolist()], object)
TYPES = {"string": TEXTS, "variable_length_bytes": BYTES}


def threads_of(array: xz.Array, key: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Any]:
    """Return how many threads a read on a machine of eight cores takes, and the values."""
    seen: list[int] = []
    run = executor.run

    def watching(work: Any, items: Any, count: int, threads: int) -> None:
        seen.append(threads)
        run(work, items, count, threads)

    with monkeypatch.context() as patch:
        patch.setattr(executor, "_cores", lambda: 8)
        patch.setattr(chunk_reading, "run", watching)
        values = array[key]
    (threads,) = seen
    return threads, values


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("compressors", "most"), [(ZSTD, 2), (None, 1)], ids=["zstd", "none"])
@pytest.mark.parametrize("key", [np.s_[:], np.s_[11:-13], np.s_[::-7]], ids=str)
def test_a_second_thread_where_there_is_something_to_decompress(
    dtype: str, compressors: Any, most: int, key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three would wait for each other; one is enough where nothing is compressed."""
    array = xz.create_array(tmp_path, shape=(COUNT,), dtype=dtype, chunks=(CHUNK,), compressors=compressors)
    array[:] = TYPES[dtype]
    threads, values = threads_of(array, key, monkeypatch)
    assert threads == most
    assert values.tolist() == TYPES[dtype][key].tolist()


def test_a_damaged_chunk_is_named_whoever_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of either thread is raised, and names the chunk."""
    array = xz.create_array(tmp_path, data=TEXTS, dtype="string", chunks=(CHUNK,), compressors=ZSTD)
    chunk = tmp_path / "c" / "5"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(xz.ChunkError, match=r"chunk \(5,\)"):
        threads_of(array, np.s_[:], monkeypatch)
    assert array[: 5 * CHUNK].tolist() == TEXTS[: 5 * CHUNK].tolist()
