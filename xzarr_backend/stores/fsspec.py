"""Objects of any fsspec filesystem: S3, HTTP, memory, references, chains of them.

Imports errors, base, concurrency and local (for mappers over folders); fsspec is imported at the first call. Invariant:
only what the filesystem says is not there counts as missing, and no other error is swallowed.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import quote

from ..errors import UnsupportedError
from .base import Buffer, ByteRange, Request, Store, merge_requests, public_url, slice_buffer, split_answers, view_of
from .concurrency import in_windows, is_transient, on_loop, retried, retried_async

GAP = 1 << 16  # bytes: fetching them costs less than another request
LARGEST_READ = 1 << 24  # bytes that neighbouring ranges may grow to

_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FsspecStore(Store):
    """The objects below ``root`` of an fsspec filesystem. ``chain``: the chained URL that led here, if it was one."""

    def __init__(self, fs: Any, root: str, *, read_only: bool = False, chain: str = "") -> None:
        if getattr(fs, "asynchronous", False):
            fs = _renewed(fs)  # it belongs to a loop of its maker
        self.read_only = read_only
        self.root, mark, query = root.rstrip("/").partition("?") if _is_http(root) else (root.rstrip("/"), "", "")
        self._tail = mark + query
        self.concurrent = _is_async(fs)
        self.shared_between_processes = not _is_memory(fs)
        self._fs, self._process = fs, os.getpid()
        self._chain = public_url(chain)  # the filesystem knows its own link of the chain only
        self.url = self._chain or public_url(_named(fs, self.root))

    def __reduce__(self) -> Any:
        return _reopen, (self.fs, self.root + self._tail, self.read_only, self._chain)

    @property
    def identity(self) -> Hashable:
        """What stands for the filesystem with its options, and the place in it."""
        return self._token, self.root + self._tail

    def name_of(self, key: str) -> tuple[Hashable, str]:
        """The filesystem and the path in it, however much of that is the store's root."""
        fs, path = self.fs, self._path(key)
        while "dir" in _protocols(fs):
            fs, path = fs.fs, fs._join(path)
        return self._token if fs is self.fs else _token_of(fs), path

    @cached_property
    def _token(self) -> str:
        return _token_of(self.fs)  # once: references may be options of many megabytes

    @property
    def fs(self) -> Any:
        """The filesystem; after a fork a new one, because sessions and loops do not live on in the child."""
        if self._process != os.getpid():
            self._fs, self._process = _renewed(self._fs), os.getpid()
        return self._fs

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object or its range."""
        fs, request = self.fs, Request(key, byte_range)
        if self.concurrent:
            return on_loop(self._fetch(fs, request), fs.loop)
        return retried(lambda: self._fetch_now(fs, request))

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Return what `get` returns for all requests, concurrently; neighbouring ranges share one request."""
        fs = self.fs
        if not self.concurrent:
            return [self.get(key, byte_range) for key, byte_range in requests]
        merged, pieces = merge_requests(requests, GAP, LARGEST_READ)
        answers = on_loop(in_windows(lambda request: self._fetch(fs, request), merged), fs.loop)
        return split_answers(answers, pieces)

    def set(self, key: str, value: Buffer) -> None:
        """Store the object; in one step where the filesystem does it so, as object stores do."""
        self.check_writable()
        self._pipe(key, value, {})

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store the object unless there is one; in one step where the filesystem can create exclusively."""
        self.check_writable()
        if self.fs.exists(self._path(key)):
            return False
        try:
            self._pipe(key, value, {"mode": "create"})
        except FileExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete the object."""
        self.check_writable()
        path = self._path(key)
        try:
            self.fs.rm_file(path)
        except _MISSING:
            pass
        except NotImplementedError as error:
            self._refuse("delete", error)

    def delete_prefix(self, prefix: str) -> None:
        """Delete all objects below ``prefix``."""
        self.check_writable()
        path = self._folder(prefix)
        self.fs.invalidate_cache(path)
        try:
            if self.fs.isdir(path):
                self.fs.rm(path, recursive=True)
        except _MISSING:
            pass
        except NotImplementedError as error:
            self._refuse("delete", error)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``; plain HTTP raises `UnsupportedError`."""
        path = self._listable(prefix)
        try:
            found = self.fs.ls(path, detail=True)
        except _MISSING:
            return []
        names = set()
        for info in found:
            full = info["name"].strip("/")
            if full != path.strip("/"):
                names.add(full.rpartition("/")[2] + ("/" if info["type"] == "directory" else ""))
        return sorted(names)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield key and size of every object below ``prefix``; plain HTTP raises `UnsupportedError`."""
        path = self._listable(prefix)
        try:
            found = self.fs.find(path, detail=True)
        except _MISSING:
            return
        start = len(path.strip("/"))
        for name, info in found.items():
            below = name.strip("/")[start:].lstrip("/")
            if below and info.get("type") != "directory":
                yield prefix + below, info.get("size")

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        try:
            info = retried(lambda: self.fs.info(self._path(key)))
        except _MISSING:
            return None
        if info.get("type") == "directory":
            return None
        if info.get("size") is not None:
            return int(info["size"])
        data = self.get(key)  # a server that does not tell
        return None if data is None else memoryview(data).nbytes

    def _path(self, key: str) -> str:
        if self._tail or _is_http(self.root):
            return f"{self.root}/{quote(key, safe=_SAFE)}{self._tail}"
        return f"{self.root}/{key}" if self.root else key

    def _folder(self, prefix: str) -> str:
        return self._path(prefix[:-1]) if prefix else self.root

    def _listable(self, prefix: str) -> str:
        if _is_http(self.root):
            raise UnsupportedError(
                "plain HTTP cannot be listed",
                where=self.url,
                hint="open arrays by their path, or let the writer consolidate the metadata",
            )
        path = self._folder(prefix)
        self.fs.invalidate_cache(path)  # others may have written since
        return path

    def _pipe(self, key: str, value: Buffer, options: dict[str, Any]) -> None:
        path, data = self._path(key), value if type(value) is bytes else bytes(view_of(value))
        fs = self.fs
        try:
            try:
                fs.pipe_file(path, data, **options)
            except FileNotFoundError:  # filesystems that have folders
                fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                fs.pipe_file(path, data, **options)
        except Exception as error:
            if isinstance(error, NotImplementedError) or getattr(error, "status", None) in (405, 501):
                self._refuse("write", error)
            raise

    def _refuse(self, verb: str, error: Exception) -> NoReturn:
        kind = "/".join(_protocols(self.fs))
        raise UnsupportedError(f"the filesystem {kind} cannot {verb}", where=self.url) from error

    async def _fetch(self, fs: Any, request: Request) -> Buffer | None:
        return await retried_async(lambda: self._fetch_once(fs, request))

    async def _fetch_once(self, fs: Any, request: Request) -> Buffer | None:
        path = self._path(request.key)
        wanted = request.byte_range
        try:
            if wanted is None:
                return await fs._cat_file(path)
            if wanted.length == 0:
                return b"" if await fs._exists(path) else None
            if "http" in _protocols(fs):
                return await _http_range(fs, path, wanted)
            try:
                return _cut(await fs._cat_file(path, **_limits(wanted)), wanted)
            except Exception as error:
                again = _instead(wanted, error, None if _is_final(error) else (await fs._info(path))["size"])
            return _cut(await fs._cat_file(path, **_limits(again)), again) if again.length else b""
        except _missing(fs):
            return None

    def _fetch_now(self, fs: Any, request: Request) -> Buffer | None:
        path = self._path(request.key)
        wanted = request.byte_range
        try:
            if wanted is None:
                return fs.cat_file(path)
            if wanted.length == 0:
                return b"" if fs.exists(path) else None
            try:
                return _cut(fs.cat_file(path, **_limits(wanted)), wanted)
            except Exception as error:
                again = _instead(wanted, error, None if _is_final(error) else fs.info(path)["size"])
            return _cut(fs.cat_file(path, **_limits(again)), again) if again.length else b""
        except _missing(fs):
            return None


