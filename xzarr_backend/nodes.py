"""Finding nodes: which documents lie at a path, and what they say.

Imports stores, formats and the rows below. Invariant: a document that is there but wrong is an error, a document that
is not there is looked for where the other format, consolidated metadata or the parents would have it, with as few
requests as that allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from .compat import TOLERANT, Reading
from .errors import MetadataError, NodeNotFoundError, UnsupportedError, XzarrError
from .fetching import get_document, get_documents, list_names
from .formats.consolidated import Members, NodeDocuments, below, child_names, parse_inline, parse_zmetadata
from .formats.documents import NODES, parse_json
from .formats.v2 import parse_array_v2, parse_group_v2
from .formats.v3 import node_type, parse_array_v3, parse_group_v3
from .paths import groups_above, join, prefix_of
from .pending import FOLDER, Fields, patched, pending_fields
from .spec import JSON, ArraySpec, GroupSpec
from .stores.base import Store, check_key

ARRAY, GROUP = "array", "group"


class Found(NamedTuple):
    """A node and what finding it taught about its members.

    ``members`` is None unless the group has consolidated metadata; ``listing`` the names below a group, where they had
    to be listed anyway.
    """

    spec: ArraySpec | GroupSpec
    members: Members | None = None
    listing: list[str] | None = None


def clean_path(path: str | PurePath | None) -> str:
    """Return ``path`` without outer slashes (None: the root); raise for parts that would leave the store."""
    stripped = (path if type(path) is str else _path_text(path)).strip("/")
    if not stripped:
        return ""
    if not stripped.isascii():
        try:
            stripped.encode()
        except UnicodeEncodeError as error:
            raise XzarrError(f"{path!r:.80} is no path in a store: {error}") from None
    return check_key(stripped)


def _path_text(path: object) -> str:
    if isinstance(path, PurePath):
        return path.as_posix()
    if path is None or isinstance(path, str):
        return path or ""
    raise XzarrError(
        f"{path!r:.80} is no path in a store",
        hint="a path is a text, like 'group/array'; elements are read from an array: group['array'][0]",
    )


def find_node(
    store: Store,
    path: str,
    *,
    kind: str | None = None,
    zarr_format: int | None = None,
    consolidated: bool | None = None,
    reading: Reading = TOLERANT,
) -> Found:
    """Return the node at ``path``.

    ``kind`` "array" or "group" raises where the other one lies there. ``consolidated``: None uses consolidated
    metadata when the group has them, True demands them, False ignores them. ``reading``: which quirks of writers are
    assumed or refused. Raises `NodeNotFoundError`, `MetadataError` or `UnsupportedError`, each naming the place.
    """
    where = place_of(store, path)
    try:
        try:
            found = _find(store, path, kind, zarr_format, consolidated, reading)
        except NodeNotFoundError:
            if not store.settle(path):
                raise
            found = _find(store, path, kind, zarr_format, consolidated, reading)
    except NodeNotFoundError as error:
        raise error.at(where)  # noqa: B904 (the same error, with its place)
    except UnsupportedError as error:
        raise error.within(where)  # noqa: B904
    except MetadataError as error:
        mended = _mended(store, path, reading) if path and consolidated is not False else None
        if mended is None:
            raise error.within(where)  # noqa: B904
        found = mended
    except RecursionError as error:
        raise MetadataError("the metadata are nested too deeply", where=where) from error
    if kind == ARRAY and isinstance(found.spec, GroupSpec):
        raise NodeNotFoundError("a group lies here, not an array", where=where, hint="open it with xz.open_group")
    if kind == GROUP and isinstance(found.spec, ArraySpec):
        raise NodeNotFoundError("an array lies here, not a group", where=where, hint="open it with xz.open_array")
    if consolidated and isinstance(found.spec, GroupSpec) and found.members is None:
        raise MetadataError(
            "the group has no consolidated metadata",
            where=where,
            hint="open it with consolidated=None, or write them with xz.consolidate_metadata",
        )
    return found


def _mended(store: Store, path: str, reading: Reading) -> Found | None:
    try:
        return find_in_parents(store, path, reading)
    except (MetadataError, UnsupportedError):
        return None  # the node's own error is the one to report


def place_of(store: Store, path: str) -> str:
    """Return how errors name a node."""
    return f"{store.url}, path {path!r}" if path else store.url


def _find(
    store: Store, path: str, kind: str | None, zarr_format: int | None, consolidated: bool | None, reading: Reading
) -> Found:
    prefix = prefix_of(path)
    use_members = consolidated is not False and store.supports_consolidated_metadata
    if zarr_format != 2:
        raw = get_document(store, f"{prefix}zarr.json")
        if raw is not None:
            return _found_v3(parse_json(raw, "zarr.json"), use_members, reading)
    if zarr_format == 3:
        raise _nothing(store, path, "no zarr.json")
    if kind != ARRAY and use_members:
        raw = get_document(store, f"{prefix}.zmetadata")
        if raw is not None:
            return _found_consolidated(parse_zmetadata(parse_json(raw, ".zmetadata")), reading)
    if kind == GROUP:
        return _find_group_v2(store, path, reading, zarr_format)
    names = [".zarray", ".zattrs", ".zgroup"] if store.concurrent else [".zarray", ".zattrs"]  # one wave, or few reads
    zarray, zattrs, *zgroup = _load(store, [f"{prefix}{name}" for name in names])
    if zarray is not None:
        return Found(parse_array_v2(zarray, zattrs or {}, reading))
    (group,) = zgroup or _load(store, [f"{prefix}.zgroup"])
    if group is not None:
        return Found(parse_group_v2(group, zattrs or {}))
    if kind is None:
        return _find_group_v2(store, path, reading, zarr_format)
    raise _nothing(store, path, "no zarr.json or .zarray")


def _load(store: Store, keys: Sequence[str]) -> list[dict[str, JSON] | None]:
    found = get_documents(store, keys)
    return [
        None if raw is None else parse_json(raw, key.rpartition("/")[2]) for key, raw in zip(keys, found, strict=True)
    ]


def _found_v3(document: Mapping[str, JSON], use_members: bool, reading: Reading) -> Found:
    if node_type(document) == ARRAY:
        return Found(parse_array_v3(document, reading))
    spec = parse_group_v3(document)
    if not use_members or spec.consolidated is None:
        return Found(spec)
    return Found(spec, parse_inline(spec.consolidated))


def _found_consolidated(members: Members, reading: Reading) -> Found:
    root = members.get("", NodeDocuments())
    if root.zarray is not None:
        return Found(parse_array_v2(root.zarray, root.zattrs or {}, reading))
    return Found(parse_group_v2(root.zgroup or {"zarr_format": 2}, root.zattrs or {}), members)


def _find_group_v2(store: Store, path: str, reading: Reading, zarr_format: int | None) -> Found:
    """Find a v2 group, or folders that hold nodes although nobody declared a group (older writers)."""
    prefix = prefix_of(path)
    try:
        names = list_names(store, prefix)
    except UnsupportedError:
        zgroup, zattrs, zarray = _load(store, [f"{prefix}{name}" for name in (".zgroup", ".zattrs", ".zarray")])
        if zarray is not None:
            return Found(parse_array_v2(zarray, zattrs or {}, reading))
        if zgroup is None:
            raise _nothing(store, path, "no zarr.json, .zgroup or .zarray") from None
        return Found(parse_group_v2(zgroup, zattrs or {}))
    if ".zarray" in names:
        zarray, zattrs = _load(store, [f"{prefix}.zarray", f"{prefix}.zattrs"])
        return Found(parse_array_v2(zarray or {}, zattrs or {}, reading))
    attributes = _load(store, [f"{prefix}.zattrs"])[0] if ".zattrs" in names else None
    documents = NODES[1:] if zarr_format == 2 else NODES
    if ".zgroup" in names or _holds_nodes(store, prefix, names, documents):
        # a .zgroup says nothing but its format, so it is not fetched
        return Found(parse_group_v2({"zarr_format": 2}, attributes or {}), None, names)
    raise _nothing(store, path, _what_is_there(names))


def _holds_nodes(store: Store, prefix: str, names: Sequence[str], documents: Sequence[str] = NODES) -> bool:
    """Return whether a folder below holds one of the ``documents``.

    Two levels are looked at, which is what implicit groups need.
    """
    folders = [name for name in names if name.endswith("/")][:1000]
    keys = [f"{prefix}{name}{document}" for name in folders for document in documents]
    if any(raw is not None for raw in get_documents(store, keys)):
        return True
    for name in folders[:100]:
        inner = [f"{prefix}{name}{folder}" for folder in list_names(store, f"{prefix}{name}") if folder.endswith("/")]
        keys = [f"{folder}{document}" for folder in inner[:100] for document in documents]
        if any(raw is not None for raw in get_documents(store, keys)):
            return True
    return False


def _what_is_there(names: Sequence[str]) -> str:
    """Return why ``names``, of which none is a document that was looked for, make no node."""
    if not names:
        return "the place is empty or does not exist"
    if "zarr.json" in names:
        return "no .zarray or .zgroup, but zarr.json, which is Zarr v3"
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"there are {len(names)} name(s) but no Zarr metadata: {listed}"


def _nothing(store: Store, path: str, why: str) -> NodeNotFoundError:
    return NodeNotFoundError(
        f"no Zarr node is stored here: {why}",
        where=place_of(store, path),
        hint="check the path, and zarr_format if given",
    )


def near_name(store: Store, path: str, name: str, known: Iterable[str] | None = None) -> str:
    """Return a question for the node beside ``name``, where nothing lies, whose name is nearest; "" where none is near.

    ``name`` and the ``known`` nodes are relative to ``path``. Without ``known`` the folder is listed, but not where
    that takes requests.
    """
    from difflib import get_close_matches  # late: a new process that finds what it opens does without it

    start = prefix_of(path)
    folder, last = name[: name.rfind("/") + 1], name.rpartition("/")[2]
    try:
        listed = store.list_dir(f"{start}{folder}") if known is None and not store.concurrent else ()
        beside = [full[len(folder) :].partition("/")[0] for full in known or () if full.startswith(folder)]
        for near in get_close_matches(last, beside or [item[:-1] for item in listed if item.endswith("/")]):
            place = f"{start}{folder}{near}"
            if near != last and (beside or any(store.get(f"{place}/{document}") is not None for document in NODES)):
                return f"did you mean {folder + near!r}?"
    except (OSError, XzarrError):
        pass
    return ""


# --- members of groups -----------------------------------------------------------------------------------------------


def parse_node(documents: NodeDocuments, reading: Reading = TOLERANT) -> Found | None:
    """Return the node that ``documents`` describe, None when they describe none."""
    if documents.zarr_json is not None:
        return _found_v3(documents.zarr_json, True, reading)
    if documents.zarray is not None:
        return Found(parse_array_v2(documents.zarray, documents.zattrs or {}, reading))
    if documents.zgroup is not None or documents.zattrs is not None:
        return Found(parse_group_v2(documents.zgroup or {"zarr_format": 2}, documents.zattrs or {}))
    return None


class Child(NamedTuple):
    """A member of a group: the node, or why it cannot be used."""

    name: str
    found: Found | None
    error: XzarrError | None = None


def consolidated_child(members: Members, name: str, reading: Reading = TOLERANT) -> Found | None:
    """Return the node at the relative path ``name`` of a consolidated group; groups may be implied by their members."""
    documents = members.get(name)
    found = parse_node(documents, reading) if documents is not None else None
    if found is not None and isinstance(found.spec, ArraySpec):
        return found
    inner = below(members, name)
    if found is None:
        return Found(GroupSpec(attributes={}, zarr_format=2, document={"zarr_format": 2}), inner) if inner else None
    return found._replace(members=inner)


def load_children(store: Store, path: str, found: Found, reading: Reading = TOLERANT) -> list[Child]:
    """Return all members right below the group ``found`` at ``path``, in one wave of requests."""
    if found.members is not None:
        members = found.members
        return [attempt(store, path, name, consolidated_child, members, name, reading) for name in child_names(members)]
    prefix = prefix_of(path)
    names = found.listing if found.listing is not None else list_names(store, prefix)
    pending = pending_fields(store, path) if FOLDER in names else {}
    folders = [name[:-1] for name in names if name.endswith("/") and name != FOLDER]
    folders = [name for name in folders if pending.get(name, ()) is not None]  # None: part of an unfinished append
    documents = _load_documents(store, [f"{prefix}{name}" for name in folders], found.spec.zarr_format)
    same: dict[bytes, dict[str, JSON]] = {}  # for this call; the members keep what is in it
    children = [
        attempt(store, path, name, _parse_child, store, f"{prefix}{name}", loaded, same, reading, pending.get(name))
        for name, loaded in zip(folders, documents, strict=True)
    ]
    return [child for child in children if child.found is not None or child.error is not None]


def attempt(store: Store, path: str, name: str, find: Callable[..., Found | None], *arguments: Any) -> Child:
    """Return the member ``name`` of the group at ``path`` that ``find`` returns, or its error with its place."""
    try:
        return Child(name, find(*arguments))
    except (MetadataError, UnsupportedError) as error:
        failure: MetadataError | UnsupportedError = error
    except RecursionError:
        failure = MetadataError("the metadata are nested too deeply")
    return Child(name, None, failure.within(place_of(store, join(path, name))))


def _load_documents(store: Store, paths: Sequence[str], zarr_format: int) -> list[dict[str, Any]]:
    """Fetch the documents of several nodes: those of the group's own format first, the others where they miss."""
    first = ["zarr.json"] if zarr_format == 3 else [".zarray", ".zattrs"]
    then = [".zarray", ".zattrs", ".zgroup"] if zarr_format == 3 else ["zarr.json", ".zgroup"]
    loaded = _fetch_documents(store, paths, first)
    missing = [at for at, documents in enumerate(loaded) if documents[first[0]] is None]
    for at, more in zip(missing, _fetch_documents(store, [paths[at] for at in missing], then), strict=True):
        loaded[at].update(more)
    return loaded


