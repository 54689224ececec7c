"""What a filesystem of fsspec is: where it lies, how it was made, what it raises for objects that are not there.

Imports nothing of this package. Invariant: nothing here makes a request.
"""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def is_async(fs: Any) -> bool:
    # a folder of another filesystem says yes whatever that other one is
    return bool(fs.async_impl) and ("dir" not in protocols(fs) or is_async(fs.fs))


def speaks_http(fs: Any) -> bool:
    """Return whether it speaks HTTP: before fsspec 2025.10 its class is called by the scheme that is used first."""
    return not {"http", "https"}.isdisjoint(protocols(fs))


def is_memory(fs: Any) -> bool:
    if "memory" in protocols(fs):
        return True
    inner = getattr(fs, "fs", None) or getattr(fs, "sync_fs", None)
    return hasattr(inner, "protocol") and is_memory(inner)


def inmost(fs: Any, path: str) -> tuple[Any, str]:
    """Return the filesystem that a folder of another one lies in, and the path there."""
    while "dir" in protocols(fs):
        fs, path = fs.fs, fs._join(path)
    return fs, path


def token_of(fs: Any) -> str:
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


def named(fs: Any, root: str) -> str:
    if "://" in root:
        return (
            root  # a filesystem that was made for "http" puts that before "https://", where no password is looked for
        )
    try:
        return str(fs.unstrip_protocol(root))
    except Exception:  # wrappers that have no protocol of their own
        return f"{protocols(fs)[0]}://{root}"


def is_reference(fs: Any) -> bool:
    """Return whether its objects are parts of others: those before 2026 read suffixes beyond the part's start."""
    return "reference" in protocols(fs)


def missing(fs: Any) -> tuple[type[Exception], ...]:
    by_name = is_reference(fs) or "zip" in protocols(fs)  # archives: before 2026
    return (*MISSING, KeyError) if by_name else MISSING


def is_of_base(method: Any) -> bool:
    """Return whether a method is that of fsspec's base classes, which take what fails for what is not there."""
    return str(getattr(method, "__qualname__", "")).startswith(
        ("AbstractFileSystem.", "AsyncFileSystem.", "CachingFileSystem.")
    )


def deletes_at_once(fs: Any) -> bool:
    """Return whether ``rm`` deletes many objects with few requests, of a listing that is complete."""
    return is_async(fs) and not is_of_base(inmost(fs, "")[0].find)


def raise_hidden(error: Exception) -> None:
    """Raise what lies behind an error that says "not found" of whatever an HTTP server has answered."""
    cause = error.__cause__
    of_http = type(cause).__module__.startswith("aiohttp")
    if cause is not None and of_http and getattr(cause, "status", None) not in (404, 410):
        raise cause


def renewed(value: Any) -> Any:
    """Return a filesystem made anew with the same options, which may hold further filesystems."""
    if isinstance(value, dict):
        return {name: renewed(item) for name, item in value.items()}
    if not (hasattr(value, "storage_options") and hasattr(value, "storage_args")):
        return value
    options = {name: renewed(item) for name, item in value.storage_options.items()}
    for name in ("asynchronous", "loop"):
        options.pop(name, None)
    return type(value)(*map(renewed, value.storage_args), **options)


def in_one_request(fs: Any) -> dict[str, int]:
    """Return what keeps a filesystem from asking for an object's size before it fetches the whole.

    s3fs does so since 2026, to fetch large objects in pieces: one more round trip for each chunk, and an answer from an
    old listing, by which what others have stored since would be missing, or cut short.
    """
    fs = inmost(fs, "")[0]
    asks_first = "s3" in protocols(fs) and "max_concurrency" in inspect.signature(fs._cat_file).parameters
    return {"max_concurrency": 1} if asks_first else {}
