"""Sessions of icechunk: what they hold, what they refuse, and changes that show when they are committed."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.forks import in_child
from tests.stores_fakes import FailingStore
from xzarr_backend.errors import NodeNotFoundError, RegionError, UnsupportedError, XzarrError
from xzarr_backend.stores import ByteRange, Request, open_store

icechunk = pytest.importorskip("icechunk")


@pytest.fixture(params=["memory", "folder"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty repository."""
    kinds = {"memory": icechunk.in_memory_storage, "folder": lambda: icechunk.local_filesystem_storage(str(tmp_path))}
    return icechunk.Repository.create(kinds[request.param]())


@pytest.fixture
def session(repository: Any) -> Any:
    """A session of the main branch, which has nothing in it."""
    return repository.writable_session("main")


def series(start: int, stop: int) -> xr.Dataset:
    """Return a dataset along ``t`` with another coordinate beside it."""
    values = np.arange(start * 2.0, stop * 2.0).reshape(-1, 2)
    return xr.Dataset({"a": (("t", "x"), values)}, coords={"t": np.arange(start, stop), "x": [5, 6]})


def opened(store: Any, **keywords: Any) -> xr.Dataset:
    """Return the dataset, loaded, as it would be given."""
    with xz.open_dataset(store, **keywords) as ds:
        return ds.load().drop_encoding()


@pytest.mark.parametrize("group", [None, "g/h"])
def test_datasets_are_written_appended_and_overwritten(repository: Any, session: Any, group: str | None) -> None:
    """All ways to write a dataset; a snapshot has what was written when it was committed, for zarr-python too."""
    xz.to_zarr(series(0, 2), session.store, group=group, encoding={"a": {"chunks": (4, 2)}})
    xz.to_zarr(series(2, 7), session.store, group=group, append_dim="t")
    first = session.commit("first")
    session = repository.writable_session("main")
    xz.to_zarr(series(7, 9).chunk(t=1), session.store, group=group, append_dim="t", safe_chunks=False)
    xz.to_zarr((series(1, 3) * 0).drop_vars("x"), session.store, group=group, region={"t": slice(1, 3)})
    session.commit("second")
    before = repository.readonly_session(snapshot_id=first).store
    xr.testing.assert_identical(opened(before, group=group), series(0, 7))
    after = repository.readonly_session("main").store
    expected = series(0, 9)
    expected["a"][1:3] = 0
    xr.testing.assert_identical(opened(after, group=group, chunks={}), expected)
    theirs = xr.open_zarr(after, group=group, consolidated=False).load()
    xr.testing.assert_identical(theirs.drop_encoding(), opened(after, group=group))
    session = repository.writable_session("main")
    xz.to_zarr(series(0, 3), session.store, group=group, mode="w")
    xr.testing.assert_identical(opened(session.store, group=group), series(0, 3))


@pytest.mark.parametrize("shards", [None, (4, 4)])
def test_arrays_change_as_numpy_does(session: Any, shards: Any) -> None:
    """Appending, growing, shrinking and assigning: chunks outside the shape are refused, so that the order matters."""
    expected = np.arange(35.0).reshape(7, 5)
    array = xz.create_array(session.store, "g/a", data=expected, chunks=(2, 2), shards=shards, fill_value=-1.0)
    expected = np.concatenate([expected, np.ones((3, 5))])
    assert array.append(np.ones((3, 5))) == (10, 5)
    np.testing.assert_array_equal(array[...], expected)
    array.resize((3, 3))
    array.resize((6, 7))
    grown = np.full((6, 7), -1.0)
    grown[:3, :3] = expected[:3, :3]
    np.testing.assert_array_equal(array[...], grown)
    array[1:5, 2:6] = grown[1:5, 2:6] = np.arange(16.0).reshape(4, 4)
    array[...] = grown
    np.testing.assert_array_equal(xz.open_array(session.store, "g/a")[...], grown)
    zarr = pytest.importorskip("zarr")
    np.testing.assert_array_equal(zarr.open_array(session.store, path="g/a", mode="r")[...], grown)


