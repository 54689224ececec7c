"""Storing one metadata document, with errors that name it.

Imports the rows below. Invariant: a document is stored in one `set`, whole, or the old one stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import MetadataError, XzarrError
from .formats.documents import format_json
from .spec import JSON
from .stores.base import Store


def store_document(store: Store, key: str, document: Mapping[str, JSON]) -> None:
    """Store ``document`` under ``key``; raise `XzarrError` naming it where that fails (a full disk)."""
    data = _format(store, key, document)
    try:
        store.set(key, data)
    except OSError as error:
        raise not_stored(error, store, key) from error


def store_new_document(store: Store, key: str, document: Mapping[str, JSON]) -> bool:
    """Store ``document`` unless there is one already; return whether it was stored."""
    data = _format(store, key, document)
    try:
        return store.set_if_absent(key, data)
    except OSError as error:
        raise not_stored(error, store, key) from error


def _format(store: Store, key: str, document: Mapping[str, JSON]) -> bytes:
    try:
        return format_json(document)
    except MetadataError as error:
        raise error.at(f"{store.url}, document {key!r}")  # noqa: B904 (the same error, with its place)


def not_stored(error: OSError, store: Store, key: str) -> XzarrError:
    """Return the error for a document that could not be stored; errors of this package stay what they are."""
    if isinstance(error, XzarrError):
        return error
    return XzarrError(
        f"the document {key!r} could not be stored: {error.strerror or error}",
        where=store.url,
        hint="the stored node is as it was; check the space on the disk, the permissions and the connection",
    )
