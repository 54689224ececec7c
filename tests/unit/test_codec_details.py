"""What single codecs promise beyond the contract: forms of other writers, configurations, exact values."""

from __future__ import annotations

import bz2
import gzip
import struct
import sys
import threading
import tracemalloc
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from xzarr_backend import collecting
from xzarr_backend.codecs import BytesSpec, ChunkSpec, Codec, lookup
from xzarr_backend.codecs.snappy import store, uncompress
from xzarr_backend.codecs.zstd import frame_sizes, stated_size
from xzarr_backend.dtypes import as_dtype, parse_dtype_v3
from xzarr_backend.errors import ChunkError, MetadataError

RAW = (np.arange(2000, dtype="u4") // 5 % 251).astype("u1").tobytes()


def chunk(dtype: str, shape: tuple[int, ...] = (4,), fill: Any = 0) -> ChunkSpec:
    """Return the spec of a chunk."""
    parsed = parse_dtype_v3(dtype) if dtype in ("string", "bytes") else as_dtype(dtype)
    return ChunkSpec(shape, parsed, np.array([fill], parsed.numpy)[0])


def build(name: str, configuration: dict[str, Any] | None = None, spec: Any = None) -> Codec:
    """Return a codec; by default for 2000 bytes."""
    return lookup(name).factory(configuration or {}, spec or BytesSpec(len(RAW), 1))


# forms of other writers


def test_lz4_of_exzarr() -> None:
    """A u64 size in front is read like the u32 of numcodecs, and never written."""
    codec = build("lz4")
    ours = bytes(codec.encode(RAW))
    theirs = ours[:4] + bytes(4) + ours[4:]
    out = np.empty(len(RAW), "u1")
    assert codec.decode_into is not None
    codec.decode_into(theirs, out)
    assert bytes(codec.decode(theirs)) == out.tobytes() == RAW


def test_bz2_of_exzarr() -> None:
    """A u64 size in front of a bzip2 stream is skipped, under both names."""
    theirs = struct.pack("<Q", len(RAW)) + bz2.compress(RAW)
    for name in ("bz2", "numcodecs.bzip2", "numcodecs.bz2"):
        assert build(name).decode(theirs) == RAW


@pytest.mark.parametrize("name", ["gzip", "zlib"])
@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_gzip_and_zlib_are_told_apart_by_their_bytes(name: str, compress: Any) -> None:
    """Some writers label one as the other."""
    assert bytes(build(name).decode(compress(RAW))) == RAW


def test_gzip_of_several_members() -> None:
    """Members one after the other are one chunk, padded with zeros or not; anything else behind them is an error."""
    members = gzip.compress(RAW[:700]) + gzip.compress(RAW[700:])
    codec = build("gzip")
    assert bytes(codec.decode(members)) == bytes(codec.decode(members + bytes(9))) == RAW
    for tail in (b"x", gzip.compress(b"more"), bytes(3) + b"x"):
        with pytest.raises((ChunkError, zlib.error)):
            codec.decode(members + tail)


def test_zstd_of_several_frames_and_without_sizes() -> None:
    """Frames one after the other, skippable frames, and frames that state no size are read with or without a bound."""
    zstandard = pytest.importorskip("zstandard")
    unstated = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(RAW)
    frames = b"".join(zstandard.ZstdCompressor().compress(part) for part in (RAW[:900], RAW[900:]))
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"hello"
    for data in (unstated, frames, skippable + frames, frames + skippable):
        for known in (len(RAW), None):
            assert bytes(build("zstd", spec=BytesSpec(known, 1)).decode(data)) == RAW
        for wrong in (len(RAW) - 1, len(RAW) + 1, 1 << 20):
            with pytest.raises(Exception):  # noqa: B017
                build("zstd", spec=BytesSpec(wrong, 1)).decode(data)


def without_numcodecs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let zstd find itself in a process that has not loaded numcodecs; return its module."""
    from xzarr_backend.codecs import zstd

    zstd._numcodecs()  # what it falls back on is loaded once and for all
    monkeypatch.delitem(sys.modules, "numcodecs.zstd")
    monkeypatch.setattr(zstd, "_decoded", 0)
    return zstd


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("nbytes", [2000, 1 << 15, 40_000, 1 << 16, 300_000])  # each library, each way of decoding
def test_zstd_chunks_are_whole_and_nothing_more(nbytes: int, loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the chunk: frames that make it up are read, any others refused, and no memory beyond it."""
    zstandard = pytest.importorskip("zstandard")
    if not loaded:
        without_numcodecs(monkeypatch)

    def frame(data: bytes, stated: bool = True) -> bytes:
        return bytes(zstandard.ZstdCompressor(write_content_size=stated).compress(data))

    raw = np.random.default_rng(1).integers(0, 9, nbytes, np.uint8).tobytes()
    half, skippable = nbytes // 2, struct.pack("<II", 0x184D2A50, 3) + b"abc"
    whole, huge = frame(raw), bytes(64 << 20)
    good = [
        whole,
        frame(raw, False),
        frame(raw[:half]) + frame(raw[half:], False),
        whole + skippable,
        whole + frame(b""),
    ]
    bad = [frame(raw[:-1]), frame(raw[:-1], False), frame(raw + b"x"), frame(raw + b"x", False), whole[:-4]]
    bad += [whole + more for more in (b"abc", b"abcdefghijkl", frame(b"xx"), frame(huge), frame(huge, False))]
    codec = build("zstd", spec=BytesSpec(nbytes, 1))
    memory = np.empty(nbytes, np.uint8)
    ways = [codec.decode]
    if codec.decode_into is not None:
        ways.append(lambda data: (codec.decode_into(data, memory), memory)[1])
    for decode in ways:
        for data in good:
            assert bytes(decode(data)) == raw
        for data in bad:
            tracemalloc.start()
            try:
                with pytest.raises(Exception):  # noqa: B017
                    decode(data)
                assert tracemalloc.get_traced_memory()[1] < 2 * nbytes + 100_000
            finally:
                tracemalloc.stop()


@pytest.mark.parametrize("nbytes", [2000, 1 << 16, 300_000])
def test_zstd_without_its_optional_library(nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `zstandard` is not installed, or installed and broken, numcodecs decodes everything."""
    from xzarr_backend.codecs import zstd

    raw = np.random.default_rng(1).integers(0, 9, nbytes, np.uint8).tobytes()
    data = build("zstd", spec=BytesSpec(nbytes, 1)).encode(raw)
    monkeypatch.setattr(zstd, "optional", lambda module: None)
    monkeypatch.setattr(zstd, "_contexts", threading.local())
    zstd._stated.cache_clear()
    try:
        for there in (True, False):
            monkeypatch.setattr(zstd, "_has_zstandard", lambda there=there: there)
            codec, memory = build("zstd", spec=BytesSpec(nbytes, 1)), np.zeros(nbytes, np.uint8)
            assert [bytes(codec.decode(data)) for _ in range(2)] == [raw, raw]
            if codec.decode_until is not None:
                codec.decode_until(data, memory, 500)
                assert memory[:500].tobytes() == raw[:500]
            with pytest.raises(Exception):  # noqa: B017
                codec.decode(data[:-3])
    finally:
        zstd._stated.cache_clear()


def zstd_frames(nbytes: int) -> list[tuple[bytes, bytes]]:
    """Return chunks of ``nbytes`` and what they are stored as, in every form that a frame may have."""
    zstandard = pytest.importorskip("zstandard")
    rng = np.random.default_rng(4)
    noise, some = rng.bytes(nbytes), rng.integers(0, 9, nbytes, np.uint8).tobytes()
    forms: list[dict[str, Any]] = [{}, {"write_checksum": True}, {"write_content_size": False}, {"level": 19}]
    frames = [
        (raw, bytes(zstandard.ZstdCompressor(**form).compress(raw)))
        for form in forms
        for raw in (noise, some, bytes(nbytes), noise[: nbytes // 2] + some[nbytes // 2 :])
    ]
    stream = zstandard.ZstdCompressor().compressobj(size=nbytes)  # many blocks, and one that is empty at the end
    blocks = [piece for n in range(0, nbytes, 999) for piece in (stream.compress(some[n : n + 999]), stream.flush(1))]
    return [*frames, (some, b"".join([*blocks, stream.flush()]))]


@pytest.mark.parametrize("nbytes", [600, 20_000, 1 << 16, (1 << 17) + 100, 1 << 18])
def test_zstd_runs(nbytes: int) -> None:
    """Chunks that are decoded in runs are those that are decoded one by one; what is in the way is told."""
    frames, codec = zstd_frames(nbytes), build("zstd", spec=BytesSpec(nbytes, 1))
    assert codec.decode_run is not None
    for raw, frame in frames:
        stated, memory = stated_size(frame) is not None, np.zeros(3 * nbytes, np.uint8)
        assert codec.decode_run([frame] * 3, memory) is stated
        assert not stated or memory.tobytes() == raw * 3
    alike = [(raw, frame) for raw, frame in frames if frame[4] == frames[0][1][4]]
    memory = np.zeros(len(alike) * nbytes, np.uint8)
    assert len(alike) > 3
    assert codec.decode_run([memoryview(frame) for _, frame in alike], memory)
    assert memory.tobytes() == b"".join(raw for raw, _ in alike)
    assert not codec.decode_run([frames[0][1], frames[4][1]], memory), "their headers differ"


@pytest.mark.parametrize("nbytes", [600, 40_000])
def test_zstd_runs_that_are_none(nbytes: int) -> None:
    """Chunks that are cut elsewhere than their frames are never decoded as a run, even if the bytes would fill it."""
    zstandard = pytest.importorskip("zstandard")
    raw, codec = np.random.default_rng(1).bytes(2 * nbytes), build("zstd", spec=BytesSpec(nbytes, 1))
    compress = zstandard.ZstdCompressor().compress
    first, second, both = compress(raw[:nbytes]), compress(raw[nbytes:]), compress(raw)
    skippable = struct.pack("<II", 0x184D2A50, 9) + first[:9]
    wrong = [
        [first + second, b""],
        [b"", first + second],
        [first[:-5], first[-5:] + second],
        [first + second[:30], second[30:]],
        [both, second],
        [first + skippable, second],
        [skippable + first, second],
        [first, second + b"x"],
        [first, second[:-1]],
        [first[:9], second],
        [first[:3], second],
        [first, second[:3]],
        [b"abc" * 30, second],
        [b"", b""],
        [first, compress(raw[nbytes:-1])],
    ]
    memory = np.zeros(2 * nbytes, np.uint8)
    assert codec.decode_run is not None
    assert codec.decode_run([first, second], memory)
    assert memory.tobytes() == raw
    for chunks in wrong:
        assert not codec.decode_run(chunks, memory)


@pytest.mark.parametrize("level", [-5, 0, 1, 12])
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("library", ["zstandard", "one by one", "broken"])
def test_zstd_encodes_runs(level: int, checksum: bool, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk is one frame that states its size, and its checksum if asked to, whatever encodes it."""
    pytest.importorskip("zstandard")
    from xzarr_backend.codecs import zstd

    if library == "broken":
        monkeypatch.setattr(zstd, "_contexts", threading.local())
        monkeypatch.setattr(zstd, "optional", lambda _: None)
    if library == "one by one":  # as zstandard on other interpreters than CPython
        whole = zstd._compressor(level, checksum)
        monkeypatch.setattr(zstd, "_compressor", lambda *_: SimpleNamespace(compress=whole.compress))
    rng = np.random.default_rng(3)
    for nbytes in (600, 20_000, 70_000):
        codec = build("zstd", {"level": level, "checksum": checksum}, BytesSpec(nbytes, 1))
        chunks = [rng.integers(0, 9, nbytes, "u1"), np.zeros(nbytes, "u1"), rng.integers(0, 255, nbytes, "u1")]
        assert codec.encode_run is not None
        for count in (0, 1, 3):
            frames = codec.encode_run(chunks[:count])
            assert len(frames) == count
            for chunk, frame in zip(chunks, frames, strict=False):
                assert frame_sizes(frame) == (nbytes, nbytes)
                assert bool(bytes(frame)[4] & 4) == checksum
                assert bytes(codec.decode(bytes(frame))) == chunk.tobytes()
        single = codec.encode(chunks[0].tobytes())
        assert stated_size(single) == nbytes and bool(single[4] & 4) == checksum


def test_small_chunks_are_encoded_without_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a single chunk, too: the import takes longer than most writes of small chunks."""
    pytest.importorskip("zstandard")
    from xzarr_backend.codecs import zstd

    codec = build("zstd", {"level": 3}, BytesSpec(600, 1))
    monkeypatch.setattr(zstd, "_numcodecs", lambda: pytest.fail("numcodecs is not needed"))
    raw = np.arange(600).astype("u1")
    assert codec.encode_run is not None
    for chunks in ([raw], [raw, raw + 1]):
        for chunk, frame in zip(chunks, codec.encode_run(chunks), strict=True):
            assert bytes(codec.decode(bytes(frame))) == chunk.tobytes()
    assert bytes(codec.decode(codec.encode(raw))) == raw.tobytes()


def test_inner_chunks_are_encoded_without_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner chunks of a usual size, together and alone; it is used where it is loaded."""
    pytest.importorskip("zstandard")
    zstd = without_numcodecs(monkeypatch)
    codec, raw = build("zstd", {"level": 3}, BytesSpec(1 << 16, 1)), np.arange(1 << 16).astype("u1")
    loading = zstd._numcodecs
    monkeypatch.setattr(zstd, "_numcodecs", lambda: pytest.fail("numcodecs is not needed"))
    assert codec.encode_run is not None and codec.decode_into is not None
    for frame in (*codec.encode_run([raw, raw]), codec.encode(raw)):
        memory = np.zeros_like(raw)
        codec.decode_into(frame, memory)
        np.testing.assert_array_equal(memory, raw)
    monkeypatch.setattr(zstd, "_numcodecs", loading)
    monkeypatch.setitem(sys.modules, "numcodecs.zstd", loading())
    monkeypatch.setattr(zstd, "_compressor", lambda level, checksum: pytest.fail("numcodecs is loaded"))
    assert stated_size(codec.encode(raw)) == raw.nbytes


def test_zstd_runs_need_the_library_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, and for large chunks, there is nothing to gain."""
    from xzarr_backend.codecs import zstd

    monkeypatch.setattr(zstd, "_has_zstandard", lambda: False)
    assert build("zstd", spec=BytesSpec(600, 1)).encode_run is None
    monkeypatch.undo()
    assert build("zstd", spec=BytesSpec(1 << 20, 1)).encode_run is None


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_zstd_runs(monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """A run with damage is refused, fails, or holds what decoding one by one gives, with either library."""
    nbytes, count = 600, 3
    codec = build("zstd", {"level": 1, "checksum": data.draw(st.booleans())}, BytesSpec(nbytes, 1))
    raw = np.random.default_rng(2).integers(0, 99, nbytes * count).astype(np.uint8)
    frames = [bytearray(codec.encode(raw[n * nbytes : (n + 1) * nbytes].tobytes())) for n in range(count)]
    for _ in range(data.draw(st.integers(1, 3))):
        frame = frames[data.draw(st.integers(0, count - 1))]
        end = len(frame) - 1
        frame[data.draw(st.one_of(st.integers(0, min(end, 40)), st.integers(end - 4, end)))] = data.draw(
            st.integers(0, 255)
        )
    memory = np.zeros(nbytes * count, np.uint8)
    assert codec.decode_run is not None
    with monkeypatch.context() as patch:
        if data.draw(st.booleans()):
            without_numcodecs(patch)
        try:
            done = codec.decode_run(frames, memory)
        except Exception:
            return
    if done:
        assert memory.tobytes() == b"".join(bytes(codec.decode(bytes(frame))) for frame in frames)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("nbytes", [2000, 1 << 16, 300_000, 5 << 20])
def test_zstd_does_without_numcodecs(nbytes: int, checksum: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of any size, also equal elements, until so many bytes are decoded that its import is worth it."""
    zstandard = pytest.importorskip("zstandard")
    zstd = without_numcodecs(monkeypatch)
    library, used = zstd._numcodecs(), []

    def loading() -> Any:
        used.append(True)
        return library

    monkeypatch.setattr(zstd, "_numcodecs", loading)
    raws = [np.random.default_rng(1).integers(0, 9, nbytes, np.uint8), np.full(nbytes, 7, np.uint8)]
    frames = [zstandard.ZstdCompressor(write_checksum=checksum).compress(raw) for raw in raws]
    codec = build("zstd", {"checksum": checksum}, BytesSpec(nbytes, 1))
    for _ in range(2):
        for raw, frame in zip(raws, frames, strict=True):
            assert bytes(codec.decode(frame)) == raw.tobytes()
            if codec.decode_into is not None:
                memory = np.zeros(nbytes, np.uint8)
                codec.decode_into(memoryview(frame), memory)
                assert memory.tobytes() == raw.tobytes()
        if codec.decode_run is not None:
            memory = np.zeros(3 * nbytes, np.uint8)
            assert codec.decode_run([frames[0]] * 3, memory)
            assert memory.tobytes() == 3 * raws[0].tobytes()
        assert not used
    monkeypatch.setattr(zstd, "_decoded", zstd.WORTH_IMPORT + 1)
    if codec.decode_into is not None:
        codec.decode_into(frames[0], np.zeros(nbytes, np.uint8))
        assert used


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_zstd_chunks(monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """What numcodecs refuses is refused without it, too, and what it reads is read the same."""
    pytest.importorskip("zstandard")
    nbytes, checksum = 300_000, data.draw(st.booleans())
    codec = build("zstd", {"level": 1, "checksum": checksum}, BytesSpec(nbytes, 1))
    frame = bytearray(codec.encode(np.random.default_rng(2).integers(0, 99, nbytes).astype(np.uint8).tobytes()))
    for _ in range(data.draw(st.integers(0, 2))):
        end = len(frame) - 1
        near = st.one_of(st.integers(0, 20), st.integers(0, end), st.integers(end - 8, end))
        frame[data.draw(near)] = data.draw(st.integers(0, 255))
    frame = frame[: len(frame) - data.draw(st.sampled_from([0, 0, 0, 1, 4]))] + data.draw(st.binary(max_size=6))

    def outcome() -> bytes | None:
        memory = np.zeros(nbytes, np.uint8)
        try:
            codec.decode_into(bytes(frame), memory)  # type: ignore[misc]
        except Exception:
            return None
        return memory.tobytes()

    expected = outcome()
    with monkeypatch.context() as patch:
        without_numcodecs(patch)
        assert outcome() == expected


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65791, 65792, 1 << 18])
def test_zstd_headers(size: int) -> None:
    """The size is read from every width of the header's field."""
    data = build("zstd", {"checksum": True}, BytesSpec(size, 1)).encode(bytes(size))
    assert stated_size(data) == size
    assert frame_sizes(data) == (size, size)


def test_quantize_of_exzarr() -> None:
    """With scale and offset it stores round((x - offset) / scale) as int16."""
    codec = build("quantize", {"dtype": "int16", "offset": 1.0, "scale": 0.01}, chunk("float64"))
    array = np.array([1.0, 1.01, 2.5, -3.25])
    assert codec.encode(array).tolist() == [0, 1, 150, -425]
    np.testing.assert_allclose(codec.decode(codec.encode(array)), array)


# snappy


def test_snappy_decodes_every_kind_of_element() -> None:
    """Literals with long lengths, and copies with offsets of one, two and four bytes, overlapping or not."""
    assert uncompress(b"\x0b\x0cabcd\x01\x04\x0a\x04\x00", 11) == b"abcdabcdabc"
    assert uncompress(b"\x08\x00a\x1a\x01\x00", 8) == b"a" * 8
    assert uncompress(b"\x06\x04ab\x0f\x02\x00\x00\x00", 6) == b"ababab"
    long = bytes(range(256)) * 2
    assert uncompress(b"\x80\x04\xf4\xff\x01" + long, 512) == long


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"\x04\x0cab", b"\x04\x01\x01", b"\x04\x00a\x0d\x02", b"\x02\x0cabcd", b"\xff\xff\xff\xff\xff\xff"],
)
def test_snappy_refuses_damage(data: bytes) -> None:
    """Elements that go past either end, and sizes that do not hold, raise."""
    with pytest.raises(ChunkError):
        uncompress(data)


