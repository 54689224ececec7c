"""What the doctor can find: one table, most important first.

Imports compat. Invariant: every finding has its row here and its section in docs/interop/findings.md, which a script
writes from this table; rows of writers' quirks come from `compat.QUIRKS`.
"""
# ruff: noqa: E501 (a table: one kind, one line)

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .compat import QUIRKS
from .spec import JSON

ERROR, WARNING, NOTE = "error", "warning", "note"

CASES = {
    1: "The array cannot be opened",
    2: "The data type or a codec is not supported",
    3: "The values differ",
    4: "The metadata are read, the chunks are not",
    5: "Reading is slow",
}


class Kind(NamedTuple):
    """A kind of finding. ``case``: which of the troubleshooting cases it belongs to. ``mends``: ``--fix`` can mend it."""

    id: str
    severity: str
    case: int
    title: str
    why: str
    fix: str
    mends: bool = False


_OWN = (
    # 1: the array cannot be opened
    Kind("no-node", ERROR, 1, "Nothing of Zarr is stored here", "No zarr.json, .zarray or .zgroup lies at the path or below it.", "check the path; a folder that holds the store, or one inside it, is given by its own path"),
    Kind("access-denied", ERROR, 1, "Metadata cannot be fetched", "The document is there, but the system refuses to hand it out.", "give the reader permission for the folder and its files, or check the credentials"),
    Kind("document-not-json", ERROR, 1, "A metadata document is cut short or no JSON", "A writer was interrupted, a copy was incomplete, or somebody edited the file by hand.", "take the document from a copy; --fix restores it where consolidated metadata still hold it", True),
    Kind("wrong-format-number", ERROR, 1, "zarr_format does not fit the document", "The name of the document decides the version, and the member must say the same.", "write the number that belongs to the name of the document", True),
    Kind("document-wrong", ERROR, 1, "The metadata break the specification", "Members are missing or hold what no reader can use, so every reader refuses the array.", "mend the members that are named"),
    Kind("other-kind", ERROR, 1, "A document of the other kind", "The node says that it is neither an array nor a group.", 'write "node_type": "array" or "group"', True),
    # 2: data type or codec
    Kind("dtype-unsupported", ERROR, 2, "The data type is not known here", "The metadata are valid, but name a data type of an extension.", "install the package that is named, or convert the array where it can be read"),
    Kind("codec-needs-package", ERROR, 2, "A codec needs a package that is not installed", "The codec is known, its library is missing.", "install the package that is named"),
    Kind("codec-unsafe", ERROR, 2, "A codec executes code stored in the data", "Decoding would run whatever the writer put there, so it is refused.", 'if you trust the writer, open with allow_codecs=("pickle",); better, convert the array'),
    Kind("codec-unknown", ERROR, 2, "A codec is not known here", "The metadata name a codec that is neither in the table nor registered.", "register the codec (xz.register_codec), or convert the array where it can be read"),
    Kind("extension-unknown", ERROR, 2, "An extension that must be understood is not known", "A chunk grid, key encoding, storage transformer or member says that readers must know it.", "convert the array with the program that wrote it"),
    Kind("reader-refuses", ERROR, 2, "The reader that was asked for refuses the array", "The rules of this reader, observed or stated by its documentation, exclude what the metadata say.", "convert the array (xzarr convert), or write it with the profile for this reader"),
    Kind("reader-misreads", ERROR, 3, "The reader that was asked for returns other values", "The reader opens the array without an error, but does not do what the metadata say.", "convert the array (xzarr convert), or write it with the profile for this reader"),
    # 4: chunks
    Kind("chunks-denied", ERROR, 4, "Chunks cannot be fetched", "The objects are there, but the system refuses to hand them out.", "give the reader permission for the folder and its files, or check the credentials"),
    Kind("chunk-keys-differ", ERROR, 4, "The chunks lie under other names than the metadata say", "Readers find no chunk and return the fill value everywhere, without an error.", "write the separator (or key encoding) that the files really have", True),
    Kind("exzarr-shards-found", ERROR, 4, "The shards are in the format of ExZarr", "ExZarr keeps sharded data in a layout of its own, which the metadata do not tell.", 'open with quirks="exzarr"; convert the store for other readers'),
    Kind("codec-mislabelled", ERROR, 4, "The chunks were written by another codec than the metadata name", "The first bytes of a chunk are those of another codec.", "write the codec that the chunks show", True),
    Kind("empty-objects", ERROR, 4, "Chunk objects without a byte", "A writer was killed, or the disk was full; an empty object is no missing chunk.", "write these chunks again; deleting them makes them read as the fill value"),
    Kind("chunks-of-wrong-size", ERROR, 4, "Chunks that are too short or too long", "Uncompressed chunks all have one size; these were cut off, or belong to another shape or data type.", "write these chunks again, or mend chunks and data type in the metadata; `xzarr verify` lists them"),
    Kind("chunk-undecodable", ERROR, 4, "A chunk does not decode as the metadata say", "The chunk is damaged, or the metadata name the wrong codecs or data type.", "see `xzarr verify` for how many chunks are concerned; restore them, or mend the metadata"),
    # 3: values
    Kind("byte-order-suspect", WARNING, 3, "The values look as if the byte order were wrong", "Read as the metadata say, the numbers are wild; read in the other byte order, they are close together.", "compare with the source; if it is so, change the byte order in the metadata"),
    Kind("fill-value-null", WARNING, 3, "Chunks are missing and the fill value is null", "Null says that the content is undefined: most readers return zeros, zarr-python 2 whatever memory held.", "write the fill value that is meant", True),
    Kind("fill-value-spelling", WARNING, 3, "The fill value is written in a way that others refuse", "The value is clear, its form is not that of the specification.", "write it in the form of the specification", True),
    Kind("dimensions-conflict", NOTE, 3, "A dimension has several sizes in one group", "xarray needs one size for each dimension name of a group.", "rename the dimensions, or open fewer variables (keep_variables=)"),
    Kind("stale-consolidated", WARNING, 3, "The consolidated metadata differ from the members' own documents", "Somebody changed a member without consolidating again; readers see what was true before.", "consolidate again (xzarr consolidate)", True),
    Kind("missing-chunks", WARNING, 3, "Some chunks are missing", "Most chunks of the grid are stored. Those that are not read as the fill value, which hides an incomplete copy.", "compare with the source; nothing is wrong if these chunks hold nothing but the fill value"),
    Kind("attributes-not-json", WARNING, 1, "The attributes are cut short or no JSON", "Units, names of dimensions and conventions are lost with them.", "take .zattrs from a copy; --fix restores it where consolidated metadata still hold it", True),
    Kind("two-documents", WARNING, 1, "Documents of both versions in one folder", "Readers differ in which one they take.", "delete the one that is out of date"),
    Kind("group-undeclared", WARNING, 1, "Arrays without a group above them", "Readers that ask for .zgroup do not see the members.", "write the group's document", True),
    Kind("group-of-other-version", WARNING, 1, "A v2 group above v3 arrays", "Readers of the group look for v2 members only, and find none.", "write a zarr.json for the group"),
    Kind("archive-in-folder", WARNING, 1, "The folder holds an archive and nothing else", "ExZarr makes a folder around its archive; other readers look for documents in the folder.", "give other readers the path of the archive itself"),
    # 4: objects
    Kind("chunks-outside-grid", WARNING, 4, "Chunks outside of the grid", "They were left when the array became smaller, or the shape in the metadata is too small.", "if the shape is right, delete them"),
    Kind("lock-files", WARNING, 4, "Lock files between the chunks", "ExZarr leaves one or two empty files for each chunk; they double the objects that a listing returns.", "`xzarr verify --repair` removes them"),
    Kind("foreign-objects", WARNING, 4, "Objects that are no chunks", "Files were copied here by mistake, or the chunks have names that no version knows.", "move them elsewhere"),
    # 5: speed
    Kind("small-chunks", WARNING, 5, "Many small chunks", "Each chunk costs a request and a decoder call, however small it is.", "rechunk: a few to some tens of MiB per chunk"),
    Kind("large-chunks", WARNING, 5, "Very large chunks", "Reading one element means fetching and decoding the whole chunk, on one thread.", "rechunk, or use shards with smaller inner chunks"),
    Kind("many-objects", WARNING, 5, "Very many objects", "Listing, copying and deleting take a request for each object.", "put many chunks into one object: shards (v3) or larger chunks"),
    Kind("slow-compression", WARNING, 5, "A slow codec or level", "Writing takes many times longer for a few percent of space; lzma and bz2 are slow to read too.", "recompress with zstd level 3 or blosc"),
    Kind("small-inner-chunks", WARNING, 5, "Very many inner chunks in a shard", "The index is fetched with every shard and grows by 16 bytes for each inner chunk.", "choose larger inner chunks or smaller shards"),
    Kind("shards-decode-whole", WARNING, 5, "Shards that can only be read whole", "A codec behind sharding_indexed hides the index, so no inner chunk can be fetched on its own.", "put the codec into the codecs of the shard"),
    # notes
    Kind("no-chunks", NOTE, 3, "No chunk is stored", "The array reads as the fill value everywhere: nobody wrote data, or the chunks lie elsewhere.", "nothing to do if the array is meant to be empty"),
    Kind("not-listed", NOTE, 4, "Not everything could be listed", "The store cannot be listed, or holds more objects than are looked at.", "look at single arrays by their path"),
)  # fmt: skip


