"""S3 as s3fs speaks it: requests for each object, and what others have stored since a listing."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.forks import in_child
from tests.s3_server import Bucket, serve_s3
from xzarr_backend.stores import ByteRange, Request, Store, open_store
from xzarr_backend.stores.fsspec import FsspecStore

pytest.importorskip("s3fs")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """An empty bucket."""
    with serve_s3() as served:
        yield served


def opened(bucket: Bucket, url: str = "s3://bucket/a", **options: Any) -> Store:
    """Return a writable store with a filesystem of its own, as another process would have it."""
    return open_store(url, mode="a", storage_options={**bucket.options(), "skip_instance_cache": True, **options})


def series(start: int, stop: int) -> xr.Dataset:
    """Return a dataset along ``t``."""
    values = np.arange(start * 2.0, stop * 2.0).reshape(-1, 2)
    return xr.Dataset({"a": (("t", "x"), values)}, coords={"t": np.arange(start, stop), "x": [5, 6]})


def by_obstore(bucket: Bucket, prefix: str = "a") -> Any:
    """Return a store of obstore."""
    stores = pytest.importorskip("obstore.store")
    keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
    return stores.S3Store("bucket", prefix=prefix, endpoint=bucket.url, client_options={"allow_http": True}, **keys)


def given(kind: str, bucket: Bucket) -> tuple[Any, dict[str, Any]]:
    """Return what a user gives for the place, and keywords."""
    if kind == "s3fs":
        return "s3://bucket/a", {"storage_options": bucket.options()}
    inner = by_obstore(bucket)
    return (pytest.importorskip("zarr.storage").ObjectStore(inner) if kind == "zarr ObjectStore" else inner), {}


@pytest.mark.parametrize("kind", ["s3fs", "obstore", "zarr ObjectStore"])
def test_datasets(bucket: Bucket, kind: str) -> None:
    """Written, appended to, overwritten, read."""
    place, options = given(kind, bucket)
    for first in (0, 1):  # the second time there is one already
        xz.to_zarr(series(first, 2), place, mode="w", **options)
        xz.to_zarr(series(2, 5), place, append_dim="t", **options)
        with xz.open_dataset(place, chunks={}, **options) as ds:
            xr.testing.assert_identical(ds.load().drop_encoding(), series(first, 5))
    assert "a/a/c/1/0" in bucket.objects and not any(".xzarr" in key for key in bucket.objects)


@pytest.mark.parametrize("kind", ["s3fs", "obstore"])
def test_threads_write_parts_of_one_chunk(bucket: Bucket, kind: str) -> None:
    """Each of them opens the place itself, and no element is lost."""
    place, options = given(kind, bucket)
    xz.create_array(place, "x", shape=(32,), chunks=(32,), dtype="i4", **options)

    def write(at: int) -> None:
        mine, options = given(kind, bucket)
        xz.open_array(mine, "x", mode="r+", **options)[at] = at + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(32)))
    np.testing.assert_array_equal(xz.open_array(place, "x", **options)[...], np.arange(1, 33))


def test_stores_of_obstore_that_are_made_alike_are_one_place(bucket: Bucket) -> None:
    """They do not pickle alike; two that reach one object by different prefixes know it by one name."""
    stores = [open_store(by_obstore(bucket)) for _ in range(8)]
    assert len(set(stores)) == len({store.identity for store in stores}) == 1
    deeper, other = (open_store(by_obstore(bucket, prefix)) for prefix in ("a/b", "c"))
    assert deeper.name_of("k") == stores[0].name_of("b/k") != other.name_of("b/k")
    assert len({stores[0].identity, deeper.identity, other.identity}) == 3


@pytest.mark.parametrize("path", ["", "deep/er/"])
def test_each_object_is_one_request(bucket: Bucket, path: str) -> None:
    """A chunk is one GET, whether it is there or not, and its size is not asked for; so are the parts of a shard."""
    url = f"s3://bucket/{path}a"
    options = bucket.options()
    chunks = xz.create_array(url, "c", shape=(6,), chunks=(2,), dtype="i4", fill_value=-1, storage_options=options)
    chunks[:4] = [1, 2, 3, 4]
    shards = np.arange(64, dtype="i4").reshape(8, 8)
    xz.create_array(url, "s", data=shards, chunks=(2, 2), shards=(8, 8), compressors=[], storage_options=options)
    array, sharded = (xz.open_array(url, name, storage_options=options) for name in "cs")
    bucket.asked.clear()
    np.testing.assert_array_equal(array[...], [1, 2, 3, 4, -1, -1])
    assert sorted(bucket.asked) == [("GET", f"{path}a/c/c/{i}") for i in range(3)]
    bucket.asked.clear()
    np.testing.assert_array_equal(sharded[...], shards)
    assert bucket.asked == [("GET", f"{path}a/s/c/0/0")]
    sharded = xz.open_array(url, "s", storage_options=options)
    bucket.asked.clear()
    assert sharded[5, 5] == shards[5, 5]
    assert bucket.asked == [("GET", f"{path}a/s/c/0/0")] * 2  # its index, and the chunk


def test_what_others_have_stored_since_a_listing(bucket: Bucket) -> None:
    """s3fs answers from the last listing: an object would be missing, of its old size, or there although it is gone."""
    ours, theirs = opened(bucket), opened(bucket)
    theirs.set("g/k", b"0")
    assert ours.list_dir("g/") == ["k"]
    theirs.set("g/n", b"0123456789")
    assert ours.get("g/n") == b"0123456789"
    assert ours.get_many([Request("g/n"), Request("g/n", ByteRange(2, 0))]) == [b"0123456789", b""]
    assert ours.list_dir("g/") == ["k", "n"]
    theirs.set("g/n", b"01234")
    assert ours.get("g/n") == b"01234" and ours.size("g/n") == 5
    assert ours.get("g/n", ByteRange(7, 3)) == b"" and ours.get("g/n", ByteRange(-2)) == b"34"
    assert list(ours.walk("")) == [("g/k", 1), ("g/n", 5)]
    theirs.delete("g/n")
    assert ours.size("g/n") is None and ours.get("g/n") is None
    assert ours.list_dir("g/") == ["k"]
    theirs.delete("g/k")
    assert ours.set_if_absent("g/k", b"ours")
    assert not theirs.set_if_absent("g/k", b"theirs") and bucket.objects["a/g/k"] == b"ours"
    theirs.set("g/h/k", b"1")
    assert ours.list_dir("g/") == ["h/", "k"] and ours.list_dir("g/h/") == ["k"]
    theirs.set("g/h/n", b"1")
    ours.delete_prefix("g/")
    assert bucket.objects == {}


def test_deleting_takes_the_name_and_few_requests(bucket: Bucket) -> None:
    """What lies below a prefix is looked for twice, however much it is; a name that looks like a pattern is a name."""
    store = opened(bucket)
    for key in ("a1/k", "a[1]/k", "a[1]/n/k", "b/k", "b/n/k"):
        store.set(key, b"1")
    bucket.asked.clear()
    store.delete_prefix("b/")
    assert [asked for asked in bucket.asked if asked[0] != "DELETE"] == [("LIST", "a/b/")] * 2
    store.delete_prefix("a[1]/")
    assert list(bucket.objects) == ["a/a1/k"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_connections_of_its_parent_alone(bucket: Bucket) -> None:
    """It makes its own; what it has inherited is not ended there, which would keep the parent waiting."""
    store = opened(bucket)
    store.set("k", b"1")
    assert isinstance(store, FsspecStore)
    inherited = weakref.ref(store.fs)

    def read() -> bool:
        found = store.get("k")
        gc.collect()
        return found == b"1" and store.fs is not inherited() is not None

    assert in_child(read)
    assert store.get("k") == b"1" and store.fs is inherited()


def test_ranges_behind_the_end_by_obstore(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an object ends before them is asked for many at once, and never by a call that others wait for."""
    store = open_store(by_obstore(bucket), mode="a")
    store.set("k", b"0123456789")
    blocking: list[object] = []
    monkeypatch.setattr(pytest.importorskip("obstore"), "head", lambda *asked: blocking.append(asked))
    wanted = [ByteRange(10, 5), ByteRange(30), ByteRange(-4), ByteRange(4, 0)]
    assert store.get_many([Request("k", r) for r in wanted]) == [b"", b"", b"6789", b""]
    assert store.get_many([Request("nothing", r) for r in wanted]) == [None] * 4
    assert blocking == []


def test_an_array_that_others_fill(bucket: Bucket) -> None:
    """Chunks that are stored after a reader has listed the array are not the fill value to it."""
    options = {**bucket.options(), "skip_instance_cache": True}
    xz.create_array("s3://bucket/a", "x", shape=(4,), chunks=(2,), dtype="i4", storage_options=options)
    writer = xz.open_array("s3://bucket/a", "x", mode="r+", storage_options=options)
    writer[:2] = [1, 2]
    reader = xz.open_group("s3://bucket/a", storage_options=options)["x"]
    assert reader.store.list_dir("x/c/") == ["0"] and list(reader) == [1, 2, 0, 0]
    writer[2:] = [3, 4]
    assert list(reader) == [1, 2, 3, 4]


def test_of_two_that_create_an_object_one_succeeds(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one conditional request, also when neither saw the other one's before."""
    stores = [opened(bucket), opened(bucket)]
    for store in stores:
        monkeypatch.setattr(store.fs, "exists", lambda path: False)
    assert [store.set_if_absent("k", bytes([n])) for n, store in enumerate(stores)] == [True, False]
    assert bucket.objects == {"a/k": b"\x00"}
