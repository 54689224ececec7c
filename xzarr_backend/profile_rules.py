"""The rules that an array keeps, or breaks, for the readers that one writes for.

Imports spec and NumPy. Invariant: a rule asks for nothing but a document and the number of chunks that are not stored,
so that writing and checking judge alike; each says why, and what to do about it.
"""
# ruff: noqa: E501 (a table: one rule, one line)

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .spec import JSON

_ZARR2_KINDS = "biufcmMSUV"


class Profile(NamedTuple):
    """What one group of readers can read. ``compressors`` and ``filters`` are by format.

    ``numbers``: the data types, None for all that NumPy has. ``conventions``: the kinds of data types that are
    stored as numbers by the conventions of `semantics` where they are no numbers. ``finite``: whether a fill value that is no finite number needs all
    chunks stored; else only null does. ``notes``: what the report of a write says, by format.
    """

    name: str
    readers: str
    formats: tuple[int, ...]
    numbers: frozenset[str] | None
    conventions: str
    finite: bool
    compressor: str
    compressors: Mapping[int, frozenset[str]]
    filters: frozenset[str]
    notes: Mapping[int, str]

    def notes_of(self, zarr_format: int) -> tuple[str, ...]:
        """Return what whoever writes ``zarr_format`` should know."""
        note = self.notes.get(zarr_format)
        return () if note is None else (note,)


class Subject(NamedTuple):
    """An array as rules see it: its document, and how many of its chunks are not stored (0: all are, or will be)."""

    document: Mapping[str, JSON]
    missing: int = 0

    @property
    def v2(self) -> bool:
        """Whether the document is one of v2."""
        return "dtype" in self.document and "data_type" not in self.document

    @property
    def zarr_format(self) -> int:
        """The format, by what the document holds."""
        return 2 if self.v2 else 3

    @property
    def fill(self) -> JSON:
        """The fill value as it stands there."""
        return self.document.get("fill_value")

    @property
    def dtype_name(self) -> str:
        """The v3 name of the data type; "" for what has none."""
        stored = self.document.get("dtype" if self.v2 else "data_type")
        if not self.v2:
            return stored if isinstance(stored, str) else ""
        try:
            return np.dtype(stored).name if isinstance(stored, str) else ""
        except (TypeError, ValueError):
            return ""

    @property
    def codecs(self) -> list[tuple[str, Mapping[str, JSON]]]:
        """The codecs of a v3 document, those given as strings under their name."""
        found = []
        for codec in _list(self.document.get("codecs")):
            name = codec.get("name") if isinstance(codec, Mapping) else codec
            configuration = codec.get("configuration") if isinstance(codec, Mapping) else None
            found.append((str(name), configuration if isinstance(configuration, Mapping) else {}))
        return found

    @property
    def compressor(self) -> tuple[str, Mapping[str, JSON]]:
        """The compressor of a v2 document, ("", {}) where there is none."""
        return _codec(self.document.get("compressor"))

    @property
    def filters(self) -> list[tuple[str, Mapping[str, JSON]]]:
        """The filters of a v2 document."""
        return [_codec(codec) for codec in _list(self.document.get("filters"))]


def _list(value: JSON) -> list[Any]:
    return value if isinstance(value, list) else []


def _codec(value: JSON) -> tuple[str, Mapping[str, JSON]]:
    if not isinstance(value, Mapping):
        return "", {}
    return str(value.get("id")), {name: item for name, item in value.items() if name != "id"}


class Rule(NamedTuple):
    """What an array must not be. ``question`` returns what breaks the rule, "" where nothing does.

    ``profiles``: whose readers ask for it. ``reason``: what these would do. ``fix``: what to do about it.
    """

    id: str
    profiles: tuple[str, ...]
    question: Callable[[Profile, Subject], str]
    reason: str
    fix: str


_V2_MEMBERS = ("chunks", "compressor", "dtype", "fill_value", "filters", "order", "shape", "zarr_format")
_V3_MEMBERS = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "node_type")


