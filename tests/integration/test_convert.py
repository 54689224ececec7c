"""Converting and copying stores: nothing is lost, memory is bounded, and what was interrupted can be resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xzarr_backend as xz
from tests.stores_fakes import ForwardingStore
from xzarr_backend.cli import main
from xzarr_backend.convert_tasks import same_values
from xzarr_backend.converting import convert
from xzarr_backend.copying import copy
from xzarr_backend.journal import has_journal
from xzarr_backend.stores import MemoryStore, open_store
from xzarr_backend.stores.files import temporary_name

ROOT = Path(__file__).parents[2]

TARGETS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2},
    "v3": {"zarr_format": 3},
    "shards": {"zarr_format": 3, "shards": "auto"},
    "zip": {},
}


def make_source(place: Any, zarr_format: int = 2) -> xz.Group:
    """A group of arrays of many kinds, some chunks not stored."""
    rng = np.random.default_rng(1)
    root = xz.create_group(place, zarr_format=zarr_format, attributes={"title": "Trial", "nan": float("nan")})
    floats = rng.normal(size=(30, 20)).astype("f4")
    floats[:10] = np.nan
    order = {"order": "F"} if zarr_format == 2 else {}
    arrays: dict[str, Any] = {
        "f4": {"data": floats, "chunks": (10, 20), "fill_value": np.nan, "dimension_names": ("y", "x")},
        "big": {"data": np.arange(60, dtype=">i4").reshape(6, 10), "chunks": (4, 5), **order},
        "deep/c16": {"data": rng.normal(size=7) + 1j, "chunks": 3},
        "deep/time": {"data": np.array(["2020-01-01", "NaT"], "M8[s]"), "chunks": 1},
        "deep/er/text": {"data": np.array(["a", "", "ü" * 9], np.dtypes.StringDType()), "chunks": 2},
        "records": {"data": np.array([(1, 2.5)] * 5, [("a", "<i2"), ("b", "<f8")]), "chunks": 2},
        "fixed": {"data": np.array([b"ab", b"", b"xyz"], "S3"), "chunks": 2},
        "scalar": {"data": np.float64(3.5)},
        "empty": {"shape": (0, 4), "dtype": "i2", "chunks": (1, 4)},
        "mask": {"data": np.array([1, -9, 3], "i2"), "chunks": 3, "fill_value": -9, "dimension_names": ("x3",)},
    }
    for name, keywords in arrays.items():
        root.create_array(name, **{"attributes": {"units": name}, **keywords})
    if zarr_format == 3:
        root["mask"].attrs["_FillValue"] = -9  # as xarray stores it
    sparse = root.create_array("sparse", shape=(100, 100), dtype="u1", chunks=(10, 10))
    sparse[50:60, 50:60] = 7
    return root


def facts(group: xz.Group) -> dict[str, Any]:
    """What a conversion must not change, of all nodes."""
    found: dict[str, Any] = {"": dict(group.attrs)}
    for path, node in group.members(depth=None):
        found[path] = {name: value for name, value in node.attrs.items() if name != "_ARRAY_DIMENSIONS"}
        found[path].pop("_FillValue", None)
        if isinstance(node, xz.Array):
            found[path] |= {"/shape": node.shape, "/names": node.dimension_names or None}
    return found


def assert_same(old: xz.Group, new: xz.Group) -> None:
    """All values are the same to the bit, and so are attributes, shapes and names."""
    assert repr(facts(old)) == repr(facts(new))
    for path, node in old.members(depth=None):
        if isinstance(node, xz.Array):
            assert same_values(np.asarray(node[...]), np.asarray(new[path][...])), path


def place_for(folder: Path, kind: str) -> Path:
    """Where a target of this kind goes."""
    return folder / ("target.zip" if kind == "zip" else f"target-{kind}.zarr")


# --- nothing is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_everything_comes_back(zarr_format: int, kind: str, tmp_path: Path) -> None:
    """Each kind of target holds what the source holds, and converted back it is the source."""
    source = make_source(tmp_path / "source.zarr", zarr_format)
    place = place_for(tmp_path, kind)
    report = xz.convert(tmp_path / "source.zarr", place, verify=True, **TARGETS[kind])
    assert report.verified
    assert_same(source, xz.open_group(place))
    convert(place, tmp_path / "back.zarr", zarr_format=zarr_format, shards=False)
    back = xz.open_group(tmp_path / "back.zarr")
    assert_same(source, back)
    for path, node in source.members(depth=None):
        assert dict(back[path].attrs) == dict(node.attrs)


@pytest.mark.parametrize("kind", TARGETS)
def test_fixture_groups_come_back(kind: str, shared: Path, tmp_path: Path) -> None:
    """The groups of other writers convert to every kind of target, and back, with the same values and attributes."""
    count = 0
    for place in fixture_groups(shared):
        target, back = place_for(tmp_path, f"{count}{kind}"), tmp_path / f"back{count}.zarr"
        target = target.with_suffix(".zip") if kind == "zip" else target
        source = xz.open_group(place)
        try:
            convert(place, target, **TARGETS[kind])
        except (xz.UnsupportedError, xz.MetadataError):
            continue  # what the other format cannot say, or what cannot be read in the first place
        assert_same(source, xz.open_group(target))
        convert(target, back, zarr_format=source.zarr_format, shards=False)
        assert_same(source, xz.open_group(back))
        count += 1
    assert count > 20


def fixture_groups(shared: Path) -> list[Path]:
    """The groups among the fixtures that are not large."""
    manifest = json.loads((shared / "fixtures" / "manifest.json").read_text())["arrays"]
    stores = sorted({entry["store"] for entry in manifest if entry["path"] and entry["quirks"] is None})
    found = []
    for store in stores:
        place = shared / "fixtures" / store
        if not (place / "zarr.json").is_file() and not (place / ".zgroup").is_file():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xz.SkippedNodeWarning)
            arrays = [n for _, n in xz.open_group(place).members(depth=None) if isinstance(n, xz.Array)]
        if arrays and sum(array.nbytes for array in arrays) < 4 * 2**20 and all(map(is_readable, arrays)):
            found.append(place)
    return found


def is_readable(array: xz.Array) -> bool:
    """Whether all chunks can be decoded."""
    try:
        array[...]
    except xz.XzarrError:
        return False
    return True


def test_xarray_sees_the_same_in_both_formats(tmp_path: Path) -> None:
    """What the fill value masks in v2, the attribute _FillValue masks in v3, and nothing else is masked."""
    xarray = pytest.importorskip("xarray")
    make_source(tmp_path / "a.zarr", 2)
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr", zarr_format=3)
    convert(tmp_path / "b.zarr", tmp_path / "c.zarr", zarr_format=2)
    keep = ["f4", "mask", "scalar"]
    opened = [xz.open_dataset(tmp_path / f"{name}.zarr", consolidated=False)[keep].load() for name in "abc"]
    assert np.isnan(opened[0]["mask"].values).tolist() == [False, True, False]
    for other in opened[1:]:
        xarray.testing.assert_identical(opened[0], other)
    made = xz.create_group(tmp_path / "d.zarr")
    made.create_array("n", data=np.array([0, 1], "i4"), dimension_names=("x",))  # v3: zeros are values
    convert(tmp_path / "d.zarr", tmp_path / "e.zarr", zarr_format=2)
    assert xz.open_dataset(tmp_path / "e.zarr", consolidated=False)["n"].values.tolist() == [0, 1]


def test_bytes_are_copied_where_they_mean_the_same(tmp_path: Path) -> None:
    """From v2 to v3 and back, through zip and another separator, chunks are taken over as the bytes they are."""
    make_source(tmp_path / "a.zarr")
    steps: list[tuple[str, dict[str, Any]]] = [
        ("b.zarr", {"zarr_format": 3}),
        ("c.zip", {"chunk_key_encoding": "."}),
        ("d.zarr", {"zarr_format": 2, "chunk_key_encoding": "/"}),
    ]
    place = tmp_path / "a.zarr"
    for name, wishes in steps:
        report = convert(place, tmp_path / name, **wishes)
        assert report.copied == report.objects > 0
        place = tmp_path / name
    assert (tmp_path / "d.zarr" / "big" / "0" / "0").read_bytes() == (tmp_path / "a.zarr" / "big" / "0.0").read_bytes()


def test_missing_chunks_stay_missing(tmp_path: Path) -> None:
    """Chunks that are not stored are not stored in the target either, whichever way it takes."""
    make_source(tmp_path / "a.zarr")
    wanted: dict[str, dict[str, Any]] = {
        "raw": {"zarr_format": 3},
        "new": {"compressors": "gzip"},
        "other": {"chunks": 25},
    }
    for kind, wishes in wanted.items():
        report = convert(tmp_path / "a.zarr", tmp_path / kind, path="sparse", **wishes)
        assert xz.open_array(tmp_path / kind).nchunks_stored() == 1
        assert report.arrays == 1


def test_null_means_that_every_chunk_counts(tmp_path: Path) -> None:
    """v2 readers may see anything where an array without fill value has no chunk: zeros stay stored, gaps stay gaps."""
    a = xz.create_array(tmp_path / "a", shape=(1000, 1000), dtype="f4", chunks=(1, 1000), zarr_format=2)
    a[:500] = 0
    a[100:150] = 1
    convert(tmp_path / "a", tmp_path / "b", chunks=(125, 250), verify=True)
    assert xz.open_array(tmp_path / "b").nchunks_stored() == 16
    report = convert(tmp_path / "a", tmp_path / "c", chunks=(500, 1), memory="400 kB")
    assert "two passes" in report.passes[""]
    assert xz.open_array(tmp_path / "c").nchunks_stored() == 1000
    source = xz.create_array(tmp_path / "v3", shape=6, dtype="i4", chunks=2, dimension_names=("x",))
    source[2:4] = 5
    report = convert(tmp_path / "v3", tmp_path / "v2", zarr_format=2, verify=True)
    new = xz.open_array(tmp_path / "v2")  # zero is no mask in v3, so the fill value of v2 is null
    assert (new.fill_value, new.nchunks_stored(), report.copied) == (None, 3, 3)
    assert new[...].tolist() == [0, 0, 5, 5, 0, 0]


def test_fill_values_are_carried_to_the_bit(tmp_path: Path) -> None:
    """NaN payloads and negative zero survive; the null of v2 becomes zero; what v2 cannot say is noted."""
    payload = np.array([0x7FC12345], "u4").view("f4")[0]
    store = MemoryStore()
    for name, fill in {"nan": payload, "zero": np.float32(-0.0)}.items():
        xz.create_array(store, name, shape=(4,), dtype="f4", chunks=(2,), fill_value=fill)
    convert(store, tmp_path / "a.zarr", chunks=(4,))
    for name in ("nan", "zero"):
        new = xz.open_array(tmp_path / "a.zarr", name)
        assert new[...].tobytes() == xz.open_array(store, name)[...].tobytes()
    assert "nan: Zarr v2 cannot say the bits" in str(convert(store, tmp_path / "b.zarr", zarr_format=2))
    xz.create_array(tmp_path / "null", shape=4, dtype="f4", zarr_format=2)
    convert(tmp_path / "null", tmp_path / "c.zarr", zarr_format=3)
    assert xz.open_array(tmp_path / "c.zarr").fill_value == 0


@pytest.mark.parametrize("source_order", "<>")
@pytest.mark.parametrize(("source_format", "zarr_format"), [(2, 3), (3, 2), (2, 2), (3, 3)])
def test_records_of_both_byte_orders(source_order: str, source_format: int, zarr_format: int) -> None:
    """The fields of a record have their order in the data type in v2, and in the codec in v3."""
    order = source_order if source_format == 2 else "<"
    dtype = np.dtype([("a", f"{order}i2"), ("n", [("b", f"{order}f4")])])
    endian = {"name": "bytes", "configuration": {"endian": "big" if source_order == ">" else "little"}}
    more: dict[str, Any] = {"serializer": endian} if source_format == 3 else {}
    data = np.array([(1, (1.5,)), (258, (-2.5,)), (0, (0.0,))], dtype)
    source = xz.create_array({}, data=data, chunks=2, compressors="zlib", zarr_format=source_format, **more)
    target: dict[str, bytes] = {}
    convert(source.store, target, zarr_format=zarr_format, verify=True)
    assert xz.open_array(target)[...].tolist() == data.tolist()


def test_filters_find_their_place(tmp_path: Path) -> None:
    """v2 filters become array->array codecs of v3, those that round are left out, and None leaves out the rest."""
    values = np.arange(40, dtype="i4")
    delta = {"id": "delta", "dtype": "<i4"}
    xz.create_array(tmp_path / "a", data=values, chunks=10, filters=[delta], compressors="zlib", zarr_format=2)
    convert(tmp_path / "a", tmp_path / "b", zarr_format=3, verify=True)
    assert [codec["name"] for codec in xz.open_array(tmp_path / "b").codecs] == [
        "numcodecs.delta",
        "bytes",
        "numcodecs.zlib",
    ]
    convert(tmp_path / "b", tmp_path / "c", zarr_format=2, verify=True)
    assert xz.open_array(tmp_path / "c").filters[0].codec_id == "delta"
    convert(tmp_path / "a", tmp_path / "d", zarr_format=3, filters=None, compressors=None)
    assert [codec["name"] for codec in xz.open_array(tmp_path / "d").codecs] == ["bytes"]
    rounded = {"id": "bitround", "keepbits": 5}
    xz.create_array(tmp_path / "e", data=np.arange(9, dtype="f4") / 7, filters=[rounded], zarr_format=2)
    assert "rounded already" in str(convert(tmp_path / "e", tmp_path / "f", chunks=(4,), verify=True))


def test_objects_without_a_v3_type_are_refused(tmp_path: Path) -> None:
    """Python objects have no v3 data type: the error names the array and a way out, and nothing is written."""
    data = np.array([{"a": 1}, [2]], object)
    xz.create_array(tmp_path / "a", data=data, dtype=object, filters=[{"id": "json2"}], zarr_format=2)
    with pytest.raises(xz.UnsupportedError, match=r"Python objects(.|\n)*zarr_format=2"):
        convert(tmp_path / "a", tmp_path / "b", zarr_format=3)
    assert not (tmp_path / "b").exists()


def test_exzarr_shards_become_shards_of_the_specification(shared: Path, tmp_path: Path) -> None:
    """A source that can only be read through a quirk is written as others can read it."""
    place = shared / "fixtures" / "exzarr" / "v3_shard_option_raw"
    convert(place, tmp_path / "a", quirks="exzarr", verify=True)
    new = xz.open_array(tmp_path / "a", strict=True)
    assert new.shards is not None
    assert same_values(np.asarray(new[...]), np.asarray(xz.open_array(place, quirks="exzarr")[...]))


def test_consolidated_metadata_are_carried(tmp_path: Path) -> None:
    """They are written where the source has them, or where they are asked for, in either format."""
    make_source(tmp_path / "a.zarr").consolidate()
    assert convert(tmp_path / "a.zarr", tmp_path / "b.zarr", zarr_format=3).consolidated
    assert xz.open_group(tmp_path / "b.zarr", consolidated=True)["deep/c16"].shape == (7,)
    assert not convert(tmp_path / "b.zarr", tmp_path / "c.zarr", zarr_format=2, consolidated=False).consolidated
    convert(tmp_path / "c.zarr", tmp_path / "d.zarr", consolidated=True)
    assert (tmp_path / "d.zarr" / ".zmetadata").is_file()


def test_lengths_by_name_and_by_rank(tmp_path: Path) -> None:
    """A mapping means the dimensions that it names, a sequence arrays of its rank; others stay as they are."""
    make_source(tmp_path / "a.zarr", 3)
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr", chunks={"x": 4})
    opened = xz.open_group(tmp_path / "b.zarr")
    assert (opened["f4"].chunks, opened["big"].chunks) == ((10, 4), (4, 5))
    convert(tmp_path / "a.zarr", tmp_path / "c.zarr", chunks=(2, 2), shards=(4, 4))
    opened = xz.open_group(tmp_path / "c.zarr")
    assert (opened["f4"].shards, opened["f4"].chunks, opened["deep/c16"].shards) == ((4, 4), (2, 2), None)
    with pytest.raises(xz.MetadataError, match="no array has a dimension 'z'"):
        convert(tmp_path / "a.zarr", tmp_path / "d.zarr", chunks={"z": 4})
    with pytest.raises(xz.MetadataError, match="fits no array"):
        convert(tmp_path / "a.zarr", tmp_path / "d.zarr", chunks=(1, 2, 3))


def test_two_passes_leave_nothing_behind(tmp_path: Path) -> None:
    """Where each chunk would be read many times an intermediate array is used, beside an archive too."""
    values = np.arange(1000 * 1000, dtype="i4").reshape(1000, 1000)
    xz.create_array(tmp_path / "a", data=values, chunks=(1, 1000), compressors=None)
    for name in ("b", "c.zip"):
        report = convert(tmp_path / "a", tmp_path / name, chunks=(1000, 1), memory="800 kB", verify=True)
        assert "two passes" in report.passes[""]
        np.testing.assert_array_equal(xz.open_array(tmp_path / name)[...], values)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c.zip"]
    assert sorted(os.listdir(tmp_path / "b")) == ["c", "zarr.json"]


def test_sources_and_targets_of_other_kinds() -> None:
    """Mappings and fsspec URLs are as good as folders."""
    pytest.importorskip("fsspec")
    source: dict[str, bytes] = {}
    group = make_source(source, 3)
    convert(source, "memory://xzarr-convert/a.zarr", compressors="gzip", verify=True)
    target: dict[str, bytes] = {}
    convert("memory://xzarr-convert/a.zarr", target, zarr_format=2, verify=True)
    assert_same(group, xz.open_group(target))


def test_copy_takes_everything_as_it_is(tmp_path: Path) -> None:
    """Every object is copied, known or not; a copy is complete when it opens."""
    source = make_source(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "README").write_text("notes")
    report = copy(tmp_path / "a.zarr", tmp_path / "b.zip", verify=True)
    old, new = open_store(tmp_path / "a.zarr"), open_store(tmp_path / "b.zip")
    assert {key: bytes(old.get(key)) for key, _ in old.walk("")} == {
        key: bytes(new.get(key)) for key, _ in new.walk("")
    }
    assert report.objects == len(list(old.walk("")))
    assert_same(source, xz.open_group(tmp_path / "b.zip"))
    copy(tmp_path / "b.zip", tmp_path / "c", path="deep")
    assert xz.open_group(tmp_path / "c")["c16"].shape == (7,)


# --- interrupted ------------------------------------------------------------------------------------------------------


class Stop:
    """Progress that interrupts after a number of tasks."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.after, self.error = after, error

    def __call__(self, finished: int, total: int, label: str) -> None:
        if finished == self.after:
            raise self.error


