"""Opening nodes: from what a user names a store to an `Array` or a `Group`.

Imports array, group, nodes and stores. Invariant: opening reads metadata only; what cannot be read later for reasons
that the metadata show (an unknown codec, a wrong chain) fails here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .array import Array
from .compat import check_quirks
from .errors import NodeNotFoundError, XzarrError
from .group import Group
from .nodes import ARRAY, GROUP, clean_path, find_in_parents, find_node, near_name
from .options import MAX_CHUNK_NBYTES, Options
from .paths import prefix_of
from .spec import ArraySpec
from .stores import open_store
from .stores.base import Store
from .stores.local import LocalStore

MODES = ("r", "r+", "a")  # creating is what create_array, create_group and to_zarr are for
MISSING = ("fill", "warn", "raise")


def open(
    store: Any,
    path: str = "",
    *,
    mode: str = "r",
    zarr_format: int | None = None,
    consolidated: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    quirks: str | None = None,
    missing: str = "fill",
    strict: bool = False,
    max_chunk_bytes: int = MAX_CHUNK_NBYTES,
    allow_codecs: Collection[str] = (),
    kind: str | None = None,
) -> Array | Group:
    """Open the array or group at ``path`` of ``store``.

    ``store``: a path, a ``.zip``, an fsspec URL or mapper, a mapping of bytes, or a store object. ``mode``: "r" reads
    only, "r+" and "a" also write. ``zarr_format``: 2, 3, or None to find out. ``consolidated``: None uses consolidated
    metadata where there are some, True demands them, False ignores them. ``missing``: what chunks that are not stored
    are: "fill" (the fill value), "warn" or "raise". ``max_chunk_bytes``: the most memory one decoded chunk may take.
    ``allow_codecs``: a codec, or several, to allow although they execute code ("pickle"). ``strict``: refuse what the
    specification refuses. ``quirks``: read what only this writer means so ("exzarr").
    Raises `NodeNotFoundError`, `MetadataError` or `UnsupportedError`.
    """
    _check("mode", mode, MODES)
    _check("missing", missing, MISSING)
    _check("zarr_format", zarr_format, (None, 2, 3))
    check_quirks(quirks)
    if not isinstance(max_chunk_bytes, int):
        raise XzarrError(f"max_chunk_bytes={max_chunk_bytes!r:.80} is no number of bytes")
    allowed = frozenset([allow_codecs] if isinstance(allow_codecs, str) else allow_codecs)
    options = Options(missing, max_chunk_bytes, quirks, strict, allowed, mode != "r")
    opened = open_store(store, mode=mode, storage_options=storage_options)
    return open_node(opened, clean_path(path), options, kind=kind, zarr_format=zarr_format, consolidated=consolidated)


def open_node(
    store: Store,
    path: str,
    options: Options,
    *,
    kind: str | None = None,
    zarr_format: int | None = None,
    consolidated: bool | None = None,
) -> Array | Group:
    """Open the node at ``path``; one that only the consolidated metadata of a parent know is found too."""
    try:
        found = find_node(
            store,
            path,
            kind=kind,
            zarr_format=zarr_format,
            consolidated=consolidated,
            reading=options.reading,
        )
    except NodeNotFoundError as error:
        archive = _only_archive(store, path)
        if archive is not None:
            return open_node(archive, "", options, kind=kind, zarr_format=zarr_format, consolidated=consolidated)
        known = find_in_parents(store, path, options.reading) if path and consolidated is not False else None
        if known is None or (kind is not None and (kind == ARRAY) != isinstance(known.spec, ArraySpec)):
            if path:
                error.hint = near_name(store, "", path) or error.hint
            raise
        found = known
    if consolidated is False:
        options = options._replace(consolidated=False)
    if isinstance(found.spec, ArraySpec):
        array = Array(store, path, found.spec, options)
        array.layout  # noqa: B018 (compile now: what cannot be decoded is reported on opening)
        return array
    return Group(store, path, found, options)


def _only_archive(store: Store, path: str) -> Store | None:
    """Return the zip store that a local folder holds and nothing else: ExZarr makes a folder around its archive."""
    if not isinstance(store, LocalStore) or not store.read_only:
        return None
    names = store.list_dir(prefix_of(path))
    if len(names) != 1 or not names[0].endswith(".zip"):
        return None
    return open_store("/".join(filter(None, (store.root, path, names[0]))))


def open_array(store: Any, path: str = "", **options: Any) -> Array:
    """Open the array at ``path`` (keywords of `open`); raise `NodeNotFoundError` where no array lies there."""
    node = open(store, path, kind=ARRAY, **options)
    assert isinstance(node, Array)
    return node


def open_group(store: Any, path: str = "", **options: Any) -> Group:
    """Open the group at ``path`` (keywords of `open`); raise `NodeNotFoundError` where no group lies there."""
    node = open(store, path, kind=GROUP, **options)
    assert isinstance(node, Group)
    return node


def _check(keyword: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise XzarrError(f"{keyword}={value!r} is not possible", hint=f"use one of {', '.join(map(repr, allowed))}")
