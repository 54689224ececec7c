"""Writes that fail: their tasks store nothing afterwards, and what they were building is not kept."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend import ongoing

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
xr = pytest.importorskip("xarray")


class Failing:
    """Two blocks: the first fails once the other one is computed; that goes on when it is told to."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()

    def array(self) -> Any:
        def block(values: Any, block_info: Any = None) -> Any:
            if block_info[0]["chunk-location"] == (0,):
                assert self.started.wait(20)
                raise ZeroDivisionError("a mistake")
            self.started.set()
            assert self.go.wait(20)
            return values

        return da.full(20, 111.0, chunks=10).map_blocks(block, dtype="f8", meta=np.empty(0))


def dataset(start: int, values: Any) -> Any:
    return xr.Dataset({"a": ("t", values)}, coords={"t": np.arange(start, start + len(values))})


@pytest.mark.parametrize("way", ["append", "region", "array"])
def test_tasks_of_a_failed_write_do_not_overwrite_the_next(tmp_path: Path, way: str) -> None:
    """The second task is still computed when the error of the first one is raised, and stored nothing afterwards."""
    failing, place = Failing(), tmp_path / "s"
    xz.to_zarr(dataset(0, np.zeros(30 if way != "append" else 10)), place, encoding={"a": {"chunks": {"t": 10}}})
    keywords: dict[str, Any] = {"append_dim": "t"} if way == "append" else {"region": {"t": slice(10, 30)}}

    def store(values: Any) -> None:
        if way == "array":
            xz.to_zarr(values, place, component="a", region=(slice(10, 30),), mode="r+")
        else:
            xz.to_zarr(dataset(10, values) if way == "append" else xr.Dataset({"a": ("t", values)}), place, **keywords)

    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool, scheduler="threads"):
        with pytest.raises(ZeroDivisionError):
            store(failing.array())
        store(np.full(20, 222.0))
        failing.go.set()
    np.testing.assert_array_equal(xz.open_dataset(place).a, np.r_[np.zeros(10), np.full(20, 222.0)])


def test_the_error_of_a_replaced_dataset_is_the_users_own(tmp_path: Path) -> None:
    """Whatever tasks still do in the folder that is thrown away."""
    failing = Failing()
    xz.to_zarr(dataset(0, np.zeros(20)), tmp_path / "s")
    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool, scheduler="threads"):
        with pytest.raises(ZeroDivisionError):
            xz.to_zarr(dataset(0, failing.array()), tmp_path / "s", mode="w")
        failing.go.set()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert not xz.open_dataset(tmp_path / "s").a.any()


def test_a_write_is_over_when_nothing_stores_any_more() -> None:
    name, inside, leave, over = ongoing.begin(), threading.Event(), threading.Event(), threading.Event()

    def task() -> None:
        with ongoing.storing(name):
            inside.set()
            assert leave.wait(20)

    def end() -> None:
        ongoing.failed(name, None)
        over.set()

    with ThreadPoolExecutor(2) as pool:
        stored = pool.submit(task)
        assert inside.wait(20)
        ended = pool.submit(end)
        while name not in ongoing._failed:
            pass
        with pytest.raises(xz.RegionError, match="failed already"), ongoing.storing(name):
            pass
        assert not over.is_set()
        leave.set()
        stored.result()
        ended.result()
    with ongoing.storing(ongoing.begin()):
        pass


