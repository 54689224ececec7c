"""Writes of data that are still to be read from the arrays they go to: no block reads what another one has written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.xarray_parity import ZARR_WARNINGS
from xzarr_backend import block_sources
from xzarr_backend.block_sources import settled
from xzarr_backend.errors import RegionError
from xzarr_backend.parallel_writing import ArrayWrite

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

VALUES = np.arange(120.0).reshape(12, 10)

OPENERS: dict[str, Callable[[str], xr.Dataset]] = {
    "open_zarr": xz.open_zarr,
    "engine": lambda path: xr.open_dataset(path, engine="xzarr", chunks={}),
    "other blocks": lambda path: xr.open_dataset(path, engine="xzarr", chunks={"x": 6, "y": 10}),
    "chunked later": lambda path: xr.open_dataset(path, engine="xzarr").chunk({"x": 6}),
    "zarr-python": xr.open_zarr,
}

IN_PLACE: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "sum": lambda a: a + 1,
    "transposed twice": lambda a: (a.T + 1).T,
    "where": lambda a: a.where(a > 3, 0),
    "with others": lambda a: a + xr.ones_like(a),
    "in larger blocks": lambda a: a.chunk({"x": 12}) + 1,
    "mapped": lambda a: xr.apply_ufunc(np.sqrt, a, dask="parallelized", output_dtypes=["f8"]),
}

ELSEWHERE: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "reversed": lambda a: a[::-1],
    "without mean": lambda a: a - a.mean(),
    "rolled": lambda a: a.roll(x=1),
    "shifted": lambda a: a.shift(x=1, fill_value=0),
    "cumulated": lambda a: a.cumsum("x"),
    "sorted": lambda a: a.isel(x=[11, 3, 4, 1, 2, 8, 5, 9, 10, 7, 0, 6]),
    "rechunked": lambda a: a.chunk({"x": 4}),
}


def stored(path: Path) -> str:
    """Store two variables in chunks of 3 times 5 and return where."""
    ds = xr.Dataset({"a": (("x", "y"), VALUES), "b": (("x", "y"), VALUES * 10)})
    xz.to_zarr(ds, path, encoding={name: {"chunks": (3, 5)} for name in ds})
    return str(path)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that is told of each dask array of a write whether it was loaded before."""
    told: list[bool] = []

    def watched(writes: Any, changed: Any) -> list[Any]:
        found = settled(writes, changed)
        told.extend(data is not write.data for data, write in zip(found, writes, strict=True))
        return found

    monkeypatch.setattr("xzarr_backend.xarray_writer.settled", watched)
    monkeypatch.setattr("xzarr_backend.dask_writer.settled", watched)
    return told


@pytest.mark.parametrize("mode", ["r+", "a"])
@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("change", [*IN_PLACE, *ELSEWHERE])
def test_a_variable_is_replaced_by_what_is_computed_from_it(
    tmp_path: Path, loaded: list[bool], change: str, opener: str, mode: str
) -> None:
    path = stored(tmp_path / "a.zarr")
    changing = (IN_PLACE | ELSEWHERE)[change]
    lazy = changing(OPENERS[opener](path)["a"])
    assert lazy.chunks is not None
    xz.to_zarr(lazy.to_dataset(name="a"), path, mode=mode)
    expected = changing(xr.DataArray(VALUES, dims=("x", "y"), name="a"))
    with xz.open_dataset(path) as ds:
        np.testing.assert_allclose(ds["a"], expected, rtol=1e-12)
    assert loaded == [change in ELSEWHERE]  # what can stay lazy, does


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("part", [slice(2, 8), slice(3, 6), slice(0, 12)])
def test_a_region_is_replaced_by_what_is_computed_from_it(
    tmp_path: Path, loaded: list[bool], opener: str, part: slice
) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = OPENERS[opener](path)[["a"]].isel(x=part) * 2
    xz.to_zarr(ds, path, region={"x": part})
    expected = VALUES.copy()
    expected[part] *= 2
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], expected)
    assert loaded == [False]


def test_a_region_of_another_place_is_loaded(tmp_path: Path, loaded: list[bool]) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = xz.open_zarr(path)[["a"]].isel(x=slice(0, 8))
    xz.to_zarr(ds, path, region={"x": slice(4, 12)})
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], np.concatenate([VALUES[:4], VALUES[:8]]))
    assert loaded == [True]


