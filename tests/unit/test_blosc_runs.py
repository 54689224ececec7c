"""Runs of blosc chunks: many small chunks that are made the blocks of one, for one call of the library."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xzarr_backend.codecs import BytesSpec, Codec, lookup
from xzarr_backend.codecs import blosc as module
from xzarr_backend.codecs.blosc import LARGEST_OF_PIECES, LARGEST_OF_RUN, NAMES
from xzarr_backend.pieces import Pieces

HEAD = 20  # bytes in front of the block of a chunk that has one


def build(nbytes: int, itemsize: int = 4, **configuration: Any) -> Codec:
    """Return a codec for chunks of ``nbytes``."""
    return lookup("blosc").factory({"clevel": 5, **configuration}, BytesSpec(nbytes, itemsize))


def decoded(codec: Codec, chunks: Sequence[Any], nbytes: int) -> bytes | None:
    """Return what a run of ``chunks`` is decoded to, None where it is refused or fails; what is around it stays."""
    memory = np.full((len(chunks) + 2) * nbytes, 0xA5, np.uint8)
    assert codec.decode_run is not None
    try:
        done = codec.decode_run(chunks, memory[nbytes:-nbytes])
    except Exception:
        done = False
    assert (memory[:nbytes] == 0xA5).all()
    assert (memory[-nbytes:] == 0xA5).all()
    return memory[nbytes:-nbytes].tobytes() if done else None


def some(nbytes: int) -> dict[str, bytes]:
    """Return chunks of which some are compressed well, some hardly, some not at all."""
    rng = np.random.default_rng(7)
    steps = (np.arange(-(-nbytes // 8)) // 7).astype("<u8").tobytes()[:nbytes]
    return {
        "noise": rng.bytes(nbytes),
        "zeros": bytes(nbytes),
        "steps": steps,
        "digits": rng.integers(0, 9, nbytes, np.uint8).tobytes(),
        "half": steps[: nbytes // 2] + rng.bytes(nbytes - nbytes // 2),
    }


@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
@pytest.mark.parametrize("name", sorted({*NAMES} - {"snappy"}))  # which numcodecs is built without
def test_runs_hold_what_chunks_hold(name: str, shuffle: str) -> None:
    """Whatever the codec, the filter, the size of the chunks and of their items; also where some are not compressed."""
    taken = 0
    sizes = [(4, 1), (60, 4), (600, 2), (600, 1), (4000, 8), (10164, 4), (5000, 20), (3000, 12), (LARGEST_OF_RUN, 4)]
    for nbytes, itemsize in sizes:
        codec = build(nbytes, itemsize, cname=name, shuffle=shuffle)
        raws = some(nbytes)
        for pick in (list(raws), ["steps"] * 3, ["noise"] * 3, ["noise", "zeros", "noise"], ["half"]):
            chunks = [memoryview(codec.encode(raws[which])) for which in pick]
            found = decoded(codec, chunks, nbytes)
            assert found is None or found == b"".join(raws[which] for which in pick)
            taken += found is not None
    assert taken == 5 * len(sizes)


@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
@pytest.mark.parametrize("name", sorted({*NAMES} - {"snappy"}))
def test_pieces_hold_what_chunks_hold(name: str, shuffle: str) -> None:
    """Those that lie in one memory may be larger; where they have several blocks each, they are left alone."""
    for nbytes in (600, LARGEST_OF_RUN + 4, 60_000, LARGEST_OF_PIECES):
        for level in (1, 5):
            codec = build(nbytes, cname=name, shuffle=shuffle, clevel=level)
            assert codec.decode_pieces is not None
            raws = some(nbytes)
            for pick in (list(raws), ["steps"] * 3, ["noise"] * 3):
                chunks = [bytes(codec.encode(raws[which])) for which in pick]
                ends = np.cumsum([len(chunk) for chunk in chunks])
                spans = np.array([(end - len(chunk), len(chunk)) for end, chunk in zip(ends, chunks, strict=True)])
                out = np.full((len(pick) + 1) * nbytes, 0xA5, np.uint8)
                done = codec.decode_pieces(Pieces(memoryview(b"".join(chunks)), spans), out[:-nbytes])
                one_block = all(struct.unpack_from("<I", chunk, 8) == (nbytes,) for chunk in chunks)
                assert done is one_block
                assert level < 5 or done
                if done:
                    assert out[:-nbytes].tobytes() == b"".join(raws[which] for which in pick)
                assert (out[-nbytes:] == 0xA5).all()


def test_several_blocks_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at the first chunk tells that it has several."""

    def join(*_: Any) -> Any:
        raise AssertionError("joined")

    monkeypatch.setattr(module, "join_behind", join)
    codec = build(LARGEST_OF_PIECES, blocksize=4096)
    chunk = bytes(codec.encode(some(LARGEST_OF_PIECES)["steps"]))
    pieces = Pieces(memoryview(chunk), np.array([(0, len(chunk))]))
    assert codec.decode_pieces is not None
    assert not codec.decode_pieces(pieces, np.empty(LARGEST_OF_PIECES, np.uint8))


