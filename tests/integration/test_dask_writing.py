"""Writing dask and NumPy arrays: nothing is lost, whatever the blocks, the scheduler and the store."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend.dask_writer import to_zarr
from xzarr_backend.parallel_writing import ArrayWrite, BlockWriter, store_writes
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

SHAPE = (60, 52)
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (10, 8)},
    "shards": {"chunks": (5, 4), "shards": (20, 16)},
    "rectilinear": {"chunks": ((7, 20, 33), 9)},
}
BLOCKS = {"smaller": (6, 5), "crossing": (13, 11), "aligned": (20, 16), "larger": (47, 52), "rows": (1, 52)}
SMALL = {"array.chunk-size": "64B"}  # so small that nothing may be fused


class Unlocked(LocalStore):
    """A folder that offers no locks, as most remote stores."""

    def lock(self, key: str) -> Any:
        return None

    def __reduce__(self) -> Any:
        return Unlocked, (self.root,)


@pytest.fixture
def values() -> Any:
    """Different values everywhere, and no zero."""
    return np.arange(1, 60 * 52 + 1).reshape(SHAPE)


# --- nothing is lost ---------------------------------------------------------------


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fusing", [True, False])
def test_blocks_of_all_sizes(layout: str, blocks: str, fusing: bool, values: Any, tmp_path: Path) -> None:
    """Fused or locked, whole or by regions: what is stored is what was written, and nothing beside it."""
    data = da.from_array(values, chunks=BLOCKS[blocks])
    with dask.config.set({"scheduler": "threads", "num_workers": 4} | ({} if fusing else SMALL)):
        report = to_zarr(data, tmp_path / "whole", **LAYOUTS[layout])
        array = (
            xz.create_array(tmp_path / "part", shape=(80, 70), dtype=values.dtype, **LAYOUTS[layout])
            if (layout != "rectilinear")
            else xz.create_array(tmp_path / "part", shape=(80, 70), dtype=values.dtype, chunks=((7, 20, 53), 9))
        )
        to_zarr(data, array, region=(slice(3, 63), slice(5, 57)))
    np.testing.assert_array_equal(xz.open_array(tmp_path / "whole")[...], values)
    expected = np.zeros((80, 70), values.dtype)
    expected[3:63, 5:57] = values
    np.testing.assert_array_equal(xz.open_array(tmp_path / "part")[...], expected)
    assert report.shared == report.fused + report.locked
    assert (report.locked == 0) or not fusing


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_schedulers(scheduler: str, values: Any, tmp_path: Path) -> None:
    """Every scheduler of dask writes the same, under locks too."""
    array = xz.create_array(tmp_path, shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=(20, 16))
    with dask.config.set({"scheduler": scheduler, "num_workers": 2} | SMALL):
        report = to_zarr(da.from_array(values, chunks=(13, 30)), array)
    assert report.locked == 12
    np.testing.assert_array_equal(array[...], values)


def test_two_processes_share_one_shard(values: Any, tmp_path: Path) -> None:
    """Independent processes that write disjoint parts of one shard of a local store lose nothing."""
    array = xz.create_array(tmp_path, shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=SHAPE)
    script = (
        "import sys, numpy as np, xzarr_backend as xz\n"
        "array, first = xz.open_array(sys.argv[1], mode='r+'), int(sys.argv[2])\n"
        "values = np.arange(1, 60 * 52 + 1).reshape(60, 52)\n"
        "for row in range(first, 60, 2): array[row] = values[row]\n"
    )
    root = Path(xz.__file__).parents[1]
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(first)], cwd=root) for first in range(2)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    np.testing.assert_array_equal(array[...], values)


def test_threads_on_a_store_without_locks(values: Any, tmp_path: Path) -> None:
    """The threads of one process exclude each other even where the store cannot."""
    array = xz.create_array(Unlocked(str(tmp_path)), shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=SHAPE)
    start = threading.Barrier(12)

    def write(place: int) -> None:
        start.wait()
        array[place * 5 : place * 5 + 5] = values[place * 5 : place * 5 + 5]

    threads = [threading.Thread(target=write, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(array[...], values)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own parts
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, memory_limit=0
            ) as local,
            distributed.Client(local, set_as_default=False) as client,
        ):
            client.run(sys.path.extend, [path for path in sys.path if path])
            yield client


@pytest.mark.parametrize("store", [LocalStore, Unlocked])
def test_a_cluster(cluster: Any, store: Any, values: Any, tmp_path: Path) -> None:
    """The workers of a cluster take the store's locks, or those of the cluster where the store has none."""
    array = xz.create_array(store(str(tmp_path)), shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=(20, 16))
    with cluster.as_current(), dask.config.set(SMALL):
        report = to_zarr(da.from_array(values, chunks=(13, 11)), array)
        later = to_zarr(da.from_array(-values[:50], chunks=(13, 11)), array, region=np.s_[10:], compute=False)
    assert report.locked == 12
    np.testing.assert_array_equal(array[...], values)
    with cluster.as_current():
        later.compute()
    np.testing.assert_array_equal(array[10:], -values[:50])
    np.testing.assert_array_equal(array[:10], values[:10])
    with cluster.as_current(), pytest.raises(xz.RegionError, match="several processes"):
        to_zarr(da.ones(10, chunks=5), MemoryStore())


