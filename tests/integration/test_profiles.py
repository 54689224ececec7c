"""Writer profiles: what the readers of each can read, judged by those readers and by a model of ExZarr."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import dask.array as da
import numcodecs
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xzarr_backend as xz
from tests import exzarr_model as exzarr
from tests.http_server import serve
from tests.interop.make_zarr2_environment import environment, python_of
from tests.interop.peers import ZARR_WARNINGS
from xzarr_backend.cli import main
from xzarr_backend.profiles import PROFILES

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

EXAMPLES = settings(
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)

# --- datasets of all kinds -------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4"]
FLOATS = ["f2", "f4", "f8", ">f8"]
TIMES = [f"{letter}8[{unit}]" for letter in "Mm" for unit in ("ns", "us", "ms", "s")]
KINDS = ["?", *INTEGERS, *FLOATS, "c8", "c16", *TIMES, "U", "O", "S"]
SIZES = {"x": 3, "y": 2, "empty": 0}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["title", "größe", "history", "levels", "number"]), JSON, max_size=3)


def elements(kind: str) -> st.SearchStrategy[Any]:
    """Return values of a data type; times within what nanoseconds can say, and far beyond."""
    near = 2**62 // {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[kind[3:-1]] if kind[0] in "Mm" else 0
    if kind[0] in "Mm":
        numbers = st.one_of(st.just(0), st.integers(-near, near), st.integers(-(2**62), 2**62))
        return st.one_of(st.just("NaT"), numbers).map(lambda n: np.array(n, kind)[()])
    return hnp.from_dtype(np.dtype(kind))


@st.composite
def values_of(draw: Any, kind: str, shape: tuple[int, ...]) -> Any:
    """Return an array of one kind."""
    count = int(np.prod(shape))
    if kind in ("U", "O"):
        texts = draw(st.lists(TEXTS, min_size=count, max_size=count))
        return np.array(texts, "U" if kind == "U" else object).reshape(shape)
    if kind == "S":
        return np.array(draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count)), "S4").reshape(shape)
    return draw(hnp.arrays(np.dtype(kind), shape, elements=elements(kind)))


@st.composite
def datasets(draw: Any) -> xr.Dataset:
    """Return a dataset with variables and coordinates of all kinds."""
    variables: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)):
        kind = draw(st.sampled_from(KINDS))
        dims = draw(st.lists(st.sampled_from(list(SIZES)), unique=True, max_size=2))
        values = draw(values_of(kind, tuple(SIZES[dim] for dim in dims)))
        variables[name] = (dims, values, draw(ATTRIBUTES))
    found = xr.Dataset(variables, attrs=draw(ATTRIBUTES))
    names = [name for name in variables if draw(st.booleans())]
    found = found.set_coords(names)
    if draw(st.booleans()):
        index = {
            "text": ["p", "q", "r"],
            "time": np.array([0, 86400, 7], "M8[s]").astype("M8[ns]"),
            "number": [3, 1, 0],
        }
        found = found.assign_coords(x=("x", index[draw(st.sampled_from(list(index)))]))
    return found


@st.composite
def trees(draw: Any) -> xr.DataTree:
    """Return a tree of one to three groups."""
    found = {"/": draw(datasets())}
    if draw(st.booleans()):
        found["/group"] = draw(datasets()).drop_vars("x", errors="ignore")
        if draw(st.booleans()):
            found["/group/below"] = xr.Dataset({"v": ("z", draw(values_of("c16", (4,))))})
    return xr.DataTree.from_dict(found)


class Folder:
    """A fresh folder for one example."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="xzarr-profile-"))
        return self.path

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path)


def raw(folder: Path) -> dict[str, Any]:
    """Return the stored numbers of all arrays by path, as this package reads them."""
    return {str(path.relative_to(folder)): xz.open_array(path)[...] for path in exzarr.arrays_in(folder)}


def same(found: Any, wanted: Any) -> bool:
    """Return whether two arrays hold the same bits."""
    return found.shape == wanted.shape and found.tobytes() == wanted.astype(found.dtype).tobytes()


