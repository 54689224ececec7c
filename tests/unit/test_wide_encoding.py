"""One large chunk is encoded on several threads of its library: whatever it holds, wherever that is allowed."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend import executor, layout
from xzarr_backend.codecs import BytesSpec, zstd
from xzarr_backend.codecs.base import Codec
from xzarr_backend.codecs.zstd import frame_sizes
from xzarr_backend.formats.alike import Alike
from xzarr_backend.stores import MemoryStore

pytest.importorskip("zstandard")

MIB = 1 << 20
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
SHAPE = (64, 128, 128)  # of two bytes: 2 MiB


def data(nbytes: int) -> Any:
    """Bytes that compress well in one half and badly in the other."""
    rng = np.random.default_rng(nbytes)
    raw = rng.integers(0, 6, nbytes, "u1")
    raw[: nbytes // 2] = np.arange(nbytes // 2) // 999
    return raw


def build(nbytes: int, level: int = 1, checksum: bool = False) -> Codec:
    """Return the codec for chunks of ``nbytes``."""
    return zstd.zstd({"level": level, "checksum": checksum}, BytesSpec(nbytes, 1))


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("nbytes", [MIB, MIB + 1, 3 * MIB - 7, 5 * MIB])
def test_it_is_one_frame_that_everybody_reads(nbytes: int, threads: int) -> None:
    """One frame that states the size, as what one thread encodes; numcodecs and zstandard decode it."""
    import numcodecs.zstd
    import zstandard

    raw, codec = data(nbytes), build(nbytes)
    assert codec.encode_on is not None
    frame = codec.encode_on(raw, threads)
    assert frame_sizes(frame) == (nbytes, nbytes)
    assert len(frame) < 1.05 * len(codec.encode(raw))
    assert numcodecs.zstd.decompress(frame) == raw.tobytes() == zstandard.ZstdDecompressor().decompress(frame)
    memory = np.zeros(nbytes, np.uint8)
    codec.decode_into(frame, memory)  # type: ignore[misc]
    assert np.array_equal(memory, raw)


@pytest.mark.parametrize("level", [-7, 0, 3, 9])
@pytest.mark.parametrize("checksum", [True, False])
def test_levels_and_checksums(level: int, checksum: bool) -> None:
    """The level is kept to, and a checksum is there where it is wanted."""
    raw, codec = data(2 * MIB), build(2 * MIB, level, checksum)
    assert codec.encode_on is not None
    frame = codec.encode_on(raw, 4)
    assert bool(frame[4] & 4) == checksum
    assert 0.95 < len(frame) / len(codec.encode(raw)) < 1.05
    assert bytes(codec.decode(frame)) == raw.tobytes()


def test_where_there_is_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, high levels, which need much memory, and where `zstandard` is not there, or broken."""
    assert build(MIB - 1).encode_on is None
    assert build(MIB, level=10).encode_on is None
    codec = build(MIB)
    with monkeypatch.context() as patch:
        patch.setattr(zstd, "optional", lambda _: None)
        assert codec.encode_on is not None
        assert bytes(codec.decode(codec.encode_on(data(MIB), 4))) == data(MIB).tobytes()
    monkeypatch.setattr(zstd, "_has_zstandard", lambda: False)
    assert build(MIB).encode_on is None


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the threads of every chunk that is encoded on several; there are four cores."""
    seen: list[int] = []
    build = zstd._encode_on

    def watching(*arguments: Any) -> Any:
        encode_on = build(*arguments)

        def encode(data: Any, threads: int) -> Any:
            seen.append(threads)
            return encode_on(data, threads)

        return encode

    monkeypatch.setattr(zstd, "_encode_on", watching)
    monkeypatch.setattr(layout, "_compiled", Alike())
    monkeypatch.setattr(executor, "_cores", lambda: 4)
    return seen


def test_the_threads_that_are_left_encode(threads: list[int]) -> None:
    """One chunk gets all, two share them, many get none; a part of a chunk and an append are one chunk."""
    values = data(2 * MIB * 5).view("u2").reshape(5 * SHAPE[0], *SHAPE[1:])
    array = xz.create_array(MemoryStore(), shape=values.shape, dtype="u2", chunks=SHAPE, compressors=ZSTD)
    for stop, expected in ((1, [4]), (2, [2, 2]), (3, []), (5, [])):
        threads.clear()
        array[: stop * SHAPE[0]] = values[: stop * SHAPE[0]]
        assert threads == expected
    array[3:9, 5:, ::2] = 7
    values[3:9, 5:, ::2] = 7
    assert threads == [4]
    array.append(values[:5])
    assert threads == [4, 4]
    np.testing.assert_array_equal(array[:], np.concatenate([values, values[:5]]))


def test_not_where_the_caller_has_threads(threads: list[int]) -> None:
    """In the pools of dask and others, and where everything is to stay on the thread, a chunk is encoded on one."""
    array = xz.create_array(MemoryStore(), shape=SHAPE, dtype="u2", chunks=SHAPE, compressors=ZSTD)
    values = data(2 * MIB).view("u2").reshape(SHAPE)
    with executor.inline():
        array[:] = values
    worker = threading.Thread(target=lambda: array.__setitem__(..., values), name="Dask-Default-Threads-1-0")
    worker.start()
    worker.join()
    assert threads == []
    np.testing.assert_array_equal(array[:], values)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f8", "<M8[s]", "S2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_all_that_a_chunk_may_be(dtype: str, order: str, zarr_format: int, threads: list[int]) -> None:
    """Byte orders, memory orders of the chunk and of the values, types that have no buffer, both formats."""
    raw = data(2 * MIB) % 100 + 1
    values = (
        raw.view(dtype).reshape(32, -1, 16) if dtype != "<M8[s]" else raw.view("<u8").astype(dtype).reshape(32, -1, 16)
    )
    native = values.dtype.newbyteorder("=")
    codec = ZSTD if zarr_format == 3 else {"id": "zstd", "level": 1}
    kind = native if zarr_format == 3 else dtype
    serializer = {"name": "bytes", "configuration": {"endian": "big" if dtype[0] == ">" else "little"}}
    more = {"serializer": serializer} if zarr_format == 3 and dtype != "S2" else {}
    array = xz.create_array(
        MemoryStore(),
        shape=values.shape,
        dtype=kind,
        chunks=values.shape,
        compressors=codec,
        order=order,
        zarr_format=zarr_format,
        **more,
    )
    for given in (values, np.asfortranarray(values), values.astype(native), np.repeat(values, 2, axis=1)[:, ::2]):
        array[:] = 0 if dtype != "S2" else b""
        array[:] = given
        np.testing.assert_array_equal(array[:], values)
    array[:, 1:5] = values[:, :4]
    np.testing.assert_array_equal(array[:, 1:5], values[:, :4])
    assert set(threads) == {4} and len(threads) >= 5


def _write(path: str) -> None:
    array = xz.open_array(path, mode="r+")
    array[:] = array[:] + 1


def test_a_forked_process_can_do_it_too(tmp_path: Path, threads: list[int]) -> None:
    """Nothing is kept that would need threads which the child of a fork does not have."""
    values = (data(2 * MIB) % 100).view("u2").reshape(SHAPE)
    array = xz.create_array(tmp_path, data=values, chunks=SHAPE, compressors=ZSTD)
    child = multiprocessing.get_context("fork").Process(target=_write, args=(str(tmp_path),), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(array[:], values + 1)
