"""The xarray engine: laziness, requests, dimensions, groups, dask, and what it takes and refuses."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import struct
import sys
import warnings
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from tests.xarray_parity import ENGINE, ZARR_WARNINGS
from xzarr_backend.errors import (
    ChunkError,
    MetadataError,
    NodeNotFoundError,
    SkippedNodeWarning,
    UnsupportedError,
    XzarrError,
)
from xzarr_backend.stores import MemoryStore
from xzarr_backend.xarray_arrays import with_slices
from xzarr_backend.xarray_opening import open_dataset, open_datatree, open_mfdataset, open_zarr

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

Objects = dict[str, bytes]

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


# --- stores made by hand ---------------------------------------------------------------------------------------------


def array_v3(
    path: str,
    data: Any,
    dims: Any = None,
    chunks: Any = None,
    attributes: Mapping[str, Any] | None = None,
    fill: Any = 0,
) -> Objects:
    """Return the objects of an uncompressed v3 array; its shape must be a multiple of its chunks."""
    data = np.asarray(data)
    chunks = data.shape if chunks is None else chunks
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": data.shape,
        "data_type": data.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [LITTLE],
        "attributes": dict(attributes or {}),
    }
    if dims is not None:
        document["dimension_names"] = dims
    objects = {f"{path}/zarr.json".lstrip("/"): json.dumps(document).encode()}
    for coords in product(*(range(n // c) for n, c in zip(data.shape, chunks, strict=True))):
        place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(coords, chunks, strict=True))
        key = "/".join([path, "c", *map(str, coords)]).lstrip("/")
        objects[key] = np.ascontiguousarray(data[place]).tobytes()
    return objects


def group_v3(objects: Objects, *, consolidated: bool = True, attributes: Mapping[str, Any] | None = None) -> Objects:
    """Return ``objects`` with documents for the root and all groups between."""
    found = dict(objects)
    for key in objects:
        parts = key.split("/")[:-1]
        for depth in range(1, len(parts)):
            path = "/".join(parts[:depth])
            if not any(part == "c" for part in parts[:depth]) and f"{path}/zarr.json" not in found:
                found[f"{path}/zarr.json"] = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    root: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    if consolidated:
        documents = {key.removesuffix("/zarr.json"): json.loads(value) for key, value in found.items() if "json" in key}
        root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": documents}
    found["zarr.json"] = json.dumps(root).encode()
    return found


DATA = np.arange(6 * 4 * 8, dtype="f4").reshape(6, 4, 8)


def climate(*, consolidated: bool = True) -> Objects:
    """Return a dataset of one variable in 3 x 2 x 2 chunks and its coordinates."""
    return group_v3(
        {
            **array_v3("t", DATA, ["time", "lat", "lon"], (2, 2, 4), {"units": "K"}),
            **array_v3("time", np.arange(6), ["time"], (1,), {"units": "days since 2000-01-01"}),
            **array_v3("lat", np.linspace(-60, 60, 4), ["lat"]),
            **array_v3("lon", np.arange(8) * 45.0, ["lon"]),
            **array_v3("issued", np.int64(3), [], None, {"units": "days since 2000-01-01"}),
        },
        consolidated=consolidated,
        attributes={"title": "made by hand"},
    )


def counting(objects: Objects, *, concurrent: bool = False) -> CountingStore:
    """Return a store that counts requests, and behaves as a remote one when told to."""
    store = CountingStore(MemoryStore(objects))
    store.concurrent = concurrent
    return store


def opened(store: Any, **keywords: Any) -> xr.Dataset:
    """Open with the engine."""
    return xr.open_dataset(store, engine=ENGINE, **keywords)


# --- requests and laziness -------------------------------------------------------------------------------------------


def test_opening_consolidated_metadata_takes_one_request() -> None:
    """Without anything to decode or index, opening reads one object and lists nothing."""
    store = counting(climate())
    opened(store, decode_times=False, create_default_indexes=False)
    assert [call.key for call in store.requests] == ["zarr.json"]


@pytest.mark.parametrize("indexes", [True, False])
def test_values_of_coordinates_leave_as_plain_arrays(indexes: bool) -> None:
    """What tells xarray that they are NumPy's goes no further: not into an index, a result, or a pickle."""
    dataset = opened(counting(climate()), decode_times=False, create_default_indexes=indexes).load()
    for name in ("time", "lat", "lon"):
        coordinate = dataset[name]
        assert type(coordinate.values) is np.ndarray
        assert b"IndexValues" not in pickle.dumps(coordinate.data)
        assert type(pickle.loads(pickle.dumps(coordinate.data))) is np.ndarray
        assert type((coordinate + 1).values) is np.ndarray
        if indexes:
            assert type(coordinate.to_index().values) is np.ndarray
    np.testing.assert_array_equal(dataset.lon, np.arange(8) * 45.0)