def _wrong_format(profile: Profile, it: Subject) -> str:
    return "" if it.zarr_format in profile.formats else f"Zarr v{it.zarr_format}"


def _members(profile: Profile, it: Subject) -> str:
    lacking = [name for name in (_V2_MEMBERS if it.v2 else _V3_MEMBERS) if name not in it.document]
    return f"no {', '.join(lacking)}" if lacking else ""


def _rank(profile: Profile, it: Subject) -> str:
    return "shape []" if it.v2 and it.document.get("shape") == [] else ""


def _data_type(profile: Profile, it: Subject) -> str:
    stored = it.document.get("dtype" if it.v2 else "data_type")
    name = it.dtype_name
    if profile.numbers is not None:
        return "" if name in profile.numbers else f"{stored!r:.60}"
    return "" if not it.v2 or isinstance(stored, list) or stored == "|O" or _numpy_kind(stored) else f"{stored!r:.60}"


def _numpy_kind(stored: JSON) -> bool:
    return isinstance(stored, str) and stored[:1] in "<>|" and stored[1:2] in _ZARR2_KINDS


def _byte_order(profile: Profile, it: Subject) -> str:
    if it.v2:
        stored = it.document.get("dtype")
        big = isinstance(stored, str) and stored.startswith(">") and np.dtype(stored).itemsize > 1
        return f"{stored!r}" if big else ""
    return 'bytes with endian "big"' if ("bytes", {"endian": "big"}) in it.codecs else ""


def _order(profile: Profile, it: Subject) -> str:
    order = it.document.get("order", "C")
    rank = len(_list(it.document.get("shape")))
    return f"order {order!r:.20}" if it.v2 and order != "C" and rank > 1 else ""


def _keys(profile: Profile, it: Subject) -> str:
    if it.v2:
        separator = it.document.get("dimension_separator", ".")
        alone = len(_list(it.document.get("shape"))) < 2  # one number needs no separator
        return "" if separator == "." or alone else f"dimension_separator {separator!r:.20}"
    encoding = it.document.get("chunk_key_encoding")
    if not isinstance(encoding, Mapping):
        return f"{encoding!r:.60}"
    configuration = encoding.get("configuration")
    separator = configuration.get("separator", "/") if isinstance(configuration, Mapping) else "/"
    return (
        "" if encoding.get("name") == "default" and separator == "/" else f"{encoding.get('name')} with {separator!r}"
    )


def _grid(profile: Profile, it: Subject) -> str:
    grid = it.document.get("chunk_grid")
    name = grid.get("name") if isinstance(grid, Mapping) else grid
    return "" if it.v2 or name == "regular" else f"{name!r:.60}"


def _compressor(profile: Profile, it: Subject) -> str:
    name, _ = it.compressor
    return "" if not it.v2 or not name or name in profile.compressors[2] else f"compressor {name!r}"


def _filters(profile: Profile, it: Subject) -> str:
    known = profile.filters if profile.numbers is not None else profile.filters | profile.compressors[2]
    wrong = next((name for name, _ in it.filters if name not in known), "") if it.v2 else ""
    return f"filter {wrong!r}" if wrong else ""


def _delta(profile: Profile, it: Subject) -> str:
    for name, configuration in it.filters if it.v2 else ():
        stored, astype = configuration.get("dtype"), configuration.get("astype")
        if name == "delta" and astype is not None and np.dtype(str(astype)) != np.dtype(str(stored)):
            return f"astype {astype!r} of dtype {stored!r}"
    return ""


def _pipeline(profile: Profile, it: Subject) -> str:
    if it.v2 or 3 not in profile.compressors:
        return ""
    names = [name for name, _ in it.codecs]
    if names[:1] != ["bytes"]:
        return f"codecs that begin with {names[0]!r}" if names else "no codecs"
    wrong = next((name for name in names[1:] if name not in profile.compressors[3]), "")
    return f"codec {wrong!r}" if wrong else ""


def _bare(profile: Profile, it: Subject) -> str:
    codecs = [] if it.v2 else _list(it.document.get("codecs"))
    return next((f"{codec!r:.40}" for codec in codecs if not isinstance(codec, Mapping)), "")


