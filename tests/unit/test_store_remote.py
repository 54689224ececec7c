"""Remote and foreign stores: many requests at once, failures, and what other packages promise."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.http_server import running, serve
from xzarr_backend.errors import ReadOnlyError, UnsupportedError, XzarrError
from xzarr_backend.stores import ByteRange, MemoryStore, Request, open_store
from xzarr_backend.stores.concurrency import WINDOW, Gate, in_windows, is_transient, on_loop, retried
from xzarr_backend.stores.fsspec import FsspecStore

pytest.importorskip("fsspec")


class Flaky:
    """A filesystem that counts, and fails as often as it is told to with ``error``."""

    protocol = "flaky"
    async_impl = False
    _fs_token = "flaky"

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left, self.calls = error, times, 0

    def unstrip_protocol(self, path: str) -> str:
        return f"flaky://{path}"

    def invalidate_cache(self, path: str | None = None) -> None:
        pass

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return b"0123456789"[start:end]

    def info(self, path: str) -> dict[str, Any]:
        return {"size": 10, "type": "file"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("xzarr_backend.stores.concurrency.PAUSE", 0.0)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("slow")])
def test_transient_failures_are_tried_three_times(error: Exception) -> None:
    """A connection that breaks twice still gives the object; at the third time it is an error."""
    fs = Flaky(error, 2)
    assert FsspecStore(fs, "x").get("k") == b"0123456789"
    assert fs.calls == 3
    fs = Flaky(error, 3)
    with pytest.raises(type(error)):
        FsspecStore(fs, "x").get("k", ByteRange(0, 4))
    assert fs.calls == 3


@pytest.mark.parametrize("error", [PermissionError("403"), OSError("disk"), KeyError("k"), ConnectionRefusedError()])
def test_other_failures_are_raised_at_once(error: Exception) -> None:
    """What would fail again is not tried again, and is never taken for a missing object."""
    for wanted in (None, ByteRange(2, 3), ByteRange(-3)):
        fs = Flaky(error, 1)
        with pytest.raises(type(error)):
            FsspecStore(fs, "x").get("k", wanted)
        assert fs.calls == 1


def test_a_range_that_is_refused_behind_the_end_is_empty() -> None:
    """A filesystem that raises for a range behind the end means that there are no bytes."""
    assert FsspecStore(Flaky(OSError("416"), 1), "x").get("k", ByteRange(10, 5)) == b""


def test_windows_are_bounded_and_keep_order() -> None:
    """Many requests run at once, but never more than the window."""
    running, most = 0, 0

    async def fetch(request: Request) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return request.key

    requests = [Request(str(n)) for n in range(5 * WINDOW)]
    assert on_loop(in_windows(fetch, requests)) == [request.key for request in requests]
    assert most == WINDOW


def test_the_first_error_ends_a_window() -> None:
    """No request is begun after one has failed, and the error is the one that was raised."""
    begun = []

    async def fetch(request: Request) -> None:
        begun.append(request)
        await asyncio.sleep(0)
        raise OSError("first")

    with pytest.raises(OSError, match="first"):
        on_loop(in_windows(fetch, [Request(str(n)) for n in range(10 * WINDOW)]))
    assert len(begun) <= 2 * WINDOW


def test_stores_work_within_a_running_loop() -> None:
    """In a notebook a loop runs already: reading works there."""
    from xzarr_backend.stores.foreign import AsyncStore  # loaded before the loop runs

    zarr = pytest.importorskip("zarr.storage")
    store = AsyncStore(zarr.MemoryStore())

    async def cell() -> object:
        store.set("k", b"v")
        return bytes(store.get("k"))

    assert asyncio.run(cell()) == b"v"


def test_waiting_for_the_loop_on_the_loop_is_refused() -> None:
    """What would wait for itself for ever raises."""

    async def inner() -> None: ...

    async def outer() -> None:
        on_loop(inner())

    with pytest.raises(XzarrError, match="within fsspec's own loop"):
        on_loop(outer())


def test_transient_errors_of_aiohttp() -> None:
    """A server that hangs up is tried again; a server that is not there is not."""
    aiohttp = pytest.importorskip("aiohttp")
    assert is_transient(aiohttp.ServerDisconnectedError())
    assert is_transient(aiohttp.ClientPayloadError())
    assert not is_transient(ValueError())
    assert retried(lambda: 1) == 1


def test_http_errors(tmp_path: Path) -> None:
    """A broken connection is tried again; forbidden and broken servers raise, they are not missing objects."""
    aiohttp = pytest.importorskip("aiohttp")
    for name in ("once", "forbidden", "broken"):
        (tmp_path / name).write_bytes(b"0123456789")
    with serve(tmp_path, status={"once": 0, "forbidden": 403, "broken": 500}) as url:
        store = open_store(url)
        assert store.get("once") == b"0123456789"
        for key, wanted in [
            ("forbidden", None),
            ("broken", None),
            ("forbidden", ByteRange(0, 2)),
            ("broken", ByteRange(-2)),
        ]:
            with pytest.raises(aiohttp.ClientResponseError):
                store.get(key, wanted)
        with pytest.raises(aiohttp.ClientResponseError):
            store.get_many([Request("once"), Request("broken")])


def test_the_whole_object_for_a_range_by_https(tmp_path: Path) -> None:
    """fsspec called its class by the one scheme that was used first; ranges are looked at with either."""
    pytest.importorskip("aiohttp")
    (tmp_path / "k").write_bytes(b"0123456789")
    fs = pytest.importorskip("fsspec").filesystem("https", skip_instance_cache=True)
    fs.protocol = "https"
    with serve(tmp_path, ranges=False) as url:
        store = FsspecStore(fs, url)
        assert [store.get("k", ByteRange(start)) for start in (4, -3)] == [b"456789", b"789"]


@pytest.mark.parametrize(
    ("wanted", "sent", "fits"),
    [
        (ByteRange(4, 2), "bytes 4-5/10", True),
        (ByteRange(4, 2), "bytes 4-5/*", True),
        (ByteRange(4, 2), "", True),
        (ByteRange(4, 2), "bytes 0-5/10", False),
        (ByteRange(4, 2), "bytes 4-8/10", False),
        (ByteRange(4, 2), "bytes 4-4/10", False),
        (ByteRange(4, 2), "bytes 5-6/*", False),
        (ByteRange(8, 5), "Bytes 8-9/10", True),
        (ByteRange(4), "bytes 4-9/10", True),
        (ByteRange(4), "bytes 0-9/10", False),
        (ByteRange(-3), "bytes 7-9/10", True),
        (ByteRange(-3), "bytes 7-9/*", True),
        (ByteRange(-30), "bytes 0-9/10", True),
        (ByteRange(-3), "bytes 0-2/10", False),
        (ByteRange(-3), "bytes 6-9/10", False),
    ],
    ids=str,
)
def test_another_range_than_was_asked_for(wanted: ByteRange, sent: str, fits: bool) -> None:
    """A server says which bytes it sends: what a confused cache sends instead is an error, not data."""
    pytest.importorskip("aiohttp")
    data = bytes(range(10))
    first, last = map(int, sent[6:].partition("/")[0].split("-")) if sent else (4, 5)

    class Server(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(206)
            if sent:
                self.send_header("Content-Range", sent)
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(data[first : last + 1])

    with running(Server) as url:
        store = open_store(url)
        if fits:
            assert bytes(store.get("k", wanted) or b"") == data[first : last + 1]
        else:
            with pytest.raises(
                XzarrError, match=rf"asked for bytes={wanted.start}.* and sent bytes {first}-"
            ) as caught:
                store.get("k", wanted)
            assert caught.value.where == f"{url}/k"


def test_http_cannot_be_written(tmp_path: Path) -> None:
    """A server that only gives refuses to take, by name."""
    pytest.importorskip("aiohttp")
    with serve(tmp_path) as url:
        store = open_store(url, mode="a")
        with pytest.raises(UnsupportedError, match="cannot write"):
            store.set("k", b"1")


def test_zip_archives_by_http(tmp_path: Path) -> None:
    """A chain of filesystems: an archive that lies on a server."""
    pytest.importorskip("aiohttp")
    with open_store(tmp_path / "x.zip", mode="w") as local:
        local.set("a/k", b"0123456789")
        local.set("zarr.json", b"{}")
    with serve(tmp_path) as url:
        store = open_store(f"zip::{url}/x.zip")
        assert store.get("a/k", ByteRange(-3)) == b"789"
        assert store.get("nothing") is None
        assert store.list_dir("") == ["a/", "zarr.json"]
        assert sorted(store.walk("")) == [("a/k", 10), ("zarr.json", 2)]
        copy = pickle.loads(pickle.dumps(store))
        assert copy.get("zarr.json") == b"{}"


def test_caches_in_front_of_a_server(tmp_path: Path) -> None:
    """``simplecache::`` keeps files, and reads the same."""
    pytest.importorskip("aiohttp")
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "k").write_bytes(b"0123456789")
    with serve(tmp_path / "srv") as url:
        store = open_store(
            f"simplecache::{url}", storage_options={"simplecache": {"cache_storage": str(tmp_path / "cache")}}
        )
        assert store.get("k") == b"0123456789"
        assert store.get("k", ByteRange(2, 3)) == b"234"
        assert store.get_many([Request("k", ByteRange(-2)), Request("nothing")]) == [b"89", None]


def test_neighbouring_ranges_share_a_request() -> None:
    """Ranges close together are fetched as one, those far apart are not."""
    from fsspec.asyn import AsyncFileSystem

    data = np.random.default_rng(0).bytes(1_000_000)
    asked: list[tuple[int | None, int | None]] = []

    class Counting(AsyncFileSystem):  # type: ignore[misc]
        async def _cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
            asked.append((start, end))
            return data[start:end]

    store = FsspecStore(Counting(), "/n")
    ranges = [ByteRange(100, 50), ByteRange(0, 100), ByteRange(900_000, 10), ByteRange(400, 5), ByteRange(-5)]
    _, found = store.get_ranges("k", ranges)
    assert found is not None
    assert [bytes(f) for f in found] == [data[100:150], data[:100], data[900_000:900_010], data[400:405], data[-5:]]
    assert sorted(asked, key=str) == sorted([(-5, None), (0, 405), (900_000, 900_010)], key=str)


def test_foreign_stores_keep_their_rules() -> None:
    """Read-only stays read-only, whatever the mode; consolidated metadata are left alone where they are unwanted."""
    zarr = pytest.importorskip("zarr.storage")
    inner = zarr.MemoryStore({}, read_only=True)
    store = open_store(inner, mode="a")
    assert store.read_only
    with pytest.raises(ReadOnlyError):
        store.set("k", b"1")

    class Icy(zarr.MemoryStore):  # type: ignore[misc, name-defined]
        supports_consolidated_metadata = False
        supports_listing = False

    store = open_store(Icy(), mode="w")
    assert not store.supports_consolidated_metadata
    with pytest.raises(UnsupportedError, match="cannot be listed"):
        store.list_dir("")


def test_a_failure_within_a_foreign_store_is_no_missing_object() -> None:
    """A key that the store itself misses (a lost setting) says nothing of the object."""
    zarr = pytest.importorskip("zarr.storage")

    class Broken(zarr.MemoryStore):  # type: ignore[misc, name-defined]
        async def get(self, key: str, *rest: Any, **options: Any) -> Any:
            return {}["token"] if "/c/" in key else await super().get(key, *rest, **options)

    store = Broken()
    xz.create_array(store, "a", data=np.arange(1, 9), chunks=4)
    with pytest.raises(KeyError, match="token"):
        open_store(store).get("a/c/0")
    with pytest.raises(xz.ChunkError, match="token"):
        xz.open_array(store, "a")[...]
    assert open_store(store).get("a/other") is None


def test_stores_of_zarr_over_fsspec_use_our_own_loop() -> None:
    """A FsspecStore of zarr-python is opened as the place that it stands for."""
    zarr = pytest.importorskip("zarr.storage")
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    fs = AsyncFileSystemWrapper(fsspec.filesystem("memory"), asynchronous=True)
    store = open_store(zarr.FsspecStore(fs, path="/wrapped"), mode="w")
    assert isinstance(store, FsspecStore)
    store.set("k", b"1")
    assert store.get("k") == b"1"
    store.delete_prefix("")


def test_stores_of_zarr_are_the_places_that_they_stand_for(tmp_path: Path) -> None:
    """A folder has our locks and our speed; read-only stays read-only. Others are used as they are."""
    zarr = pytest.importorskip("zarr.storage")
    from xzarr_backend.stores.foreign import AsyncStore
    from xzarr_backend.stores.local import LocalStore

    store = open_store(zarr.LocalStore(tmp_path / "a"), mode="a")
    assert store == LocalStore(tmp_path / "a") and not store.read_only
    assert open_store(zarr.LocalStore(tmp_path / "a", read_only=True), mode="a").read_only
    assert type(open_store(zarr.LoggingStore(zarr.LocalStore(tmp_path / "a")))) is AsyncStore

    class Own(zarr.LocalStore):  # type: ignore[misc, name-defined]
        """Maybe with rules of its own."""

    assert type(open_store(Own(tmp_path / "a"))) is AsyncStore


def test_archives_of_zarr_are_opened(tmp_path: Path) -> None:
    """zarr-python opens them at the first use, and fails before."""
    zarr = pytest.importorskip("zarr.storage")
    xz.create_array(tmp_path / "a.zip", "x", data=np.arange(3))
    store = zarr.ZipStore(tmp_path / "a.zip", mode="r", read_only=True)
    np.testing.assert_array_equal(xz.open_array(store, "x")[...], np.arange(3))
    written = zarr.ZipStore(tmp_path / "b.zip", mode="w")
    xz.create_array(written, "x", data=np.arange(3))
    written.close()
    np.testing.assert_array_equal(xz.open_array(tmp_path / "b.zip", "x")[...], np.arange(3))


def test_stores_that_list_groups_only() -> None:
    """VirtualiZarr's know neither whether a key is there nor what lies below an array."""
    zarr = pytest.importorskip("zarr.storage")
    inner = zarr.MemoryStore()
    xz.create_array(inner, "g/x", data=np.arange(3), chunks=1)

    class Virtual(zarr.MemoryStore):  # type: ignore[misc, name-defined]
        async def exists(self, key: str) -> bool:
            raise NotImplementedError

    store = Virtual(inner._store_dict, read_only=True)
    assert open_store(store).list_dir("g/") == ["x/", "zarr.json"]
    np.testing.assert_array_equal(xz.open_group(store)["g"]["x"][...], np.arange(3))


