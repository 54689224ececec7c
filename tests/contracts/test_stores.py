"""The contract that every store keeps: one suite, run over all of them."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tests.forks import in_child
from tests.http_server import serve
from xzarr_backend.errors import ReadOnlyError, UnsupportedError, XzarrError
from xzarr_backend.stores import ByteRange, MappingStore, MemoryStore, Request, Store, open_store
from xzarr_backend.stores.local import LocalStore
from xzarr_backend.stores.zip import ZipStore

DATA = bytes(range(256))
OBJECTS = {"zarr.json": b"{}", "a/zarr.json": b"[1]", "a/c/0/0": DATA, "a/c/0/1": b"", "ab/c/0": b"other"}

Maker = Callable[[Path, str], Store]  # an empty folder of the test's own, a mode -> the store at that place


def _fsspec(protocol: str) -> Maker:
    def make(folder: Path, mode: str) -> Store:
        return open_store(f"{protocol}://{folder}", mode=mode)

    return make


def _dirfs(folder: Path, mode: str) -> Store:
    fsspec = pytest.importorskip("fsspec")
    from xzarr_backend.stores.fsspec import FsspecStore

    folders = fsspec.filesystem("dir", path=str(folder / "d"), fs=fsspec.filesystem("file"))
    return FsspecStore(folders, "", read_only=mode == "r")


def _async_fs(folder: Path, mode: str) -> Store:
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    from xzarr_backend.stores.fsspec import FsspecStore

    inner = AsyncFileSystemWrapper(fsspec.filesystem("memory"))
    return FsspecStore(inner, f"{folder}/async", read_only=mode == "r")


def _zarr(make_inner: Callable[[Any, Path], Any]) -> Maker:
    def make(folder: Path, mode: str) -> Store:
        return open_store(make_inner(pytest.importorskip("zarr.storage"), folder), mode=mode)

    return make


def _zarr_over_obstore(storage: Any, folder: Path) -> Any:
    stores = pytest.importorskip("obstore.store")
    return storage.ObjectStore(_kept.setdefault(str(folder), stores.MemoryStore()))


def _obstore(name: str) -> Maker:
    def make(folder: Path, mode: str) -> Store:
        stores = pytest.importorskip("obstore.store")
        if name == "LocalStore":
            from xzarr_backend.stores.obstore import ObstoreStore  # that of an absolute path opens as our own

            inner = stores.LocalStore(str(folder / "o"), mkdir=True, automatic_cleanup=True)
            return ObstoreStore(inner, read_only=mode == "r")
        return open_store(_kept.setdefault(str(folder), stores.MemoryStore()), mode=mode)

    return make


def _mapping(folder: Path, mode: str) -> Store:
    return open_store(_dictionary(folder), mode=mode)


def _memory(folder: Path, mode: str) -> Store:
    store = _kept.setdefault(str(folder), MemoryStore())
    if mode != "r":
        return store
    frozen = MemoryStore(read_only=True)
    frozen.inner = store.inner
    return frozen


_kept: dict[str, Any] = {}


def _dictionary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = _kept.setdefault(f"{folder} dict", {})
    return found


MAKERS: dict[str, Maker] = {
    "memory": _memory,
    "mapping": _mapping,
    "local": lambda folder, mode: open_store(folder / "x.zarr", mode=mode),
    "zip": lambda folder, mode: open_store(str(folder / "x.zip"), mode=mode),
    "fsspec memory": _fsspec("memory"),
    "fsspec folder": _dirfs,
    "fsspec async": _async_fs,
    "zarr MemoryStore": _zarr(lambda storage, folder: storage.MemoryStore(_dictionary(folder))),
    "zarr LocalStore": _zarr(lambda storage, folder: storage.LocalStore(str(folder / "z"))),
    "zarr LocalStore, wrapped": _zarr(lambda storage, folder: storage.WrapperStore(storage.LocalStore(folder / "z"))),
    "zarr ObjectStore": _zarr(_zarr_over_obstore),
    "obstore MemoryStore": _obstore("MemoryStore"),
    "obstore LocalStore": _obstore("LocalStore"),
}
FILLED = [*MAKERS, "zip reopened", "read-only mapping"]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """A function that opens the store of this test, writable unless told otherwise."""
    yield lambda mode="a": MAKERS[request.param](tmp_path, mode)
    _kept.clear()


@pytest.fixture
def empty(make: Callable[..., Store]) -> Store:
    """An empty store that can be written."""
    return make()


@pytest.fixture(params=FILLED)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that holds OBJECTS."""
    if request.param == "read-only mapping":
        yield open_store(MappingProxyType({key: np.frombuffer(v, "u1") for key, v in OBJECTS.items()}))
        return
    store = MAKERS[request.param.removesuffix(" reopened")](tmp_path, "a")
    for key, value in OBJECTS.items():
        store.set(key, value)
    if request.param == "zip reopened":
        store.close()
        store = open_store(str(tmp_path / "x.zip"))
    yield store
    store.close()
    _kept.clear()