def test_large_chunks_take_no_runs() -> None:
    """Nor do those of unknown size: joining would take longer than calling, and blocks are not those of chunks."""
    assert build(LARGEST_OF_RUN).decode_run is not None
    assert build(LARGEST_OF_RUN + 4).decode_run is None
    assert lookup("blosc").factory({}, BytesSpec(None, 4)).decode_run is None
    assert build(0).decode_run is None
    assert build(LARGEST_OF_PIECES).decode_pieces is not None
    assert build(LARGEST_OF_PIECES + 4).decode_pieces is None


def test_one_call_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what runs are for; chunks that are stored as they are need none."""
    calls = []
    library = module.required("blosc", "numcodecs", "numcodecs.blosc")

    class Counting:
        compress = staticmethod(library.compress)

        @staticmethod
        def decompress(*arguments: Any) -> Any:
            calls.append(arguments)
            return library.decompress(*arguments)

    monkeypatch.setattr(module, "required", lambda *_: Counting)
    codec, raws = build(4000), some(4000)
    chunks = {which: codec.encode(raw) for which, raw in raws.items()}
    assert decoded(codec, [chunks["steps"], chunks["noise"], chunks["digits"]] * 40, 4000)
    assert len(calls) == 1
    assert decoded(codec, [chunks["noise"]] * 3, 4000) == raws["noise"] * 3
    assert len(calls) == 1


def with_head(chunk: bytes, **changes: int) -> bytes:
    """Return ``chunk`` with other numbers in its header."""
    names = ("version", "codec_version", "flags", "itemsize", "decoded", "block", "encoded", "start")
    head = dict(zip(names, struct.unpack("<4B4I", chunk[:HEAD]), strict=True))
    return struct.pack("<4B4I", *{**head, **changes}.values()) + chunk[HEAD:]


def test_what_is_no_run() -> None:
    """Chunks of several blocks, with other headers, or whose streams end elsewhere are decoded one by one."""
    nbytes = 4000
    codec, raws = build(nbytes), some(nbytes)
    good, noise = bytes(codec.encode(raws["steps"])), bytes(codec.encode(raws["noise"]))
    blocks = bytes(build(nbytes, blocksize=200).encode(raws["steps"]))
    uneven = bytes(build(nbytes, blocksize=300).encode(raws["steps"]))
    assert [struct.unpack("<8xI", chunk[:12]) for chunk in (blocks, uneven)] == [(200,), (300,)]
    (stream,) = struct.unpack("<I", good[HEAD : HEAD + 4])
    longer = good[:HEAD] + struct.pack("<I", stream + 1) + good[HEAD + 4 :]
    wrong = {
        "blocks": blocks,
        "a last block that is shorter": uneven,
        "another codec": bytes(build(nbytes, cname="zstd").encode(raws["steps"])),
        "another filter": bytes(build(nbytes, shuffle="bitshuffle").encode(raws["steps"])),
        "another item size": with_head(good, itemsize=2),
        "another size": bytes(build(nbytes - 4).encode(raws["steps"][4:])),
        "cut": good[:-1],
        "too long": good + b"x",
        "too long, and says so": with_head(good + b"x", encoded=len(good) + 1),
        "a stream that ends in the next chunk": longer,
        "a stream that ends far outside": good[:HEAD] + b"\xff\xff\xff\xff" + good[HEAD + 4 :],
        "a block that begins in the next chunk": with_head(good, start=len(good) + HEAD),
        "a block that begins within the header": with_head(good, start=8),
        "noise that is cut": noise[:-1],
        "noise that is cut, and says so": with_head(noise[:-1], encoded=len(noise) - 1),
        "nothing": b"",
        "a header": good[:16],
    }
    assert decoded(codec, [good, good, noise], nbytes) == raws["steps"] * 2 + raws["noise"]
    for what, chunk in wrong.items():
        for chunks in ([good, chunk], [chunk, good], [good, chunk, noise], [noise, chunk]):
            assert decoded(codec, chunks, nbytes) is None, what
    for itemsize in (0, 3):  # 3: does not divide the block
        odd = with_head(good, itemsize=itemsize)
        assert decoded(codec, [odd, odd], nbytes) is None


@settings(max_examples=400)
@given(st.data())
def test_damaged_runs(data: st.DataObject) -> None:
    """A run with damage is refused, fails, or holds what decoding one by one gives."""
    nbytes, count = 600, 3
    shuffle, name = data.draw(st.sampled_from(["noshuffle", "shuffle"])), data.draw(st.sampled_from(["lz4", "zstd"]))
    codec, raws = build(nbytes, 2, cname=name, shuffle=shuffle), list(some(nbytes).values())
    chunks = [bytearray(codec.encode(data.draw(st.sampled_from(raws)))) for _ in range(count)]
    for _ in range(data.draw(st.integers(1, 3))):
        chunk = chunks[data.draw(st.integers(0, count - 1))]
        end = len(chunk) - 1
        place = data.draw(
            st.one_of(st.integers(0, min(end, 40)), st.integers(0, end), st.integers(max(0, end - 4), end))
        )
        chunk[place] = data.draw(st.integers(0, 255))
    found = decoded(codec, chunks, nbytes)
    if found is not None:
        assert found == b"".join(bytes(codec.decode(bytes(chunk))) for chunk in chunks)
