"""What the field writes besides the specifications: one small document for each way, read as it was meant.

Every row of compat.py that needs no option and that ExZarr does not show has its case here.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import warnings
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.compat import found_quirks

LINE = np.arange(6, dtype="<i4") * 7 - 5
BOARD = np.arange(6, dtype="<i4").reshape(2, 3)
ABSENT = object()


class Case(NamedTuple):
    """A document with one chunk; ``rows``: the rows of compat.py that it shows, all read without being asked for."""

    name: str
    document: dict[str, Any]
    chunk: bytes | None
    values: Any
    rows: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def v2(values: Any, **changed: Any) -> dict[str, Any]:
    """A v2 document with one chunk, stored as it is."""
    document: dict[str, Any] = {
        "zarr_format": 2,
        "shape": list(values.shape),
        "chunks": list(values.shape),
        "dtype": values.dtype.str,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "compressor": None,
    }
    return {name: value for name, value in (document | changed).items() if value is not ABSENT}


def v3(values: Any, **changed: Any) -> dict[str, Any]:
    """A v3 document with one chunk, stored as it is."""
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(values.shape)}},
        "chunk_key_encoding": {"name": "v2"},  # so that both formats have the same keys here
        "codecs": [LITTLE],
        "fill_value": 0,
    }
    return {name: value for name, value in (document | changed).items() if value is not ABSENT}


def named(name: str, **configuration: Any) -> dict[str, Any]:
    """A codec of v3."""
    return {"name": name, "configuration": configuration}


def crc32c(data: bytes) -> bytes:
    """The data and their checksum, which another library computes."""
    google_crc32c = pytest.importorskip("google_crc32c")
    return data + struct.pack("<I", google_crc32c.value(data))


def sharded(pieces: list[bytes]) -> bytes:
    """A shard of the specification: the chunks, then their offsets and sizes with a checksum."""
    index, offset = b"", 0
    for piece in pieces:
        index, offset = index + struct.pack("<QQ", offset, len(piece)), offset + len(piece)
    return b"".join(pieces) + crc32c(index)


LITTLE = named("bytes", endian="little")
BOARD_OF_SHARDS = named("sharding_indexed", chunk_shape=[3, 1], codecs=[LITTLE], index_codecs=[LITTLE, named("crc32c")])
RAW = LINE.tobytes()
LZMA_FILTERS = [{"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_LZMA2, "preset": 1}]

IRREGULAR = {"name": "irregular", "configuration": {"chunk_sizes": [[6]]}}

CASES = [
    # rows of compat.py
    Case(
        "one byte",
        v2(LINE.astype("u1"), dtype=">u1"),
        LINE.astype("u1").tobytes(),
        LINE.astype("u1"),
        ("v2-byte-order-of-one-byte",),
    ),
    Case(
        "text of netcdf-c",
        v2(np.array([b"a", b"b"]), dtype=">S1", fill_value=""),
        b"ab",
        np.array([b"a", b"b"]),
        ("v2-byte-order-of-one-byte",),
    ),
    Case(
        "0 for false",
        v3(LINE > 2, fill_value=0),
        (LINE > 2).tobytes(),
        LINE > 2,
        ("v3-number-as-fill-value",),
    ),
    Case(
        "gzip without level",
        v3(LINE, codecs=[LITTLE, named("gzip")]),
        gzip.compress(RAW),
        LINE,
        ("v3-codec-without-configuration",),
    ),
    Case("no order", v2(LINE, order=ABSENT), RAW, LINE, ("v2-missing-order",)),
    Case("no fill value", v2(LINE, fill_value=ABSENT), RAW, LINE, ("v2-missing-fill-value",)),
    Case("no compressor", v2(LINE, compressor=ABSENT), RAW, LINE, ("v2-missing-compressor",)),
    Case("no codecs", v3(LINE, codecs=ABSENT), RAW, LINE, ("v3-no-codecs",)),
    Case("npm zarrita", v3(LINE, codecs=[], fill_value=None), RAW, LINE, ("v3-no-serializer", "v3-null-fill-value")),
    Case(
        "2022 gzip alone",
        v3(LINE, codecs=[named("zlib")]),
        zlib.compress(RAW),
        LINE,
        ("v3-no-serializer", "v3-unprefixed-numcodecs"),
    ),
    Case(
        "bytes behind gzip",
        v3(LINE, codecs=[named("gzip", level=1), LITTLE]),
        gzip.compress(RAW),
        LINE,
        ("v3-codec-order",),
    ),
    Case("no chunk, null", v3(LINE, fill_value=None), None, LINE * 0, ("v3-null-fill-value",)),
    Case(
        "endian", v3(LINE, codecs=[named("endian", endian="big")]), LINE.astype(">i4").tobytes(), LINE, ("v3-endian",)
    ),
    Case("bytes without endian", v3(LINE, codecs=[named("bytes")]), RAW, LINE, ("v3-bytes-without-endian",)),
    Case(
        "transpose F",
        v3(BOARD, codecs=[named("transpose", order="F"), LITTLE]),
        BOARD.tobytes("F"),
        BOARD,
        ("v3-transpose-letter",),
    ),
    Case(
        "transpose C",
        v3(BOARD, codecs=[named("transpose", order="C"), LITTLE]),
        BOARD.tobytes(),
        BOARD,
        ("v3-transpose-letter",),
    ),
    Case(
        "2022 shards",
        v3(BOARD.T, codecs=[named("sharding_indexed", chunk_shape=[3, 1], codecs=[], index_codecs=[LITTLE])]),
        sharded([BOARD[0].tobytes(), BOARD[1].tobytes()])[:-4],
        BOARD.T,
        ("v3-no-serializer",),
    ),
    Case(
        "shards without endian",
        v3(
            BOARD.T,
            codecs=[
                named(
                    "sharding_indexed",
                    chunk_shape=[3, 1],
                    codecs=[named("bytes")],
                    index_codecs=[named("bytes"), named("crc32c")],
                )
            ],
        ),
        sharded([BOARD[0].tobytes(), BOARD[1].tobytes()]),
        BOARD.T,
        ("v3-bytes-without-endian",),
    ),
    Case("irregular", v3(LINE, chunk_grid=IRREGULAR), RAW, LINE, ("v3-irregular",)),
    Case("lzma", v3(LINE, codecs=[LITTLE, named("lzma")]), lzma.compress(RAW), LINE, ("v3-unprefixed-numcodecs",)),
    Case(
        "times",
        v3(LINE, data_type="timedelta64"),
        LINE.astype("<i8").tobytes(),
        LINE.astype("m8[us]"),
        ("v3-time-names",),
    ),
    # what every reading takes as it is
    Case("bare names", v3(LINE, codecs=["bytes"], chunk_key_encoding="v2"), RAW, LINE, ("v3-bytes-without-endian",)),
    Case("data type as an object", v3(LINE, data_type={"name": "int32"}), RAW, LINE),
    Case("no node type", v3(LINE, node_type=ABSENT), RAW, LINE, ("v3-missing-node-type",)),
    Case("no filters", v2(LINE, filters=ABSENT), RAW, LINE, ("v2-missing-filters",)),
    Case("number as text", v2(LINE, fill_value="0"), RAW, LINE, ("v2-fill-value-spelling",)),
    Case("number as text in v3", v3(LINE, fill_value="0"), RAW, LINE, ("v3-fill-value-spelling",)),
    Case("bare NaN", v2(LINE * 1.0, fill_value=float("nan")), (LINE * 1.0).tobytes(), LINE * 1.0, ("v2-bare-numbers",)),
    Case(
        "bare NaN in v3",
        v3(LINE, attributes={"valid": [0, float("inf")]}),
        RAW,
        LINE,
        ("v3-bare-numbers",),
    ),
    Case("null members", v3(LINE, dimension_names=None, attributes=None), RAW, LINE, ("v3-null-members",)),
    Case("to be ignored", v3(LINE, future={"name": "x", "must_understand": False}), RAW, LINE),
    Case(
        "unknown members",
        v2(LINE, compressor={"id": "zlib", "level": -1, "speed": 9}, _nczarr_array={}),
        zlib.compress(RAW),
        LINE,
    ),
    Case(
        "lzma with filters",
        v2(LINE, compressor={"id": "lzma", "format": 1, "check": 0, "filters": LZMA_FILTERS}),
        lzma.compress(RAW, filters=LZMA_FILTERS),
        LINE,
    ),
    Case("gzip of v3", v3(LINE, codecs=[LITTLE, named("gzip", level=1)]), zlib.compress(RAW, wbits=31), LINE),
    Case(
        "transpose before shards",
        v3(BOARD, codecs=[named("transpose", order=[1, 0]), BOARD_OF_SHARDS]),
        sharded([BOARD[0].tobytes(), BOARD[1].tobytes()]),
        BOARD,
    ),
    Case(
        "codecs behind shards",
        v3(BOARD.T, codecs=[BOARD_OF_SHARDS, named("gzip", level=1)]),
        zlib.compress(sharded([BOARD[0].tobytes(), BOARD[1].tobytes()]), wbits=31),
        BOARD.T,
    ),
]

ROWS = {row for case in CASES for row in case.rows}


def store_of(case: Case) -> dict[str, bytes]:
    """Return the objects of a case."""
    store = {".zarray" if case.document["zarr_format"] == 2 else "zarr.json": json.dumps(case.document).encode()}
    return store if case.chunk is None else store | {".".join("0" * len(case.document["shape"])): case.chunk}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_read_as_meant(case: Case) -> None:
    """The values are those that were meant; no option is given."""
    found = xz.open_array(store_of(case))[...]
    assert found.dtype == case.values.dtype
    np.testing.assert_array_equal(found, case.values)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused_when_strict(case: Case) -> None:
    """With ``strict=True`` every row is refused with its places and its meaning; what shows no row is read."""
    store = store_of(case)
    shown = found_quirks(case.document, case.document["zarr_format"])
    assert {quirk.id for quirk, _ in shown} == set(case.rows)
    if not case.rows:
        np.testing.assert_array_equal(xz.open_array(store, strict=True)[...], case.values)
        return
    with pytest.raises(xz.MetadataError, match="strict=True") as caught:
        xz.open_array(store, strict=True)
    refused = dict(caught.value.problems)
    assert {place: quirk.means for quirk, places in shown for place in places} == refused


MENDED = [
    case
    for case in CASES
    if set(case.rows) & {"v3-no-serializer", "v3-bytes-without-endian", "v3-endian", "v3-codec-order"}
    and "v3-unprefixed-numcodecs" not in case.rows  # a codec that has no name in the specification
]


@pytest.mark.parametrize("case", MENDED, ids=str)
def test_mended_documents_are_strict(case: Case) -> None:
    """What the doctor mends, in shards and their indexes too, is then read with ``strict=True``."""
    store = store_of(case)
    assert set(case.rows) <= {one.id for one in xz.doctor(store).findings}
    xz.doctor(store, fix=True)
    np.testing.assert_array_equal(xz.open_array(store, strict=True)[...], case.values)


# --- fill values -----------------------------------------------------------------------------------------------------

NAN = float("nan")
SPELLED = [  # as the specifications have them
    (v2, "<f8", "NaN"), (v2, "<f8", 1), (v2, "|b1", False), (v2, "<c8", [0, "-Infinity"]), (v2, "|S4", "QUI="),
    (v2, "<U3", "ab"), (v2, "<M8[s]", 0), (v2, "<i4", None), (v3, "float32", "0x7fc00001"), (v3, "float64", "Infinity"),
    (v3, "complex64", [0, "0x7fc00001"]), (v3, "bool", True), (v3, "uint64", 2**64 - 1), (v3, "float16", 1.5),
]  # fmt: skip
MISSPELLED = [
    (v2, "<f8", "nan"), (v2, "<f8", "0x7ff8000000000000"), (v2, "|b1", 0), (v2, "<c8", 0), (v2, "|S4", 0),
    (v2, "|S4", "ab"),
    (v2, "<i4", 3.0), (v2, "<U3", 0), (v3, "int32", "0"), (v3, "int32", 3.0), (v3, "float64", "nan"),
    (v3, "float32", "1"), (v3, "uint8", True),
]  # fmt: skip


@pytest.mark.parametrize("case", [(*case, True) for case in SPELLED] + [(*case, False) for case in MISSPELLED])
def test_strict_fill_values(case: Any) -> None:
    """Fill values are read however they are spelled; ``strict=True`` takes them as the specifications have them."""
    make, dtype, fill, strict = case
    member = {"dtype": dtype} if make is v2 else {"data_type": dtype}
    store = {".zarray" if make is v2 else "zarr.json": json.dumps(make(LINE, fill_value=fill, **member)).encode()}
    found = xz.open_array(store)[...]
    if strict:
        np.testing.assert_array_equal(xz.open_array(store, strict=True)[...], found)
        return
    with pytest.raises(xz.MetadataError, match="fill_value"):
        xz.open_array(store, strict=True)


FILLS = [
    ("<f8", "NaN", NAN), ("<f8", "nan", NAN), ("<f8", NAN, NAN), ("<f8", "-Infinity", -np.inf), ("<f8", None, 0.0),
    ("<i4", "0", 0), ("<i4", 3.0, 3), ("|b1", 0, False), ("|b1", 1, True), ("|b1", False, False),
    ("<c8", 0, 0j), ("<c16", [1, "NaN"], complex(1, NAN)),
    ("|S4", 0, b""), ("|S4", "", b""), ("|S4", "QUI=", b"AB"), ("<U3", 0, ""), ("<U3", "", ""), ("<U3", "ab", "ab"),
    ("<M8[s]", "NaT", np.datetime64("NaT", "s")), ("<M8[s]", 0, np.datetime64(0, "s")),
    ("<M8", 5, np.datetime64(5, "us")),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "fill", "meant"), FILLS, ids=[f"{d}-{json.dumps(f)}" for d, f, _ in FILLS])
def test_fill_values(dtype: str, fill: Any, meant: Any) -> None:
    """Every spelling of a fill value that writers use reads as what they meant, on an array without chunks."""
    document = v2(np.zeros(2), dtype=dtype, fill_value=fill)
    found = xz.open_array({".zarray": json.dumps(document).encode()})[...]
    np.testing.assert_array_equal(found, np.full(2, meant, found.dtype))


def test_bit_patterns_as_fill_values() -> None:
    """v3 may spell a fill value as its bits."""
    document = v3(LINE.astype("f4"), fill_value="0x7fc00001")
    found = xz.open_array({"zarr.json": json.dumps(document).encode()})[...]
    assert found.view("u4").tolist() == [0x7FC00001] * 6


# --- hierarchies -----------------------------------------------------------------------------------------------------


def as_bytes(**documents: Any) -> dict[str, bytes]:
    """Return objects: documents as JSON, everything else as it is."""
    return {key: value if isinstance(value, bytes) else json.dumps(value).encode() for key, value in documents.items()}


def test_both_formats_in_one_folder() -> None:
    """Where a converter left both documents, v3 counts, unless v2 is asked for."""
    store = as_bytes(**{"zarr.json": v3(LINE), ".zarray": v2(LINE.astype("f8")), "0": RAW})
    assert xz.open_array(store).dtype == "i4"
    assert xz.open_array(store, zarr_format=2).dtype == "f8"


def test_arrays_below_folders_without_a_group() -> None:
    """Folders that nobody declared are groups; the arrays in them are found by name and by listing."""
    store = as_bytes(**{"deep/down/.zarray": v2(LINE), "deep/down/0": RAW})
    assert xz.open(store)["deep/down"][...].tolist() == LINE.tolist()
    assert [name for name, _ in xz.open_group(store).members(depth=None)] == ["deep", "deep/down"]


def test_consolidated_metadata_without_a_group() -> None:
    """A .zmetadata makes a group, and its copy of a document counts where the document itself is cut short."""
    metadata = {"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}, "a/.zarray": v2(LINE)}}
    for own in ({}, {"a/.zarray": b'{"zarr_form'}):
        store = as_bytes(**{".zmetadata": metadata, "a/0": RAW}, **own)
        assert xz.open_group(store)["a"][...].tolist() == LINE.tolist()


def test_attributes_of_other_tools() -> None:
    """Bare NaN, the names of dimensions and the notes of netcdf-c are attributes like others."""
    attributes = b'{"_ARRAY_DIMENSIONS": ["x"], "valid": NaN, "_NCZARR_ATTR": {"types": {}}}'
    array = xz.open_array(as_bytes(**{".zarray": v2(LINE), ".zattrs": attributes, "0": RAW}))
    assert array.dimension_names == ("x",)
    assert np.isnan(array.attrs["valid"])
    assert array.attrs["_NCZARR_ATTR"] == {"types": {}}


@pytest.mark.parametrize("prefix", ["", "outer.zarr/"], ids=["at the root", "in a folder"])
def test_archives_of_any_kind(prefix: str, tmp_path: Any) -> None:
    """Deflated entries, an outer folder, files that are no chunks, and a name given twice: the last one counts."""
    kept = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the name that is given twice
        archive.writestr(f"{prefix}0", (LINE * 0).tobytes())
        archive.writestr(f"{prefix}.zarray", json.dumps(v2(LINE)))
        archive.writestr(f"{prefix}.DS_Store", b"?")
        archive.writestr(f"{prefix}0", RAW)
    (tmp_path / "a.zip").write_bytes(kept.getvalue())
    assert xz.open_array(tmp_path / "a.zip", prefix)[...].tolist() == LINE.tolist()


# --- to be refused ---------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, bytes], type[Exception], str]] = [
    ("cut-off JSON", {".zarray": json.dumps(v2(LINE)).encode()[:40]}, xz.MetadataError, "not JSON"),
    ("dtype", as_bytes(**{".zarray": v2(LINE, dtype="<z4")}), xz.UnsupportedError, "<z4"),
    ("order", as_bytes(**{".zarray": v2(LINE, order="K")}), xz.MetadataError, "order"),
    (
        "rank",
        as_bytes(
            **{"zarr.json": v3(LINE, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2, 3]}})}
        ),
        xz.MetadataError,
        "chunk_shape",
    ),
    (
        "transformer",
        as_bytes(**{"zarr.json": v3(LINE, storage_transformers=[{"name": "mirror"}])}),
        xz.UnsupportedError,
        "mirror",
    ),
    ("must be understood", as_bytes(**{"zarr.json": v3(LINE, future={"name": "x"})}), xz.UnsupportedError, "future"),
    ("short chunk", as_bytes(**{".zarray": v2(LINE), "0": RAW[:-1]}), xz.ChunkError, "23 bytes"),
    ("long chunk", as_bytes(**{".zarray": v2(LINE), "0": RAW + b"\0"}), xz.ChunkError, "25 bytes"),
    ("empty chunk", as_bytes(**{".zarray": v2(LINE), "0": b""}), xz.ChunkError, "0 bytes"),
    (
        "index of a shard",
        as_bytes(
            **{"zarr.json": v3(BOARD.T, codecs=[BOARD_OF_SHARDS]), "0.0": BOARD.tobytes() + bytes(36)}
        ),
        xz.ChunkError,
        "crc32c",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "store", "error", "text"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_refused(name: str, store: dict[str, bytes], error: type[Exception], text: str) -> None:
    """What nobody can read is refused with an error of ours that says what; it never reads as fill values."""
    with pytest.raises(error, match=text):
        xz.open_array(store)[...]


@pytest.mark.parametrize("kind", ["bool", "uint8", {"name": "raw_bytes", "configuration": {"length_bytes": 3}}, "int4"])
def test_one_byte_needs_no_byte_order(kind: Any) -> None:
    """The row for bytes without endian is about elements of several bytes only: strict readers take the others."""
    shown = found_quirks({"data_type": kind, "codecs": [named("bytes")], "fill_value": 0}, 3)
    assert "v3-bytes-without-endian" not in {quirk.id for quirk, _ in shown}