_SAFE = "/!$&'()*+,;=:@~"


def _is_async(fs: Any) -> bool:
    # a folder of another filesystem says yes whatever that other one is
    return bool(fs.async_impl) and ("dir" not in _protocols(fs) or _is_async(fs.fs))


def _token_of(fs: Any) -> str:
    """Return what is equal for filesystems that were made alike, by whichever thread or process.

    fsspec's own token names the thread too: of all filesystems until 2025, of those that are not asynchronous since.
    """
    return hashlib.blake2b(_made(fs).encode(), digest_size=16).hexdigest()


def _made(value: Any) -> str:
    """Return how a filesystem was made, or an option of one is written."""
    options = getattr(value, "storage_options", None)
    if options is None:
        return repr(value)
    given = [*map(_made, value.storage_args), *(f"{name}={_made(options[name])}" for name in sorted(options))]
    return f"{type(value).__module__}.{type(value).__qualname__}({', '.join(given)})"


def _is_http(root: str) -> bool:
    return root.startswith(("http://", "https://"))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _is_memory(fs: Any) -> bool:
    if "memory" in _protocols(fs):
        return True
    inner = getattr(fs, "fs", None) or getattr(fs, "sync_fs", None)
    return hasattr(inner, "protocol") and _is_memory(inner)