# --- what cannot be right is refused ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "mapping", "zip"])
def test_stores_of_one_process(kind: str, values: Any, tmp_path: Path) -> None:
    """Several processes are refused before anything is stored, where each would write to a copy of its own."""
    store: Any = {"memory": MemoryStore(), "mapping": {}, "zip": str(tmp_path / "a.zip")}[kind]
    data = da.from_array(values, chunks=(20, 20))
    with dask.config.set(scheduler="processes"), pytest.raises(xz.RegionError, match="several processes"):
        to_zarr(data, store, "a")
    if kind != "zip":
        assert not list(store.walk("") if kind == "memory" else store)
    with dask.config.set(scheduler="threads"):
        to_zarr(data, store, "a")
    np.testing.assert_array_equal(xz.open_array(store, "a")[...], values)


def test_a_graph_that_leaves_its_process(values: Any) -> None:
    """A Delayed that was made for threads notices when processes compute it."""
    later = to_zarr(da.from_array(values, chunks=(20, 20)), MemoryStore(), compute=False)
    with pytest.raises(xz.RegionError, match="several processes"):
        later.compute(scheduler="processes", num_workers=1)


def test_regions_that_end_inside_a_chunk_without_locks(values: Any, tmp_path: Path) -> None:
    """Where no lock can be had, the error names the aligned bounds; a lock or the caller's word lets it pass."""
    store = Unlocked(str(tmp_path))
    array = xz.create_array(store, shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=(20, 16))
    for data in (values[:30], da.from_array(values[:30], chunks=(20, 16))):
        with pytest.raises(xz.RegionError, match=r"ends at 30 along dimension 0, inside the shard from 20 to 40"):
            to_zarr(data, array, region=np.s_[:30])
        assert not array.nchunks_stored()
    locks: list[str] = []
    to_zarr(values[:30], array, region=np.s_[:30], lock_factory=lambda key: locks.append(key) or threading.Lock())
    assert len(locks) == 4
    to_zarr(values[30:50], array, region=np.s_[30:50], safe_chunks=False)
    to_zarr(values[50:], array, region=np.s_[50:])  # as an append: whoever writes before it was to be refused
    np.testing.assert_array_equal(array[...], values)


def test_processes_without_locks(values: Any, tmp_path: Path) -> None:
    """Processes may share no object of a store without locks; fused blocks share none."""
    array = xz.create_array(Unlocked(str(tmp_path)), shape=SHAPE, dtype=values.dtype, chunks=(10, 8))
    data = da.from_array(values, chunks=(13, 11))
    with dask.config.set(scheduler="processes", num_workers=2):
        with dask.config.set(SMALL), pytest.raises(xz.RegionError, match="offers no locks"):
            to_zarr(data, array)
        assert to_zarr(data, array).locked == 0
    np.testing.assert_array_equal(array[...], values)


def test_safe_chunks_true(values: Any) -> None:
    """``safe_chunks=True`` refuses blocks that share a chunk and stores nothing; False writes them under locks."""
    array = xz.create_array(MemoryStore(), shape=SHAPE, dtype=values.dtype, chunks=(10, 8))
    data = da.from_array(values, chunks=(13, 11))
    with pytest.raises(ValueError, match="would overlap multiple Dask chunks"):
        to_zarr(data, array, safe_chunks=True)
    assert not array.nchunks_stored()
    assert to_zarr(data, array, safe_chunks=False).fused == 0
    np.testing.assert_array_equal(array[...], values)


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"mode": "r"}, "mode='r' cannot write"),
        ({"mode": "w", "region": np.s_[:10]}, "a region is a part of an array that exists"),
        ({"region": np.s_[:10]}, "do not fit the region"),
        ({"region": np.s_[50:80]}, "outside the array"),
        ({"component": "x", "name": "y"}, "component and name"),
    ],
)
def test_bad_requests(keywords: Any, problem: str, values: Any) -> None:
    """What cannot be meant is refused, and the array stays as it was."""
    store = MemoryStore()
    xz.create_array(store, data=values, chunks=(10, 8))
    with pytest.raises(ValueError, match=problem):
        to_zarr(da.from_array(-values, chunks=(20, 20)), store, **keywords)
    np.testing.assert_array_equal(xz.open_array(store)[...], values)


