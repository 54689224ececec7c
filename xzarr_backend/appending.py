"""The documents and chunks of arrays that grow together: what changes, and how it is finished or undone.

Imports array, changing, journal, pending and the rows below. Invariant: `finish` and `undo` may be cut off anywhere
and done again; the note in the group goes last, so that until then readers use the sizes that it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .array import Array
from .clearing import clear_beyond, resized_spec
from .errors import NodeNotFoundError, RegionError, XzarrError
from .formats.consolidated import Documents, Edit, edit_inline, edit_zmetadata
from .formats.documents import parse_json
from .formats.v2 import parse_array_v2
from .formats.v3 import parse_array_v3
from .journal import remove_journal
from .nodes import place_of
from .options import Options
from .paths import join, prefix_of
from .pending import FOLDER, Fields, Record, ancestors, patched, record_key
from .spec import JSON, ArraySpec
from .stored_documents import store_document
from .stores.base import Store
from .stores.files import own_lock
from .stores.local import LocalStore


def change_of(store: Store, group: str, name: str, old: Any, new: tuple[int, ...]) -> dict[str, Fields | None]:
    """Return the members of an array's document that differ before and after."""
    if old is None:
        return {"old": None, "new": None}
    path = join(group, name)
    key, document = _load_document(store, path)
    if document is not None:
        with own_lock(store, key):  # who appends to this array alone, and may not know of the note yet, ends first
            _, document = _load_document(store, path)
    if document is None:
        raise NodeNotFoundError("there is no array to append to", where=place_of(store, path))
    spec = _spec(store, path, document)
    if tuple(document["shape"]) != tuple(old) or len(old) != len(new):
        raise RegionError(
            f"the array has shape {tuple(document['shape'])}, not {tuple(old)}: it was changed meanwhile",
            where=place_of(store, path),
            hint="open the store again and repeat the append",
        )
    if any(n < o for o, n in zip(old, new, strict=True)):
        raise RegionError(f"an append cannot shrink {tuple(old)} to {tuple(new)}", where=place_of(store, path))
    before, after = {"shape": list(old)}, {"shape": list(new)}
    if not spec.chunk_grid.regular:
        before["chunk_grid"] = document["chunk_grid"]
        after["chunk_grid"] = resized_spec(spec, tuple(new)).document["chunk_grid"]
    return {"old": before, "new": after}


def _load_document(store: Store, path: str) -> tuple[str, dict[str, JSON] | None]:
    for name in ("zarr.json", ".zarray"):
        raw = store.get(f"{path}/{name}")
        if raw is not None:
            return f"{path}/{name}", parse_json(raw, name)
    return f"{path}/zarr.json", None


def _spec(store: Store, path: str, document: Mapping[str, JSON]) -> ArraySpec:
    if document.get("zarr_format") == 3:
        return parse_array_v3(document)
    raw = store.get(f"{path}/.zattrs")
    return parse_array_v2(document, {} if raw is None else parse_json(raw, ".zattrs"))


def finish(store: Store, path: str, record: Record) -> None:
    """Give all arrays their new shapes; the note goes last."""
    created = [name for name, change in record["arrays"].items() if change["new"] is None]
    _patch_documents(store, path, _side(record, "new"), created)
    forget(store, path)


def undo(store: Store, path: str, record: Record) -> None:
    """Give all arrays their old shapes, and remove what lies beyond them; the note goes last."""
    before = _side(record, "old")
    _patch_documents(store, path, before, ())
    for name, fields in before.items():
        if fields is None:
            store.delete_prefix(f"{join(path, name)}/")
        else:
            grown = _grown_array(store, join(path, name), record["arrays"][name]["new"])
            clear_beyond(grown, tuple(fields["shape"]))
    remove_journal(store, path)  # the objects that it lists are gone
    forget(store, path)


def _side(record: Record, side: str) -> dict[str, Fields | None]:
    arrays: dict[str, dict[str, Fields | None]] = record["arrays"]
    return {name: change[side] for name, change in arrays.items() if side == "old" or change[side] is not None}


def forget(store: Store, path: str) -> None:
    """Remove the note of the append, and its folder where nothing else lies in it."""
    store.delete(record_key(path))
    remove_folder(store, path)


def remove_folder(store: Store, path: str) -> None:
    """Remove the folder of the note where nothing lies in it."""
    if isinstance(store, LocalStore):
        store.remove_empty(prefix_of(path) + FOLDER)


def _patch_documents(store: Store, path: str, changes: Mapping[str, Fields | None], created: Iterable[str]) -> None:
    """Write the arrays' documents where they differ, then the consolidated metadata of the group and those above.

    Consolidated metadata gain the ``created`` arrays in the same step.
    """
    for name, fields in changes.items():
        if fields is not None:
            _patch_array(store, join(path, name), fields)
    edits: dict[str, Edit] = {name: partial(_patch_listed, fields) for name, fields in changes.items()}
    edits |= {name: partial(_list, _documents(store, join(path, name))) for name in created}
    for group, prefix in ancestors(path):
        below = {f"{prefix}{name}": edit for name, edit in edits.items()}
        start = prefix_of(group)
        _rewrite(store, f"{start}zarr.json", partial(edit_inline, edits=below))
        _rewrite(store, f"{start}.zmetadata", partial(edit_zmetadata, edits=below))


def _patch_listed(fields: Fields | None, listed: Documents) -> Documents | None:
    if fields is None:
        return None
    arrays = [name for name in ("zarr.json", ".zarray") if isinstance(listed.get(name), dict)]
    return {name: patched(listed[name], fields) for name in arrays}


def _list(documents: Documents, listed: Documents) -> Documents:
    return {**documents, **listed}


def _documents(store: Store, path: str) -> dict[str, dict[str, JSON]]:
    names = ("zarr.json", ".zarray", ".zattrs")
    found = {name: store.get(f"{path}/{name}") for name in names}
    return {name: parse_json(raw, name) for name, raw in found.items() if raw is not None}


def _patch_array(store: Store, path: str, fields: Fields) -> None:
    key, document = _load_document(store, path)
    if document is not None and patched(document, fields) != document:
        _rewrite(store, key, lambda old: patched(old, fields))


def _rewrite(store: Store, key: str, change: Callable[[dict[str, JSON]], dict[str, JSON]]) -> None:
    if store.get(key) is None:
        return
    with own_lock(store, key):
        raw = store.get(key)
        old = {} if raw is None else parse_json(raw, key)
        new = change(old) if old else old
        if new != old:
            store_document(store, key, new)


# --- chunks -----------------------------------------------------------------------------------------------------------


def _grown_array(store: Store, path: str, fields: Fields) -> Array:
    _, document = _load_document(store, path)
    if document is None:
        raise XzarrError("the array of an unfinished append is missing", where=place_of(store, path))
    return Array(store, path, _spec(store, path, patched(document, fields)), Options(writable=True))
