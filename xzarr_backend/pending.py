"""What writers note: in a group while several arrays grow together, in an array while what was cut off is cleared.

Imports stores, formats and the rows below. Invariant: as long as a note lies in a group, every reader that lists the
group sees all of its arrays before the append or all of them after it, whatever their own documents say. What a note in
an array tells of is cleared before the array has another shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import MetadataError
from .fetching import get_document
from .formats.documents import parse_json
from .paths import groups_above, prefix_of
from .spec import JSON
from .stored_documents import store_document
from .stores.base import Store
from .stores.files import ThreadLock, thread_lock
from .stores.local import LocalStore

FOLDER = ".xzarr/"  # below a group: what belongs to writing, never a node
WRITING = "writing"  # the objects are being stored: the sizes before the append hold
STORED = "stored"  # every object is stored: the sizes after the append hold, the documents follow

Fields = Mapping[str, JSON]  # the members of an array's document that an append changes
Record = dict[str, Any]  # "id", "owner", "state", "arrays": {name: {"old": Fields | None, "new": Fields | None}}


def record_key(path: str) -> str:
    """Return the key of the note of the group at ``path``."""
    return f"{prefix_of(path)}{FOLDER}append.json"


def cut_key(path: str) -> str:
    """Return the key of the note that the array at ``path`` has while what a smaller shape cuts off is cleared."""
    return f"{prefix_of(path)}{FOLDER}cut.json"


def note_cut(store: Store, path: str, fields: Fields) -> None:
    """Note that the array at ``path``, of ``fields`` before, gets smaller; raise `XzarrError` where that fails."""
    try:
        store_document(store, cut_key(path), fields)
    except BaseException:
        _remove_folder_of_cut(store, path)
        raise


def noted_cut(store: Store, path: str) -> Fields | None:
    """Return what the document of the array said before a shape was cut whose rest may be stored still, or None."""
    key = cut_key(path)
    raw = get_document(store, key)
    return None if raw is None else parse_json(raw, key)


def forget_cut(store: Store, path: str) -> None:
    """Remove the note: nothing is stored of what was cut off."""
    store.delete(cut_key(path))
    _remove_folder_of_cut(store, path)


def _remove_folder_of_cut(store: Store, path: str) -> None:
    if isinstance(store, LocalStore):
        store.remove_empty(cut_key(path).removesuffix("cut.json"))


def turn_of(store: Store, path: str) -> ThreadLock:
    """Return the lock that is held while arrays of a group grow together, where the store is this process's alone.

    No note is needed there: what a killed process left is gone with it.
    """
    return thread_lock(*store.name_of(record_key(path)))


def load_record(store: Store, path: str) -> Record | None:
    """Return the note of the group at ``path``, None without one; raise `MetadataError` for one that is damaged."""
    key = record_key(path)
    raw = get_document(store, key)
    if raw is None:
        return None
    found = parse_json(raw, key)
    known = found.get("state") in (WRITING, STORED) and isinstance(found.get("arrays"), dict)
    if not known or not all(map(_is_change, found["arrays"].values())):
        hint = "compare the sizes of the group's arrays, then delete it"
        raise MetadataError("the note of an append is damaged", where=key, hint=hint)
    return found


def _is_change(value: Any) -> bool:
    return isinstance(value, dict) and all(
        fields is None or (isinstance(fields, dict) and isinstance(fields.get("shape"), list))
        for fields in (value.get("old"), value.get("new"))
    )


def pending_fields(store: Store, path: str) -> dict[str, Fields | None]:
    """Return, by the array's name, what its document is to say while the note lies there; None: there is no array."""
    record = load_record(store, path)
    if record is None:
        return {}
    side = "old" if record["state"] == WRITING else "new"
    return {
        name: change[side] for name, change in record["arrays"].items() if side == "old" or change[side] is not None
    }


def patched(document: Mapping[str, JSON], fields: Fields) -> dict[str, JSON]:
    """Return an array's document with the ``fields`` in the place of its own."""
    return {**document, **fields}


def ancestors(path: str) -> Iterator[tuple[str, str]]:
    """Yield each group above and at ``path``, innermost first, with the prefix that its members' paths begin with."""
    for group in [path, *reversed(groups_above(path))]:
        yield group, prefix_of(path)[len(prefix_of(group)) :]
