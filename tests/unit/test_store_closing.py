"""Files that lost their name are closed on a thread: few wait, none is large, and no lock waits with them."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import xzarr_backend as xz
from xzarr_backend.stores import closing
from xzarr_backend.stores.files import ObjectLock


class Closings:
    """Stands for ``os.close``: remembers who closed what, and keeps the thread waiting until it is `released`."""

    def __init__(self) -> None:
        self.here: list[int] = []
        self.there: list[int] = []
        self.released = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, descriptor: int) -> None:
        if threading.current_thread().name == "xzarr-closing":
            self.begun.release()
            assert self.released.wait(30)
            self.there.append(descriptor)
        else:
            self.here.append(descriptor)
        CLOSE(descriptor)


CLOSE = os.close


@pytest.fixture
def closings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Closings]:
    """A new closer, whose thread waits in its first close."""
    found = Closings()
    monkeypatch.setattr(closing, "_closer", closing._Closer())
    monkeypatch.setattr(closing.os, "close", found)
    yield found
    found.released.set()


def opened(folder: Path, nbytes: int = 10) -> int:
    """Return the descriptor of a file that has lost its name."""
    path = folder / "file"
    path.write_bytes(bytes(nbytes))
    descriptor = os.open(path, os.O_RDONLY)
    path.unlink()
    return descriptor


def test_few_files_wait(tmp_path: Path, closings: Closings) -> None:
    """The thread closes one after the other; who finds enough waiting closes its own."""
    descriptors = [opened(tmp_path) for _ in range(closing.MOST_WAITING + 3)]
    closing.close_soon(descriptors[0])
    assert closings.begun.acquire(timeout=30)  # the thread is within the first close
    for descriptor in descriptors[1:]:
        closing.close_soon(descriptor)
    assert closings.here == descriptors[-2:]
    closings.released.set()
    for _ in range(closing.MOST_WAITING):
        assert closings.begun.acquire(timeout=30)
    closing.close_soon(opened(tmp_path))
    assert closings.begun.acquire(timeout=30), "the thread goes on"
    assert closings.there[: len(descriptors) - 2] == descriptors[:-2]


def test_large_files_are_closed_at_once(tmp_path: Path, closings: Closings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space of a large file does not wait."""
    monkeypatch.setattr(closing, "LARGEST_NBYTES", 9)
    descriptor = opened(tmp_path)
    closing.close_soon(descriptor)
    assert closings.here == [descriptor]


def test_without_a_thread(tmp_path: Path, closings: Closings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, files are closed at once."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    descriptor = opened(tmp_path)
    closing.close_soon(descriptor)
    assert closings.here == [descriptor]


def test_the_lock_does_not_wait(tmp_path: Path, closings: Closings) -> None:
    """A lock is free when its holder has left, however long closing takes."""
    path = tmp_path / "object"
    path.write_bytes(b"1")
    with ObjectLock(str(path)):
        pass
    assert closings.begun.acquire(timeout=30), "the thread is closing the file"
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    CLOSE(descriptor)


def test_a_forked_child_closes_what_waits(tmp_path: Path, closings: Closings) -> None:
    """A child has the descriptors that wait, but no thread that would close them."""
    closing.close_soon(opened(tmp_path))
    assert closings.begun.acquire(timeout=30)
    waiting = opened(tmp_path)
    closing.close_soon(waiting)
    before = closing._closer
    closing._start_over()  # what is registered to run in a child
    assert closings.here == [waiting]
    assert closing._closer is not before


def test_appends_leave_no_descriptors(tmp_path: Path) -> None:
    """However often an object is replaced, few files stay open."""
    listed = Path("/proc/self/fd")
    if not listed.is_dir():
        pytest.skip("the system does not list open files")
    array = xz.create_array(tmp_path / "a.zarr", shape=(0,), chunks=(1000,), dtype="i4", overwrite=True)
    array.append([0])
    before = len(list(listed.iterdir()))
    for number in range(1, 100):
        array.append([number])
    assert len(list(listed.iterdir())) <= before + closing.MOST_WAITING + 1
    assert xz.open_array(tmp_path / "a.zarr")[...].tolist() == list(range(100))
