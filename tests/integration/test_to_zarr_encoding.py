"""`to_zarr` for xarray: what is stored for which encoding, in both formats, and what either engine reads back."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.xarray_parity import ZARR_WARNINGS, assert_same_dataset
from xzarr_backend.errors import ArgumentError, MetadataError, RegionError

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]


def small() -> xr.Dataset:
    """Return a dataset of two dimensions."""
    values = np.arange(120.0).reshape(12, 10)
    return xr.Dataset({"a": (("y", "x"), values)}, coords={"y": np.arange(12)})


def many_types() -> xr.Dataset:
    """Return a dataset with a variable of every kind that xarray writes."""
    return xr.Dataset(
        {
            "float": ("x", [1.5, np.nan, -0.0]),
            "int": ("x", np.array([1, 2, 3], "i2")),
            "flag": ("x", [True, False, True]),
            "complex": ("x", [1j, 2.0, 3 - 1j]),
            "text": ("x", np.array(["a", "bc", ""], dtype=object)),
            "fixed": ("x", ["a", "bc", "def"]),
            "bytes": ("x", np.array([b"ab", b"c", b""], "S2")),
            "time": ("x", pd.date_range("2000-01-01", periods=3, freq="7h")),
            "delta": ("x", pd.to_timedelta([1, 2, 3], "h")),
            "packed": ("x", [0.5, 1.0, np.nan], {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9}),
            "scalar": ((), 3),
            "empty": (("x", "none"), np.empty((3, 0))),
        },
        coords={"x": [10, 20, 30], "beside": ("x", [1.0, 2.0, 3.0])},
        attrs={"title": "all", "numbers": np.arange(3)},
    )


def opened(path: Any, engine: str = "xzarr", **keywords: Any) -> xr.Dataset:
    """Return the dataset, loaded."""
    with xr.open_dataset(path, engine=engine, **keywords) as ds:
        return ds.load()


def encoding_of(path: Any, name: str = "a") -> dict[Any, Any]:
    """Return the encoding of one variable."""
    encoding: dict[Any, Any] = opened(path)[name].encoding
    return encoding


# --- the same as the built-in writer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("engine", ["xzarr", "zarr"])
def test_what_is_stored_reads_as_what_the_built_in_writer_stores(tmp_path: Path, zarr_format: int, engine: str) -> None:
    """Either engine sees the same values, attributes, types and encoding in what both writers store."""
    many_types().to_zarr(tmp_path / "theirs.zarr", zarr_format=zarr_format)
    xz.to_zarr(many_types(), tmp_path / "ours.zarr", zarr_format=zarr_format)
    theirs, ours = opened(tmp_path / "theirs.zarr", engine), opened(tmp_path / "ours.zarr", engine)
    assert theirs.encoding.pop("source") != ours.encoding.pop("source")
    assert_same_dataset(theirs, ours)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_documents_are_those_of_the_built_in_writer(tmp_path: Path, zarr_format: int) -> None:
    """Fill values and attributes are the same JSON, bit by bit."""
    many_types().to_zarr(tmp_path / "theirs.zarr", zarr_format=zarr_format)
    xz.to_zarr(many_types(), tmp_path / "ours.zarr", zarr_format=zarr_format)
    name, members = ("zarr.json", ("fill_value", "attributes", "data_type", "dimension_names"))
    if zarr_format == 2:
        name, members = ".zarray", ("fill_value", "dtype", "filters", "order")
    for variable in many_types().variables:
        theirs, ours = (
            json.loads((tmp_path / f"{who}.zarr" / str(variable) / name).read_text()) for who in ("theirs", "ours")
        )
        assert {m: ours.get(m) or None for m in members} == {m: theirs.get(m) or None for m in members}, variable


def test_the_built_in_writer_saves_what_was_opened_here(tmp_path: Path) -> None:
    """Encodings that this engine reports are taken by the built-in writer."""
    xz.to_zarr(many_types(), tmp_path / "a.zarr")
    opened(tmp_path / "a.zarr").to_zarr(tmp_path / "b.zarr")
    xr.testing.assert_identical(opened(tmp_path / "b.zarr"), opened(tmp_path / "a.zarr"))


# --- chunks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "stored"),
    [
        (5, (5, 5)),
        ((4, 3), (4, 3)),
        ([4, -1], (4, 10)),
        ({"x": 4}, (12, 4)),
        ({"y": 6, "x": 4}, (6, 4)),
        (((2, 4, 6), 5), ((2, 4, 6), 5)),
        ({"y": (2, 4, 6)}, ((2, 4, 6), 10)),
        ("auto", (12, 10)),
    ],
)
def test_chunks_are_given_in_many_ways(tmp_path: Path, chunks: Any, stored: Any) -> None:
    """A length, one per dimension, a dict by dimension, lists of lengths; what is not named is one chunk."""
    xz.to_zarr(small(), tmp_path / "a.zarr", encoding={"a": {"chunks": chunks}})
    assert encoding_of(tmp_path / "a.zarr")["chunks"] == stored
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), small())


def test_shards_are_given_by_dimension(tmp_path: Path) -> None:
    """Shards are named by dimension as chunks are, in any order; all of them, and none that the variable lacks."""
    given = {"chunks": {"y": 3, "x": 5}, "shards": {"x": 10, "y": 6}}
    xz.to_zarr(small(), tmp_path / "a.zarr", encoding={"a": given})
    stored = xz.open_array(tmp_path / "a.zarr", "a")
    assert (stored.chunks, stored.shards) == ((3, 5), (6, 10))
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), small())
    for shards, problem in (({"y": 6}, "leaves the length along 'x'"), ({"z": 6}, "'z', which variable 'a' does not")):
        with pytest.raises(xz.MetadataError, match=problem):
            xz.to_zarr(small(), tmp_path / "b.zarr", encoding={"a": {"chunks": 2, "shards": shards}})


def test_chunks_follow_the_blocks_of_dask(tmp_path: Path) -> None:
    """Without an encoding, and for dimensions that it does not name, chunks are dask's."""
    ds = small().chunk(y=5, x=4)
    xz.to_zarr(ds, tmp_path / "a.zarr")
    assert encoding_of(tmp_path / "a.zarr")["chunks"] == (5, 4)
    xz.to_zarr(ds, tmp_path / "b.zarr", encoding={"a": {"chunks": {"x": 2}}})
    assert encoding_of(tmp_path / "b.zarr")["chunks"] == (5, 2)


