"""What other writers do differently, one row each.

Imports errors and quirk_documents. Invariant: a row with a writer needs ``quirks=`` with that writer's name, because
neither metadata nor bytes can tell; the other rows are read without being asked for, and refused only under ``strict``.
Every row has an id, under which the doctor and the documentation explain it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .errors import MetadataError, UnsupportedError, XzarrError
from .quirk_documents import (
    Document,
    absent_v2,
    bare_numbers,
    bytes_first,
    bytes_without_endian,
    fill_of_v2,
    fill_of_v3,
    ids,
    little,
    matching,
    member,
    named,
    null_members,
    number_fill,
    own_shards,
    scaled,
    unconfigured,
    without,
    without_filters,
    without_serializer,
)


class Quirk(NamedTuple):
    """One way of writing that differs from the specification, or from what its metadata say.

    ``places(document)`` lists where a document shows it (or could hide it, for rows with a ``writer``).
    ``rewrite(document)`` returns the document that says what is meant; None where the parsers read it as it is.
    ``means`` tells what is read; ``fix`` how the store can be mended. ``readable``: False where nothing can be read.
    """

    id: str
    zarr_format: int
    places: Callable[[Document], list[str]]
    means: str
    fix: str = ""
    writer: str | None = None
    rewrite: Callable[[Document], Document] | None = None
    readable: bool = True


# --- the rows --------------------------------------------------------------------------------------------------------

_ONE_BYTE = ("<u1", ">u1", "<i1", ">i1", "<b1", ">b1")

SERIALIZERS = (
    "bytes",
    "endian",
    "sharding_indexed",
    "vlen-utf8",
    "vlen-bytes",
    "packbits",
    "n5_default",
    "pcodec",
    "zfp",
    "zfpy",
    "vlen_utf8",
    "vlen_bytes",
    "numcodecs.pcodec",
    "numcodecs.zfpy",
    "numcodecs.vlen-utf8",
    "numcodecs.vlen-bytes",
    "numcodecs.vlen-array",
    "numcodecs.json2",
    "numcodecs.msgpack2",
)

_SPELLED = "the fill value is clear, although its form is another one"
_BARE = "NaN and infinity, for which JSON has no numbers"

_UNPREFIXED = ("shuffle", "quantize", "lz4", "bz2", "zlib", "lzma", "astype")

QUIRKS: tuple[Quirk, ...] = (
    # read without being asked for
    Quirk(
        "v2-byte-order-of-one-byte",
        2,
        member("dtype", lambda v: isinstance(v, str) and (v in _ONE_BYTE or v[:2] in ("<S", ">S"))),
        "a byte order on elements of one byte means nothing",
        'write "|u1", "|i1", "|b1" or "|S"',
    ),
    Quirk(
        "v2-time-without-unit",
        2,
        member("dtype", lambda v: v in ("<M8", "<m8", ">M8", ">m8")),
        "times without a unit count microseconds",
        'write the unit: "<M8[us]"',
    ),
    Quirk("v2-bzip2", 2, lambda d: ids(d, "bzip2"), 'the id "bzip2" is bz2', 'write "bz2"'),
    Quirk("v2-snappy", 2, lambda d: ids(d, "snappy"), 'the id "snappy" is the raw snappy format', "recompress"),
    Quirk(
        "v2-missing-order",
        2,
        absent_v2("order"),
        "chunks are in C order",
        'write "order": "C"',
    ),
    Quirk(
        "v2-missing-fill-value",
        2,
        absent_v2("fill_value"),
        "the fill value is null",
        'write "fill_value": null',
    ),
    Quirk(
        "v2-missing-compressor",
        2,
        absent_v2("compressor"),
        "chunks are not compressed",
        'write "compressor": null',
    ),
    Quirk("v2-missing-filters", 2, absent_v2("filters"), "there are no filters", 'write "filters": null'),
    Quirk("v2-fill-value-spelling", 2, fill_of_v2, _SPELLED, "write it as the specification has it"),
    Quirk("v2-bare-numbers", 2, bare_numbers, _BARE, "write them as text"),
    Quirk(
        "v2-v3-document",
        2,
        lambda d: ["zarr_format"] if d.get("zarr_format") == 3 else [],
        "a v3 document under the v2 name, with v2 chunk keys",
        "convert the store",
        rewrite=lambda d: {**d, "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
    ),
    Quirk(
        "v3-no-codecs",
        3,
        lambda d: [] if d.get("codecs") is not None else ["codecs"],
        "the elements are stored raw, little-endian",
        'write "codecs": [{"name": "bytes", ...}]',
    ),
    Quirk(
        "v3-no-serializer",
        3,
        lambda d: without_serializer(d, SERIALIZERS),
        "a chain without an array->bytes codec starts with little-endian bytes",
        "add the codec bytes",
    ),
    Quirk(
        "v3-codec-order",
        3,
        lambda d: bytes_first(d, SERIALIZERS),
        "codecs of bytes work on what the array->bytes codec makes, wherever they stand",
        "write them behind it",
    ),
    Quirk(
        "v3-null-fill-value", 3, member("fill_value", lambda v: v is None), "null means zero", "write the fill value"
    ),
    Quirk(
        "v3-endian",
        3,
        lambda d: matching(d, lambda name, c: name == "endian"),
        'the codec "endian" is the old name of "bytes"',
        'write "bytes"',
    ),
    Quirk(
        "v3-bytes-without-endian",
        3,
        bytes_without_endian,
        "the elements are little-endian",
        'write "endian": "little"',
    ),
    Quirk(
        "v3-transpose-letter",
        3,
        lambda d: matching(d, lambda name, c: name == "transpose" and c.get("order") in ("C", "F")),
        'transpose "F" reverses the dimensions, "C" leaves them',
        "write the permutation",
    ),
    Quirk(
        "v3-irregular",
        3,
        member("chunk_grid", lambda v: isinstance(v, dict) and v.get("name") == "irregular"),
        'the grid "irregular" is "rectilinear" with explicit sizes',
        "convert the store",
    ),
    Quirk(
        "v3-number-as-fill-value",
        3,
        number_fill,
        "the number stands for false, or for a pair",
        "write false or a pair",
    ),
    Quirk("v3-fill-value-spelling", 3, fill_of_v3, _SPELLED, "write it as the specification has it"),
    Quirk("v3-bare-numbers", 3, bare_numbers, _BARE, "write them as text"),
    Quirk("v3-null-members", 3, null_members, "null stands for a member that is left out", "leave it out"),
    Quirk(
        "v3-missing-node-type",
        3,
        lambda d: [] if d.get("node_type") is not None else ["node_type"],
        "a document with a shape is that of an array",
        'write "node_type": "array"',
    ),
    Quirk("v3-codec-without-configuration", 3, unconfigured, "decoding needs no more", "write the configuration"),
    Quirk(
        "v3-unprefixed-numcodecs",
        3,
        lambda d: matching(d, lambda name, c: name in _UNPREFIXED),
        "the codec of numcodecs of that name",
        "write the name with the prefix numcodecs.",
    ),
    Quirk(
        "v3-time-names",
        3,
        member("data_type", lambda v: v in ("datetime64", "timedelta64")),
        "times that count microseconds",
        'write "numpy.datetime64" with its unit',
    ),
    # what neither metadata nor bytes can tell
    Quirk(
        "exzarr-order",
        2,
        member("order", lambda v: v == "F"),
        "the metadata say F, the bytes are in C order",
        'write "order": "C"',
        "exzarr",
        lambda d: {**d, "order": "C"},
    ),
    Quirk(
        "exzarr-packbits",
        2,
        lambda d: ids(d, "packbits"),
        "a placeholder that stores the data as they are",
        "remove the filter",
        "exzarr",
        without_filters("packbits"),
    ),
    Quirk(
        "exzarr-categorize",
        2,
        lambda d: ids(d, "categorize"),
        "a placeholder that stores the data as they are",
        "remove the filter",
        "exzarr",
        without_filters("categorize"),
    ),
    Quirk(
        "exzarr-fixedscaleoffset",
        2,
        lambda d: ids(d, "fixedscaleoffset"),
        "round((x - offset) / scale) is stored, the inverse of numcodecs",
        "write 1 / scale",
        "exzarr",
        scaled,
    ),
    Quirk(
        "exzarr-bitround",
        2,
        lambda d: ids(d, "bitround"),
        "ExZarr's bitround destroys the data: what is stored is not what was given to it",
        "take the data from their source; without the option, what is there is read",
        "exzarr",
        readable=False,
    ),
    Quirk(
        "exzarr-delta",
        3,
        lambda d: named(d, "delta"),
        "the raw data are stored",
        "remove the codec",
        "exzarr",
        without("delta"),
    ),
    Quirk(
        "exzarr-big-endian",
        3,
        lambda d: matching(d, lambda name, c: name == "bytes" and c.get("endian") == "big"),
        "the metadata say big, the bytes are little-endian",
        'write "endian": "little"',
        "exzarr",
        little,
    ),
    Quirk(
        "exzarr-shards",
        3,
        lambda d: named(d, "sharding_indexed"),
        "shards in a format of ExZarr's own: sizes count chunks, the index is a blob",
        "convert the store",
        "exzarr",
        own_shards,
    ),
)


# rows that one document cannot show: each says of it what the other excludes, and why
CONTRADICTIONS: tuple[tuple[str, str, str], ...] = (
    ("v3-irregular", "exzarr-shards", "chunks of several sizes cannot be counted by shards, which have one size"),
    *(
        ("v2-v3-document", quirk.id, "a document is of v3, or has the members of v2")
        for quirk in QUIRKS
        if quirk.zarr_format == 2 and quirk.id != "v2-v3-document"
    ),
)

WRITERS = tuple(sorted({quirk.writer for quirk in QUIRKS if quirk.writer is not None}))


class Reading(NamedTuple):
    """How documents are read: ``writer`` whose quirks are assumed, ``strict`` to refuse all others."""

    writer: str | None = None
    strict: bool = False


TOLERANT = Reading()


def check_quirks(quirks: str | None) -> None:
    """Raise unless ``quirks`` is None or the name of a writer whose ways are known."""
    if quirks is not None and quirks not in WRITERS:
        raise XzarrError(f"quirks={quirks!r} is not known", hint=f"known are: {', '.join(map(repr, WRITERS))}")


def found_quirks(document: Document, zarr_format: int, writer: str | None = None) -> list[tuple[Quirk, list[str]]]:
    """Return the rows that a document shows, with the places; rows of a writer only where it is given."""
    shown = []
    for quirk in QUIRKS:
        if quirk.zarr_format == zarr_format and quirk.writer in (None, writer):
            places = quirk.places(document)
            if places:
                shown.append((quirk, places))
    return shown


def read_as_meant(document: Document, zarr_format: int, reading: Reading = TOLERANT) -> Document:
    """Return the document that says what is meant.

    Raises `MetadataError` under ``strict`` for each quirk it shows, and for rows that contradict each other;
    `UnsupportedError` for what the writer left unreadable.
    """
    if reading.strict:
        _refuse_quirks(document, zarr_format)
    for quirk in _ACTING:  # few rows: this runs for every array of a group
        if quirk.zarr_format == zarr_format and quirk.writer in (None, reading.writer):
            places = quirk.places(document)
            if places:
                _refuse_contradiction(document, quirk, places, reading.writer)
                document = _as_meant(document, quirk, places)
    return document


# the rows by which documents are rewritten or refused, not only told of
_ACTING = tuple(quirk for quirk in QUIRKS if quirk.rewrite is not None or not quirk.readable)


def _as_meant(document: Document, quirk: Quirk, places: list[str]) -> Document:
    if not quirk.readable:
        raise UnsupportedError(quirk.means, where=", ".join(places), hint=quirk.fix)
    return document if quirk.rewrite is None else quirk.rewrite(document)


def _refuse_contradiction(document: Document, quirk: Quirk, places: list[str], writer: str | None) -> None:
    """Raise `MetadataError` where ``document`` shows another row that ``quirk`` excludes, naming both."""
    others = {row.id: row for row in QUIRKS if row.writer in (None, writer)}
    for first, second, why in CONTRADICTIONS:
        if quirk.id not in (first, second):
            continue
        other = others.get(second if quirk.id == first else first)
        found = [] if other is None else other.places(document)
        if other is not None and found:
            raise MetadataError(
                f"the quirks {quirk.id!r} and {other.id!r} contradict each other: {why}",
                problems=[(places[0], quirk.means), (found[0], other.means)],
                hint="mend the document so that it says one of the two",
            )


def _refuse_quirks(document: Document, zarr_format: int) -> None:
    refused = [(place, quirk.means) for quirk, places in found_quirks(document, zarr_format) for place in places]
    if refused:
        raise MetadataError(
            "the metadata are not what the specification demands",
            problems=refused,
            hint="open without strict=True to read it nevertheless",
        )
