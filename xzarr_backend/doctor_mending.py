"""Mending metadata: the changes that findings offer, and how they are stored.

Imports doctor_facts, doctor_findings, compat, consolidating and the rows below. Invariant: only metadata documents
change, each in one step, and what was there before is kept beside it under a name that no node has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .compat import SERIALIZERS
from .consolidating import clean, consolidate
from .doctor_facts import Facts
from .doctor_findings import Change, Finding, Mend
from .doctor_questions_v3 import long_size
from .errors import XzarrError
from .formats.documents import parse_json
from .inventory import COPY, Documents
from .paths import prefix_of
from .quirk_documents import OF_BYTES, null_members
from .spec import JSON
from .stored_documents import store_document
from .stores.base import Store

LITTLE: dict[str, JSON] = {"name": "bytes", "configuration": {"endian": "little"}}


def member(name: str, value: JSON) -> Change:
    """Return the change that sets a member."""
    return lambda document: {**document, name: value}


def array_mend(facts: Facts, change: Change) -> Mend:
    """Return the mend of an array's own document."""
    prefix = prefix_of(facts.path)
    return Mend(facts.path, f"{prefix}{facts.name}", change)


# --- quirks ----------------------------------------------------------------------------------------------------------


def _v2_codecs(change: Callable[[dict[str, JSON]], dict[str, JSON] | None]) -> Change:
    """Return the change of every filter and the compressor; None removes one."""

    def apply(document: dict[str, JSON]) -> dict[str, JSON]:
        filters = [c for c in map(change, document.get("filters") or []) if c is not None]
        compressor = document.get("compressor")
        return {
            **document,
            "filters": filters or None,
            "compressor": change(compressor) if isinstance(compressor, dict) else compressor,
        }

    return apply


def _v3_codecs(change: Callable[[str, Any], JSON]) -> Change:
    """Return the change of every codec of a chain, given its name and itself; None removes one."""

    def each(chain: list[JSON]) -> list[JSON]:
        changed = [change(_name(codec), codec) for codec in chain]
        return [codec for codec in changed if codec is not None]

    return _v3_chains(each)


def _v3_chains(change: Callable[[list[JSON]], list[JSON]]) -> Change:
    """Return the change of every chain of codecs: that of the array, and those of shards and their indexes."""

    def each(chain: list[JSON]) -> list[JSON]:
        return [_inside(codec) for codec in change(chain)]

    def _inside(codec: JSON) -> JSON:
        configuration = codec.get("configuration") if _name(codec) == "sharding_indexed" else None
        if not isinstance(configuration, dict):
            return codec
        chains = {name: configuration.get(name) for name in ("codecs", "index_codecs")}
        changed = {name: each(chain) for name, chain in chains.items() if isinstance(chain, list)}
        return {**codec, "configuration": {**configuration, **changed}}

    return lambda document: {**document, "codecs": each(document.get("codecs") or [])}


def _name(codec: JSON) -> str:
    found = codec.get("name") if isinstance(codec, dict) else codec
    return found if isinstance(found, str) else ""


def _renamed(names: dict[str, str]) -> Callable[[str, Any], JSON]:
    def change(name: str, codec: Any) -> JSON:
        if name not in names:
            return codec
        return {**(codec if isinstance(codec, dict) else {}), "name": names[name]}

    return change


def _without(*names: str) -> Callable[[str, Any], JSON]:
    return lambda name, codec: None if name in names else codec


def _with_endian(name: str, codec: Any) -> JSON:
    given = codec.get("configuration") if isinstance(codec, dict) else None
    return {"name": "bytes", "configuration": {"endian": "little", **(given or {})}} if name == "bytes" else codec


def _permutation(facts: Facts) -> Callable[[str, Any], JSON]:
    def change(name: str, codec: Any) -> JSON:
        order = codec.get("configuration", {}).get("order") if isinstance(codec, dict) else None
        if name != "transpose" or order not in ("C", "F"):
            return codec
        axes = list(range(facts.rank))
        return {"name": "transpose", "configuration": {"order": axes[::-1] if order == "F" else axes}}

    return change


