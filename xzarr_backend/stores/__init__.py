"""Stores: bytes under keys, wherever they lie. `open_store` finds the right one for what a caller hands over.

Imports errors, base and memory; every other store is loaded at its first use. Invariant: nothing above this package
knows which store it works with. To add one: a file beside this one and a line in `SCHEMES`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from stat import S_ISDIR, S_ISREG
from typing import Any

from ..errors import XzarrError
from .base import Buffer, ByteRange, Request, Store, check_key, public_url
from .memory import MappingStore, MemoryStore

__all__ = [
    "SCHEMES",
    "Buffer",
    "ByteRange",
    "MappingStore",
    "MemoryStore",
    "Request",
    "Store",
    "check_key",
    "open_store",
    "public_url",
]

MODES = ("r", "r+", "a", "a-", "w", "w-")

Opener = Callable[[str, bool, dict[str, Any]], Store]  # (url, read_only, storage_options)

# "module:attribute" of the opener of a scheme; fsspec opens the schemes that are not listed
SCHEMES: dict[str, str] = {
    "file": "xzarr_backend.stores:open_path",
    "local": "xzarr_backend.stores:open_path",
}
# stores of other packages, by their name; all others that are asynchronous: foreign.py
PACKAGES: dict[str, str] = {
    "icechunk": "xzarr_backend.stores.icechunk:IcechunkStore",
    "obstore": "xzarr_backend.stores.obstore:open_inner",
}
FSSPEC = "xzarr_backend.stores.fsspec:open_url"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)")


def open_store(store: Any, *, mode: str = "r", storage_options: Mapping[str, Any] | None = None) -> Store:
    """Return the store that ``store`` stands for; mode "r" makes it read-only, all other modes writable.

    ``store`` is a path (a zip archive where it ends in ``.zip`` or is one), a URL, an fsspec mapper, a ``UPath`` of
    universal_pathlib, a mapping of keys to bytes, a store of this package (returned as it is), one of zarr-python,
    icechunk or obstore, or a node of zarr-python. For URLs, ``storage_options`` go to fsspec. Nothing needs to exist
    yet. Raise `XzarrError` for anything else, `UnsupportedError` for an unknown scheme.
    """
    if mode not in MODES:
        raise XzarrError(f"mode {mode!r} is not known", hint=f"known are {', '.join(MODES)}")
    options = dict(storage_options or {})
    if isinstance(store, str | os.PathLike):
        return _open_url(os.fspath(store), mode == "r", options)
    if options:
        raise XzarrError(
            f"storage_options are for URLs; a {type(store).__name__} takes none",
            hint="give them to whoever made the store, or pass a URL",
        )
    return store if isinstance(store, Store) else _adapt(store, mode == "r")


def _open_url(url: str, read_only: bool, options: dict[str, Any]) -> Store:
    if not isinstance(url, str):
        raise XzarrError(f"a path of bytes is not a store: {url!r}", hint="decode it with os.fsdecode")
    if not url:
        raise XzarrError("the path of the store is empty", hint='the folder you are in is "."')
    found = _URL.match(url)
    if found is None:
        return open_path(url, read_only, options)
    chained = "::" in url
    opener: Opener = _load(FSSPEC if chained else SCHEMES.get(found[1].lower(), FSSPEC))
    return opener(url, read_only, options)


def open_path(url: str, read_only: bool, options: dict[str, Any]) -> Store:
    """Open a folder or a zip archive of the local file system, given by its path or a ``file://`` URL."""
    path = re.sub(r"^(file|local)://", "", url) if "://" in url else url
    if options:
        raise XzarrError("storage_options are for URLs; a local path takes none", where=path)
    path = os.path.expanduser(path)
    try:
        kind = os.stat(path).st_mode
    except ValueError as error:  # NUL, or half of a character
        raise XzarrError(f"{path!r:.80} is no path: {error}") from None
    except OSError:  # nothing there
        kind = 0
    if S_ISREG(kind):
        if not path.lower().endswith(".zip") and not _is_zip(path):
            raise XzarrError(
                "this is a file, neither a folder nor a zip archive",
                where=path,
                hint="give the folder that holds zarr.json, .zgroup or .zarray",
            )
    elif S_ISDIR(kind) or not path.lower().endswith(".zip"):
        from .local import LocalStore

        return LocalStore(path, read_only=read_only)
    from .zip import ZipStore

    return ZipStore(path, read_only=read_only)


def _adapt(store: Any, read_only: bool) -> Store:
    mapper = isinstance(store, Mapping) and hasattr(store, "fs") and hasattr(store, "root")
    if mapper or all(hasattr(store, name) for name in ("fs", "path", "protocol", "storage_options")):
        from .fsspec import open_place

        return open_place(store.fs, store.root if mapper else store.path, read_only)
    if isinstance(store, Mapping):
        return MappingStore(store, read_only=read_only)
    package = type(store).__module__.partition(".")[0]
    if package in PACKAGES:
        found: Store = _load(PACKAGES[package])(store, read_only=read_only)
        return found
    from .foreign import adapt

    adapted = adapt(store, read_only)
    if adapted is None:
        raise XzarrError(
            f"a {type(store).__module__}.{type(store).__qualname__} is not a store",
            hint="pass a path, a URL, a mapping of keys to bytes, or a store of this package, zarr-python, icechunk or "
            "obstore",
        )
    return adapted


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def _is_zip(path: str) -> bool:
    import zipfile  # late: it loads every compression module of the standard library

    return zipfile.is_zipfile(path)