@given(st.binary(max_size=200_000))
def test_snappy_round_trip(data: bytes) -> None:
    """What we store is what we read."""
    assert uncompress(store(data), len(data)) == data


@given(st.binary(max_size=3000), st.integers(1, 50))
def test_snappy_reads_what_others_compress(data: bytes, times: int) -> None:
    """Blocks of the C library decode to the same bytes."""
    imagecodecs = pytest.importorskip("imagecodecs")
    raw = data * times
    assert uncompress(bytes(imagecodecs.snappy_encode(raw)), len(raw)) == raw
    assert bytes(imagecodecs.snappy_decode(store(raw), out=len(raw))) == raw if raw else True


# arrays


@pytest.mark.parametrize("order", [[0, 0], [0], [0, 2], "K", None, [True, False], [0.0, 1.0]])
def test_transpose_refuses_what_is_no_permutation(order: Any) -> None:
    """The order names every dimension once."""
    with pytest.raises(MetadataError, match="transpose"):
        build("transpose", {"order": order}, chunk("int32", (2, 3)))


@pytest.mark.parametrize(
    "shape",
    [
        [[1], [0], [2]],
        [[1, 0], 4],
        [[0, 1], 5],
        [-1, -1],
        [24, 0],
        [[0, 7]],
        [[2], 6],
        None,
        ["2"],
        [True, 24],
        [5, -1],
    ],
)
def test_reshape_refuses(shape: Any) -> None:
    """Sizes that do not fit, and dimensions out of order or misleading, are errors."""
    with pytest.raises(MetadataError, match="reshape"):
        build("reshape", {"shape": shape}, chunk("int32", (2, 3, 4)))


