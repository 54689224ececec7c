"""Chunks decoded in runs are the chunks decoded one by one, wherever they go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.strategies import SELECTIONS, basic_keys, keys_for, places, view_for
from xzarr_backend import executor, layout, run_encoding, run_reading, runs
from xzarr_backend.codecs import zstd
from xzarr_backend.formats.alike import Alike
from xzarr_backend.runs import cut_runs
from xzarr_backend.stores import MemoryStore


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 40))
def test_runs_cover_the_bricks(counts: list[int], most: int) -> None:
    """The runs follow each other, are no longer than allowed, and their places hold their bricks in C order."""
    numbers = np.arange(prod(counts)).reshape(counts)
    seen = 0
    for run in cut_runs(counts, most):
        assert run.start == seen
        assert 0 < run.stop - run.start <= most
        assert numbers[run.place].ravel().tolist() == list(range(run.start, run.stop))
        seen = run.stop
    assert seen == prod(counts)


BLOSC = {"cname": "lz4", "clevel": 1, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0}
CHAINS: dict[str, list[dict[str, Any]]] = {
    "raw": [],
    "zstd": [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
    "zstd with checksum": [{"name": "zstd", "configuration": {"level": 1, "checksum": True}}],
    "zstd and crc32c": [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}, {"name": "crc32c"}],
    "crc32c": [{"name": "crc32c"}],
    "blosc": [{"name": "blosc", "configuration": BLOSC}],
    "gzip": [{"name": "gzip", "configuration": {"level": 1}}],
}


@st.composite
def sharded(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """Values, and how to store them in shards of many small chunks, transposed inside or outside, or not."""
    rank = draw(st.integers(1, 3))
    inner = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    order = draw(st.permutations(range(rank)))
    outside = draw(st.booleans())
    # a transpose before sharding turns the shard as well
    per_shard = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    shard = tuple(n * size for n, size in zip(per_shard, inner, strict=True))
    shape = tuple(max(1, n * size - draw(st.integers(0, 2))) for n, size in zip((2, 1, 2), shard, strict=False))
    dtype = draw(st.sampled_from(["u1", "<i2", ">i4", "<f8"]))
    values = (np.arange(prod(shape)) % 250 + 1).astype(dtype).reshape(shape)
    if draw(st.booleans()):
        values[draw(basic_keys(shape))] = 0  # inner chunks that are not stored
    transpose = {"name": "transpose", "configuration": {"order": list(order)}}
    compressors = draw(st.sampled_from(list(CHAINS.values())))
    inner_shape = [inner[axis] for axis in order] if outside else list(inner)
    little = {"name": "bytes", "configuration": {"endian": draw(st.sampled_from(["little", "big"]))}}
    codecs = [*([] if outside else [transpose]), little, *compressors]
    sharding = {"name": "sharding_indexed", "configuration": {"chunk_shape": inner_shape, "codecs": codecs}}
    grid = {"name": "regular", "configuration": {"chunk_shape": list(shard)}}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [transpose, sharding] if outside else [sharding],
        "attributes": {},
    }
    return values, document


@contextmanager
def runs_of(most: int, threads: int) -> Iterator[None]:
    """Cut runs of ``most`` bytes at most, and share them between ``threads``, however little there is to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_cores", lambda: threads)
        patch.setattr(executor, "LEAST_BYTES", 1)
        patch.setattr(executor, "LEAST_BYTES_PER_ITEM", 1)
        patch.setattr(runs, "LEAST_NBYTES", 1)
        patch.setattr(runs, "MOST_NBYTES", most)
        patch.setattr(runs, "MOST_WHOLE", most)
        patch.setattr(layout, "_compiled", Alike())  # which keeps how shards were cut
        yield


@pytest.mark.parametrize("threads", [1, 2])
@given(data=st.data())
def test_runs_read_like_numpy(threads: int, data: st.DataObject) -> None:
    """Any selection reads what NumPy has, on one thread and on two, in short runs and in long ones."""
    values, document = data.draw(sharded())
    store = MemoryStore({"zarr.json": json.dumps(document).encode()})
    xz.open_array(store, mode="r+")[...] = values
    with runs_of(data.draw(st.sampled_from([1, 64, 1 << 19])), threads):
        array = xz.open_array(store)
        np.testing.assert_array_equal(array[...], values)
        for selection in data.draw(st.lists(st.sampled_from(SELECTIONS), min_size=2, max_size=2)):
            key = data.draw(keys_for(selection, array))
            expected = values.reshape(-1)[places(selection, array, key)]
            np.testing.assert_array_equal(view_for(selection, array)[key], expected)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("shards", [None, (16,), (32,)])