def test_coordinates_are_fetched_in_one_wave() -> None:
    """On a store that likes many requests at once, all that xarray looks into at open comes in one call."""
    store = counting(climate(), concurrent=True)
    data = opened(store)
    assert store.waves == [1, 6 + 1 + 1 + 1]
    assert store.count("list_dir", "walk") == 0
    assert data.time.values[1] == np.datetime64("2000-01-02")
    assert data.issued.values == np.datetime64("2000-01-04")
    assert data.lon.values[-1] == 315.0
    assert store.count() == 10


def test_coordinates_of_a_local_store_are_not_read_twice() -> None:
    """Elsewhere, each object of a coordinate is read once, or twice where xarray looks before it reads."""
    store = counting(climate())
    opened(store)
    keys = [call.key for call in store.requests]
    assert keys.count("issued/c") == keys.count("lat/c/0") == 1
    assert max(keys.count(key) for key in keys) <= 2


def test_prefetched_values_are_not_shared_with_the_caller() -> None:
    """Changing values that were read does not change what is read next."""
    data = opened(counting(climate(), concurrent=True), cache=False, decode_times=False)
    data.issued.values[...] = 0
    assert data.issued.values == 3


def test_failing_prefetch_is_reported_by_the_chunk() -> None:
    """When the wave fails, the error names the array and the chunk."""
    objects = climate()
    objects["lat/c/0"] = b"short"
    with pytest.raises(ChunkError, match="lat"):
        opened(counting(objects, concurrent=True))


SELECTIONS = {
    "basic": ({"time": 1, "lat": slice(0, 2), "lon": slice(None, None, 3)}, 2),
    "negative step": ({"time": slice(None, None, -1), "lat": 0, "lon": 0}, 3),
    "outer": ({"time": [0, 5], "lat": [3], "lon": [0, 1, 2]}, 2),
    "points": ({"time": xr.Variable("p", [0, 1, 5]), "lat": xr.Variable("p", [0, 0, 3]), "lon": 0}, 2),
    "points and slices": ({"time": xr.Variable("p", [0, 5]), "lon": xr.Variable("p", [0, 7])}, 4),
}


@pytest.mark.parametrize(("selection", "chunks"), SELECTIONS.values(), ids=SELECTIONS)
def test_each_needed_chunk_is_fetched_once(selection: Any, chunks: int) -> None:
    """A selection of any kind is one plan: it fetches the chunks that it needs, and nothing twice."""
    store = counting(climate())
    data = opened(store, decode_times=False)
    store.reset()
    found = data.t.variable.isel(selection).values
    assert store.count() == len({call.key for call in store.requests}) == chunks
    np.testing.assert_array_equal(found, xr.Variable(("time", "lat", "lon"), DATA).isel(selection))


def test_slices_beside_points_stay_slices() -> None:
    """What xarray makes an index array of, though it was a slice, is planned as a slice again."""
    key = (np.array([[0], [5]]), np.arange(4)[None, :], np.array([[1], [2]]))
    found = with_slices(key)
    assert found[1] == slice(0, 4, 1)
    assert [np.shape(found[0]), np.shape(found[2])] == [(2,), (2,)]


indices = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
    st.lists(st.integers(-3, 2), min_size=0, max_size=4).map(lambda v: np.array(v, int)),
    st.tuples(st.sampled_from(["p", "q", "a"]), st.lists(st.integers(0, 2), min_size=3, max_size=3)),
    st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=3, max_size=3).map(
        lambda v: (("p", "r"), v)
    ),
)