class Lost(xz.ChunkError):
    """An error of ours that `Stop` raises."""

    def __init__(self) -> None:
        super().__init__("lost")


def objects_of(place: Path) -> dict[str, bytes]:
    """All that a store holds."""
    store = open_store(place)
    return {key: bytes(store.get(key)) for key, _ in store.walk("")}


@pytest.mark.parametrize("name", ["b.zarr", "b.zip"])
@pytest.mark.parametrize("wishes", [{"zarr_format": 3}, {"chunks": 7, "memory": "100 kB"}], ids=["raw", "new"])
def test_interrupted_and_resumed(name: str, wishes: dict[str, Any], tmp_path: Path) -> None:
    """After Ctrl-C the target does not open; resumed, the rest is done, and it is what one run would have made."""
    make_source(tmp_path / "a.zarr")
    xz.create_array(tmp_path / "a.zarr", "long", data=np.arange(40_000), chunks=500, zarr_format=2)
    whole = convert(tmp_path / "a.zarr", tmp_path / "whole.zarr", **wishes)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "a.zarr", tmp_path / name, progress=Stop(whole.tasks // 2), **wishes)
    with pytest.raises(xz.NodeNotFoundError):
        xz.open(tmp_path / name)
    with pytest.raises(xz.NodeExistsError, match=r"unfinished(.|\n)*resume"):
        convert(tmp_path / "a.zarr", tmp_path / name, **wishes)
    with pytest.raises(xz.RegionError, match="another plan"):
        convert(tmp_path / "a.zarr", tmp_path / name, resume=True, compressors="gzip")
    report = convert(tmp_path / "a.zarr", tmp_path / name, resume=True, verify=False, **wishes)
    assert report.resumed >= whole.tasks // 2 - 1
    assert report.objects < whole.objects
    assert objects_of(tmp_path / name) == objects_of(tmp_path / "whole.zarr")


def test_an_unfinished_target_can_be_replaced(tmp_path: Path) -> None:
    """``overwrite`` begins anew; what is complete is replaced only when that is asked for."""
    make_source(tmp_path / "a.zarr")
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", zarr_format=3, progress=Stop(3))
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr", chunks=9, overwrite=True)
    assert not has_journal(open_store(tmp_path / "b.zarr"), "")
    with pytest.raises(xz.NodeExistsError, match="not what was to be resumed"):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", resume=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Lost])
@pytest.mark.parametrize("wishes", [{}, {"chunks": (100, 1), "memory": "40 kB"}], ids=["raw", "two passes"])
def test_an_archive_stays_until_the_one_that_replaces_it_is_complete(
    tmp_path: Path, wishes: dict[str, Any], error: type[BaseException]
) -> None:
    """The unfinished archive took the place of the old one; an unfinished one is replaced, and resumed, as a folder."""
    old = np.arange(12.0).reshape(4, 3)
    xz.create_array(tmp_path / "b.zip", data=old, chunks=(2, 3)).close()
    xz.create_array(tmp_path / "a", data=np.arange(10_000.0).reshape(100, 100), chunks=(1, 100))
    before = (tmp_path / "b.zip").read_bytes()
    again = {"overwrite": True, **wishes}
    for way in (convert,) if wishes else (convert, copy):
        with pytest.raises(error) as raised:
            way(tmp_path / "a", tmp_path / "b.zip", progress=Stop(2, error), **again)
        assert error is KeyboardInterrupt or "the same call begins anew" in str(raised.value)
        assert (tmp_path / "b.zip").read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == ["a", "b.zip"]
    convert(tmp_path / "a", tmp_path / "b.zip", **again)
    assert np.array_equal(xz.open_array(tmp_path / "a"), xz.open_array(tmp_path / "b.zip"))


@pytest.mark.parametrize("wishes", [{}, {"chunks": (100, 1), "memory": "40 kB"}], ids=["raw", "two passes"])
@pytest.mark.parametrize("name", ["b.zarr", "b.zip"])
def test_what_was_finished_before_a_kill_is_compared(name: str, wishes: dict[str, Any], tmp_path: Path) -> None:
    """A kill may come after the last step: resumed, the target is compared with the source, and left as it is."""
    source = xz.create_array(tmp_path / "a", data=np.arange(10_000.0).reshape(100, 100), chunks=(1, 100))
    whole = convert(tmp_path / "a", tmp_path / name, consolidated=True, **wishes)
    before = objects_of(tmp_path / name)
    report = convert(tmp_path / "a", tmp_path / name, resume=True, **wishes)
    assert (report.resumed, report.objects, report.verified) == (whole.tasks, 0, True)
    assert objects_of(tmp_path / name) == before
    source[3, 4] = -1
    with pytest.raises(xz.ChunkError, match="differs from the source"):
        convert(tmp_path / "a", tmp_path / name, resume=True, **wishes)
    assert objects_of(tmp_path / name) == before


def test_a_finished_copy_is_compared(tmp_path: Path) -> None:
    """The same for copies, which compare all objects."""
    make_source(tmp_path / "a.zarr")
    copy(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert copy(tmp_path / "a.zarr", tmp_path / "b.zarr", resume=True).verified
    next((tmp_path / "b.zarr" / "sparse").glob("[0-9]*")).write_bytes(b"x")
    with pytest.raises(xz.ChunkError, match="differs from the source"):
        copy(tmp_path / "a.zarr", tmp_path / "b.zarr", resume=True)
    (tmp_path / "b.zarr" / ".zattrs").write_text("{}")
    with pytest.raises(xz.NodeExistsError, match="not what was to be resumed"):
        copy(tmp_path / "a.zarr", tmp_path / "b.zarr", resume=True)


def test_a_killed_archive_leaves_nothing_for_good(tmp_path: Path) -> None:
    """What a killed conversion wrote beside its archive goes with the next one; what others write there stays."""
    xz.create_array(tmp_path / "a", data=np.arange(400), chunks=4)
    ended = run_python(KILLED, str(tmp_path / "a"), str(tmp_path / "b.zip"), "1", json.dumps({"compressors": "gzip"}))
    assert ended.returncode == -signal.SIGKILL and not (tmp_path / "b.zip").exists()
    assert [path.name[:7] for path in tmp_path.iterdir() if path.name != "a"] == [".xzarr-"]
    ours = tmp_path / temporary_name()
    ours.touch()
    convert(tmp_path / "a", tmp_path / "b.zip", compressors="gzip")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a", "b.zip", ours.name])


KILLED = """
import json, os, signal, sys
from xzarr_backend.converting import convert
src, dst, after, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
def progress(finished, total, label):
    if finished == after:
        os.kill(os.getpid(), signal.SIGKILL)
convert(src, dst, progress=progress, **options)
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 3},
        {"chunks": [7], "memory": "100 kB", "verify": True},
        {"chunks": [400, 1], "memory": "400 kB"},
    ],
    ids=["raw", "new", "two passes"],
)
def test_killed_and_resumed_is_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    """Killed again and again at random places, a conversion that is resumed ends with the same objects."""
    make_source(tmp_path / "a.zarr")
    values = np.arange(40_000)
    xz.create_array(tmp_path / "a.zarr", "long", data=values, chunks=500, zarr_format=2)
    wide = values.reshape(400, 100).astype("f8").repeat(10, 1)
    xz.create_array(tmp_path / "a.zarr", "wide", data=wide, chunks=(1, 1000), zarr_format=2)
    whole = convert(tmp_path / "a.zarr", tmp_path / "whole.zarr", **options)
    draw = random.Random(whole.tasks)
    for _ in range(4):
        after = str(draw.randint(1, whole.tasks))
        ended = run_python(
            KILLED,
            *map(str, (tmp_path / "a.zarr", tmp_path / "b.zarr")),
            after,
            json.dumps({**options, "resume": True}),
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        if ended.returncode == 0:
            break
    else:
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", **options, resume=True)
    assert objects_of(tmp_path / "b.zarr") == objects_of(tmp_path / "whole.zarr")


@pytest.mark.parametrize("resume", [False, True])
def test_interrupted_before_the_journal_was_written(resume: bool, tmp_path: Path) -> None:
    """A folder for a journal that holds nothing is no reason to refuse the target, but one with files of others is."""
    xz.create_array(tmp_path / "a", data=np.arange(20), chunks=5)
    (tmp_path / "b" / ".xzarr" / "journal").mkdir(parents=True)
    convert(tmp_path / "a", tmp_path / "b", zarr_format=2, resume=resume)
    np.testing.assert_array_equal(xz.open_array(tmp_path / "b")[...], np.arange(20))
    (tmp_path / "c" / ".xzarr").mkdir(parents=True)
    (tmp_path / "c" / ".xzarr" / "notes.txt").write_text("mine")
    with pytest.raises(xz.NodeExistsError, match="holds no Zarr node"):
        convert(tmp_path / "a", tmp_path / "c", zarr_format=2, resume=resume)


def test_ctrl_c_at_the_terminal(tmp_path: Path) -> None:
    """Ctrl-C ends the command with status 130 and one line that says how to go on."""
    xz.create_array(tmp_path / "a", data=np.arange(20_000), chunks=5)
    # a terminal's programs hear Ctrl-C; those that a shell started in the background do not, nor do their children
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from xzarr_backend.cli import main; main()"
    command = [sys.executable, "-c", code, "convert", str(tmp_path / "a"), str(tmp_path / "b"), "--zarr-format", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--compressor", "gzip", "--memory", "20kB"], stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        deadline = time.monotonic() + 60
        while not (tmp_path / "b" / ".xzarr").exists() and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "--resume goes on" in errors
    assert "Traceback" not in errors
    report = convert(tmp_path / "a", tmp_path / "b", zarr_format=2, compressors="gzip", memory="20kB", resume=True)
    assert xz.open_array(tmp_path / "b")[...].tolist() == list(range(20_000))
    assert report.tasks


def test_an_unreadable_chunk_is_named_and_can_be_mended(tmp_path: Path) -> None:
    """A damaged chunk ends the conversion with its name; the target does not look complete; mended, it is resumed."""
    xz.create_array(tmp_path / "a", data=np.arange(100.0), chunks=10)
    chunk = tmp_path / "a" / "c" / "5"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:7])
    with pytest.raises(xz.ChunkError, match=r"chunk \(5,\)(.|\n)*resume=True"):
        convert(tmp_path / "a", tmp_path / "b", chunks=(20,))
    with pytest.raises(xz.NodeNotFoundError):
        xz.open(tmp_path / "b")
    chunk.write_bytes(good)
    convert(tmp_path / "a", tmp_path / "b", chunks=(20,), resume=True)
    assert xz.open_array(tmp_path / "b")[...].tolist() == list(range(100))


class Lying(ForwardingStore):
    """Stores something else than it is given, once."""

    lied = False

    def set(self, key: str, value: Any) -> None:
        if "c/3" in key and not self.lied:
            self.lied, value = True, bytes(value)[:-1] + b"\xff"
        super().set(key, value)


@pytest.mark.parametrize("wishes", [{}, {"chunks": 4}], ids=["raw", "new"])
def test_verify_finds_what_a_store_did_not_keep(wishes: dict[str, Any], tmp_path: Path) -> None:
    """``verify`` compares what is stored with the source before the target is made to open."""
    xz.create_array(tmp_path / "a", data=np.arange(100.0), chunks=10, compressors=None)
    store = Lying(MemoryStore())
    with pytest.raises(xz.ChunkError, match="differs from the source"):
        convert(tmp_path / "a", store, verify=True, **wishes)
    with pytest.raises(xz.NodeNotFoundError):
        xz.open(store)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_source_and_target_must_be_apart(tmp_path: Path) -> None:
    """The same place, whatever it is called, and places within each other are refused, even to overwrite."""
    place = tmp_path / "a.zarr"
    make_source(place)
    (tmp_path / "link").symlink_to(place)
    before = objects_of(place)
    for target in (place, tmp_path / "link", tmp_path / "x" / ".." / "a.zarr", f"file://{place}"):
        with pytest.raises(xz.NodeExistsError, match="same place"):
            convert(place, target, overwrite=True)
    for target in (place / "deep" / "new", tmp_path, tmp_path / "link" / "new.zip"):
        with pytest.raises(xz.NodeExistsError, match="within each other"):
            convert(place, target, overwrite=True)
    assert objects_of(place) == before
    convert(place, tmp_path / "a.zip")
    for source in (f"zip://::{tmp_path}/a.zip", f"zip://deep::file://{tmp_path}/a.zip"):
        with pytest.raises(xz.NodeExistsError, match="same place"):
            convert(source, tmp_path / "a.zip", overwrite=True)
    held: dict[str, bytes] = {}
    make_source(held)
    with pytest.raises(xz.NodeExistsError, match="same place"):
        convert(held, held, overwrite=True)


def test_files_of_others_are_never_deleted(tmp_path: Path) -> None:
    """A folder that holds no Zarr node is no target, not even to overwrite."""
    make_source(tmp_path / "a.zarr")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("Dear")
    with pytest.raises(xz.NodeExistsError, match="not empty"):
        convert(tmp_path / "a.zarr", tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "Dear"


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"compressors": "nix"}, "nix' is not known"),
        ({"zarr_format": 4}, "zarr_format=4"),
        ({"zarr_format": 2, "shards": (10, 10)}, "no shards"),
        ({"chunks": (0, 1)}, "chunks"),
        ({"zarr_format": 3, "chunks": (4, 4), "shards": (6, 6)}, "do not divide"),
        ({"memory": "a lot"}, "no number of bytes"),
        ({"chunks": (100, 100), "memory": 1000}, r"not enough for one chunk of the target, of shape \(100, 100\)"),
        ({"zarr_format": 3, "chunks": (5, 5), "shards": (50, 50), "memory": "1 kB"}, "one shard of the target"),
        ({"memory": 10}, "one chunk of the source"),
        ({"chunk_key_encoding": ":"}, "chunk key encoding"),
        ({"resume": True, "overwrite": True}, "contradict"),
        ({"quirks": "nobody"}, "quirks"),
    ],
)
def test_bad_wishes_are_refused_before_anything_is_written(
    wishes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Every mistake is one error of ours, and leaves no target."""
    make_source(tmp_path / "a.zarr")
    with pytest.raises(xz.XzarrError, match=message):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", path="sparse", **wishes)
    assert not (tmp_path / "b.zarr").exists()


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk of the target has less free than is needed, the error says both numbers."""
    make_source(tmp_path / "a.zarr")
    usage = type(__import__("shutil").disk_usage(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1000, 990, 10))
    with pytest.raises(xz.XzarrError, match="only 10 bytes free"):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", compressors=None)
    assert not (tmp_path / "b.zarr").exists()


def test_unreadable_members_are_all_named(tmp_path: Path) -> None:
    """Nothing is left out silently."""
    make_source(tmp_path / "a.zarr")
    for name in ("bad1", "bad2"):
        (tmp_path / "a.zarr" / name).mkdir()
        (tmp_path / "a.zarr" / name / ".zarray").write_text("{")
    with pytest.raises(xz.MetadataError, match=r"bad1(.|\n)*bad2"):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr")


# --- clusters and the command line ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*port.*:UserWarning")
def test_on_a_cluster(tmp_path: Path) -> None:
    """The same tasks run on the workers of a dask cluster; what they cannot see is refused."""
    distributed = pytest.importorskip("distributed")
    source = make_source(tmp_path / "a.zarr")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
        ) as cluster,
    ):
        address = cluster.scheduler_address
        report = convert(tmp_path / "a.zarr", tmp_path / "b.zarr", chunks=11, verify=True, scheduler=address)
        assert report.verified
        assert_same(source, xz.open_group(tmp_path / "b.zarr"))
        with pytest.raises(xz.UnsupportedError, match="other processes do not see"):
            convert(tmp_path / "a.zarr", {}, scheduler=address)


@pytest.mark.parametrize("action", [convert, copy])
@pytest.mark.parametrize("address", ["nowhere", "tcp://127.0.0.1:1"])
def test_a_scheduler_that_cannot_be_reached_costs_nothing(
    action: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``overwrite`` is to replace stays until the cluster has answered."""
    distributed = pytest.importorskip("distributed")

    def refuse(*given: object, **options: object) -> None:
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    make_source(tmp_path / "a.zarr")
    xz.create_array(tmp_path / "b.zarr", data=[1, 2])
    with pytest.raises(xz.XzarrError, match=r"no address of a scheduler|cannot be reached"):
        action(tmp_path / "a.zarr", tmp_path / "b.zarr", overwrite=True, scheduler=address)
    assert xz.open_array(tmp_path / "b.zarr")[...].tolist() == [1, 2]


def run(*arguments: str) -> Any:
    """Run ``xzarr`` in this process."""
    return CliRunner().invoke(main, list(arguments))


def test_the_command_converts(tmp_path: Path) -> None:
    """``xzarr convert`` takes lengths, codecs and flags, and prints what it did, as text or JSON."""
    make_source(tmp_path / "a.zarr")
    a, b = str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")
    options = [
        "--zarr-format=3",
        "--chunks=x=5",
        "--shards=none",
        "--compressor=gzip",
        "--memory=1MB",
        "--verify",
        "--json",
    ]
    result = run("convert", a, b, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verified"] is True
    new = xz.open_group(b)
    assert new["f4"].chunks == (10, 5)
    assert new["f4"].compressors[0]["name"] == "gzip"
    assert "a node is stored here already" in run("convert", a, b).output
    again = run("convert", a, b, "--overwrite", "--compressor", '{"id": "zlib", "level": 3}', "--separator", "/")
    assert again.exit_code == 0, again.output
    assert "encoded anew" in again.stdout
    assert run("convert", a, str(tmp_path / "c"), "--chunks", "1,x").exit_code == 1
    assert "not JSON" in run("convert", a, str(tmp_path / "c"), "--compressor", "{").output


def test_the_commands_copy_and_consolidate(tmp_path: Path) -> None:
    """``xzarr copy`` takes everything; ``xzarr consolidate`` writes the metadata of all members into one document."""
    make_source(tmp_path / "a.zarr", 3)
    a, b = str(tmp_path / "a.zarr"), str(tmp_path / "b.zip")
    assert "copied as they are" in run("copy", a, b, "--verify").stdout
    shown = run("consolidate", b, "--json")
    assert "deep/er/text" in json.loads(shown.stdout)["members"]
    assert xz.open_group(b, consolidated=True)["f4"].shape == (30, 20)
    assert run("copy", str(tmp_path / "nowhere"), str(tmp_path / "c")).exit_code == 1


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURED = """
import json, sys
import xzarr_backend as xz
from xzarr_backend.converting import convert

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak is that of now
before = status("VmRSS")
report = convert(sys.argv[1], sys.argv[2], chunks=json.loads(sys.argv[3]), memory=sys.argv[4])
print(json.dumps({"peak": status("VmHWM") - before, "how": report.passes[""]}))
"""


def measure(tmp_path: Path, shape: tuple[int, ...], chunks: list[int], memory: int) -> dict[str, Any]:
    """Rechunk an array in chunks of one plane; return the peak of memory above that after the imports."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of memory cannot be measured here")
    array = xz.create_array(
        tmp_path / "a", shape=shape, dtype="u2", chunks=(1, *shape[1:]), compressors={"id": "zstd", "level": 1}
    )
    plane = np.random.default_rng(0).integers(0, 255, shape[1:], "u2")
    for at in range(shape[0]):
        array[at] = plane + at
    ended = run_python(MEASURED, str(tmp_path / "a"), str(tmp_path / "b"), json.dumps(chunks), str(memory))
    assert ended.returncode == 0, ended.stderr
    new = xz.open_array(tmp_path / "b")
    for at in (0, shape[0] // 2, shape[0] - 1):
        np.testing.assert_array_equal(new[at], plane + at)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_200_mb_are_rechunked_within_32_mb(tmp_path: Path) -> None:
    """From planes to columns: the peak of memory stays within the bound."""
    found = measure(tmp_path, (50, 1448, 1448), [50, 64, 64], 32_000_000)
    assert found["peak"] <= 32_000_000, found
    assert "two passes" in found["how"]


@pytest.mark.slow
def test_2_gb_are_rechunked_within_256_mb(tmp_path: Path) -> None:
    """The same at the size that people ask for."""
    found = measure(tmp_path, (64, 4096, 4096), [64, 64, 64], 256_000_000)
    assert found["peak"] <= 256_000_000, found


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_a_profile_chooses_what_its_readers_can_read(tmp_path: Path) -> None:
    """Codecs, order, byte order and shards that the readers lack are replaced; types that they lack are refused."""
    place = tmp_path / "a.zarr"
    values = np.arange(60, dtype=">i4").reshape(6, 10)
    xz.create_array(place, "big", data=values, chunks=(4, 5), compressors="lz4", order="F", zarr_format=2)
    xz.create_array(place, "sparse", shape=(4,), dtype="f4", chunks=2, fill_value=np.nan, zarr_format=2)
    convert(place, tmp_path / "b.zarr", profile="portable", verify=True)
    new = xz.open_group(tmp_path / "b.zarr")
    assert (new["big"].order, new["big"].dtype.str, new["big"].compressors[0].codec_id) == ("C", "<i4", "zlib")
    np.testing.assert_array_equal(new["big"][...], values)
    assert new["sparse"].nchunks_stored() == 2  # not all readers know NaN as a fill value
    xz.create_array(place, "text", data=np.array(["a"], "U1"), zarr_format=2)
    with pytest.raises(xz.UnsupportedError, match=r"'portable' cannot hold(.|\n)*xz\.to_zarr\(xz\.open_dataset"):
        convert(place, tmp_path / "c.zarr", profile="portable")
    with pytest.raises(xz.UnsupportedError, match=r"cannot hold(.|\n)*leave it out, and the profile chooses"):
        convert(place, tmp_path / "c.zarr", path="big", profile="portable", compressors="lz4")
    with pytest.raises(xz.MetadataError, match="profile='nobody' is not known"):
        convert(place, tmp_path / "c.zarr", profile="nobody")