def test_elements_picked_in_any_order(chain: str, shards: Any) -> None:
    """Of some chunks they go to places that follow each other, of others they do not."""
    values = np.arange(64)
    array = xz.create_array(MemoryStore(), data=values, chunks=(4,), shards=shards, compressors=CHAINS[chain] or None)
    with runs_of(1 << 19, 1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_reading, "LEAST_BYTES", 1)
        patch.setattr(run_reading, "LEAST_TURN", 1)
        for key in ([0, 5, 1, 9, 13, 18], [5, 0, 9, 8, 13, 1, 17, 33], [63, 0, 62, 1, 60, 30, 20, 10], range(0, 64, 5)):
            np.testing.assert_array_equal(array.oindex[[*key],], values[[*key]])
            np.testing.assert_array_equal(array.vindex[[*key],], values[[*key]])


@pytest.mark.parametrize("threads", [1, 2])
@given(data=st.data())
def test_runs_write_like_numpy(threads: int, data: st.DataObject) -> None:
    """Values of any layout in memory go where NumPy puts them, empty chunks are left out, and zarr-python agrees."""
    zarr = pytest.importorskip("zarr")
    values, document = data.draw(sharded())
    how = data.draw(st.sampled_from(["as they are", "turned", "every other", "one", "read-only", "swapped"]))
    store = MemoryStore({"zarr.json": json.dumps(document).encode()})
    array, expected = xz.open_array(store, mode="r+"), np.zeros_like(values)
    keep_empty = data.draw(st.booleans())
    array.options = array.options._replace(write_empty_chunks=keep_empty)
    with runs_of(data.draw(st.sampled_from([8, 64, 1 << 19])), threads):
        for key in (data.draw(basic_keys(values.shape)), ..., data.draw(basic_keys(values.shape))):
            new = laid_out(values[key], how)
            array[key] = new
            expected[key] = new
    np.testing.assert_array_equal(xz.open_array(store)[...], expected)
    objects = {key: bytes(value) for key, value in store.inner.items()}
    if expected.any():
        assert keep_empty or any(key.startswith("c/") for key in objects)
    elif not keep_empty:
        assert not [key for key in objects if key.startswith("c/")]
    known = all(codec["name"] != "transpose" for codec in document["codecs"])  # before shards zarr-python fails
    if known:
        inner = zarr.storage.MemoryStore({key: zarr.core.buffer.cpu.Buffer.from_bytes(v) for key, v in objects.items()})
        np.testing.assert_array_equal(zarr.open_array(inner, mode="r")[...], expected)


def laid_out(values: Any, how: str) -> Any:
    """Return equal values (``one``: what broadcasts) that lie in memory in another way."""
    values = np.asarray(values)
    if how == "turned":
        return np.array(values, order="F")
    if how == "every other":
        wide = np.repeat(values[..., None], 2, axis=-1)
        wide[..., 1] += 1
        return wide[..., 0]
    if how == "one":
        return values.ravel()[:1].reshape(()) if values.size else values
    if how == "read-only":
        values = values.copy()
        values.flags.writeable = False
        return values
    return values.astype(values.dtype.newbyteorder("S")) if how == "swapped" else values


@pytest.fixture
def half_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut runs of at most 512 KiB."""
    monkeypatch.setattr(runs, "MOST_WHOLE", 1 << 19)


def encodings(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return a list that grows by the sizes of the chunks of every call of the library."""
    library, calls = zstd._compressor(1, False), []
    if not hasattr(library, "multi_compress_to_buffer"):
        pytest.skip("zstandard is not installed")

    class Counting:
        compress = library.compress

        @staticmethod
        def multi_compress_to_buffer(chunks: Any) -> Any:
            calls.append([len(chunk) for chunk in chunks])
            return library.multi_compress_to_buffer(chunks)

    monkeypatch.setattr(zstd, "_compressor", lambda *_: Counting)
    return calls


