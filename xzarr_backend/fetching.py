"""Fetching documents, and the names of what lies in a group, from stores that may fail.

Imports stores. Invariant: what is not there is None; whatever else a system, a server or its client says becomes one of
our errors with its place, the first error as its cause, as with chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import ChunkError, XzarrError, reason
from .stores.base import Buffer, Request, Store


class _Denied(ChunkError, PermissionError):
    """Nobody may look at the metadata."""


def get_document(store: Store, key: str) -> Buffer | None:
    """Return the document ``key``, None where there is none; raise `ChunkError` where that cannot be found out."""
    return _fetched(store, f"key {key!r}", store.get, key)


def get_documents(store: Store, keys: Sequence[str]) -> list[Buffer | None]:
    """Return the documents ``keys``, in one wave."""
    found: list[Buffer | None] = _fetched(
        store, f"keys {', '.join(map(repr, keys[:3]))}", store.get_many, [Request(key) for key in keys]
    )
    return found


def list_names(store: Store, prefix: str) -> list[str]:
    """Return the names below ``prefix``; raise `UnsupportedError` where they cannot be listed."""
    names: list[str] = _fetched(store, f"prefix {prefix!r}", store.list_dir, prefix)
    return names


def _fetched(store: Store, place: str, fetch: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return fetch(*arguments)
    except (XzarrError, FileNotFoundError):
        raise
    except Exception as error:
        kind = _Denied if isinstance(error, PermissionError) else ChunkError
        raise kind(
            f"the metadata could not be fetched: {reason(error)}",
            where=f"{store.url}, {place}",
            hint="check the permissions and the connection",
        ) from error