def _inverse_scale(codec: dict[str, JSON]) -> dict[str, JSON]:
    return {**codec, "scale": 1 / codec.get("scale", 1)} if codec.get("id") == "fixedscaleoffset" else codec


def _prefixed(facts: Facts) -> Change | None:
    names = {name: f"numcodecs.{name}" for name in ("shuffle", "quantize", "astype", "zlib", "lzma", "lz4", "bz2")}
    return None if long_size(facts) or facts.sample is None else _v3_codecs(_renamed(names))


def _with_serializer(chain: list[JSON]) -> list[JSON]:
    """Put ``bytes`` in front of the first codec of bytes, where old writers left it out."""
    names = [_name(codec) for codec in chain]
    if any(name in SERIALIZERS for name in names):
        return chain
    at = next((i for i, name in enumerate(names) if name != "transpose"), len(chain))
    return [*chain[:at], LITTLE, *chain[at:]]


def _in_order(chain: list[JSON]) -> list[JSON]:
    """Put the codecs of bytes behind the array->bytes codec."""
    at = next((at for at, codec in enumerate(chain) if _name(codec) in SERIALIZERS), 0)
    early = [codec for codec in chain[:at] if _name(codec) in OF_BYTES]
    return [*(codec for codec in chain[:at] if codec not in early), *chain[at : at + 1], *early, *chain[at + 1 :]]


def _written_fill(facts: Facts) -> Change | None:
    array = facts.array
    if array is None:
        return None
    dtype = array.spec.dtype
    value = array.spec.fill_value
    return member("fill_value", dtype.format_fill(dtype.zero if value is None else value, 2 if facts.v2 else 3))


def _without_null_members(document: dict[str, JSON]) -> dict[str, JSON]:
    null = null_members(document)
    return {name: value for name, value in document.items() if name not in null}


def _time_type(facts: Facts) -> Change:
    value = {"name": f"numpy.{facts.dtype}", "configuration": {"unit": "us", "scale_factor": 1}}
    return member("data_type", value)


# by quirk: the change that makes the document say what is meant, None where it cannot be made
QUIRK_CHANGES: dict[str, Callable[[Facts], Change | None]] = {
    "v2-byte-order-of-one-byte": lambda f: member("dtype", f"|{f.dtype[1:]}"),
    "v2-time-without-unit": lambda f: member("dtype", f"{f.dtype}[us]"),
    "v2-bzip2": lambda f: (
        None
        if long_size(f) or f.sample is None
        else _v2_codecs(lambda c: {**c, "id": "bz2"} if c.get("id") == "bzip2" else c)
    ),
    "v2-missing-order": lambda f: member("order", "C"),
    "v2-missing-fill-value": lambda f: member("fill_value", None),
    "v2-missing-compressor": lambda f: member("compressor", None),
    "v2-missing-filters": lambda f: member("filters", None),
    "v2-fill-value-spelling": _written_fill,
    "v2-bare-numbers": lambda f: clean,
    "v3-fill-value-spelling": _written_fill,
    "v3-bare-numbers": lambda f: clean,
    "v3-null-members": lambda f: _without_null_members,
    "v3-missing-node-type": lambda f: member("node_type", "array"),
    "v3-no-codecs": lambda f: member("codecs", [LITTLE]),
    "v3-no-serializer": lambda f: _v3_chains(_with_serializer),
    "v3-codec-order": lambda f: _v3_chains(_in_order),
    "v3-null-fill-value": _written_fill,
    "v3-endian": lambda f: _v3_codecs(_renamed({"endian": "bytes"})),
    "v3-bytes-without-endian": lambda f: _v3_codecs(_with_endian),
    "v3-transpose-letter": lambda f: _v3_codecs(_permutation(f)),
    "v3-unprefixed-numcodecs": _prefixed,
    "v3-time-names": _time_type,
    "exzarr-order": lambda f: member("order", "C"),
    "exzarr-packbits": lambda f: _v2_codecs(lambda c: None if c.get("id") == "packbits" else c),
    "exzarr-categorize": lambda f: _v2_codecs(lambda c: None if c.get("id") == "categorize" else c),
    "exzarr-fixedscaleoffset": lambda f: _v2_codecs(_inverse_scale),
    "exzarr-delta": lambda f: _v3_codecs(_without("delta")),
    "exzarr-big-endian": lambda f: _v3_codecs(
        lambda name, codec: LITTLE if name == "bytes" else codec,
    ),
}


