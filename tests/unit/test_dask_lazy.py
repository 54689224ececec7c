"""Lazy dask arrays of very many blocks: dask's own in every respect, but cheap to make, to cut and to pickle."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import chunk_grids, dask_lazy
from xzarr_backend.stores import MemoryStore

da = pytest.importorskip("dask.array")

VALUES = np.arange(11 * 7).reshape(11, 7)
ITEMS = [0, -1, 5, slice(None), slice(2, 9), slice(1, None, 3), slice(-4, -1), slice(3, 3), slice(None, None, -1), ...]
ITEMS += [[1, 5], None, np.int64(3), slice(0, 100)]


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks along a dimension are already many."""
    monkeypatch.setattr(dask_lazy, "LONG", 2)


def python_calls(work: Callable[[], object]) -> int:
    """Return how many functions of Python ``work`` calls, other than the first time."""
    work()
    calls = 0

    def seen(frame: Any, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def lazy_of(values: np.ndarray, chunks: tuple[int, ...], **keywords: Any) -> Any:
    """Return ``values``, stored in memory, as a lazy array."""
    return xz.from_zarr(xz.create_array({}, data=values, chunks=chunks), **keywords)


@pytest.mark.parametrize("chunks", [(3, 2), (11, 7), ((1, 8, 2), (3, 1, 3)), ((4, 4, 3), (5, 2))])
@pytest.mark.parametrize("many", [True, False])
def test_the_tasks_are_those_of_dask(many: bool, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, chunks, shape, values and what each task calls, with what, equal those of dask's own function."""
    monkeypatch.setattr(dask_lazy, "LONG", 2 if many else 10_000)
    lazy = xz.from_zarr(xz.create_array({}, data=VALUES, chunks=(3, 2)), chunks=chunks)
    array = lazy._recipe.array
    own = da.from_array(array, chunks=chunks, name=lazy.name, inline_array=True)
    assert (lazy.chunks, lazy.shape, lazy.dtype, lazy.numblocks) == (own.chunks, own.shape, own.dtype, own.numblocks)
    ours, theirs = dict(lazy.dask), dict(own.dask)
    assert ours.keys() == theirs.keys()
    for key, task in ours.items():
        other = theirs[key]
        for attribute in ("key", "func", "kwargs", "data_producer"):
            assert getattr(task, attribute) == getattr(other, attribute)
        assert task.args[0].value is array and other.args[0].value is array
        assert task.args[1] == other.args[1]
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), VALUES)
    (layer,) = lazy.dask.layers.values()
    assert layer.collection_annotations["chunks"] == own.chunks
    assert layer.collection_annotations["chunksize"] == own.chunksize


def test_a_sum_is_optimised_in_fewer_calls_than_dask_takes() -> None:
    """The array is put into the layer once, not into each task (benchmark: sum_stored_million)."""
    import dask

    lazy = lazy_of(np.zeros((400, 10)), (4, 1))
    own = da.from_array(lazy._recipe.array, chunks=(4, 1), inline_array=True)
    ours, theirs = (python_calls(lambda made=made: dask.optimize(made.sum())) for made in (lazy, own))
    print(f"{ours} calls to optimise the sum of 1000 blocks, dask's own {theirs}")
    assert ours < 0.8 * theirs


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("key", [*product(ITEMS, ITEMS), *((item,) for item in ITEMS), ()], ids=str)
def test_selections_are_those_of_numpy(key: tuple[Any, ...]) -> None:
    """Whichever way a selection goes, it has the values and the chunks that dask gives it."""
    lazy = lazy_of(VALUES, (3, 2))
    own = da.from_array(VALUES, chunks=(3, 2))
    try:
        expected = own[key]
        values = expected.compute(scheduler="sync")
    except Exception as error:  # refused, or a selection that dask itself cannot compute
        with pytest.raises(type(error)):
            lazy[key].compute(scheduler="sync")
        return
    found = lazy[key]
    np.testing.assert_array_equal(found.compute(scheduler="sync"), values)
    assert (found.shape, found.chunks, found.dtype) == (expected.shape, expected.chunks, expected.dtype)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("index", [11, -12, (0, 7), (0, 0, 0)])
def test_wrong_selections_are_refused(index: Any) -> None:
    """What dask refuses stays refused."""
    with pytest.raises(IndexError):
        lazy_of(VALUES, (3, 2))[index]


@pytest.mark.usefixtures("long")
def test_a_selection_shares_the_tasks_of_the_whole() -> None:
    """A part and the whole, computed together, read every block once."""
    lazy = lazy_of(VALUES, (3, 2))
    assert {key for key in lazy[:4, :2].dask.to_dict() if key[0] == lazy.name} <= set(lazy.dask)


