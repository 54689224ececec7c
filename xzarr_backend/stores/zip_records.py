"""The records of a zip archive: finding its entries, and writing archives of stored entries.

Imports errors, base and files. Invariant: nothing that a directory claims (offset, size) is trusted before it was
compared with the file. Source: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3 (ZIP64).
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Mapping

from ..errors import XzarrError
from .base import Buffer
from .files import temporary_name, unlink

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_FULL, _FULL_COUNT = 0xFFFFFFFF, 0xFFFF  # "see the ZIP64 record"
_BIG, _MANY = _FULL, _FULL_COUNT  # sizes, offsets and counts from which ZIP64 records are written
_UTF8 = 0x800
_COPIED = 1 << 22  # bytes per step when an entry is copied

_tokens = itertools.count()


class ArchiveFile:
    """An open file; it is closed when the last entry that lies in it is forgotten."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        self.path = path
        self.token = next(_tokens)
        self._size = os.fstat(self.descriptor).st_size

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def size(self) -> int:
        """Return the size in bytes when the file was opened or last written to."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes at ``offset``, less where the file ends."""
        parts = []
        while length > 0 and (data := os.pread(self.descriptor, length, offset)):
            parts.append(data)
            offset, length = offset + len(data), length - len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def append(self, *views: Buffer) -> None:
        """Write ``views`` at the end; when that fails, the next call writes over what got there."""
        end = self._size
        for view in views:
            rest = memoryview(view)
            while rest:
                written = os.pwrite(self.descriptor, rest, end)
                end, rest = end + written, rest[written:]
        self._size = end

    def cut(self, size: int) -> None:
        """Give back what lies behind the first ``size`` bytes."""
        os.ftruncate(self.descriptor, size)
        self._size = size


class Entry:
    """Where one object lies: ``offset`` of its local header, ``packed`` bytes there, ``size`` when unpacked.

    ``name`` is what the header must say: the bytes of the directory.
    """

    __slots__ = ("_data", "crc", "encrypted", "file", "method", "modified", "name", "offset", "packed", "size")

    def __init__(
        self,
        file: ArchiveFile,
        name: bytes,
        offset: int,
        method: int,
        sizes: tuple[int, int],
        crc: int,
        modified: tuple[int, int],
    ) -> None:
        self.file, self.name, self.offset, self.method = file, name, offset, method
        self.packed, self.size = sizes
        self.crc, self.modified = crc, modified
        self.encrypted = False
        self._data: int | None = None

    def data_offset(self) -> int | None:
        """Return where the data begin: only the local header knows. None when there is no header of this name."""
        if self._data is None:
            if self.offset < 0:  # of a directory that claims to begin further on than it does
                return None
            header = self.file.read(self.offset, _LOCAL.size + len(self.name))
            if header[:4] != b"PK\3\4" or header[_LOCAL.size :] != self.name:
                return None
            name, extra = struct.unpack_from("<2H", header, 26)
            if name != len(self.name):
                return None
            self._data = self.offset + _LOCAL.size + name + extra
        return self._data


