"""Datasets that xarray's built-in engine wrote, opened with both engines, saved again by the built-in writer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.xarray_parity import ENGINE, ZARR_WARNINGS, assert_same_dataset

pytest.importorskip("zarr")

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

RANDOM = np.random.default_rng(0)
FLOATS = RANDOM.normal(size=(6, 4, 5))
HOLES = np.where(FLOATS > 0.5, np.nan, FLOATS)
DIMS = ("time", "lat", "lon")

Build = Callable[[], xr.Dataset]
CASES: dict[str, tuple[Build, dict[str, Any]]] = {}  # by name: the dataset, and the encoding to write it with


def case(name: str, encoding: dict[str, Any] | None = None) -> Callable[[Build], Build]:
    """Register a dataset."""

    def register(build: Build) -> Build:
        CASES[name] = build, encoding or {}
        return build

    return register


def variable(data: Any, dims: Any = DIMS, **attributes: Any) -> xr.Dataset:
    """Return a dataset with the one variable ``v``."""
    return xr.Dataset({"v": (dims, data, attributes)})


def times(**attributes: Any) -> xr.Dataset:
    """Return a dataset with a time coordinate."""
    stamps = pd.date_range("2000-01-31", periods=6, freq="D")
    return xr.Dataset({"v": (DIMS, FLOATS)}, coords={"time": ("time", stamps, attributes)})


def _plain(name: str, data: Any, dims: Any = DIMS, encoding: dict[str, Any] | None = None, **attributes: Any) -> None:
    CASES[name] = (lambda: variable(data, dims, **attributes)), {"v": encoding or {}}


for _dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"):
    _plain(_dtype, (FLOATS * 50).clip(0, 100).astype(_dtype))
_plain("float16", FLOATS.astype("f2"))
_plain("bool", FLOATS > 0)
_plain("complex", FLOATS + 1j * FLOATS)
_plain("packed", HOLES, encoding={"dtype": "int16", "scale_factor": 0.01, "add_offset": 1.5, "_FillValue": -9999})
_plain(
    "packed unsigned", HOLES, encoding={"dtype": "uint8", "scale_factor": 0.5, "add_offset": -4.0, "_FillValue": 255}
)
_plain("packed by somebody else", np.arange(6, dtype="i2"), "time", scale_factor=0.1, add_offset=2.0)
_plain("masked by nan", HOLES)
_plain("masked by a number", HOLES.astype("f4"), encoding={"_FillValue": -1e30, "dtype": "float32"})
_plain("missing value", HOLES, encoding={"missing_value": -99.0, "_FillValue": -99.0})
_plain("missing value of an integer", HOLES, encoding={"missing_value": -99, "dtype": "int16"})
_plain("no fill value", FLOATS, encoding={"_FillValue": None})
_plain("integer with a fill value", np.arange(6), "time", encoding={"_FillValue": 3})
_plain("attributes", FLOATS, title="Größe ☂", number=1.5, numbers=[1, 2, 3], nested={"a": [1, {"b": None}]}, flag=True)
_plain("flags", np.array([0, 1, 2], "i1"), "flag", flag_values=[0, 1, 2], flag_meanings="a b c")
_plain("strings of objects", np.array(["a", "", "größer"], object), "x")
_plain("strings of fixed length", np.array(["a", "bb", "größer"]), "x")
_plain("bytes", np.array([b"a", b"bb", b""]), "x")
_plain("characters", np.array([b"abc", b"de", b""]), "x", encoding={"dtype": "S1"})
_plain("scalar", np.float64(3.5), ())
_plain("scalar string", np.array("text", object), ())
_plain("scalar integer with a fill value", np.int32(3), (), encoding={"_FillValue": -1})
_plain("empty dimension", np.zeros((0, 3)), ("x", "y"))
_plain("empty dimension of strings", np.zeros((0,), "U3"), ("x",))
_plain("chunks with a rest", FLOATS, encoding={"chunks": (4, 3, 2)})
_plain("one chunk", FLOATS, encoding={"chunks": (6, 4, 5)})
_plain("chunks larger than the array", FLOATS, encoding={"chunks": (10, 10, 10)})
_plain("uncompressed", FLOATS, encoding={"compressors": None})
_plain("datetimes", pd.date_range("1999-12-31", periods=3).to_numpy(), "x")
_plain("durations", pd.to_timedelta([1, 2, 3], unit="h").to_numpy(), "x")
_plain("durations in days", pd.to_timedelta([1, 2, 3], unit="D").to_numpy(), "x", encoding={"units": "days"})
_plain("durations not known", pd.to_timedelta([1, None, 3], unit="h").to_numpy(), "x")
_plain("datetimes not known", pd.to_datetime(["2000-01-01", None]).to_numpy(), "x")
_plain("datetimes as integers", pd.date_range("1999-12-31", periods=3).to_numpy(), "x", encoding={"dtype": "int64"})

CASES["nothing"] = xr.Dataset, {}
CASES["attributes only"] = (lambda: xr.Dataset(attrs={"title": "none", "levels": [1.5, 2]})), {}
CASES["days"] = times, {"time": {"units": "days since 1970-01-01", "dtype": "int32"}}
CASES["hours"] = times, {"time": {"units": "hours since 1900-01-01 00:00:00", "dtype": "float64"}}
CASES["nanoseconds"] = times, {"time": {"units": "nanoseconds since 2000-01-01", "dtype": "int64"}}
CASES["proleptic calendar"] = times, {"time": {"units": "days since 2000-01-01", "calendar": "proleptic_gregorian"}}
CASES["time with attributes"] = (lambda: times(standard_name="time", axis="T")), {}


@case("shards")
def _shards() -> xr.Dataset:
    data = variable(FLOATS)
    data.v.encoding = {"chunks": (2, 2, 5), "shards": (4, 4, 5)}
    return data


@case("coordinates")
def _coordinates() -> xr.Dataset:
    return xr.Dataset(
        {"v": (("y", "x"), FLOATS[0]), "w": ("x", np.arange(5.0))},
        coords={
            "lat": (("y", "x"), FLOATS[1], {"units": "degrees_north"}),
            "lon": (("y", "x"), FLOATS[2]),
            "level": 850.0,
            "x": np.arange(5),
        },
    )


@case("labels")
def _labels() -> xr.Dataset:
    labels = np.array(["a", "b", "c", "d"], object)
    return xr.Dataset({"v": (("y", "x"), FLOATS[0])}, coords={"y": labels, "label": ("y", labels), "x": list("abcde")})


@case("bounds", {"time": {"units": "days since 2000-01-01", "dtype": "float64"}})
def _bounds() -> xr.Dataset:
    data = times(bounds="time_bnds")
    edges = np.stack([data.time.values, data.time.values + np.timedelta64(1, "D")], -1)
    return data.assign(time_bnds=(("time", "nv"), edges))


@case("grid mapping")
def _grid_mapping() -> xr.Dataset:
    data = variable(FLOATS, DIMS, grid_mapping="crs")
    return data.assign(crs=((), 0, {"grid_mapping_name": "latitude_longitude"}))


@case("several variables", {"t": {"chunks": (3, 4, 5)}, "p": {"chunks": (6, 2, 2), "dtype": "float32"}})
def _several() -> xr.Dataset:
    return xr.Dataset({"t": (DIMS, FLOATS), "p": (DIMS, HOLES), "zone": ("lat", np.arange(4))}, attrs={"source": "me"})


@case("unlimited")
def _unlimited() -> xr.Dataset:
    data = times()
    data.encoding["unlimited_dims"] = {"time"}
    return data


@case("a calendar of 365 days")
def _noleap() -> xr.Dataset:
    pytest.importorskip("cftime")
    return times().assign_coords(time=xr.date_range("2000-02-27", periods=6, calendar="noleap", use_cftime=True))


@case("a calendar of 360 days")
def _months() -> xr.Dataset:
    pytest.importorskip("cftime")
    return times().assign_coords(time=xr.date_range("2000-02-27", periods=6, calendar="360_day", use_cftime=True))


@case("names with odd characters")
def _odd_names() -> xr.Dataset:
    return xr.Dataset({"größe ☂": ("x y", [1, 2]), "a.b": ("x y", [3.0, 4.0])})


def theirs(place: Any, **keywords: Any) -> xr.Dataset:
    """Open with the built-in engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # xarray's own, on durations
        return xr.open_dataset(place, engine="zarr", **keywords)


