"""`to_zarr` for xarray: modes, regions, appends, groups, trees, and what is left when a write fails or is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.stores_fakes import CountingStore, InterruptedStore
from tests.xarray_parity import ZARR_WARNINGS
from xzarr_backend.errors import (
    ArgumentError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
    RegionError,
)
from xzarr_backend.stores import MemoryStore

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]


def series(start: int = 0, stop: int = 6) -> xr.Dataset:
    """Return a dataset along ``t`` with another coordinate beside it."""
    values = np.arange(start * 2.0, stop * 2.0).reshape(-1, 2)
    return xr.Dataset({"a": (("t", "x"), values)}, coords={"t": np.arange(start, stop), "x": [5, 6]})


def opened(store: Any, **keywords: Any) -> xr.Dataset:
    """Return the dataset, loaded."""
    with xz.open_dataset(store, **keywords) as ds:
        loaded: xr.Dataset = ds.load()
    return loaded


def failing(shape: tuple[int, ...], chunks: tuple[int, ...], at: int) -> Any:
    """Return a dask array of ones whose block number ``at`` cannot be computed."""

    def fail(block: Any, block_id: tuple[int, ...] = ()) -> Any:
        if block_id[0] == at:
            raise ValueError("cannot be computed")
        return block

    return da.ones(shape, chunks=chunks).map_blocks(fail, dtype="f8", meta=np.empty((0,) * len(shape)))


def files(folder: Path) -> set[str]:
    """Return the files below a folder, by their relative paths."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- modes ----------------------------------------------------------------------------------------------------------


def test_the_default_mode_never_replaces(tmp_path: Path) -> None:
    """A second write without a mode is an error, which says how to replace or add."""
    xz.to_zarr(series(), tmp_path / "a.zarr")
    with pytest.raises(NodeExistsError, match='mode="w"'):
        xz.to_zarr(series(), tmp_path / "a.zarr")


def test_mode_a_adds_and_overwrites(tmp_path: Path) -> None:
    """New variables are added, old ones get new values but keep their attributes; the group gets new attributes."""
    xz.to_zarr(series().assign_attrs(old=1), tmp_path / "a.zarr")
    changed = series()
    changed["a"] = changed.a * 2
    changed.a.attrs["ignored"] = True
    changed["b"] = ("x", [1, 2])
    xz.to_zarr(changed.assign_attrs(new=2), tmp_path / "a.zarr", mode="a")
    stored = opened(tmp_path / "a.zarr")
    assert stored.attrs == {"new": 2} and stored.a.attrs == {}
    xr.testing.assert_equal(stored, changed)


def test_mode_r_plus_needs_what_it_writes(tmp_path: Path) -> None:
    """Without a store, or with a variable that is not there, it is an error and nothing is stored."""
    with pytest.raises(NodeNotFoundError):
        xz.to_zarr(series(), tmp_path / "a.zarr", mode="r+")
    xz.to_zarr(series(), tmp_path / "a.zarr")
    before = files(tmp_path)
    with pytest.raises(RegionError, match="non-pre-existing variables"):
        xz.to_zarr(series().assign(b=1), tmp_path / "a.zarr", mode="r+")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"mode": "x"}, "only supported options"),
        ({"mode": "w", "append_dim": "t"}, "cannot set append_dim"),
        ({"mode": "w", "region": {}}, "cannot set region"),
        ({"safe_chunks": "yes"}, "safe_chunks"),
        ({"zarr_format": 4}, "zarr_format"),
        ({"synchronizer": 1}, "synchronizer"),
        ({"append_dim": "nothing"}, "append_dim|does not match"),
    ],
)
def test_keywords_that_do_not_fit_are_refused(tmp_path: Path, keywords: Any, problem: str) -> None:
    """The error names the keyword."""
    if "append_dim" in keywords and "mode" not in keywords:
        xz.to_zarr(series(), tmp_path / "a.zarr")
    with pytest.raises(xz.XzarrError, match=problem):
        xz.to_zarr(series(), tmp_path / "a.zarr", **keywords)


def test_unknown_keywords_and_objects_are_type_errors(tmp_path: Path) -> None:
    """As any function of Python has it."""
    with pytest.raises(TypeError, match="no_such_keyword"):
        xz.to_zarr(series(), tmp_path / "a.zarr", no_such_keyword=1)
    with pytest.raises(ArgumentError, match="list cannot be stored"):
        xz.to_zarr([1], tmp_path / "a.zarr")
    with pytest.raises(ArgumentError, match="needs a store"):
        xz.to_zarr(series(), None)


