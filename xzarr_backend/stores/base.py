"""What a store is: objects of bytes under keys. Every store answers the same contract suite.

Imports errors only. Invariant: a store knows nothing of arrays; a missing object is None and every other failure is an
exception, so that no error can ever turn into fill values. Source: Zarr v3 core, "Abstract store interface".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Self

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
    safe to use from several threads. Copying a store gives the store itself: it stands for a place.
    """

    url: str  # how people name the place, without credentials
    read_only: bool
    concurrent = False  # whether many requests at once are much cheaper than one after the other (remote stores)
    shared_between_processes = True  # whether a pickled copy in another process sees the same objects
    supports_consolidated_metadata = True
    transactional = False  # whether what is written shows when all is committed: chunks outside a shape are refused
    frozen = False  # whether no object ever changes
    whole_objects = False  # whether a range of an object costs what all of it does

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

    def get_strided(self, key: str, starts: range, nbytes: int) -> bytes | None:
        """Return ``nbytes`` from each of ``starts``, joined, as far as the object has them; None without an object."""
        found = self.get_ranges(key, [ByteRange(start, nbytes) for start in starts])[1]
        return None if found is None else b"".join(found)

    @abstractmethod
    def set(self, key: str, value: Buffer) -> None:
        """Store ``value`` whole: readers see the old object or the new one, never a mix.

        Its memory is the caller's again when this returns: a store that keeps it, keeps a copy.
        """

    def set_parts(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store ``parts``, joined, as `set` does it: a shard consists of many pieces of memory."""
        self.set(key, b"".join(parts))

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
        """Return a lock that excludes all other holders of this object's lock, or None where the place offers none.

        It holds until the object is replaced or deleted, which a holder does once, at the end.
        """
        return None

    def settle(self, path: str) -> bool:
        """Finish what a killed writer began to exchange at ``path`` or above; return whether that changed anything."""
        return False

    def durably(self) -> Store:
        """Return a store of the same place whose writes return when the object is safe from a crash of the machine.

        It is this one where a store knows no difference: objects of remote stores are safe, those in memory never.
        """
        return self

    def close(self) -> None:  # noqa: B027 - most stores hold nothing
        """Give back what the store holds open; the store opens it again when it is used again."""

    def discard(self) -> None:  # noqa: B027 - most stores keep nothing back
        """Forget what `close` would have to complete (archives)."""

    def check_writable(self) -> None:
        """Raise `ReadOnlyError` when this store was opened for reading."""
        if self.read_only:
            raise ReadOnlyError(
                "the store is read-only", where=self.url, hint='open it with mode="r+" (or "a", "w") to write'
            )

    @property
    def identity(self) -> Hashable:
        """What is equal for two stores that mean the same place, in every process where that can be known."""
        return self.url

    def name_of(self, key: str) -> tuple[Hashable, str]:
        """Return what is equal, within this process, for two stores that reach the same object."""
        return self.identity, key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash((type(self).__qualname__, self.identity))

    def __dask_tokenize__(self) -> Hashable:
        return type(self).__qualname__, self.identity

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def discarding(store: Any, given: Any) -> Iterator[None]:
    """Forget what ``store`` was to complete where the block fails, if it was opened for it: is not the ``given``."""
    try:
        yield
    except BaseException:
        if store is not given:
            store.discard()
        raise


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


def view_of(value: Buffer) -> memoryview:
    """Return the bytes of a buffer as one flat view, without copying; it must be C-contiguous."""
    view = memoryview(value)
    if view.nbytes == 0:
        return memoryview(b"")  # cast() refuses shapes that hold a zero
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def public_url(url: str) -> str:
    """Return ``url`` without user name, password, query and fragment, which may hold credentials."""
    return "::".join(_public_part(part) for part in url.split("::"))


def _public_part(url: str) -> str:
    if "://" not in url:
        return url
    from urllib.parse import urlsplit, urlunsplit  # late: most stores are no URLs

    scheme, place, path, _, _ = urlsplit(url)
    return urlunsplit((scheme, place.rpartition("@")[2], path, "", "")) if place else url.partition("?")[0]


def merge_spans(spans: Sequence[tuple[int, int]], gap: int, limit: int) -> list[tuple[int, int, list[int]]]:
    """Return (start, stop, places in ``spans``) of fewer, larger reads that cover all (start, stop) ``spans``.

    Neighbours at most ``gap`` bytes apart are joined as long as the whole stays below ``limit`` bytes.
    """
    merged: list[tuple[int, int, list[int]]] = []
    places: list[int] = []
    first = last = 0
    for place in sorted(range(len(spans)), key=spans.__getitem__):
        start, stop = spans[place]
        if places and start - last <= gap and max(stop, last) - first <= limit:
            last = max(stop, last)
            places.append(place)
            merged[-1] = first, last, places
        else:
            first, last, places = start, stop, [place]
            merged.append((first, last, places))
    return merged


class Piece(NamedTuple):
    """Where the answer to one request lies: ``length`` bytes (None: all) at ``offset`` of the answer ``at``."""

    at: int
    offset: int
    length: int | None


def merge_requests(requests: Sequence[Request], gap: int, limit: int) -> tuple[list[Request], list[Piece]]:
    """Return fewer requests for the same bytes, and for each of ``requests`` its `Piece` of their answers.

    Only ranges of known start and length are joined, as `merge_spans` does it.
    """
    merged: list[Request] = []
    pieces: list[Piece] = [Piece(0, 0, None)] * len(requests)
    by_key: dict[str, list[tuple[int, int, int]]] = {}
    for place, (key, wanted) in enumerate(requests):
        if wanted is None or wanted.start < 0 or wanted.length is None:
            pieces[place] = Piece(len(merged), 0, None)
            merged.append(requests[place])
        else:
            by_key.setdefault(key, []).append((wanted.start, wanted.start + wanted.length, place))
    for key, spans in by_key.items():
        for start, stop, members in merge_spans([span[:2] for span in spans], gap, limit):
            for member in members:
                begin, end, place = spans[member]
                pieces[place] = Piece(len(merged), begin - start, end - begin)
            merged.append(Request(key, ByteRange(start, stop - start)))
    return merged, pieces


def split_answers(answers: Sequence[Buffer | None], pieces: Sequence[Piece]) -> list[Buffer | None]:
    """Return the answers to the requests that `merge_requests` was given, without copying."""
    found: list[Buffer | None] = []
    for at, offset, length in pieces:
        answer = answers[at]
        found.append(answer if answer is None or length is None else memoryview(answer)[offset : offset + length])
    return found
