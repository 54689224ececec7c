"""What stores on a local file system share: replacing a file in one step, and locks.

Imports errors, base and closing. Invariant: a file appears under its name whole or not at all; whatever a writer leaves
behind when it is killed has a name of its own that no listing shows.
"""

from __future__ import annotations

import errno
import math
import os
import re
import sys
import threading
import time
import zlib
from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from stat import S_ISDIR
from weakref import WeakValueDictionary

from ..errors import UnsupportedError, XzarrError
from .base import Store
from .closing import close_soon

OURS = ".xzarr-"  # names that begin so are never listed
EXCHANGE = ".exchange"  # how the notes of unfinished exchanges end (stores/exchange.py)
LOCK_FILE = ".xzarr-lock"
LEFTOVER = re.compile(r"\.xzarr-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp")
DAY = 86_400.0  # seconds
TRIES = 20  # how often a folder is made that others, who found it empty, remove again
MOST_AT_ONCE = 1024  # pieces of memory that one call takes (IOV_MAX)
LARGEST_CALL = 1 << 30  # bytes that one call reads or writes: Linux stops a little below 2 GiB, macOS refuses more

# never waits for the writer of a named pipe; means nothing for a file
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)

_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EISDIR}


@cache
def host_mark() -> str:
    """Return this machine's mark in the names of temporary files."""
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}"  # hashlib and socket would take a while to import


def temporary_name() -> str:
    """Return a new name for a file that is being written; it names host and process, so that `is_leftover` can tell."""
    return f"{OURS}{host_mark()}-{os.getpid()}-{os.urandom(6).hex()}.tmp"


def is_leftover(name: str, modified: float) -> bool:
    """Return whether a temporary file is nobody's any more: its process has ended, or it is more than a day old."""
    found = LEFTOVER.fullmatch(name)
    if found is None:
        return False
    if time.time() - modified > DAY:
        return True
    return found[1] == host_mark() and not lives(int(found[2]))


def lives(pid: int) -> bool:
    """Return whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sweep_files(folder: str, names: Iterable[str]) -> int:
    """Remove the temporary files among ``names`` in ``folder`` that are nobody's any more; return how many."""
    removed = 0
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith(OURS) and is_leftover(name, _modified(path)):
            unlink(path)
            removed += 1
    return removed


def _modified(path: str) -> float:
    """Return when a file was changed last: never, where its writer has finished with it meanwhile."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return math.inf


def create_file(path: str, *, durable: bool) -> int:
    """Create the file ``path``, which is not there yet, with the folders above it, and return its descriptor.

    ``durable``: the new folders are on the disk.
    """
    for _ in range(TRIES):
        try:
            return os.open(path, _WRITE, 0o666)
        except FileNotFoundError:
            pass
        try:
            _make_folder(os.path.dirname(path), durable)
        except FileNotFoundError:
            pass  # the one above it is gone again
    return os.open(path, _WRITE, 0o666)


def _make_folder(folder: str, durable: bool) -> None:
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not S_ISDIR(os.stat(path).st_mode):  # FileNotFoundError where it is gone again
                raise
        if durable:
            sync_folder(os.path.dirname(path))


def write_all(descriptor: int, views: Sequence[memoryview]) -> None:
    """Write the whole of all ``views``, however many calls it takes."""
    for start in range(0, len(views), MOST_AT_ONCE):
        batch = views[start : start + MOST_AT_ONCE]
        nbytes = sum(map(len, batch))
        written = os.writev(descriptor, batch) if nbytes <= LARGEST_CALL else 0
        if written == nbytes:
            continue
        for view in batch:
            done, written = min(written, len(view)), max(written - len(view), 0)
            while done < len(view):  # a full disk, a signal, more than one call takes
                done += os.write(descriptor, view[done : done + LARGEST_CALL])


def sync_folder(folder: str) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderLock(AbstractContextManager["FolderLock"]):
    """Excludes every other holder, in this process and in others, of the lock of one folder (made if missing).

    The lock sits on the folder itself. Where the file system refuses that (NFS), a lock file in the folder takes its
    place. Hold one at a time: objects in one folder share it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._descriptor = -1

    def __enter__(self) -> FolderLock:
        removed = 0
        try:
            while True:
                try:
                    _make_folder(self.folder, durable=False)
                    self._descriptor = _locked(self.folder)
                except FileNotFoundError:
                    removed += 1
                    if removed == TRIES:
                        raise
                    continue
                if _still_named(self._descriptor, self.folder):
                    return self
                self.__exit__()  # the folder was removed while we waited
        except BaseException:  # interrupted: nobody would ever give the lock back
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                _unlock(descriptor)
            finally:
                os.close(descriptor)


