"""Writes the tables of the pages in this folder: ``python -m docs.interop.make_tables [SHARED]``.

A table stands between ``<!-- table: name -->`` and ``<!-- end of table -->``. Some come from the package alone: its
rules for other readers, asked about arrays that it writes; its rows for what other writers do. The others count what
was read of the shared fixtures (in SHARED, by default ``../shared`` beside the project), with the package as it is now;
they stay as they are where there are no fixtures.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import xzarr_backend as xz
from xzarr_backend.codecs.table import CODECS
from xzarr_backend.compat import QUIRKS
from xzarr_backend.doctor_readers import READERS

FOLDER = Path(__file__).parent
SHARED = FOLDER.parents[2] / "shared"
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
SHOWN = ("exzarr", "zarr-python-2", "zarr-python-3.1", "zarr-python-3.4", "tensorstore", "zarrs", "gdal")
NAMES = {reader.id: reader.name for reader in READERS}


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- who reads what this package writes ------------------------------------------------------------------------------


class Written(NamedTuple):
    """What to write: keywords for both formats, and those of one format alone; None where it has no such thing."""

    name: str
    both: Mapping[str, Any] = {}
    v2: Mapping[str, Any] | None = {}
    v3: Mapping[str, Any] | None = {}


PLAIN: dict[int, dict[str, Any]] = {2: {"compressors": "zlib"}, 3: {"compressors": "gzip"}}


def readers_of(written: Written) -> dict[str, list[str]]:
    """Return for each reader what it makes of the array in v2 and in v3: "v2", "v3", with "wrong" for other values."""
    found: dict[str, list[str]] = {reader: [] for reader in SHOWN}
    for zarr_format, own in ((2, written.v2), (3, written.v3)):
        if own is None:
            continue
        store: dict[str, bytes] = {}
        keywords = {"data": np.arange(12, dtype="i4").reshape(3, 4), "chunks": (2, 2)}
        xz.create_array(store, zarr_format=zarr_format, **{**keywords, **PLAIN[zarr_format], **written.both, **own})
        report = xz.doctor(store)
        for reader in SHOWN:
            verdict = report.forecast("/", reader).verdict
            if verdict != "refuses":
                found[reader].append(f"v{zarr_format}" if verdict == "reads" else f"v{zarr_format} wrong")
    return found


def written_table(what: str, cases: Sequence[Written]) -> str:
    """Return the table of what readers make of arrays that differ in one thing."""
    rows = []
    for case in cases:
        found = readers_of(case)
        rows.append([case.name, *(", ".join(found[reader]) or "-" for reader in SHOWN)])
    return table([what, *(NAMES[reader] for reader in SHOWN)], rows)


def _data(dtype: str) -> dict[str, Any]:
    return {"data": np.ones((3, 4), dtype)}


NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
DATA_TYPES = [
    *(Written(name, _data(name)) for name in NUMBERS),
    Written("float16", _data("float16")),
    Written("bool", _data("bool")),
    Written("complex64", _data("complex64")),
    Written("complex128", _data("complex128")),
    Written("numbers, big-endian", _data(">i4"), v3={"serializer": BIG}),
    Written("datetime64[us]", _data("M8[us]")),
    Written("timedelta64[us]", _data("m8[us]")),
    Written("text of fixed length", _data("U3")),
    Written("bytes of fixed length", _data("S3")),
    Written("text of variable length", {"data": np.array([["a", "bc"]], "T")}),
    Written("bytes of variable length", {"data": np.array([[b"a", b"bc"]], "O")}),
    Written("records", _data("i4,f8")),
]  # fmt: skip


def _filter(name: str, of: str, **configuration: Any) -> Written:
    codec = {"id": name, **configuration}
    return Written(f"`{name}`", {**_data(of), "filters": [codec]})


CODEC_CASES = [
    Written("none", {"compressors": None}),
    *(Written(f"`{name}`", {"compressors": name}) for name in ("zlib", "gzip", "zstd", "blosc", "lz4", "bz2", "lzma")),
    Written("`crc32c`", {"compressors": "crc32c"}),
    Written("`gzip`, then `crc32c`", {"compressors": ["gzip", "crc32c"]}),
    _filter("delta", "i4", dtype="<i4"),
    _filter("shuffle", "i4", elementsize=4),
    _filter("quantize", "f8", digits=2, dtype="<f8"),
    _filter("astype", "f8", encode_dtype="<f4", decode_dtype="<f8"),
    _filter("fixedscaleoffset", "f8", offset=10, scale=2, dtype="<f8", astype="<i4"),
    _filter("bitround", "f4", keepbits=10),
    _filter("packbits", "bool"),
    Written("`transpose` (order F)", {"order": "F"}),
    Written("`sharding_indexed`", {"shards": (2, 4)}, v2=None),
]

LAYOUTS = [
    Written("chunk keys of the format's own kind"),
    Written("the other separator", {}, {"chunk_key_encoding": "/"}, {"chunk_key_encoding": "."}),
    Written("v2 keys in v3", {"chunk_key_encoding": {"name": "v2"}}, v2=None),
    Written("fill value a finite number", {"fill_value": 7}),
    Written("fill value NaN", _data("f8") | {"fill_value": np.nan}),
    Written("fill value null", {}, {"fill_value": None}, None),
    Written("rank 0", {"data": np.array(3), "chunks": ()}),
    Written("chunk larger than the array", {"chunks": (8, 8)}),
    Written("rectilinear grid", {"chunks": ([1, 2], [3, 1])}, v2=None),
    Written("dimension names", {"dimension_names": ["y", "x"]}),
    Written("attributes", {"attributes": {"units": "K"}}),
]


def readers_table() -> str:
    """Return who the readers of the tables are, and where their rules come from."""
    return table(
        ["Reader", "Version", "Rules are"],
        [(reader.name, reader.version, reader.seen) for reader in READERS if reader.id in SHOWN],
    )


def quirks_table() -> str:
    """Return the rows of compat.py."""
    rows = []
    for quirk in QUIRKS:
        option = "always" if quirk.writer is None else f'`quirks="{quirk.writer}"`'
        rows.append([f"[{quirk.id}](findings.md#{quirk.id})", option, quirk.means, quirk.fix])
    return table(["Row", "Read so", "What is meant", "How to mend the store"], rows)


def codec_names() -> str:
    """Return the codecs by kind."""
    kinds: dict[str, list[str]] = {}
    for name, row in CODECS.items():
        if not name.startswith(("numcodecs.exzarr", "exzarr.")):
            kinds.setdefault(row.kind, []).append(f"`{name}`")
    return table(["Kind", "Names"], [(kind, ", ".join(sorted(names))) for kind, names in kinds.items()])


TABLES: dict[str, Callable[[], str]] = {
    "readers": readers_table,
    "written-data-types": lambda: written_table("Data type", DATA_TYPES),
    "written-codecs": lambda: written_table("Codec", CODEC_CASES),
    "written-layouts": lambda: written_table("Layout", LAYOUTS),
    "quirks": quirks_table,
    "codec-names": codec_names,
}


# --- what was read of the fixtures -----------------------------------------------------------------------------------


class Result(NamedTuple):
    """One array of the fixtures; ``peers``: whether other readers gave its values, None where nobody tried."""

    family: str
    dtype: str
    codecs: frozenset[str]
    ours: bool
    peers: Mapping[str, bool] | None


def results_of(shared: Path) -> list[Result]:
    """Read all arrays that have values, and return what came of it."""
    judge = _judge(shared)
    root = shared / "fixtures"
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in json.loads((root / "manifest.json").read_text("utf-8"))["arrays"]:
            if case["expect"] != "value":
                continue
            ours = judge("xzarr", root, case)[0] == "ok"
            found.append(Result(case["family"], kind_of(case["dtype"]), codecs_of(root, case), ours, case.get("peers")))
    return found


def _judge(shared: Path) -> Callable[..., tuple[str, str]]:
    specification = importlib.util.spec_from_file_location("conform_check", shared / "conform" / "check.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    before = list(sys.path)
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path[:] = before
    judge: Callable[..., tuple[str, str]] = module.judge
    return judge


KINDS = {
    "b": "bool", "f2": "float16", "c": "complex", "M": "dates", "m": "durations", "S": "bytes of fixed length",
    "U": "text of fixed length", "V": "raw bytes and records", "O": "variable length", "T": "variable length",
}  # fmt: skip
NAMED = {
    "StringDType()": "variable length", "string": "variable length",
    "bytes": "variable length", "object": "variable length",
    "variable_length_utf8": "variable length", "variable_length_bytes": "variable length",
    "fixed_length_utf32": "text of fixed length", "fixed_length_bytes": "bytes of fixed length",
    "null_terminated_bytes": "bytes of fixed length", "raw_bytes": "raw bytes and records",
    "datetime64": "dates", "timedelta64": "durations", "numpy.datetime64": "dates", "numpy.timedelta64": "durations",
    "structured": "raw bytes and records", "struct": "raw bytes and records",
}  # fmt: skip


def kind_of(dtype: Any) -> str:
    """Return the line of the table that a data type of the manifest belongs to."""
    if isinstance(dtype, list):
        return "raw bytes and records"
    name = dtype["name"] if isinstance(dtype, dict) else dtype
    if name in NAMED:
        return NAMED[name]
    try:
        numpy = np.dtype(name)
    except TypeError:
        return "raw bytes and records" if re.fullmatch(r"r\d+", name) else "small floats and integers"
    return KINDS.get(numpy.str[1:], KINDS.get(numpy.kind, numpy.name))


def codecs_of(root: Path, case: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the codecs of an array, also of those within shards; nothing where it cannot be opened."""
    try:
        array = xz.open_array(
            root / case["store"], case["path"], zarr_format=case["zarr_format"], quirks=case["quirks"]
        )
    except xz.XzarrError:
        return frozenset()
    document = array.spec.document
    v2 = [*(document.get("filters") or ()), document.get("compressor")]
    ids = {codec["id"] for codec in v2 if isinstance(codec, dict)}
    return frozenset(ids | set(_names(document.get("codecs") or ()))) - {"bytes", "endian"}