@pytest.mark.parametrize("keywords", [{}, {"region": np.s_[:3]}, {"mode": "r+"}])
@pytest.mark.parametrize("call", [xz.to_zarr, xz.plan_writes])
def test_misspelt_keywords(call: Any, keywords: Any) -> None:
    """A keyword that nobody knows is refused, also where no array is made: it might have said where to write."""
    store = MemoryStore()
    xz.create_array(store, data=np.zeros(3))
    for name, meant in (("compnent", "component"), ("compresors", "compressors"), ("xyz", "")):
        with pytest.raises(xz.ArgumentError, match=f"has no keyword '{name}' for arrays") as caught:
            call(np.ones(3), store, **keywords, **{name: "b"})
        assert caught.value.hint == (f"did you mean '{meant}'?" if meant else "")
    assert not xz.open_array(store)[...].any()


@pytest.mark.parametrize("call", [xz.to_zarr, xz.plan_writes])
def test_what_cannot_be_stored(call: Any) -> None:
    """What is no array and nothing of xarray is refused by its type."""
    with pytest.raises(xz.ArgumentError, match="a list cannot be stored"):
        call([1, 2], {})


def test_unknown_block_lengths() -> None:
    """Blocks of unknown length have no place in an array."""
    data = da.from_array(np.arange(10), chunks=5)
    with pytest.raises(xz.RegionError, match="not known"):
        to_zarr(data[data > 3], MemoryStore())


# --- the interface of dask.array.to_zarr ---------------------------------------------------------------


def test_creation(values: Any) -> None:
    """The chunks are those of dask unless others are asked for; other keywords are those of create_array."""
    store = MemoryStore()
    data = da.from_array(values, chunks=((20, 30, 10), (20, 20, 12)))
    assert to_zarr(data, store, "a/b", fill_value=7, attributes={"units": "m"}).objects == 6
    array = xz.open_array(store, "a/b")
    assert (array.chunks, array.fill_value, array.attrs["units"]) == ((30, 20), 7, "m")
    to_zarr(data, store, "exact", chunks="dask")
    assert xz.open_array(store, "exact").chunks == ((20, 30, 10), 20)
    to_zarr(data, store, "sharded", chunks=(5, 4), shards=(20, 16))
    assert xz.open_array(store, "sharded").shards == (20, 16)
    to_zarr(data, store, name="old", compressor="zlib", zarr_format=2, dimension_separator="/")
    assert xz.open_array(store, "old").compressors[0].codec_id == "zlib"
    for name in ("a/b", "exact", "sharded", "old"):
        np.testing.assert_array_equal(xz.open_array(store, name)[...], values)


def test_modes(values: Any, tmp_path: Path) -> None:
    """ "a" and "w-" refuse to replace, "w" and overwrite replace, "r+" writes to what exists."""
    data = da.from_array(values, chunks=(20, 20))
    with pytest.raises(FileNotFoundError):
        to_zarr(data, tmp_path / "x", mode="r+")
    to_zarr(data, tmp_path / "x")
    for mode in ("a", "w-"):
        with pytest.raises(FileExistsError):
            to_zarr(data, tmp_path / "x", mode=mode)
    to_zarr(data + 1, tmp_path / "x", mode="r+")
    np.testing.assert_array_equal(xz.open_array(tmp_path / "x")[...], values + 1)
    to_zarr(data.astype("f4"), tmp_path / "x", mode="w")
    assert xz.open_array(tmp_path / "x").dtype == "f4"
    to_zarr(values[:5], tmp_path / "x", overwrite=True)
    assert xz.open_array(tmp_path / "x").shape == (5, 52)


