"""Stores of zarr-python, and others that are asynchronous as they are.

Imports errors, base, concurrency, filesystems and the stores that stand for the same places; zarr-python is imported
when one of its stores is used. Invariant: a store that is handed over keeps its own rules (read-only, no listing, no
consolidated metadata).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import UnsupportedError, XzarrError
from .base import (
    Buffer,
    ByteRange,
    Request,
    Store,
    merge_requests,
    public_url,
    slice_buffer,
    split_answers,
    view_of,
)
from .concurrency import in_windows, on_loop, retried_async
from .filesystems import MISSING
from .fsspec import GAP, LARGEST_READ, open_place
from .local import LocalStore
from .obstore import open_inner


def adapt(store: Any, read_only: bool) -> Store | None:
    """Return a store of ours that works with a foreign ``store``, None when it is nothing that is known here.

    Stores of zarr-python that only stand for another place are opened as that place: there it is faster, and has locks.
    A node of zarr-python, or its ``StorePath``, is the place where it lies.
    """
    node = getattr(store, "store_path", store)
    path = ""
    if type(node).__name__ == "StorePath":
        store, path = node.store, node.path
    if not _is_async(store):
        return None
    kind = type(store).__name__ if type(store).__module__.startswith("zarr.storage") else ""
    read_only = read_only or bool(getattr(store, "read_only", False))
    if kind == "FsspecStore":
        return open_place(store.fs, _below(store.path, path), read_only)
    if kind == "LocalStore":
        return LocalStore(_below(str(store.root), path), read_only=read_only)
    if path:
        raise XzarrError(
            f"{path!r} in a {type(store).__name__} is no store of its own",
            hint=f"pass its store, and {path!r} as the path, component or group in it",
        )
    if kind == "ObjectStore":
        return open_inner(store.store, read_only=read_only)
    return AsyncStore(store, read_only=read_only)


def _below(root: str, path: str) -> str:
    return f"{root.rstrip('/')}/{path}" if path else root


def _is_async(store: Any) -> bool:
    """Return whether ``store`` works as zarr-python's do; one of theirs may be wrapped: then ``get`` says nothing."""
    declared = any(base.__module__ == "zarr.abc.store" for base in type(store).__mro__)
    return declared or (inspect.iscoroutinefunction(getattr(store, "get", None)) and hasattr(store, "list_dir"))