def test_dask_12581_irregular_blocks_become_a_rectilinear_grid(tmp_path: Path) -> None:
    """dask/dask#12581: blocks of different lengths are stored as they are in v3, and fused in v2."""
    ds = small().chunk(y=(1, 5, 6))
    report = xz.to_zarr(ds, tmp_path / "a.zarr")
    assert encoding_of(tmp_path / "a.zarr")["chunks"] == ((1, 5, 6), 10)
    assert report.shared == 0
    xz.to_zarr(ds, tmp_path / "b.zarr", zarr_format=2)
    assert encoding_of(tmp_path / "b.zarr")["chunks"] == (6, 10)
    xr.testing.assert_identical(opened(tmp_path / "b.zarr"), small())
    xz.to_zarr(ds, tmp_path / "c.zarr", encoding={"a": {"chunks": "dask"}})
    assert encoding_of(tmp_path / "c.zarr")["chunks"] == ((1, 5, 6), 10)


def test_xarray_4380_rechunk_then_save(tmp_path: Path) -> None:
    """pydata/xarray#4380, #2300: chunks from the store yield to dask's where the two disagree, and stay where not."""
    xz.to_zarr(small().chunk(y=4), tmp_path / "a.zarr")
    xz.to_zarr(xz.open_zarr(tmp_path / "a.zarr").chunk(y=3), tmp_path / "b.zarr")
    assert encoding_of(tmp_path / "b.zarr")["chunks"] == (3, 10)
    xz.to_zarr(xz.open_zarr(tmp_path / "a.zarr").chunk(y=8), tmp_path / "c.zarr")
    assert encoding_of(tmp_path / "c.zarr")["chunks"] == (4, 10)