@pytest.mark.parametrize("compute", [True, False])
def test_replacing_its_own_source(compute: bool, values: Any, tmp_path: Path) -> None:
    """An array may be replaced by what is lazily read from it; where the store cannot do that, nothing is lost."""
    to_zarr(values, tmp_path / "x", chunks=(10, 8))
    done = to_zarr(xz.from_zarr(tmp_path / "x") + 1, tmp_path / "x", mode="w", compute=compute)
    if not compute:
        np.testing.assert_array_equal(xz.open_array(tmp_path / "x")[...], values)
        done.compute()
    np.testing.assert_array_equal(xz.open_array(tmp_path / "x")[...], values + 1)
    store = MemoryStore()
    to_zarr(values, store, "x", chunks=(10, 8))
    with pytest.raises(xz.RegionError, match="come from the array"):
        to_zarr(xz.from_zarr(store, "x") + 1, store, "x", mode="w", compute=compute)
    np.testing.assert_array_equal(xz.open_array(store, "x")[...], values)


def test_a_failed_replacement_leaves_the_old_array(values: Any, tmp_path: Path) -> None:
    """When a block cannot be computed, the array that was to be replaced is there as before, and nothing else."""

    def fail(block: Any) -> Any:
        raise RuntimeError("no such block")

    to_zarr(values, tmp_path / "x", chunks=(10, 8))
    data = da.from_array(values, chunks=(20, 20)).map_blocks(fail, dtype=values.dtype, meta=values[:0, :0])
    with pytest.raises(RuntimeError, match="no such block"):
        to_zarr(data, tmp_path / "x", mode="w")
    np.testing.assert_array_equal(xz.open_array(tmp_path / "x")[...], values)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("compute", [True, False])
def test_return_stored(compute: bool, values: Any) -> None:
    """A dask array of what is stored; without ``compute`` it stores when it is computed."""
    array = xz.create_array(MemoryStore(), shape=SHAPE, dtype="f4", chunks=(10, 8))
    data = da.from_array(values[:30], chunks=(13, 11))
    stored = to_zarr(data, array, region=np.s_[5:35], return_stored=True, compute=compute)
    assert bool(array.nchunks_stored()) == compute
    assert (stored.dtype, stored.shape) == (np.dtype("f4"), (30, 52))
    np.testing.assert_array_equal(stored.compute(), values[:30].astype("f4"))
    np.testing.assert_array_equal(array[5:35], values[:30].astype("f4"))


def test_regions_with_integers(values: Any) -> None:
    """An integer drops a dimension, of dask and of NumPy data."""
    array = xz.create_array(MemoryStore(), shape=SHAPE, dtype=values.dtype, chunks=(10, 8))
    to_zarr(da.from_array(values[4], chunks=7), array, region=4)
    to_zarr(values[:20, 3], array, region=(slice(0, 20), -1))
    np.testing.assert_array_equal(array[4, :51], values[4, :51])
    np.testing.assert_array_equal(array[:20, 51], values[:20, 3])


def test_no_dimensions_and_no_elements() -> None:
    """Scalars and empty arrays are arrays too."""
    store = MemoryStore()
    assert to_zarr(da.asarray(np.float32(3)), store, "scalar").objects == 1
    assert xz.open_array(store, "scalar")[()] == 3
    assert to_zarr(da.zeros((0, 5), chunks=2), store, "empty").objects == 0
    assert xz.open_array(store, "empty").shape == (0, 5)
    assert to_zarr(np.zeros((3, 0)), store, "numpy").objects == 0


def test_empty_chunks(values: Any) -> None:
    """Chunks of the fill value are stored only when asked for."""
    zeros = da.zeros(SHAPE, chunks=(20, 52))
    store = MemoryStore()
    to_zarr(zeros, store, "few", chunks=(10, 52))
    to_zarr(zeros, store, "all", chunks=(10, 52), write_empty_chunks=True)
    assert xz.open_array(store, "few").nchunks_stored() == 0
    assert xz.open_array(store, "all").nchunks_stored() == 6


def test_strings() -> None:
    """Text of any length goes through dask as well."""
    words = np.array([["a", "bb", "ccc"], ["", "é", "longer"]], dtype=object)
    store = MemoryStore()
    to_zarr(da.from_array(words, chunks=(1, 2)), store, chunks=(2, 3))
    assert xz.open_array(store)[...].tolist() == words.tolist()


# --- plans, reports, graphs ---------------------------------------------------------------


