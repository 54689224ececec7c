"""Stores of obstore: object stores, folders and memory, through the Rust library of the same name.

Imports errors, base, concurrency, fsspec (ours), ranges and local; obstore itself is imported when one of its stores is
used. Invariant: only what the store says is not there counts as missing, and no other error is swallowed.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from .base import Buffer, ByteRange, Request, Store, merge_requests, public_url, slice_buffer, split_answers, view_of
from .concurrency import check_not_forked, in_windows, on_loop, retried, retried_async
from .fsspec import GAP, LARGEST_READ
from .local import LocalStore
from .ranges import is_behind


class ObstoreStore(Store):
    """A store of obstore."""

    def __init__(self, inner: Any, *, read_only: bool = False) -> None:
        self.inner = inner
        self.read_only = read_only
        kind = type(inner).__name__
        self.concurrent = kind not in ("MemoryStore", "LocalStore")
        self.shared_between_processes = kind != "MemoryStore"
        self.url = public_url(f"obstore:{inner!r}" if kind in ("MemoryStore", "LocalStore") else _place(inner))
        self._token = _token(inner) if self.shared_between_processes else uuid.uuid4().hex

    def __reduce__(self) -> Any:
        return _reopen, (self.inner, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObstoreStore) and bool(self.inner is other.inner or self.inner == other.inner)

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def identity(self) -> Hashable:
        """A digest of what the store is made of, and its prefix; one of its own where it lives in memory."""
        return self._token, _prefix(self.inner)

    def name_of(self, key: str) -> tuple[Hashable, str]:
        """The path in the bucket, however much of it is the prefix; the store itself where it lives in memory."""
        place = self._token if self.shared_between_processes else id(self.inner)
        return place, f"{_prefix(self.inner)}/{key}".lstrip("/")

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object or its range."""
        return retried(lambda: self._fetch_now(key, byte_range))

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Return what `get` returns for all requests, concurrently; neighbouring ranges share one request."""
        merged, pieces = merge_requests(requests, GAP, LARGEST_READ)
        if not self.concurrent:
            return split_answers([self.get(key, wanted) for key, wanted in merged], pieces)
        return split_answers(on_loop(in_windows(self._fetch, merged)), pieces)

    def set(self, key: str, value: Buffer) -> None:
        """Store the object."""
        self.check_writable()
        obstore = self._library()
        obstore.put(self.inner, key, bytes(view_of(value)))

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store the object unless there is one, in one step."""
        self.check_writable()
        obstore = self._library()
        try:
            obstore.put(self.inner, key, bytes(view_of(value)), mode="create")
        except Exception as error:
            if type(error).__name__ not in ("AlreadyExistsError", "FileExistsError"):
                raise
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete the object."""
        self.check_writable()
        obstore = self._library()
        try:
            obstore.delete(self.inner, key)
        except Exception as error:
            if not _is_missing(error):
                raise

    def delete_prefix(self, prefix: str) -> None:
        """Delete all objects below ``prefix``."""
        self.check_writable()
        obstore = self._library()
        keys = [key for key, _ in self.walk(prefix)]
        if keys:
            obstore.delete(self.inner, keys)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``."""
        obstore = self._library()
        found = obstore.list_with_delimiter(self.inner, prefix or None)
        names = {path.rstrip("/").rpartition("/")[2] + "/" for path in found["common_prefixes"]}
        names |= {item["path"].rpartition("/")[2] for item in found["objects"] if item["path"].startswith(prefix)}
        return sorted(names)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield key and size of every object below ``prefix``."""
        obstore = self._library()
        for batch in obstore.list(self.inner, prefix or None):
            for item in batch:
                if item["path"].startswith(prefix):
                    yield item["path"], item["size"]

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        obstore = self._library()
        try:
            return int(obstore.head(self.inner, key)["size"])
        except Exception as error:
            if not _is_missing(error):
                raise
            return None

    def _library(self) -> Any:
        import obstore

        check_not_forked("obstore", self.url)
        return obstore

    def _fetch_now(self, key: str, wanted: ByteRange | None) -> Buffer | None:
        obstore = self._library()
        if wanted is not None and wanted.length == 0:
            return None if self.size(key) is None else b""
        try:
            data = obstore.get(self.inner, key, options=_options(wanted)).bytes()
        except Exception as error:
            if _is_missing(error):
                return None
            if wanted is None:
                raise
            return _nothing_behind(self.size(key), wanted, error)
        return _cut(data, wanted)

    async def _fetch(self, request: Request) -> Buffer | None:
        return await retried_async(lambda: self._fetch_once(*request))

    async def _fetch_once(self, key: str, wanted: ByteRange | None) -> Buffer | None:
        obstore = self._library()
        if wanted is not None and wanted.length == 0:
            return None if await self._size_async(key) is None else b""
        try:
            answer = await obstore.get_async(self.inner, key, options=_options(wanted))
            data = await answer.bytes_async()
        except Exception as error:
            if _is_missing(error):
                return None
            if wanted is None:
                raise
            return _nothing_behind(await self._size_async(key), wanted, error)
        return _cut(data, wanted)

    async def _size_async(self, key: str) -> int | None:
        """Return what `size` returns; meanwhile other requests go on."""
        try:
            return int((await self._library().head_async(self.inner, key))["size"])
        except Exception as error:
            if not _is_missing(error):
                raise
            return None


def open_inner(inner: Any, *, read_only: bool = False) -> Store:
    """Open a store of obstore; a folder as the folder that it is, for obstore has no locks between processes."""
    folder = getattr(inner, "prefix", None)
    if (type(inner).__module__, type(inner).__name__) == ("obstore.store", "LocalStore") and folder is not None:
        path = os.fspath(folder)
        if os.path.isabs(path):  # others are of the folder that was the current one when it was made
            return LocalStore(path, read_only=read_only)
    return ObstoreStore(inner, read_only=read_only)


def _token(inner: Any) -> str:
    """Return what is equal for stores of one bucket that were made alike (what they pickle as is not)."""
    config = sorted((getattr(inner, "config", None) or {}).items())
    made = repr((type(inner).__name__, config, getattr(inner, "url", None)))
    return hashlib.blake2b(made.encode(), digest_size=16).hexdigest()


def _prefix(inner: Any) -> str:
    return str(getattr(inner, "prefix", None) or "").rstrip("/")


def _place(inner: Any) -> str:
    config = getattr(inner, "config", None) or {}
    place = config.get("bucket") or config.get("container_name") or getattr(inner, "url", "")
    return f"obstore:{type(inner).__name__}({place!r}, prefix={getattr(inner, 'prefix', None)!r})"


def _options(wanted: ByteRange | None) -> Any:
    if wanted is None:
        return None
    start, length = wanted
    if start < 0:
        return {"range": {"suffix": -start}}
    return {"range": {"offset": start} if length is None else (start, start + length)}


def _cut(data: Any, wanted: ByteRange | None) -> Buffer:
    view = memoryview(data)
    return view if wanted is None or wanted.start >= 0 else slice_buffer(view, ByteRange(0, wanted.length))


def _nothing_behind(size: int | None, wanted: ByteRange, error: Exception) -> bytes:
    """Return no bytes where a range lies behind the end of an object of ``size`` bytes; else raise ``error``."""
    if size is None or not is_behind(wanted, size):
        raise error
    return b""


def _is_missing(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return True
    # a folder, or a place below a file, holds no object either; these errors have no class of their own
    text = str(error)
    return type(error).__name__ == "NotFoundError" or "kind: NotADirectory" in text or "kind: IsADirectory" in text


def _reopen(inner: Any, read_only: bool) -> ObstoreStore:
    return ObstoreStore(inner, read_only=read_only)