@pytest.mark.parametrize(
    ("shape", "result"), [([[0, 1], [2]], (6, 4)), ([-1, [1, 2]], (2, 12)), ([2, 2, 6], (2, 2, 6))]
)
def test_reshape_shapes(shape: Any, result: tuple[int, ...]) -> None:
    """Merged dimensions, sizes, and -1."""
    assert build("reshape", {"shape": shape}, chunk("int32", (2, 3, 4))).output.shape == result  # type: ignore[union-attr]


def test_bytes_views_and_stored_order() -> None:
    """Decoding copies nothing and keeps the stored byte order; encoding contiguous elements copies nothing either."""
    codec = build("bytes", {"endian": "big"}, chunk("int32"))
    raw = np.arange(16, dtype="u1")
    decoded = codec.decode(raw)
    assert decoded.dtype == np.dtype(">i4")
    assert np.shares_memory(decoded, raw)
    assert codec.is_view
    little = build("bytes", {}, chunk("int32"))
    array = np.arange(4, dtype="<i4")
    assert np.shares_memory(little.encode(array), array)


def test_bytes_names_both_sizes() -> None:
    """The error of a wrong chunk says how many bytes there are and how many there should be."""
    for length in (15, 20):
        with pytest.raises(ChunkError, match=rf"{length} bytes.*16"):
            build("bytes", {}, chunk("int32")).decode(bytes(length))