def test_an_explicit_encoding_wins_over_the_blocks(tmp_path: Path) -> None:
    """Chunks that were asked for are stored, whatever the blocks; nothing is lost."""
    ds = small().chunk(y=5)
    xz.to_zarr(ds, tmp_path / "a.zarr", encoding={"a": {"chunks": (4, 4)}})
    assert encoding_of(tmp_path / "a.zarr")["chunks"] == (4, 4)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), small())


def test_safe_chunks_true_refuses_what_xarray_refuses(tmp_path: Path) -> None:
    """Blocks that share chunks, and irregular blocks, are refused before anything is stored."""
    with pytest.raises(RegionError, match="would overlap"):
        xz.to_zarr(small().chunk(y=5), tmp_path / "a.zarr", encoding={"a": {"chunks": (4, 4)}}, safe_chunks=True)
    with pytest.raises(RegionError, match="uniform chunk sizes"):
        xz.to_zarr(small().chunk(y=(1, 5, 6)), tmp_path / "a.zarr", safe_chunks=True)
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize(
    ("encoding", "problem"),
    [
        ({"chunks": (4, 4, 4)}, "2 dimensions"),
        ({"chunks": {"z": 4}}, "'z'"),
        ({"chunks": "dask"}, "needs a dask array"),
        ({"chunks": (5, 4.5)}, "int or a tuple"),
        ({"chunks": (5, 4), "shards": (6, 10)}, "do not divide"),
        ({"compressor": None}, "did you mean 'compressors'"),
        ({"chunk": 3}, "did you mean 'chunks'"),
        ({"compressors": "no-such-codec"}, "no-such-codec"),
    ],
)
def test_bad_encodings_are_refused_before_anything_is_stored(tmp_path: Path, encoding: Any, problem: str) -> None:
    """The error says what is wrong, and no store appears."""
    with pytest.raises(xz.XzarrError, match=problem):
        xz.to_zarr(small(), tmp_path / "a.zarr", encoding={"a": encoding})
    assert not (tmp_path / "a.zarr").exists()


def test_encoding_for_an_unknown_variable_suggests_one(tmp_path: Path) -> None:
    """A misspelled variable is a KeyError that names the nearest one."""
    with pytest.raises(KeyError, match="did you mean 'a'"):
        xz.to_zarr(small(), tmp_path / "a.zarr", encoding={"aa": {}})


# --- codecs ---------------------------------------------------------------------------------------------------------


CODECS: list[dict[str, Any]] = [
    {},
    {"compressors": None},
    {"compressors": "gzip"},
    {"compressors": (numcodecs.Blosc("lz4", 5, numcodecs.Blosc.BITSHUFFLE),)},
    {"compressors": {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3, "shuffle": "shuffle"}}},
    {"compressors": numcodecs.Zlib(3)},
    {"filters": [numcodecs.Delta("f8")], "compressors": "zstd"},
    {"filters": [numcodecs.Shuffle(8)]},
]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("codecs", CODECS, ids=str)
def test_xarray_10032_resaving_in_the_other_format(tmp_path: Path, codecs: dict[str, Any], zarr_format: int) -> None:
    """pydata/xarray#10032: names, dicts and objects mean the same in both formats, also when they are inherited."""
    xz.to_zarr(small(), tmp_path / "a.zarr", zarr_format=zarr_format, encoding={"a": codecs})
    xz.to_zarr(opened(tmp_path / "a.zarr"), tmp_path / "b.zarr", zarr_format=5 - zarr_format)
    for path in ("a.zarr", "b.zarr"):
        xr.testing.assert_identical(opened(tmp_path / path), small())
        xr.testing.assert_identical(opened(tmp_path / path, "zarr"), small())
    arrays = [xz.open_array(tmp_path / path, "a") for path in ("a.zarr", "b.zarr")]
    assert len(arrays[0].compressors) + len(arrays[0].filters) == len(arrays[1].compressors) + len(arrays[1].filters)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_type_is_resaved_in_the_other_format(tmp_path: Path, zarr_format: int) -> None:
    """Texts lose the filters that v2 needs for them, and get them back."""
    xz.to_zarr(many_types(), tmp_path / "a.zarr", zarr_format=zarr_format)
    first = opened(tmp_path / "a.zarr")
    xz.to_zarr(first, tmp_path / "b.zarr", zarr_format=5 - zarr_format)
    xr.testing.assert_identical(opened(tmp_path / "b.zarr"), first)