def test_read_only_stores_are_refused() -> None:
    """Nothing is tried on a store that was opened for reading."""
    store = MemoryStore(read_only=True)
    with pytest.raises(ReadOnlyError):
        xz.to_zarr(series(), store)


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_names_that_are_no_names_are_refused(tmp_path: Path, name: str) -> None:
    """A variable cannot be another place of the store."""
    with pytest.raises(MetadataError, match="Invalid name"):
        xz.to_zarr(xr.Dataset({name: ("x", [1])}), tmp_path / "a.zarr")


def place(kind: str, folder: Path) -> Any:
    """Return an empty store of a kind."""
    if kind == "zarr-python":
        return pytest.importorskip("zarr").storage.MemoryStore()
    return {"mapping": {}, "memory": MemoryStore(), "fsspec": f"memory://{folder}", "path": folder / "a.zarr"}[kind]


@pytest.mark.parametrize("kind", ["path", "mapping", "memory", "fsspec", "zarr-python"])
def test_threads_that_append_to_one_dataset(tmp_path: Path, kind: str) -> None:
    """Each is refused while another one appends; whoever tries again loses nothing, and overwrites nothing."""
    store = place(kind, tmp_path)
    xz.to_zarr(series(0, 1), store, encoding={"a": {"chunks": (4, 2)}, "t": {"chunks": (3,)}})

    def append(first: int) -> None:
        for start in range(first, first + 6, 2):
            for _ in range(1000):
                try:
                    xz.to_zarr(series(start, start + 2), store, append_dim="t")
                    break
                except RegionError:
                    time.sleep(0.001)
            else:
                raise AssertionError(f"refused a thousand times: {start}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(1, 25, 6)))
    found = opened(store).sortby("t")
    xr.testing.assert_identical(found.drop_encoding(), series(0, 25))


@pytest.mark.parametrize("kind", ["path", "memory"])
def test_an_append_to_what_has_grown_since_it_was_looked_at(tmp_path: Path, kind: str) -> None:
    """It is refused before it stores anything, and what the other one stored stays."""
    inner = xz.stores.open_store(place(kind, tmp_path), mode="a")
    xz.to_zarr(series(0, 2), inner, encoding={"a": {"chunks": (4, 2)}}, consolidated=False)
    compares_x = InterruptedStore(
        inner, lambda operation, key: key == "x/c/0", lambda: xz.to_zarr(series(2, 4), inner, append_dim="t")
    )
    with pytest.raises(RegionError, match="changed"):
        xz.to_zarr(series(2, 4) * 0, compares_x, append_dim="t")
    assert compares_x.done
    xr.testing.assert_identical(opened(inner).drop_encoding(), series(0, 4))
    xz.to_zarr(series(4, 6), inner, append_dim="t")
    xr.testing.assert_identical(opened(inner).drop_encoding(), series(0, 6))


@pytest.mark.parametrize("kind", ["path", "memory"])
@pytest.mark.parametrize("fails", [False, True])
def test_arrays_of_a_dataset_do_not_change_alone(tmp_path: Path, kind: str, fails: bool) -> None:
    """While they grow together each of them refuses to grow or shrink; afterwards it does not."""
    store = xz.stores.open_store(place(kind, tmp_path), mode="a")
    xz.to_zarr(series(0, 2), store)
    array = xz.open_array(store, "a", mode="r+")
    refused: list[bool] = []

    def compute(block: Any) -> Any:
        for change in (lambda: array.append([[1.0, 2.0]]), lambda: array.resize((1, 2)), lambda: array.resize((9, 2))):
            with pytest.raises(RegionError, match="under way"):
                change()
            refused.append(True)
        if fails:
            raise ValueError("cannot be computed")
        return block

    new = series(2, 4)
    new["a"] = (
        new.a.dims,
        da.from_array(new.a.values, chunks=-1).map_blocks(compute, dtype="f8", meta=np.empty((0, 0))),
    )
    if fails:
        with pytest.raises(ValueError, match="cannot be computed"):
            xz.to_zarr(new, store, append_dim="t")
    else:
        xz.to_zarr(new, store, append_dim="t")
    assert len(refused) == 3
    xr.testing.assert_identical(opened(store).drop_encoding(), series(0, 2 if fails else 4))
    array = xz.open_array(store, "a", mode="r+")
    array.append([[1.0, 2.0]])
    assert array.shape == (3 if fails else 5, 2)


@pytest.mark.parametrize("kind", ["mapping", "memory://", "zip", "path"])
def test_every_kind_of_store_is_written(tmp_path: Path, kind: str) -> None:
    """Paths, mappings, URLs and zip archives hold the same dataset."""
    store: Any = {"mapping": {}, "memory://": "memory://w2-kinds.zarr", "zip": tmp_path / "a.zip", "path": tmp_path}[
        kind
    ]
    xz.to_zarr(series(0, 4), store, mode="w")
    xz.to_zarr(series(4, 6), store, append_dim="t")
    xr.testing.assert_identical(opened(store), series())


# --- regions --------------------------------------------------------------------------------------------------------


def test_regions_by_slice_and_by_label(tmp_path: Path) -> None:
    """A region is given by slices, found by the coordinates, or both."""
    xz.to_zarr(series() * 0, tmp_path / "a.zarr")
    part = series().isel(t=slice(2, 4))
    xz.to_zarr(part.drop_vars("x"), tmp_path / "a.zarr", region={"t": slice(2, 4)})
    xz.to_zarr(series().isel(t=[4, 5]), tmp_path / "a.zarr", region="auto")
    xz.to_zarr(series().isel(t=[0, 1]), tmp_path / "a.zarr", region={"t": "auto", "x": slice(0, 2)})
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series())


