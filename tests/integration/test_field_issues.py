"""What users of today's tools reported as lost, relabelled or invented data: each reproduced, and right here."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.stores_fakes import ForwardingStore
from tests.xarray_parity import ZARR_WARNINGS
from xzarr_backend.errors import ChunkError, RegionError
from xzarr_backend.stores import MemoryStore

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]


@pytest.fixture(autouse=True)
def many_threads() -> Any:
    """Races need threads, however few processors there are."""
    with dask.config.set(scheduler="threads", num_workers=16):
        yield


def open_loaded(store: Any, **keywords: Any) -> xr.Dataset:
    """Return the whole dataset in memory."""
    with xz.open_dataset(store, **keywords) as ds:
        loaded: xr.Dataset = ds.load()
    return loaded


# --- 1. parallel writes never lose ----------------------------------------------------------------------------------


def test_xarray_10831_blocks_smaller_than_shards(tmp_path: Path) -> None:
    """pydata/xarray#10831: dask blocks of the size of inner chunks, several to a shard, all arrive."""
    data = np.arange(64 * 64, dtype="f8").reshape(64, 64)
    ds = xr.Dataset({"a": (("y", "x"), data)}).chunk({"y": 8, "x": 8})
    xz.to_zarr(ds, tmp_path / "a.zarr", encoding={"a": {"chunks": (8, 8), "shards": (32, 32)}})
    stored = open_loaded(tmp_path / "a.zarr")
    assert np.array_equal(stored.a.values, data)
    assert stored.a.encoding["shards"] == (32, 32)


def test_zarr_3682_dask_store_into_shards(tmp_path: Path) -> None:
    """zarr-developers/zarr-python#3682: the same through dask arrays, in three dimensions."""
    data = np.arange(48**3, dtype="f8").reshape(48, 48, 48)
    xz.to_zarr(da.from_array(data, chunks=12), tmp_path / "a.zarr", chunks=(12, 12, 12), shards=(24, 24, 24))
    assert np.array_equal(xz.open_array(tmp_path / "a.zarr")[...], data)


def test_xarray_10501_appends_of_other_blocks(tmp_path: Path) -> None:
    """pydata/xarray#10501: appending blocks that do not fit the stored chunks loses nothing."""
    data = np.random.default_rng(1).random((47, 6, 6))
    ds = xr.Dataset({"a": (("time", "y", "x"), data)}, coords={"time": np.arange(47)})
    xz.to_zarr(ds.isel(time=slice(0, 10)).chunk(time=5, x=3), tmp_path / "a.zarr")
    for start, stop, size in ((10, 13, 1), (13, 30, 4), (30, 47, 3)):
        part = ds.isel(time=slice(start, stop)).chunk(time=size, x=2)
        xz.to_zarr(part, tmp_path / "a.zarr", append_dim="time")
    xr.testing.assert_identical(open_loaded(tmp_path / "a.zarr"), ds)


def test_xarray_8371_regions_with_unaligned_blocks(tmp_path: Path) -> None:
    """pydata/xarray#8371: regions and blocks that cut stored chunks, one region after the other."""
    ds = xr.Dataset({"a": (("a", "b", "c"), np.arange(120).reshape(4, 3, 10))})
    xz.to_zarr(ds.chunk(5), tmp_path / "a.zarr", compute=False)
    for row in range(4):
        xz.to_zarr(ds.chunk(3).isel(a=[row]), tmp_path / "a.zarr", region={"a": slice(row, row + 1)})
    xr.testing.assert_identical(open_loaded(tmp_path / "a.zarr"), ds)


def test_xarray_6435_concurrent_region_writes(tmp_path: Path) -> None:
    """pydata/xarray#6435: many writers of regions at once, whose edges lie inside stored chunks."""
    data = np.arange(100.0)
    ds = xr.Dataset({"a": ("x", data)})
    xz.to_zarr(ds.chunk(x=16), tmp_path / "a.zarr", compute=False)

    def write(start: int) -> None:
        part = ds.isel(x=slice(start, start + 7)).chunk(x=3)
        with dask.config.set(scheduler="sync"):
            xz.to_zarr(part, tmp_path / "a.zarr", region={"x": slice(start, min(start + 7, 100))})

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 100, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(open_loaded(tmp_path / "a.zarr").a.values, data)