def raw(value: Any) -> bytes | None:
    """Return a buffer as bytes."""
    return None if value is None else bytes(memoryview(value))


def test_get_returns_what_was_set(filled: Store) -> None:
    """Every object comes back, an empty one too."""
    assert {key: raw(filled.get(key)) for key in OBJECTS} == OBJECTS


@pytest.mark.parametrize("key", ["b", "a", "a/c", "a/c/0/0/0", "zarr.json/c", "a/c/1"])
def test_missing_objects_are_none(filled: Store, key: str) -> None:
    """Nothing there, a folder, and a place below an object are all no object."""
    assert filled.get(key) is None
    assert filled.get(key, ByteRange(0, 4)) is None
    assert filled.get(key, ByteRange(-4)) is None
    assert filled.size(key) is None
    assert filled.get_ranges(key, [ByteRange(0, 1), ByteRange(-1)])[1] is None


RANGES = [
    ByteRange(0, 4),
    ByteRange(3, 5),
    ByteRange(250, 100),
    ByteRange(250),
    ByteRange(0),
    ByteRange(-10),
    ByteRange(-10, 4),
    ByteRange(-300),
    ByteRange(-257),
    ByteRange(-300, 20),
    ByteRange(256, 4),
    ByteRange(300, 4),
    ByteRange(300),
    ByteRange(256),
    ByteRange(7, 0),
    ByteRange(0, 256),
]


def expected(wanted: ByteRange, data: bytes = DATA) -> bytes:
    """Return the range by slicing."""
    start = max(len(data) + wanted.start, 0) if wanted.start < 0 else wanted.start
    return data[start:] if wanted.length is None else data[start : start + wanted.length]


@pytest.mark.parametrize("wanted", RANGES, ids=str)
def test_ranges(filled: Store, wanted: ByteRange) -> None:
    """A range is what slicing gives: cut off at the end, empty behind it, counted from the end when negative."""
    assert raw(filled.get("a/c/0/0", wanted)) == expected(wanted)


def test_ranges_of_an_empty_object_are_empty(filled: Store) -> None:
    """An object without bytes is there, and every range of it is empty."""
    for wanted in RANGES:
        assert raw(filled.get("a/c/0/1", wanted)) == b""


def test_scratch_is_used_or_ignored_but_never_wrong(filled: Store) -> None:
    """What is returned is right, whether it lies in the caller's memory or not."""
    for length in (0, 10, 256, 1000):
        scratch = memoryview(bytearray(length))
        assert raw(filled.get("a/c/0/0", None, scratch)) == DATA
        assert raw(filled.get("a/c/0/0", ByteRange(5, 10), scratch)) == DATA[5:15]
        assert raw(filled.get("a/c/0/0", ByteRange(-5), scratch)) == DATA[-5:]