@pytest.mark.parametrize(
    ("region", "kind", "problem"),
    [
        ({"t": slice(3, 6)}, RegionError, "different dimension sizes"),
        ({"t": slice(4, 8)}, RegionError, "outside"),
        ({"z": slice(0, 2)}, RegionError, "not in Dataset dimensions"),
        ({"t": [1, 2]}, TypeError, "slice objects"),
        ({"t": slice(0, 4, 2)}, RegionError, "step"),
        ("all", TypeError, "must be a dict"),
        ("auto", KeyError, "Not all values"),
    ],
)
def test_regions_that_do_not_fit_are_refused(tmp_path: Path, region: Any, kind: Any, problem: str) -> None:
    """The error is the one that xarray raises, and the store stays as it was."""
    xz.to_zarr(series(), tmp_path / "a.zarr")
    with pytest.raises(kind, match=problem):
        xz.to_zarr(series(6, 8).drop_vars("x"), tmp_path / "a.zarr", region=region)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series())


def test_a_region_asks_little_of_the_store() -> None:
    """Writing one aligned region reads consolidated metadata and stores chunks, nothing else."""
    inner = MemoryStore()
    xz.to_zarr(series().chunk(t=2), inner, compute=False)
    store = CountingStore(inner)
    xz.to_zarr(series().isel(t=slice(2, 4)).chunk(), store, region={"t": slice(2, 4), "x": slice(None)})
    calls = [(call.operation, call.key) for call in store.requests]
    assert [call for call in calls if call[0] != "get"] == [("set", "a/c/1/0")]
    assert len(calls) <= 4


# --- appends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consolidated", [None, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("size", [1, 4])
def test_appends_in_pieces_give_the_whole(tmp_path: Path, consolidated: Any, zarr_format: int, size: int) -> None:
    """Whatever the pieces and the chunks, the result is that of one write."""
    options = {"consolidated": consolidated}
    xz.to_zarr(series(0, 2).chunk(t=size), tmp_path / "a.zarr", zarr_format=zarr_format, **options)
    for start in (2, 3, 5):
        part = series(start, {2: 3, 3: 5, 5: 11}[start])
        xz.to_zarr(part.chunk(t=size), tmp_path / "a.zarr", append_dim="t", **options)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr", consolidated=consolidated), series(0, 11))
    xr.testing.assert_identical(opened(tmp_path / "a.zarr", consolidated=False), series(0, 11))
    with xr.open_dataset(tmp_path / "a.zarr", engine="zarr", consolidated=consolidated) as theirs:
        xr.testing.assert_identical(theirs.load(), series(0, 11))