def _names(codecs: Iterable[Any]) -> Iterable[str]:
    for codec in codecs:
        if isinstance(codec, str):
            yield codec
        else:
            yield codec["name"].removeprefix("numcodecs.")
            yield from _names((codec.get("configuration") or {}).get("codecs") or ())


WRITERS = {
    "exzarr": "ExZarr 1.0.1",
    "zarr2": "zarr-python 2.18.7",
    "zarr3": "zarr-python 3.4.2",
    "field": "found in public repositories, or written by other tools",
}
PEERS = {"zarr_python": "zarr-python 3.1.6", "tensorstore": "tensorstore 0.1.86"}


def _counts(results: Sequence[Result]) -> list[str]:
    """Return the cells: how many arrays, and how many of them each reader gets right."""
    cells = [str(len(results))]
    for peer in PEERS:
        known = [bool(result.peers[peer]) for result in results if result.peers is not None]
        cells.append(str(sum(known)) if len(known) == len(results) else "not tried")
    return [*cells, str(sum(result.ours for result in results))]


def _counted(what: str, groups: Mapping[str, Sequence[Result]]) -> str:
    head = [what, "Arrays", *PEERS.values(), "this package"]
    return table(head, [[name, *_counts(group)] for name, group in groups.items()])


def families_table(results: Sequence[Result]) -> str:
    """Return how much of each family is read."""
    return _counted("Written by", {WRITERS[f]: [r for r in results if r.family == f] for f in WRITERS})