def _quirk_kinds() -> list[Kind]:
    mended = set(QUIRK_MENDS)
    return [
        Kind(
            quirk.id,
            WARNING if quirk.readable else ERROR,
            3 if quirk.writer else 1,
            f"The metadata are not what {'the bytes say' if quirk.writer else 'the specification demands'}",
            f"{'Read here as' if quirk.readable else 'Refused with the option'}: {quirk.means}."
            + (" Neither metadata nor bytes tell, only the knowledge of the writer." if quirk.writer else ""),
            quirk.fix or "convert the store",
            quirk.id in mended,
        )
        for quirk in QUIRKS
    ]


# quirks whose documents can be rewritten (doctor_mending.QUIRK_CHANGES); those of a writer only where it is given
QUIRK_MENDS = (
    "v2-byte-order-of-one-byte",
    "v2-time-without-unit",
    "v2-bzip2",
    "v2-missing-order",
    "v2-missing-fill-value",
    "v2-missing-compressor",
    "v2-missing-filters",
    "v2-fill-value-spelling",
    "v2-bare-numbers",
    "v3-fill-value-spelling",
    "v3-bare-numbers",
    "v3-null-members",
    "v3-missing-node-type",
    "v3-no-codecs",
    "v3-no-serializer",
    "v3-codec-order",
    "v3-null-fill-value",
    "v3-endian",
    "v3-bytes-without-endian",
    "v3-transpose-letter",
    "v3-unprefixed-numcodecs",
    "v3-time-names",
    "exzarr-order",
    "exzarr-packbits",
    "exzarr-categorize",
    "exzarr-fixedscaleoffset",
    "exzarr-delta",
    "exzarr-big-endian",
)