@given(st.lists(indices, min_size=3, max_size=3), st.lists(st.slices(2), max_size=2))
def test_selections_equal_those_of_data_in_memory(items: list[Any], more: list[Any]) -> None:
    """Lazy selections, one after the other, give what the same selections give on loaded data."""
    data = np.arange(27).reshape(3, 3, 3)
    store = MemoryStore(group_v3(array_v3("v", data, ["a", "b", "c"], (1, 3, 3))))
    lazy = opened(store).v.variable
    loaded = xr.Variable(("a", "b", "c"), data)
    selection = {
        dim: xr.Variable(*item) if isinstance(item, tuple) else item for dim, item in zip("abc", items, strict=True)
    }
    try:
        expected = loaded.isel(selection)
    except (IndexError, ValueError):
        return
    found = lazy.isel(selection)
    for item in more:
        if expected.dims:
            expected, found = (v.isel({v.dims[-1]: item}) for v in (expected, found))
    xr.testing.assert_identical(expected, found.load())


def test_loading_asynchronously() -> None:
    """`load_async` gives what `load` gives, for all kinds of selections."""
    data = opened(MemoryStore(climate()))

    async def load() -> tuple[xr.Dataset, xr.Variable, xr.Variable]:
        points = data.t.variable.isel(time=xr.Variable("p", [0, 1]), lat=xr.Variable("p", [1, 2]))
        outer = data.t.variable.isel(time=[0, 3], lat=[1, 2])
        return await asyncio.gather(data.load_async(), points.load_async(), outer.load_async())

    whole, points, outer = asyncio.run(load())
    np.testing.assert_array_equal(whole.t, DATA)
    np.testing.assert_array_equal(points, DATA[[0, 1], [1, 2]])
    np.testing.assert_array_equal(outer, DATA[[0, 3]][:, [1, 2]])


def test_pickles_are_small_and_lazy(tmp_path: Path) -> None:
    """A dataset pickles as its place; unpickled it reads the same."""
    xr.Dataset({"v": ("x", np.zeros(100_000))}).to_zarr(tmp_path / "a.zarr")
    data = opened(tmp_path / "a.zarr")
    pickled = pickle.dumps(data)
    assert len(pickled) < 10_000
    xr.testing.assert_identical(pickle.loads(pickled), data)


# --- what it takes and refuses ---------------------------------------------------------------------------------------


