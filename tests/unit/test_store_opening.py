"""`open_store`: which store stands for what, and what is said when nothing does."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xzarr_backend as xz
from tests.stores_fakes import Call, CountingStore, FailingStore
from xzarr_backend.errors import UnsupportedError, XzarrError
from xzarr_backend.stores import SCHEMES, ByteRange, MappingStore, MemoryStore, Request, open_store, public_url
from xzarr_backend.stores.files import own_lock
from xzarr_backend.stores.fsspec import FsspecStore
from xzarr_backend.stores.local import LocalStore


@pytest.mark.parametrize("kind", ["mapping", "fsspec", "zarr-python", "obstore"])
def test_two_ways_to_one_object_share_a_lock(kind: str, request: pytest.FixtureRequest) -> None:
    """Threads that write parts of one object exclude each other, also where each has opened the store for itself."""
    if kind == "fsspec":
        first, second = (open_store(f"memory://{request.node.name}{root}", mode="a") for root in ("", "/a"))
        locks = own_lock(first, "a/c/0"), own_lock(second, "c/0")
    else:
        place: Any = {}
        if kind == "zarr-python":
            place = pytest.importorskip("zarr").storage.MemoryStore()
        elif kind == "obstore":
            place = pytest.importorskip("obstore").store.MemoryStore()
        locks = own_lock(open_store(place, mode="a"), "c/0"), own_lock(open_store(place, mode="a"), "c/0")
    with locks[0]:
        taken = threading.Event()

        def take() -> None:
            with locks[1]:
                taken.set()

        other = threading.Thread(target=take)
        other.start()
        assert not taken.wait(0.05)
    other.join()
    assert taken.is_set()


def test_paths_and_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A str, a PathLike, a file URL and a path from home mean the same folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = LocalStore(tmp_path / "x.zarr")
    for given in (str(tmp_path / "x.zarr"), tmp_path / "x.zarr", f"file://{tmp_path}/x.zarr", "~/x.zarr"):
        assert open_store(given) == expected
    assert open_store(f"local://{tmp_path}/x.zarr/") == expected


def test_stores_of_ours_come_back_as_they_are() -> None:
    """A store that is handed over is used as it is."""
    store = MemoryStore()
    assert open_store(store) is store
    assert open_store(store, mode="w") is store


def test_paths_of_universal_pathlib(tmp_path: Path) -> None:
    """They are what they stand for, as in zarr-python: a folder, or the place in the filesystem, with its options."""
    upath = pytest.importorskip("upath")
    for path in (upath.UPath(tmp_path / "x.zarr"), upath.UPath(f"file://{tmp_path}/x.zarr")):
        store = open_store(path, mode="w")
        assert isinstance(store, LocalStore) and store.root == str(tmp_path / "x.zarr")
    place = upath.UPath("memory://with_upath/d.zarr")
    xz.to_zarr(xr.Dataset({"v": ("x", [1, 2, 3])}), place)
    assert open_store(place).name_of("k") == open_store("memory://with_upath/d.zarr").name_of("k")
    assert xr.open_dataset(place, engine="xzarr", consolidated=False).v.values.tolist() == [1, 2, 3]
    assert xz.from_zarr(place / "v").sum().compute() == 6
    cached = upath.UPath("simplecache::memory://with_upath/d.zarr", cache_storage=str(tmp_path / "cache"))
    assert xz.open_array(cached, "v")[:].tolist() == [1, 2, 3]
    assert list((tmp_path / "cache").iterdir())
    place.rmdir(recursive=True)


def test_nodes_of_zarr_python(tmp_path: Path) -> None:
    """They are the place where they lie; where that is no store of its own, the error says what to pass."""
    zarr = pytest.importorskip("zarr")
    xz.to_zarr(xr.Dataset({"v": ("x", [1, 2, 3])}), tmp_path, group="g/h")
    xz.to_zarr(xr.Dataset({"v": ("x", [1, 2, 3])}), "memory://with_nodes", group="g/h")
    remote = zarr.storage.FsspecStore.from_url("memory://with_nodes", read_only=True)
    for root in (tmp_path, remote):
        group = zarr.open_group(root, path="g/h", mode="r")
        for place in (group, group.store_path):
            assert xr.open_dataset(place, engine="xzarr", consolidated=False).v.values.tolist() == [1, 2, 3]
        assert xz.from_zarr(group["v"]).sum().compute() == 6
        assert open_store(group, mode="a").read_only
    assert open_store(zarr.open_group(tmp_path, path="g", mode="a"), mode="a").lock("k") is not None
    memory = zarr.storage.MemoryStore()
    xz.to_zarr(xr.Dataset({"v": ("x", [1, 2, 3])}), memory)
    assert xr.open_dataset(zarr.open_group(memory), engine="xzarr").v.values.tolist() == [1, 2, 3]
    with pytest.raises(XzarrError, match="pass its store, and 'v' as the path"):
        xz.open_array(zarr.open_array(memory, path="v"))


def test_mappers_become_what_they_stand_for(tmp_path: Path) -> None:
    """A mapper over a folder is that folder, with its atomic writes; other mappers keep their filesystem."""
    fsspec = pytest.importorskip("fsspec")
    store = open_store(fsspec.get_mapper(str(tmp_path / "x.zarr")), mode="w")
    assert store == LocalStore(tmp_path / "x.zarr") and not store.read_only
    mapper = fsspec.get_mapper("memory://mapped")
    mapper["a/k"] = b"1"
    store = open_store(mapper)
    assert store.read_only and store == open_store("memory://mapped")
    assert store.get("a/k") == b"1" and not store.shared_between_processes
    mapper.clear()


def test_a_folder_of_the_local_filesystem_is_a_folder(tmp_path: Path) -> None:
    """However it is reached through fsspec: all ways to one object have its one lock."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.dirfs import DirFileSystem

    local = fsspec.filesystem("file")
    outer = DirFileSystem(str(tmp_path), local)
    places: list[Any] = [
        DirFileSystem(str(tmp_path / "x"), local).get_mapper(""),
        outer.get_mapper("x"),
        DirFileSystem("x", outer).get_mapper(""),
        f"dir://x::file://{tmp_path}",
        f"local://{tmp_path}/x",
    ]
    zarr = pytest.importorskip("zarr.storage")
    places.append(zarr.FsspecStore(AsyncFileSystemWrapper(local, asynchronous=True), path=str(tmp_path / "x")))
    for place in places:
        store = open_store(place, mode="a")
        assert store == LocalStore(tmp_path / "x") and not store.read_only, place
    assert open_store(places[0]).read_only
    memory = DirFileSystem("/d", fsspec.filesystem("memory"))
    assert open_store(memory.get_mapper("x")).name_of("k") == open_store("memory://d/x").name_of("k")


