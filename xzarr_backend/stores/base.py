"""What a store is: objects of bytes under keys. Every store answers the same contract suite.

Imports errors only. Invariant: a store knows nothing of arrays; a missing object is None and every other failure is an
exception, so that no error can ever turn into fill values. Source: Zarr v3 core, "Abstract store interface".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ..errors import ReadOnlyError, XzarrError

Buffer = Any  # bytes, bytearray, memoryview or a contiguous NumPy array of bytes


class ByteRange(NamedTuple):
    """``length`` bytes from ``start`` (None: to the end). A negative ``start`` counts from the end: a suffix."""

    start: int
    length: int | None = None


class Request(NamedTuple):
    """One object, or one range of it."""

    key: str
    byte_range: ByteRange | None = None


class Store(ABC):
    """Objects under keys such as ``"a/b/c/0/1"``: no leading or trailing ``/``, no empty, ``.`` or ``..`` segment.

    A *prefix* is ``""`` or a key followed by ``/``. Stores pickle, compare equal when they mean the same place, and are
    safe to use from several threads.
    """

    url: str  # how people name the place, without credentials
    read_only: bool
    concurrent = False  # whether many requests at once are much cheaper than one after the other (remote stores)
    shared_between_processes = True  # whether a pickled copy in another process sees the same objects
    supports_consolidated_metadata = True

    @abstractmethod
    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object (or the range of it that exists), None when there is no such object.

        A store may read into ``scratch`` (writable bytes of the caller) and return a part of it, when it is large
        enough. A range that begins at or behind the object's end gives zero bytes.
        """

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Return what `get` returns, for all ``requests`` in their order; concurrent where that is faster."""
        return [self.get(key, byte_range) for key, byte_range in requests]

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        """Return the object's stamp and the ``ranges``, all read from one and the same version of the object.

        The stamp changes when the object is replaced; it is None where a store cannot tell. When ``stamp`` is given
        and the object has another one, or when there is no object, the second item is None: what the caller knew of
        the object is out of date.
        """
        found = self.get_many([Request(key, r) for r in ranges])
        return None, None if any(f is None for f in found) else found

    @abstractmethod
    def set(self, key: str, value: Buffer) -> None:
        """Store ``value`` whole: readers see the old object or the new one, never a mix."""

    @abstractmethod
    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store ``value`` unless there is an object already; return whether it was stored."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete the object; nothing happens when there is none."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> None:
        """Delete every object whose key starts with ``prefix``."""

    @abstractmethod
    def list_dir(self, prefix: str) -> list[str]:
        """Return the sorted names right below ``prefix``; those that hold further names end in ``/``.

        Raise `UnsupportedError` where the place cannot be listed (plain HTTP).
        """

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield (key, size in bytes or None if unknown) of every object below ``prefix``."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, None when there is no such object."""

    def lock(self, key: str) -> AbstractContextManager[object] | None:
        """Return a lock that excludes all other writers of this object, or None where the place offers none."""
        return None

    def close(self) -> None:
        """Give back what the store holds open; the store opens it again when it is used again."""

    def check_writable(self) -> None:
        """Raise `ReadOnlyError` when this store was opened for reading."""
        if self.read_only:
            raise ReadOnlyError(
                "the store is read-only", where=self.url, hint='open it with mode="r+" (or "a", "w") to write'
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __dask_tokenize__(self) -> Hashable:
        return type(self).__qualname__, self.url


def check_key(key: str) -> str:
    """Return ``key``, or raise when it would leave the store or is not a key."""
    if not key or key.startswith("/") or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise XzarrError(f"{key!r} is not a key: parts must not be empty, '.' or '..'", hint="check the name or path")
    return key


def slice_buffer(value: Buffer, byte_range: ByteRange | None) -> Buffer:
    """Return the range of a buffer that lies in memory, without copying."""
    if byte_range is None:
        return value
    start, length = byte_range
    view = memoryview(value)
    size = view.nbytes
    start = max(size + start, 0) if start < 0 else min(start, size)
    return view[start : size if length is None else min(start + length, size)]


def names_below(keys: Iterable[str], prefix: str) -> list[str]:
    """Return what `Store.list_dir` must return, from all ``keys`` of a store."""
    found = set()
    for key in keys:
        if key.startswith(prefix):
            name, slash, _ = key[len(prefix) :].partition("/")
            if name:
                found.add(name + slash)
    return sorted(found)