def test_memory_stores_pickle_within_a_process_as_themselves() -> None:
    """In one process an unpickled memory store is the same place; elsewhere it is a copy."""
    store = MemoryStore({"k": b"1"})
    same = pickle.loads(pickle.dumps(store))
    same.set("k", b"2")
    assert store.get("k") == b"2" and same == store and not store.shared_between_processes
    frozen = pickle.dumps(store)
    del same, store
    copy = pickle.loads(frozen)
    assert copy.get("k") == b"2"


@pytest.mark.parametrize("chain", ["memory://", "simplecache::memory://"])
def test_memory_of_fsspec_is_carried_to_other_processes(chain: str) -> None:
    """There it would be empty, and all chunks missing; in the same process it stays the same place."""
    values = np.arange(6.0)
    made = xz.create_array("memory://carried", data=values, chunks=4, overwrite=True)
    store = open_store(f"{chain}carried", mode="r")
    frozen = pickle.dumps(xz.open_array(store))
    made[0] = 7
    assert "::" in chain or pickle.loads(frozen)[0] == 7
    reads = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[...].tolist())"
    printed = subprocess.run([sys.executable, "-c", reads], input=frozen, capture_output=True, check=True).stdout
    assert printed.decode().strip() == str(values.tolist())


def test_what_runs_alone() -> None:
    """It waits for those that run beside each other, and nobody begins before it has ended."""
    gate = Gate()
    running: list[str] = []

    def alone() -> None:
        with gate.alone():
            assert running == []
            running.append("alone")
            assert not began.wait(0.05)
            running.remove("alone")

    def beside() -> None:
        with gate.beside_others():
            began.set()
            assert running == []

    began = threading.Event()
    with gate.beside_others(), gate.beside_others():
        running.append("beside")
        first = threading.Thread(target=alone)
        first.start()
        while not gate._waiting:
            threading.Event().wait(0.001)
        second = threading.Thread(target=beside)
        second.start()
        assert not began.wait(0.05)
        running.remove("beside")
    for thread in (first, second):
        thread.join(60)
    assert began.is_set() and running == []
    with pytest.raises(ValueError), gate.alone():
        raise ValueError

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with gate.beside_others(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate._changed, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt), gate.alone():
            pass
    with gate.beside_others():
        pass
    with gate.alone():
        pass