def test_get_many_keeps_order_and_misses(filled: Store) -> None:
    """The answers come in the order of the requests, None for what is missing, ranges joined or not."""
    keys = ["a/c/0/0", "nothing", "zarr.json", "a/c/0/0", "ab/c/0"] * 20
    ranges = [None, ByteRange(0, 2), ByteRange(-1), ByteRange(100, 7), ByteRange(1, 100)] * 20
    found = filled.get_many([Request(key, wanted) for key, wanted in zip(keys, ranges, strict=True)])
    assert [raw(f) for f in found] == [DATA, None, b"}", DATA[100:107], b"ther"] * 20
    assert filled.get_many([]) == []


def test_get_ranges_reads_many_ranges_in_any_order(filled: Store) -> None:
    """Ranges that overlap, touch, repeat or lie behind the end come back in their order."""
    stamp, found = filled.get_ranges("a/c/0/0", [*RANGES, ByteRange(4, 8), ByteRange(4, 8)])
    assert found is not None
    assert [raw(f) for f in found] == [expected(r) for r in [*RANGES, ByteRange(4, 8), ByteRange(4, 8)]]
    again, found = filled.get_ranges("a/c/0/0", [ByteRange(0, 1)], stamp)
    assert again == stamp
    assert found is not None and raw(found[0]) == b"\0"


def test_memory_that_was_stored_may_be_used_again(empty: Store) -> None:
    """Writers reuse the memory that they encode to, so no store keeps a view of it."""
    memory = np.arange(64, dtype="u1")
    empty.set("a/0", memory)
    first = bytes(memory)
    memory[:] = 7
    empty.set("a/1", memory[:32].data)
    memory[:] = 9
    assert (raw(empty.get("a/0")), raw(empty.get("a/1"))) == (first, b"\7" * 32)


def test_get_strided_joins_equal_pieces(filled: Store) -> None:
    """Equal pieces at equal distances come joined, as far as the object goes; without an object there is None."""
    whole = OBJECTS["a/c/0/0"]
    for starts, nbytes in ((range(0, 200, 50), 7), (range(3, 4), 40), (range(0), 4), (range(0, 600, 100), 90)):
        assert raw(filled.get_strided("a/c/0/0", starts, nbytes)) == b"".join(whole[at : at + nbytes] for at in starts)
    for missing in ("b", "a", "a/c", "a/c/0/0/0"):
        assert filled.get_strided(missing, range(0, 8, 4), 2) is None


def test_get_ranges_notices_a_replaced_object(empty: Store) -> None:
    """With the stamp of an object that was replaced nothing is returned, where the store has stamps."""
    empty.set("s", b"first")
    stamp, _ = empty.get_ranges("s", [ByteRange(0, 1)])
    empty.set("s", b"other")
    now, found = empty.get_ranges("s", [ByteRange(0, 1)], stamp)
    if stamp is None:
        assert found is not None and raw(found[0]) == b"o"
    else:
        assert now != stamp and found is None
        assert empty.get_ranges("s", [ByteRange(0, 1)], now) == (now, [b"o"])


def test_set_replaces_and_takes_any_buffer(empty: Store) -> None:
    """Bytes, bytearray, memoryview and arrays are stored; a later change of the caller's buffer changes nothing."""
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    empty.set("k", b"a long value to begin with")
    empty.set("k", array)
    before = array.tobytes()
    array[:] = 0
    assert raw(empty.get("k")) == before
    for value in (bytearray(b"xy"), memoryview(b"z"), np.zeros((0, 3)), b""):
        empty.set("k", value)
        assert raw(empty.get("k")) == bytes(value)
        assert empty.size("k") == memoryview(value).nbytes


