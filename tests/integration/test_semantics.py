"""Conventions for data types that other languages lack: what stored numbers stand for, and back again."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xzarr_backend as xz
from xzarr_backend.semantic_parts import parts_of
from xzarr_backend.semantics import meaning_of, pair_meaning

RECORD = np.dtype([("a", "i4"), ("b", "?"), ("c", "c16"), ("d", "U3"), ("e", "M8[ns]"), ("f", [("g", "f2")])])


def foreign(folder: Path, name: str, values: Any, attributes: dict[str, Any], fill: Any = 0) -> None:
    """Store an array as ExZarr does: eight members, zlib, a fill value of zero for every data type."""
    values = np.asarray(values)
    place = folder / name
    place.mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    shape = list(values.shape)
    document = {"chunks": shape, "compressor": {"id": "zlib", "level": 5}, "dtype": values.dtype.str}
    document |= {"fill_value": fill, "filters": None, "order": "C", "shape": shape, "zarr_format": 2}
    (place / ".zarray").write_text(json.dumps(document))
    (place / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["x", "y"][: values.ndim], **attributes}))
    (place / ".".join("0" * values.ndim)).write_bytes(zlib.compress(values.tobytes()))


def opened(folder: Path, **keywords: Any) -> xr.Dataset:
    """Open without looking for consolidated metadata."""
    return xz.open_dataset(folder, consolidated=False, **keywords)


def attributes_of(folder: Path, name: str) -> dict[str, Any]:
    """Return the stored attributes of a v2 array."""
    return dict(json.loads((folder / name / ".zattrs").read_text("utf-8")))


def everything() -> xr.Dataset:
    """Return a dataset with all data types that have a convention."""
    records = np.zeros(3, RECORD)
    records["a"], records["c"], records["d"] = [1, 2, 3], [1j, 2, 3], ["x", "", "größ"[:3]]
    return xr.Dataset(
        {
            "flag": ("x", np.array([True, False, True]), {"title": "t"}),
            "half": ("x", np.array([0.5, np.nan, -0.0], "f2")),
            "z": ("x", np.array([1 + 2j, np.nan, -0.0])),
            "z8": ("x", np.array([1 + 2j, 0, 1j], "c8")),
            "when": ("x", np.array(["1970-01-01", "NaT", "2001-02-03T04:05:06.000000001"], "M8[ns]")),
            "far": ("x", np.array(["9999-01-01", "NaT", "-0044-03-15"], "M8[us]")),
            "lasts": ("x", np.array([0, "NaT", 7], "m8[ns]")),
            "text": ("x", np.array(["a", "", "größer"])),
            "bytes": ("x", np.array([b"a", b"", b"\xff\0b"])),
            "records": ("x", records),
            "scalar": ((), np.float32(2.5)),
            "yes": ((), np.True_),
            "zero": ((), 0),
            "moment": ((), np.datetime64(0, "ns")),
            "j": ((), 1j),
        },
        coords={"x": ["p", "q", "r"], "ok": ("x", np.array([True, True, False]))},
    )


# --- reading what others wrote ---------------------------------------------------------------------------------------


def test_exzarr_stores_mean_what_their_attributes_say(tmp_path: Path) -> None:
    """Booleans, times, durations, pairs, labels, halves and scalars of a store that ExZarr wrote come back as such."""
    second = 1_000_000
    foreign(tmp_path, "b", np.array([0, 1, 1], "u1"), {"dtype_semantic": "boolean", "false_value": 0, "true_value": 1})
    foreign(tmp_path, "t", np.array([0, second, -(2**63)], "<i8"), {"dtype_semantic": "datetime64[us]"})
    epoch = {"dtype_semantic": "datetime64[s]", "epoch": "2000-01-01T00:00:00Z"}
    foreign(tmp_path, "e", np.array([0, 60, -1], "<i8"), epoch)
    foreign(tmp_path, "d", np.array([0, 5, -(2**63)], "<i8"), {"dtype_semantic": "timedelta64[us]"})
    for part, values in (("real", [0.0, 1, 2]), ("imag", [3.0, 0, 0])):
        foreign(tmp_path, f"z_{part}", np.array(values), {"dtype_semantic": "complex128", "part": part, "units": "V"})
    foreign(tmp_path, "s", np.array([0, 1, 0], "u1"), {"dtype_semantic": "string", "labels": ["low", "high"]})
    foreign(tmp_path, "h", np.array([0, 1, 2], "<f4"), {"dtype_semantic": "float16"})
    foreign(tmp_path, "n", np.array([0], "<i4"), {"dtype_semantic": "scalar", "_ARRAY_DIMENSIONS": ["one"]})
    ds = opened(tmp_path)
    assert ds.b.values.tolist() == [False, True, True] and ds.b.dtype == bool
    assert ds.t.values.astype("M8[us]").astype(object)[0].year == 1970 and np.isnat(ds.t.values[2])
    np.testing.assert_array_equal(ds.t.values[:2], np.array([0, second], "M8[us]"))
    wanted = np.array(["2000-01-01T00:00:00", "2000-01-01T00:01:00", "1999-12-31T23:59:59"], "M8[s]")
    np.testing.assert_array_equal(ds.e.values, wanted)
    assert ds.d.dtype == np.dtype("m8[us]") and np.isnat(ds.d.values[2]) and ds.d.values[0] == np.timedelta64(0, "us")
    assert ds.z.dtype == complex and ds.z.values.tolist() == [3j, 1, 2] and ds.z.attrs == {"units": "V"}
    assert ds.s.values.tolist() == ["low", "high", "low"]
    assert ds.h.dtype == np.float16 and ds.h.values.tolist() == [0, 1, 2]
    assert ds.n.shape == () and ds.n.item() == 0
    assert set(ds.variables) == set("btedzshn") and not any("dtype_semantic" in v.attrs for v in ds.variables.values())


def test_the_stored_numbers_can_be_seen(tmp_path: Path) -> None:
    """With ``decode_semantics=False`` the numbers and the attributes are shown as they are stored."""
    xz.to_zarr(everything(), tmp_path, profile="exzarr")
    ds = xz.open_dataset(tmp_path, decode_semantics=False)
    assert ds.flag.dtype == np.uint8 and ds.flag.values.tolist() == [1, 0, 1]
    assert ds.flag.attrs == {"title": "t", "dtype_semantic": "boolean", "false_value": 0, "true_value": 1}
    assert ds.z_imag.attrs == {"dtype_semantic": "complex128", "part": "imag"} and "z" not in ds
    assert ds.text.attrs["labels"] == ["", "a", "größer"] and ds.text.values.tolist() == [1, 0, 2]
    plain = xz.open_dataset(tmp_path, decode_semantics=False, decode_times=False, mask_and_scale=False)
    assert plain.when.values.tolist() == [0, -(2**63), 981173106_000000001]
    assert plain.lasts.attrs["dtype_semantic"] == "timedelta64[ns]" and plain.zero.shape == (1,)


@pytest.mark.parametrize("units", [None, "microseconds since 1970-01-01"])
def test_the_epoch_is_a_time(units: str | None, tmp_path: Path) -> None:
    """Zero stays 1970-01-01 although the fill value is zero, with units of CF and without."""
    attributes = {"dtype_semantic": "datetime64[us]", "epoch": "1970-01-01T00:00:00Z"}
    foreign(tmp_path, "t", np.array([0, 1], "<i8"), attributes | ({"units": units} if units else {}))
    found = opened(tmp_path).t.values
    np.testing.assert_array_equal(found, np.array([0, 1], "M8[us]"))
    assert found.dtype.kind == "M"


def test_units_of_cf_come_first(tmp_path: Path) -> None:
    """Where units of CF say what numbers are, xarray's decoding is the one that counts, and can be turned off."""
    attributes = {"dtype_semantic": "datetime64[us]", "units": "days since 2000-01-01"}
    foreign(tmp_path, "t", np.array([0, 1], "<i8"), attributes)
    assert opened(tmp_path).t.values[1] == np.datetime64("2000-01-02")
    assert opened(tmp_path, decode_times=False).t.values.tolist() == [0, 1]