@pytest.mark.usefixtures("half_mebibyte")
def test_one_call_encodes_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 inner chunks of 16 KiB are two runs of a shard; those that are empty are not encoded."""
    values = (np.arange(128**3) // 7 + 1).astype("u2").reshape(128, 128, 128)[:64, :64, :]
    codec = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
    array = xz.create_array(
        MemoryStore(), shape=(128, 64, 128), dtype="u2", shards=(64, 64, 128), chunks=(16, 16, 32), compressors=codec
    )
    calls = encodings(monkeypatch)
    with executor.inline():
        array[:64] = values
        assert [len(sizes) for sizes in calls] == [32, 32]
        calls.clear()
        sparse = np.zeros((64, 64, 128), "u2")
        sparse[:16, :16] = sparse[60, 60, 100] = 1
        array[64:] = sparse
        assert [len(sizes) for sizes in calls] == [4]  # and one alone
    assert {size for sizes in calls for size in sizes} == {16 * 16 * 32 * 2}
    np.testing.assert_array_equal(array[...], np.concatenate([values, sparse]))


@pytest.mark.usefixtures("half_mebibyte")
@pytest.mark.parametrize("chain", list(CHAINS))
def test_inner_chunks_are_picked_in_runs(chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the codecs, many inner chunks are picked with one copy; raw ones are stored from there."""
    values = (np.arange(64 * 64 * 128) // 7 + 1).astype("u2").reshape(64, 64, 128)
    counts: list[int] = []
    encode = run_encoding.RunEncoder.encode

    def counted(encoder: Any, run: Any) -> Any:
        counts.append(run.stop - run.start)
        return encode(encoder, run)

    monkeypatch.setattr(run_encoding.RunEncoder, "encode", counted)
    shape = {"shards": (64, 64, 128), "chunks": (16, 16, 32)}
    with executor.inline():
        array = xz.create_array(MemoryStore(), data=values, compressors=CHAINS[chain] or None, **shape)
    assert counts == [32, 32]
    np.testing.assert_array_equal(array[...], values)


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the decoded bytes of every call of the library."""
    library, calls = zstd._numcodecs(), []

    class Counting:
        @staticmethod
        def decompress(data: Any, out: Any) -> Any:
            calls.append(out.nbytes)
            return library.decompress(data, out)

    monkeypatch.setattr(zstd, "_numcodecs", lambda: Counting)
    return calls


@pytest.mark.usefixtures("half_mebibyte")
def test_one_call_decodes_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 inner chunks of 16 KiB are two runs; a plane through 16 of them is one; a damaged one is read by itself."""
    values = (np.arange(128**3) // 7).astype("u2").reshape(128, 128, 128)[:64, :64, :]
    store = MemoryStore()
    codecs = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
    xz.create_array(store, data=values, shards=(64, 64, 128), chunks=(16, 16, 32), compressors=codecs)
    calls, array = decodings(monkeypatch), xz.open_array(store)
    with executor.inline():
        np.testing.assert_array_equal(array[...], values)
        assert calls == [1 << 19, 1 << 19]
        calls.clear()
        np.testing.assert_array_equal(array[5], values[5])
        assert calls == [1 << 18]
        calls.clear()
        assert array[5, 6, 7] == values[5, 6, 7]
        assert len(calls) <= 1


@pytest.mark.parametrize("damage", ["size", "content", "header"])
def test_the_damaged_chunk_is_named(damage: str) -> None:
    """A chunk that cannot be decoded is named as it is without runs, and the others can still be read."""
    values = np.random.default_rng(0).integers(0, 50, (64, 64)).astype("u2")
    store, codecs = MemoryStore(), {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
    xz.create_array(store, data=values, shards=(64, 64), chunks=(16, 16), compressors=codecs)
    shard = bytearray(store.get("c/0/0"))
    index = np.frombuffer(shard[-(16 * 16 + 4) : -4], "<u8").reshape(-1, 2)
    start, nbytes = map(int, index[6])  # the inner chunk (1, 2)
    at = {"size": start + 5, "content": start + nbytes // 2, "header": start}[damage]
    shard[at : at + 4] = bytes(byte ^ 0x5A for byte in shard[at : at + 4])
    store.set("c/0/0", bytes(shard))
    array = xz.open_array(store)
    for key in (..., slice(16, 32)):
        with pytest.raises(xz.ChunkError, match=r"inner chunk \(1, 2\)"):
            array[key]
    np.testing.assert_array_equal(array[:16], values[:16])
    np.testing.assert_array_equal(array[16:, :32], values[16:, :32])