def test_parts_are_stored_joined(empty: Store) -> None:
    """An object may be given in parts, empty ones too; a later change of their memory changes nothing."""
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    whole = b"ab" + array.tobytes() + b"cd"
    empty.set("a/k", b"a long value to begin with" * 9)
    empty.set_parts("a/k", [b"", b"ab", array, bytearray(b"c"), memoryview(b"d")])
    array[:] = 0
    assert raw(empty.get("a/k")) == whole and empty.size("a/k") == len(whole)
    empty.set_parts("a/k", [])
    assert raw(empty.get("a/k")) == b""


def test_set_if_absent_stores_once(empty: Store) -> None:
    """The first caller stores, all others do not."""
    assert empty.set_if_absent("d/k", b"one") is True
    assert empty.set_if_absent("d/k", b"two") is False
    assert raw(empty.get("d/k")) == b"one"


def test_delete(filled: Store) -> None:
    """A deleted object is gone, others are not; deleting nothing, or a folder, does nothing."""
    if filled.read_only:
        pytest.skip("read-only")
    filled.delete("a/c/0/0")
    filled.delete("a/c/0/0")
    filled.delete("nothing/at/all")
    filled.delete("a")
    assert filled.get("a/c/0/0") is None
    assert {key for key, _ in filled.walk("")} == set(OBJECTS) - {"a/c/0/0"}


def test_delete_prefix_leaves_siblings(filled: Store) -> None:
    """``a/`` goes with all below it, ``ab/`` stays; ``""`` is everything."""
    if filled.read_only:
        pytest.skip("read-only")
    filled.delete_prefix("nothing/")
    filled.delete_prefix("zarr.json/")
    filled.delete_prefix("a/")
    assert {key for key, _ in filled.walk("")} == {"zarr.json", "ab/c/0"}
    assert filled.list_dir("a/") == []
    filled.delete_prefix("")
    assert list(filled.walk("")) == []
    filled.set("a/new", b"1")
    assert raw(filled.get("a/new")) == b"1"


def test_list_dir(filled: Store) -> None:
    """Names are sorted, those that hold further names end in a slash; nothing is listed where nothing is."""
    assert filled.list_dir("") == ["a/", "ab/", "zarr.json"]
    assert filled.list_dir("a/") == ["c/", "zarr.json"]
    assert filled.list_dir("a/c/0/") == ["0", "1"]
    assert filled.list_dir("nothing/") == []
    assert filled.list_dir("zarr.json/") == []


def test_walk(filled: Store) -> None:
    """Every key below a prefix is found once, with its size where that is known."""
    assert sorted(key for key, _ in filled.walk("")) == sorted(OBJECTS)
    for key, size in filled.walk("a/"):
        assert key.startswith("a/")
        assert size in (len(OBJECTS[key]), None)
    assert len(list(filled.walk("a/"))) == 3
    assert list(filled.walk("nothing/")) == []


def test_size(filled: Store) -> None:
    """The size of every object is known."""
    assert {key: filled.size(key) for key in OBJECTS} == {key: len(value) for key, value in OBJECTS.items()}


def test_listing_sees_what_is_written_later(empty: Store) -> None:
    """No listing is kept: what is written after it appears in the next one."""
    assert empty.list_dir("") == []
    empty.set("g/zarr.json", b"{}")
    assert empty.list_dir("") == ["g/"]
    empty.set("g/x/zarr.json", b"{}")
    assert empty.list_dir("g/") == ["x/", "zarr.json"]


def test_lock_excludes_threads(empty: Store) -> None:
    """Two threads that hold the lock of one object in turn lose no update."""
    if empty.lock("k/n") is None:
        pytest.skip("this store offers no locks")
    empty.set("k/n", b"0")

    def work() -> None:
        for _ in range(25):
            lock = empty.lock("k/n")
            assert lock is not None
            with lock:
                empty.set("k/n", str(int(bytes(empty.get("k/n"))) + 1).encode())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raw(empty.get("k/n")) == b"100"
    assert [key for key, _ in empty.walk("")] == ["k/n"]


