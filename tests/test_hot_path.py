"""What a chunk, an open and a read cost, counted: Python calls, memory, requests. Nothing is timed here."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import collecting, executor, shard_cutting, shard_reading
from xzarr_backend.executor import inline
from xzarr_backend.shard_cutting import MOST_KEPT
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

OWN = str(Path(xz.__file__).parent) + os.sep
HERE = __file__
SIDE = 32  # chunks are cubes of this side: 64 KiB of uint16
IN_SHARD = 32  # inner chunks in a shard

ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
V2: dict[str, Any] = {"zarr_format": 2}
V3: dict[str, Any] = {"zarr_format": 3}
KINDS: dict[str, dict[str, Any]] = {
    "raw": {**V3, "compressors": None},
    "zstd": {**V3, "compressors": ZSTD},
    "blosc": {**V2, "compressors": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    "zlib": {**V2, "compressors": {"id": "zlib", "level": 1}},
    "sharded zstd": {**V3, "compressors": ZSTD, "shards": (SIDE * IN_SHARD, SIDE, SIDE)},
}
# decoded in runs where their shard was fetched whole
IN_PIECES: dict[str, dict[str, Any]] = {
    "sharded raw": {**KINDS["sharded zstd"], "compressors": None},
    "sharded blosc": {**KINDS["sharded zstd"], "compressors": {"name": "blosc", "configuration": {"clevel": 5}}},
}
OWN_CALLS, OTHER_CALLS = 8, 12  # at most, per chunk
WRITTEN_CALLS, OF_A_WRITTEN_RUN = (36, 20), (7, 4)  # own and other; every chunk of this array has its own folder
OF_AN_ELEMENT = 40, 12  # of which the decoding of a zstd frame takes half
OF_A_RUN = 4, 2  # where many chunks are decoded with one call


def values(count: int) -> Any:
    """A column of ``count`` cubes; their lowest bits are noise, so that codecs have something to do."""
    rng = np.random.default_rng(1)
    return (
        (np.arange(count * SIDE**3) // 64 * 4 + rng.integers(0, 4, count * SIDE**3))
        .astype("u2")
        .reshape(-1, SIDE, SIDE)
    )


def make(folder: Path, kind: str, count: int) -> xz.Array:
    """Return an array of ``count`` chunks (inner chunks, where sharded) in a local store."""
    place = folder / f"{kind} {count}"
    if not place.exists():
        xz.create_array(place, data=values(count), chunks=(SIDE,) * 3, **(KINDS | IN_PIECES)[kind])
    return xz.open_array(place)


class Calls(NamedTuple):
    """How many Python functions were called, those of this package and others."""

    own: int
    other: int
    names: Counter[str]


def calls_of(work: Callable[[], object]) -> Calls:
    """Count the calls of Python functions while ``work`` runs, everything on this thread."""
    names: Counter[str] = Counter()

    def seen(frame: Any, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename != HERE:
            names[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1

    with inline(), collecting.paused():  # finalizers would be counted, too
        work()  # fill every cache before
        sys.setprofile(seen)
        try:
            work()
        finally:
            sys.setprofile(None)
    own = sum(count for name, count in names.items() if name.startswith(OWN))
    return Calls(own, sum(names.values()) - own, names)


def slopes(folder: Path, kind: str, read: Callable[[xz.Array], object], n: int = 32) -> tuple[float, float]:
    """Return the calls per chunk, own and other, between ``n`` and ``2 * n`` chunks."""
    few, many = (calls_of(partial(read, make(folder, kind, count))) for count in (n, 2 * n))
    return (many.own - few.own) / n, (many.other - few.other) / n


# another way of reading, that cannot decode in place
READS: dict[str, Callable[[xz.Array], object]] = {
    "whole": lambda array: array[...],
    "a column through all chunks": lambda array: array[:, 5, 7],
}


@pytest.mark.parametrize("way", READS)
@pytest.mark.parametrize("kind", KINDS)
def test_calls_per_chunk(kind: str, way: str, tmp_path: Path, record_property: Any) -> None:
    """A chunk costs at most 8 calls of our own functions and 12 of others; one among many in a shard, 4 and 2."""
    own, other = slopes(tmp_path, kind, READS[way])
    most_own, most_other = OF_A_RUN if kind == "sharded zstd" else (OWN_CALLS, OTHER_CALLS)
    record_property("own calls per chunk", own)
    record_property("other calls per chunk", other)
    print(f"{kind}, {way}: {own:g} own calls per chunk, {other:g} others")
    assert own <= most_own
    assert other <= most_other


@pytest.mark.parametrize("kind", IN_PIECES)
def test_calls_per_piece(kind: str, tmp_path: Path) -> None:
    """Nor do chunks cost more that would be decoded one by one if they did not lie in one memory."""
    own, other = slopes(tmp_path, kind, READS["whole"])
    print(f"{kind}: {own:g} own calls per chunk, {other:g} others")
    assert own <= OF_A_RUN[0]
    assert other <= OF_A_RUN[1]


@pytest.mark.parametrize("kind", KINDS)
def test_calls_per_chunk_written(kind: str, tmp_path: Path) -> None:
    """Writing costs as much, and an inner chunk among many, which are encoded with one call, next to nothing."""

    def rewrite(array: xz.Array) -> None:
        assert isinstance(array.store, LocalStore)
        xz.open_array(array.store.root, mode="r+")[...] = whole[: array.shape[0]]

    whole = values(64)
    own, other = slopes(tmp_path, kind, rewrite)
    print(f"{kind}: {own:g} own calls per chunk written, {other:g} others")
    most_own, most_other = OF_A_WRITTEN_RUN if kind == "sharded zstd" else WRITTEN_CALLS
    assert own <= most_own
    assert other <= most_other


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_reading_an_element(kind: str, tmp_path: Path) -> None:
    """One element costs the finding of its chunk and the decoding, and no plan."""
    array = make(tmp_path, kind, 2 * IN_SHARD)
    calls = calls_of(lambda: array[5:6, 7:8, 9:10])
    print(f"{kind}: {calls.own} own calls for an element, {calls.other} others")
    assert calls.own <= OF_AN_ELEMENT[0]
    assert calls.other <= OF_AN_ELEMENT[1]
    assert not [name for name in calls.names if name.endswith((":plan", ":plan_axis", ":read_shards", ":read_chunks"))]


def test_slopes_do_not_grow(tmp_path: Path) -> None:
    """The cost per chunk is the same between 32 and 64 as between 64 and 128 chunks."""
    assert slopes(tmp_path, "zstd", READS["whole"], 32) == slopes(tmp_path, "zstd", READS["whole"], 64)


# --- memory --------------------------------------------------------------------------------------------------------

# Codecs whose library has no way to decode into given memory, or only a slow one: they may allocate the decoded chunk.
NO_DECODE_INTO = {
    "zlib": "zlib and libdeflate give new bytes",
    "zstd": "for small chunks, zstandard, which gives new bytes, beats making a context for each",
    "sharded zstd": "the same",
    "blosc": "for small chunks, what numcodecs does to look at memory given to it costs more than copying its bytes",
}
AROUND = 12 * 1024  # bytes of Python objects around a chunk


def largest_growth(work: Callable[[], object]) -> int:
    """Return the peak of traced memory over what was there before and the result itself, in bytes."""
    with inline():
        work()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            result = work()
            peak = tracemalloc.get_traced_memory()[1] - before
            return peak - getattr(result, "nbytes", 0)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_a_read(kind: str, tmp_path: Path) -> None:
    """Beside the result a read holds one encoded chunk (shard), and a decoded one only where that is listed."""
    array = make(tmp_path, kind, 2 * IN_SHARD)
    encoded = max(size for key, size in array.store.walk("") if key != "zarr.json" and size is not None)
    allowed = encoded + (SIDE**3 * 2 if kind in NO_DECODE_INTO else 0)
    assert largest_growth(lambda: array[...]) <= allowed + AROUND
    if kind not in NO_DECODE_INTO:
        assert encoded + AROUND < SIDE**3 * 2 or kind == "raw", "a decoded chunk would be seen"


def test_large_chunks_decode_in_place(tmp_path: Path) -> None:
    """Large zstd chunks are never decoded anywhere but in the result or in memory that all of them share."""
    data = np.repeat(np.arange(2**17, dtype="u8"), 8)
    xz.create_array(tmp_path, data=data, chunks=(2**18,), compressors=ZSTD)
    array = xz.open_array(tmp_path)
    assert largest_growth(lambda: array[...]) < 2**20, "a chunk has 2 MiB"
    assert largest_growth(lambda: array[5::3]) < 2**20


def test_memory_does_not_grow_with_the_chunks(tmp_path: Path) -> None:
    """What a read holds beside the result is the same for many chunks as for few, but for their places in the plan."""
    few, many = (make(tmp_path, "zstd", count) for count in (IN_SHARD, 4 * IN_SHARD))
    grown = largest_growth(lambda: many[...]) - largest_growth(lambda: few[...])
    assert grown <= 3 * IN_SHARD * 1024


def test_one_allocation_of_the_result(tmp_path: Path) -> None:
    """The result is allocated once: the peak stays below one and a half of it."""
    array = make(tmp_path, "zstd", 64)
    tracemalloc.start()
    try:
        with inline():
            result = array[...]
        assert result.nbytes <= tracemalloc.get_traced_memory()[1] < 1.5 * result.nbytes
    finally:
        tracemalloc.stop()


class _Watching(LocalStore):
    """Remembers where in a page the memory begins that it reads into."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.places: set[int] = set()

    def get(self, key: str, byte_range: Any = None, scratch: memoryview | None = None) -> Any:
        if scratch is not None and len(scratch) > 64 * 1024:
            self.places.add(np.frombuffer(scratch, "u1").ctypes.data % 64)
        return super().get(key, byte_range, scratch)