def test_modes_of_an_append_decide_about_other_coordinates(tmp_path: Path) -> None:
    """None refuses other coordinates, "a-" keeps the stored ones, "a" overwrites them."""
    xz.to_zarr(series(0, 2), tmp_path / "a.zarr")
    other = series(2, 4).assign_coords(x=[7, 8])
    with pytest.raises(RegionError, match="'x' differs"):
        xz.to_zarr(other, tmp_path / "a.zarr", append_dim="t")
    xz.to_zarr(other, tmp_path / "a.zarr", append_dim="t", mode="a-")
    assert opened(tmp_path / "a.zarr").x.values.tolist() == [5, 6]
    xz.to_zarr(series(4, 6).assign_coords(x=[7, 8]), tmp_path / "a.zarr", append_dim="t", mode="a")
    assert opened(tmp_path / "a.zarr").x.values.tolist() == [7, 8]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("encoding", "step"),
    [
        ({"dtype": "i2", "scale_factor": 0.1, "_FillValue": -99}, 0.1),
        ({"dtype": "u1", "scale_factor": 0.1, "add_offset": -1.0, "_FillValue": 255}, 0.1),
        ({"dtype": "f4"}, 1e-6),
        ({"dtype": "f4", "_FillValue": -999.0}, 1e-6),
        ({"dtype": "i2", "_FillValue": -99}, 1.0),
    ],
)
def test_variables_that_are_packed_need_not_be_appended_to(
    tmp_path: Path, encoding: dict[str, Any], step: float, lazy: bool
) -> None:
    """What the stored packing makes of a variable without the dimension is compared, not what it took away."""
    heights = np.array([[0.123, 1.26, np.nan], [3.14159, 7.0, 2.2]])
    ds = xr.Dataset({"a": ("t", [1, 2]), "height": (("y", "x"), heights)})
    xz.to_zarr(ds, tmp_path / "a.zarr", encoding={"height": encoding})
    before = opened(tmp_path / "a.zarr")
    for same in (ds, ds.transpose("x", "y", "t"), ds.assign(height=before.height)):
        xz.to_zarr(same.chunk() if lazy else same, tmp_path / "a.zarr", append_dim="t")
    found = opened(tmp_path / "a.zarr")
    assert found.sizes["t"] == 8
    xr.testing.assert_identical(found.height, before.height)
    for change in (2 * step, np.nan):
        other = ds.copy(deep=True)
        other.height[1, 2] += change
        with pytest.raises(RegionError, match="'height' differs"):
            xz.to_zarr(other.chunk() if lazy else other, tmp_path / "a.zarr", append_dim="t")
    with pytest.raises(RegionError, match="'height' differs"):
        xz.to_zarr(ds.isel(x=[0, 2, 1]), tmp_path / "a.zarr", append_dim="t")


@pytest.mark.parametrize(
    "stored",
    [pd.date_range("2000-01-01", periods=3), pd.to_timedelta([1, 2, 3], "D"), np.array([True, False, True])],
    ids=["times", "timedeltas", "flags"],
)
def test_numbers_are_no_times_or_flags(tmp_path: Path, stored: Any) -> None:
    """A variable without the dimension that means something else differs, though it is stored as integers, too."""
    ds = xr.Dataset({"a": ("t", [1, 2]), "b": ("y", stored)})
    xz.to_zarr(ds, tmp_path / "a.zarr")
    for values in ([7.0, 8.0, 9.0], [0.0, 1.0, 2.0]):
        with pytest.raises(RegionError, match="'b' differs"):
            xz.to_zarr(ds.assign(b=("y", values)), tmp_path / "a.zarr", append_dim="t")
    assert opened(tmp_path / "a.zarr").sizes["t"] == 2


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("stored", "appended"),
    [
        (xr.Variable("t", [0.5, 1.0], {}, {"dtype": "i1", "scale_factor": 0.5, "_FillValue": -1}), [64.0]),
        (xr.Variable("t", [0.5, np.nan], {}, {"dtype": "i1", "scale_factor": 0.5, "_FillValue": -1}), [-0.5]),
        (xr.Variable("t", np.array([1, 2], "i2")), np.array([70_000])),
        (xr.Variable("t", np.array([1, 2], "u1")), np.array([-1])),
        (xr.Variable("t", pd.to_timedelta([1, 2], "D")), pd.to_timedelta([1], "h").values),
    ],
)
def test_values_that_the_stored_encoding_cannot_hold_are_refused(
    tmp_path: Path, stored: xr.Variable, appended: Any, lazy: bool
) -> None:
    """Packed ranges, integer ranges and units of time: what would come back changed is not stored."""
    xz.to_zarr(xr.Dataset({"a": stored}), tmp_path / "a.zarr")
    before = opened(tmp_path / "a.zarr")
    new = xr.Dataset({"a": ("t", appended)})
    with pytest.raises(ValueError, match=r"'a'|serialized faithfully"):
        xz.to_zarr(new.chunk() if lazy else new, tmp_path / "a.zarr", append_dim="t")
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), before)


@pytest.mark.parametrize(
    ("start", "calendar", "problem"), [("2000-01-04 12:00", "360_day", "unit"), ("2000-01-04", "noleap", "calendar")]
)
def test_times_of_another_unit_or_calendar_are_refused(tmp_path: Path, start: str, calendar: str, problem: str) -> None:
    """Times of cftime are held to the unit and the calendar of the store."""
    pytest.importorskip("cftime")

    def ds(start: str, calendar: str) -> xr.Dataset:
        times = xr.date_range(start, periods=3, calendar=calendar, use_cftime=True)
        return xr.Dataset({"a": ("t", [1, 2, 3])}, coords={"t": times})

    xz.to_zarr(ds("2000-01-01", "360_day"), tmp_path / "a.zarr")
    with pytest.raises(RegionError, match=problem):
        xz.to_zarr(ds(start, calendar), tmp_path / "a.zarr", append_dim="t")
    xz.to_zarr(ds("2000-01-04", "360_day"), tmp_path / "a.zarr", append_dim="t")
    assert opened(tmp_path / "a.zarr").t.values[-1].day == 6