def _fetch_documents(store: Store, paths: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    found = iter(get_documents(store, [f"{path}/{name}" for path in paths for name in names]))
    return [{name: next(found) for name in names} for _ in paths]


def _parse_child(
    store: Store,
    path: str,
    raw: Mapping[str, Any],
    same: dict[bytes, dict[str, JSON]],
    reading: Reading,
    fields: Fields | None,
) -> Found | None:
    parsed: dict[str, dict[str, JSON]] = {}
    for name, data in raw.items():
        if data is None:
            continue
        if name != ".zarray":
            parsed[name] = parse_json(data, name)
            continue
        key = bytes(data)  # most members of a group have the same .zarray, which is parsed once (row xr_open_wide2)
        if key not in same:
            same[key] = parse_json(data, name)
        parsed[name] = same[key]
    for name in ("zarr.json", ".zarray") if fields is not None else ():
        if name in parsed:
            parsed[name] = patched(parsed[name], fields or {})
    documents = NodeDocuments(
        parsed.get("zarr.json"), parsed.get(".zarray"), parsed.get(".zgroup"), parsed.get(".zattrs")
    )
    found = parse_node(documents, reading)
    if found is None:
        names = list_names(store, f"{path}/")
        if _holds_nodes(store, f"{path}/", names):
            return Found(GroupSpec(attributes={}, zarr_format=2, document={"zarr_format": 2}), None, names)
    return found


def find_in_parents(store: Store, path: str, reading: Reading) -> Found | None:
    """Return the node as the consolidated metadata of a parent know it, where its own documents are lost or broken."""
    if not store.supports_consolidated_metadata:
        return None
    for parent in reversed(groups_above(path)):
        name = path[len(prefix_of(parent)) :]
        try:
            found = _find_consolidated(store, parent)
        except (MetadataError, UnsupportedError):
            continue
        if found is not None and name in found:
            return consolidated_child(found, name, reading)
    return None


def _find_consolidated(store: Store, path: str) -> Members | None:
    prefix = prefix_of(path)
    document, zmetadata = _load(store, [f"{prefix}zarr.json", f"{prefix}.zmetadata"])
    if zmetadata is not None:
        return parse_zmetadata(zmetadata)
    inner: Any = (document or {}).get("consolidated_metadata")
    return (
        parse_inline(inner["metadata"]) if isinstance(inner, dict) and isinstance(inner.get("metadata"), dict) else None
    )