@pytest.mark.parametrize("name", ["numpy.datetime64", "numpy.timedelta64"])
def test_bytes_swaps_times_without_a_unit(name: str) -> None:
    """NumPy casts them between byte orders without moving a byte."""
    dtype = parse_dtype_v3({"name": name, "configuration": {"unit": "generic", "scale_factor": 1}})
    codec = build("bytes", {"endian": "big"}, ChunkSpec((2,), dtype, dtype.zero))
    times = np.array([258, -1], "i8").view(dtype.numpy)
    stored = bytes(codec.encode(times))
    assert stored == np.array([258, -1], ">i8").tobytes()
    assert codec.decode(stored).astype(dtype.numpy).view("i8").tolist() == [258, -1]


def test_bytes_swaps_bfloat16() -> None:
    """NumPy cannot swap data types that ml_dtypes registered; we do."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.0, -2.5, 3.0, 0.0], ml_dtypes.bfloat16)
    encoded = build("bytes", {"endian": "big"}, chunk("bfloat16")).encode(array)
    assert encoded.tobytes() == array.view("u2").astype(">u2").tobytes()


# values


@given(st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=30), st.integers(0, 23))
def test_bitround_is_idempotent_and_keeps_specials(values: list[float], keepbits: int) -> None:
    """Rounding twice is rounding once; NaN and infinities stay; the error is at most half of the last bit kept."""
    array = np.array(values, "f4")
    codec = build("bitround", {"keepbits": keepbits}, chunk("float32", array.shape))
    rounded = codec.encode(array)
    special = ~np.isfinite(array)
    assert rounded.tobytes() == codec.encode(rounded).tobytes()
    assert rounded[special].tobytes() == array[special].tobytes()
    usual = np.isfinite(rounded) & (np.abs(array) >= np.finfo("f4").tiny)
    bound = np.abs(array[usual].astype("f8")) * 2.0 ** -(keepbits + 1) * (1 + 1e-9)
    assert (np.abs(rounded[usual].astype("f8") - array[usual]) <= bound).all()


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=30), st.integers(1, 32))
def test_bitround_of_integers(values: list[int], keepbits: int) -> None:
    """At most ``keepbits`` significant bits remain of the magnitude, and its sign and size stay."""
    array = np.array(values, "i4")
    rounded = build("bitround", {"keepbits": keepbits}, chunk("int32", array.shape)).encode(array)
    for before, after in zip(array.tolist(), rounded.tolist(), strict=True):
        if before == -(2**31):
            assert after == before
            continue
        bits = abs(after)
        assert (
            bits == 0 or (bits >> max(bits.bit_length() - keepbits, 0) << max(bits.bit_length() - keepbits, 0)) == bits
        )
        assert abs(after - before) <= max(abs(before) >> keepbits, 0) * 2 + 1 if keepbits < 31 else after == before
        assert after == 0 or (after < 0) == (before < 0)


def test_cast_value_modes() -> None:
    """The five directions on ties and fractions."""
    array = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6])
    expected = {
        "nearest-even": [-2, -2, 0, 0, 2, 2, 2, -3],
        "towards-zero": [-2, -1, 0, 0, 1, 2, 2, -2],
        "towards-positive": [-2, -1, 0, 1, 2, 3, 3, -2],
        "towards-negative": [-3, -2, -1, 0, 1, 2, 2, -3],
        "nearest-away": [-3, -2, -1, 1, 2, 3, 2, -3],
    }
    for mode, result in expected.items():
        codec = build("cast_value", {"data_type": "int8", "rounding": mode}, chunk("float64", (8,)))
        assert codec.encode(array).tolist() == result


@pytest.mark.parametrize(("limit", "result"), [("clamp", [127, -128, 127]), ("wrap", [-128, 126, 44])])
def test_cast_value_out_of_range(limit: str, result: list[int]) -> None:
    """Clamped, wrapped modulo 256, or refused."""
    array = np.array([128.0, -130.0, 300.0])
    codec = build("cast_value", {"data_type": "int8", "out_of_range": limit}, chunk("float64", (3,)))
    assert codec.encode(array).tolist() == result
    with pytest.raises(ChunkError, match="out of range"):
        build("cast_value", {"data_type": "int8"}, chunk("float64", (3,))).encode(array)


def test_cast_value_rounds_once() -> None:
    """Large integers reach narrow floats without a stop at float64, which would round twice."""
    value = 2**60 + 2**36 + 1  # just above a tie of float32, which float64 would turn into the tie
    codec = build("cast_value", {"data_type": "float32"}, chunk("int64", (1,)))
    assert int(codec.encode(np.array([value]))[0]) == 2**60 + 2**37


def test_cast_value_beyond_float64() -> None:
    """A number that rounds up past float64 is out of range, and not an infinity that was asked for."""
    pytest.importorskip("ml_dtypes")
    codec = build("cast_value", {"data_type": "bfloat16"}, chunk("float64", (1,)))
    with pytest.raises(ChunkError, match="out of range"):
        codec.encode(np.array([sys.float_info.max]))


def test_cast_value_maps_first() -> None:
    """The map comes before every rule, NaN matches NaN, the first of two equal keys wins, and both ways work."""
    maps = {"encode": [["NaN", 255], ["NaN", 7], ["Infinity", 254]], "decode": [[255, "NaN"]]}
    codec = build("cast_value", {"data_type": "uint8", "scalar_map": maps}, chunk("float64", (4,), float("nan")))
    encoded = codec.encode(np.array([np.nan, np.inf, 3.0, 0.0]))
    assert encoded.tolist() == [255, 254, 3, 0]
    assert codec.output.fill_value == 255  # type: ignore[union-attr]
    assert np.isnan(codec.decode(encoded)[0])


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"data_type": "int8", "extra": 1},
        {"data_type": "int8", "rounding": "up"},
        {"data_type": "float32", "out_of_range": "wrap"},
        {"data_type": "string"},
        {"data_type": "int8", "scalar_map": {"encode": [[1]]}},
        {"data_type": "int8", "scalar_map": {"other": []}},
    ],
)
def test_cast_value_refuses(configuration: dict[str, Any]) -> None:
    """Members that are unknown, missing or wrong are errors when the codec is built."""
    with pytest.raises(MetadataError):
        build("cast_value", configuration, chunk("float64"))


def test_cast_value_needs_a_fill_value_that_survives() -> None:
    """The specification demands it, because missing inner chunks are filled on the other side."""
    with pytest.raises(MetadataError, match="fill value"):
        build("cast_value", {"data_type": "int8"}, chunk("float64", (4,), 0.5))


def test_scale_offset_computes_in_its_own_type() -> None:
    """Integers neither wrap nor lose a remainder; the fill value follows."""
    codec = build("scale_offset", {"offset": 1000, "scale": 2}, chunk("uint16", (3,), 1000))
    assert codec.encode(np.array([1000, 1255, 2000], "u2")).tolist() == [0, 510, 2000]
    assert codec.decode(np.array([0, 510, 2000], "u2")).tolist() == [1000, 1255, 2000]
    assert codec.output.fill_value == 0  # type: ignore[union-attr]
    for way, values in ((codec.encode, [999]), (codec.encode, [65535]), (codec.decode, [3])):
        with pytest.raises(ChunkError):
            way(np.array(values, "u2"))


@given(
    st.sampled_from(["i1", "u1", "i4", "i8", "u8"]),
    st.integers(-300, 300),
    st.integers(-5, 5).filter(bool),
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=5),
)
def test_scale_offset_of_integers_is_exact(dtype: str, offset: int, scale: int, values: list[int]) -> None:
    """Every result is the one of unbounded arithmetic, or an error."""
    info = np.iinfo(dtype)
    array = np.array([min(max(value, int(info.min)), int(info.max)) for value in values], dtype)
    offset, scale = (abs(offset), abs(scale)) if info.min == 0 else (offset, scale)
    fits = [int(info.min) <= n <= int(info.max) for n in (offset, scale)]
    if not all(fits):
        return
    spec = chunk(dtype, array.shape, offset)
    codec = build("scale_offset", {"offset": offset, "scale": scale}, spec)
    exact = [(int(x) - offset) * scale for x in array.tolist()]
    middle = [int(x) - offset for x in array.tolist()]
    if all(int(info.min) <= n <= int(info.max) for n in exact + middle):
        encoded = codec.encode(array)
        assert encoded.tolist() == exact
        assert codec.decode(encoded).tolist() == array.tolist()
    else:
        with pytest.raises(ChunkError):
            codec.encode(array)


def test_scale_offset_refuses() -> None:
    """Unknown members, a scale of nothing, and overflow of floats."""
    for configuration in ({"factor": 2}, {"scale": 0}):
        with pytest.raises(MetadataError):
            build("scale_offset", configuration, chunk("float32"))
    with pytest.raises(MetadataError):
        build("scale_offset", {}, chunk("bool"))
    with pytest.raises(ChunkError, match="cannot hold"):
        build("scale_offset", {"scale": 1e30}, chunk("float32", (1,))).encode(np.array([1e30], "f4"))


def test_fixedscaleoffset_never_overflows_in_silence() -> None:
    """Values that the stored type cannot hold, and NaN for integers, raise when they are written."""
    codec = build("numcodecs.fixedscaleoffset", {"offset": 0, "scale": 10, "astype": "u1"}, chunk("float64", (1,)))
    for value in (26.0, -1.0, float("nan")):
        with pytest.raises(ChunkError, match="cannot store"):
            codec.encode(np.array([value]))


# elements of variable length


@pytest.mark.parametrize("name", ["vlen-utf8", "vlen-bytes", "numcodecs.vlen-array"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2\0\0",
        struct.pack("<I", 3) + bytes(12),
        struct.pack("<I", 0xFFFFFFFF),
        struct.pack("<II", 2, 0xFFFFFFF0) + bytes(40),
        struct.pack("<II", 2, 4) + b"abcd",
        struct.pack("<II", 2, 4) + b"abcd" + struct.pack("<I", 5) + b"abcd",
        struct.pack("<II", 2, 4) + b"abcd" + struct.pack("<I", 4) + b"abcde",
    ],
)
def test_counts_and_lengths_are_not_believed(name: str, data: bytes) -> None:
    """Wrong counts, and lengths that go past the end or leave something over, raise."""
    dtype = "bytes" if name == "vlen-bytes" else "string"
    with pytest.raises((ChunkError, ValueError)):
        spec = ChunkSpec((2,), parse_dtype_v3(dtype), "")
        build(name, {"dtype": "u1"}, spec).decode(data)


@pytest.mark.parametrize(("name", "dtype"), [("vlen-utf8", "string"), ("vlen-bytes", "bytes")])
def test_elements_are_their_own_and_an_empty_chunk_holds_none(name: str, dtype: str) -> None:
    """What one chunk decoded to stays when the next one is decoded in the same memory; no bytes are no elements."""
    codec = build(name, {}, ChunkSpec((2,), parse_dtype_v3(dtype), ""))
    values = ["a", "bc", "xy", "z"] if dtype == "string" else [b"a", b"bc", b"xy", b"z"]
    encoded = [codec.encode(np.array(pair, object)) for pair in (values[:2], values[2:])]
    assert [element for chunk in [codec.decode(raw) for raw in encoded] for element in chunk] == values
    assert build(name, {}, ChunkSpec((0,), parse_dtype_v3(dtype), "")).decode(b"").tolist() == []


def test_vlen_array_keeps_arrays() -> None:
    """Arrays of one length, of different lengths, and missing ones all come back as elements."""
    codec = build("numcodecs.vlen-array", {"dtype": "<i2"}, ChunkSpec((3,), parse_dtype_v3("string"), ""))
    for lengths in ((2, 2, 2), (0, 1, 3)):
        array = np.empty(3, object)
        for place, length in enumerate(lengths):
            array[place] = np.arange(length, dtype="<i2")
        decoded = codec.decode(codec.encode(array))
        assert [element.tolist() for element in decoded] == [list(range(length)) for length in lengths]


def test_json2_keeps_lists_as_elements() -> None:
    """Elements that are lists themselves do not become dimensions."""
    codec = build("numcodecs.json2", {}, ChunkSpec((2,), parse_dtype_v3("string"), ""))
    decode: Any = codec.decode
    with pytest.raises(ChunkError, match="3 elements"):
        decode(b'["a","b","c","|O",[3]]')
    for broken in (b"[]", b'{"a": 1}', b'["a","|O",5]', b'["a","|O",[2,2]]'):
        with pytest.raises(ChunkError):
            decode(broken)


def test_other_types_are_refused_by_vlen() -> None:
    """A number in an array of strings is an error of ours, not text."""
    spec = ChunkSpec((1,), parse_dtype_v3("string"), "")
    with pytest.raises(ChunkError, match="stores strings"):
        build("vlen-utf8", {}, spec).encode(np.array([5], object))


# what decoding does not need


@pytest.mark.parametrize(
    ("name", "configuration"),
    [("blosc", {"level": 5}), ("lz4", {"level": 5}), ("crc32c", {"level": 5}), ("zstd", {"checksum": None, "x": 1})],
)
def test_members_that_decoding_does_not_need_are_ignored(name: str, configuration: dict[str, Any]) -> None:
    """ExZarr gives a level to every codec."""
    codec = build(name, configuration)
    assert bytes(codec.decode(codec.encode(RAW))) == RAW


@pytest.mark.parametrize(("name", "most"), [("zlib", 1), ("zstd", 2), ("blosc", 4), ("bytes", 1), ("crc32c", 2)])
def test_decoding_is_few_calls(name: str, most: int) -> None:
    """The hot path: at most ``most`` Python frames for a chunk; numcodecs' blosc adds three."""
    spec: Any = chunk("uint8", (len(RAW),)) if name == "bytes" else None
    if name == "zlib" or (name == "zstd"):
        pytest.importorskip("deflate" if name == "zlib" else "zstandard")
    codec = build(name, {}, spec)
    data = bytes(memoryview(codec.encode(np.frombuffer(RAW, "u1"))))
    codec.decode(data)
    frames: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            frames.append(frame.f_code.co_filename)

    with collecting.paused():  # whose finalizers would be counted
        sys.setprofile(note)
        try:
            codec.decode(data)
        finally:
            sys.setprofile(None)
    assert len(frames) <= most
    assert sum("xzarr_backend" in path for path in frames) <= 2