def test_a_region_of_what_is_not_written_stays_lazy(tmp_path: Path, loaded: list[bool]) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = xz.open_zarr(path)[["a"]].isel(x=slice(0, 6))
    xz.to_zarr(ds, path, region={"x": slice(6, 12)})
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], np.concatenate([VALUES[:6], VALUES[:6]]))
    assert loaded == [False]


def test_a_selection_that_was_made_before_the_blocks_is_loaded(tmp_path: Path, loaded: list[bool]) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = xr.open_dataset(path, engine="xzarr")[["a"]].isel(x=slice(None, None, -1)).chunk({"x": 3})
    xz.to_zarr(ds, path, mode="r+")
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], VALUES[::-1])
    assert loaded == [True]


@pytest.mark.parametrize("opener", OPENERS)
def test_two_variables_change_places(tmp_path: Path, opener: str) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = OPENERS[opener](path)
    xz.to_zarr(xr.Dataset({"a": ds["b"], "b": ds["a"]}), path, mode="r+")
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], VALUES * 10)
        np.testing.assert_array_equal(found["b"], VALUES)


def test_a_new_variable_is_computed_from_one_that_changes(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.zarr")
    ds = xz.open_zarr(path)
    xz.to_zarr(xr.Dataset({"a": (("x", "y"), VALUES * 0), "c": ds["a"] * 2}), path, mode="a")
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["c"], VALUES * 2)


def test_what_is_appended_may_come_from_the_array_itself(tmp_path: Path, loaded: list[bool]) -> None:
    path = stored(tmp_path / "a.zarr")
    xz.to_zarr(xz.open_zarr(path).isel(x=slice(None, None, -1)), path, append_dim="x")
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], np.concatenate([VALUES, VALUES[::-1]]))
    assert loaded == [False, False]


@pytest.mark.parametrize("way", ["mode", "array", "region"])
def test_dask_arrays_too(tmp_path: Path, loaded: list[bool], way: str) -> None:
    path = str(tmp_path / "a.zarr")
    array = xz.create_array(path, data=VALUES, chunks=(3, 5))
    target = array if way == "array" else path
    keywords: Any = {"mode": "r+"} if way == "mode" else {"region": (slice(0, 12), slice(None))}
    xz.to_zarr(xz.from_zarr(path)[::-1], target, **({} if way == "array" else keywords))
    np.testing.assert_array_equal(xz.open_array(path)[...], VALUES[::-1])
    xz.to_zarr(xz.from_zarr(path) + 1, target, **({} if way == "array" else keywords))
    np.testing.assert_array_equal(xz.open_array(path)[...], VALUES[::-1] + 1)
    assert loaded == [True, False]


def test_what_is_too_large_to_load_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path / "a.zarr")
    monkeypatch.setattr(block_sources, "MAX_LOADED_NBYTES", VALUES.nbytes - 1)
    ds = xz.open_zarr(path)[["a"]]
    with pytest.raises(RegionError, match="still to be read from") as caught:
        xz.to_zarr(ds.isel(x=slice(None, None, -1)), path, mode="r+")
    assert "'a'" in str(caught.value) or "/a" in str(caught.value)
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], VALUES)
    xz.to_zarr(ds * 2, path, mode="r+")  # needs no loading
    with xz.open_dataset(path) as found:
        np.testing.assert_array_equal(found["a"], VALUES * 2)


def test_safe_chunks_false_checks_nothing(tmp_path: Path, loaded: list[bool]) -> None:
    path = stored(tmp_path / "a.zarr")
    xz.to_zarr(xz.open_zarr(path)[["a"]].roll(x=0), path, mode="r+", safe_chunks=False)
    assert loaded == []


def test_other_data_are_not_loaded(tmp_path: Path) -> None:
    """Data of other arrays of the store, of memory, and of what does not pickle stay lazy."""
    stored(tmp_path / "a.zarr")
    array = xz.open_array(tmp_path / "a.zarr", "a", mode="r+")
    other = xz.from_zarr(tmp_path / "a.zarr", "b")
    unpicklable = da.ones((12, 10), chunks=3).map_blocks(lambda block, lock=None: block, lock=Lock(), dtype="f8")
    for data in (other[::-1], other.persist()[::-1], da.zeros((12, 10)) + 1, unpicklable):
        write = ArrayWrite(array, (slice(0, 12), slice(0, 10)), data)
        (found,) = settled([write], [write])
        assert found is data
