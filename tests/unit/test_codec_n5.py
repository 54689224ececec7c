"""Blocks of N5, whose header gives them a shape of their own."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from xzarr_backend.codecs import ChunkSpec, lookup
from xzarr_backend.dtypes import as_dtype
from xzarr_backend.errors import ChunkError, MetadataError

CHAIN = [
    {"name": "transpose", "configuration": {"order": [1, 0]}},
    {"name": "bytes", "configuration": {"endian": "big"}},
]
SPEC = ChunkSpec((3, 4), as_dtype("int16"), np.int16(7))


def block(shape: tuple[int, ...], data: np.ndarray, mode: int = 0) -> bytes:
    """Return a block as the N5 specification lays it out: header, then big-endian elements in F order."""
    return struct.pack(f">HH{len(shape)}I", mode, len(shape), *shape) + data.astype(">i2").tobytes("F")


def test_a_whole_block_is_the_header_and_the_elements_in_f_order() -> None:
    """What is written is laid out as N5 demands, and read back."""
    codec = lookup("n5_default").factory({"codecs": CHAIN}, SPEC)
    data = np.arange(12, dtype="i2").reshape(3, 4)
    assert codec.encode(data) == block((3, 4), data)
    np.testing.assert_array_equal(codec.decode(block((3, 4), data)), data)


def test_a_block_cut_off_at_the_edge_is_padded_with_the_fill_value() -> None:
    """Java writers cut the last blocks off."""
    codec = lookup("n5_default").factory({"codecs": CHAIN}, SPEC)
    data = np.arange(6, dtype="i2").reshape(2, 3)
    expected = np.full((3, 4), 7, "i2")
    expected[:2, :3] = data
    np.testing.assert_array_equal(codec.decode(block((2, 3), data)), expected)


def test_blocks_that_are_padded_themselves() -> None:
    """At the edges of grids of other lengths, the chunk is the part that they share (step 4 of decoding)."""
    codec = lookup("n5_default").factory({"codecs": CHAIN}, SPEC)
    data = np.arange(15, dtype="i2").reshape(3, 5)
    np.testing.assert_array_equal(codec.decode(block((3, 5), data)), data[:, :4])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        block((3, 4), np.zeros((3, 4)), mode=1),
        block((3,), np.zeros(3)),
        block((2**14, 2**14), np.zeros((3, 5))),
        block((3, 4), np.zeros((2, 4))),
    ],
    ids=["empty", "varlength", "rank", "far larger than the chunk", "too few elements"],
)
def test_wrong_blocks_are_refused(raw: bytes) -> None:
    """A header that does not fit the chunk is an error, never values."""
    codec = lookup("n5_default").factory({"codecs": CHAIN}, SPEC)
    with pytest.raises(ChunkError):
        codec.decode(raw)


def test_the_codec_does_not_nest() -> None:
    """A header within a header has no meaning."""
    with pytest.raises(MetadataError, match="n5_default"):
        lookup("n5_default").factory({"codecs": [{"name": "n5_default", "configuration": {"codecs": CHAIN}}]}, SPEC)