def test_codecs_that_change_elements_do_so_for_every_piece() -> None:
    """Pieces of any memory order, and parts of chunks, are rounded as whole contiguous chunks are."""
    values = np.linspace(1, 2, 64, dtype="f4").reshape(8, 8)
    bitround = {"name": "bitround", "configuration": {"keepbits": 3}}
    whole = xz.create_array({}, data=values, chunks=(8, 8), filters=[bitround], compressors=None)[...]
    assert (whole != values).any()
    cut = xz.create_array({}, data=values, chunks=(4, 4), filters=[bitround], compressors=None)
    np.testing.assert_array_equal(cut[...], whole)
    parts = xz.create_array({}, shape=(8, 8), dtype="f4", chunks=(4, 4), filters=[bitround], compressors=None)
    parts[:3] = values[:3]
    parts[3:, ::-1] = values[3:, ::-1]
    np.testing.assert_array_equal(parts[...], whole)


def test_pcodec_of_each_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 1 its submodules can be imported, but are no attributes of the package."""
    package = pytest.importorskip("pcodec")
    monkeypatch.delattr(package, "standalone", raising=False)
    codec = lookup("pcodec").factory({}, ChunkSpec((3,), as_dtype("f4"), 0))
    assert codec.decode(codec.encode(np.arange(3, dtype="f4"))).tolist() == [0, 1, 2]
