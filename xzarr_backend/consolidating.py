"""Writing consolidated metadata: gathering the documents of all members, and keeping them true when one changes.

Imports nodes and the rows below. Invariant: consolidated metadata are written last and in one `set`; what they say of
a member is what its own documents say. Sources: zarr-python's `.zmetadata` (v2), inline `consolidated_metadata` (v3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from .attribute_values import attributes_of, encode_attributes, without_bare_numbers
from .errors import MetadataError, NodeNotFoundError, UnsupportedError, not_too_deep
from .fetching import get_document, get_documents
from .formats.consolidated import Documents, edit_inline, edit_zmetadata
from .formats.documents import parse_json
from .nodes import GROUP, Found, find_node, load_children, place_of
from .paths import groups_above, join, prefix_of
from .spec import JSON, ArraySpec, GroupSpec
from .stored_documents import store_document, store_new_document
from .stores.base import Store
from .stores.files import own_lock

INLINE = "consolidated_metadata"


class Member(NamedTuple):
    """A node below a group, by its path relative to the group."""

    path: str
    spec: ArraySpec | GroupSpec


def consolidate(store: Store, path: str) -> Found:
    """Write the consolidated metadata of the group at ``path`` and return the group with its members.

    Raises `UnsupportedError` where the store keeps none, `MetadataError` naming every member that cannot be read.
    """
    if not store.supports_consolidated_metadata:
        raise UnsupportedError(
            "this store keeps no consolidated metadata",
            where=place_of(store, path),
            hint="it is as fast without them; open it with consolidated=None",
        )
    store.check_writable()
    found = find_node(store, path, kind=GROUP, consolidated=False)
    prefix = prefix_of(path)
    if found.spec.zarr_format == 2:
        store_new_document(store, f"{prefix}.zgroup", {"zarr_format": 2})
    key = f"{prefix}zarr.json" if found.spec.zarr_format == 3 else f"{prefix}.zmetadata"
    # who changes a member meanwhile waits here before telling it
    with not_too_deep(place_of(store, path)), own_lock(store, key):
        if found.spec.zarr_format == 3:
            inline = _inline(_gather(store, path, found))
            change_locked(store, key, found.spec.document, lambda d: {**d, INLINE: inline})
        else:  # the group's own attributes are told too
            found = find_node(store, path, kind=GROUP, consolidated=False)
            try:
                told = _zmetadata([Member("", found.spec), *_gather(store, path, found)])
            except MetadataError as error:
                raise error.within(place_of(store, path))  # noqa: B904 (the same error, with its place)
            store_document(store, key, told)
    return find_node(store, path, kind=GROUP)


def _gather(store: Store, path: str, found: Found) -> list[Member]:
    """Return all members, nested ones too, as their own documents have them, parents before their members."""
    problems: list[tuple[str, str]] = []
    members = sorted(_walk(store, path, "", found, problems), key=lambda member: (member.path.count("/"), member.path))
    if found.spec.zarr_format == 3:
        problems += [
            (member.path, "is of Zarr v2, which the metadata of a v3 group cannot hold")
            for member in members
            if member.spec.zarr_format == 2
        ]
    if problems:
        raise MetadataError(
            "the metadata cannot be consolidated, because members cannot be read",
            where=place_of(store, path),
            problems=problems,
            hint="repair or delete these members first",
        )
    return members


def _walk(store: Store, path: str, below: str, found: Found, problems: list[tuple[str, str]]) -> Iterator[Member]:
    for child in load_children(store, path, found):
        name = f"{below}{child.name}"
        if child.found is None:
            problems.append((name, child.error.what if child.error is not None else "cannot be read"))
            continue
        yield Member(name, child.found.spec)
        if isinstance(child.found.spec, GroupSpec):  # its own consolidated metadata may be out of date
            inner = child.found._replace(members=None)
            yield from _walk(store, join(path, child.name), f"{name}/", inner, problems)


def _inline(members: list[Member]) -> dict[str, JSON]:
    documents = {member.path: _document_v3(member.spec) for member in members}
    return {"kind": "inline", "must_understand": False, "metadata": documents}


def _document_v3(spec: ArraySpec | GroupSpec) -> JSON:
    document = clean(spec.document)
    if isinstance(spec, GroupSpec):
        # an empty one says that nothing is to be looked for in the store
        document[INLINE] = {"kind": "inline", "must_understand": False, "metadata": {}}
    return document


def _zmetadata(members: list[Member]) -> dict[str, JSON]:
    documents: dict[str, JSON] = {}
    for member in members:
        documents |= _documents_v2(member)
    return {"zarr_consolidated_format": 1, "metadata": documents}


def _documents_v2(member: Member) -> dict[str, JSON]:
    prefix = prefix_of(member.path)
    spec = member.spec
    if spec.zarr_format == 3:
        return {f"{prefix}zarr.json": clean(spec.document)}
    name = ".zarray" if isinstance(spec, ArraySpec) else ".zgroup"
    try:
        attributes = encode_attributes(spec.attributes)
    except MetadataError as error:
        raise error.at(f"document {prefix + '.zattrs'!r}")  # noqa: B904
    return {f"{prefix}{name}": without_bare_numbers(spec.document), f"{prefix}.zattrs": attributes}


def clean(document: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a document as it may be stored again, although its writer left bare NaN in it (not JSON)."""
    cleaned: dict[str, JSON] = {}
    for name, value in document.items():
        if isinstance(value, dict) and (name == "attributes" or name.rpartition("/")[2] == ".zattrs"):
            cleaned[name] = attributes_of(value)
        elif isinstance(value, dict) and name in ("metadata", INLINE):
            cleaned[name] = {inner: clean(item) if isinstance(item, dict) else item for inner, item in value.items()}
            if name == "metadata":  # of v2: what lies there is the attributes themselves
                cleaned[name] |= {n: attributes_of(v) for n, v in value.items() if n.endswith(".zattrs")}
        else:
            cleaned[name] = without_bare_numbers(value)
    return cleaned


