"""`xz.check_profile`: what of a store the readers that one writes for cannot read, or would read wrongly.

Imports inventory, doctor_facts, verify_unlisted, profiles, array and the rows below; numcodecs at its first use.
Invariant: nothing is changed, and nothing that a stranger stored ends the check: what cannot be understood is a
violation.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .codecs.zstd import frame_sizes, stated_size
from .doctor_facts import every_chunk
from .errors import NodeNotFoundError, XzarrError
from .formats.v2 import parse_array_v2
from .formats.v3 import parse_array_v3
from .inventory import (
    ZARR_JSON,
    ZARRAY,
    ZATTRS,
    ZGROUP,
    Documents,
    Inventory,
    Stored,
    is_array,
    only_archive,
    take_inventory,
)
from .profile_rules import Broken, Profile, Subject, broken_rules
from .profiles import find_profile
from .spec import ArraySpec
from .stored import parse_key
from .stores import open_store
from .stores.base import Store
from .verify_unlisted import find_nodes, is_unlisted

MAX_NBYTES = 2**31  # of one decoded chunk


class Violation(NamedTuple):
    """What a profile does not allow: the path of the array or group, the rule, what is there, why, what to do."""

    path: str
    rule: str
    what: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"/{self.path}: {self.what} ({self.rule})\n  {self.reason}\n  {self.fix}"


def check_profile(
    store: Any, profile: str, *, chunks: bool = True, storage_options: dict[str, Any] | None = None
) -> list[Violation]:
    """Return every violation of ``profile`` in a store, by path; an empty list where its readers can read all of it.

    ``chunks``: look into every chunk too (content sizes, members, sizes of edge chunks), which reads the whole store.
    Raises `MetadataError` for an unknown profile, `NodeNotFoundError` where nothing is stored.
    """
    chosen = find_profile(profile)
    opened = open_store(store, mode="r", storage_options=storage_options)
    try:
        found = _inventory(opened)
        violations = [*_groups(chosen, found), *_arrays(chosen, found, chunks)]
    finally:
        if opened is not store:
            opened.close()
    return sorted(violations, key=lambda violation: violation.path)


def _inventory(store: Store) -> Inventory:
    """Return all that is stored; raise where nothing is, or where it cannot be known: nothing would be looked at."""
    found = take_inventory(store)
    archive = only_archive(store) if not found.nodes else None
    if archive is not None:
        found = take_inventory(archive)
    if is_unlisted(found):
        find_nodes(found, "")
    elif found.problem is not None:
        raise found.problem
    if not found.nodes:
        raise NodeNotFoundError("no Zarr node is stored here", where=store.url, hint="check the path")
    return found


def _groups(profile: Profile, found: Inventory) -> Iterator[Violation]:
    arrays = [path for path, documents in found.nodes.items() if is_array(documents)]
    above = {"/".join(path.split("/")[:depth]) for path in arrays if path for depth in range(path.count("/") + 1)}
    for path in sorted({*found.groups, *above}):
        documents = found.nodes.get(path, {})
        if ZGROUP not in documents:
            what = "a group of Zarr v3" if ZARR_JSON in documents else "a group without a document"
            reason = "the readers know a group by its .zgroup"
            yield Violation(path, "group", what, reason, 'store {"zarr_format": 2} as .zgroup beside it')


def _arrays(profile: Profile, found: Inventory, chunks: bool) -> Iterator[Violation]:
    unlisted = is_unlisted(found)  # then every chunk is asked for
    for path in found.arrays:
        documents = found.nodes[path]
        document = documents.get(ZARR_JSON) or documents[ZARRAY]
        if document.content is None:
            fix = "write the array again, or mend it with `xzarr doctor --fix`"
            yield Violation(path, "document", document.problem, "no reader can read the metadata", fix)
            continue
        array, problem = _array(found, path, documents)
        stored = {} if array is None else _chunks(array, every_chunk(array) if unlisted else found.below(path))
        missing = 0 if array is None else array.spec.chunk_grid.nchunks - len(stored)
        subject = Subject(document.content, missing)
        broken = broken_rules(profile, subject)
        if profile.numbers is not None and _bare(document.raw):
            broken.append(_BARE)
        if array is None and not broken:
            broken.append(Broken("document", problem, "readers that keep to the specification refuse it", "mend it"))
        if chunks and array is not None and profile.numbers is not None and not broken:
            broken += _chunk_problems(array, subject, stored)
        yield from (Violation(path, *one) for one in broken)


_BARE = Broken(
    "json",
    "NaN or Infinity in the document",
    "that is no JSON, and ExZarr and tensorstore refuse it",
    "write it as text: xzarr doctor --fix",
)


def _bare(raw: bytes) -> bool:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        json.loads(raw.decode("utf-8-sig"), parse_constant=refuse)
    except ValueError:
        return True
    return False


def _array(found: Inventory, path: str, documents: Documents) -> tuple[Array | None, str]:
    """Return the array at ``path``, or why it cannot be opened here."""
    try:
        spec: ArraySpec
        if ZARR_JSON in documents:
            spec = parse_array_v3(documents[ZARR_JSON].content or {})
        else:
            attributes = documents.get(ZATTRS)
            spec = parse_array_v2(documents[ZARRAY].content or {}, (attributes.content if attributes else None) or {})
        array = Array(found.store, path, spec)
        array.layout  # noqa: B018 (compile now)
    except XzarrError as error:
        listed = [f"{place}: {problem}" for place, problem in getattr(error, "problems", ())]
        return None, "; ".join([error.what, *listed])
    except RecursionError:
        return None, "the document is nested too deeply"
    return array, ""


def _chunks(array: Array, objects: list[Stored]) -> Mapping[tuple[int, ...], Stored]:
    placed = ((parse_key(array, stored.key), stored) for stored in objects)
    return {coords: stored for coords, stored in placed if coords is not None}


# --- chunks ----------------------------------------------------------------------------------------------------------


def _chunk_problems(array: Array, subject: Subject, stored: Mapping[tuple[int, ...], Stored]) -> list[Broken]:
    """Return what is wrong with chunks, each problem once, with the first chunk that has it and how many do."""
    counted: dict[str, list[str]] = {}
    for one in stored.values():
        try:
            raw = array.store.get(one.key)
            problem = "" if raw is None else _problem(subject, bytes(raw), array)
        except Exception as error:
            problem = f"cannot be decoded: {type(error).__name__}"
        if problem:
            counted.setdefault(problem, []).append(one.key)
    reason = "ExZarr needs whole chunks, zstd frames with their content size, and one member in gzip"
    return [
        Broken("chunk", f"{len(keys)} chunk(s), {keys[0]!r} first: {problem}", reason, "write the array again")
        for problem, keys in counted.items()
    ]


def _problem(subject: Subject, raw: bytes, array: Array) -> str:
    """Return what is wrong with the bytes of one chunk; raise what a codec raises."""
    layers = [subject.compressor[0]] if subject.v2 else [name for name, _ in subject.codecs[1:]][::-1]
    for layer in layers:
        if layer == "zstd":
            if frame_sizes(raw)[0] is None:
                return "a zstd frame without its content size"
            if stated_size(raw) != frame_sizes(raw)[0]:
                return "several zstd frames"
            raw = _decompress(layer, raw)
        elif layer in ("gzip", "zlib"):
            reader = zlib.decompressobj(wbits=31 if layer == "gzip" else 15)
            raw = reader.decompress(raw, MAX_NBYTES)
            if reader.unused_data or not reader.eof:
                return f"{layer} with more than one member, or cut short"
        elif layer == "crc32c":
            raw = raw[:-4]
        elif layer:
            if layer == "blosc" and int.from_bytes(raw[12:16], "little") != len(raw):
                return "a blosc buffer of another length than it says"
            raw = _decompress(layer, raw)
    wanted = math.prod(_chunk_shape(subject)) * _itemsize(subject, array)
    return "" if len(raw) == wanted else f"{len(raw)} bytes instead of the {wanted} of a whole chunk"


def _chunk_shape(subject: Subject) -> list[int]:
    """Return the shape of a whole chunk, as the document has it; it has been found to be understood."""
    grid: Any = subject.document.get("chunks" if subject.v2 else "chunk_grid")
    shape: list[int] = grid if subject.v2 else grid["configuration"]["chunk_shape"]
    return shape


def _decompress(name: str, raw: bytes) -> bytes:
    import numcodecs

    return bytes(numcodecs.get_codec({"id": name}).decode(raw))


def _itemsize(subject: Subject, array: Array) -> int:
    """Return the bytes of an element as the filters leave it."""
    size = array.dtype.itemsize
    for name, configuration in subject.filters if subject.v2 else ():
        encoded = configuration.get("encode_dtype") if name == "astype" else configuration.get("astype")
        size = np.dtype(str(encoded)).itemsize if encoded is not None and name != "shuffle" else size
    return size