@pytest.mark.parametrize("units", [None, "microseconds", "ticks"])
def test_durations_are_durations(units: str | None, tmp_path: Path) -> None:
    """Durations come back whether there are units, of CF or not."""
    attributes = {"dtype_semantic": "timedelta64[us]"} | ({"units": units} if units else {})
    foreign(tmp_path, "d", np.array([0, 5], "<i8"), attributes)
    found = opened(tmp_path).d
    assert found.dtype == np.dtype("m8[us]") and found.values.tolist() == np.array([0, 5], "m8[us]").tolist()
    assert opened(tmp_path, decode_semantics=False).d.dtype.kind != "m"


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        ([0, 1], {"dtype_semantic": "quaternion"}),
        ([0, 1], {"dtype_semantic": ["boolean"]}),
        ([0, 1], {"dtype_semantic": "boolean", "true_value": "yes"}),
        ([0, 1], {"dtype_semantic": "boolean", "true_value": 0}),
        ([0, 1], {"dtype_semantic": "string", "labels": "none"}),
        ([0, 1], {"dtype_semantic": "string", "labels": ["a", 1]}),
        ([0, 1], {"dtype_semantic": "string", "labels": ["a", "b"], "string_dtype": "<U999999999"}),
        ([0, 1], {"dtype_semantic": "datetime64[fortnight]"}),
        ([0, 1], {"dtype_semantic": "datetime64[us]", "epoch": "yesterday"}),
        ([0, 1], {"dtype_semantic": "datetime64[us]", "epoch": 0}),
        ([0, 1], {"dtype_semantic": "datetime64[ns]", "epoch": "0001-01-01"}),
        ([0.5, 1], {"dtype_semantic": "datetime64[us]"}),
        ([0, 1], {"dtype_semantic": "complex128", "part": "real"}),
        ([0, 1], {"dtype_semantic": "scalar"}),
        ([0, 1], {"dtype_semantic": "field of v", "field": "a", "fields": ["a", "b"]}),
        ([0, 1], {"dtype_semantic": "field of v", "field": "a", "fields": 3, "element": 4}),
    ],
    ids=str,
)
def test_what_is_not_understood_is_shown_as_it_is(values: Any, attributes: dict[str, Any], tmp_path: Path) -> None:
    """A convention that is not known, or not complete, changes nothing."""
    foreign(tmp_path, "v", np.array(values), attributes, fill=None)
    ds = opened(tmp_path)
    assert ds.v.values.tolist() == values and ds.v.attrs == attributes


