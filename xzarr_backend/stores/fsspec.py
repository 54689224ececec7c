"""Objects of any fsspec filesystem: S3, HTTP, memory, references, chains of them.

Imports errors, base, concurrency, filesystems, ranges, memory, and local (for mappers over folders); fsspec is imported
at the first call. Invariant: only what the filesystem says now is not there counts as missing; no other error is
swallowed.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import quote

from ..errors import MetadataError, UnsupportedError, XzarrError, reason
from .base import Buffer, ByteRange, Request, Store, merge_requests, public_url, split_answers, view_of
from .concurrency import in_windows, on_loop, retried, retried_async, this_process
from .filesystems import (
    MISSING,
    deletes_at_once,
    in_one_request,
    inmost,
    is_async,
    is_memory,
    is_of_base,
    is_reference,
    missing,
    named,
    protocols,
    raise_hidden,
    renewed,
    speaks_http,
    token_of,
)
from .memory import reopen_copy
from .ranges import cut_out, from_start, http_range, instead_of, is_final, limits_of

# What is raised for a reference that is none: fsspec looks at each one when it is needed, and never at its type.
WRONG_REFERENCE = (TypeError, ValueError, AttributeError, LookupError, OverflowError)

GAP = 1 << 16  # bytes: fetching them costs less than another request
LARGEST_READ = 1 << 24  # bytes that neighbouring ranges may grow to

# Filesystems that a forked process has taken along. If they ended there, their loop would be told to forget sockets
# that the parent waits for: its next read would take until a timeout.
_of_parents: list[Any] = []


class FsspecStore(Store):
    """The objects below ``root`` of an fsspec filesystem. ``chain``: the chained URL that led here, if it was one."""

    def __init__(self, fs: Any, root: str, *, read_only: bool = False, chain: str = "") -> None:
        if getattr(fs, "asynchronous", False):
            fs = renewed(fs)  # it belongs to a loop of its maker
        self.read_only = read_only
        self.root, mark, query = root.rstrip("/").partition("?") if _is_http(root) else (root.rstrip("/"), "", "")
        self._tail = mark + query
        self.concurrent = is_async(fs)
        self.shared_between_processes = not is_memory(fs)
        self._fs, self._process = fs, os.getpid()
        self._chain = public_url(chain)  # the filesystem knows its own link of the chain only
        self.url = self._chain or public_url(named(fs, self.root))

    def __reduce__(self) -> Any:
        place = (self.fs, self.root + self._tail, self.read_only, self._chain)
        if self.shared_between_processes:
            return _reopen, place
        # another process has a memory of its own, where all this would be missing
        return _reopen_memory, (this_process(), place, {key: bytes(self.get(key) or b"") for key, _ in self.walk("")})

    @property
    def identity(self) -> Hashable:
        """What stands for the filesystem with its options, and the place in it."""
        return self._token, self.root + self._tail

    def name_of(self, key: str) -> tuple[Hashable, str]:
        """The filesystem and the path in it, however much of that is the store's root."""
        fs, path = inmost(self.fs, self._path(key))
        return self._token if fs is self.fs else token_of(fs), path

    @cached_property
    def _token(self) -> str:
        return token_of(self.fs)  # once: references may be options of many megabytes

    @cached_property
    def _in_one_request(self) -> dict[str, int]:
        return in_one_request(self.fs)

    @property
    def fs(self) -> Any:
        """The filesystem; after a fork a new one, because sessions and loops do not live on in the child."""
        if self._process != os.getpid():
            _of_parents.append(self._fs)
            self._fs, self._process = renewed(self._fs), os.getpid()
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
        if self._info(self._path(key)) is not None:
            return False
        try:
            self._pipe(key, value, {"mode": "create"})
        except FileExistsError:
            return False
        except OSError:  # so says s3fs; it may be ours, of a first try whose answer was lost
            stored = self.get(key)
            if stored is None:
                raise
            return view_of(stored) == view_of(value)
        return True

    def delete(self, key: str) -> None:
        """Delete the object."""
        self.check_writable()
        path = self._path(key)
        try:
            self.fs.rm_file(path)
        except MISSING:
            pass
        except NotImplementedError as error:
            self._refuse("delete", error)

    def delete_prefix(self, prefix: str) -> None:
        """Delete all objects below ``prefix``: one by one where ``rm`` would pass over those that it cannot look at."""
        self.check_writable()
        path = self._folder(prefix)
        self.fs.invalidate_cache()  # what lies in folders below too
        literal = not any(mark in path for mark in "*?[")  # `rm` takes others for patterns
        try:
            if not self._is_folder(path):
                return
            if not (literal and deletes_at_once(self.fs)):
                for key in [key for key, _ in self.walk(prefix)]:
                    self.delete(key)
            if literal:
                self.fs.rm(path, recursive=True)  # with the folders
        except MISSING:
            pass
        except NotImplementedError as error:
            self._refuse("delete", error)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``; plain HTTP raises `UnsupportedError`."""
        path = self._listable(prefix)
        try:
            found = self.fs.ls(path, detail=True)
        except MISSING:
            return []
        except WRONG_REFERENCE as error:
            self._raise_unfollowed(error, path)
        names = set()
        for info in found:
            full = info["name"].strip("/")
            if full != path.strip("/"):
                names.add(full.rpartition("/")[2] + ("/" if info["type"] == "directory" else ""))
        return sorted(names)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield key and size of every object below ``prefix``; plain HTTP raises `UnsupportedError`."""
        path = self._listable(prefix)
        self.fs.invalidate_cache()  # what lies in folders below too
        start = len(path.strip("/"))
        for name, info in self._found(path):
            below = name.strip("/")[start:].lstrip("/")
            if below and info.get("type") != "directory":
                yield prefix + below, info.get("size")

    def _found(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what lies below ``path``; unlike fsspec's own ``find``, raise where a folder cannot be listed."""
        try:
            if not is_of_base(inmost(self.fs, "")[0].find):
                yield from self.fs.find(path, detail=True).items()
                return
            found = self.fs.ls(path, detail=True)
        except MISSING:
            return
        except WRONG_REFERENCE as error:
            self._raise_unfollowed(error, path)
        for info in found:
            if info["type"] == "directory" and info["name"].strip("/") != path.strip("/"):
                yield from self._found(info["name"].rstrip("/"))
            else:
                yield info["name"], info

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        info = self._info(self._path(key))
        if info is None or info.get("type") == "directory":
            return None
        if info.get("size") is not None:
            return int(info["size"])
        data = self.get(key)  # a server that does not tell
        return None if data is None else memoryview(data).nbytes

    def _info(self, path: str) -> Any:
        """Return what the filesystem says of ``path`` now, None where nothing is there."""
        self._forget(path)
        try:
            return retried(lambda: self.fs.info(path))
        except missing(self.fs) as error:
            raise_hidden(error)
            return None
        except WRONG_REFERENCE as error:
            self._raise_unfollowed(error, path)

    def _is_folder(self, path: str) -> bool:
        fs, there = inmost(self.fs, path)
        if not is_of_base(fs.isdir):
            return bool(fs.isdir(there))  # one request to S3, where the other way takes two
        return (self._info(path) or {}).get("type") == "directory"

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
        self._forget(path)
        return path

    def _forget(self, path: str) -> None:
        """Let the filesystem ask anew what lies at ``path``: others may have written since it was listed."""
        for place in (path, path.rpartition("/")[0]):
            self.fs.invalidate_cache(place)

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
        kind = "/".join(protocols(self.fs))
        raise UnsupportedError(f"the filesystem {kind} cannot {verb}", where=self.url) from error

    def _raise_unfollowed(self, error: Exception, path: str) -> NoReturn:
        """Raise ``error``; where it is what fsspec trips over in a wrong reference, say that and where."""
        if isinstance(error, XzarrError) or not is_reference(self.fs):
            raise error
        raise MetadataError(
            f"the reference at {path!r} cannot be followed: {reason(error)}",
            where=self.url,
            hint="a reference is a text, or a list of a URL alone, or of a URL, an offset and a length",
        ) from error

    async def _fetch(self, fs: Any, request: Request) -> Buffer | None:
        return await retried_async(lambda: self._fetch_once(fs, request))

    async def _fetch_once(self, fs: Any, request: Request) -> Buffer | None:
        path = self._path(request.key)
        wanted = request.byte_range
        try:
            if wanted is None:
                return await fs._cat_file(path, **self._in_one_request)
            if speaks_http(fs):
                return await http_range(fs, path, wanted)
            if wanted.length == 0:
                self._forget(path)
                return None if (await fs._info(path))["type"] == "directory" else b""
            if wanted.start < 0 and is_reference(fs):
                wanted = from_start(wanted, (await fs._info(path))["size"])
            try:
                return cut_out(await fs._cat_file(path, **limits_of(wanted)), wanted)
            except Exception as error:
                self._forget(path)
                again = instead_of(wanted, error, None if is_final(error) else (await fs._info(path))["size"])
            return cut_out(await fs._cat_file(path, **limits_of(again)), again) if again.length else b""
        except missing(fs):
            return None
        except WRONG_REFERENCE as error:
            self._raise_unfollowed(error, path)

    def _fetch_now(self, fs: Any, request: Request) -> Buffer | None:
        path = self._path(request.key)
        wanted = request.byte_range
        try:
            if wanted is None:
                return fs.cat_file(path)
            if wanted.length == 0:
                info = self._info(path)
                return None if info is None or info["type"] == "directory" else b""
            if wanted.start < 0 and is_reference(fs):
                wanted = from_start(wanted, fs.info(path)["size"])
            try:
                return cut_out(fs.cat_file(path, **limits_of(wanted)), wanted)
            except Exception as error:
                self._forget(path)
                again = instead_of(wanted, error, None if is_final(error) else fs.info(path)["size"])
            return cut_out(fs.cat_file(path, **limits_of(again)), again) if again.length else b""
        except missing(fs):
            return None
        except WRONG_REFERENCE as error:
            self._raise_unfollowed(error, path)


_SAFE = "/!$&'()*+,;=:@~"


def _is_http(root: str) -> bool:
    return root.startswith(("http://", "https://"))


def _reopen(fs: Any, root: str, read_only: bool, chain: str) -> FsspecStore:
    return FsspecStore(fs, root, read_only=read_only, chain=chain)


def _reopen_memory(home: str, place: tuple[Any, str, bool, str], objects: dict[str, bytes]) -> Store:
    """Return the store itself where it was pickled, in any other process a copy of what it held then."""
    store = _reopen(*place)
    return store if home == this_process() else reopen_copy(f"{home} {store.identity}", objects, store.read_only)


def open_url(url: str, read_only: bool, options: dict[str, Any]) -> Store:
    """Open an fsspec URL, chained or not; `UnsupportedError` names what to install for a scheme."""
    fs, root = filesystem_of(url, options)
    return open_place(fs, root, read_only, url if "::" in url else "")


def filesystem_of(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return the filesystem of an fsspec URL, and the path there; raise `UnsupportedError` as `open_url`."""
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        raise UnsupportedError(str(error), where=public_url(url), hint="install what this scheme needs") from error
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        if not isinstance(error, ValueError) or "rotocol" not in str(error):
            hint = "check the URL and storage_options, and of references what they hold"
            raise XzarrError(f"this cannot be opened: {reason(error)}", where=public_url(url), hint=hint) from error
        scheme = url.partition(":")[0]
        raise UnsupportedError(
            f"no store is known for the scheme {scheme!r}",
            where=public_url(url),
            hint="install a package that registers it with fsspec",
        ) from error
    return fs, root


def open_place(fs: Any, root: str, read_only: bool, chain: str = "") -> Store:
    """Open a place in an fsspec filesystem, which may be the local one, or a folder of it."""
    inner, path = inmost(fs, root)
    if "file" in protocols(inner):
        from .local import LocalStore

        return LocalStore(path, read_only=read_only)
    return FsspecStore(fs, root, read_only=read_only, chain=chain)
