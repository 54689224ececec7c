"""Objects as files below a folder.

Imports errors, base and files. Invariant: a read costs one open, one fstat and one read; a write goes to a temporary
file in the same folder that then takes the object's name, so that readers see the old object or the new one. Links are
followed when reading; nothing is written or deleted outside the store's folder.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from ..errors import XzarrError
from .base import Buffer, ByteRange, Store, merge_spans, view_of
from .files import (
    EXCHANGE,
    LARGEST_CALL,
    OURS,
    READ,
    FolderLock,
    ObjectLock,
    create_file,
    outside,
    remove_tree,
    sweep_files,
    sync_folder,
    temporary_name,
    unlink,
    write_all,
)

GAP = 4096  # bytes: reading over them is cheaper than another call
LARGEST_READ = 1 << 22  # bytes that neighbouring ranges may grow to
CHECKED_FOLDERS = 4096

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


class LocalStore(Store):
    """A folder of the local file system. ``durable``: a write returns when the object is on the disk."""

    def __init__(self, root: str | os.PathLike[str], *, read_only: bool = False, durable: bool = False) -> None:
        self.root = self.url = os.path.abspath(os.fspath(root))
        self.read_only = read_only
        self.durable = durable
        self._base = self.root.rstrip("/") + "/"
        self._checked: set[str] = set()

    def __reduce__(self) -> Any:
        return _reopen, (self.root, self.read_only, self.durable)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object or its range; into ``scratch`` where that is large enough."""
        try:
            descriptor = os.open(self._base + key, READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            count = 0
            if scratch and byte_range is None and len(scratch) <= LARGEST_CALL:
                count = os.readv(descriptor, [scratch])
                if 0 < count < len(scratch):  # a file gives less than it was asked for only where it ends
                    return scratch[:count]
            status = os.fstat(descriptor)
            size = status.st_size
            if count and size == count:  # `scratch` is full
                return scratch
            start = 0
            if byte_range is not None:
                start, length = byte_range
                if start < 0:
                    start = max(size + start, 0)
                size = max(size - start if length is None else min(length, size - start), 0)
            if size == 0:
                return None if S_ISDIR(status.st_mode) else b""
            if scratch is not None and size <= len(scratch):
                return _fill(descriptor, scratch[:size], start)
            return _read(descriptor, start, start + size)
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        """Return the object's stamp (inode, time in ns, size) and the ranges, read through one descriptor."""
        try:
            descriptor = os.open(self._base + key, READ)
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        try:
            status = os.fstat(descriptor)
            now = status.st_ino, status.st_mtime_ns, status.st_size
            if S_ISDIR(status.st_mode):
                return None, None
            if stamp is not None and stamp != now:
                return now, None
            return now, _read_ranges(descriptor, status.st_size, ranges)
        finally:
            os.close(descriptor)

    def get_strided(self, key: str, starts: range, nbytes: int) -> bytes | None:
        """Return the pieces, read one by one through one descriptor (row ``column_plain`` of the benchmark)."""
        try:
            descriptor = os.open(self._base + key, READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if nbytes > LARGEST_CALL:
                return b"".join([_read(descriptor, start, start + nbytes) for start in starts])
            pread = os.pread
            return b"".join([pread(descriptor, nbytes, start) for start in starts])
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)

    def set(self, key: str, value: Buffer) -> None:
        """Write a temporary file beside the object, and let it take the object's name."""
        self.set_parts(key, [value])

    def set_parts(self, key: str, parts: Sequence[Buffer]) -> None:
        """Do the same with the parts as they lie in memory (rows ``region_inner`` and ``write_shard``)."""
        path = self._path(key)
        temporary = self._write_beside(path, parts)
        try:
            os.replace(temporary, path)
        except BaseException:
            unlink(temporary)
            raise
        if self.durable:
            sync_folder(os.path.dirname(path))

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Write a temporary file beside the object, and let it take the object's name unless that is taken."""
        path = self._path(key)
        temporary = self._write_beside(path, [value])
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if not _rename_if_absent(temporary, path):
                return False
        finally:
            unlink(temporary)
        if self.durable:
            sync_folder(os.path.dirname(path))
        return True

    def delete(self, key: str) -> None:
        """Delete the file; a link is deleted, not what it points to."""
        try:
            os.unlink(self._path(key))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass

    def delete_prefix(self, prefix: str) -> None:
        """Delete the folder with all that it holds; of the store's own folder, all that it holds."""
        if prefix:
            path = self._path(prefix[:-1])
            if os.path.isdir(path):
                remove_tree(path)
            return
        self.check_writable()
        for entry in _entries(self._base):
            remove_tree(entry.path)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names in the folder; what our own writers keep there is not shown."""
        entries = _entries(self._base + prefix)
        shown = [entry for entry in entries if not entry.name.startswith(OURS)]
        if len(shown) < len(entries) and any(entry.name.endswith(EXCHANGE) for entry in entries):
            from .exchange import settle_all

            settle_all(self._base + prefix)
            shown = [entry for entry in _entries(self._base + prefix) if not entry.name.startswith(OURS)]
        return sorted(entry.name + "/" if _is_folder(entry) else entry.name for entry in shown)

    def settle(self, path: str) -> bool:
        """Finish an exchange of folders that ended between its two renames, for ``path`` and every folder above it."""
        from .exchange import settle

        parts = path.split("/") if path else []
        folders = [os.path.realpath(self.root), *(self._base + "/".join(parts[:n]) for n in range(1, len(parts) + 1))]
        return any([settle(folder) for folder in folders])  # noqa: C419 (all of them)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield key and size of every file, through links too, but never round in circles."""
        yield from _walk(self._base + prefix, prefix, (os.path.realpath(self._base + prefix),))

    def size(self, key: str) -> int | None:
        """Return the size of the file in bytes."""
        try:
            status = os.stat(self._base + key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if S_ISDIR(status.st_mode) else status.st_size

    def lock(self, key: str) -> AbstractContextManager[object]:
        """Return the lock of the object's file: it excludes threads and processes, and leaves no file."""
        return ObjectLock(self._path(key))

    def durably(self) -> LocalStore:
        """Return a store of the same folder whose writes wait for the disk."""
        return self if self.durable else LocalStore(self.root, read_only=self.read_only, durable=True)

    def sweep(self, prefix: str = "", *, seconds: float = math.inf) -> int:
        """Remove what killed writers left behind; return how many files that were.

        A temporary file goes when the process that wrote it has ended, or when it is more than a day old; so does a
        folder that was to replace another one. After ``seconds`` it stops, wherever it is.
        """
        from .exchange import is_abandoned

        self.check_writable()
        removed, end = 0, time.monotonic() + seconds
        for folder, folders, names in os.walk(self._base + prefix):
            if time.monotonic() > end:
                break
            for name in [name for name in folders if name.startswith(OURS)]:
                folders.remove(name)  # what others are building is not ours to look into
                if is_abandoned(f"{folder}/{name}"):
                    remove_tree(f"{folder}/{name}")
                    removed += 1
            removed += sweep_files(folder, names)
        return removed

    def remove_empty(self, prefix: str) -> None:
        """Remove the folder of ``prefix`` if nothing is in it."""
        try:
            os.rmdir(self._path(prefix[:-1]))
        except OSError:
            pass

    def folder(self, path: str) -> str:
        """Return the folder of ``path`` (the store's own, without links, when that is empty) for writing."""
        self.check_writable()
        return self._path(path) if path else os.path.realpath(self.root)

    def _path(self, key: str) -> str:
        """Return where ``key`` is written, once it is certain that this lies within the store."""
        self.check_writable()
        path = self._base + key
        folder = path.rpartition("/")[0]
        if ".." in key and ".." in key.split("/"):
            raise XzarrError(f"the key {key!r} leads out of the store", where=self.url)
        if folder not in self._checked:
            self._check_folder(folder)
        return path

    def _check_folder(self, folder: str) -> None:
        """Raise unless ``folder`` lies within the store: the one above it does, and no link leads out of there."""
        if folder in self._checked or len(folder) <= len(self.root):
            return
        self._check_folder(folder.rpartition("/")[0])
        try:
            mode = os.lstat(folder).st_mode
        except OSError:
            return  # it will be made, or whoever uses it fails
        if S_ISLNK(mode):
            root, real = os.path.realpath(self.root), os.path.realpath(folder)
            if real != root and not real.startswith(root.rstrip("/") + "/"):
                raise outside(folder)
        if len(self._checked) >= CHECKED_FOLDERS:
            self._checked.clear()
        if S_ISDIR(mode) or os.path.isdir(folder):
            self._checked.add(folder)

    def _write_beside(self, path: str, parts: Sequence[Buffer]) -> str:
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/{temporary_name()}"
        descriptor = create_file(temporary, durable=self.durable)
        try:
            write_all(descriptor, [view_of(part) for part in parts])
            if self.durable:
                os.fsync(descriptor)
        except BaseException:
            unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        return temporary


def _reopen(root: str, read_only: bool, durable: bool) -> LocalStore:
    return LocalStore(root, read_only=read_only, durable=durable)


def _fill(descriptor: int, view: memoryview, start: int) -> memoryview:
    """Fill ``view`` in as many calls as it takes; return the part that the file had."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done : done + LARGEST_CALL]], start + done)
        if count == 0:
            break  # cut off by another program while we read
        done += count
    return view[:done]


def _read(descriptor: int, start: int, stop: int) -> Buffer:
    nbytes = stop - start
    if nbytes <= LARGEST_CALL:
        data = os.pread(descriptor, nbytes, start)
        if len(data) == nbytes:
            return data
    return _fill(descriptor, memoryview(bytearray(nbytes)), start)


def _read_ranges(descriptor: int, size: int, ranges: Sequence[ByteRange]) -> list[Buffer]:
    spans = []
    for start, length in ranges:
        begin = max(size + start, 0) if start < 0 else min(start, size)
        spans.append((begin, size if length is None else min(begin + length, size)))
    if len(spans) == 1:
        return [_read(descriptor, *spans[0])]
    found: list[Buffer] = [b""] * len(spans)
    for first, last, places in merge_spans(spans, GAP, LARGEST_READ):
        view = memoryview(_read(descriptor, first, last))
        for place in places:
            begin, end = spans[place]
            found[place] = view[begin - first : end - first]
    return found


def _rename_if_absent(temporary: str, path: str) -> bool:
    # a file system without hard links: only writers of this package are excluded
    with FolderLock(os.path.dirname(path)):
        if os.path.lexists(path):
            return False
        os.replace(temporary, path)
        return True


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads round in a circle


def _walk(folder: str, prefix: str, seen: tuple[str, ...]) -> Iterator[tuple[str, int | None]]:
    for entry in _entries(folder):
        if entry.name.startswith(OURS):
            continue
        if not _is_folder(entry):
            yield from _file(entry, prefix)
            continue
        below = seen
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            below = (*seen, os.path.realpath(folder))
            if any(f"{place}/".startswith(f"{target}/") for place in below):
                continue
            below = (*below, target)
        yield from _walk(f"{folder}{entry.name}/", f"{prefix}{entry.name}/", below)


def _file(entry: os.DirEntry[str], prefix: str) -> Iterator[tuple[str, int | None]]:
    try:
        status = entry.stat()
    except OSError:
        return  # deleted meanwhile, or a link to nothing
    if S_ISREG(status.st_mode):
        yield prefix + entry.name, status.st_size