# --- 2. appends that can be trusted ---------------------------------------------------------------------------------


def test_xarray_11101_appending_under_other_labels(tmp_path: Path) -> None:
    """pydata/xarray#11101: data whose other coordinates differ are refused, instead of relabelling what is stored."""
    first = xr.Dataset({"a": (("t", "level"), [[1.0, 2.0]])}, coords={"t": [0], "level": [10, 20]})
    second = xr.Dataset({"a": (("t", "level"), [[4.0, 3.0]])}, coords={"t": [1], "level": [20, 10]})
    xz.to_zarr(first, tmp_path / "a.zarr")
    with pytest.raises(RegionError, match="'level' differs"):
        xz.to_zarr(second, tmp_path / "a.zarr", append_dim="t")
    xr.testing.assert_identical(open_loaded(tmp_path / "a.zarr"), first)
    xz.to_zarr(second.sortby("level"), tmp_path / "a.zarr", append_dim="t")
    assert open_loaded(tmp_path / "a.zarr").a.values.tolist() == [[1, 2], [3, 4]]


def test_xarray_10766_appending_part_of_the_variables(tmp_path: Path) -> None:
    """pydata/xarray#10766: an append that would leave a variable behind is refused; the store stays readable."""
    whole = xr.Dataset({"a": ("x", [1, 2]), "b": ("x", [10, 20])})
    xz.to_zarr(whole, tmp_path / "a.zarr")
    for part in (xr.Dataset({"a": ("x", [3, 4])}), whole.assign(c=("x", [7, 8]))):
        with pytest.raises(RegionError, match="sizes would differ"):
            xz.to_zarr(part, tmp_path / "a.zarr", append_dim="x")
        xr.testing.assert_identical(open_loaded(tmp_path / "a.zarr"), whole)


def test_xarray_5969_appending_times_that_need_a_finer_unit(tmp_path: Path) -> None:
    """pydata/xarray#5969: hours do not fit an index stored in whole days: refused, not stored wrong."""
    times = pd.date_range("2000-01-01 00:35", periods=8, freq="6h")
    ds = xr.Dataset({"a": ("time", np.arange(8.0))}, coords={"time": times})
    xz.to_zarr(ds.isel(time=[0]), tmp_path / "a.zarr")
    with pytest.raises((RegionError, ValueError), match="time"):
        xz.to_zarr(ds.isel(time=slice(1, None)), tmp_path / "a.zarr", append_dim="time")
    assert open_loaded(tmp_path / "a.zarr").sizes["time"] == 1
    fine = {"time": {"units": "minutes since 2000-01-01", "dtype": "int64"}}
    xz.to_zarr(ds.isel(time=[0]), tmp_path / "b.zarr", encoding=fine)
    xz.to_zarr(ds.isel(time=slice(1, None)), tmp_path / "b.zarr", append_dim="time")
    assert (open_loaded(tmp_path / "b.zarr").time.values == times.values).all()


def test_xarray_10639_times_with_a_native_data_type(tmp_path: Path) -> None:
    """pydata/xarray#10639: an encoding with units and a native data type too appends the times that were given."""
    encoding = {"dtype": "datetime64[ms]", "units": "milliseconds since 1970-01-01T00:00:00"}
    parts = []
    for minute in (1, 2):
        time = xr.Variable("time", np.array([f"2001-01-01T00:0{minute}"], "M8[ms]"), encoding=encoding)
        parts.append(xr.Dataset({"a": ("time", [float(minute)])}, coords={"time": time}))
    xz.to_zarr(parts[0], tmp_path / "a.zarr", mode="w")
    xz.to_zarr(parts[1], tmp_path / "a.zarr", mode="a", append_dim="time")
    xr.testing.assert_equal(open_loaded(tmp_path / "a.zarr"), xr.concat(parts, "time"))