# --- what cannot be asked is not missing -----------------------------------------------------------------------------


def _guarded() -> Any:
    """Return a filesystem that raises ``error`` for what it is asked of paths that hold ``closed``.

    All else is what the base class of fsspec makes of it, as for SFTP, SMB, FTP and WebDAV.
    """
    from fsspec import AbstractFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    class Guarded(MemoryFileSystem):  # type: ignore[misc]
        protocol = "guarded"
        cachable = False
        closed, error = "nowhere", OSError("no answer")

        def __init__(self) -> None:
            super().__init__()
            self.store: dict[str, Any] = {}
            self.pseudo_dirs = [""]

        find, walk, rm = AbstractFileSystem.find, AbstractFileSystem.walk, AbstractFileSystem.rm

        def _check(self, path: str) -> None:
            if self.closed in f"{path}/":
                raise self.error

        def info(self, path: str, **options: Any) -> Any:
            self._check(path)
            return super().info(path, **options)

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            self._check(path)
            return super().ls(path, detail, **options)

    return Guarded()


def _over(fs: Any, kind: str) -> FsspecStore:
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.dirfs import DirFileSystem

    if kind == "folder":
        return FsspecStore(DirFileSystem("/g", fs), "")
    return FsspecStore(AsyncFileSystemWrapper(fs) if kind == "async" else fs, "/g")


