"""Consolidated metadata: the documents of all members of a group in one place.

Imports errors, paths and spec. Invariant: a member is looked up by its path and gives the same documents that its own
objects would give. Sources: zarr-python's `.zmetadata` (v2) and inline `consolidated_metadata` (v3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import MetadataError
from ..paths import prefix_of
from ..spec import JSON


class NodeDocuments(NamedTuple):
    """The documents of one node: ``zarr_json`` (v3), or ``zarray`` or ``zgroup`` with ``zattrs`` (v2)."""

    zarr_json: Mapping[str, JSON] | None = None
    zarray: Mapping[str, JSON] | None = None
    zgroup: Mapping[str, JSON] | None = None
    zattrs: Mapping[str, JSON] | None = None


Members = dict[str, NodeDocuments]  # by path relative to the group; "" is the group itself

_FIELDS = {"zarr.json": "zarr_json", ".zarray": "zarray", ".zgroup": "zgroup", ".zattrs": "zattrs"}


def parse_zmetadata(document: Mapping[str, JSON]) -> Members:
    """Return the members that a `.zmetadata` document describes; raise `MetadataError`."""
    entries: Any = document.get("metadata")
    if not isinstance(entries, dict):
        raise MetadataError(
            ".zmetadata holds no metadata", problems=[("metadata", f"must be an object, not {entries!r:.80}")]
        )
    found: dict[str, dict[str, Any]] = {}
    for key, value in entries.items():
        path, _, name = key.strip("/").rpartition("/")
        field = _FIELDS.get(name)
        if field is not None and isinstance(value, dict):
            found.setdefault(_inside(path) if path else "", {})[field] = value
    return {path: NodeDocuments(**fields) for path, fields in found.items()}


def parse_inline(members: Mapping[str, JSON]) -> Members:
    """Return the members that a v3 group's inline consolidated metadata describe, nested ones by their whole path."""
    found: Members = {}
    waiting = [("", members)]
    while waiting:
        prefix, level = waiting.pop()
        for name, value in level.items():
            if not isinstance(value, dict):
                continue
            path = prefix + _inside(name.strip("/"))
            found[path] = NodeDocuments(value)
            inner: Any = value.get("consolidated_metadata")
            if isinstance(inner, dict) and isinstance(inner.get("metadata"), dict):
                waiting.append((f"{path}/", inner["metadata"]))
    return found


_OUTSIDE = frozenset({"", ".", ".."})


def _inside(path: str) -> str:
    """Return ``path``, or raise where it would lead out of the group: it becomes a part of keys."""
    if "\0" in path or not _OUTSIDE.isdisjoint(path.split("/")):
        raise MetadataError(
            f"the consolidated metadata name a member {path!r:.80}",
            problems=[("metadata", f"{path!r:.80} is no path: parts must not be empty, '.' or '..'")],
        )
    return path


def below(members: Members, path: str) -> Members:
    """Return the members of the group at ``path``, by paths relative to it."""
    if not path:
        return members
    prefix = f"{path}/"
    return {
        member[len(prefix) :] if member != path else "": documents
        for member, documents in members.items()
        if member == path or member.startswith(prefix)
    }


def child_names(members: Members) -> list[str]:
    """Return the names right below the group, sorted; groups that only their members mention count too."""
    return sorted({path.partition("/")[0] for path in members if path})


# --- changing members -------------------------------------------------------------------------------------------------

Documents = Mapping[str, JSON]  # of one node, by their names, as far as they are listed
# from the documents that are listed to those that are to be; None: the member is gone, with all below it
Edit = Callable[[Documents], Documents | None]


def edit_zmetadata(document: Mapping[str, JSON], edits: Mapping[str, Edit]) -> dict[str, JSON]:
    """Return a `.zmetadata` document with its members changed by ``edits``, by their paths."""
    entries: Any = document.get("metadata") or {}
    if not isinstance(entries, dict):
        return dict(document)
    for path, edit in edits.items():
        prefix = prefix_of(path)
        new = edit({name: entries[prefix + name] for name in _FIELDS if prefix + name in entries})
        if new is None:
            entries = {key: value for key, value in entries.items() if not key.startswith(prefix)}
        else:
            entries = {**entries, **{prefix + name: value for name, value in new.items()}}
    return {"zarr_consolidated_format": 1, **document, "metadata": entries}


def edit_inline(document: Mapping[str, JSON], edits: Mapping[str, Edit]) -> dict[str, JSON]:
    """Do the same for the document of a v3 group, which may have no consolidated members.

    Members are listed by their whole paths, or in the documents of their groups; new ones get their whole path.
    """
    members = _inline_members(document)
    if members is None:
        return dict(document)
    for path, edit in edits.items():
        old = _listed(members, path)
        new = edit({} if old is None else {"zarr.json": old})
        if new is None or "zarr.json" in new:
            members = _replaced(members, path, None if new is None else new["zarr.json"])
        if new is not None and old is None and "zarr.json" in new:
            members[path] = new["zarr.json"]
    return _with_members(document, members)


def _inline_members(document: JSON) -> dict[str, JSON] | None:
    inline: Any = document.get("consolidated_metadata") if isinstance(document, dict) else None
    members = inline.get("metadata") if isinstance(inline, dict) else None
    return members if isinstance(members, dict) else None


def _with_members(document: Mapping[str, JSON], members: Mapping[str, JSON]) -> dict[str, JSON]:
    return {**document, "consolidated_metadata": {**document["consolidated_metadata"], "metadata": members}}


def _listed(members: Mapping[str, JSON], path: str) -> JSON:
    """Return the document of the member at ``path``, None where it is not listed."""
    for name, value in members.items():
        at = name.strip("/")
        if at == path:
            return value
        found = _listed(_inline_members(value) or {}, path[len(at) + 1 :]) if path.startswith(f"{at}/") else None
        if found is not None:
            return found
    return None


def _replaced(members: Mapping[str, JSON], path: str, new: JSON) -> dict[str, JSON]:
    """Return ``members`` with the document ``new`` where ``path`` is listed; None: without it and all below it."""
    found = {}
    for name, value in members.items():
        at = name.strip("/")
        inner = _inline_members(value) if path.startswith(f"{at}/") else None
        if inner is not None:
            found[name] = _with_members(value, _replaced(inner, path[len(at) + 1 :], new))
        elif at == path and new is not None:
            found[name] = new
        elif at != path and (new is not None or not at.startswith(f"{path}/")):
            found[name] = value
    return found
