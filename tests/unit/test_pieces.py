"""Pieces of one memory: a sequence of views, and joined whatever their order and what lies between them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from xzarr_backend.pieces import MOST_SPARSE, Pieces, gather, join_behind

MEMORY = bytes(range(256)) * 4


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Return spans in `MEMORY`, in any order; they may overlap, and some are empty."""
    starts = draw(st.lists(st.integers(0, len(MEMORY)), min_size=1, max_size=12))
    return [(start, draw(st.integers(0, len(MEMORY) - start))) for start in starts]


@given(spans(), st.integers(0, 40))
def test_pieces_are_their_bytes(places: list[tuple[int, int]], room: int) -> None:
    """Taken one by one, in part, or joined."""
    expected = [MEMORY[start : start + nbytes] for start, nbytes in places]
    pieces = Pieces(memoryview(MEMORY), np.array(places, np.int64))
    assert [bytes(piece) for piece in pieces] == expected
    assert [bytes(pieces[at]) for at in range(-len(places), len(places))] == expected * 2
    assert [bytes(piece) for piece in pieces[1:]] == expected[1:]
    assert len(pieces) == len(expected)
    for chunks in (pieces, expected):
        joined, starts, sizes = join_behind(room, chunks)
        found = [joined[start : start + nbytes].tobytes() for start, nbytes in zip(starts, sizes, strict=True)]
        assert found == expected
        assert (starts >= room).all()
        assert len(joined) <= room + MOST_SPARSE * sum(map(len, expected))
        joined[:] = 0  # its memory is nobody else's
    assert [bytes(piece) for piece in pieces] == expected


@given(st.data())
def test_pieces_of_one_size_are_gathered(data: st.DataObject) -> None:
    """In any order, some more than once; nothing is copied where one lies elsewhere, has another size or is cut off."""
    nbytes, first = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 40))
    most = (len(MEMORY) - first) // nbytes
    rows = data.draw(st.lists(st.integers(0, most - 1), min_size=1, max_size=12))
    places = np.array([(first + nbytes * row, nbytes) for row in rows], np.int64)
    out = np.full((len(rows) + 2) * nbytes, 0xA5, np.uint8)
    goal = out[nbytes:-nbytes]
    assert gather(Pieces(memoryview(MEMORY), places), goal)
    assert goal.tobytes() == b"".join(MEMORY[start : start + nbytes] for start, _ in places)
    assert (out[:nbytes] == 0xA5).all() and (out[-nbytes:] == 0xA5).all()
    goal[:] = 0xA5
    at = data.draw(st.integers(0, len(rows) - 1))
    for column, by in ((0, 1), (0, -1), (1, 1), (1, -1)):
        moved = places.copy()
        moved[at, column] += by
        apart = nbytes > 1 and len(rows) > 1
        if moved.min() >= 0 and (column or apart):
            assert not gather(Pieces(memoryview(MEMORY), moved), goal)
    cut = memoryview(MEMORY)[: int(places.max(axis=0)[0]) + nbytes - 1]
    assert not gather(Pieces(cut, places), goal)
    assert (out == 0xA5).all()


Order = Callable[[list[bytes]], tuple[bytes, list[int]]]


def reversed_order(chunks: list[bytes]) -> tuple[bytes, list[int]]:
    """Return the chunks from the last one to the first, and where each of them lies."""
    ends = np.cumsum([len(chunk) for chunk in reversed(chunks)])
    return b"".join(reversed(chunks)), [int(ends[-1 - at]) - len(chunk) for at, chunk in enumerate(chunks)]


def shuffled_with_gaps(gap: int) -> Order:
    """Return what lays chunks in any order, with up to ``gap`` bytes of noise between them."""

    def lay(chunks: list[bytes]) -> tuple[bytes, list[int]]:
        chance, data, places = random.Random(7), b"", {}
        for at in chance.sample(range(len(chunks)), len(chunks)):
            data += chance.randbytes(chance.randint(0, gap))
            places[at] = len(data)
            data += chunks[at]
        return data, [places[at] for at in range(len(chunks))]

    return lay


def equal_ones_once(chunks: list[bytes]) -> tuple[bytes, list[int]]:
    """Return chunks of which equal ones lie at one place."""
    data, places = b"", dict[bytes, int]()
    for chunk in chunks:
        if chunk not in places:
            places[chunk] = len(data)
            data += chunk
    return data, [places[chunk] for chunk in chunks]


ORDERS = {
    "reversed": reversed_order,
    "shuffled": shuffled_with_gaps(0),
    "small gaps": shuffled_with_gaps(40),
    "large gaps": shuffled_with_gaps(4000),
    "equal ones once": equal_ones_once,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", None])
def test_shards_laid_out_otherwise(tmp_path: Path, codec: str | None, order: str) -> None:
    """Other writers order the inner chunks of a shard as they like, leave gaps, or store equal ones once."""
    values = np.arange(64 * 96, dtype="f4").reshape(64, 96) % 311
    values[16:32, :24] = values[32:48, :24] = values[:16, :24]  # three inner chunks are equal
    values[:, 48:].view("u4")[...] = np.random.default_rng(7).integers(2**32, size=(64, 48))  # all of one size
    compressors = codec and {"name": codec, "configuration": {}}
    array = xz.create_array(tmp_path, data=values, chunks=(16, 24), shards=(64, 48), compressors=compressors)
    assert array.layout.shards is not None
    encode, count = array.layout.shards.sharding.index_pipeline.encode, 4 * 2
    for path in (tmp_path / "c/0/0", tmp_path / "c/0/1"):
        shard = path.read_bytes()
        index = np.frombuffer(shard[-16 * count - 4 : -4], "<u8").reshape(count, 2)
        chunks = [shard[start : start + nbytes] for start, nbytes in index.tolist()]
        data, starts = ORDERS[order](chunks)
        entries = np.array([*zip(starts, map(len, chunks), strict=True)], "u8").reshape(4, 2, 2)
        path.write_bytes(data + bytes(encode(entries)))
    again = xz.open_array(tmp_path)
    np.testing.assert_array_equal(again[...], values)
    np.testing.assert_array_equal(again[3:, 5:91], values[3:, 5:91])
    np.testing.assert_array_equal(again[17, 30:40], values[17, 30:40])