class AsyncStore(Store):
    """A store with the asynchronous ``get(key, prototype, byte_range)`` of zarr-python 3."""

    concurrent = True

    def __init__(self, inner: Any, *, read_only: bool = False) -> None:
        self.inner = inner
        self.read_only = read_only or bool(getattr(inner, "read_only", False))
        self.supports_consolidated_metadata = bool(getattr(inner, "supports_consolidated_metadata", True))
        self.shared_between_processes = "Memory" not in type(inner).__name__
        self.url = self._named()
        self._zarr = _ZarrWords(self.url)
        if not getattr(inner, "_is_open", True) and hasattr(inner, "_ensure_open"):
            on_loop(inner._ensure_open())  # an archive cannot be read before

    def _named(self) -> str:
        return public_url(str(self.inner))

    def __reduce__(self) -> Any:
        return _reopen, (type(self), self.inner, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncStore) and bool(self.inner == other.inner)

    def __hash__(self) -> int:
        return hash(self.url)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object or its range."""
        return on_loop(self._fetch(Request(key, byte_range)))

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Return what `get` returns for all requests, concurrently; neighbouring ranges share one request."""
        merged, pieces = merge_requests(requests, GAP, LARGEST_READ)
        return split_answers(on_loop(in_windows(self._fetch, merged)), pieces)

    def set(self, key: str, value: Buffer) -> None:
        """Store the object."""
        self.check_writable()
        on_loop(self.inner.set(key, self._zarr.buffer(value)))

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store the object unless there is one; whether that is one step is for the inner store to say."""
        self.check_writable()
        if on_loop(self._exists(key)):
            return False
        on_loop(self.inner.set_if_not_exists(key, self._zarr.buffer(value)))
        stored = self.get(key)  # it does not say who came first
        return stored is not None and view_of(stored) == view_of(value)

    def delete(self, key: str) -> None:
        """Delete the object."""
        self.check_writable()
        try:
            if on_loop(self._exists(key)):  # a key that names a folder would take the folder along
                on_loop(self.inner.delete(key))
        except MISSING:
            pass

    def delete_prefix(self, prefix: str) -> None:
        """Delete all objects below ``prefix``."""
        self.check_writable()
        for key, _ in list(self.walk(prefix)):
            self.delete(key)
        if prefix and hasattr(self.inner, "delete_dir") and not on_loop(self._exists(prefix[:-1])):
            on_loop(self.inner.delete_dir(prefix[:-1]))  # folders that are empty now

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``. A name is asked for as an object: what is none holds further names."""
        self._check_listing()
        return on_loop(self._names(prefix))

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield every key below ``prefix``; the sizes are not known."""
        self._check_listing()
        for key in on_loop(collected(self.inner.list_prefix(prefix))):
            if key.startswith(prefix):
                yield key, None

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        try:
            return on_loop(self._size(key))
        except MISSING:
            return None

    def _check_listing(self) -> None:
        if not getattr(self.inner, "supports_listing", True):
            raise UnsupportedError("this store cannot be listed", where=self.url)

    async def _names(self, prefix: str) -> list[str]:
        names = {name.strip("/") for name in await collected(self.inner.list_dir(prefix[:-1]))} - {""}
        requests = [Request(name) for name in sorted(names)]

        async def marked(request: Request) -> str:
            return request.key if await self._is_object(prefix, request.key) else request.key + "/"

        return sorted(await in_windows(marked, requests))

    async def _is_object(self, prefix: str, name: str) -> bool:
        try:
            return await self._exists(prefix + name)
        except NotImplementedError:  # stores that give what is in other files (VirtualiZarr): they list groups only
            return name == "zarr.json"

    async def _exists(self, key: str) -> bool:
        return bool(await self.inner.exists(key))

    async def _size(self, key: str) -> int | None:
        if not await self._exists(key):
            return None  # getsize() answers for folders too
        return int(await self.inner.getsize(key))

    async def _fetch(self, request: Request) -> Buffer | None:
        return await retried_async(lambda: self._fetch_once(*request))

    async def _fetch_once(self, key: str, wanted: ByteRange | None) -> Buffer | None:
        if wanted is not None and wanted.length == 0:
            return b"" if await self._exists(key) else None
        try:
            found = await self.inner.get(key, self._zarr.prototype, self._zarr.byte_range(wanted))
        except MISSING:
            return None
        if found is None or wanted is None:
            return _bytes_of(found)
        data = _bytes_of(found)
        if wanted.start >= 0:
            return slice_buffer(data, ByteRange(0, wanted.length))
        if len(data) < -wanted.start:  # shorter than the suffix: some stores count wrongly then
            data = _bytes_of(await self.inner.get(key, self._zarr.prototype, None))
            return None if data is None else slice_buffer(data, wanted)
        return slice_buffer(data, ByteRange(0, wanted.length))


class _ZarrWords:
    """The classes of zarr-python that its stores want to be spoken to with."""

    def __init__(self, where: str) -> None:
        try:
            from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
            from zarr.core.buffer import default_buffer_prototype
        except ImportError as error:
            raise UnsupportedError(
                "a store of this kind needs the package 'zarr', which is not installed",
                where=where,
                hint="try: pip install zarr",
            ) from error
        self.prototype = default_buffer_prototype()
        self._offset, self._range, self._suffix = OffsetByteRequest, RangeByteRequest, SuffixByteRequest

    def buffer(self, value: Buffer) -> Any:
        """Return ``value`` as a buffer of zarr-python."""
        return self.prototype.buffer.from_bytes(bytes(view_of(value)))

    def byte_range(self, wanted: ByteRange | None) -> Any:
        """Return a byte range as zarr-python spells it."""
        if wanted is None:
            return None
        start, length = wanted
        if start < 0:
            return self._suffix(-start)
        return self._offset(start) if length is None else self._range(start, start + length)


def _bytes_of(found: Any) -> Buffer:
    return None if found is None else view_of(found.as_numpy_array())


async def collected(names: Any) -> list[str]:
    return [name async for name in names]


def _reopen(kind: Any, inner: Any, read_only: bool) -> Any:
    return kind(inner, read_only=read_only)
