"""Objects as entries of one zip archive on the local file system.

Imports errors, base, files and zip_records. Invariant: the archive on disk is complete at every moment. What is set
goes to a file beside it; `close` turns that into the new archive and lets it take the archive's name, together with the
entries that others have added meanwhile.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from ..errors import ChunkError, UnsupportedError, XzarrError
from .base import Buffer, ByteRange, Store, names_below, slice_buffer, view_of
from .files import FolderLock, sweep_files, thread_lock
from .zip_records import DEFLATED, STORED, Entry, ZipWriter, read_entries


class ZipStore(Store):
    """A zip archive. ``close`` (or leaving a ``with`` block, or the end of the program) completes what was written."""

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = self.url = os.path.abspath(os.fspath(path))
        self.read_only = read_only
        self.shared_between_processes = read_only
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] | None = None
        self._changes: _Changes | None = None
        self._completes = True
        self._at_end: weakref.finalize[Any, Any] | None = None
        self._load()

    def __reduce__(self) -> Any:
        if not self.read_only:
            raise XzarrError(
                "a zip archive that is open for writing cannot go to another process",
                where=self.url,
                hint='write with threads, or open it with mode="r" to read it from several processes',
            )
        return _reopen, (self.path,)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the entry or its range; a whole entry is checked against its CRC-32, else `ChunkError`."""
        entries = self._entries
        entry = (self._load() if entries is None else entries).get(key)
        if entry is None:
            return None
        if entry.method == STORED and byte_range is not None:
            return self._stored_range(key, entry, byte_range)
        return slice_buffer(self._whole(key, entry, scratch), byte_range)

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        """Return the entry's stamp (file, place in it, CRC-32) and its ranges."""
        entry = self._load().get(key)
        if entry is None:
            return None, None
        now = entry.file.token, entry.offset, entry.crc
        if stamp is not None and stamp != now:
            return now, None
        if entry.method == STORED:
            return now, [self._stored_range(key, entry, wanted) for wanted in ranges]
        whole = self._whole(key, entry, None)
        return now, [slice_buffer(whole, wanted) for wanted in ranges]

    def set(self, key: str, value: Buffer) -> None:
        """Write the entry beside the archive; `close` makes it part of the archive."""
        with self._lock:
            self._change().set(key, view_of(value))

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Write the entry unless there is one; threads exclude each other."""
        with self._lock:
            self.check_writable()
            if key in self._load():
                return False
            self.set(key, value)
            return True

    def delete(self, key: str) -> None:
        """Leave the entry out of the next archive."""
        with self._lock:
            self.check_writable()
            if key in self._load():
                self._change().delete(key)

    def delete_prefix(self, prefix: str) -> None:
        """Leave all entries below ``prefix`` out of the next archive."""
        with self._lock:
            self.check_writable()
            for key in [key for key in self._load() if key.startswith(prefix)]:
                self._change().delete(key)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``."""
        return names_below(list(self._load()), prefix)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield name and size (decompressed) of every entry below ``prefix``."""
        for key, entry in list(self._load().items()):
            if key.startswith(prefix):
                yield key, entry.size

    def size(self, key: str) -> int | None:
        """Return the decompressed size of the entry in bytes."""
        entry = self._load().get(key)
        return None if entry is None else entry.size

    def lock(self, key: str) -> AbstractContextManager[object]:
        """Return a lock that excludes the other threads of this process."""
        self.check_writable()
        return thread_lock(self.path, key)

    def close(self) -> None:
        """Complete the archive with what was set and deleted, and give back the files.

        Where that fails (a full disk), what was written is kept, and `close` can be called again.
        """
        with self._lock:
            changes = self._changes
            try:
                if changes is not None:
                    changes.finish()
            finally:  # after a full disk it can be tried again; what others have overtaken is gone
                if changes is None or changes.done or changes.process != os.getpid():
                    self._forget()

    def discard(self) -> None:
        """Forget what was set and deleted since the archive was opened, or closed."""
        with self._lock:
            if self._changes is not None:
                self._changes.drop()
            self._forget()

    def only_when_closed(self) -> ZipStore:
        """Return this store, which is to forget what was set where nobody closes it: somebody's write has failed."""
        self._completes = False
        self._at_the_end()
        return self

    def sweep(self) -> int:
        """Remove what killed writers of archives in this folder left beside them; return how many files that were."""
        self.check_writable()
        folder = os.path.dirname(self.path)
        return sweep_files(folder, os.listdir(folder)) if os.path.isdir(folder) else 0

    def _load(self) -> dict[str, Entry]:
        with self._lock:
            if self._entries is None:
                self._entries = read_entries(self.path)
            return self._entries

    def _change(self) -> _Changes:
        self.check_writable()
        if self._changes is None:
            self._changes = _Changes(self.path, self._load())
            self._at_the_end()
        self._changes.check_process()
        return self._changes

    def _forget(self) -> None:
        self._changes = self._entries = None
        self._at_the_end()

    def _at_the_end(self) -> None:
        """Say what becomes of changes when nobody holds the store any more."""
        if self._at_end is not None:
            self._at_end.detach()
        if self._changes is not None:
            finish = partial(self._changes.finish, last=True)
            self._at_end = weakref.finalize(self, finish if self._completes else self._changes.drop)

    def _stored_range(self, key: str, entry: Entry, wanted: ByteRange) -> Buffer:
        start, length = wanted
        start = max(entry.size + start, 0) if start < 0 else min(start, entry.size)
        stop = entry.size if length is None else min(start + length, entry.size)
        return self._read(key, entry, start, stop - start, None)

    def _whole(self, key: str, entry: Entry, scratch: memoryview | None) -> Buffer:
        if entry.method == STORED:
            data = self._read(key, entry, 0, entry.size, scratch)
        elif entry.method == DEFLATED:
            packed = self._read(key, entry, 0, entry.packed, None)
            try:
                data = zlib.decompressobj(-15).decompress(packed, entry.size + 1)
            except zlib.error as error:
                raise self._damaged(key, str(error)) from error
        else:
            raise UnsupportedError(
                f"entry {key!r} is compressed by method {entry.method}; known are stored (0) and deflated (8) entries",
                where=self.url,
                hint="pack the archive anew without compression",
            )
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise self._damaged(key, "its CRC-32 or size does not match")
        return data

    def _read(self, key: str, entry: Entry, start: int, length: int, scratch: memoryview | None) -> Buffer:
        if entry.encrypted:
            raise UnsupportedError(f"entry {key!r} is encrypted", where=self.url)
        offset = entry.data_offset()
        if offset is None or length > entry.packed or offset + entry.packed > entry.file.size():
            raise self._damaged(key, "it does not lie where the archive's directory says")
        if length and scratch is not None and length <= len(scratch):
            view = scratch[:length]
            if os.preadv(entry.file.descriptor, [view], offset + start) == length:
                return view
        data = entry.file.read(offset + start, length)
        if len(data) != length:
            raise self._damaged(key, "the archive is cut off")
        return data

    def _damaged(self, key: str, why: str) -> ChunkError:
        return ChunkError(f"entry {key!r} of the archive is damaged: {why}", where=self.url)