def test_folders_of_obstore_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is certain which: a relative path is one of the folder that was the current one at its making."""
    stores = pytest.importorskip("obstore.store")
    (tmp_path / "x y#").mkdir()
    inner = stores.LocalStore(tmp_path / "x y#")
    store = open_store(inner, mode="a")
    assert store == LocalStore(tmp_path / "x y#") and not store.read_only
    store.set("a b#/%k", b"1")
    assert bytes(inner.get("a b#/%k").bytes()) == b"1" and open_store(inner).read_only
    assert open_store(pytest.importorskip("zarr.storage").ObjectStore(inner), mode="a") == store
    monkeypatch.chdir(tmp_path)
    relative = open_store(stores.LocalStore("x y#"))
    monkeypatch.chdir("/")
    assert not isinstance(relative, LocalStore) and bytes(relative.get("a b#/%k")) == b"1"


def test_mappings(tmp_path: Path) -> None:
    """A dictionary, and any other mapping, is written and read in place."""
    zict = pytest.importorskip("zict")
    objects: dict[str, Any] = {}
    store = open_store(objects, mode="w")
    store.set("a/k", bytearray(b"1"))
    assert objects == {"a/k": b"1"} and isinstance(store, MappingStore)
    store = open_store(zict.File(tmp_path / "z"), mode="w")
    store.set("k", b"1")
    assert bytes(store.get("k")) == b"1" and store.list_dir("") == ["k"]


def test_errors_of_a_mapping_are_not_missing_objects() -> None:
    """Only KeyError says that there is nothing."""

    class Broken(dict[str, bytes]):
        def __getitem__(self, key: str) -> bytes:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        open_store(Broken()).get("k")


@pytest.mark.parametrize("mode", ["r+", "a", "a-", "w", "w-"])
def test_all_other_modes_write(mode: str) -> None:
    """Only mode "r" is read-only."""
    assert not open_store("memory://modes", mode=mode).read_only
    assert open_store("memory://modes").read_only


@pytest.mark.parametrize(
    ("store", "arguments", "match"),
    [
        ("x", {"mode": "rw"}, "mode 'rw'"),
        ("", {}, "empty"),
        (b"bytes", {}, "not a store"),
        (42, {}, "builtins.int is not a store"),
        ({}, {"storage_options": {"anon": True}}, "storage_options"),
        ("x.zarr", {"storage_options": {"anon": True}}, "storage_options"),
        (MemoryStore(), {"storage_options": {"anon": True}}, "storage_options"),
    ],
)
def test_what_is_no_store(store: Any, arguments: dict[str, Any], match: str) -> None:
    """What cannot be opened is refused with the reason."""
    with pytest.raises(XzarrError, match=match):
        open_store(store, **arguments)


def test_unknown_schemes() -> None:
    """A scheme that nobody knows, and one whose package is missing, say what to install."""
    with pytest.raises(UnsupportedError, match=r"'nonsense'(.|\n)*install"):
        open_store("nonsense://user:secret@host/x.zarr")
    import fsspec

    fsspec.register_implementation("xzarrtest", "package_that_is_missing.Filesystem", errtxt="Install package-x")
    with pytest.raises(UnsupportedError, match="Install package-x"):
        open_store("xzarrtest://x")


def test_a_new_scheme_is_one_line(tmp_path: Path) -> None:
    """A line in SCHEMES is all that a further store needs."""
    SCHEMES["mine"] = f"{__name__}:open_mine"
    try:
        assert open_store("mine://x", mode="w", storage_options={"a": 1}).url == "mine://x False {'a': 1}"
    finally:
        del SCHEMES["mine"]


def open_mine(url: str, read_only: bool, options: dict[str, Any]) -> MemoryStore:
    """Open a store of this test."""
    store = MemoryStore()
    store.url = f"{url} {read_only} {options}"
    return store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host:80/a/b?sig=secret#x", "https://host:80/a/b"),
        ("zip::https://user:pw@host/a.zip?x=1", "zip::https://host/a.zip"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("memory://", "memory:"),
        ("/a/path?with@odd:names", "/a/path?with@odd:names"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    """User names, passwords and signed queries never show."""
    assert public_url(url).rstrip("/") == shown


def test_http_urls_keep_their_query_to_themselves() -> None:
    """A signed URL signs every request, and shows nowhere."""
    pytest.importorskip("aiohttp")
    store: Any = open_store("https://user:pw@host/x.zarr?token=secret")
    assert store._path("a/0 #%") == "https://user:pw@host/x.zarr/a/0%20%23%25?token=secret"
    assert "secret" not in repr(store) and "pw" not in repr(store)


def test_urls_of_filesystems_made_for_another_scheme() -> None:
    """fsspec keeps one filesystem for ``http`` and ``https``, which may call itself by the first one only."""
    pytest.importorskip("aiohttp")
    fs = pytest.importorskip("fsspec").filesystem("https", skip_instance_cache=True)
    fs.protocol = "http"
    assert FsspecStore(fs, "https://user:pw@host/x.zarr?token=secret").url == "https://host/x.zarr"


CHECK = """
import sys
from xzarr_backend.stores import open_store
store = open_store(sys.argv[1], mode="a")
store.set("k", b"1")
store.get("k")
open_store({}).get("k")
heavy = {"fsspec", "asyncio", "xarray", "dask", "numcodecs", "zarr", "obstore", "aiohttp", "multiprocessing"}
print(sorted(heavy & set(sys.modules)))
"""


def test_what_local_stores_load(tmp_path: Path) -> None:
    """Local stores and mappings load neither fsspec nor asyncio."""
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path / "x.zarr")],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_counting_store_sees_every_request() -> None:
    """The counting store of the tests records hits and misses, and what was asked at once."""
    store = CountingStore(MemoryStore({"k": b"value"}))
    assert store.get("k") == b"value" and store.get("miss", ByteRange(0, 1)) is None
    store.get_many([Request("k"), Request("k", ByteRange(-1))])
    assert store.requests == [
        Call("get", "k"),
        Call("get", "miss", ByteRange(0, 1)),
        Call("get", "k"),
        Call("get", "k", ByteRange(-1)),
    ]
    assert store.waves == [1, 1, 2] and store.count("get") == 4 and store.count("set") == 0
    store.reset()
    assert store.count() == 0


def test_failing_store_fails_when_told() -> None:
    """The failing store of the tests raises what it was given, and works otherwise."""
    store = FailingStore(
        MemoryStore({"k": b"v"}), lambda op, key: OSError("lost") if (op, key) == ("set", "k") else None
    )
    with pytest.raises(OSError, match="lost"):
        store.set("k", b"w")
    assert store.get("k") == b"v"
    store.set("other", b"w")
    assert store.list_dir("") == ["k", "other"]


def test_mappings_that_zarr_python_has_filled() -> None:
    """What it leaves in a plain mapping are objects of its own: the store that made them is to be given."""
    zarr = pytest.importorskip("zarr")
    filled: dict[str, Any] = {}
    zarr.create_array(zarr.storage.MemoryStore(filled), data=np.arange(3))
    with pytest.raises(XzarrError, match=r"is a Buffer, not bytes(.|\n)*give zarr\.storage\.MemoryStore\(mapping\)"):
        xz.open(filled)
    assert list(xz.open_array(zarr.storage.MemoryStore(filled))[:]) == [0, 1, 2]
    with pytest.raises(XzarrError, match="from keys to bytes"):
        xz.open({"zarr.json": "text"})


@pytest.mark.parametrize("path", ["a\0b", "a\ud800"])
def test_texts_that_are_no_path(path: str) -> None:
    """What the system cannot look for is our error, whatever is asked of it, not one of text encodings."""
    for use in (xz.open, xz.create_group, xz.verify, xz.doctor, xz.consolidate_metadata):
        with pytest.raises(xz.XzarrError, match="is no path"):
            use(path)