# --- 3. overwriting never destroys first ----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["xzarr", "zarr"])
def test_xarray_11159_overwriting_the_source(tmp_path: Path, engine: str) -> None:
    """pydata/xarray#11159: a store that is changed and saved onto itself keeps what was not changed."""
    path = str(tmp_path / "a.zarr")
    ds = xr.Dataset({"a": ("x", np.arange(10.0)), "b": ("x", np.arange(10.0) + 5)})
    xz.to_zarr(ds.chunk(x=3), path)
    opened = xr.open_dataset(path, engine=engine, chunks={})
    opened["a"] = opened["a"] * 20
    xz.to_zarr(opened, path, mode="w")
    xr.testing.assert_equal(open_loaded(path), ds.assign(a=ds.a * 20))


@pytest.mark.parametrize("kind", ["folder", "memory", "zip"])
def test_xarray_6456_saving_in_a_loop(tmp_path: Path, kind: str) -> None:
    """pydata/xarray#6456: a store that grows by being concatenated and saved onto itself, on any kind of store."""
    store: Any = {"folder": tmp_path / "a.zarr", "zip": tmp_path / "a.zarr.zip", "memory": MemoryStore()}[kind]
    part = xr.Dataset({"a": ("x", np.arange(5.0))})
    xz.to_zarr(part, store)
    for _ in range(3):
        opened = xz.open_zarr(store)
        xz.to_zarr(xr.concat([opened, part], "x"), store, mode="w")
        opened.close()
    assert open_loaded(store).a.values.tolist() == list(range(5)) * 4


def test_an_overwrite_that_fails_leaves_the_old_store(tmp_path: Path) -> None:
    """The old dataset stays as it was when computing the new one fails."""
    ds = xr.Dataset({"a": ("x", np.arange(10.0))})
    xz.to_zarr(ds, tmp_path / "a.zarr")

    def fail(block: Any) -> Any:
        raise ValueError("no luck")

    broken = xr.Dataset({"a": ("x", da.ones(10, chunks=5).map_blocks(fail, dtype="f8", meta=np.empty(0)))})
    with pytest.raises(ValueError, match="no luck"):
        xz.to_zarr(broken, tmp_path / "a.zarr", mode="w")
    xr.testing.assert_identical(open_loaded(tmp_path / "a.zarr"), ds)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


# --- 4. missing data are not invented -------------------------------------------------------------------------------


class NoConnection(ForwardingStore):
    """A store whose chunks cannot be fetched."""

    def seen(self, calls: Any) -> None:
        """Fail for everything that is no metadata."""
        if any("/c/" in call.key for call in calls):
            raise ConnectionError("no answer")


def written(tmp_path: Path) -> Path:
    """Return the place of a dataset of two chunks."""
    xz.to_zarr(xr.Dataset({"a": ("x", np.arange(1.0, 9.0))}).chunk(x=4), tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def test_zarr_486_missing_chunks_are_an_error_when_asked_for(tmp_path: Path) -> None:
    """zarr-developers/zarr-python#486: ``missing="raise"`` tells a chunk that was lost from one of missing values."""
    path = written(tmp_path)
    (path / "a" / "c" / "1").unlink()
    assert np.isnan(xz.open_array(path, "a")[4:]).all()
    with pytest.raises(ChunkError, match="not stored"):
        xz.open_array(path, "a", missing="raise")[...]


def test_xarray_9701_missing_chunks_through_xarray(tmp_path: Path) -> None:
    """pydata/xarray#9701: the same keyword works in `open_dataset`; what is there can still be read."""
    path = written(tmp_path)
    (path / "a" / "c" / "1").unlink()
    with xr.open_dataset(path, engine="xzarr", missing="raise", chunks={}) as ds:
        assert ds.a[:4].values.tolist() == [1, 2, 3, 4]
        with pytest.raises(ChunkError, match="not stored"):
            ds.a[4:].compute()


def test_xarray_8842_failed_requests_never_become_missing_values(tmp_path: Path) -> None:
    """pydata/xarray#8842: a request that fails is an error, never a chunk of missing values."""
    store = NoConnection(xz.open_group(written(tmp_path)).store)
    with xz.open_dataset(store) as ds, pytest.raises(ChunkError) as caught:
        ds.a.load()
    assert isinstance(caught.value.__cause__, ConnectionError)