def test_texts_of_another_width_are_refused(tmp_path: Path) -> None:
    """Longer texts would be cut off."""
    xz.to_zarr(xr.Dataset({"a": ("t", np.array(["ab"]))}), tmp_path / "a.zarr")
    with pytest.raises(RegionError, match="Mismatched dtypes"):
        xz.to_zarr(xr.Dataset({"a": ("t", np.array(["abc"]))}), tmp_path / "a.zarr", append_dim="t")


@pytest.mark.parametrize("store", ["path", "memory"])
def test_an_append_that_fails_leaves_what_was_there(tmp_path: Path, store: str) -> None:
    """The sizes stay, also without consolidated metadata, and what is appended next is right."""
    place: Any = tmp_path / "a.zarr" if store == "path" else MemoryStore()
    xz.to_zarr(series(0, 5).chunk(t=3), place)
    broken = series(5, 11)
    broken["a"] = (("t", "x"), failing((6, 2), (3, 2), 1))
    with pytest.raises(ValueError, match="cannot be computed"):
        xz.to_zarr(broken, place, append_dim="t")
    for consolidated in (None, False):
        xr.testing.assert_identical(opened(place, consolidated=consolidated), series(0, 5))
    xz.to_zarr(series(5, 11), place, append_dim="t")
    xr.testing.assert_identical(opened(place), series(0, 11))
    if store == "path":
        assert not any(".xzarr" in name for name in files(tmp_path))


def test_a_delayed_append_is_seen_when_it_is_computed(tmp_path: Path) -> None:
    """With ``compute=False`` the old sizes stay until the Delayed has run."""
    xz.to_zarr(series(0, 4).chunk(t=3), tmp_path / "a.zarr")
    delayed = xz.to_zarr(series(4, 6).chunk(t=1), tmp_path / "a.zarr", append_dim="t", compute=False)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series(0, 4))
    delayed.compute()
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series())


KILLED = """
import os, sys, numpy as np, dask, dask.array as da, xarray as xr, xzarr_backend as xz
def stop(block, block_id=()):
    if block_id[0] == 1:
        os._exit(9)
    return block
dask.config.set(scheduler="sync")
data = da.ones((6, 2), chunks=(3, 2)).map_blocks(stop, dtype="f8", meta=np.empty((0, 0)))
ds = xr.Dataset({"a": (("t", "x"), data)}, coords={"t": np.arange(5, 11), "x": [5, 6]})
xz.to_zarr(ds, sys.argv[1], **eval(sys.argv[2]))
"""


@pytest.mark.parametrize("keywords", [{"append_dim": "t"}, {"mode": "w"}], ids=["append", "overwrite"])
def test_a_killed_writer_leaves_what_was_there(tmp_path: Path, keywords: Any) -> None:
    """A process that dies in the middle leaves the old dataset, and the next writer cleans up after it."""
    xz.to_zarr(series(0, 5).chunk(t=3), tmp_path / "a.zarr")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.zarr"), repr(keywords)]
    environment = {**os.environ, "PYTHONPATH": str(Path(xz.__file__).parents[1])}
    assert subprocess.run(command, check=False, env=environment).returncode == 9
    for consolidated in (None, False):
        xr.testing.assert_identical(opened(tmp_path / "a.zarr", consolidated=consolidated), series(0, 5))
    xz.to_zarr(series(5, 8), tmp_path / "a.zarr", append_dim="t")
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series(0, 8))


# --- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w-", "w", "a"])
def test_a_resumed_write_computes_only_what_is_missing(tmp_path: Path, mode: str) -> None:
    """Blocks that were stored before the failure are not computed again; afterwards no journal is left."""
    computed = []

    def source(stop_at: int | None) -> xr.Dataset:
        def compute(block: Any, block_id: tuple[int, ...] = ()) -> Any:
            if block_id[0] == stop_at:
                raise ValueError("stopped")
            computed.append(block_id[0])
            return block

        values = np.array([1.0] * 4 + [np.nan] * 4 + [2.0] * 8)  # the second block is not stored at all
        data = da.from_array(values, chunks=4).map_blocks(compute, dtype="f8", meta=np.empty(0))
        return xr.Dataset({"a": ("t", data)})

    path = tmp_path / "a.zarr"
    if mode == "w":
        xz.to_zarr(series(), path)
    if mode == "a":
        xz.to_zarr(source(None).isel(t=slice(0, 0)).load(), path)
    keywords: dict[str, Any] = {"append_dim": "t", "mode": "a"} if mode == "a" else {"mode": mode}
    computed.clear()
    with dask.config.set(scheduler="sync"):
        with pytest.raises(ValueError, match="stopped"):
            xz.to_zarr(source(0), path, resume=True, **keywords)
        first = sorted(computed)
        xz.to_zarr(source(None), path, resume=True, **keywords)
    assert np.array_equal(opened(path).a.values, np.array([1.0] * 4 + [np.nan] * 4 + [2.0] * 8), equal_nan=True)
    if mode != "a":  # a failed append is rolled back
        assert sorted(computed) == [0, 1, 2, 3] and first
    assert not any(".xzarr" in name for name in files(tmp_path))


