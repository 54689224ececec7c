"""Reading parts of shards and decoding them whole are two routes to the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from tests.strategies import INDEX_CODECS, basic_keys, cases, chains, compressors, regular, stored, v3_document
from xzarr_backend.codecs.base import ChunkSpec
from xzarr_backend.codecs.pipeline import compile_pipeline
from xzarr_backend.codecs.sharding import ABSENT, parse_sharding, shard_parts
from xzarr_backend.dtypes import as_dtype
from xzarr_backend.formats.documents import format_json
from xzarr_backend.stores import MemoryStore

ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


def decoded_whole(array: xz.Array) -> Any:
    """Return the values of ``array``, decoding every stored object by its whole pipeline."""
    layout = array.layout
    values = np.full(array.shape, layout.fill, array.dtype)
    for coords in np.ndindex(layout.grid.counts):
        raw = array.store.get(layout.key(coords))
        if raw is None:
            continue
        chunk = layout.pipeline_for(layout.grid.chunk_shape(coords)).decode(raw)
        place = layout.grid.chunk_of(coords)
        values[place] = chunk[tuple(slice(0, piece.stop - piece.start) for piece in place)]
    return values


@pytest.mark.parametrize("layout", ["sharded", "nested", "transposed", "rectilinear"])
@given(data=st.data())
def test_parts_equal_the_whole(layout: str, data: st.DataObject) -> None:
    """Inner chunks that are read one by one hold what the whole shard decodes to."""
    case = data.draw(cases(layout))
    with stored(case) as array:
        assume(array.shards is not None)
        whole = decoded_whole(array)
        np.testing.assert_array_equal(whole, case.values)
        found = np.empty(array.shape, array.dtype)
        for index in data.draw(st.permutations(range(array.size)))[:20]:
            at = np.unravel_index(index, array.shape)
            found[at] = array[at]
            assert found[at] == whole[at]
        key = data.draw(basic_keys(array.shape))
        np.testing.assert_array_equal(array[key], whole[key])


@given(data=st.data())
def test_whole_encoding_equals_writing_by_parts(data: st.DataObject) -> None:
    """A shard that its pipeline encodes whole reads like one that was written through selections."""
    case = data.draw(cases(data.draw(st.sampled_from(["sharded", "nested", "transposed"]))))
    with stored(case, write=False) as array:
        layout = array.layout
        for coords in np.ndindex(layout.grid.counts):
            shape = layout.grid.chunk_shape(coords)
            chunk = np.full(shape, layout.fill, layout.dtype)
            piece = case.values[layout.grid.chunk_of(coords)]
            chunk[tuple(map(slice, piece.shape))] = piece
            array.store.set(layout.key(coords), layout.pipeline_for(shape).encode(chunk))
        np.testing.assert_array_equal(array[...], case.values)
        for index in range(0, array.size, 1 + array.size // 10):
            at = np.unravel_index(index, array.shape)
            assert array[at] == case.values[at]


@given(data=st.data())
def test_codecs_around_shards(data: st.DataObject) -> None:
    """Codecs behind sharding, and codecs before it that change values, leave only the whole shard to decode."""
    shape, shard, inner = (7, 9), (4, 6), (2, 3)
    before = data.draw(
        st.sampled_from(
            [
                [],
                [{"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}}],
                [{"name": "transpose", "configuration": {"order": [1, 0]}}],
            ]
        )
    )
    after = data.draw(compressors())
    assume(after or before)
    inner = inner[::-1] if before and before[0]["name"] == "transpose" else inner
    chain = data.draw(chains(2))
    codecs = [*before, shard_codec(inner, chain), *after]
    store = MemoryStore()
    store.set("zarr.json", format_json(v3_document(shape, np.dtype("i4"), 0, regular(shard), codecs)))
    array = xz.open_array(store, mode="r+")
    values = np.arange(63, dtype="i4").reshape(shape)
    array[...] = values
    array[3, 2:8] = values[3, 2:8] = -5
    np.testing.assert_array_equal(array[...], values)
    np.testing.assert_array_equal(decoded_whole(array), values)
    assert array[6, 8] == values[6, 8]
    np.testing.assert_array_equal(array[::-2, [1, 7, 3]], values[::-2, [1, 7, 3]])


def shard_codec(inner: Any, codecs: Any, location: str = "end") -> dict[str, Any]:
    """A sharding codec with a checked index."""
    configuration = {
        "chunk_shape": list(inner),
        "codecs": codecs,
        "index_codecs": INDEX_CODECS,
        "index_location": location,
    }
    return {"name": "sharding_indexed", "configuration": configuration}


@pytest.mark.parametrize("location", ["start", "end"])
def test_a_little_costs_a_little(location: str) -> None:
    """One element of a shard costs its index and one inner chunk, and the second time the inner chunk alone."""
    store = CountingStore(MemoryStore())
    codecs = [shard_codec((8,), [BYTES, ZSTD], location)]
    store.set("zarr.json", format_json(v3_document((256,), np.dtype("i4"), 0, regular((128,)), codecs)))
    writer = xz.open_array(store, mode="r+")
    writer[...] = np.arange(256)
    array = xz.open_array(store)
    store.reset()
    assert array[200] == 200
    assert [call.key for call in store.requests] == ["c/1", "c/1"]
    store.reset()
    assert array[130] == 130
    assert len(store.requests) == 1
    assert store.requests[0].byte_range is not None


@pytest.mark.parametrize("dtype", ["i4", "S3", "U3", str, bytes, np.dtype([("a", "i2"), ("b", "U1")])])
def test_shards_of_rank_0_that_are_encoded_whole(dtype: Any) -> None:
    """The only element of such a shard is an array for its codecs, whatever its data type."""
    kind = np.dtype(dtype)
    value = np.array((7, "x") if kind.names else b"7" if kind.kind == "S" else 7, kind)[()]
    inner = xz.create_array({}, shape=(), dtype=dtype).spec.codecs
    shards = {"chunk_shape": [], "codecs": [{"name": each.name, "configuration": each.configuration} for each in inner]}
    array = xz.create_array(
        {},
        shape=(),
        dtype=dtype,
        serializer={"name": "sharding_indexed", "configuration": shards},
        compressors="crc32c",
    )
    array[...] = value
    assert array[()] == value and array.nchunks_stored() == 1


def test_missing_inner_chunks_read_as_fill() -> None:
    """Inner chunks without an entry are the fill value, and are missing chunks for those who ask."""
    store = MemoryStore()
    codecs = [shard_codec((2,), [BYTES])]
    store.set("zarr.json", format_json(v3_document((8,), np.dtype("i4"), 9, regular((8,)), codecs)))
    xz.open_array(store, mode="r+")[2:4] = [1, 2]
    np.testing.assert_array_equal(xz.open_array(store)[...], [9, 9, 1, 2, 9, 9, 9, 9])
    np.testing.assert_array_equal(xz.open_array(store, missing="raise")[2:4], [1, 2])
    with pytest.raises(xz.ChunkError, match="not stored"):
        xz.open_array(store, missing="raise")[1:4]


@pytest.mark.parametrize("key", [((0, 3, 5), (1, 0, 2)), ((2, 2), (1, 2))])
def test_points_through_transposed_nested_shards(key: Any) -> None:
    """The dimensions that points are taken along may be others within a shard than in the array."""
    values = np.arange(1, 6 * 4 * 4 + 1, dtype="i4").reshape(6, 4, 4)
    nested = shard_codec((2, 4, 2), [shard_codec((1, 2, 1), [BYTES, ZSTD])])
    transpose = {"name": "transpose", "configuration": {"order": [2, 0, 1]}}
    store = MemoryStore()
    document = v3_document((6, 4, 4), np.dtype("i4"), 0, regular((4, 4, 4)), [transpose, nested])
    store.set("zarr.json", format_json(document))
    xz.open_array(store, mode="r+")[...] = values
    array = xz.open_array(store)
    np.testing.assert_array_equal(array[...], values)
    rows, columns = map(list, key)
    np.testing.assert_array_equal(array.vindex[rows, columns], values[rows, columns])
    np.testing.assert_array_equal(array.vindex[:, columns, columns], values[:, columns, columns].T)


def test_untouched_inner_chunks_keep_their_bytes() -> None:
    """Writing a part of a shard copies the other inner chunks as they are, even what cannot be decoded."""
    store = MemoryStore()
    codecs = [shard_codec((4,), [BYTES])]
    store.set("zarr.json", format_json(v3_document((8,), np.dtype("i4"), 0, regular((8,)), codecs)))
    array = xz.open_array(store, mode="r+")
    array[...] = np.arange(8)
    shards = array.layout.shards
    assert shards is not None
    raw = bytearray(store.get("c/0"))
    raw[0:4] = b"\xff\xff\xff\xff"
    store.set("c/0", raw)
    array[5] = 50
    assert array[0] == -1
    np.testing.assert_array_equal(array[1:], [1, 2, 3, 4, 50, 6, 7])


@given(data=st.data())
def test_a_changed_shard_holds_the_old_chunks_and_the_new(data: st.DataObject) -> None:
    """Whatever the order of the old inner chunks, the bytes between them, and which of them are replaced or removed."""
    location = data.draw(st.sampled_from(["start", "end"]))
    configuration = {"chunk_shape": [2, 3], "codecs": [BYTES], "index_codecs": INDEX_CODECS, "index_location": location}
    sharding = parse_sharding(configuration, ChunkSpec((6, 9), as_dtype("uint8"), np.uint8(0)))
    chunks = st.one_of(st.none(), st.binary(max_size=5))
    stored = {at: chunk for at in range(9) if (chunk := data.draw(chunks)) is not None}
    index, body = np.full((9, 2), ABSENT, "u8"), bytearray(data.draw(st.binary(max_size=3)))
    first = sharding.index_nbytes if location == "start" else 0
    for at in data.draw(st.permutations(sorted(stored))):
        index[at] = first + len(body), len(stored[at])
        body += stored[at] + data.draw(st.sampled_from([b"", b"", b"dead"]))
    if stored and data.draw(st.booleans()):  # two entries may point at the same bytes
        same = data.draw(st.sampled_from(sorted(stored)))
        index[0], stored[0] = index[same], stored[same]
    encoded = bytes(sharding.index_pipeline.encode(index.reshape(3, 3, 2)))
    shard = memoryview(encoded + body if location == "start" else body + encoded)
    changes = data.draw(st.dictionaries(st.integers(0, 8), chunks))
    expected = {**stored, **changes}
    written = memoryview(b"".join(shard_parts(sharding, changes, (shard, sharding.index_of(shard)))))
    found = {
        at: bytes(written[start : start + nbytes])
        for at, (start, nbytes) in enumerate(sharding.index_of(written).tolist())
        if start != ABSENT
    }
    assert found == {at: chunk for at, chunk in expected.items() if chunk is not None}
    assert len(written) == sharding.index_nbytes + sum(map(len, found.values())), "nothing dead is kept"


def test_changing_one_chunk_copies_the_others_at_once() -> None:
    """The neighbours of a changed inner chunk are two parts of the new shard, however many they are."""
    configuration = {"chunk_shape": [1], "codecs": [BYTES], "index_codecs": INDEX_CODECS}
    sharding = parse_sharding(configuration, ChunkSpec((100,), as_dtype("uint8"), np.uint8(0)))
    shard = memoryview(b"".join(shard_parts(sharding, {at: bytes([at]) for at in range(100)})))
    parts = shard_parts(sharding, {40: b"new"}, (shard, sharding.index_of(shard)))
    assert [bytes(part) for part in parts[:3]] == [bytes(range(40)), bytes(range(41, 100)), b"new"]
    assert len(parts) == 4


def test_pipelines_of_parts_and_wholes_agree_on_byte_order() -> None:
    """Big-endian elements that fill a place of the result are swapped, and not taken as they are."""
    for codecs in ([BYTES], [{"name": "bytes", "configuration": {"endian": "big"}}, ZSTD]):
        store = MemoryStore()
        store.set("zarr.json", format_json(v3_document((4,), np.dtype("i4"), 0, regular((4,)), codecs)))
        array = xz.open_array(store, mode="r+")
        array[...] = [1, 2, 3, 4]
        pipeline = compile_pipeline(array.spec.codecs, array.layout.pipeline.spec)
        assert pipeline.decode(store.get("c/0")).tolist() == [1, 2, 3, 4]
        assert array[...].tolist() == [1, 2, 3, 4]