# --- the properties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "zarr_format"), [("exzarr", None), ("exzarr", 3), ("portable", None), ("zarr-python-2", None)]
)
@given(tree=trees())
@EXAMPLES
def test_what_goes_in_comes_out(profile: str, zarr_format: int | None, tree: xr.DataTree, count_example: Any) -> None:
    """A tree written with a profile opens identical, breaks no rule of it, and ExZarr reads every array of its own."""
    with Folder() as folder:
        xz.to_zarr(tree, folder, profile=profile, zarr_format=zarr_format)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            xr.testing.assert_identical(tree, xz.open_datatree(folder))
            found = xz.open_dataset(folder)
            types = {name: each.dtype for name, each in found.variables.items() if each.size}
            xr.testing.assert_identical(tree.to_dataset(), found)
            assert {name: found[name].load().dtype for name in types} == types
        assert xz.check_profile(folder, profile) == []
        if profile != "zarr-python-2":
            for path, values in raw(folder).items():
                assert same(exzarr.read(folder / path), values), path
            for group in [path.strip("/") for path in tree.groups]:
                exzarr.open_group(folder / group)
        if profile != "exzarr":
            _read_with_zarr(folder)
    count_example()


@given(dataset=datasets())
@EXAMPLES
def test_tensorstore_and_zarr_python_read_what_is_portable(dataset: xr.Dataset, count_example: Any) -> None:
    """Tensorstore and zarr-python 3 read every array of the profile "portable", with equal values."""
    pytest.importorskip("tensorstore")
    from tests.interop.peers import open_tensorstore

    with Folder() as folder:
        xz.to_zarr(dataset, folder, profile="portable")
        _read_with_zarr(folder)
        for path, values in raw(folder).items():
            assert same(np.asarray(open_tensorstore(folder / path, 2).read().result()), values), path
    count_example()


def _read_with_zarr(folder: Path) -> None:
    zarr = pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, values in raw(folder).items():
            found = np.asarray(zarr.open_array(folder / path, mode="r")[...])
            if found.dtype.kind in "OT":
                assert found.tolist() == values.tolist()
            else:
                assert same(found, values), path


def test_zarr_python_2_reads_what_is_portable(tmp_path: Path) -> None:
    """zarr-python 2.18 reads every array of the profiles "portable" and "zarr-python-2", with equal values."""
    python = python_of(environment())
    if not python.exists():
        pytest.skip("no environment with zarr-python 2: python -m tests.interop.make_zarr2_environment")
    jobs: list[dict[str, Any]] = []
    numbers = itertools.count()
    (tmp_path / "values").mkdir()

    @given(dataset=datasets())
    @EXAMPLES
    def write(dataset: xr.Dataset) -> None:
        for profile in ("portable", "zarr-python-2"):
            name = f"{profile}-{next(numbers)}"
            xz.to_zarr(dataset, tmp_path / name, profile=profile)
            for path, values in raw(tmp_path / name).items():
                number = str(len(jobs))
                objects = values.astype(object) if values.dtype.kind == "T" else values
                np.save(tmp_path / "values" / f"{number}.npy", objects, allow_pickle=True)
                attributes = tmp_path / name / path / ".zattrs"
                stored = json.loads(attributes.read_text("utf-8")) if attributes.exists() else {}
                jobs.append({"path": f"{name}/{path}", "values": number, "attributes": stored, "missing": None})

    write()
    assert len(jobs) > 20
    (tmp_path / "jobs.json").write_text(json.dumps(jobs), "utf-8")
    script = Path(__file__).parents[1] / "interop" / "zarr2_peer.py"
    subprocess.run([python, script, "read", tmp_path], check=True)
    assert json.loads((tmp_path / "found.json").read_text("utf-8")) == {}


# --- what the check finds --------------------------------------------------------------------------------------------