def test_threads_share_a_store(empty: Store) -> None:
    """Threads that write and read different objects do not disturb each other."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for place in range(10):
                empty.set(f"t/{number}/{place}", f"{number} {place}".encode())
                assert raw(empty.get(f"t/{number}/{place}")) == f"{number} {place}".encode()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(empty.walk(""))) == 40


WRITES: Mapping[str, Callable[[Store], object]] = {
    "set": lambda store: store.set("k", b""),
    "set_parts": lambda store: store.set_parts("k", [b"", b""]),
    "set_if_absent": lambda store: store.set_if_absent("k", b""),
    "delete": lambda store: store.delete("k"),
    "delete_prefix": lambda store: store.delete_prefix("k/"),
    "delete_prefix of all": lambda store: store.delete_prefix(""),
}


@pytest.mark.parametrize("write", WRITES)
def test_read_only_stores_refuse_every_write(make: Callable[..., Store], write: str) -> None:
    """Mode "r" refuses to store and to delete, even what is not there."""
    writable = make()
    writable.set("k", b"kept")
    writable.close()
    store = make("r")
    assert store.read_only
    with pytest.raises(ReadOnlyError, match="read-only"):
        WRITES[write](store)
    assert raw(store.get("k")) == b"kept"


def test_opening_nothing_is_not_an_error(make: Callable[..., Store]) -> None:
    """A place where nothing is yet opens for reading, and holds nothing."""
    store = make("r")
    assert store.get("zarr.json") is None
    assert store.list_dir("") == []
    assert list(store.walk("")) == []


def test_stores_pickle(filled: Store) -> None:
    """A store comes back from pickling as an equal one that reads the same, unless it says that it cannot."""
    if isinstance(filled, ZipStore) and not filled.read_only:
        with pytest.raises(Exception, match="open for writing"):
            pickle.dumps(filled)
        return
    try:
        raw_pickle = pickle.dumps(filled)
    except TypeError:
        assert "Memory" in filled.url or "mappingproxy" in filled.url
        return
    copy = pickle.loads(raw_pickle)
    assert raw(copy.get("a/c/0/0")) == DATA
    assert copy.read_only == filled.read_only
    if type(filled) is not MappingStore and filled.shared_between_processes:
        assert copy == filled and hash(copy) == hash(filled)


def test_dask_tokens_are_stable(filled: Store) -> None:
    """The same store has one token, also after pickling where the place is shared."""
    tokenize = pytest.importorskip("dask.base").tokenize
    assert tokenize(filled) == tokenize(filled)
    if filled.shared_between_processes and not (isinstance(filled, ZipStore) and not filled.read_only):
        assert tokenize(pickle.loads(pickle.dumps(filled))) == tokenize(filled)


def test_copying_gives_the_store_itself(filled: Store) -> None:
    """A store stands for a place: xarray's deep copies do not copy its objects."""
    import copy

    assert copy.copy(filled) is filled
    assert copy.deepcopy(filled) is filled


def test_stores_are_closed_and_used_again(filled: Store) -> None:
    """A closed store opens again when it is used again."""
    filled.close()
    assert raw(filled.get("a/c/0/0")) == DATA
    with filled as same:
        assert same is filled
    assert raw(filled.get("zarr.json")) == b"{}"


def test_different_places_are_different_stores(tmp_path: Path) -> None:
    """Equality is that of the places."""
    assert open_store(tmp_path / "a") == open_store(str(tmp_path / "a"))
    assert open_store(tmp_path / "a") != open_store(tmp_path / "b")
    assert open_store("memory://eq/a") == open_store("memory://eq/a", mode="a")
    assert open_store("memory://eq/a") != open_store("memory://eq/b")
    objects: dict[str, bytes] = {}
    assert open_store(objects) == open_store(objects)
    assert open_store(objects) != open_store({})
    assert MemoryStore() != MemoryStore()