def test_numbers_that_stand_for_nothing_are_errors(tmp_path: Path) -> None:
    """A code without a label and a boolean that is neither raise, and say how to see the numbers."""
    foreign(tmp_path, "s", np.array([0, 7], "u1"), {"dtype_semantic": "string", "labels": ["a"]})
    foreign(tmp_path, "b", np.array([0, 2], "u1"), {"dtype_semantic": "boolean"})
    ds = opened(tmp_path)
    for name in "sb":
        with pytest.raises(xz.ChunkError, match="decode_semantics=False"):
            ds[name].load()
    assert ds.s[:1].values.tolist() == ["a"]


@pytest.mark.parametrize(
    ("number", "semantic", "epoch"),
    [
        (2**62, "datetime64[D]", "1970-01-01"),
        (2**62, "timedelta64[h]", None),
        (2**63 - 5, "datetime64[us]", "2000-01-01T00:00:00Z"),
        (-(2**63) + 5, "datetime64[us]", "1900-01-01T00:00:00Z"),
    ],
)
def test_times_beyond_64_bits_are_errors(number: int, semantic: str, epoch: str | None, tmp_path: Path) -> None:
    """A stored number that its unit and epoch carry out of range is an error, not another time; NaT stays NaT."""
    attributes = {"dtype_semantic": semantic} | ({} if epoch is None else {"epoch": epoch})
    foreign(tmp_path, "t", np.array([number, 0, -(2**63)], "<i8"), attributes)
    with pytest.raises(xz.ChunkError, match="64 bits"):
        opened(tmp_path).t.load()
    assert np.isnat(opened(tmp_path).t[2].values)