@pytest.mark.parametrize("error", [TimeoutError("slow"), PermissionError("403")])
@pytest.mark.parametrize("kind", ["plain", "folder", "async"])
def test_what_cannot_be_asked_is_not_missing(kind: str, error: Exception) -> None:
    """A server that does not answer keeps nothing from being deleted, replaced or listed without a word."""
    fs = _guarded()
    store = _over(fs, kind)
    store.set("a/k", b"1")
    fs.closed, fs.error = "/a/", error
    asked: list[Any] = [
        lambda: store.delete_prefix("a/"),
        lambda: store.set_if_absent("a/k", b"2"),
        lambda: store.get("a/k", ByteRange(0, 0)),
        lambda: store.size("a/k"),
        lambda: list(store.walk("a/")),
        lambda: store.list_dir("a/"),
    ]
    for ask in asked:
        with pytest.raises(type(error)):
            ask()
    fs.closed = "nowhere"
    assert list(store.walk("")) == [("a/k", 1)] and store.get("a/k") == b"1"
    assert store.get("a", ByteRange(0, 0)) is None and store.get("a/k", ByteRange(0, 0)) == b""


@pytest.mark.parametrize("kind", ["plain", "folder", "async"])
def test_a_folder_that_cannot_be_listed_is_not_empty(kind: str) -> None:
    """Neither is it passed over, nor does what lies in it stay when all above it is deleted."""
    fs = _guarded()
    store = _over(fs, kind)
    objects = {"a/k": 1, "a/c/0/0": 1, "a/c/1/0": 1}
    for key in objects:
        store.set(key, b"1")
    fs.closed, fs.error = "/c/1/", PermissionError("403")
    with pytest.raises(PermissionError):
        list(store.walk(""))
    with pytest.raises(PermissionError):
        store.delete_prefix("a/")
    fs.closed = "nowhere"
    assert dict(store.walk("")) == objects
    store.delete_prefix("a/")
    assert list(store.walk("")) == [] and store.list_dir("") == []