@pytest.mark.parametrize("kind", ["raw", "zstd", "sharded zstd"])
def test_memory_is_aligned(kind: str, tmp_path: Path) -> None:
    """What large objects are read into begins on a cache line, and so do large results."""
    xz.create_array(tmp_path, data=values(64), chunks=(2 * SIDE, SIDE, SIDE), **(KINDS[kind] | {"shards": None}))
    store = _Watching(tmp_path)
    array = xz.open_array(store)
    for key in (..., slice(3, 50), np.s_[:, 4:20]):
        assert array[key].ctypes.data % 64 == 0
    assert store.places == {0}


def test_shards_that_are_fetched_ahead_share_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards a read with several threads fetches, it takes memory for a few."""
    monkeypatch.setattr(executor, "_cores", lambda: 2)
    data = np.repeat(np.arange(64 * 2**15, dtype="u8"), 4).reshape(64, -1)
    xz.create_array(tmp_path, data=data, chunks=(1, 2**15), shards=(1, 2**17), compressors=ZSTD)
    places: set[int] = set()

    class Watching(LocalStore):
        def get(self, key: str, byte_range: Any = None, scratch: memoryview | None = None) -> Any:
            if key != "zarr.json":
                assert scratch is not None
                places.add(np.frombuffer(scratch, "u1").ctypes.data)
            return super().get(key, byte_range, scratch)

    np.testing.assert_array_equal(xz.open_array(Watching(tmp_path))[...], data)
    assert 1 <= len(places) <= executor.AHEAD + 5, "those that wait, those being decoded, and the next one"


def test_raw_chunks_are_read_to_their_place(tmp_path: Path) -> None:
    """A raw chunk that is contiguous in the result needs no memory but the result's."""
    array = make(tmp_path, "raw", 64)
    chunk = SIDE**3 * 2
    assert largest_growth(lambda: array[...]) < chunk / 2
    assert largest_growth(lambda: array[SIDE : 40 * SIDE]) < chunk / 2