@pytest.mark.parametrize(
    ("epoch", "number"),
    [
        ("2000-01-01", 946_684_800_000_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:00+00:00", 0),
        ("1969-12-31T23:59:59.250Z", -750_000),
        ("1969-12-31T23:30:00-0030", 0),
    ],
)
def test_epochs_are_iso_8601(epoch: str, number: int, tmp_path: Path) -> None:
    """An epoch may be a day or a moment, with fractions and the offset of its clock, as other languages write it."""
    foreign(tmp_path, "t", np.array([0], "<i8"), {"dtype_semantic": "datetime64[us]", "epoch": epoch})
    assert opened(tmp_path).t.values.astype("M8[us]").view("i8").tolist() == [number]


def test_a_pair_beside_a_variable_of_its_name_is_left_alone(tmp_path: Path) -> None:
    """Real and imaginary parts are not joined where that would hide another variable, or where they do not fit."""
    for part in ("real", "imag"):
        foreign(tmp_path, f"z_{part}", np.ones(2), {"dtype_semantic": "complex128", "part": part})
        foreign(
            tmp_path,
            f"y_{part}",
            np.ones(2),
            {"dtype_semantic": f"complex{64 if part == 'real' else 128}", "part": part},
        )
    foreign(tmp_path, "z", np.ones(2), {})
    assert set(opened(tmp_path).variables) == {"z", "z_real", "z_imag", "y_real", "y_imag"}


def test_variables_are_kept_and_dropped_by_the_name_they_come_back_with(tmp_path: Path) -> None:
    """``keep_variables`` and ``drop_variables`` name what is shown, not the arrays it is stored in."""
    ds = xr.Dataset({"z": ("x", np.array([1j, 2])), "n": ("x", [1, 2])})
    xz.to_zarr(xr.DataTree.from_dict({"/": ds, "/below": ds}), tmp_path, profile="exzarr")
    assert set(xz.open_dataset(tmp_path, keep_variables="z").variables) == {"z"}
    assert set(xz.open_dataset(tmp_path, drop_variables="z").variables) == {"n"}
    assert set(xz.open_datatree(tmp_path, keep_variables=["z"])["below"].variables) == {"z"}
    with pytest.raises(xz.MemberNotFoundError):
        xz.open_dataset(tmp_path, keep_variables="y")


def test_reading_is_lazy_and_in_parts(tmp_path: Path) -> None:
    """Selections of every kind, dask and pickles see the same values; opening decodes nothing."""
    rng = np.random.default_rng(0)
    ds = xr.Dataset(
        {
            "z": (("y", "x"), rng.random((6, 8)) + 1j),
            "b": (("y", "x"), rng.random((6, 8)) > 0.5),
            "s": (("y", "x"), rng.choice(["a", "bb", "ccc"], (6, 8))),
        }
    )
    xz.to_zarr(ds, tmp_path, profile="exzarr", encoding={name: {"chunks": (3, 4)} for name in ds})
    lazy = xz.open_dataset(tmp_path)
    for selected in (
        lambda d: d.isel(x=2, y=slice(1, 5)),
        lambda d: d.isel(x=[3, 1], y=[0, 5]),
        lambda d: d.isel(x=xr.DataArray([1, 2, 3], dims="p"), y=xr.DataArray([0, 0, 4], dims="p")),
        lambda d: d.isel(x=0, y=0),
    ):
        xr.testing.assert_identical(selected(lazy).load(), selected(ds))
    chunked = xz.open_zarr(tmp_path)
    assert chunked.z.chunks == ((3, 3), (4, 4)) and chunked.s.dtype == "<U3"
    xr.testing.assert_identical(chunked.compute(scheduler="sync"), ds)
    xr.testing.assert_identical(pickle.loads(pickle.dumps(xz.open_dataset(tmp_path))).load(), ds)


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["exzarr", "portable", "zarr-python-2"])
@pytest.mark.parametrize("lazy", [False, True])
def test_everything_comes_back(profile: str, lazy: bool, tmp_path: Path) -> None:
    """All data types come back with their values and data types, from NumPy and from dask."""
    ds = everything()
    if profile == "zarr-python-2":
        ds = ds.drop_vars("records")
    if lazy:
        ds = ds.drop_vars(["far", "records"], errors="ignore")
    xz.to_zarr(ds.chunk(x=2) if lazy else ds, tmp_path, profile=profile)
    back = xz.open_dataset(tmp_path)
    xr.testing.assert_identical(ds, back)
    for name in ds.variables:
        assert back[name].dtype == ds[name].dtype, name
    assert xz.check_profile(tmp_path, profile) == []


