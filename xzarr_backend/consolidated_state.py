"""Whether consolidated metadata still say what the members' own documents say.

Imports inventory, consolidating and the rows below. Invariant: documents are compared as data, without what writers may
add or leave out without a change of meaning (empty attributes, consolidated metadata within).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .consolidating import INLINE, clean
from .errors import XzarrError
from .formats.consolidated import Members, NodeDocuments, parse_inline, parse_zmetadata
from .inventory import (
    ZARR_JSON,
    ZARRAY,
    ZATTRS,
    ZGROUP,
    ZMETADATA,
    Document,
    Documents,
    Inventory,
    load_documents,
    load_nodes,
)
from .paths import groups_above, prefix_of
from .spec import JSON

_FIELDS = ((ZARR_JSON, "zarr_json"), (ZARRAY, "zarray"), (ZGROUP, "zgroup"), (ZATTRS, "zattrs"))


def consolidated_members(documents: Documents) -> Members | None:
    """Return the members that a group's consolidated metadata hold; None where it has none that can be read."""
    zmetadata, own = documents.get(ZMETADATA), documents.get(ZARR_JSON)
    try:
        if zmetadata is not None and zmetadata.content is not None:
            return parse_zmetadata(zmetadata.content)
        inline: Any = (own.content or {}).get(INLINE) if own is not None else None
        if isinstance(inline, dict) and isinstance(inline.get("metadata"), dict):
            return parse_inline(inline["metadata"])
    except XzarrError:
        return {}
    return None


def consolidated_groups(inventory: Inventory) -> dict[str, Members]:
    """Return the outermost groups with consolidated metadata, by path, with the members that these hold.

    The consolidated metadata of a group within such a group are compared with its own as well.
    """
    found = {path: consolidated_members(documents) for path, documents in inventory.nodes.items()}
    return {path: members for path, members in sorted(found.items()) if members is not None and _speaks(members, path)}


def ask_consolidated(inventory: Inventory) -> None:
    """Find the nodes of a store that cannot be listed through its consolidated metadata."""
    for group, members in list(consolidated_groups(inventory).items()):
        prefix = prefix_of(group)
        load_nodes(inventory, [f"{prefix}{member}" for member in members if member])


def _speaks(members: Members, path: str) -> bool:
    # zarr-python writes an empty one into the groups below a consolidated one: it says nothing of its own
    return bool(members) or not path


def restorable(inventory: Inventory, path: str) -> Documents:
    """Return the documents of the node at ``path`` as the consolidated metadata of the groups above it have them."""
    for group, members in consolidated_groups(inventory).items():
        relative = path if not group else path.removeprefix(f"{group}/")
        if path == group:
            relative = ""
        elif group and relative == path:
            continue
        if relative in members:
            return {name: Document(name, content) for name, content in _contents(members[relative]).items()}
    return {}


def stale_members(inventory: Inventory, group: str, members: Members) -> list[tuple[str, str]]:
    """Return (member's path in the group, what differs) for all that consolidated metadata say otherwise."""
    prefix = prefix_of(group)
    own = {path[len(prefix) :]: d for path, d in inventory.nodes.items() if path.startswith(prefix) and path != group}
    if group in inventory.nodes:
        own[""] = inventory.nodes[group]
    stale = []
    implied = {parent for member in own for parent in groups_above(member)}
    for path, documents in members.items():
        if path in implied and path not in own and _says_nothing(documents):
            continue  # a folder that nobody declared a group, listed as the group that its members make it
        why = _difference(_contents(documents), own.get(path))
        if why and not (path == "" and ZARR_JSON in own.get("", {})):
            stale.append((path, why))
    if members:
        known = {*members, *(path.rpartition("/")[0] for path in members)}
        stale += [(path, "is not listed") for path in sorted(own) if path and path not in known and _is_node(own[path])]
    return sorted(stale)


def stale_above(inventory: Inventory, path: str) -> list[tuple[str, str, str]]:
    """Return (group, member's path in it, what differs) for ``path`` and below, of the groups above it.

    The documents of these groups are fetched; an ``inventory`` of what lies below ``path`` does not have them.
    """
    stale = []
    for group in groups_above(path):
        prefix = prefix_of(group)
        relative = path[len(prefix) :]
        names = (ZARR_JSON, ZMETADATA)
        loaded = load_documents(inventory.store, [f"{prefix}{name}" for name in names])
        members = consolidated_members({document.name: document for document in loaded if document is not None})
        inside = {name: said for name, said in (members or {}).items() if f"{name}/".startswith(f"{relative}/")}
        if members:
            stale += [(group, name, why) for name, why in stale_members(inventory, group, inside)]
    return stale


def _says_nothing(documents: NodeDocuments) -> bool:
    return documents.zarr_json is documents.zarray is None and not documents.zattrs


def _contents(documents: NodeDocuments) -> dict[str, Mapping[str, JSON]]:
    pairs = ((name, getattr(documents, field)) for name, field in _FIELDS)
    return {name: content for name, content in pairs if content is not None}


def _is_node(documents: Documents) -> bool:
    return any(name in documents for name in (ZARR_JSON, ZARRAY, ZGROUP))


def _difference(said: dict[str, Mapping[str, JSON]], own: Documents | None) -> str:
    if own is None:
        return "is listed, but has no documents"
    for name, content in said.items():
        found = own.get(name)
        if found is not None and found.content is None:
            continue  # broken: that is another finding
        stored = found.content if found is not None else None
        if stored is None and (content or name != ZATTRS):
            if name == ZGROUP:
                continue  # other writers leave it out, and consolidating lists it all the same
            return f"is listed with {name}, which is not stored"
        if _plain(content) != _plain(stored or {}):
            return f"differs in {_where(content, stored or {}, name)}"
    if ZATTRS in own and (own[ZATTRS].content or {}) and ZATTRS not in said and ZARR_JSON not in said:
        return "has attributes that are not listed"
    return ""


def _plain(document: Mapping[str, JSON]) -> str:
    kept = {name: value for name, value in document.items() if name != INLINE}
    return json.dumps(clean(kept), sort_keys=True, default=str)


def _where(said: Mapping[str, JSON], own: Mapping[str, JSON], name: str) -> str:
    names = [key for key in sorted({*said, *own} - {INLINE}) if said.get(key) != own.get(key)]
    return f"{name}: {', '.join(names[:5])}" if names else name