def test_plan_writes_stores_nothing(values: Any, tmp_path: Path) -> None:
    """The plan of a new array, of a region, and of one under locks, with the numbers of the write that follows."""
    data = da.from_array(values, chunks=(13, 11))
    plan = xz.plan_writes(data, tmp_path / "x", chunks=(10, 8))
    assert (plan.objects, plan.shared, plan.locked) == (42, 36, 0)
    assert not (tmp_path / "x").exists()
    assert dict(plan) == dict(to_zarr(data, tmp_path / "x", chunks=(10, 8)))
    with dask.config.set(SMALL):
        plan = xz.plan_writes(data[:30], tmp_path / "x", region=np.s_[5:35])
    assert plan.locked == plan[""].locked > 0
    assert "written under a lock" in str(plan)
    assert "fused into one task each" in str(xz.plan_writes(data, tmp_path / "y", chunks=(10, 8)))
    assert "aligned, no locks" in str(xz.plan_writes(data, tmp_path / "y"))
    assert pickle.loads(pickle.dumps(plan))[""] == plan[""]
    with pytest.raises(xz.RegionError, match="would overlap"):
        xz.plan_writes(data, tmp_path / "x", mode="r+", safe_chunks=True)


def test_aligned_blocks_read_nothing_and_lock_nothing(values: Any) -> None:
    """Whole objects are stored with one request each: no read before, no lock."""
    store = CountingStore(MemoryStore())
    array = xz.create_array(store, shape=SHAPE, dtype=values.dtype, chunks=(5, 4), shards=(20, 16))
    store.reset()
    to_zarr(da.from_array(values, chunks=(20, 32)), array)
    assert {call.operation for call in store.requests} == {"set"}
    assert store.count() == 12


def test_the_graph_holds_one_handle(tmp_path: Path) -> None:
    """One task holds the array, the others refer to it; a hundred thousand blocks pickle to little."""
    array = xz.create_array(tmp_path, shape=(1000, 1000), dtype="u1", chunks=(1, 10), attributes={"long": "x" * 50_000})
    data = da.zeros((1000, 1000), chunks=(1, 10), dtype="u1")
    write = ArrayWrite(array, (slice(0, 1000), slice(0, 1000)), data)
    raw = pickle.dumps(BlockWriter(write, data.chunks, None, None).lazily(data).dask)
    assert raw.count(b"x" * 50_000) == 1  # the attributes, which every handle would bring along
    assert len(raw) < 20 * data.npartitions
    later = to_zarr(data[:20], array, region=np.s_[:20], compute=False)
    assert pickle.dumps(later.dask).count(b"x" * 50_000) == 1


def test_finish_comes_last(values: Any) -> None:
    """``finish`` runs once, after all blocks of all arrays, also as the end of a Delayed."""
    store = MemoryStore()
    writes, found = [], []
    for name in ("a", "b"):
        array = xz.create_array(store, name, shape=SHAPE, dtype=values.dtype, chunks=(10, 8))
        writes.append(ArrayWrite(array, (slice(0, 60), slice(0, 52)), da.from_array(values, chunks=(13, 52))))
    constant = xz.create_array(store, "c", shape=(3,), dtype="i8")
    writes.append(ArrayWrite(constant, (slice(0, 3),), np.arange(3)))

    def finish() -> None:
        found.append([xz.open_array(store, name)[...].sum() for name in ("a", "b")])

    later: Any = store_writes(writes, compute=False, finish=finish)
    assert found == []
    assert constant[...].tolist() == [0, 1, 2]
    report = later.compute(scheduler="threads")
    assert found == [[values.sum()] * 2]
    assert list(report) == ["a", "b", "c"]
    store_writes(writes, finish=finish)
    assert len(found) == 2


class Remembered:
    """A journal in memory."""

    def __init__(self, done: Sequence[str] = ()) -> None:
        self.done = set(done)

    def is_done(self, key: str) -> bool:
        return key in self.done

    def mark(self, keys: Sequence[str]) -> None:
        self.done.update(keys)


def test_a_journal_leaves_out_what_is_stored(values: Any) -> None:
    """Blocks that the journal knows are neither computed nor written again; the others are, and are noted."""
    array = xz.create_array(MemoryStore(), shape=SHAPE, dtype=values.dtype, chunks=(20, 52))
    computed = []

    def compute(block: Any) -> Any:
        computed.append(int(block[0, 0]))
        return block

    data = da.from_array(values, chunks=(20, 52)).map_blocks(compute, dtype=values.dtype, meta=values[:0, :0])
    journal = Remembered(["[20:40,0:52]"])
    with dask.config.set(scheduler="sync"):
        store_writes([ArrayWrite(array, (slice(0, 60), slice(0, 52)), data)], journal=journal)
        assert sorted(computed) == [1, 40 * 52 + 1]
        assert journal.done == {"[0:20,0:52]", "[20:40,0:52]", "[40:60,0:52]"}
        store_writes([ArrayWrite(array, (slice(0, 60), slice(0, 52)), data)], journal=journal)
    assert len(computed) == 2
    assert not array[20:40].any()