def test_writing_back_keeps_the_convention(tmp_path: Path) -> None:
    """What was read by a convention is written by it again, also without a profile and in the other format."""
    xz.to_zarr(everything(), tmp_path / "a", profile="exzarr")
    first = xz.open_dataset(tmp_path / "a")
    assert first.flag.encoding["dtype_semantic"] == "boolean"
    xz.to_zarr(first, tmp_path / "b", zarr_format=2)
    for path in (tmp_path / "a").glob("*/.zattrs"):
        name = path.parent.name
        assert attributes_of(tmp_path / "b", name) == attributes_of(tmp_path / "a", name)
    xz.to_zarr(first, tmp_path / "c")
    assert xz.open_array(tmp_path / "c", "z_real").attrs["part"] == "real"
    for place in "bc":
        xr.testing.assert_identical(xz.open_dataset(tmp_path / place), everything())


def test_appends_and_regions_keep_the_convention(tmp_path: Path) -> None:
    """Data appended to, or written into, a store with conventions are stored by them, with and without a profile."""
    whole = xr.Dataset(
        {
            "b": ("t", np.array([True, False, False, True])),
            "z": ("t", np.array([1j, 2, 3, 4j])),
            "s": ("t", np.array(["a", "b", "a", "b"])),
            "h": ("t", np.array([1, np.nan, 3, 4], "f2")),
        },
        coords={"t": np.array(["2000-01-01", "2000-01-02", "2000-01-03", "2000-01-04"], "M8[ns]")},
    )
    for profile in ("exzarr", None):
        folder = tmp_path / str(profile)
        xz.to_zarr(whole.isel(t=slice(0, 2)), folder, profile="exzarr")
        xz.to_zarr(whole.isel(t=slice(2, 4)), folder, append_dim="t", profile=profile)
        xr.testing.assert_identical(xz.open_dataset(folder), whole)
        changed = whole.isel(t=[1]).assign(b=("t", [True]), z=("t", [9j]), s=("t", ["a"]))
        xz.to_zarr(changed.drop_vars("t"), folder, region={"t": slice(1, 2)}, profile=profile)
        found = xz.open_dataset(folder)
        assert found.b.values[1] and found.z.values[1] == 9j and found.s.values[1] == "a"
        assert xz.check_profile(folder, "exzarr") == []
    with pytest.raises(xz.RegionError, match="not among the 2 labels"):
        xz.to_zarr(whole.isel(t=[0]).assign(s=("t", ["new"])), tmp_path / "exzarr", append_dim="t")


@pytest.mark.parametrize(
    "variables",
    [
        {"x": ("t", np.array([1j])), "x_real": ("t", [1.0])},
        {"x_imag": ("t", [1.0]), "x": ("t", np.array([1j]))},
        {"r": ("t", np.zeros(1, [("a", "i4")])), "r_a": ("t", [1])},
        {"x": ("t", np.array([1j])), "x_real": ("t", np.array([True]))},
    ],
    ids=lambda variables: ",".join(variables),
)
def test_names_that_collide_are_refused(variables: Any, tmp_path: Path) -> None:
    """A variable that would be stored under the name of another one is refused before anything is written."""
    with pytest.raises(xz.MetadataError, match="would be stored as"):
        xz.to_zarr(xr.Dataset(variables), tmp_path / "a", profile="exzarr")
    assert not (tmp_path / "a").exists()