def test_resuming_another_write_is_refused(tmp_path: Path) -> None:
    """A journal belongs to one plan."""
    with dask.config.set(scheduler="sync"), pytest.raises(ValueError, match="cannot be computed"):
        xz.to_zarr(xr.Dataset({"a": ("t", failing((8,), (4,), 1))}), tmp_path / "a.zarr", resume=True)
    with pytest.raises(RegionError, match="another plan"):
        xz.to_zarr(xr.Dataset({"a": ("t", da.ones(8, chunks=2))}), tmp_path / "a.zarr", resume=True)


def test_a_finished_write_is_not_resumed(tmp_path: Path) -> None:
    """The error told to use other modes, though the write that was to be resumed was complete."""
    source = series().chunk(t=2)
    xz.to_zarr(source, tmp_path / "a.zarr", resume=True)
    before = files(tmp_path)
    with pytest.raises(NodeExistsError, match=r"no unfinished write(.|\n)*nothing is left to do"):
        xz.to_zarr(source * 2, tmp_path / "a.zarr", resume=True)
    assert files(tmp_path) == before
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series())
    xz.to_zarr(source, tmp_path / "a.zarr", mode="w", resume=True)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), series())


# --- groups, trees, accessors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_one_group_is_replaced_the_others_stay(tmp_path: Path, zarr_format: int) -> None:
    """``mode="w"`` with ``group=`` replaces only that group; its parents are created where they are missing."""
    for group in ("one/deep", "two"):
        xz.to_zarr(series(), tmp_path / "a.zarr", group=group, zarr_format=zarr_format, mode="a")
    xz.to_zarr(series(0, 3), tmp_path / "a.zarr", group="one/deep", mode="w", zarr_format=zarr_format)
    tree = xz.open_datatree(tmp_path / "a.zarr")
    xr.testing.assert_identical(tree["one/deep"].to_dataset().load(), series(0, 3))
    xr.testing.assert_identical(tree["two"].to_dataset().load(), series())
    with xr.open_datatree(tmp_path / "a.zarr", engine="zarr") as theirs:
        assert set(theirs.groups) == {"/", "/one", "/one/deep", "/two"}


@pytest.mark.parametrize("inherited", [False, True])
def test_trees_are_written_as_groups(tmp_path: Path, inherited: bool) -> None:
    """Coordinates of the parent are repeated below only when that is asked for."""
    tree = xr.DataTree.from_dict({"/": series(), "/low": series().drop_vars(["t", "x"]) * 2})
    report = xz.to_zarr(tree, tmp_path / "a.zarr", write_inherited_coords=inherited)
    assert ("low/t" in report) is inherited
    with xz.open_datatree(tmp_path / "a.zarr") as stored:
        xr.testing.assert_identical(stored.load(), tree)
    with pytest.raises(NotImplementedError, match="append_dim"):
        xz.to_zarr(tree, tmp_path / "a.zarr", append_dim="t", mode="a")
    with pytest.raises(MetadataError, match="unexpected encoding group"):
        xz.to_zarr(tree, tmp_path / "b.zarr", encoding={"/high": {}})


def test_accessors_write_what_they_belong_to(tmp_path: Path) -> None:
    """``.xzarr.to_zarr`` of a Dataset, DataArray and DataTree is `xz.to_zarr` of it."""
    series().xzarr.to_zarr(tmp_path / "ds.zarr")
    series().a.xzarr.to_zarr(tmp_path / "da.zarr")
    xr.DataTree(series()).xzarr.to_zarr(tmp_path / "dt.zarr")
    for name in ("ds", "da", "dt"):
        xr.testing.assert_identical(opened(tmp_path / f"{name}.zarr"), series())
    assert "to_zarr" in repr(series().xzarr)