def test_names_that_look_like_patterns() -> None:
    """What is deleted has the name, and does not match it."""
    store = FsspecStore(_guarded(), "/g")
    for key in ("a[1]/k", "a1/k", "b*/k", "bc/k"):
        store.set(key, b"1")
    store.delete_prefix("a[1]/")
    store.delete_prefix("b*/")
    assert sorted(key for key, _ in store.walk("")) == ["a1/k", "bc/k"]


@pytest.mark.parametrize("status", [403, 500])
def test_what_a_server_refuses_is_not_missing(tmp_path: Path, status: int) -> None:
    """Nor is it when its size is asked for, or whether it is there: fsspec says "not found" of every failure."""
    aiohttp = pytest.importorskip("aiohttp")
    (tmp_path / "k").write_bytes(b"0123456789")
    with serve(tmp_path, status={"refused": status}) as url:
        store = open_store(url)
        assert store.size("k") == 10 and store.size("nothing") is None
        for wanted in (ByteRange(0, 0), ByteRange(7, 0), ByteRange(30, 0)):
            assert (store.get("k", wanted), store.get("nothing", wanted)) == (b"", None)
            with pytest.raises(aiohttp.ClientResponseError):
                store.get("refused", wanted)
        with pytest.raises(aiohttp.ClientResponseError):
            store.size("refused")