@pytest.fixture(params=["http", "http that ignores ranges", "http without sizes"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """OBJECTS behind an HTTP server on this machine."""
    pytest.importorskip("aiohttp")
    local = LocalStore(tmp_path / "srv")
    for key, value in OBJECTS.items():
        local.set(key, value)
    with serve(tmp_path / "srv", ranges="ignores" not in request.param, sizes="without" not in request.param) as url:
        yield open_store(url + "/")


def test_http(remote: Store) -> None:
    """Objects, ranges, misses and sizes by HTTP, also from servers that ignore what they are asked for."""
    assert remote.concurrent and remote.read_only
    assert {key: raw(remote.get(key)) for key in OBJECTS} == OBJECTS
    assert remote.get("nothing") is None and remote.size("nothing") is None
    found = remote.get_many([Request("a/c/0/0", wanted) for wanted in RANGES])
    assert [raw(f) for f in found] == [expected(wanted) for wanted in RANGES]
    assert [raw(remote.get("a/c/0/0", wanted)) for wanted in RANGES] == [expected(wanted) for wanted in RANGES]
    assert raw(remote.get("a/c/0/1", ByteRange(-4))) == b""
    assert remote.size("a/c/0/0") == 256
    assert raw(pickle.loads(pickle.dumps(remote)).get("zarr.json")) == b"{}"
    with pytest.raises(UnsupportedError, match="cannot be listed"):
        remote.list_dir("")
    with pytest.raises(UnsupportedError, match="cannot be listed"):
        list(remote.walk(""))


def test_references(tmp_path: Path) -> None:
    """A kerchunk reference set reads like any other store, inline values and ranges of files alike."""
    (tmp_path / "data.bin").write_bytes(b"--" + DATA)
    refs = {
        "version": 1,
        "refs": {"zarr.json": "{}", "a/c/0": [str(tmp_path / "data.bin"), 2, 256], "a/c/1": ["/nowhere", 0, 4]},
    }
    (tmp_path / "refs.json").write_text(json.dumps(refs))
    store = open_store("reference://", storage_options={"fo": str(tmp_path / "refs.json")})
    assert raw(store.get("zarr.json")) == b"{}"
    assert [raw(store.get("a/c/0", wanted)) for wanted in RANGES] == [expected(wanted) for wanted in RANGES]
    assert store.get("b") is None and store.get("b", ByteRange(0, 2)) is None
    assert store.list_dir("") == ["a/", "zarr.json"]
    with pytest.raises(Exception, match="nowhere"):
        store.get("a/c/1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["fsspec async", "local", "fsspec memory"])
def test_stores_live_on_after_a_fork(tmp_path: Path, kind: str) -> None:
    """A forked child reads with the store that its parent has used before."""
    store = MAKERS[kind](tmp_path, "a")
    store.set("k", b"value")
    assert raw(store.get("k")) == b"value"
    assert in_child(lambda: raw(store.get_many([Request("k")])[0]) == b"value")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_http_lives_on_after_a_fork(remote: Store) -> None:
    """Sessions and loops are made anew in the child."""
    assert raw(remote.get("zarr.json")) == b"{}"
    assert in_child(lambda: raw(remote.get("zarr.json")) == b"{}")
    assert raw(remote.get("zarr.json")) == b"{}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("again", [False, True])
def test_a_library_without_its_threads_says_so_after_a_fork(tmp_path: Path, again: bool) -> None:
    """Requests of obstore would wait forever in the child; also those of a store that the child opens itself."""
    store = MAKERS["obstore LocalStore"](tmp_path, "a")
    store.set("k", b"value")

    def refused() -> bool:
        inherited = MAKERS["obstore LocalStore"](tmp_path, "a") if again else store
        calls = [inherited.get, inherited.size, inherited.list_dir, lambda key: list(inherited.walk(key))]
        for call in calls:
            with pytest.raises(XzarrError, match=r"(?s)obstore does not work in a process that was forked.*spawn"):
                call("k")
        return True

    assert in_child(refused)
    assert raw(store.get("k")) == b"value"