@pytest.mark.parametrize("name", [None, "x", "a"])
def test_arrays_keep_their_names(tmp_path: Path, name: str | None) -> None:
    """An array without a name, or with that of a coordinate, comes back as it was."""
    array = series().a.rename(name)
    xz.to_zarr(array, tmp_path / "a.zarr")
    with xr.open_dataarray(tmp_path / "a.zarr", engine="xzarr") as stored:
        xr.testing.assert_identical(stored.load(), array)


def test_a_plan_shows_what_would_be_shared(tmp_path: Path) -> None:
    """`plan_writes` counts the shared objects of a dataset and stores nothing."""
    encoding = {"a": {"chunks": (4, 2)}}
    report = xz.plan_writes(series().chunk(t=3), tmp_path / "a.zarr", encoding=encoding)
    assert report["a"].shared == 1
    assert not (tmp_path / "a.zarr").exists()


def test_new_variables_are_found_in_consolidated_metadata_that_nobody_asked_to_renew(tmp_path: Path) -> None:
    """With ``consolidated=False``, consolidated metadata that are there already stay true."""
    xz.to_zarr(series(), tmp_path / "a.zarr")
    xz.to_zarr(series().assign(b=("t", np.arange(6))), tmp_path / "a.zarr", mode="a", consolidated=False)
    assert "b" in opened(tmp_path / "a.zarr")


def test_a_folder_of_other_things_is_not_replaced(tmp_path: Path) -> None:
    """Not even with mode="w": it is no node."""
    xz.to_zarr(series(), tmp_path / "stores" / "one")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "thesis.txt").write_text("all of it")
    for folder in ("stores", "texts"):
        with pytest.raises(NodeExistsError, match="not deleted"):
            xz.to_zarr(series(), tmp_path / folder, mode="w")
    assert (tmp_path / "texts" / "thesis.txt").exists() and (tmp_path / "stores" / "one" / "zarr.json").exists()
    (tmp_path / "empty").mkdir()
    xz.to_zarr(series(), tmp_path / "empty", mode="w")


def test_a_folder_of_stores_is_no_dataset(tmp_path: Path) -> None:
    xz.to_zarr(series(), tmp_path / "stores" / "one", consolidated=False)
    with pytest.raises(NodeNotFoundError, match="one"):
        xz.open_dataset(tmp_path / "stores", consolidated=False)
    assert "/one" in xz.open_datatree(tmp_path / "stores", consolidated=False).groups


def test_appending_to_chunks_of_different_lengths(tmp_path: Path) -> None:
    """The last chunk goes beyond the array; what xarray is told to prefer does not."""
    months = xr.Dataset({"a": ("t", np.arange(90.0))}).chunk(t=(31, 28, 31))
    xz.to_zarr(months, tmp_path / "s")
    xz.to_zarr(xr.Dataset({"a": ("t", np.arange(30.0))}), tmp_path / "s", append_dim="t")
    opened = xr.open_dataset(tmp_path / "s", engine="xzarr", chunks={})
    assert opened.a.chunks == ((31, 28, 31, 30),)
    np.testing.assert_array_equal(opened.a, np.r_[np.arange(90.0), np.arange(30.0)])


def test_mistakes_that_are_named(tmp_path: Path) -> None:
    """With what is wrong, where, and what there is."""
    xz.to_zarr(series(), tmp_path / "s")
    with pytest.raises(RegionError, match=r"'a'.*dimension 't'.*length 6"):
        xz.to_zarr(series(0, 4).drop_vars("x"), tmp_path / "s", region={"t": slice(4, 8)})
    with pytest.raises(ArgumentError, match="'foo'"):
        xz.to_zarr(series(), tmp_path / "s2", foo=1)
    with pytest.raises(ArgumentError, match="encoding"):
        xz.to_zarr(series(), tmp_path / "s2", encoding=["a"])
    with pytest.raises(MetadataError, match="int99"):
        xz.to_zarr(series(), tmp_path / "s2", encoding={"a": {"dtype": "int99"}})
    twice = series(0, 2).assign_coords(t=[0, 0])
    xz.to_zarr(twice, tmp_path / "twice")
    with pytest.raises(RegionError, match="more than once"):
        xz.to_zarr(series(0, 1).drop_vars("x"), tmp_path / "twice", region="auto", mode="r+")
    xz.to_zarr(series().isel(t=[]).drop_vars("x"), tmp_path / "s", region="auto", mode="r+")
    np.testing.assert_array_equal(xz.open_dataset(tmp_path / "s").a, series().a)