def read_entries(path: str) -> dict[str, Entry]:
    """Return the entries of the archive by name, none when there is no file; of equal names the last one counts.

    Raise `XzarrError` when the file is no zip archive.
    """
    try:
        file = ArchiveFile(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if file.size() == 0:
        return {}  # made by a caller that reserves a name, such as tempfile
    try:
        with os.fdopen(os.dup(file.descriptor), "rb") as opened, zipfile.ZipFile(opened) as archive:
            found, comment = archive.infolist(), archive.comment
    except (zipfile.BadZipFile, IsADirectoryError, UnicodeDecodeError, struct.error, NotImplementedError) as error:
        raise _no_archive(path, error) from error
    told = _told_count(file, comment)
    if told is not None and (len(found) - told) % (1 << 16):  # old writers count no further
        raise _no_archive(path, f"its directory has {len(found)} entries, and should have {told}")
    entries = {}
    for info in found:
        if not info.filename.endswith("/"):
            entries[info.filename.removeprefix("./").lstrip("/")] = _entry(file, info)
    return entries


def _no_archive(path: str, why: object) -> XzarrError:
    return XzarrError(f"not a zip archive, or a damaged one: {why}", where=path)


def _told_count(file: ArchiveFile, comment: bytes) -> int | None:
    """Return how many entries the end record claims, None where other bytes follow it."""
    at = file.size() - len(comment) - _END.size
    end = file.read(at, _END.size)
    if end[:4] != b"PK\5\6":
        return None
    count = int(_END.unpack(end)[4])
    if count == _FULL_COUNT:
        large = file.read(max(at - _LOCATOR64.size - _END64.size, 0), _END64.size)
        count = int(_END64.unpack(large)[7]) if large[:4] == b"PK\6\6" else count
    return count


def _entry(file: ArchiveFile, info: zipfile.ZipInfo) -> Entry:
    sizes = info.compress_size, info.file_size
    name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    entry = Entry(file, name, info.header_offset, info.compress_type, sizes, info.CRC, _dos_time(info.date_time))
    entry.encrypted = bool(info.flag_bits & 1)
    return entry


def _dos_time(when: tuple[int, ...]) -> tuple[int, int]:
    year, month, day, hour, minute, second = when[:6]
    return hour << 11 | minute << 5 | second // 2, max(year - 1980, 0) << 9 | month << 5 | day


class ZipWriter:
    """Writes an archive into a temporary file beside ``path``; `finish` gives it that name. Safe with threads."""

    def __init__(self, path: str) -> None:
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        self.file = ArchiveFile(f"{folder}/{temporary_name()}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def add(self, name: str, view: memoryview) -> Entry:
        """Write ``view`` as a stored entry."""
        when = _dos_time(time.localtime())
        crc = zlib.crc32(view)
        with self._lock:
            entry = Entry(self.file, name.encode(), self.file.size(), STORED, (len(view), len(view)), crc, when)
            self.file.append(_local_header(name, entry), view)
            self.entries[name] = entry
        return entry

    def copy(self, name: str, entry: Entry) -> None:
        """Write an entry of another archive as it is, compressed or not."""
        start = entry.data_offset()
        if start is None or start + entry.packed > entry.file.size() or entry.encrypted:
            raise XzarrError(f"entry {name!r} is damaged or encrypted and cannot be copied", where=entry.file.path)
        with self._lock:
            sizes = entry.packed, entry.size
            copied = Entry(self.file, name.encode(), self.file.size(), entry.method, sizes, entry.crc, entry.modified)
            self.file.append(_local_header(name, copied))
            for done in range(0, entry.packed, _COPIED):
                self.file.append(entry.file.read(start + done, min(_COPIED, entry.packed - done)))
            self.entries[name] = copied

    def finish(self, path: str, kept: Mapping[str, Entry]) -> None:
        """Copy the entries ``kept``, write the directory, and let the file take the archive's name.

        After an error it is as it was before, and so is the space that it takes.
        """
        size, entries = self.file.size(), dict(self.entries)
        try:
            for name, entry in kept.items():
                self.copy(name, entry)
            start = self.file.size()
            headers = b"".join(_central_header(name, entry) for name, entry in self.entries.items())
            self.file.cut(start)  # a failed write may have left bytes there
            self.file.append(headers, _end(len(self.entries), start, len(headers)))
            os.replace(self.file.path, path)
        except (OSError, XzarrError):
            self.entries = entries
            self.file.cut(size)
            raise

    def discard(self) -> None:
        """Remove the temporary file; what was read from it stays readable."""
        unlink(self.file.path)


def _local_header(name: str, entry: Entry) -> bytes:
    raw, flags = _encoded(name)
    large = entry.size >= _BIG or entry.packed >= _BIG
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.packed) if large else b""
    sizes = (_FULL, _FULL) if large else (entry.packed, entry.size)
    version = 45 if large else 20
    fields = (version, flags, entry.method, *entry.modified, entry.crc, *sizes, len(raw), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fields) + raw + extra


def _central_header(name: str, entry: Entry) -> bytes:
    raw, flags = _encoded(name)
    numbers = (entry.size, entry.packed, entry.offset)
    large = [n for n in numbers if n >= _BIG]
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    size, packed, offset = (_FULL if n >= _BIG else n for n in numbers)
    version = 45 if large else 20
    fields = (0x300 | version, version, flags, entry.method, *entry.modified, entry.crc, packed, size)
    mode = 0o100644 << 16
    return _CENTRAL.pack(b"PK\1\2", *fields, len(raw), len(extra), 0, 0, 0, mode, offset) + raw + extra


def _end(count: int, start: int, size: int) -> bytes:
    if count < _MANY and size < _BIG and start < _BIG:
        return _END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0)
    end64 = _END64.pack(b"PK\6\6", 44, 0x300 | 45, 45, 0, 0, count, count, size, start)
    end = _END.pack(b"PK\5\6", 0, 0, _FULL_COUNT, _FULL_COUNT, _FULL, _FULL, 0)
    return end64 + _LOCATOR64.pack(b"PK\6\7", 0, start + size, 1) + end


def _encoded(name: str) -> tuple[bytes, int]:
    raw = name.encode()
    return raw, 0 if name.isascii() else _UTF8