def _locked(folder: str) -> int:
    try:
        return _flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
    try:
        return _flock(os.open(f"{folder}/{LOCK_FILE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        raise UnsupportedError(
            "the file system offers no locks", where=folder, hint="let each task write whole chunks or shards"
        ) from error


def _flock(descriptor: int) -> int:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int) -> None:
    import fcntl

    # closing alone would not do after a fork: the child's copy of the descriptor keeps the lock
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _still_named(descriptor: int, folder: str) -> bool:
    return _names(folder, descriptor) or _names(f"{folder}/{LOCK_FILE}", descriptor)


def _names(path: str, descriptor: int) -> bool:
    """Return whether ``path`` stands for the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


class ObjectLock(AbstractContextManager["ObjectLock"]):
    """Excludes every other holder of the lock of one object, until the object is replaced or deleted.

    The lock sits on the object's file, so that neighbours in a folder can change at the same time (benchmark:
    region_layers). Whoever waited for it looks again what the name stands for now: a lock on a file that was replaced
    protects nothing. So one holder may replace the object once, last. Where there is no file yet, or files cannot be
    locked, the lock of the folder takes its place.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._folder: FolderLock | None = None

    def __enter__(self) -> ObjectLock:
        try:
            while not self._take():
                self.__exit__()  # the object was replaced, or came into being, while we waited
            return self
        except BaseException:  # interrupted: nobody would ever give the lock back
            self.__exit__()
            raise

    def _take(self) -> bool:
        """Take the lock, and return whether it still is that of the object."""
        try:
            self._descriptor = _flock(os.open(self.path, READ))
        except OSError as error:
            absent = isinstance(error, FileNotFoundError | NotADirectoryError)
            if not absent and error.errno not in _NO_FLOCK:
                raise
            self._folder = FolderLock(os.path.dirname(self.path))
            self._folder.__enter__()
            return not absent or not os.path.exists(self.path)
        return _names(self.path, self._descriptor)

    @property
    def of_folder(self) -> bool:
        """Whether the folder's lock has taken its place: whoever holds it must not lock others of its objects."""
        return self._folder is not None

    def __exit__(self, *error: object) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.__exit__()
        if descriptor >= 0:
            try:
                _unlock(descriptor)
            finally:
                close_soon(descriptor)  # the file that it stands for was most likely replaced


class ThreadLock(AbstractContextManager["ThreadLock"]):
    """A lock that a weak table may hold."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> ThreadLock:
        self._lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def take(self) -> bool:
        """Take the lock where nobody holds it, and return whether that was so; `release` it afterwards."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()

    @property
    def is_held(self) -> bool:
        """Whether anybody holds it now."""
        return self._lock.locked()


_thread_locks: WeakValueDictionary[tuple[Hashable, str], ThreadLock] = WeakValueDictionary()
_guard = threading.Lock()


def thread_lock(place: Hashable, key: str) -> ThreadLock:
    """Return the one lock of this process for the object ``key`` at ``place``."""
    with _guard:
        lock = _thread_locks.get((place, key))
        if lock is None:
            lock = _thread_locks[place, key] = ThreadLock()
        return lock


def own_lock(store: Store, key: str) -> AbstractContextManager[object]:
    """Return the store's lock of ``key``; where the store has none, one that excludes the threads of this process."""
    return store.lock(key) or thread_lock(*store.name_of(key))


def _forget_locks() -> None:
    global _guard
    _guard = threading.Lock()  # the thread that held it does not exist in a forked child
    _thread_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def outside(where: str) -> XzarrError:
    """Return the error for a write that a symbolic link would lead out of the store."""
    return XzarrError(
        "a symbolic link leads out of the store; nothing is written through it",
        where=where,
        hint="open the folder that the link points to",
    )


def unlink(path: str) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_tree(path: str) -> None:
    """Remove a file, a link (not its target) or a folder with all it holds; others may do so at the same time."""
    if os.path.islink(path) or not os.path.isdir(path):
        unlink(path)
        return
    import shutil  # late: it loads every compression module of the standard library

    filled = 0
    while os.path.isdir(path):
        try:
            if sys.version_info >= (3, 12):
                shutil.rmtree(path, onexc=_raise_whole)
            else:
                shutil.rmtree(path, onerror=lambda call, path, failed: _raise_whole(call, path, failed[1]))
        except FileNotFoundError:
            pass  # somebody else removes it too
        except OSError as error:
            filled += 1
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or filled == TRIES:
                raise  # else somebody else stored something in it meanwhile


def _raise_whole(call: object, path: str, error: BaseException) -> None:
    """Raise the error with the whole path: by itself it may say "c", of whichever folder."""
    if isinstance(error, OSError):
        error.filename = path
    raise error