@pytest.mark.parametrize("mode", ["w", "w-", "a", "r+"])
@pytest.mark.parametrize("kind", ["dataset", "array"])
def test_an_archive_is_what_it_was_before_a_write_that_failed(tmp_path: Path, mode: str, kind: str) -> None:
    """Also when the store that was opened for it is freed later."""
    place, failing = tmp_path / "s.zip", da.zeros(20, chunks=10).map_blocks(wrong, dtype="f8", meta=np.empty(0))
    good = dataset(0, np.arange(20.0)) if kind == "dataset" else np.arange(20.0)
    if mode != "w-":
        xz.to_zarr(good, place)
    before = place.read_bytes() if place.exists() else None
    with pytest.raises(ZeroDivisionError):
        xz.to_zarr(dataset(0, failing) if kind == "dataset" else failing, place, **keywords(mode, kind))
    gc.collect()
    assert (place.read_bytes() if place.exists() else None) == before
    xz.to_zarr(good, place, **keywords(mode, kind))
    gc.collect()
    stored = xz.open_dataset(place).a.values if kind == "dataset" else xz.open_array(place)[...]
    np.testing.assert_array_equal(stored, np.arange(20.0))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zip"]


def wrong(values: Any, block_info: Any = None) -> Any:
    """Fail in the second block."""
    if block_info[0]["chunk-location"] == (1,):
        raise ZeroDivisionError("a mistake")
    return values + 1000


def keywords(mode: str, kind: str) -> dict[str, Any]:
    """An array is not replaced with mode "a"."""
    return {"mode": "w" if kind == "array" and mode == "a" else mode}


def test_an_archive_without_the_array_that_could_not_be_encoded(tmp_path: Path) -> None:
    narrow = [{"name": "cast_value", "configuration": {"data_type": "uint8"}}]
    with pytest.raises(xz.ChunkError):
        xz.create_array(tmp_path / "s.zip", data=np.array([1, 300]), chunks=1, filters=narrow)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lazy", [True, False])
def test_a_delayed_append_that_comes_too_late_stores_nothing(tmp_path: Path, lazy: bool) -> None:
    """Both were planned from the same shape: the second one must not overwrite what the first has stored."""
    place = tmp_path / "s"

    def part(start: int, factor: float = 1.0) -> Any:
        ds = dataset(start, factor * np.arange(start, start + 4))
        return ds.chunk(t=2) if lazy else ds

    xz.to_zarr(part(0), place)
    first = xz.to_zarr(part(4), place, append_dim="t", compute=False)
    second = xz.to_zarr(part(8, 10), place, append_dim="t", compute=False)
    assert xz.open_dataset(place).sizes["t"] == 4
    first.compute()
    with pytest.raises(xz.RegionError, match="by now"):
        second.compute()
    stored = xz.open_dataset(place)
    assert stored.a.values.tolist() == stored.t.values.tolist() == list(range(8))
    xz.to_zarr(part(8), place, append_dim="t", compute=False).compute()
    assert xz.open_dataset(place).t.values.tolist() == list(range(12))


def test_a_failed_write_with_keywords_for_dask(tmp_path: Path) -> None:
    """As with dask's own settings."""
    failing, place = Failing(), tmp_path / "s"
    xz.to_zarr(dataset(0, np.zeros(20)).drop_vars("t"), place, encoding={"a": {"chunks": {"t": 10}}})
    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool):
        with pytest.raises(ZeroDivisionError):
            xz.to_zarr(
                xr.Dataset({"a": ("t", failing.array())}),
                place,
                mode="r+",
                chunkmanager_store_kwargs={"scheduler": "threads"},
            )
        xz.open_array(place, "a", mode="r+")[...] = np.full(20, 222.0)
        failing.go.set()
    np.testing.assert_array_equal(xz.open_dataset(place).a, np.full(20, 222.0))


def test_the_store_of_an_array_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set in one that is opened again would be stored when it is freed, whatever becomes of the write."""
    from xzarr_backend import dask_writer

    opened: list[Any] = []
    open_store = dask_writer.open_store
    monkeypatch.setattr(dask_writer, "open_store", lambda *a, **k: opened.append(open_store(*a, **k)) or opened[-1])
    xz.to_zarr(da.zeros(4, chunks=2), tmp_path / "s.zip")
    xz.to_zarr(da.ones(4, chunks=2), tmp_path / "s.zip", mode="w")
    assert len(opened) == 2
    assert xz.open_array(tmp_path / "s.zip")[...].tolist() == [1, 1, 1, 1]