# --- locks of threads ------------------------------------------------------------------------------------------------


def _stores() -> dict[str, FsspecStore]:
    """Return stores made from new filesystems, of which some reach the same object ``k``."""
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    memory = MemoryFileSystem()
    return {
        "root": FsspecStore(memory, "/locks/a"),
        "folder": FsspecStore(DirFileSystem("/locks", memory), "a"),
        "other folder": FsspecStore(DirFileSystem("/locks/b", memory), "a"),
        "other options": FsspecStore(MemoryFileSystem(asynchronous=True), "/locks/a"),
    }


def test_threads_know_the_same_object_by_one_name() -> None:
    """A filesystem that each thread makes for itself is the same place, one with other options is another."""
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(_stores).result()
    stores = _stores()
    assert stores["root"].fs is not others["root"].fs
    names = {kind: store.name_of("k") for kind, store in stores.items()}
    assert names == {kind: store.name_of("k") for kind, store in others.items()}
    assert names["root"] == names["folder"] and len(set(names.values())) == 3
    assert stores["root"] == others["root"] and stores["root"] != stores["other options"]


def test_threads_write_parts_of_one_chunk_through_stores_of_their_own() -> None:
    """Each of them opens the URL itself, and no element is lost."""
    url = f"memory://locks-{uuid.uuid4().hex}.zarr"
    xz.create_array(url, shape=(64,), chunks=(64,), dtype="i4")

    def write(at: int) -> None:
        xz.open_array(url, mode="r+")[at] = at + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    np.testing.assert_array_equal(xz.open_array(url)[...], np.arange(1, 65))