def _tried(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.peers is not None]


def dtypes_table(results: Sequence[Result]) -> str:
    """Return how much of each data type is read, of what others were tried on too."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(_tried(results), key=lambda result: _place(result.dtype)):
        groups.setdefault(result.dtype, []).append(result)
    return _counted("Data type", groups)


def _place(dtype: str) -> tuple[bool, str]:
    return dtype not in NUMBERS, dtype


def codecs_table(results: Sequence[Result]) -> str:
    """Return how much with each codec is read, of what others were tried on too."""
    tried = _tried(results)
    names = sorted({codec for result in tried for codec in result.codecs})
    groups = {"none": [result for result in tried if not result.codecs]}
    return _counted("Codec", groups | {f"`{n}`": [result for result in tried if n in result.codecs] for n in names})


FIXTURE_TABLES: dict[str, Callable[[Sequence[Result]], str]] = {
    "fixtures-families": families_table,
    "fixtures-data-types": dtypes_table,
    "fixtures-codecs": codecs_table,
}


# --- pages -----------------------------------------------------------------------------------------------------------


def all_tables(shared: Path) -> dict[str, str]:
    """Return the tables by name; those of the fixtures only where there are fixtures."""
    found = {name: make() for name, make in TABLES.items()}
    if (shared / "fixtures" / "manifest.json").is_file():
        results = results_of(shared)
        found |= {name: make(results) for name, make in FIXTURE_TABLES.items()}
    return found


def filled(text: str, tables: Mapping[str, str]) -> str:
    """Return the text of a page with its tables."""

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES and name not in FIXTURE_TABLES:
            raise SystemExit(f"there is no table {name!r}")
        return f"{match[1]}{tables[name]}\n{match[3]}" if name in tables else match[0]

    return MARKED.sub(fill, text)


def main() -> None:
    """Fill the pages of this folder."""
    tables = all_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED)
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text, tables), encoding="utf-8")


if __name__ == "__main__":
    main()