def _ordered() -> list[Kind]:
    """Return all kinds in the order of their importance: quirks of documents before what only costs time or space."""
    first = next(place for place, kind in enumerate(_OWN) if kind.id == "chunks-outside-grid")
    return [*_OWN[:first], *_quirk_kinds(), *_OWN[first:]]


FINDINGS: dict[str, Kind] = {kind.id: kind for kind in _ordered()}
_SEVERITIES = (ERROR, WARNING, NOTE)
_RANK = {name: place for place, name in enumerate(FINDINGS)}

Change = Callable[[dict[str, JSON]], dict[str, JSON]]


class Mend(NamedTuple):
    """How a document is mended: ``change`` takes what is stored under ``key`` ({} where it cannot be read).

    ``key`` "" means that the consolidated metadata of the group ``path`` are written anew.
    """

    path: str
    key: str
    change: Change | None = None


class Finding(NamedTuple):
    """What was found at ``place`` (a path with a leading slash, or a key). ``mends``: what ``fix=True`` would do."""

    id: str
    place: str
    what: str
    fix: str
    mends: tuple[Mend, ...] = ()

    @property
    def kind(self) -> Kind:
        """The row of the table."""
        return FINDINGS[self.id]

    @property
    def severity(self) -> str:
        """ "error" (cannot be read), "warning" (somebody may not read it, or misunderstand) or "note"."""
        return self.kind.severity

    def as_dict(self) -> dict[str, JSON]:
        """Return the finding as plain data."""
        kind = self.kind
        return {
            "id": self.id,
            "severity": self.severity,
            "case": kind.case,
            "place": self.place,
            "what": self.what,
            "why": kind.why,
            "fix": self.fix,
            "can_be_mended": bool(self.mends),
        }


def found(name: str, place: str, what: str, *, fix: str = "", mends: tuple[Mend, ...] = ()) -> Finding:
    """Return a finding; ``fix`` is that of the table unless given."""
    return Finding(name, place, what, fix or FINDINGS[name].fix, mends)


def most_important_first(findings: list[Finding]) -> list[Finding]:
    """Return the findings by severity, then in the order of the table, then as they were found."""
    return sorted(findings, key=lambda one: (_SEVERITIES.index(one.severity), _RANK[one.id]))