@pytest.mark.parametrize("values", [[b"", b""], [b"a", b"b"], [b"a", b"bc"]])
def test_bytes_objects_do_not_become_characters(tmp_path: Path, values: list[bytes]) -> None:
    """Of length 1, xarray would join them along the dimension."""
    xz.to_zarr(xr.Dataset({"a": ("x", np.array(values, object))}), tmp_path / "s")
    for engine in ("xzarr", "zarr"):
        assert xr.open_dataset(tmp_path / "s", engine=engine).a.values.tolist() == values


def test_types_of_attributes_that_xarray_took_for_its_encoding(tmp_path: Path) -> None:
    """``missing_value`` NaN, as the built-in engine gives it: a text, and an attribute with what it stands for."""
    ds = xr.Dataset({"a": ("x", np.array([1, np.nan, 3], "f4"), {"valid_range": [-np.inf, 0.0]})})
    ds.a.encoding.update(_FillValue=np.float32(np.nan), missing_value=np.float32(np.nan))
    xz.to_zarr(ds, tmp_path / "s")
    read = xr.open_dataset(tmp_path / "s", engine="zarr").load()
    xz.to_zarr(read, tmp_path / "again")
    for opened in (xz.open_dataset(tmp_path / "s"), xz.open_dataset(tmp_path / "again")):
        xr.testing.assert_identical(opened, ds)
        assert np.isnan(opened.a.encoding["missing_value"])


@pytest.mark.parametrize("mode", ["w-", "w", "a"])
def test_groups_have_the_format_of_the_groups_above(tmp_path: Path, mode: str) -> None:
    """A v3 group below a v2 root made the whole store unreadable for zarr-python."""
    xz.to_zarr(series(), tmp_path / "s", zarr_format=2)
    xz.to_zarr(series(), tmp_path / "s", group="g/h", mode=mode)
    for group in (None, "g/h"):
        xr.testing.assert_identical(xr.open_dataset(tmp_path / "s", engine="zarr", group=group), series())
    assert not list(tmp_path.rglob("zarr.json"))
    for zarr_format in (2, 3):
        place = tmp_path / f"v{zarr_format}"
        xz.to_zarr(series(), place, zarr_format=zarr_format)
        with pytest.raises(MetadataError, match=f"of Zarr v{zarr_format}, not v{5 - zarr_format}"):
            xz.to_zarr(series(), place, group="g", mode=mode, zarr_format=5 - zarr_format)
        assert not (place / "g").exists()


def test_a_group_beside_stores_is_a_group_of_its_own(tmp_path: Path) -> None:
    xz.to_zarr(series(), tmp_path / "one")
    xz.to_zarr(series(), tmp_path, mode="a")
    xr.testing.assert_identical(xr.open_dataset(tmp_path, engine="zarr"), series())


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_node_of_another_kind_is_not_replaced(tmp_path: Path, zarr_format: int) -> None:
    """A variable with the name of a group took its document, and the members of the group were lost with it."""
    place = tmp_path / "s"
    tree = xr.DataTree.from_dict({"/": series(), "/g": series(), "/g/inner": series()})
    xz.to_zarr(tree, place, zarr_format=zarr_format)
    before = {name: (place / name).read_bytes() for name in files(place)}
    with pytest.raises(NodeExistsError, match="group that is stored here would be replaced by the array 'g'"):
        xz.to_zarr(series().rename(a="g"), place, mode="a")
    with pytest.raises(NodeExistsError, match="array 'inner'"):
        xz.to_zarr(series().rename(a="inner"), place, group="g", mode="a", consolidated=False)
    for path in ("a", "g/a"):
        with pytest.raises((MetadataError, NodeExistsError), match="array"):
            xz.to_zarr(xr.DataTree.from_dict({"/": xr.Dataset(), path: series(), "/new": series()}), place, mode="a")
        for create in (xz.create_group, lambda store, path: xz.create_array(store, path, shape=3, dtype="i4")):
            with pytest.raises(NodeExistsError):
                create(place, path)
            with pytest.raises(NodeExistsError):
                create(place, f"{path}/below")
    for path in ("g", "g/inner"):
        with pytest.raises(NodeExistsError):
            xz.create_array(place, path, shape=3, dtype="i4")
        with pytest.raises(NodeExistsError):
            xz.to_zarr(da.zeros(3), place, component=path)
    assert {name: (place / name).read_bytes() for name in files(place)} == before


def test_a_dataset_beside_stores_replaces_none(tmp_path: Path) -> None:
    """A folder of stores is no group, so that its stores were no members to be looked at."""
    xz.to_zarr(series(), tmp_path / "a")
    before = files(tmp_path)
    for mode in ("a", "w-"):
        with pytest.raises(NodeExistsError, match="would be replaced by the array 'a'"):
            xz.to_zarr(series(), tmp_path, mode=mode)
    assert files(tmp_path) == before