def test_a_reduction_of_a_few_blocks_looks_at_no_others() -> None:
    """Of ten thousand blocks, two by two are summed: what dask has to optimise is as small as that."""
    values = np.arange(101 * 101).reshape(101, 101)
    few = lazy_of(values, (1, 1))[3:5, 7:9].sum()
    assert len(few.dask.to_dict()) < 40
    assert all(len(layer) <= 4 for layer in few.dask.layers.values())
    assert few.compute(scheduler="sync") == values[3:5, 7:9].sum()


@pytest.mark.usefixtures("long")
def test_parts_computed_together_read_every_block_once() -> None:
    """Parts have the keys of the whole, in layers of their own: none is lost beside others, or beside the whole."""
    import dask

    store = CountingStore(MemoryStore())
    xz.create_array(store, data=VALUES, chunks=(3, 2))
    lazy = xz.from_zarr(store)
    parts = [lazy[:4, :2].sum(), lazy[2:7].sum(axis=1), lazy[10, 6], lazy[:4, :2] + 1]
    expected = [VALUES[:4, :2].sum(), VALUES[2:7].sum(axis=1), VALUES[10, 6], VALUES[:4, :2] + 1]
    store.requests.clear()
    found = dask.compute(*parts, scheduler="sync")
    assert len(store.requests) == 3 * 4 + 1
    together = dask.compute(*parts, lazy.sum(), lazy, scheduler="sync")
    for one, other in zip([*found, *together], [*expected, *expected, VALUES.sum(), VALUES], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("long")
def test_parts_are_bound_persisted_and_optimized() -> None:
    """What dask does with whole graphs it does with those of a part."""
    import dask
    from dask import graph_manipulation

    part = lazy_of(VALUES, (3, 2))[2:7, 1:3]
    with dask.config.set(scheduler="sync"):
        bound = graph_manipulation.bind(part + 1, part.sum())
        for made in (bound - 1, part.persist(), *dask.optimize(part)):
            np.testing.assert_array_equal(made.compute(), VALUES[2:7, 1:3])


@pytest.mark.usefixtures("long")
def test_annotations_go_with_a_part() -> None:
    """What a scheduler was told about the blocks is told of the few, too."""
    import dask

    with dask.annotate(priority=5):
        lazy = lazy_of(VALUES, (3, 2))
    layers = [layer for name, layer in lazy[:4, :2].dask.layers.items() if name.startswith(lazy.name)]
    assert [layer.annotations for layer in layers] == [{"priority": 5}]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    "work", ["sum", "rechunk", "map_blocks", "arithmetic", "persist", "copy", "concatenate", "html"]
)
def test_dask_goes_on_with_it(work: str) -> None:
    """What is made of it is dask's own."""
    lazy = lazy_of(VALUES, (3, 2))
    if work == "html":
        assert "(3, 2)" in lazy._repr_html_() and lazy.dask._repr_html_()
        return
    made = {
        "sum": lambda: lazy.sum(axis=0, keepdims=True) + 0 * lazy,
        "rechunk": lambda: lazy.rechunk((11, 1)),
        "map_blocks": lambda: lazy.map_blocks(lambda block: block * 2),
        "arithmetic": lambda: (lazy + lazy.T.T) / 2,
        "persist": lambda: lazy.persist(scheduler="sync"),
        "copy": lazy.copy,
        "concatenate": lambda: da.concatenate([lazy[:4], lazy[4:]]),
    }[work]()
    expected = {"sum": VALUES.sum(axis=0, keepdims=True) + 0 * VALUES, "map_blocks": VALUES * 2}.get(work, VALUES)
    assert type(made) is da.Array
    np.testing.assert_array_equal(made.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("chunks", [None, "auto", (4, 4), ((1, 10), (7,))])
def test_pickles(inline: bool, many: bool, chunks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A copy has the same name, chunks and values."""
    monkeypatch.setattr(dask_lazy, "LONG", 2 if many else 10_000)
    array = xz.create_array(tmp_path, data=VALUES, chunks=(3, 2))
    lazy = xz.from_zarr(array, chunks=chunks, inline_array=inline)
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(lazy))
        assert (copy.name, copy.chunks, set(copy.dask.to_dict())) == (lazy.name, lazy.chunks, set(lazy.dask.to_dict()))
        np.testing.assert_array_equal(copy.compute(scheduler="sync"), VALUES)
        lazy = copy


def test_what_was_assigned_to_pickles_as_it_is() -> None:
    """An assignment changes an array in place; its pickle must not go back to what is stored."""
    lazy = lazy_of(VALUES, (3, 2))
    lazy[0] = -1
    expected = VALUES.copy()
    expected[0] = -1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(scheduler="sync"), expected)
    np.testing.assert_array_equal(lazy[:2].compute(scheduler="sync"), expected[:2])


def test_annotations_survive_pickling() -> None:
    """What a scheduler was told about the layer is kept."""
    import dask

    with dask.annotate(priority=5):
        lazy = lazy_of(VALUES, (3, 2))
    (layer,) = pickle.loads(pickle.dumps(lazy)).dask.layers.values()
    assert layer.annotations == {"priority": 5}


def test_names_are_deterministic() -> None:
    """The same array and blocks have the same name, however the blocks were asked for; other blocks another one."""
    array = xz.create_array({}, data=VALUES, chunks=(3, 2))
    first = xz.from_zarr(array)
    assert first.name == xz.from_zarr(array, chunks=(3, 2)).name == xz.from_zarr(array, chunks={0: 3}).name
    assert first.name != xz.from_zarr(array, chunks=(6, 2)).name


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,)])
def test_small_shapes(shape: tuple[int, ...]) -> None:
    """Arrays without elements, or without dimensions, are arrays too."""
    lazy = lazy_of(np.ones(shape), tuple(max(length, 1) for length in shape))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(scheduler="sync"), np.ones(shape))
    assert lazy.shape == shape


# --- datasets --------------------------------------------------------------------------------------------------------


def dataset_of(blocks: int) -> dict[str, bytes]:
    """Return a store of one packed variable, and a coordinate, of ``blocks`` chunks of three elements."""
    store: dict[str, bytes] = {}
    xz.create_group(store)
    values = np.arange(3 * blocks - 1).astype("i2")
    packing = {"scale_factor": 0.5, "_FillValue": 7}
    xz.create_array(store, "v", data=values, chunks=(3,), dimension_names=("x",), attributes=packing)
    return store


@pytest.mark.parametrize("many", [False, True])
def test_datasets_are_as_xarray_makes_them(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, names and decoded values are those of xarray's own way, and dask goes on with them."""
    import xarray as xr

    from xzarr_backend import xarray_dask
    from xzarr_backend.xarray_backend import XzarrBackendEntrypoint

    for module in (dask_lazy, xarray_dask):
        monkeypatch.setattr(module, "LONG", 4 if many else 10_000)
    store = dataset_of(20)
    ours = xz.open_zarr(store, consolidated=False)
    engine = XzarrBackendEntrypoint
    theirs = xr.open_dataset(store, engine=engine, chunks={}, inline_array=True, consolidated=False)
    assert isinstance(ours.v.data, dask_lazy.LazyArray) is many
    assert ours.v.data.name == xz.open_zarr(store, consolidated=False).v.data.name
    assert ours.chunks == theirs.chunks
    xr.testing.assert_identical(ours.load(), theirs.load())
    again = xz.open_zarr(store, consolidated=False)
    for work in (
        lambda ds: ds.isel(x=slice(4, 9)),
        lambda ds: ds.chunk(x=7).sum(),
        lambda ds: ds.v.rolling(x=2).mean(),
    ):
        xr.testing.assert_identical(work(again).compute(), work(theirs).compute())


@pytest.mark.parametrize("many", [False, True])
def test_blocks_are_counted_along_all_dimensions(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of few blocks along each dimension, but many in all, is made from a recipe, with the same values."""
    from xzarr_backend import xarray_dask

    for module in (dask_lazy, xarray_dask):
        monkeypatch.setattr(module, "LONG", 23 if many else 24)
    store: dict[str, bytes] = {}
    xz.create_group(store)
    xz.create_array(store, "v", data=VALUES, chunks=(2, 2), dimension_names=("y", "x"))
    data = xz.open_zarr(store, consolidated=False).v.data
    assert data.numblocks == (6, 4)
    assert isinstance(data, dask_lazy.LazyArray) is many
    for part in (np.s_[:], np.s_[1:5, 3], np.s_[::-2]):
        np.testing.assert_array_equal(data[part].compute(scheduler="sync"), VALUES[part])


def test_a_million_blocks_of_a_dataset_pickle_small() -> None:
    """The variable of a dataset pickles in less than 20 kB, and a corner of it has few tasks."""
    store: dict[str, bytes] = {}
    xz.create_group(store)
    xz.create_array(
        store, "v", shape=(10**8,), chunks=(100,), dtype="f4", fill_value=1, dimension_names=("x",), attributes={"a": 1}
    )
    data = xz.open_zarr(store, consolidated=False).v.data
    assert data.npartitions == 10**6
    assert len(pickle.dumps(data)) < 20_000
    assert pickle.loads(pickle.dumps(data)).name == data.name
    assert data[:10].compute().tolist() == [1] * 10


def test_opening_a_dataset_does_not_look_at_each_block() -> None:
    """xarray compares every block with the stored chunks; these are the stored chunks (benchmark: open_zarr_1d)."""
    store: dict[str, bytes] = {}
    xz.create_group(store)
    xz.create_array(store, "v", shape=(97 * 10**6,), chunks=(97,), dtype="f4", dimension_names=("x",))
    opened = []
    calls = python_calls(lambda: opened.append(xz.open_zarr(store, consolidated=False)))
    assert opened[-1].v.data.npartitions == 10**6
    assert calls < 10_000


@pytest.mark.parametrize("inline_array", [True, False])
def test_every_kind_of_variable_is_chunked_as_xarray_does_it(inline_array: bool, tmp_path: Path) -> None:
    """Indexes stay in memory, scalars as they are; all else has the blocks, encoding, source and names of xarray's."""
    import xarray as xr

    from xzarr_backend.xarray_backend import XzarrBackendEntrypoint

    path = tmp_path / "a.zarr"
    group = xz.create_group(path)
    group.create_array("x", data=np.arange(10), chunks=(4,), dimension_names=("x",))
    group.create_array("v", data=np.arange(60).reshape(10, 6), chunks=(3, 6), dimension_names=("x", "y"))
    group.create_array("w", data=np.arange(10), chunks=(5,), shards=(10,), dimension_names=("x",))
    group.create_array("lat", data=np.arange(6.0), chunks=(2,), dimension_names=("y",))
    group.create_array("s", data=np.array(5), dimension_names=())
    group.attrs["coordinates"] = "lat"
    keywords: dict[str, Any] = {"chunks": {}, "inline_array": inline_array, "consolidated": False}
    ours = xz.open_dataset(path, **keywords)
    theirs = xr.open_dataset(path, engine=XzarrBackendEntrypoint, **keywords)
    for name, variable in theirs.variables.items():
        found = ours.variables[name]
        assert type(found._data) is type(variable._data) or name not in ours.indexes
        assert (found.chunks, found.encoding, found.attrs) == (variable.chunks, variable.encoding, variable.attrs)
        if found.chunks is not None:
            assert len(dict(found.data.dask)) == len(dict(variable.data.dask))
            assert found.data.name.rpartition("-")[0] == variable.data.name.rpartition("-")[0]
    assert ours.encoding == theirs.encoding
    xr.testing.assert_identical(ours.load(), theirs.load())
    again = xz.open_dataset(path, **keywords)
    assert again.v.data.name == xz.open_dataset(path, **keywords).v.data.name
    assert again.v.data.name != xz.open_dataset(path, **keywords, mask_and_scale=False).v.data.name


def test_closing_the_chunked_dataset_closes_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lazy dataset holds open is given back once, when the dataset of dask arrays is closed."""
    from xzarr_backend.xarray_store import GroupStore

    closed = []
    monkeypatch.setattr(GroupStore, "close", lambda self: closed.append(self))
    with xz.open_zarr(dataset_of(3), consolidated=False):
        assert closed == []
    assert len(closed) == 1


@pytest.mark.parametrize("opened", ["from_zarr", "open_zarr", "open_dataset"])
def test_blocks_that_no_list_could_hold(opened: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask lists the blocks along each dimension; of more chunks than the limit several make a block, aligned."""
    import xarray as xr

    monkeypatch.setattr(chunk_grids, "MOST_BLOCKS", 1000)
    store: dict[str, bytes] = {}
    xz.create_group(store)
    array = xz.create_array(store, "v", shape=(10**5, 7), chunks=(3, 2), dtype="i2", dimension_names=("x", "y"))
    array[99_990:, 5] = range(10)
    data = {
        "from_zarr": lambda: xz.from_zarr(store, "v"),
        "open_zarr": lambda: xz.open_zarr(store, consolidated=False).v.data,
        "open_dataset": lambda: xr.open_dataset(store, engine="xzarr", consolidated=False, chunks={}).v.data,
    }[opened]()
    assert data.chunks[1] == (2, 2, 2, 1)
    assert set(data.chunks[0][:-1]) == {102}
    assert len(data.chunks[0]) <= 1000
    np.testing.assert_array_equal(data[99_985:].compute(scheduler="sync"), array[99_985:])


def test_an_array_of_more_chunks_than_fit_into_memory() -> None:
    """A header may claim any number of chunks."""
    store: dict[str, bytes] = {}
    xz.create_array(store, shape=(2**60,), chunks=(1,), dtype="i2")
    assert xz.from_zarr(store).numblocks == (chunk_grids.MOST_BLOCKS,)


def test_names_and_blocks_that_dask_would_stumble_over() -> None:
    array = xz.create_array({}, shape=(4,), dtype="i4", chunks=2)
    assert xz.from_zarr(array, name=False).name != xz.from_zarr(array, name=False).name
    for chunks in (0, "a lot", {0: "x"}, (1, 2, 3)):
        with pytest.raises(xz.MetadataError):
            xz.from_zarr(array, chunks=chunks)