def _named(fs: Any, root: str) -> str:
    try:
        return str(fs.unstrip_protocol(root))
    except Exception:  # wrappers that have no protocol of their own
        return f"{_protocols(fs)[0]}://{root}"


def _missing(fs: Any) -> tuple[type[Exception], ...]:
    return (*_MISSING, KeyError) if "reference" in _protocols(fs) else _MISSING


def _limits(wanted: ByteRange) -> dict[str, int | None]:
    start, length = wanted
    if start < 0:
        return {"start": start, "end": None}
    return {"start": start, "end": None if length is None else start + length}


def _cut(data: Buffer, wanted: ByteRange) -> Buffer:
    """Return what was wanted of an answer, also where the filesystem ignored the range and sent everything."""
    start, length = wanted
    if start < 0:
        return slice_buffer(slice_buffer(data, ByteRange(start)), ByteRange(0, length))
    return data if length is None or len(data) <= length else slice_buffer(data, wanted)


def is_behind(wanted: ByteRange, size: int) -> bool:
    """Return whether a range of an object of ``size`` bytes holds nothing."""
    return wanted.start >= size if wanted.start >= 0 else size == 0


def _is_final(error: Exception) -> bool:
    return isinstance(error, _MISSING) or is_transient(error)


def _instead(wanted: ByteRange, error: Exception, size: int | None) -> ByteRange:
    """Return what to ask for after a range has failed, of length zero for nothing; else raise ``error``.

    Filesystems raise for ranges behind the end, and some know no suffixes.
    """
    if size is not None and is_behind(wanted, size):
        return ByteRange(0, 0)
    no_suffix = isinstance(error, ValueError | TypeError | NotImplementedError)
    no_suffix = no_suffix or getattr(error, "errno", None) == errno.EINVAL
    if size is None or wanted.start >= 0 or not no_suffix:
        raise error
    start = max(size + wanted.start, 0)
    return ByteRange(start, size - start if wanted.length is None else min(wanted.length, size - start))


async def _http_range(fs: Any, path: str, wanted: ByteRange) -> Buffer:
    """Fetch a range by HTTP; unlike fsspec, notice when the server sends the whole object (RFC 9110, section 14)."""
    start, length = wanted
    limits = f"{start}" if start < 0 else f"{start}-" if length is None else f"{start}-{start + length - 1}"
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
        return data if length is None else slice_buffer(data, ByteRange(0, length))


def _renewed(value: Any) -> Any:
    """Return a filesystem made anew with the same options, which may hold further filesystems."""
    if isinstance(value, dict):
        return {name: _renewed(item) for name, item in value.items()}
    if not (hasattr(value, "storage_options") and hasattr(value, "storage_args")):
        return value
    options = {name: _renewed(item) for name, item in value.storage_options.items()}
    for name in ("asynchronous", "loop"):
        options.pop(name, None)
    return type(value)(*map(_renewed, value.storage_args), **options)


def _reopen(fs: Any, root: str, read_only: bool, chain: str) -> FsspecStore:
    return FsspecStore(fs, root, read_only=read_only, chain=chain)


def open_url(url: str, read_only: bool, options: dict[str, Any]) -> Store:
    """Open an fsspec URL, chained or not; `UnsupportedError` names what to install for a scheme."""
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        raise UnsupportedError(str(error), where=public_url(url), hint="install what this scheme needs") from error
    except ValueError as error:
        if "rotocol" not in str(error):
            raise
        scheme = url.partition(":")[0]
        raise UnsupportedError(
            f"no store is known for the scheme {scheme!r}",
            where=public_url(url),
            hint="install a package that registers it with fsspec",
        ) from error
    return FsspecStore(fs, root, read_only=read_only, chain=url if "::" in url else "")


def open_mapper(mapper: Any, read_only: bool) -> Store:
    """Open the place that an fsspec mapper (``fs``, ``root``) stands for."""
    if "file" in _protocols(mapper.fs):
        from .local import LocalStore

        return LocalStore(mapper.root, read_only=read_only)
    return FsspecStore(mapper.fs, mapper.root, read_only=read_only)