def test_an_append_compiles_no_codecs(tmp_path: Path) -> None:
    """An array that grows keeps its compiled codecs."""
    array = xz.create_array(tmp_path, shape=(0, SIDE), dtype="u2", chunks=(4, SIDE), compressors=ZSTD)
    block = np.ones((3, SIDE), "u2")
    array.append(block)
    calls = calls_of(lambda: array.append(block))
    assert not [name for name in calls.names if name.endswith((":compile_pipeline", ":parse_sharding"))]
    assert array.shape == (9, SIDE)


# --- requests ------------------------------------------------------------------------------------------------------


def counted(objects: dict[str, bytes]) -> CountingStore:
    """Return a store that counts, misses included."""
    return CountingStore(MemoryStore(objects, read_only=True))


def group_of(zarr_format: int, count: int) -> dict[str, bytes]:
    """Return the objects of a group of ``count`` arrays, some attributes among them."""
    store = MemoryStore()
    xz.create_group(store, attributes={"title": "x"}, zarr_format=zarr_format)
    for number in range(count):
        attributes = {"units": "m"} if number % 2 else None
        xz.create_array(
            store, f"v{number}", data=np.arange(6), chunks=(2,), attributes=attributes, zarr_format=zarr_format
        )
    return {key: bytes(value) for key, value in store.inner.items()}


