"""Consolidated metadata: the documents of all members of a group in one place.

Imports errors and spec. Invariant: a member is looked up by its path and gives the same documents that its own
objects would give. Sources: zarr-python's `.zmetadata` (v2) and inline `consolidated_metadata` (v3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import MetadataError
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