def quirk_mend(facts: Facts, quirk: str) -> tuple[Mend, ...]:
    """Return how the document is made to say what it means; empty where it cannot be."""
    make = QUIRK_CHANGES.get(quirk)
    change = make(facts) if make is not None and facts.own else None
    return () if change is None else (array_mend(facts, change),)


def mended_before(facts: Facts, quirk: str) -> bool:
    """Return whether the document is what the mend of a quirk made of the copy beside it.

    Not every mended document tells: one that has the inverse of a scale looks as before, and must not be turned back.
    """
    if quirk != "exzarr-fixedscaleoffset" or not facts.own:
        return False
    copy = facts.store.get(f"{array_mend(facts, _v2_codecs(_inverse_scale)).key}{COPY}")
    if copy is None:
        return False
    try:
        before = parse_json(copy, facts.name)
    except XzarrError:
        return False
    return bool(_v2_codecs(_inverse_scale)(before)["filters"] == facts.document.get("filters"))


def written_fill(facts: Facts) -> Change | None:
    """Return the change that writes the fill value in the form of the specification."""
    return _written_fill(facts)


def relabelled(facts: Facts, name: str) -> Change:
    """Return the change that names the codec that really wrote the chunks, in place of the last one."""
    codec: dict[str, JSON]
    if facts.v2:
        codec = {"id": name, "level": 1}
        if facts.document.get("compressor") is not None:
            return member("compressor", codec)
        return lambda document: {**document, "filters": [*document["filters"][:-1], codec]}
    known = {"gzip": {"level": 1}, "zstd": {"level": 1, "checksum": False}}
    full = name if name in known else f"numcodecs.{name}"
    codec = {"name": full, "configuration": known.get(name, {"level": 1})}
    return lambda document: {**document, "codecs": [*document["codecs"][:-1], codec]}


# --- storing ---------------------------------------------------------------------------------------------------------


def mend(store: Store, findings: list[Finding], consolidated: list[str]) -> list[str]:
    """Store the mends of ``findings`` and return the keys of what changed.

    ``consolidated``: the groups with consolidated metadata, which are written anew when a member changed.
    """
    store.check_writable()
    changes: dict[str, list[Change]] = {}
    groups: dict[str, None] = {}
    for one in findings:
        for wanted in one.mends:
            if wanted.change is None:
                groups[wanted.path] = None
            else:
                changes.setdefault(wanted.key, []).append(wanted.change)
    done = [key for key, wanted in changes.items() if _change(store, key, wanted)]
    for group in consolidated:
        if any(f"{key}".startswith(prefix_of(group)) for key in done):
            groups[group] = None
    for group in sorted(groups, key=lambda path: -path.count("/")):
        done.append(_consolidate(store, group))
    return done


def _change(store: Store, key: str, changes: list[Change]) -> bool:
    raw = store.get(key)
    try:
        document = {} if raw is None else parse_json(raw, key.rpartition("/")[2])
    except XzarrError:
        document = {}
    new = document
    for change in changes:
        new = change(new)
    if new == document and raw is not None:
        return False
    if raw is not None:
        keep_copy(store, key, raw)
    store_document(store, key, clean(new))
    return True


def keep_copy(store: Store, key: str, raw: Any) -> None:
    """Keep what is stored under ``key``, unless a copy from before an earlier change is there."""
    store.set_if_absent(f"{key}{COPY}", bytes(raw))


def _consolidate(store: Store, group: str) -> str:
    prefix = prefix_of(group)
    for name in (".zmetadata", "zarr.json"):
        raw = store.get(f"{prefix}{name}")
        if raw is not None:
            keep_copy(store, f"{prefix}{name}", raw)
    consolidate(store, group)
    return f"{prefix}.zmetadata" if store.get(f"{prefix}.zmetadata") is not None else f"{prefix}zarr.json"


def restored(documents: Documents, name: str) -> Change | None:
    """Return the change that restores a document, as consolidated metadata hold it."""
    document = documents.get(name)
    return None if document is None or document.content is None else lambda _: dict(document.content or {})