def consolidated(objects: dict[str, bytes], zarr_format: int) -> dict[str, bytes]:
    """Return ``objects`` with the consolidated metadata of their root."""
    import json

    metadata = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
    found = {key: json.loads(raw) for key, raw in objects.items() if key.rpartition("/")[2] in metadata}
    if zarr_format == 2:
        document = {"zarr_consolidated_format": 1, "metadata": found}
        return {**objects, ".zmetadata": json.dumps(document).encode()}
    root = found.pop("zarr.json")
    members = {key.removesuffix("/zarr.json"): value for key, value in found.items()}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
    return {**objects, "zarr.json": json.dumps(root).encode()}


def folders_of_arrays(requests: Any) -> list[str]:
    """Return the listings of anything but the root."""
    return [call.key for call in requests if call.operation in ("list_dir", "walk") and call.key]


@pytest.mark.parametrize(("zarr_format", "most"), [(3, 1), (2, 2)])
def test_requests_of_opening_consolidated(zarr_format: int, most: int) -> None:
    """A consolidated group and all its members cost one request (v3) or two (v2), and no listing."""
    store = counted(consolidated(group_of(zarr_format, 20), zarr_format))
    group = xz.open_group(store)
    assert len(dict(group.members())) == 20
    assert [node.attrs for _, node in group.members()]
    assert store.count() <= most
    assert group.attrs["title"] == "x"


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_requests_of_opening_a_group(zarr_format: int, count: int) -> None:
    """A group of n arrays costs n + 1 requests (v3) or 2 n + 3 (v2), and one listing, of its own folder."""
    store = counted(group_of(zarr_format, count))
    group = xz.open_group(store)
    assert len(dict(group.members())) == count
    listings = store.count("list_dir", "walk")
    assert listings == 1
    assert not folders_of_arrays(store.requests)
    assert store.count() - listings <= (count + 1 if zarr_format == 3 else 2 * count + 3)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_requests_of_opening_an_array(zarr_format: int) -> None:
    """An array is opened by its own documents: one (v3), or three that may be missing or there (v2); nothing listed."""
    store = counted(group_of(zarr_format, 3))
    xz.open_array(store, "v1")
    assert store.count("list_dir", "walk") == 0
    assert store.count() <= (1 if zarr_format == 3 else 4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_object_is_fetched_once(kind: str) -> None:
    """A read fetches the objects that it needs, each of them once, and looks at no others."""
    inner = MemoryStore()
    xz.create_array(inner, "a", data=values(8), chunks=(SIDE,) * 3, **KINDS[kind])
    store = CountingStore(inner)
    array = xz.open_array(store, "a")
    for key, needed in ((..., 8), (slice(SIDE, 5 * SIDE), 4), (np.array([0, 1, 2 * SIDE, 1, 0]), 2)):
        store.reset()
        expected = values(8)[key]
        np.testing.assert_array_equal(array[key], expected)
        fetched = Counter((call.key, call.byte_range) for call in store.requests)
        assert set(fetched.values()) == {1}, "nothing is fetched twice"
        assert not store.count("size", "list_dir", "walk")
        if kind != "sharded zstd":
            assert len(fetched) == needed


def test_whole_shards_are_one_request() -> None:
    """Reading all of a shard fetches it with one request; a little of it, the index and the ranges."""
    inner = MemoryStore()
    kind = {**KINDS["sharded zstd"], "shards": (4 * SIDE, SIDE, SIDE)}
    xz.create_array(inner, "a", data=values(8), chunks=(SIDE,) * 3, **kind)
    store = CountingStore(inner)
    array = xz.open_array(store, "a")
    store.reset()
    array[...]
    assert [(call.key, call.byte_range) for call in store.requests] == [("a/c/0/0/0", None), ("a/c/1/0/0", None)]
    store.reset()
    array[0, 0, 0]
    assert store.count() == 2


def test_parts_of_shards_are_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a read needs of a shard is worked out once for all reads of the same; few plans are kept, no long ones."""
    array = xz.create_array(MemoryStore(), data=values(64), chunks=(SIDE,) * 3, **KINDS["sharded zstd"])
    shards, whole = array.layout.shards, IN_SHARD * SIDE
    assert shards is not None
    expected = values(64)
    for key in (slice(0, whole), slice(5, 3 * SIDE, 7)):
        np.testing.assert_array_equal(array[key], expected[key])
        again = slice(key.start + whole, key.stop + whole, key.step)
        calls = calls_of(lambda again=again: np.testing.assert_array_equal(array[again], expected[again]))
        assert calls.names[f"{shard_cutting.__file__}:Cutter.cut"]
        assert not calls.names[f"{shard_cutting.__file__}:Cutter._new"]
    for at in range(3 * MOST_KEPT):
        np.testing.assert_array_equal(array[at : at + 50], expected[at : at + 50])
        assert 0 < len(shards.cuts) <= MOST_KEPT
    monkeypatch.setattr(shard_cutting, "LARGEST_KEPT", 2)
    shards.cuts.clear()
    np.testing.assert_array_equal(array[SIDE - 1 : SIDE + 1], expected[SIDE - 1 : SIDE + 1])
    assert array[0, 0, 0] == expected[0, 0, 0]
    array[: 5 * SIDE]
    assert [cut.numbers.tolist() for cut in shards.cuts.values()] == [[0, 1]]


class _Remote(CountingStore):
    """A store that is asked for many objects at once."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.concurrent = True


def test_points_in_one_shard_share_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of each inner chunk go to their places in the result, from whatever thread; nothing else is needed."""
    shared: list[tuple[int, int]] = []

    def run(work: Any, items: Any, count: int, threads: int) -> None:
        shared.append((count, threads))
        executor.run(work, items, count, threads)

    monkeypatch.setattr(executor, "_cores", lambda: 2)
    monkeypatch.setattr(shard_reading, "run", run)
    data = values(IN_SHARD)
    array = xz.create_array(MemoryStore(), data=data, chunks=(SIDE,) * 3, **KINDS["sharded zstd"])
    points = [np.random.default_rng(2).integers(0, length, 200) for length in data.shape]
    np.testing.assert_array_equal(array.vindex[tuple(points)], data[tuple(points)])
    np.testing.assert_array_equal(array.vindex[points[0], :5, points[2]], data[points[0], :5, points[2]])
    assert len(shared) == 2
    assert all(count > 1 and threads == 2 for count, threads in shared)


def test_raw_shards_are_fetched_by_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to decode while another thread fetches; compressed ones are fetched ahead by one thread."""
    ahead: list[str] = []

    def run_fetched(*arguments: Any, **keywords: Any) -> None:
        ahead.append(kind)
        executor.run_fetched(*arguments, **keywords)

    monkeypatch.setattr(executor, "_cores", lambda: 2)
    monkeypatch.setattr(shard_reading, "run_fetched", run_fetched)
    for kind in IN_PIECES:
        array = make(tmp_path, kind, 2 * IN_SHARD)
        np.testing.assert_array_equal(array[...], values(2 * IN_SHARD))
        np.testing.assert_array_equal(array[:, 5], values(2 * IN_SHARD)[:, 5])
    assert ahead == ["sharded blosc"] * 2


def test_columns_of_raw_rows_read_their_elements_alone(tmp_path: Path) -> None:
    """Rows of 10 to 16 KiB, of which a column needs a few bytes each, are not read to skip them."""
    asked: list[tuple[int, int]] = []

    class Watching(LocalStore):
        def get_strided(self, key: str, starts: range, nbytes: int) -> bytes | None:
            asked.append((len(starts), nbytes))
            return super().get_strided(key, starts, nbytes)

    data = np.arange(200 * 4000, dtype="f4").reshape(200, 4000)
    xz.create_array(tmp_path, data=data, chunks=(100, 4000), compressors=None)
    np.testing.assert_array_equal(xz.open_array(Watching(tmp_path))[:, 7:9], data[:, 7:9])
    assert asked == [(100, 8)] * 2


def test_shards_of_a_remote_store_come_in_waves() -> None:
    """Whole shards are fetched at once; parts of many shards with one wave for indexes, and one for what they say."""
    inner = MemoryStore()
    kind = {**KINDS["sharded zstd"], "shards": (4 * SIDE, SIDE, SIDE)}
    xz.create_array(inner, data=values(32), chunks=(SIDE,) * 3, **kind)
    inner.delete("c/3/0/0")
    expected = values(32)
    expected[12 * SIDE : 16 * SIDE] = 0
    store = _Remote(inner)
    array = xz.open_array(store)
    store.waves.clear()
    np.testing.assert_array_equal(array[...], expected)
    assert store.waves in ([8], [8, 1])  # the missing one may be asked for its index
    store.waves.clear()
    np.testing.assert_array_equal(array[:: 4 * SIDE], expected[:: 4 * SIDE])
    assert len(store.waves) == 2


def test_opening_reads_no_chunks(tmp_path: Path) -> None:
    """Facts about an array come from its metadata."""
    make(tmp_path, "sharded zstd", 8)
    store = CountingStore(LocalStore(tmp_path / "sharded zstd 8"))
    array = xz.open_array(store)
    store.reset()
    facts = (array.shape, array.chunks, array.shards, array.nchunks, array.fill_value, array.codecs, repr(array))
    assert all(fact is not None for fact in facts)
    assert store.count() == 0


# --- opening, in Python calls --------------------------------------------------------------------------------------

OPEN_CALLS = {"array": 28, "variable": 44}  # of our own, for each more of them in a group


def varied(folder: Path, zarr_format: int, count: int, merged: bool) -> Path:
    """Return a group of ``count`` arrays of different shapes, types and attributes."""
    place = folder / f"{zarr_format} {count} {merged}"
    store = LocalStore(place)
    xz.create_group(store, zarr_format=zarr_format)
    for number in range(count):
        xz.create_array(
            store,
            f"v{number}",
            data=np.zeros((3 + number % 9, 4), ("f4", "i2", "u1")[number % 3]),
            chunks=(2, 2),
            attributes={"units": "m", "long_name": f"variable {number}", "number": number},
            zarr_format=zarr_format,
            dimension_names=[f"d{number % 9}", "x"],
        )
    if merged:
        xz.consolidate_metadata(store)
    return place


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_calls_of_opening(zarr_format: int, merged: bool, tmp_path: Path) -> None:
    """One more array costs a group few calls, and its dataset few more, however much the arrays differ."""
    xr = pytest.importorskip("xarray")

    def arrays(place: Path) -> object:
        return dict(xz.open_group(place).arrays())

    def dataset(place: Path) -> object:
        return xr.open_dataset(place, engine="xzarr", consolidated=merged)

    few, many = (varied(tmp_path, zarr_format, count, merged) for count in (40, 80))
    for what, work in (("array", arrays), ("variable", dataset)):
        slope = (calls_of(partial(work, many)).own - calls_of(partial(work, few)).own) / 40
        print(f"v{zarr_format}, consolidated {merged}: {slope:g} own calls per {what}")
        assert slope <= OPEN_CALLS[what]


# --- dask ----------------------------------------------------------------------------------------------------------

GRIDS = {1: ((100_000_000,), (100,)), 2: ((100_000, 10_000), (100, 10)), 3: ((1_000,) * 3, (10,) * 3)}


@pytest.mark.parametrize("rank", GRIDS)
def test_a_million_blocks(rank: int) -> None:
    """To make, to cut and to pickle a lazy array of a million blocks costs nothing that grows with the blocks."""
    pytest.importorskip("dask.array")
    import pickle

    shape, chunks = GRIDS[rank]
    array = xz.create_array({}, shape=shape, chunks=chunks, dtype="f4", fill_value=1.0)
    lazy = xz.from_zarr(array)
    assert lazy.npartitions == 1_000_000
    assert len(pickle.dumps(lazy, protocol=5)) <= 2_000
    assert lazy[(slice(10),) * rank].sum().compute(scheduler="sync") == 10**rank
    for work in (lambda: xz.from_zarr(array), lambda: lazy[(slice(10),) * rank]):
        calls = calls_of(work)
        assert calls.own + calls.other <= 3_000