NAMED = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["<i4", ">i4", "|u1", ">i1", "<f8", "<f2", "|b1", "<c16", "<U3", "<M8[ns]"]),
        "fill_value": st.sampled_from([0, 7, None, "NaN"]),
        "order": st.sampled_from(["C", "C", "F"]),
        "dimension_separator": st.sampled_from([".", ".", "/"]),
        "filters": st.sampled_from([None, None, "delta", "shuffle", "wide delta", "fixedscaleoffset"]),
        "compressor": st.sampled_from([None, "zlib", "zstd", "blosc", "lz4", "bz2"]),
    }
)
DAMAGE = st.sampled_from(["", "", "", "missing", "no size", "edge", "cut", "no filters"])


def _document(named: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return the document that the names stand for."""
    dtype = np.dtype(named["dtype"])
    wide = dtype.newbyteorder("<") if dtype.itemsize == 8 else np.dtype("<i8")
    filters: dict[Any, Any] = {
        None: None,
        "delta": [{"id": "delta", "dtype": dtype.str}],
        "wide delta": [{"id": "delta", "dtype": dtype.str, "astype": wide.str}],
        "shuffle": [{"id": "shuffle", "elementsize": dtype.itemsize}],
        "fixedscaleoffset": [{"id": "fixedscaleoffset", "offset": 0, "scale": 2, "dtype": dtype.str}],
    }
    return {
        **named,
        "filters": filters[named["filters"] if dtype.kind in "iuf" else None],
        "compressor": named["compressor"] and {"id": named["compressor"]},
        "fill_value": named["fill_value"] if dtype.kind == "f" or named["fill_value"] == 0 else None,
        "shape": [5, 4][:rank],
        "chunks": [3, 2][:rank],
        "zarr_format": 2,
    }


@EXAMPLES
@given(named=NAMED, damage=DAMAGE, rank=st.integers(0, 2))
def test_the_check_agrees_with_the_model(named: dict[str, Any], damage: str, rank: int, count_example: Any) -> None:
    """`check_profile` finds nothing in an array exactly where the model of ExZarr reads the values that it holds."""
    document = _document(named, rank)
    dtype = np.dtype(named["dtype"])
    values = np.arange(1, 1 + int(np.prod(document["shape"]))).reshape(document["shape"]).astype(dtype)
    with Folder() as folder:
        _write_v2(folder, values, document, damage)
        if damage == "missing" and rank and isinstance(document["fill_value"], int) and dtype.kind not in "UM":
            values[tuple(slice(0, chunk) for chunk in document["chunks"])] = document["fill_value"]
        broken = xz.check_profile(folder, "exzarr")
        try:
            reads = same(exzarr.read(folder), values.astype(dtype.newbyteorder("<")))
        except exzarr.Refused:
            reads = False
        assert (broken == []) == reads, (broken, reads)
    count_example()


V3 = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["i4", "u1", "f8", "f2", "?", "c16"]),
        "compressors": st.sampled_from(["gzip", "zstd", "blosc", ["gzip", "crc32c"], None, "numcodecs.zlib"]),
        "filters": st.sampled_from([None, None, None, {"name": "numcodecs.shuffle"}]),
        "order": st.sampled_from(["C", "C", "F"]),
        "serializer": st.sampled_from(["auto", "auto", {"name": "bytes", "configuration": {"endian": "big"}}]),
        "chunk_key_encoding": st.sampled_from([None, None, ".", {"name": "v2"}]),
        "shards": st.sampled_from([None, None, (4, 4)]),
    }
)


@EXAMPLES
@given(keywords=V3)
def test_the_check_agrees_with_the_model_in_v3(keywords: dict[str, Any], count_example: Any) -> None:
    """So it is for arrays of Zarr v3 of all kinds, as this package writes them without a profile."""
    values = np.arange(1, 21).reshape(5, 4).astype(keywords["dtype"])
    with Folder() as folder:
        xz.create_array(folder, data=values, chunks=2, **keywords)
        broken = xz.check_profile(folder, "exzarr")
        try:
            reads = same(exzarr.read(folder), values)
        except exzarr.Refused:
            reads = False
        assert (broken == []) == reads or (broken and values.dtype.itemsize == 1), (broken, reads)
    count_example()


def _write_v2(folder: Path, values: Any, document: dict[str, Any], damage: str) -> None:
    """Write an array in the form that its document says, with one thing wrong."""
    shape, chunks = document["shape"], document["chunks"]
    stored = {name: item for name, item in document.items() if damage != "no filters" or name != "filters"}
    (folder / ".zarray").write_text(json.dumps(stored))
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for number, coords in enumerate(np.ndindex(*counts)):
        if damage == "missing" and not number:
            continue
        place = tuple(slice(at * n, (at + 1) * n) for at, n in zip(coords, chunks, strict=True))
        part = values[place]
        if damage != "edge" and part.ndim:
            part = np.pad(part, [(0, n - have) for n, have in zip(chunks, part.shape, strict=True)])
        encoded = part.tobytes(order=document["order"])
        for codec in document["filters"] or []:
            encoded = np.asarray(
                numcodecs.get_codec(dict(codec)).encode(np.frombuffer(encoded, values.dtype))
            ).tobytes()
        compressor = document["compressor"]
        if compressor is not None:
            if compressor["id"] == "zstd" and damage == "no size":
                encoded = _zstd_without_size(encoded)
            else:
                encoded = bytes(numcodecs.get_codec(dict(compressor)).encode(encoded))
        if damage == "cut":
            encoded = encoded[:-3]
        separator = document["dimension_separator"]
        path = folder / (separator.join(map(str, coords)) or "0")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)


def _zstd_without_size(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def test_every_chunk_is_looked_into(tmp_path: Path) -> None:
    """Frames without a size and several members are found where chunks are looked into."""
    array = xz.create_array(tmp_path, "a", data=np.arange(10), chunks=5, profile="exzarr", compressors="zstd")
    (tmp_path / "a" / "1").write_bytes(_zstd_without_size(np.arange(5).tobytes()))
    (found,) = xz.check_profile(tmp_path, "exzarr")
    assert found.path == "a" and found.rule == "chunk" and "content size" in found.what
    assert xz.check_profile(tmp_path, "exzarr", chunks=False) == []
    xz.create_array(tmp_path, "g", data=np.arange(10), chunks=5, profile="exzarr", zarr_format=3, compressors="gzip")
    import gzip

    both = np.arange(5).tobytes()
    (tmp_path / "g" / "c" / "0").write_bytes(gzip.compress(both[:20]) + gzip.compress(both[20:]))
    assert "member" in xz.check_profile(tmp_path, "exzarr")[-1].what
    assert array.shape == (10,)


def test_each_rule_is_found(tmp_path: Path) -> None:
    """Each way of writing that ExZarr refuses or misreads is named by its rule."""
    data = np.arange(12).reshape(3, 4)
    cases: dict[str, dict[str, Any]] = {
        "byte-order": {"data": data.astype(">i4"), "zarr_format": 2},
        "order": {"data": data, "zarr_format": 2, "order": "F"},
        "keys": {"data": data, "zarr_format": 2, "chunk_key_encoding": "/"},
        "compressor": {"data": data, "zarr_format": 2, "compressors": "lz4"},
        "filters": {"data": data, "zarr_format": 2, "filters": [{"id": "packbits"}], "dtype": bool},
        "data-type": {"data": data.astype("f2"), "zarr_format": 2},
        "rank": {"data": np.int32(3), "zarr_format": 2},
        "codecs": {"data": data, "filters": [{"name": "transpose", "configuration": {"order": [1, 0]}}]},
        "fill-value": {"shape": (4,), "dtype": "f8", "zarr_format": 2, "fill_value": np.nan},
    }
    for rule, keywords in cases.items():
        xz.create_array(tmp_path / rule, **keywords)
        assert rule in {violation.rule for violation in xz.check_profile(tmp_path / rule, "exzarr")}, rule
    xz.create_array(tmp_path / "v3", "below/a", data=data)
    assert {(v.path, v.rule) for v in xz.check_profile(tmp_path / "v3", "exzarr")} >= {
        ("", "group"),
        ("below", "group"),
    }
    assert {v.rule for v in xz.check_profile(tmp_path / "v3", "portable")} == {"group", "format"}


def test_a_place_without_a_store_is_no_store_without_violations(tmp_path: Path) -> None:
    """Where nothing of Zarr lies the check fails, instead of finding nothing wrong."""
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(xz.NodeNotFoundError, match="no Zarr node is stored here"):
            xz.check_profile(tmp_path / name, "exzarr")
        outcome = CliRunner().invoke(main, ["check", str(tmp_path / name), "-p", "exzarr"])
        assert (outcome.exit_code, outcome.stdout) == (2, "") and "no Zarr node" in outcome.stderr


def test_what_cannot_be_listed_is_asked_for(tmp_path: Path) -> None:
    """Behind plain HTTP the members come from consolidated metadata, and the chunks are asked for; else it fails."""
    group = xz.create_group(tmp_path, zarr_format=2)
    group.create_array("a", data=np.arange(10), chunks=5, profile="exzarr", compressors="zstd")
    group.create_array("half", data=np.zeros(3, "f2"))
    with serve(tmp_path) as url:
        with pytest.raises(xz.XzarrError, match="members of this group are not known"):
            xz.check_profile(url, "exzarr")
        group.consolidate()
        assert xz.check_profile(url, "exzarr") == xz.check_profile(tmp_path, "exzarr") != []
        (tmp_path / "a" / "1").write_bytes(_zstd_without_size(np.arange(5).tobytes()))
        found = xz.check_profile(url, "exzarr")
        assert [v.path for v in found if v.rule == "chunk"] == ["a"]
        assert found == xz.check_profile(tmp_path, "exzarr")


def test_the_archive_that_a_folder_holds_is_checked(tmp_path: Path) -> None:
    """A folder around nothing but an archive, as ExZarr makes it, is checked as the archive."""
    with xz.create_array(tmp_path / "array.zip", data=np.zeros(3, "f2"), zarr_format=2):
        pass
    rules = [violation.rule for violation in xz.check_profile(tmp_path, "exzarr")]
    assert rules == [violation.rule for violation in xz.check_profile(tmp_path / "array.zip", "exzarr")]
    assert "data-type" in rules


def test_an_unknown_profile_lists_those_that_exist(tmp_path: Path) -> None:
    """A profile that does not exist is refused everywhere, and the error names those that do."""
    for call in (
        lambda: xz.create_array(tmp_path, data=[1], profile="exzar"),
        lambda: xz.create_group(tmp_path, profile="exzar"),
        lambda: xz.to_zarr(xr.Dataset(), tmp_path, profile="exzar"),
        lambda: xz.check_profile(tmp_path, "exzar"),
    ):
        with pytest.raises(xz.MetadataError, match="'exzarr', 'portable', 'zarr-python-2'"):
            call()
    assert not list(tmp_path.iterdir())
    assert set(PROFILES) == {"exzarr", "portable", "zarr-python-2"}


@pytest.mark.parametrize(
    ("profile", "keywords", "why"),
    [
        ("exzarr", {"chunk_key_encoding": "/"}, "other keys"),
        ("exzarr", {"order": "F"}, "C order"),
        ("exzarr", {"compressors": "lz4"}, "compressor"),
        ("exzarr", {"filters": [{"id": "packbits"}]}, "filter"),
        ("exzarr", {"zarr_format": 3, "shards": (4, 4)}, "codecs"),
        ("portable", {"compressors": "zstd"}, "compressor"),
        ("portable", {"zarr_format": 3}, "Zarr v3"),
        ("zarr-python-2", {"zarr_format": 3}, "Zarr v3"),
        ("portable", {"filters": [{"id": "delta", "dtype": "<i8"}]}, "filter"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(
    profile: str, keywords: dict[str, Any], why: str, tmp_path: Path
) -> None:
    """What was asked for and a reader would misread is refused with the reason, before anything is stored."""
    with pytest.raises(xz.UnsupportedError, match=why):
        xz.create_array(tmp_path / "a", data=np.zeros((4, 4), "i8"), chunks=2, profile=profile, **keywords)
    assert not (tmp_path / "a").exists()


def test_explicit_encodings_are_checked_and_inherited_ones_yield(tmp_path: Path) -> None:
    """A codec that was asked for and does not conform is refused; one that was read with the data is replaced."""
    dataset = xr.Dataset({"v": ("x", np.arange(4))})
    with pytest.raises(xz.UnsupportedError, match="lz4"):
        xz.to_zarr(dataset, tmp_path / "a", profile="exzarr", encoding={"v": {"compressors": [numcodecs.LZ4()]}})
    xz.to_zarr(dataset, tmp_path / "b", encoding={"v": {"chunks": 2, "shards": 4}})
    for profile in PROFILES:
        xz.to_zarr(xz.open_dataset(tmp_path / "b"), tmp_path / profile, profile=profile)
        assert xz.check_profile(tmp_path / profile, profile) == []
        assert xz.open_array(tmp_path / profile, "v").chunks == (2,)


def test_the_report_says_what_elixir_does_not_see(tmp_path: Path) -> None:
    """The report of a write for ExZarr says that attributes of Zarr v2 are not read there."""
    report = xz.to_zarr(xr.Dataset({"v": ("x", [1])}), tmp_path, profile="exzarr")
    assert "never reads the attributes" in str(report) and len(report.notes) == 1


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        np.array([True, False]),
        np.array([1.5, np.nan], "f2"),
        np.array(["1970-01-01", "NaT"], "M8[ns]"),
        np.array([0, 5], "m8[s]"),
        np.array(["a", "b"]),
        np.array(3.5),
        np.array(True),
        np.arange(3, dtype=">i4"),
    ],
    ids=str,
)
@pytest.mark.parametrize("profile", ["exzarr", "portable"])
def test_arrays_are_stored_by_the_conventions(data: Any, profile: str, tmp_path: Path) -> None:
    """`create_array` stores what one array of numbers can stand for; `open_dataset` shows it as it was."""
    array = xz.create_array(tmp_path, "v", data=data, profile=profile, dimension_names=["x"] * data.ndim)
    assert array.zarr_format == 2 and array.dtype.kind in "iuf" and array.ndim == 1
    assert same(exzarr.read(tmp_path / "v"), array[...])
    found = xz.open_dataset(tmp_path, consolidated=False)["v"]
    assert found.shape == data.shape
    np.testing.assert_array_equal(found.values.astype(data.dtype), data)


def test_what_takes_several_arrays_is_named(tmp_path: Path) -> None:
    """Complex numbers and records take several arrays, which one call of `create_array` cannot make."""
    with pytest.raises(xz.UnsupportedError, match="'z_real', 'z_imag'"):
        xz.create_array(tmp_path, "z", data=np.array([1j]), profile="exzarr")
    with pytest.raises(xz.UnsupportedError, match="'r_a', 'r_b'"):
        xz.create_array(tmp_path, "r", shape=3, dtype=[("a", "i4"), ("b", "f8")], profile="portable")


def test_fill_values_that_are_no_numbers_have_every_chunk(tmp_path: Path) -> None:
    """With NaN as the fill value all chunks are stored, also those that hold nothing else."""
    xz.create_array(tmp_path, "a", shape=(4,), chunks=2, dtype="f8", fill_value=np.nan, profile="exzarr")
    assert np.isnan(exzarr.read(tmp_path / "a")).all()
    xz.create_array(tmp_path, "b", shape=(4,), chunks=2, dtype="f8", profile="exzarr")
    assert not (tmp_path / "b" / "0").exists() and (exzarr.read(tmp_path / "b") == 0).all()
    dataset = xr.Dataset({"v": ("x", np.full(4, np.nan)), "n": ("x", np.zeros(4, int))}).chunk(x=2)
    xz.to_zarr(dataset, tmp_path / "ds", profile="exzarr")
    xz.to_zarr(dataset, tmp_path / "ds", profile="exzarr", append_dim="x")
    assert xz.check_profile(tmp_path / "ds", "exzarr") == []
    assert np.isnan(exzarr.read(tmp_path / "ds" / "v")).all()


def test_dask_arrays_take_a_profile(tmp_path: Path) -> None:
    """A dask array is stored with a profile too."""
    xz.to_zarr(da.arange(10, chunks=5), tmp_path, component="a", profile="portable")
    assert zlib.decompress((tmp_path / "a" / "0").read_bytes()) == np.arange(5).tobytes()


def test_groups_of_v3_are_seen_by_exzarr(tmp_path: Path) -> None:
    """With ``zarr_format=3`` every group has a .zgroup beside its zarr.json, and opens as before."""
    group = xz.create_group(tmp_path, "a/b", profile="exzarr", zarr_format=3, attributes={"title": "t"})
    for path in ("", "a", "a/b"):
        exzarr.open_group(tmp_path / path)
    assert group.zarr_format == 3 and xz.open_group(tmp_path, "a/b").attrs["title"] == "t"
    assert xz.create_group(tmp_path / "other", profile="exzarr").zarr_format == 2
    assert xz.create_group(tmp_path / "plain").zarr_format == 3


def test_the_command_lists_violations(tmp_path: Path) -> None:
    """``xzarr check`` prints violations as text or JSON, and its exit status says whether there are any."""
    xz.create_array(tmp_path / "good", data=[1, 2], profile="exzarr")
    xz.create_array(tmp_path / "bad", data=[1, 2], zarr_format=2, compressors="lz4")
    ran = CliRunner().invoke(main, ["check", str(tmp_path / "good"), "--profile", "exzarr"])
    assert ran.exit_code == 0 and "0 violation(s)" in ran.output
    ran = CliRunner().invoke(main, ["check", str(tmp_path / "bad"), "--profile", "exzarr"])
    assert ran.exit_code == 1 and "compressor 'lz4'" in ran.output
    ran = CliRunner().invoke(main, ["check", str(tmp_path / "bad"), "-p", "exzarr", "--json"])
    assert [violation["rule"] for violation in json.loads(ran.output)["violations"]] == ["compressor"]
    ran = CliRunner().invoke(main, ["check", str(tmp_path / "bad"), "-p", "elixir"])
    assert ran.exit_code == 2 and "there are 'exzarr'" in ran.output


@pytest.mark.parametrize("profile", ["exzarr", "portable", "zarr-python-2"])
def test_a_profile_follows_the_groups_above(tmp_path: Path, profile: str) -> None:
    """Nodes of v2 below a root of v3 were found by few readers."""
    dataset = xr.Dataset({"v": ("x", [1, 2])})
    ways = [
        lambda store, path: xz.create_array(store, path, data=np.arange(3), profile=profile),
        lambda store, path: xz.create_group(store, path, profile=profile),
        lambda store, path: xz.to_zarr(dataset, store, group=path, profile=profile),
        lambda store, path: xz.to_zarr(dataset, store, group=path, profile=profile, mode="w"),
        lambda store, path: xz.to_zarr(np.arange(3), store, component=path, profile=profile),
    ]
    for at, way in enumerate(ways):
        for zarr_format in (2, 3):
            root = tmp_path / f"{at}-v{zarr_format}"
            xz.create_group(root, zarr_format=zarr_format)
            if zarr_format in PROFILES[profile].formats:
                way(root, "below")
                assert xz.open(root)["below"].zarr_format == zarr_format
                assert xz.check_profile(root, profile) == []
            else:
                with pytest.raises(xz.UnsupportedError, match="the groups above are of Zarr v3"):
                    way(root, "below")
                assert [path.name for path in root.iterdir()] == ["zarr.json"]
        way(tmp_path / f"{at}-new", "below")
        assert xz.open(tmp_path / f"{at}-new")["below"].zarr_format == 2
