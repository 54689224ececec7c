"""Putting new nodes into a store: their documents, and those of the groups that they lie in.

Imports nodes, stored_documents and the rows below. Invariant: a document that is there is never replaced unless
``overwrite`` was asked for, not even when two writers create the same node at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .attribute_values import encode_attributes
from .errors import NodeExistsError, UnsupportedError
from .fetching import get_documents
from .formats.documents import DOCUMENTS, parse_json
from .formats.v2 import format_array_v2
from .formats.v3 import format_array_v3
from .nodes import place_of
from .paths import groups_above, join, prefix_of
from .spec import JSON, ArraySpec
from .stored_documents import store_document, store_new_document
from .stores.base import Store
from .stores.local import LocalStore

# what a writer that was killed may leave of an array whose documents are gone
_CHUNKS = re.compile(r"c/?|[0-9]+([.][0-9]+)*/?|[.].*")


def make_room(store: Store, path: str, overwrite: bool) -> None:
    """Make sure that nothing is stored at ``path``: delete it with ``overwrite``, else raise `NodeExistsError`."""
    prefix = prefix_of(path)
    if overwrite:
        spare_strangers(store, path)
        store.delete_prefix(prefix)
    elif any(raw is not None for raw in get_documents(store, [f"{prefix}{name}" for name in DOCUMENTS])):
        raise _exists(store, path)


def spare_strangers(store: Store, path: str) -> None:
    """Raise `NodeExistsError` where a local folder that is to be replaced is not a node, but holds other things."""
    if not isinstance(store, LocalStore):
        return
    names = store.list_dir(prefix_of(path))
    strange = [name for name in names if not _CHUNKS.fullmatch(name)]
    if strange and not any(name in DOCUMENTS for name in names):
        raise NodeExistsError(
            f"the folder is no Zarr node, but holds other things, which are not deleted here: {', '.join(strange[:5])}",
            where=place_of(store, path),
            hint="give another place, or delete the folder first",
        )


def _exists(store: Store, path: str) -> NodeExistsError:
    where = place_of(store, path)
    return NodeExistsError("a node is stored here already", where=where, hint="use overwrite=True to replace it")


def place_node(store: Store, path: str, documents: Mapping[str, JSON], zarr_format: int, overwrite: bool) -> None:
    """Store the ``documents`` of a new node at ``path``, and of the groups above it where they have none."""
    make_room(store, path, overwrite)
    make_parents(store, path, zarr_format)
    stored: list[str] = []
    for key, document in documents.items():
        if overwrite:
            store_document(store, key, document)
        elif store_new_document(store, key, document):
            stored.append(key)
        else:  # another writer was faster
            for mine in stored:
                store.delete(mine)
            raise _exists(store, path)


def format_above(store: Store, path: str) -> int | None:
    """Return the format of the nearest group above ``path``; None where there is none, or one of both formats.

    A node of another format would be found by few readers, and hide those beside it from some.
    """
    parents = groups_above(path)[::-1]
    keys = [join(parent, name) for parent in parents for name in ("zarr.json", ".zgroup")]
    raw = iter(get_documents(store, keys) if keys else [])
    for v3, v2 in zip(raw, raw, strict=True):
        if v3 is not None or v2 is not None:
            return None if v3 is not None and v2 is not None else 3 if v2 is None else 2
    return None


def make_parents(store: Store, path: str, zarr_format: int) -> None:
    """Store documents for the groups above ``path`` that have none; raise `NodeExistsError` where one is an array."""
    parents = groups_above(path)
    names = ("zarr.json", ".zgroup", ".zarray")
    keys = [join(parent, name) for parent in parents for name in names]
    found = get_documents(store, keys)
    for at, parent in enumerate(parents):
        v3, group, array = found[3 * at : 3 * at + 3]
        if array is not None or (v3 is not None and parse_json(v3, "zarr.json").get("node_type") == "array"):
            raise NodeExistsError(
                "an array lies here, which cannot hold other nodes",
                where=place_of(store, parent),
                hint="use another path",
            )
        if v3 is None and group is None:
            for key, document in group_documents({}, parent, zarr_format).items():
                store_new_document(store, key, document)


def array_documents(spec: ArraySpec, path: str) -> dict[str, JSON]:
    """Return the documents of an array at ``path``, by key, in the order in which they are to be written."""
    prefix = prefix_of(path)
    if spec.zarr_format == 3:
        return {f"{prefix}zarr.json": format_array_v3(spec)}
    documents: dict[str, JSON] = {}
    if spec.attributes:
        documents[f"{prefix}.zattrs"] = encode_attributes(spec.attributes)
    documents[f"{prefix}.zarray"] = format_array_v2(spec)
    return documents


def group_documents(attributes: Mapping[str, JSON], path: str, zarr_format: int) -> dict[str, JSON]:
    """Return the documents of a group at ``path`` with encoded ``attributes``, by key, in the order of writing."""
    if zarr_format not in (2, 3):
        raise UnsupportedError(f"zarr_format={zarr_format!r} is not known", hint="use 2 or 3")
    prefix = prefix_of(path)
    if zarr_format == 3:
        return {f"{prefix}zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}}
    documents: dict[str, JSON] = {f"{prefix}.zattrs": dict(attributes)} if attributes else {}
    return {**documents, f"{prefix}.zgroup": {"zarr_format": 2}}
