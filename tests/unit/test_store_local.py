"""The local store: what a file system can do to it, and what it does to a file system."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stores_fakes import without_file_locks
from xzarr_backend.errors import XzarrError
from xzarr_backend.stores import ByteRange, open_store
from xzarr_backend.stores import files as files_module
from xzarr_backend.stores import local as local_module
from xzarr_backend.stores.files import FolderLock, ObjectLock, temporary_name
from xzarr_backend.stores.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store in a folder that does not exist yet."""
    return LocalStore(tmp_path / "x.zarr")


def names(folder: Path) -> list[str]:
    """Return all names in a folder, hidden ones too."""
    return sorted(os.listdir(folder))


def test_writing_leaves_nothing_but_the_object(store: LocalStore, tmp_path: Path) -> None:
    """After writes the folder holds the objects only, with the permissions that the umask gives."""
    store.set("a/b", b"1")
    store.set("a/b", b"2")
    store.set_if_absent("a/c", b"3")
    store.set_if_absent("a/c", b"4")
    assert names(tmp_path / "x.zarr" / "a") == ["b", "c"]
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "x.zarr" / "a" / "b").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("call", ["writev", "replace"])
def test_a_failed_write_leaves_the_old_object(store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """When the disk is full, or the new name cannot be taken, the old object stays and no file is left behind."""
    store.set("k", b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        store.set("k", b"new")
    monkeypatch.undo()
    assert store.get("k") == b"old"
    assert names(Path(store.root)) == ["k"]


def test_short_writes_are_continued(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that writes a few bytes per call still gets the whole object."""
    write, writev = os.write, os.writev

    def few(least: int, descriptor: int, views: Sequence[memoryview]) -> int:
        return writev(descriptor, [memoryview(b"".join(views)[:least])])

    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    monkeypatch.setattr(os, "writev", partial(few, 3))
    store.set("k", b"0123456789")
    assert store.get("k") == b"0123456789"
    for least in (0, 1, 4, 5, 9, 10):  # before, in, between and at the end of the parts
        monkeypatch.setattr(os, "writev", partial(few, least))
        store.set_parts("k", [b"0123", b"", memoryview(b"4"), np.frombuffer(b"56789", np.uint8)])
        assert store.get("k") == b"0123456789"


def test_more_parts_than_one_call_takes(store: LocalStore) -> None:
    """The system takes about a thousand pieces of memory at once; a shard may have more."""
    parts = [bytes([n % 251]) * (n % 3) for n in range(3000)]
    store.set_parts("k", parts)
    assert store.get("k") == b"".join(parts)


def test_short_reads_are_continued(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that reads a few bytes per call still gives the whole object."""
    store.set("k", b"0123456789")
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: pread(descriptor, min(size, 3), at))
    monkeypatch.setattr(
        os, "preadv", lambda descriptor, views, at: preadv(descriptor, [view[:4] for view in views], at)
    )
    assert bytes(store.get("k")) == b"0123456789"
    assert bytes(store.get("k", ByteRange(2, 6), memoryview(bytearray(20)))) == b"234567"
    _, found = store.get_ranges("k", [ByteRange(-4), ByteRange(0, 5)])
    assert found is not None
    assert [bytes(f) for f in found] == [b"6789", b"01234"]


@pytest.mark.parametrize("most", [1, 3, 4, 9, 10, 11])
def test_objects_larger_than_one_call_takes(store: LocalStore, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Linux reads and writes a little less than 2 GiB per call, macOS refuses more: here that is a few bytes."""

    def limited(call: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(descriptor: int, data: Any, *rest: Any) -> Any:
            nbytes = data if isinstance(data, int) else sum(map(len, data)) if isinstance(data, list) else len(data)
            if nbytes > most:
                raise OSError(errno.EINVAL, "too much at once")
            return call(descriptor, data, *rest)

        return refusing

    monkeypatch.setattr(files_module, "LARGEST_CALL", most)
    monkeypatch.setattr(local_module, "LARGEST_CALL", most)
    for name in ("pread", "preadv", "readv", "write", "writev"):
        monkeypatch.setattr(os, name, limited(getattr(os, name)))
    store.set_parts("k", [b"0123", b"", memoryview(b"4"), np.frombuffer(b"56789", np.uint8)])
    assert bytes(store.get("k")) == b"0123456789"
    for nbytes in (9, 10, 11, 20):  # too small for the object, of its size, larger
        assert bytes(store.get("k", None, memoryview(bytearray(nbytes)))) == b"0123456789"
    assert bytes(store.get("k", ByteRange(2, 6), memoryview(bytearray(20)))) == b"234567"
    assert bytes(store.get_ranges("k", [ByteRange(1, 8)])[1][0]) == b"12345678"
    assert store.get_strided("k", range(0, 6, 5), 5) == b"0123456789"


def test_folders_that_others_remove_meanwhile(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds a folder empty may remove it before the first file is in it: it is made again."""
    made: list[str] = []
    make = files_module._make_folder

    def make_and_remove(folder: str, durable: bool) -> None:
        make(folder, durable)
        made.append(folder)
        if len(made) < 4:
            os.rmdir(folder)

    monkeypatch.setattr(files_module, "_make_folder", make_and_remove)
    store.set("a/b/k", b"1")
    assert len(made) == 4
    assert store.get("a/b/k") == b"1"


def test_a_folder_that_is_there_and_gone_again(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer makes the folder, and removes it, while this one is about to make it."""
    mkdir, seen = os.mkdir, []

    def there_and_gone(path: str) -> None:
        seen.append(path)
        if len(seen) < 4:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        mkdir(path)

    monkeypatch.setattr(os, "mkdir", there_and_gone)
    store.set("a/b/k", b"1")
    assert store.get("a/b/k") == b"1"
    (Path(store.root) / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        store.set("file/k", b"1")


def test_scratch_holds_what_was_read(store: LocalStore) -> None:
    """A read goes into the caller's memory when that is large enough."""
    store.set("k", b"0123456789")
    memory = bytearray(16)
    found = store.get("k", None, memoryview(memory))
    assert memory[:10] == b"0123456789"
    assert isinstance(found, memoryview) and found.obj is memory


def test_many_ranges_far_apart(store: LocalStore) -> None:
    """Ranges that are far apart, and others close together, all come back right."""
    data = os.urandom(100_000)
    store.set("k", data)
    ranges = [ByteRange(start, 50) for start in range(0, 99_000, 997)] + [ByteRange(-17), ByteRange(5, 0)]
    _, found = store.get_ranges("k", ranges)
    assert found is not None
    for wanted, got in zip(ranges, found, strict=True):
        start = wanted.start if wanted.start >= 0 else len(data) + wanted.start
        assert bytes(got) == data[start:][: wanted.length]


def test_leftovers_are_invisible_and_swept(store: LocalStore, tmp_path: Path) -> None:
    """What a killed writer left is never listed; sweeping removes it, but not what a living writer works on."""
    store.set("a/k", b"1")
    folder = Path(store.root) / "a"
    mine = folder / temporary_name()
    dead = folder / temporary_name().replace(f"-{os.getpid()}-", "-999999999-")
    elsewhere = folder / ".xzarr-00000000-1-0123456789ab.tmp"
    old = folder / ".xzarr-00000000-2-0123456789ab.tmp"
    for path in (mine, dead, elsewhere, old, folder / ".xzarr-lock"):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 100_000, time.time() - 100_000))
    assert store.list_dir("a/") == ["k"]
    assert list(store.walk("")) == [("a/k", 1)]
    assert store.sweep() == 2
    assert names(folder) == sorted([mine.name, elsewhere.name, ".xzarr-lock", "k"])


@pytest.mark.parametrize("key", ["../out", "a/../../out", "..", "a/.."])
def test_keys_never_lead_out(store: LocalStore, tmp_path: Path, key: str) -> None:
    """A key with ``..`` is not written, deleted or locked."""
    (tmp_path / "out").write_bytes(b"kept")
    for write in (lambda: store.set(key, b"x"), lambda: store.delete(key), lambda: store.delete_prefix(key + "/")):
        with pytest.raises(XzarrError, match="leads out"):
            write()
    assert names(tmp_path) == ["out"]


def test_names_with_two_dots_inside_are_keys(store: LocalStore) -> None:
    """Only a part that is ``..`` is refused."""
    store.set("a..b/..c", b"1")
    assert store.get("a..b/..c") == b"1"


def test_links_are_followed_when_reading(store: LocalStore, tmp_path: Path) -> None:
    """Files and folders behind links read, list and count as if they were there."""
    other = LocalStore(tmp_path / "other")
    other.set("zarr.json", b"{}")
    other.set("c/0", b"chunk")
    store.set("zarr.json", b"{}")
    os.symlink(tmp_path / "other", tmp_path / "x.zarr" / "linked")
    os.symlink(tmp_path / "other" / "c" / "0", tmp_path / "x.zarr" / "file")
    os.symlink(tmp_path / "nowhere", tmp_path / "x.zarr" / "broken")
    assert store.get("linked/c/0") == b"chunk" == store.get("file")
    assert store.get("broken") is None
    assert store.list_dir("") == ["broken", "file", "linked/", "zarr.json"]
    assert dict(store.walk("")) == {"zarr.json": 2, "file": 5, "linked/zarr.json": 2, "linked/c/0": 5}


def test_links_within_the_store_take_writes_and_lead_no_further(store: LocalStore, tmp_path: Path) -> None:
    """A link to another folder of the store is fine; one behind it that leads out is still found."""
    inside = tmp_path / "x.zarr" / "real"
    inside.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    os.symlink(inside, tmp_path / "x.zarr" / "alias")
    os.symlink(tmp_path / "other", inside / "out")
    os.symlink(tmp_path / "x.zarr", inside / "up")
    store.set("alias/k", b"1")
    store.set("alias/deep/k", b"2")
    store.set("alias/up/real/k3", b"3")
    assert (inside / "k").read_bytes() == b"1" and (inside / "deep" / "k").read_bytes() == b"2"
    assert (inside / "k3").read_bytes() == b"3"
    for key in ("alias/out/k", "real/out/k", "alias/out/deep/k", "alias/up/alias/out/k"):
        with pytest.raises(XzarrError, match="leads out of the store"):
            store.set(key, b"x")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_new_folder_costs_few_looks(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies above a folder is looked at once, not once for every folder below it (benchmark: write_plain)."""
    store.set("a/b/first", b"")
    looks: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: looks.append(path) or lstat(path))
    for number in range(10):
        for chunk in range(3):
            store.set(f"a/b/{number}/{chunk}", b"x")
    assert len(looks) <= 2 + 2 * 10


def test_writing_replaces_a_link_itself(store: LocalStore, tmp_path: Path) -> None:
    """A write through a linked file replaces the link; what it pointed to stays as it was."""
    (tmp_path / "target").write_bytes(b"old")
    store.set("a", b"")
    os.symlink(tmp_path / "target", tmp_path / "x.zarr" / "k")
    store.set("k", b"new")
    assert store.get("k") == b"new"
    assert (tmp_path / "target").read_bytes() == b"old"


def test_nothing_is_written_or_deleted_outside(store: LocalStore, tmp_path: Path) -> None:
    """A linked folder outside the store takes no write and loses nothing; deleting it deletes the link."""
    other = LocalStore(tmp_path / "other")
    other.set("c/0", b"kept")
    store.set("zarr.json", b"{}")
    os.symlink(tmp_path / "other", tmp_path / "x.zarr" / "linked")
    writes = [
        lambda: store.set("linked/new", b"x"),
        lambda: store.set("linked/deep/new", b"x"),
        lambda: store.set_if_absent("linked/c/1", b"x"),
        lambda: store.delete("linked/c/0"),
        lambda: store.delete_prefix("linked/c/"),
        lambda: store.lock("linked/c/0"),
    ]
    for write in writes:
        with pytest.raises(XzarrError, match="leads out of the store"):
            write()
    assert list(other.walk("")) == [("c/0", 4)]
    store.delete_prefix("linked/")
    assert list(other.walk("")) == [("c/0", 4)]
    assert names(tmp_path / "x.zarr") == ["zarr.json"]


def test_links_within_the_store_are_written_through(store: LocalStore, tmp_path: Path) -> None:
    """A linked folder that lies in the store is a folder of the store; so is a root that is itself a link."""
    store.set("real/a", b"1")
    os.symlink("real", tmp_path / "x.zarr" / "alias")
    store.set("alias/b", b"2")
    assert store.get("real/b") == b"2"
    os.symlink(tmp_path / "x.zarr", tmp_path / "link.zarr")
    LocalStore(tmp_path / "link.zarr").set("real/c", b"3")
    assert store.get("real/c") == b"3"


def test_links_in_circles_end(store: LocalStore, tmp_path: Path) -> None:
    """Links that lead back are walked once, and a link to itself is no folder."""
    store.set("a/k", b"1")
    store.set("b/k", b"2")
    os.symlink("../b", tmp_path / "x.zarr" / "a" / "x")
    os.symlink("../a", tmp_path / "x.zarr" / "b" / "y")
    os.symlink(".", tmp_path / "x.zarr" / "self")
    os.symlink("loop", tmp_path / "x.zarr" / "loop")
    found = [key for key, _ in store.walk("")]
    assert sorted(found) == ["a/k", "a/x/k", "b/k", "b/y/k"]
    assert "loop" in store.list_dir("")


def test_a_named_pipe_does_not_hang(store: LocalStore) -> None:
    """A pipe among the files is not waited for."""
    store.set("k", b"1")
    os.mkfifo(Path(store.root) / "pipe")
    assert not store.get("pipe")
    assert [key for key, _ in store.walk("")] == ["k"]


def test_errors_other_than_missing_are_raised(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk is not a missing object."""
    store.set("k", b"1")

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Input/output"):
        store.get("k")
    with pytest.raises(OSError, match="Input/output"):
        store.get_ranges("k", [ByteRange(0, 1)])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_forbidden_is_not_missing(store: LocalStore) -> None:
    """A file without permission raises."""
    store.set("k", b"1")
    os.chmod(Path(store.root) / "k", 0)
    with pytest.raises(PermissionError):
        store.get("k")


def test_what_cannot_be_deleted_is_named(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error within a folder that is deleted tells the whole path: of the file or (Python 3.13) its folder."""
    store.set("a/c/0", b"1")
    unlink = os.unlink

    def refuse(path: str, **options: Any) -> None:
        if path == "0" or path.endswith("/0"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    for prefix in ("a/", ""):
        with pytest.raises(PermissionError) as caught:
            store.delete_prefix(prefix)
        assert caught.value.filename in (f"{store.root}/a/c/0", f"{store.root}/a/c")


@pytest.mark.parametrize("times", [1, 1000])
def test_a_folder_that_others_fill_while_it_is_deleted(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What is stored meanwhile goes too; who never stops storing is not waited for forever."""
    store.set("a/0", b"1")
    rmdir, filled = os.rmdir, 0

    def fill_first(path: str, **options: Any) -> None:
        nonlocal filled
        if path.endswith("a") and filled < times:
            filled += 1
            store.set("a/1", b"2")
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", fill_first)
    if times == 1:
        store.delete_prefix("a/")
        assert store.list_dir("") == []
    else:
        with pytest.raises(OSError, match="not empty"):
            store.delete_prefix("a/")
        assert filled < times


def test_durable_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A durable write syncs the file, the folder that names it, and every folder that was made for it."""
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}") if os.path.isdir("/proc/self/fd") else "")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store = LocalStore(tmp_path / "x.zarr", durable=True)
    store.set("a/k", b"1")
    assert len(synced) == 4
    if synced[0]:
        assert [Path(path).name for path in (synced[0], synced[1], synced[3])] == [tmp_path.name, "x.zarr", "a"]
    assert store.get("a/k") == b"1"


def test_file_systems_without_hard_links(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be linked, storing once still stores once."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert store.set_if_absent("a/k", b"1") is True
    assert store.set_if_absent("a/k", b"2") is False
    assert store.get("a/k") == b"1"
    assert names(Path(store.root) / "a") == ["k"]


@pytest.mark.parametrize("links", [True, False])
def test_durable_writes_of_what_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """The folder that names the object is synced, also on a file system without hard links; not for nothing."""
    synced: list[str] = []
    store = LocalStore(tmp_path, durable=True)
    store.set("a/other", b"0")
    monkeypatch.setattr(local_module, "sync_folder", synced.append)
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    assert store.set_if_absent("a/k", b"1") and synced == [str(tmp_path / "a")]
    assert not store.set_if_absent("a/k", b"2") and len(synced) == 1


def test_lock_leaves_no_file(store: LocalStore) -> None:
    """The lock sits on the folder."""
    with store.lock("a/k"):
        assert names(Path(store.root) / "a") == []


def test_lock_where_folders_cannot_be_locked(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses locks on folders gets a lock file, which no listing shows."""
    import fcntl

    flock = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.lock("a/k"):
        assert names(Path(store.root) / "a") == [".xzarr-lock"]
    assert store.list_dir("a/") == []
    with store.lock("a/k"):
        pass


def test_lock_follows_a_folder_that_is_made_anew(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a folder that was removed meanwhile would protect nothing: it is taken again."""
    locked = files_module._locked
    calls = []

    def replaced(folder: str) -> int:
        descriptor = locked(folder)
        calls.append(folder)
        if len(calls) == 1:
            os.rename(folder, folder + ".old")
        return descriptor

    monkeypatch.setattr(files_module, "_locked", replaced)
    with FolderLock(store.root + "/a"):
        assert len(calls) == 2


@pytest.mark.parametrize("times", [1, 5])
def test_lock_of_a_folder_that_others_remove(store: LocalStore, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A folder that is removed, as it is empty, between its making and its locking is made again."""
    locked = files_module._locked
    calls = []

    def removed(folder: str) -> int:
        calls.append(folder)
        if len(calls) <= times:
            os.rmdir(folder)
        return locked(folder)

    monkeypatch.setattr(files_module, "_locked", removed)
    with store.lock("a/b/k"):
        assert len(calls) == times + 1
        assert os.path.isdir(store.root + "/a/b")


def test_lock_of_a_folder_that_cannot_be_made(store: LocalStore) -> None:
    """A link to nowhere is an error, not a loop."""
    store.set("k", b"1")
    os.symlink(store.root + "/nowhere", store.root + "/a")
    with pytest.raises(FileNotFoundError), FolderLock(store.root + "/a"):
        pass


def _waits(lock: AbstractContextManager[object]) -> tuple[threading.Thread, threading.Event]:
    """Return a thread that takes the lock, and the event that it sets when it has it."""
    held = threading.Event()

    def take() -> None:
        with lock:
            held.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, held


def test_neighbours_do_not_wait_for_each_other(store: LocalStore) -> None:
    """While one object is locked, another one in the same folder can be; the same one cannot."""
    store.set("a/k", b"1")
    store.set("a/n", b"1")
    with store.lock("a/k"):
        neighbour, held = _waits(store.lock("a/n"))
        assert held.wait(60)
        same, also = _waits(store.lock("a/k"))
        neighbour.join()
        assert not also.is_set()
    same.join()
    assert also.is_set()


@pytest.mark.parametrize("replace", [True, False])
def test_lock_follows_an_object_that_is_replaced(store: LocalStore, replace: bool) -> None:
    """Who waited for an object that was replaced or deleted has the lock of what is there now."""
    store.set("a/k", b"1")
    with store.lock("a/k"):
        waiting, held = _waits(second := store.lock("a/k"))
        store.set("a/k", b"2") if replace else store.delete("a/k")
    waiting.join()
    assert held.is_set()
    with second:
        third, last = _waits(store.lock("a/k"))
        assert not last.wait(0.05)
    third.join()
    assert last.is_set()


def test_lock_of_an_object_that_comes_into_being(store: LocalStore) -> None:
    """Who waited for an object that was not there yet does not change it beside somebody who found it."""
    with store.lock("a/k"):
        waiting, held = _waits(store.lock("a/k"))
        store.set("a/k", b"1")
    waiting.join()
    assert held.is_set()
    lock = store.lock("a/k")
    with lock:
        assert isinstance(lock, ObjectLock) and lock._folder is None


def test_lock_where_files_cannot_be_locked(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses locks on files opened for reading (NFS) locks the folder instead."""
    without_file_locks(monkeypatch)
    store.set("a/k", b"1")
    with store.lock("a/k"):
        waiting, held = _waits(store.lock("a/n"))
        assert not held.wait(0.05)
    waiting.join()
    assert held.is_set()


def _interrupted(lock: AbstractContextManager[object], moment: int) -> bool:
    """Take ``lock``; at the ``moment``-th time that a signal could be noticed within, it is Ctrl-C: return whether so.

    Signals are noticed where a function begins, and where one of the system has returned.
    """
    seen = 0

    def notice(frame: Any, event: str, arg: object) -> None:
        nonlocal seen
        if event in ("call", "c_return") and frame.f_code.co_filename == files_module.__file__:
            seen += 1
            if seen == moment:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(notice)
    try:
        lock.__enter__()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.mark.parametrize("kind", ["object", "new object", "folder", "no locks on files"])
def test_an_interrupt_leaves_no_lock(store: LocalStore, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Ctrl-C while a lock is taken, whenever that is, keeps nobody else waiting."""
    import fcntl

    if kind == "no locks on files":
        without_file_locks(monkeypatch)
    store.set("a/k", b"1")
    place = store.root + ("/a/k" if kind == "object" else "/a")
    for moment in range(1, 1000):
        lock = FolderLock(place) if kind == "folder" else store.lock("a/n" if kind == "new object" else "a/k")
        if not _interrupted(lock, moment):
            break
        descriptor = os.open(place, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    assert 4 < moment < 999
    lock.__exit__(None, None, None)


def _add(root: str, times: int) -> None:
    store = LocalStore(root)
    for _ in range(times):
        with store.lock("k/n"):
            store.set("k/n", str(int(bytes(store.get("k/n"))) + 1).encode())


def test_lock_excludes_processes(store: LocalStore) -> None:
    """Processes that hold the lock in turn lose no update."""
    store.set("k/n", b"0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(store.root, 50)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert store.get("k/n") == b"100"


def test_relative_paths_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store opened by a relative path does not move when the program changes its folder."""
    monkeypatch.chdir(tmp_path)
    store = open_store("x.zarr", mode="w")
    monkeypatch.chdir("/")
    store.set("k", b"1")
    assert (tmp_path / "x.zarr" / "k").read_bytes() == b"1"


def test_sweeping_while_others_write(tmp_path: Path) -> None:
    """Temporary files come and go while a folder is swept; none of a living writer is touched, and nothing fails."""
    store = LocalStore(tmp_path)
    stop = threading.Event()

    def write() -> None:
        for number in range(10_000):
            if stop.is_set():
                return
            store.set(f"a/{number % 7}", b"x" * 100)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        swept = [LocalStore(tmp_path).sweep() for _ in range(200)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not any(swept)