# --- keeping them true -----------------------------------------------------------------------------------------------


def change_document(store: Store, key: str, default: Mapping[str, JSON], change: Any) -> dict[str, JSON]:
    """Replace the document ``key`` (``default`` where there is none) by what ``change`` returns for it, in one step."""
    with own_lock(store, key):
        return change_locked(store, key, default, change)


def change_locked(store: Store, key: str, default: Mapping[str, JSON], change: Any) -> dict[str, JSON]:
    """Do the same for a caller who holds the document's lock."""
    raw = get_document(store, key)
    old = dict(default) if raw is None else parse_json(raw, key.rpartition("/")[2])
    with not_too_deep(f"{store.url}, document {key!r}"):
        new: dict[str, JSON] = change(old)
        if raw is None or new != old:
            store_document(store, key, clean(new))
    return new


def update_member(store: Store, path: str, spec: ArraySpec | GroupSpec | None) -> None:
    """Make the consolidated metadata of all groups above ``path`` say ``spec`` of the node there (None: it is gone)."""
    if not store.supports_consolidated_metadata:
        return
    names = [(top, name) for top in [*groups_above(path), path] for name in ("zarr.json", ".zmetadata")]
    names.remove((path, "zarr.json"))  # which says nothing of itself as a member
    keys = [join(top, name) for top, name in names]
    for key, raw in zip(keys, get_documents(store, keys), strict=True):
        if raw is None:
            continue
        top = key.rpartition("/")[0]
        relative = path[len(top) :].lstrip("/")
        zmetadata = key.endswith(".zmetadata")
        if zmetadata or INLINE.encode() in bytes(raw):
            with_member = partial(_with_member, zmetadata)
            change_document(store, key, {}, partial(_told, store, path, spec, relative, with_member))


def _told(
    store: Store,
    path: str,
    spec: ArraySpec | GroupSpec | None,
    relative: str,
    with_member: Callable[..., dict[str, JSON]],
    document: dict[str, JSON],
) -> dict[str, JSON]:
    """Return ``document`` with what is stored of the node now: others may have changed, deleted or made it since."""
    without = with_member(document, relative, None)
    try:
        found = find_node(store, path, consolidated=False)
    except NodeNotFoundError:  # whoever deleted it has told so already, or only the consolidated metadata know it
        return document if without == document else with_member(document, relative, spec)
    except (MetadataError, UnsupportedError):
        return with_member(document, relative, spec)
    if spec is not None:
        return with_member(document, relative, found.spec)
    for member in [Member(relative, found.spec), *_walk(store, path, prefix_of(relative), found, [])]:
        without = with_member(without, member.path, member.spec)
    return without


def _with_member(
    zmetadata: bool, document: Mapping[str, JSON], member: str, spec: ArraySpec | GroupSpec | None
) -> dict[str, JSON]:
    """Return consolidated metadata that say ``spec`` of a ``member`` (None: it is gone, with all below it)."""
    edits = {member: partial(_edit, zmetadata, member, spec)}
    return edit_zmetadata(document, edits) if zmetadata else edit_inline(document, edits)


def _edit(zmetadata: bool, member: str, spec: ArraySpec | GroupSpec | None, listed: Documents) -> Documents | None:
    """Return what is to be ``listed`` of a ``member``; inline members are of v3 only."""
    if spec is None:
        return None
    if zmetadata:
        documents = _documents_v2(Member(member, spec))
        return {key[len(prefix_of(member)) :]: document for key, document in documents.items()}
    return {"zarr.json": _document_v3(spec)} if spec.zarr_format == 3 else listed