def test_unknown_keywords_are_type_errors() -> None:
    """A keyword that nobody knows raises instead of being ignored."""
    with pytest.raises(TypeError, match="nonsense"):
        opened(MemoryStore(climate()), nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        xr.open_datatree(MemoryStore(climate()), engine=ENGINE, nonsense=1)


@pytest.mark.parametrize(
    "keywords",
    [
        {"mode": "w"},
        {"missing": "zero"},
        {"zarr_format": 4},
        {"zarr_format": 3, "zarr_version": 2},
        {"duplicate_dims": "drop"},
        {"synchronizer": object()},
        {"chunk_store": {}},
        {"quirks": "nobody"},
        {"decode_semantics": "perhaps"},
    ],
    ids=str,
)
def test_impossible_values_of_keywords_raise(keywords: dict[str, Any]) -> None:
    """A value that a keyword cannot have is refused."""
    with pytest.raises(XzarrError):
        opened(MemoryStore(climate()), **keywords)


@pytest.mark.parametrize(
    "keywords",
    [{"mode": "a"}, {"cache_members": False}, {"engine": "xzarr"}, {"zarr_version": 3}, {"decode_semantics": True}],
    ids=str,
)
def test_keywords_of_the_built_in_engine_are_accepted(keywords: dict[str, Any]) -> None:
    """Keywords that change nothing here are taken all the same."""
    found = ENGINE().open_dataset(MemoryStore(climate()), **keywords)
    assert found.sizes == {"time": 6, "lat": 4, "lon": 8}


def test_whatever_holds_a_store_opens(tmp_path: Path) -> None:
    """A mapping, a mapper, a store, a store of zarr-python, a group and an array can be given instead of a path."""
    fsspec = pytest.importorskip("fsspec")
    zarr = pytest.importorskip("zarr")
    place = tmp_path / "a.zarr"
    for key, value in climate().items():
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        (place / key).write_bytes(value)
    expected = opened(place)
    assert expected.encoding["source"] == str(place)
    given = [
        str(place),
        climate(),
        fsspec.get_mapper(str(place)),
        f"file://{place}",
        xz.open_group(place).store,
        xz.open_group(place),
        zarr.storage.LocalStore(place),
    ]
    for each in given:
        xr.testing.assert_identical(opened(each), expected)
    array = xz.open_array(place, "t")
    assert opened(array).identical(
        expected.t.reset_coords(drop=True)
        .drop_indexes(["time", "lat", "lon"])
        .to_dataset()
        .drop_vars(["time", "lat", "lon"])
    )
    direct = ENGINE().open_dataset(None, store=climate())
    assert set(direct.variables) == set(expected.variables)


def test_nothing_and_no_group_are_not_found(tmp_path: Path) -> None:
    """A place with nothing in it, and a group that is not there, raise what a caller would catch."""
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none.zarr")
    for consolidated in (None, False):
        with pytest.raises(FileNotFoundError):
            opened(MemoryStore(climate()), group="none", consolidated=consolidated)
    with pytest.raises(KeyError):
        opened(MemoryStore(climate()), group="none")


def test_metadata_that_are_not_consolidated_warn() -> None:
    """The warning is that of the built-in engine; it can be turned into silence or an error by ``consolidated``."""
    objects = climate(consolidated=False)
    with pytest.warns(RuntimeWarning, match="not consolidated") as caught:
        opened(MemoryStore(objects))
    assert caught[0].filename == __file__
    opened(MemoryStore(objects), consolidated=False)
    with pytest.raises(ValueError, match="no consolidated metadata"):
        opened(MemoryStore(objects), consolidated=True)
    store = MemoryStore(objects)
    store.supports_consolidated_metadata = False
    opened(store)


@pytest.mark.parametrize("name", ["a.zarr", "a.zarr/", "a.zarr.zip"])
def test_guessing_leaves_paths_to_the_built_in_engine(name: str) -> None:
    """As long as zarr-python can be imported, no path is claimed."""
    pytest.importorskip("zarr")
    assert not ENGINE().guess_can_open(name)


def test_guessing_without_zarr_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where zarr-python is not installed, what looks like a Zarr store is claimed."""
    monkeypatch.setitem(sys.modules, "zarr", None)
    (tmp_path / "store").mkdir()
    assert not ENGINE().guess_can_open(tmp_path / "store")
    (tmp_path / "store" / ".zgroup").write_text('{"zarr_format": 2}')
    assert ENGINE().guess_can_open(tmp_path / "store")
    assert ENGINE().guess_can_open("https://example.org/a.zarr/")
    assert ENGINE().guess_can_open("a.zarr.zip")
    assert not ENGINE().guess_can_open("a.nc")
    assert not ENGINE().guess_can_open({})


def test_closing_gives_back_the_store(tmp_path: Path) -> None:
    """A dataset that was opened by path closes its store; it can still be read afterwards."""
    xr.Dataset({"v": ("x", [1, 2])}).to_zarr(tmp_path / "a.zarr")
    with opened(tmp_path / "a.zarr") as data:
        lazy = data.v
    assert lazy.values.tolist() == [1, 2]


# --- masks, missing chunks, broken members ---------------------------------------------------------------------------


def test_fill_values_as_masks() -> None:
    """The fill value masks in format 2 and not in format 3, unless the keyword says otherwise."""
    v3 = MemoryStore(group_v3(array_v3("v", np.array([1, -1], "i2"), ["x"], fill=-1)))
    assert opened(v3).v.values.tolist() == [1, -1]
    assert opened(v3).v.encoding["fill_value"] == -1
    assert np.isnan(opened(v3, use_zarr_fill_value_as_mask=True).v.values[1])
    document = {
        "zarr_format": 2,
        "shape": [2],
        "chunks": [2],
        "dtype": "<i2",
        "fill_value": -1,
        "order": "C",
        "filters": None,
        "compressor": None,
    }
    objects = {
        ".zgroup": b'{"zarr_format": 2}',
        "v/.zarray": json.dumps(document).encode(),
        "v/.zattrs": b'{"_ARRAY_DIMENSIONS": ["x"]}',
        "v/0": np.array([1, -1], "<i2").tobytes(),
    }
    v2 = MemoryStore(objects)
    assert np.isnan(opened(v2, consolidated=False).v.values[1])
    unmasked = opened(v2, consolidated=False, use_zarr_fill_value_as_mask=False)
    assert unmasked.v.values.tolist() == [1, -1]
    assert "fill_value" not in unmasked.v.encoding  # which the built-in writer refuses in format 2


@pytest.mark.parametrize(
    "stored",
    [base64.b64encode(struct.pack("<d", -5.0)).decode(), -5.0, -5, "-5"],
    ids=["base64", "float", "int", "text"],
)
def test_fill_values_in_attributes_of_format_3(stored: Any) -> None:
    """Floats are base64 in the attribute; plain numbers, which other writers store, are taken too."""
    objects = array_v3("v", np.array([1.0, -5.0]), ["x"], attributes={"_FillValue": stored})
    found = opened(MemoryStore(group_v3(objects)))
    np.testing.assert_array_equal(found.v, [1.0, np.nan])
    assert found.v.encoding["_FillValue"] == -5.0


def test_complex_fill_values_in_attributes() -> None:
    """A complex number is two times base64."""
    parts = [base64.b64encode(struct.pack("<d", part)).decode() for part in (1.0, -2.0)]
    data = np.array([1 - 2j, 3], "c16")
    objects = array_v3("v", data, ["x"], attributes={"_FillValue": parts}, fill=[0.0, 0.0])
    raw = opened(MemoryStore(group_v3(objects)), decode_cf=False)
    assert raw.v.attrs["_FillValue"] == 1 - 2j


@pytest.mark.parametrize("missing", ["raise", "warn", "fill"])
def test_chunks_that_are_not_stored(missing: str) -> None:
    """They are the fill value, a warning, or an error."""
    objects = climate()
    del objects["t/c/0/0/0"]
    data = opened(MemoryStore(objects), missing=missing)
    if missing == "raise":
        with pytest.raises(ChunkError, match="not stored"):
            data.t.load()
    elif missing == "warn":
        with pytest.warns(UserWarning, match="not stored"):
            data.t.load()
    else:
        assert data.t.values[0, 0, 0] == 0


def test_a_group_keeps_the_options_it_was_opened_with() -> None:
    """A group that was opened with ``missing="raise"`` raises through the engine too."""
    objects = climate()
    del objects["t/c/0/0/0"]
    group = xz.open_group(MemoryStore(objects), missing="raise")
    with pytest.raises(ChunkError, match="not stored"):
        opened(group).t.load()
    plain = xz.open_group(MemoryStore(objects))
    with pytest.raises(ChunkError, match="not stored"):
        opened(plain, missing="raise").t.load()
    assert plain["t"][0, 0, 0] == 0


def test_broken_members_are_skipped() -> None:
    """A member that cannot be read is a warning and the others open; with ``strict`` it is an error."""
    objects = climate(consolidated=False)
    objects["bad/zarr.json"] = b'{"zarr_format": 3, "node_type": "array"'
    with pytest.warns(SkippedNodeWarning, match="bad"):
        data = opened(MemoryStore(objects), consolidated=False)
    assert "t" in data
    with pytest.raises(MetadataError, match="bad"):
        opened(MemoryStore(objects), consolidated=False, strict=True)


def with_codecs(objects: Objects, path: str, codecs: Any) -> Objects:
    """Return ``objects`` with other codecs for the v3 array at ``path``."""
    key = f"{path}/zarr.json"
    return {**objects, key: json.dumps({**json.loads(objects[key]), "codecs": codecs}).encode()}


@pytest.mark.parametrize("concurrent", [False, True])
def test_arrays_with_unknown_codecs_are_skipped(concurrent: bool) -> None:
    """An array whose codec nobody knows is a warning that names it, and keeps no other from being read."""
    objects = with_codecs(climate(consolidated=False), "lon", [LITTLE, "secret"])
    with pytest.warns(SkippedNodeWarning, match="secret") as caught:
        data = opened(counting(objects, concurrent=concurrent), consolidated=False)
    assert caught[0].filename == __file__
    assert "lon" not in data.variables
    assert data.t.dims == ("time", "lat", "lon")
    with pytest.raises(UnsupportedError, match="secret"):
        opened(counting(objects), consolidated=False, strict=True)


def test_a_broken_root_does_not_hide_a_group() -> None:
    """A group opens although the document of the root cannot be read."""
    objects = {**tree_objects(), "zarr.json": b"{"}
    with pytest.warns(RuntimeWarning, match="not consolidated"):
        found = opened(MemoryStore(objects), group="a")
    assert list(found.variables) == ["q"]


# --- dimensions ------------------------------------------------------------------------------------------------------


def test_dimensions_without_names_are_numbered() -> None:
    """One name for each size, a second one where a size repeats; real names are kept and never invented again."""
    store = MemoryStore(
        group_v3(
            {
                **array_v3("a", np.zeros((2, 3))),
                **array_v3("b", np.zeros((3, 3, 2))),
                **array_v3("c", np.zeros((2, 4)), ["x", None]),
                **array_v3("d", np.zeros((7,)), ["phony_dim_1"]),
                **array_v3("e", np.zeros(())),
            }
        )
    )
    found = opened(store)
    assert {name: variable.dims for name, variable in found.variables.items()} == {
        "a": ("phony_dim_0", "phony_dim_2"),
        "b": ("phony_dim_2", "phony_dim_3", "phony_dim_0"),
        "c": ("x", "phony_dim_4"),
        "d": ("phony_dim_1",),
        "e": (),
    }


def test_numbers_of_dimensions_mean_one_size_in_a_whole_tree() -> None:
    """Groups below one another share the numbers, so that the tree can be built."""
    store = MemoryStore(group_v3({**array_v3("a", np.zeros(2)), **array_v3("g/b", np.zeros(3))}))
    tree = xr.open_datatree(store, engine=ENGINE)
    assert tree["a"].dims == ("phony_dim_0",)
    assert tree["g/b"].dims == ("phony_dim_1",)


def test_repeated_dimension_names() -> None:
    """The second ``x`` of a variable is ``x_1``; it can be kept, as the built-in engine does."""
    store = MemoryStore(group_v3({**array_v3("cov", np.eye(3), ["x", "x"]), **array_v3("x_1", np.zeros(3), ["x_1"])}))
    assert opened(store).cov.dims == ("x", "x_2")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        assert opened(store, duplicate_dims="keep").cov.dims == ("x", "x")


def test_conflicting_sizes_say_which_variables_fit() -> None:
    """The error lists sets of variables; ``keep_variables`` and ``drop_variables`` are ways out."""
    store = MemoryStore(
        group_v3(
            {
                **array_v3("full", np.zeros((4, 4)), ["y", "x"]),
                **array_v3("half", np.zeros((2, 2)), ["y", "x"]),
                **array_v3("row", np.zeros(4), ["x"]),
            }
        )
    )
    with pytest.raises(MetadataError, match="keep_variables") as caught:
        opened(store)
    assert [place for place, _ in caught.value.problems] == ["full, row", "half"]
    assert opened(store, keep_variables=["full", "row"]).sizes == {"y": 4, "x": 4}
    assert opened(store, keep_variables="half").sizes == {"y": 2, "x": 2}
    assert opened(store, drop_variables="half").sizes == {"y": 4, "x": 4}


def test_only_kept_variables_are_looked_for() -> None:
    """With ``keep_variables`` nothing is listed, and a name that is not there is an error."""
    store = counting(climate(consolidated=False))
    found = opened(store, keep_variables=["lat", "lon"], consolidated=False)
    assert set(found.variables) == {"lat", "lon"}
    assert store.count("list_dir", "walk") == 0
    with pytest.raises(KeyError, match="latitude"):
        opened(store, keep_variables="latitude", consolidated=False)


def test_attributes_that_name_dimensions_are_hidden_where_they_do() -> None:
    """Attributes of xarray and NCZarr for dimensions are not shown, all others are."""
    attributes = {"_ARRAY_DIMENSIONS": ["x"], "long_name": "v"}
    named = opened(MemoryStore(group_v3(array_v3("v", np.zeros(2), None, None, attributes))))
    assert named.v.dims == ("x",)
    assert named.v.attrs == {"long_name": "v"}


def test_an_array_opens_as_a_dataset_of_one_variable(tmp_path: Path) -> None:
    """Its variable has the name of the array, of the folder or archive, or is called data."""
    objects = array_v3("", np.arange(3), ["x"])
    assert list(opened(MemoryStore(objects)).variables) == ["data"]
    for name in ("heights.zarr", "heights"):
        place = tmp_path / name
        for key, value in objects.items():
            (place / key).parent.mkdir(parents=True, exist_ok=True)
            (place / key).write_bytes(value)
        assert opened(place).heights.values.tolist() == [0, 1, 2]
    inner = MemoryStore(group_v3(array_v3("g/v", np.arange(3), ["x"])))
    assert list(opened(inner, group="g/v").variables) == ["v"]
    assert list(xr.open_groups(MemoryStore(objects), engine=ENGINE)) == ["/"]


# --- groups ----------------------------------------------------------------------------------------------------------


def tree_objects() -> Objects:
    """Return nested groups with one array each."""
    return group_v3(
        {
            **array_v3("r", np.arange(2), ["x"]),
            **array_v3("a/q", np.arange(2), ["x"]),
            **array_v3("a/b/z", np.arange(3), ["y"]),
        }
    )


def test_groups_open_by_their_paths() -> None:
    """All groups come with one request, under paths relative to the group that was asked for."""
    store = counting(tree_objects())
    found = xr.open_groups(store, engine=ENGINE)
    assert list(found) == ["/", "/a", "/a/b"]
    assert store.count() == 1
    assert list(xr.open_groups(store, engine=ENGINE, group="a")) == ["/", "/b"]
    assert list(opened(store, group="/a/").variables) == ["q"]


def test_trees_close_and_keep() -> None:
    """Every node of a tree has a close of its own; ``keep_variables`` means names in any group."""
    tree = open_datatree(MemoryStore(tree_objects()), keep_variables=["q", "z"])
    assert tree.groups == ("/", "/a", "/a/b")
    assert [list(node.data_vars) for node in tree.subtree] == [[], ["q"], ["z"]]
    assert all(node._close is not None for node in tree.subtree)
    tree.close()


# --- dask and many files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ({}, ((2, 2, 2), (2, 2), (4, 4))),
        ("auto", ((6,), (4,), (8,))),
        (4, ((4, 2), (4,), (4, 4))),
        ({"time": 6, "lon": 4}, ((6,), (2, 2), (4, 4))),
        (-1, ((6,), (4,), (8,))),
    ],
    ids=str,
)
def test_chunks(chunks: Any, expected: Any) -> None:
    """Chunks are those of the store, or multiples of them, as asked for."""
    data = open_dataset(MemoryStore(climate()), chunks=chunks)
    assert data.t.chunks == expected
    np.testing.assert_array_equal(data.t.mean("time"), DATA.mean(0))


def test_chunks_of_different_lengths() -> None:
    """A rectilinear grid is chunked as it is stored."""
    objects = array_v3("v", np.arange(6), ["x"])
    document = json.loads(objects["v/zarr.json"])
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[1, 2, 3]]}}
    objects = {"v/zarr.json": json.dumps({**document, "chunk_grid": grid}).encode()}
    objects |= {f"v/c/{i}": np.arange(a, b).tobytes() for i, (a, b) in enumerate([(0, 1), (1, 3), (3, 6)])}
    data = open_zarr(MemoryStore(group_v3(objects)))
    assert data.v.encoding["chunks"] == ((1, 2, 3),)
    assert data.v.encoding["preferred_chunks"] == {"x": (1, 2, 3)}
    assert data.v.chunks == ((1, 2, 3),)
    assert data.v.values.tolist() == [0, 1, 2, 3, 4, 5]


def test_open_zarr_is_chunked_and_inlined() -> None:
    """`open_zarr` gives dask arrays whose graphs have one key for each chunk."""
    data = open_zarr(MemoryStore(climate()))
    assert data.t.chunks == ((2, 2, 2), (2, 2), (4, 4))
    assert len(dict(data.t.data.dask)) == 12
    assert len(dict(open_zarr(MemoryStore(climate()), inline_array=False).t.data.dask)) == 13


def test_names_of_dask_arrays_are_deterministic() -> None:
    """The same store gives the same names, another store others."""
    store = MemoryStore(climate())
    first, second, other = (open_zarr(each).t.data.name for each in (store, store, MemoryStore(climate())))
    assert first == second != other


def write_years(folder: str) -> None:
    """Write two years of data into ``folder``, which may be a URL."""
    for year in (2000, 2001):
        stamps = pd.date_range(f"{year}-01-01", periods=3)
        part = xr.Dataset({"v": ("time", np.arange(3) + year)}, coords={"time": stamps})
        part.to_zarr(f"{folder}/{year}.zarr")


@pytest.mark.parametrize("folder", ["local", "memory://xzarr-mfdataset"])
def test_many_stores_open_by_wildcards(folder: str, tmp_path: Path) -> None:
    """A path or a URL with wildcards opens all that match, in the order of their names."""
    place = str(tmp_path) if folder == "local" else folder
    write_years(place)
    data = open_mfdataset(f"{place}/*.zarr")
    assert data.v.values.tolist() == [2000, 2001, 2002, 2001, 2002, 2003]
    listed = open_mfdataset([f"{place}/2001.zarr", f"{place}/2000.zarr"])
    xr.testing.assert_identical(listed, data)
    with pytest.raises(NodeNotFoundError, match="matches"):
        open_mfdataset(f"{place}/*.none")


def test_wildcards_of_schemes_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install, as that of one store does."""
    lacking = {"class": "no_such_package.FileSystem", "err": "Install no_such_package"}
    monkeypatch.setitem(pytest.importorskip("fsspec.registry").known_implementations, "lacking", lacking)
    with pytest.raises(UnsupportedError, match="Install no_such_package"):
        open_mfdataset("lacking://bucket/*.zarr")
    with pytest.raises(UnsupportedError, match="'unheard'"):
        open_mfdataset("simplecache::unheard://bucket/*.zarr")


def test_the_engine_is_registered() -> None:
    """Once the package is installed, xarray knows the engine by name and keeps guessing the built-in one."""
    if "xzarr" not in xr.backends.list_engines():
        pytest.skip("the package is not installed, so that xarray cannot know the engine's name")
    assert xr.open_dataset(MemoryStore(climate()), engine="xzarr").sizes["time"] == 6


def test_the_variable_without_a_name() -> None:
    """The variable None is stored under a name of xarray's, and comes back as None."""
    dataset = xr.Dataset({None: (("x", "y"), [[0, 1], [2, 3]])})
    store: dict[str, bytes] = {}
    xz.to_zarr(dataset, store)
    xr.testing.assert_identical(xz.open_dataset(store), dataset)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_variables_of_one_kind_do_not_share_their_encoding(tmp_path: Path, zarr_format: int) -> None:
    """Who changes the encoding of one variable, however deep, changes no other; each has what its own array says."""
    dataset = xr.Dataset({name: (("y", "x"), np.ones((4, 6))) for name in "abc"})
    chunks = {"a": (2, 3), "b": (2, 3), "c": (4, 3)}
    encoding = {name: {"chunks": sizes} for name, sizes in chunks.items()}
    xz.to_zarr(dataset, tmp_path / "s.zarr", zarr_format=zarr_format, encoding=encoding)
    opened = open_dataset(tmp_path / "s.zarr")
    first = opened["a"].encoding
    for name, sizes in chunks.items():
        found = opened[name].encoding
        assert found["chunks"] == sizes and found["preferred_chunks"] == {"y": sizes[0], "x": sizes[1]}
        assert (found["compressors"], found["shards"]) == (first["compressors"], None)
    first["preferred_chunks"]["x"] = 99
    first["chunks"] = (1, 1)
    if zarr_format == 3:
        first["compressors"][0]["configuration"]["level"] = 99
        first["serializer"]["configuration"]["endian"] = "big"
    for found in (opened["b"].encoding, open_dataset(tmp_path / "s.zarr")["a"].encoding):
        assert found["preferred_chunks"]["x"] == 3 and found["chunks"] == (2, 3)
        if zarr_format == 3:
            assert found["compressors"][0]["configuration"].get("level") != 99
            assert found["serializer"] == LITTLE