def test_a_failed_append_leaves_the_array_as_it_was(session: Any) -> None:
    """The shape goes back, and nothing that was stored behind it shows when the array grows again."""
    xz.create_array(session.store, "a", data=np.arange(5), chunks=2, fill_value=-1)
    inner = open_store(session.store, mode="r+")

    def fail(operation: str, key: str) -> OSError | None:
        return OSError("no space") if (operation, key) == ("set", "a/c/4") else None

    array = xz.open_array(FailingStore(inner, fail), "a", mode="r+")
    with pytest.raises(Exception, match="no space"):
        array.append(np.arange(5, 12))
    assert array.shape == xz.open_array(inner, "a").shape == (5,)
    array = xz.open_array(inner, "a", mode="r+")
    array.resize(12)
    np.testing.assert_array_equal(array[...], [0, 1, 2, 3, 4, *[-1] * 7])


def test_a_dataset_that_cannot_be_computed_is_not_appended(session: Any) -> None:
    """The shapes of all arrays go back."""
    xz.to_zarr(series(0, 3), session.store)
    new = series(3, 7)

    def fail(block: Any) -> Any:
        raise ValueError("cannot be computed")

    new["a"] = (new.a.dims, da.from_array(new.a.values).map_blocks(fail, dtype="f8", meta=np.empty((0, 0))))
    with pytest.raises(ValueError, match="cannot be computed"):
        xz.to_zarr(new, session.store, append_dim="t")
    xr.testing.assert_identical(opened(session.store), series(0, 3))
    delayed = xz.to_zarr(series(3, 7).chunk(), session.store, append_dim="t", compute=False)
    delayed.compute()
    xr.testing.assert_identical(opened(session.store), series(0, 7))


def test_members_that_are_named_as_chunks(session: Any) -> None:
    """The session takes ``c`` for a chunk of the root, and fails as there is none."""
    for path in ("c", "g", "g/c"):
        xz.create_group(session.store, path)
    xz.create_array(session.store, "h/c", data=np.arange(4), chunks=2)
    xz.create_array(session.store, "s", data=np.float32(1.5))
    store = open_store(session.store)
    assert store.list_dir("") == ["c/", "g/", "h/", "s/", "zarr.json"]
    assert store.list_dir("g/") == ["c/", "zarr.json"]
    assert store.list_dir("h/") == ["c/", "zarr.json"]
    assert store.list_dir("h/c/") == ["c/", "zarr.json"]
    assert store.list_dir("h/c/c/") == ["0", "1"]
    assert store.list_dir("s/") == ["c", "zarr.json"]
    assert sorted(key for key, _ in store.walk("h/")) == ["h/c/c/0", "h/c/c/1", "h/c/zarr.json", "h/zarr.json"]
    assert sorted(key for key, _ in store.walk("h/c/c/")) == ["h/c/c/0", "h/c/c/1"]
    assert list(store.walk("h/c/c/1/")) == list(store.walk("x/")) == list(store.walk("g/c/c/")) == []
    for key in ("h/c/c/7", "h/c/c", "x/zarr.json", ".zarray", "h/.zattrs", "h", "a b"):
        assert store.get(key) is None and store.size(key) is None
        assert store.get_many([Request(key), Request(key, ByteRange(0, 4))]) == [None, None]
    for key in ("c", "c/0", "g/c", "x/c/0"):
        assert store.size(key) is None
        with pytest.raises(NodeNotFoundError, match="no array"):  # not a chunk that was never stored
            store.get(key)
    assert store.size("h/c/c/1") == len(store.get("h/c/c/1") or b"")
    assert "c" in xz.open_group(session.store)
    assert float(xz.open_array(session.store, "s")[()]) == 1.5
    assert "c  (4) int64" in str(xz.open_group(session.store).tree())