class _Changes:
    """What was set and deleted since the archive was opened. ``entries`` is the view that the store reads from."""

    def __init__(self, path: str, entries: dict[str, Entry]) -> None:
        self.path = path
        self.entries = entries
        self.process = os.getpid()
        self.writer = ZipWriter(path)
        self.added: dict[str, Entry] = {}
        self.deleted: set[str] = set()
        self.before: dict[str, Entry | None] = {}  # what lay there when it was first set or deleted
        self.wasted = False
        self.done = False

    def check_process(self) -> None:
        """Raise in a forked child: the file beside the archive belongs to its parent."""
        if os.getpid() != self.process:
            raise XzarrError("the archive is being written by another process", where=self.path)

    def set(self, key: str, view: memoryview) -> None:
        """Write one entry."""
        self.before.setdefault(key, self.entries.get(key))
        entry = self.writer.add(key, view)
        self.wasted = self.wasted or key in self.added
        self.added[key] = self.entries[key] = entry
        self.deleted.discard(key)

    def delete(self, key: str) -> None:
        """Forget one entry."""
        self.before.setdefault(key, self.entries.get(key))
        if self.added.pop(key, None) is not None:
            self.wasted = True
        self.entries.pop(key, None)
        self.deleted.add(key)

    def finish(self, *, last: bool = False) -> None:
        """Put the new archive in the place of the old one, once; raise `XzarrError` where others changed a key too.

        After a `ChunkError` (a full disk) it can be tried again, unless this was the ``last`` time: then what cannot be
        stored takes no space.
        """
        if self.done or os.getpid() != self.process:
            return
        try:
            self._exchange()
        except Exception as error:
            kept = f"is kept in {self.writer.file.path}: close the store again"
            if last:
                self.done = True
                self.writer.discard()
            if isinstance(error, XzarrError):
                raise
            raise ChunkError(
                f"the archive could not be completed: {getattr(error, 'strerror', None) or error}",
                where=self.path,
                hint=f"the archive is as it was; what was written {'is lost' if last else kept}",
            ) from error

    def _exchange(self) -> None:
        with FolderLock(os.path.dirname(self.path)):
            present = read_entries(self.path)  # with what other writers have added since
            both = [key for key in self.before if self._changed_by_others(key, present.get(key))]
            if both:
                self.done = True
                self.writer.discard()
                raise XzarrError(
                    f"another writer has changed {len(both)} of the objects too, such as {both[0]!r}; none is stored",
                    where=self.path,
                    hint="open the archive again and repeat the change",
                )
            kept = {k: e for k, e in present.items() if k not in self.added and k not in self.deleted}
            if self.wasted:  # the same name twice: only what counts goes into a second file
                self._compact()
            self.writer.finish(self.path, kept)
        self.done = True

    def drop(self) -> None:
        """Leave the archive as it is."""
        if not self.done and os.getpid() == self.process:
            self.done = True
            self.writer.discard()

    def _changed_by_others(self, key: str, now: Entry | None) -> bool:
        return not any(_same(now, entry) for entry in (self.before[key], self.added.get(key)))

    def _compact(self) -> None:
        fresh = ZipWriter(self.path)
        try:
            for key, entry in self.added.items():
                fresh.copy(key, entry)
        except BaseException:
            fresh.discard()
            raise
        self.writer.discard()
        self.writer, self.added, self.wasted = fresh, dict(fresh.entries), False
        self.entries.update(self.added)


def _same(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.size, one.crc) == (other.size, other.crc)


def _reopen(path: str) -> ZipStore:
    return ZipStore(path, read_only=True)