def ours(place: Any, **keywords: Any) -> xr.Dataset:
    """Open with this engine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return xr.open_dataset(place, engine=ENGINE, **keywords)


def write(
    data: xr.Dataset, place: Path, zarr_format: int, encoding: dict[str, Any] | None = None, **keywords: Any
) -> str:
    """Write with the built-in writer; return the path."""
    if zarr_format == 2:
        for name in data.variables:
            data[name].encoding.pop("shards", None)
    data.to_zarr(str(place), zarr_format=zarr_format, encoding=encoding, **keywords)
    return str(place)


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def zarr_format(request: pytest.FixtureRequest) -> int:
    """Both formats."""
    return int(request.param)


@pytest.fixture(params=CASES)
def written(request: pytest.FixtureRequest, tmp_path: Path, zarr_format: int) -> str:
    """The path of each dataset, written in each format."""
    build, encoding = CASES[request.param]
    encoding = {name: dict(each) for name, each in encoding.items() if each}
    return write(build(), tmp_path / "written.zarr", zarr_format, encoding)


def test_written_datasets_look_the_same(written: str) -> None:
    """Decoded and raw, a dataset is identical in both engines and carries the same encoding."""
    assert_same_dataset(theirs(written), ours(written))
    assert_same_dataset(theirs(written, decode_cf=False), ours(written, decode_cf=False))


@pytest.mark.filterwarnings("ignore:saving variable None with floating point data as an integer dtype")
@pytest.mark.filterwarnings("ignore:variable None has data in the form of a dask array with dtype=object")
@pytest.mark.parametrize("chunks", [None, {}], ids=["loaded", "chunked"])
def test_datasets_opened_here_save_with_the_built_in_writer(
    written: str, tmp_path: Path, zarr_format: int, chunks: Any
) -> None:
    """What this engine opened is saved by `Dataset.to_zarr` in the same format and reads back identical."""
    # the writer would refuse chunks of dask that are smaller than the shards
    again = write(ours(written, chunks=chunks), tmp_path / "again.zarr", zarr_format, align_chunks=chunks is not None)
    xr.testing.assert_identical(theirs(written), theirs(again))
    assert_same_dataset(theirs(again), ours(again))


OPTIONS: dict[str, dict[str, Any]] = {
    "no masks": {"mask_and_scale": False},
    "no masks of one": {"mask_and_scale": {"v": False}},
    "no times": {"decode_times": False},
    "durations": {"decode_timedelta": True},
    "seconds": {"decode_times": xr.coders.CFDatetimeCoder(time_unit="s")},
    "cftime": {"decode_times": xr.coders.CFDatetimeCoder(use_cftime=True)},
    "characters": {"concat_characters": False},
    "all coordinates": {"decode_coords": "all"},
    "no coordinates": {"decode_coords": False},
    "dropped": {"drop_variables": ["v", "nothing"]},
    "chunks of the store": {"chunks": {}},
    "chunks chosen": {"chunks": "auto"},
    "one chunk for a dimension": {"chunks": {"time": -1}},
    "no consolidated metadata": {"consolidated": False},
    "no indexes": {"create_default_indexes": False},
    "no cache": {"cache": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["packed", "bounds", "characters", "durations in days", "coordinates", "grid mapping"])
def test_keywords_mean_the_same(tmp_path: Path, zarr_format: int, name: str, options: dict[str, Any]) -> None:
    """Each keyword changes what both engines show in the same way."""
    build, encoding = CASES[name]
    place = write(build(), tmp_path / "written.zarr", zarr_format, {n: dict(e) for n, e in encoding.items() if e})
    left, right = theirs(place, **options), ours(place, **options)
    assert left.chunksizes == right.chunksizes
    assert_same_dataset(left, right)


def test_trees_look_the_same(tmp_path: Path, zarr_format: int) -> None:
    """A tree with inherited coordinates is identical, as a whole and below one of its groups, and saves again."""
    tree = xr.DataTree.from_dict(
        {
            "/": times(),
            "/a": xr.Dataset({"q": ("time", np.arange(6))}, attrs={"level": 1}),
            "/a/b": xr.Dataset({"z": (("time", "x"), np.ones((6, 2)))}),
            "/empty": xr.Dataset(),
        }
    )
    place = str(tmp_path / "tree.zarr")
    tree.to_zarr(place, zarr_format=zarr_format)
    for group in (None, "a", "/a/b"):
        left = xr.open_datatree(place, engine="zarr", group=group)
        right = xr.open_datatree(place, engine=ENGINE, group=group)
        xr.testing.assert_identical(left, right)
    again = str(tmp_path / "again.zarr")
    xr.open_datatree(place, engine=ENGINE).to_zarr(again, zarr_format=zarr_format)
    xr.testing.assert_identical(tree, xr.open_datatree(again, engine="zarr"))


def test_there_are_enough_cases() -> None:
    """The two formats together make at least forty datasets each way."""
    assert len(CASES) >= 40