def test_what_a_session_cannot_hold(session: Any) -> None:
    """Zarr v2, other chunk keys and journals are refused by name; the metadata are not consolidated."""
    with pytest.raises(UnsupportedError, match="Zarr v3"):
        xz.create_array(session.store, "a", data=np.arange(3), zarr_format=2)
    with pytest.raises(XzarrError, match="keys such as"):
        xz.create_array(session.store, "b", data=np.arange(3), chunk_key_encoding={"name": "v2"})
    with pytest.raises(XzarrError, match="cannot keep"):
        xz.to_zarr(series(0, 2).chunk(t=1), session.store, group="r", resume=True)
    with pytest.raises(UnsupportedError, match="consolidated"):
        xz.consolidate_metadata(session.store)


def test_an_error_is_never_a_missing_chunk(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the session cannot fetch is not the fill value."""
    array = xz.create_array(session.store, "a", data=np.arange(4), chunks=2)
    get = type(session.store).get

    async def fail(self: Any, key: str, *arguments: Any, **keywords: Any) -> Any:
        if "/c/" in key:
            raise icechunk.IcechunkError("the storage is away")
        return await get(self, key, *arguments, **keywords)

    monkeypatch.setattr(type(session.store), "get", fail)
    with pytest.raises(Exception, match="the storage is away"):
        array[...]


def test_threads_share_a_session(session: Any) -> None:
    """Each takes the store of the session anew; of parts of one chunk and of appends nothing is lost."""
    xz.create_array(session.store, "a", shape=(64,), chunks=(64,), dtype="i4")
    xz.to_zarr(series(0, 1), session.store, group="g", encoding={"a": {"chunks": (4, 2)}, "t": {"chunks": (3,)}})
    stores = [open_store(session.store, mode="r+") for _ in range(3)]
    assert len({store.name_of("a/zarr.json") for store in stores}) == len(set(stores)) == 1

    def write(at: int) -> None:
        xz.open_array(session.store, "a", mode="r+")[at] = at + 1

    def append(first: int) -> None:
        for start in range(first, first + 6, 2):
            while True:
                try:
                    xz.to_zarr(series(start, start + 2), session.store, group="g", append_dim="t")
                    break
                except RegionError:
                    threading.Event().wait(0.001)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(64)))
        list(pool.map(append, range(1, 25, 6)))
    np.testing.assert_array_equal(xz.open_array(session.store, "a")[...], np.arange(1, 65))
    xr.testing.assert_identical(opened(session.store, group="g").sortby("t"), series(0, 25))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_told_that_it_cannot_go_on(repository: Any, session: Any) -> None:
    """icechunk has no threads there, and its requests would wait forever; opening would, too."""
    xz.to_zarr(series(0, 3), session.store)
    session.commit("first")
    snapshot = repository.readonly_session("main").store
    array = xz.open_array(snapshot, "a")

    def refused() -> bool:
        for call in (lambda: array[...], lambda: xz.open_dataset(snapshot), lambda: list(array.store.walk(""))):
            with pytest.raises(XzarrError, match="icechunk does not work in a process that was forked"):
                call()
        return True

    assert in_child(refused)
    assert array[...].sum() == series(0, 3).a.sum()


@pytest.mark.parametrize("repository", ["folder"], indirect=True)
def test_snapshots_go_to_other_processes_and_sessions_do_not(repository: Any, session: Any) -> None:
    """Equal where they are the same; a session that is written needs its owner to merge what others wrote."""
    xz.to_zarr(series(0, 3), session.store)
    writable = open_store(session.store, mode="r+")
    assert writable == open_store(session.store, mode="r+") and not writable.shared_between_processes
    assert writable != open_store(repository.writable_session("main").store)
    with pytest.raises(ValueError, match="fork"):
        pickle.dumps(writable)
    session.commit("first")
    store = open_store(repository.readonly_session("main").store)
    again = open_store(repository.readonly_session("main").store)
    assert store.shared_between_processes and store.identity == again.identity
    copy = pickle.loads(pickle.dumps(store))
    assert copy.identity == store.identity and copy.read_only
    xr.testing.assert_identical(opened(copy), series(0, 3))
    lazy = xz.from_zarr(store, "a", chunks=1)
    assert lazy.name == xz.from_zarr(again, "a", chunks=1).name
    assert float(lazy.sum().compute(scheduler="processes")) == float(series(0, 3).a.sum())