def _level(profile: Profile, it: Subject) -> str:
    name, configuration = it.compressor
    level = configuration.get("level", 1)
    return f"level {level!r}" if name == "zlib" and level not in range(10) else ""


def _unknown_option(profile: Profile, it: Subject) -> str:
    name, configuration = it.compressor
    unknown = [member for member in configuration if member != "level"]
    return f"{name} with {unknown[0]!r}" if name == "zlib" and unknown else ""


def lacks_chunks(profile: Profile, it: Subject) -> str:
    if not it.missing or _is_finite(it.fill) or (not profile.finite and it.fill is not None):
        return ""
    return f"fill_value {it.fill!r:.40}, and {it.missing} chunk(s) not stored"


def _is_finite(fill: JSON) -> bool:
    return isinstance(fill, bool | int | float) and math.isfinite(fill)


_ALL = ("exzarr", "portable", "zarr-python-2")
_NOT_Z2 = ("exzarr", "portable")
_AGAIN = "write the array again with profile={profile!r}"

RULES: tuple[Rule, ...] = (
    Rule("format", _ALL, _wrong_format, "its readers know Zarr v2", "write it again with zarr_format=2"),
    Rule("members", _ALL, _members, "the readers demand every member of the document", "add them, null where nothing is meant"),
    Rule("rank", _NOT_Z2, _rank, "ExZarr needs at least one dimension in Zarr v2", "store it with shape (1) and dtype_semantic \"scalar\""),
    Rule("data-type", _ALL, _data_type, "the readers do not know the data type", _AGAIN + ": to_zarr stores it by a convention where there is one"),
    Rule("byte-order", _NOT_Z2, _byte_order, "ExZarr reads all numbers as little-endian", _AGAIN),
    Rule("order", _NOT_Z2, _order, "ExZarr reads all chunks in C order", _AGAIN),
    Rule("keys", _ALL, _keys, "the readers look for the chunks under other keys, and return fill values", "write it again with \".\" in Zarr v2, \"/\" in v3"),
    Rule("grid", _ALL, _grid, "the readers know regular grids only", "give chunks of one length"),
    Rule("compressor", _ALL, _compressor, "the readers do not know the compressor", _AGAIN),
    Rule("filters", _ALL, _filters, "the readers do not know the filter, or ignore it and return other values", _AGAIN),
    Rule("delta", ("exzarr",), _delta, "ExZarr's delta keeps the data type", "write it again with astype equal to dtype"),
    Rule("codecs", ("exzarr",), _pipeline, "ExZarr knows bytes, then gzip, zstd, blosc and crc32c", _AGAIN),
    Rule("bare-codec", ("exzarr",), _bare, "ExZarr needs codecs as objects", "give each codec as an object with a name"),
    Rule("level", ("portable",), _level, "tensorstore takes levels from 0 to 9", _AGAIN),
    Rule("option", ("portable",), _unknown_option, "tensorstore refuses members that the codec does not have", "remove the member"),
    Rule("fill-value", _ALL, lacks_chunks, "what is not stored cannot be told from the fill value", "store every chunk (write_empty_chunks=True), or use a finite fill value"),
)  # fmt: skip


class Broken(NamedTuple):
    """A rule that an array breaks: its id, what is there, why that matters, what to do."""

    rule: str
    what: str
    reason: str
    fix: str


def broken_rules(profile: Profile, subject: Subject) -> list[Broken]:
    """Return the rules of ``profile`` that an array breaks, in the order of the table."""
    found = []
    for rule in RULES:
        if profile.name not in rule.profiles or (rule.id != "format" and subject.zarr_format not in profile.formats):
            continue
        try:
            what = rule.question(profile, subject)
        except (TypeError, ValueError, KeyError, AttributeError):
            what = "a document that cannot be understood"
        if what:
            found.append(Broken(rule.id, what, rule.reason, rule.fix.format(profile=profile.name)))
    return found