def test_zarr_python_objects_are_codecs_too(tmp_path: Path) -> None:
    """The codec objects of zarr-python mean in v2 what they mean in v3."""
    codecs = pytest.importorskip("zarr.codecs")
    for zarr_format in (2, 3):
        path = tmp_path / f"{zarr_format}.zarr"
        xz.to_zarr(small(), path, zarr_format=zarr_format, encoding={"a": {"compressors": codecs.GzipCodec(level=2)}})
        (found,) = xz.open_array(path, "a").compressors
        assert (found.level if zarr_format == 2 else found["configuration"]["level"]) == 2


# --- what CF and JSON have no word for ------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_native_times_keep_their_unit(tmp_path: Path, unit: str, zarr_format: int) -> None:
    """Arrays of datetime64 are saved as such, in the same unit, in either format."""
    values = np.array(["2000-01-01", "NaT"], f"M8[{unit}]")
    xz.create_group(tmp_path / "a.zarr", zarr_format=zarr_format)
    fill = np.datetime64("NaT", unit)
    xz.create_array(
        tmp_path / "a.zarr", "t", data=values, dimension_names=["x"], zarr_format=zarr_format, fill_value=fill
    )
    for source, target, other in (("a", "b", 5 - zarr_format), ("b", "c", zarr_format)):
        ds = opened(tmp_path / f"{source}.zarr", consolidated=False)
        xz.to_zarr(ds, tmp_path / f"{target}.zarr", zarr_format=other)
        assert xz.open_array(tmp_path / f"{target}.zarr", "t").dtype == values.dtype
    assert np.array_equal(opened(tmp_path / "c.zarr").t.values, values, equal_nan=True)


def test_native_times_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Asked for seconds, halves of a second are not cut off."""
    ds = xr.Dataset({"t": ("x", np.array(["2000-01-01T00:00:00.500"], "M8[ms]"))})
    with pytest.raises(MetadataError, match="do not fit the unit"):
        xz.to_zarr(ds, tmp_path / "a.zarr", encoding={"t": {"dtype": "M8[s]"}})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_single_bytes_stay_an_array(tmp_path: Path, zarr_format: int) -> None:
    """An array of S1 is stored as one, not joined to longer texts."""
    xz.to_zarr(xr.Dataset({"c": ("x", np.array([b"a", b"b"], "S1"))}), tmp_path / "a.zarr", zarr_format=zarr_format)
    assert xz.open_array(tmp_path / "a.zarr", "c")[...].tolist() == [b"a", b"b"]
    assert opened(tmp_path / "a.zarr", concat_characters=False).c.values.tolist() == [b"a", b"b"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_attributes_stay_valid_json(tmp_path: Path, zarr_format: int) -> None:
    """NaN, infinity, bytes, dates and complex numbers come back, and no document holds what JSON does not know."""
    attributes = {"nan": np.nan, "inf": [1.0, -np.inf], "raw": b"\xff", "day": np.datetime64("2000-01-01"), "c": 1 + 2j}
    ds = small().assign_attrs(attributes)
    ds.a.attrs["bad"] = np.nan
    xz.to_zarr(ds, tmp_path / "a.zarr", zarr_format=zarr_format)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    for path in [*tmp_path.rglob("zarr.json"), *tmp_path.rglob(".z*")]:
        json.loads(path.read_text(), parse_constant=refuse)
    xr.testing.assert_identical(opened(tmp_path / "a.zarr"), ds)


def test_attributes_that_cannot_be_stored_name_their_key(tmp_path: Path) -> None:
    """The error is a TypeError, as xarray's, and says which attribute it is."""
    with pytest.raises(ArgumentError, match="'bad'") as caught:
        xz.to_zarr(small().assign_attrs(bad=object()), tmp_path / "a.zarr")
    assert isinstance(caught.value, TypeError)
    assert not (tmp_path / "a.zarr").exists()


def test_types_with_a_specification_are_stored_without_warnings(tmp_path: Path) -> None:
    """No variable of the ordinary kinds makes the writer warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xz.to_zarr(many_types(), tmp_path / "a.zarr")