def test_durations_come_back_in_their_unit(tmp_path: Path) -> None:
    """Durations are stored as microseconds and read in the unit they had, before and after loading; so are new ones."""
    seconds = np.array([-7, 0, "NaT", 10**9], "m8[s]")
    ds = xr.Dataset({"d": ("x", seconds)})
    xz.to_zarr(ds, tmp_path, profile="exzarr")
    assert xz.open_array(tmp_path, "d").attrs["dtype_semantic"] == "timedelta64[us]"
    found = xz.open_dataset(tmp_path, chunks={})
    assert found.d.dtype == found.d.compute().dtype == seconds.dtype
    xz.to_zarr(ds.astype("m8[ms]"), tmp_path, append_dim="x")
    np.testing.assert_array_equal(xz.open_dataset(tmp_path).d.values, np.concatenate([seconds, seconds]))
    with pytest.raises(xz.RegionError, match="no whole numbers of the unit"):
        xz.to_zarr(xr.Dataset({"d": ("x", np.array([1], "m8[ms]"))}), tmp_path, append_dim="x")
    xz.open_array(tmp_path, "d", mode="r+")[0] = 5
    with pytest.raises(xz.ChunkError, match="no whole number of seconds"):
        xz.open_dataset(tmp_path).d.load()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["M8", "m8"])
def test_times_of_every_unit_can_be_appended(kind: str, unit: str, tmp_path: Path) -> None:
    """Appended times are converted to the stored unit exactly: xarray makes NaT of those in a coarser one."""
    times = np.array([1000, 0, "NaT"], f"{kind}[{unit}]")
    ds = xr.Dataset({"t": ("x", times)})
    xz.to_zarr(ds, tmp_path, profile="exzarr")
    for more in (ds, ds.chunk(x=2)):
        xz.to_zarr(more, tmp_path, append_dim="x")
    np.testing.assert_array_equal(xz.open_dataset(tmp_path).t.values, np.concatenate([times] * 3))


def test_floats_with_units_and_single_texts_keep_their_type(tmp_path: Path) -> None:
    """Units say nothing of how a float16 is stored; one text alone keeps the length that its data type has."""
    ds = xr.Dataset({"h": ("x", np.array([1.5, np.nan], "f2"), {"units": "K"}), "s": ((), np.array(b"a", "S5"))})
    ds["t"] = (), np.array("some text", np.dtypes.StringDType())
    xz.to_zarr(ds, tmp_path, profile="portable")
    found = xz.open_dataset(tmp_path).load()
    xr.testing.assert_identical(found, ds)
    assert {name: found[name].dtype for name in ds} == {name: ds[name].dtype for name in ds}


def test_names_that_collide_with_groups_and_stored_arrays_are_refused(tmp_path: Path) -> None:
    """So are those of groups in the same tree, and of arrays that are there already."""
    ds = xr.Dataset({"x": ("t", np.array([1j]))})
    tree = xr.DataTree.from_dict({"/": ds, "/x_real": xr.Dataset({"v": 1})})
    with pytest.raises(xz.MetadataError, match="which is a group"):
        xz.to_zarr(tree, tmp_path / "tree", profile="exzarr")
    xz.to_zarr(xr.Dataset({"x_real": ("t", [1.0])}), tmp_path / "a", profile="exzarr")
    with pytest.raises(xz.MetadataError, match="would be stored as"):
        xz.to_zarr(ds, tmp_path / "a", mode="a", profile="exzarr")


