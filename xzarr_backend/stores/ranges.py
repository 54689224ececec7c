"""Ranges as filesystems of fsspec and HTTP servers take them, and what they may answer.

Imports errors, base, concurrency and filesystems. Invariant: what is returned are the bytes that were asked for, also
where the other side knows no suffixes, or sends more.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from ..errors import XzarrError
from .base import Buffer, ByteRange, public_url, slice_buffer
from .concurrency import is_transient
from .filesystems import MISSING


def limits_of(wanted: ByteRange) -> dict[str, int | None]:
    start, length = wanted
    if start < 0:
        return {"start": start, "end": None}
    return {"start": start, "end": None if length is None else start + length}


def cut_out(data: Buffer, wanted: ByteRange) -> Buffer:
    """Return what was wanted of an answer, also of one that is longer: then the filesystem has sent the whole object.

    An object that is no longer than ``length``, or a range without one, tells no such thing: a filesystem that knows
    no ranges at all must not be used for these.
    """
    start, length = wanted
    if start < 0:
        return slice_buffer(slice_buffer(data, ByteRange(start)), ByteRange(0, length))
    return data if length is None or len(data) <= length else slice_buffer(data, wanted)


def is_behind(wanted: ByteRange, size: int) -> bool:
    """Return whether a range of an object of ``size`` bytes holds nothing."""
    return wanted.start >= size if wanted.start >= 0 else size == 0


def is_final(error: Exception) -> bool:
    return isinstance(error, MISSING) or is_transient(error)


def instead_of(wanted: ByteRange, error: Exception, size: int | None) -> ByteRange:
    """Return what to ask for after a range has failed, of length zero for nothing; else raise ``error``.

    Filesystems raise for ranges behind the end, and some know no suffixes.
    """
    if size is not None and is_behind(wanted, size):
        return ByteRange(0, 0)
    no_suffix = isinstance(error, ValueError | TypeError | NotImplementedError)
    no_suffix = no_suffix or getattr(error, "errno", None) == errno.EINVAL
    if size is None or wanted.start >= 0 or not no_suffix:
        raise error
    return from_start(wanted, size)


def from_start(suffix: ByteRange, size: int) -> ByteRange:
    """Return the range that a suffix of an object of ``size`` bytes is."""
    start = max(size + suffix.start, 0)
    return ByteRange(start, size - start if suffix.length is None else min(suffix.length, size - start))


def _is_of(wanted: ByteRange, sent: str) -> bool:
    """Return whether an answer holds the range that was asked for, after its Content-Range; yes where there is none."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", sent.strip(), re.IGNORECASE)
    if found is None:
        return True
    first, last = int(found[1]), int(found[2])
    start, length = wanted
    if found[3] == "*":  # the object's size is not known
        return start < 0 or (first == start and (length is None or last < start + max(length, 1)))
    end = int(found[3]) - 1
    if start < 0:
        return first == max(end + 1 + start, 0) and last == end
    return first == start and last == (end if length is None else min(start + max(length, 1) - 1, end))


async def http_range(fs: Any, path: str, wanted: ByteRange) -> Buffer:
    """Fetch a range by HTTP; unlike fsspec, notice when the server sends the whole object (RFC 9110, section 14)."""
    start, length = wanted
    # at least one byte: of none, no server would say whether the object is there
    limits = f"{start}" if start < 0 else f"{start}-" if length is None else f"{start}-{start + max(length, 1) - 1}"
    options = dict(fs.kwargs)
    # compressed on the way, a range would mean bytes of the compressed form
    headers = {**options.pop("headers", {}), "Range": f"bytes={limits}", "Accept-Encoding": "identity"}
    session = await fs.set_session()
    async with session.get(fs.encode_url(path), headers=headers, **options) as response:
        if response.status == 404:
            raise FileNotFoundError(public_url(path))
        if response.status == 416:  # behind the end; a suffix longer than the object is refused by some servers too
            return b"" if start >= 0 else slice_buffer(await fs._cat_file(path), wanted)
        response.raise_for_status()
        data = await response.read()
        if response.status == 200:
            return slice_buffer(data, wanted)
        if not _is_of(wanted, response.headers.get("Content-Range", "")):
            raise XzarrError(
                f"the server was asked for bytes={limits} and sent {response.headers['Content-Range']}",
                where=public_url(path),
                hint="a cache or proxy before the server may confuse ranges",
            )
        return data if length is None else slice_buffer(data, ByteRange(0, length))