def test_attributes_that_a_convention_needs_are_refused(tmp_path: Path) -> None:
    """An attribute of the user is never overwritten by one of the convention."""
    ds = xr.Dataset({"s": ("x", ["a", "b"], {"labels": "mine"})})
    with pytest.raises(xz.MetadataError, match="'labels'"):
        xz.to_zarr(ds, tmp_path, profile="exzarr")
    kept = xr.Dataset({"b": ("x", [True], {"labels": "mine", "epoch": 3, "part": "real"})})
    xz.to_zarr(kept, tmp_path, profile="exzarr")
    xr.testing.assert_identical(xz.open_dataset(tmp_path), kept)


def test_encodings_of_cf_win(tmp_path: Path) -> None:
    """Where an encoding says how numbers are stored, they are, and no convention is used."""
    times = np.array(["2000-01-01", "2000-01-03"], "M8[ns]")
    ds = xr.Dataset({"t": ("x", times), "h": ("x", np.array([0.5, 1], "f2"))})
    encoding = {"t": {"units": "days since 2000-01-01", "dtype": "int32"}, "h": {"scale_factor": 0.5, "dtype": "int8"}}
    encoding["h"]["_FillValue"] = -1
    xz.to_zarr(ds, tmp_path, profile="exzarr", encoding=encoding)
    plain = xz.open_dataset(tmp_path, decode_cf=False)
    assert plain.t.values.tolist() == [0, 2] and plain.h.values.tolist() == [1, 2]
    assert not any("dtype_semantic" in v.attrs for v in plain.variables.values())
    xr.testing.assert_equal(xz.open_dataset(tmp_path), ds)


def test_blocks_with_times_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Dask blocks are stored in their own unit; times that a reader would get wrong raise when they are stored."""
    da = pytest.importorskip("dask.array")
    data = da.from_array(np.array(["9999-01-01", "2000-01-01"], "M8[s]"), chunks=1)
    with pytest.raises(xz.RegionError, match="cannot be stored"):
        xz.to_zarr(xr.Dataset({"t": ("x", data)}), tmp_path, profile="exzarr")


@pytest.mark.parametrize("dtype", [[("a", "i4", (2,))], "V3", "g"])
def test_what_has_no_convention_is_refused(dtype: Any, tmp_path: Path) -> None:
    """Data types without a convention are refused by name."""
    with pytest.raises(xz.UnsupportedError):
        xz.to_zarr(xr.Dataset({"v": ("x", np.zeros(2, dtype))}), tmp_path / "a", profile="exzarr")


# --- the conventions themselves --------------------------------------------------------------------------------------

SIMPLE = st.sampled_from(["?", "f2", "M8[ns]", "M8[us]", "M8[s]", "m8[ns]", "m8[s]", "S3", "U3"])


@given(st.data())
def test_values_survive_their_convention(data: st.DataObject) -> None:
    """What is stored for values stands for exactly those values, whatever they are, or storing them raises."""
    dtype = np.dtype(data.draw(SIMPLE))
    try:
        values = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=2, min_side=0, max_side=4)))
        [part] = parts_of("v", dtype, values, cf=data.draw(st.booleans())) or ()
    except xz.UnsupportedError:
        assert dtype.kind in "mM"
        return
    stored = part.encode(values)
    assert stored.dtype == part.dtype and stored.dtype.kind in "iuf" and stored.dtype.itemsize <= 8
    meaning = meaning_of(json.loads(json.dumps(part.attributes)), part.dtype)
    assert meaning is not None
    np.testing.assert_array_equal(meaning.decode(stored).astype(dtype), values)


@given(hnp.arrays(st.sampled_from(["c8", "c16"]), 4))
def test_complex_numbers_survive_bit_by_bit(values: Any) -> None:
    """Signs of zeros and NaN in one part only come back."""
    real, imag = parts_of("z", values.dtype, values) or ()
    meaning = pair_meaning(real.attributes["dtype_semantic"], real.dtype)
    assert meaning is not None and meaning.dtype == values.dtype
    assert meaning.decode(real.encode(values), imag.encode(values)).tobytes() == values.tobytes()
