"""Write a small set of stores as ExZarr 1.0.1 writes them, byte by byte.

    python tests/golden/make_exzarr.py FOLDER

Nothing of xzarr_backend and no codec library is used, but for zlib and bz2 of Python: documents are put together as
JSON, chunks as bytes, so that a mistake of the reader cannot hide in a writer of its own. The facts were observed by
running ExZarr (an Elixir library); no data of it are copied.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

JSON = Any
Encode = Callable[[bytes], bytes]


class Made(NamedTuple):
    """One array: where it lies, what its writer meant, and what a reader must know.

    ``rows``: ids of the rows of compat.py that its document shows. ``quirks``: the option that reads it right, None
    where no option is needed. ``otherwise``: what happens without it, "values" (the same), "other" (something else,
    because nothing in the store tells), or "error". ``readable``: False where the option refuses it.
    """

    store: str
    values: Any
    rows: tuple[str, ...] = ()
    quirks: str | None = None
    otherwise: str = "values"
    path: str = ""
    readable: bool = True


# --- codecs, by hand -------------------------------------------------------------------------------------------------


def raw(data: bytes) -> bytes:
    """No compressor."""
    return data


def zlib_(data: bytes) -> bytes:
    """ExZarr's default in v2."""
    return zlib.compress(data, 5)


def gzip_(data: bytes) -> bytes:
    """One member, as Erlang's zlib makes it."""
    return gzip.compress(data, 5, mtime=0)


def bzip2(data: bytes) -> bytes:
    """The size as u64, then a bzip2 stream."""
    return struct.pack("<Q", len(data)) + bz2.compress(data)


def lz4(data: bytes) -> bytes:
    """The size as u64 (numcodecs: u32), then a block; this one holds a single run of literals."""
    more, rest = divmod(max(len(data) - 15, 0), 255)
    token = bytes([min(len(data), 15) << 4])
    length = b"\xff" * more + bytes([rest]) if len(data) >= 15 else b""
    return struct.pack("<Q", len(data)) + token + length + data


def snappy(data: bytes) -> bytes:
    """A raw block, without the framing of snappy files: the size as a varint, then literals of up to 60 bytes."""
    size, rest = b"", len(data)
    while rest >= 0x80:
        size, rest = size + bytes([rest & 0x7F | 0x80]), rest >> 7
    pieces = [data[at : at + 60] for at in range(0, len(data), 60)]
    return size + bytes([rest]) + b"".join(bytes([len(piece) - 1 << 2]) + piece for piece in pieces)


def zstd(data: bytes) -> bytes:
    """A frame with its content size (4 bytes) and one block that is not compressed."""
    block = struct.pack("<I", len(data) << 3 | 1)[:3] + data
    return struct.pack("<IBI", 0xFD2FB528, 0b1010_0000, len(data)) + block


def blosc(data: bytes) -> bytes:
    """A header of 16 bytes that says "stored as it is", and the data."""
    return struct.pack("<BBBBIII", 2, 1, 2, 4, len(data), max(len(data), 1), len(data) + 16) + data


def crc32c_of(data: bytes) -> int:
    """The Castagnoli checksum, one bit after the other."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc32c(data: bytes) -> bytes:
    """The data, then their checksum."""
    return data + struct.pack("<I", crc32c_of(data))


def shuffle(data: bytes, size: int) -> bytes:
    """The first bytes of all elements, then the second bytes, and so on."""
    return np.frombuffer(data, "u1").reshape(-1, size).T.tobytes()


def delta(data: bytes, dtype: str) -> bytes:
    """The first element, then differences."""
    values = np.frombuffer(data, dtype)
    return np.diff(values, prepend=values.dtype.type(0)).astype(dtype).tobytes()


# --- stores ----------------------------------------------------------------------------------------------------------


def document_bytes(document: JSON) -> bytes:
    """JSON with sorted keys and indents."""
    return json.dumps(document, indent=2, sort_keys=True).encode()


def v2_document(values: Any, chunks: Sequence[int], compressor: str | None = "zlib", **changed: JSON) -> JSON:
    """The eight members that ExZarr writes; every compressor has a level, whether it knows one or not."""
    return {
        "chunks": list(chunks),
        "compressor": None if compressor is None else {"id": compressor, "level": 5},
        "dtype": values.dtype.str,
        "fill_value": 0,
        "filters": None,
        "order": "C",
        "shape": list(values.shape),
        "zarr_format": 2,
        **changed,
    }


def v3_document(values: Any, chunks: Sequence[int], codecs: Sequence[Any], **changed: JSON) -> JSON:
    """The members that ExZarr writes; ``codecs`` are names, or pairs of a name and a configuration."""
    return {
        "attributes": {},
        "chunk_grid": {"configuration": {"chunk_shape": list(chunks)}, "name": "regular"},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [codec(item) for item in codecs],
        "data_type": values.dtype.name,
        "dimension_names": None,
        "fill_value": 0,
        "node_type": "array",
        "shape": list(values.shape),
        "zarr_format": 3,
        **changed,
    }


def codec(item: Any) -> JSON:
    """A v3 codec."""
    name, configuration = (item, {}) if isinstance(item, str) else item
    return {"configuration": configuration, "name": name}


LITTLE = ("bytes", {"endian": "little"})


def pieces_of(values: Any, chunks: Sequence[int]) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Yield the coordinates and the raw bytes of every chunk, padded at the edges with zeros, in C order."""
    counts = [math.ceil(length / chunk) for length, chunk in zip(values.shape, chunks, strict=True)]
    for coords in itertools.product(*map(range, counts)):
        begins = [at * chunk for at, chunk in zip(coords, chunks, strict=True)]
        part = values[tuple(slice(begin, begin + chunk) for begin, chunk in zip(begins, chunks, strict=True))]
        padded = np.zeros(chunks, values.dtype)
        padded[tuple(map(slice, part.shape))] = part
        yield coords, padded.tobytes()


def store_v2(folder: Path, values: Any, chunks: Sequence[int], document: JSON, encode: Encode) -> None:
    """Write a v2 array: its document, its chunks, and the empty lock files that stay behind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zarray").write_bytes(document_bytes(document))
    for coords, data in pieces_of(values, chunks):
        name = ".".join(map(str, coords))
        (folder / name).write_bytes(encode(data))
        (folder / f"{name}.lock").touch()
        (folder / f"{name}.lock.read").touch()


def store_v3(folder: Path, values: Any, chunks: Sequence[int], document: JSON, encode: Encode) -> None:
    """Write a v3 array: chunks below "c", with lock files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_bytes(document_bytes(document))
    for coords, data in pieces_of(values, chunks):
        put_chunk(folder, coords, encode(data))


def put_chunk(folder: Path, coords: Sequence[int], data: bytes) -> None:
    """Write a v3 chunk and its lock file."""
    path = folder.joinpath("c", *map(str, coords))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_name(f"{path.name}.lock.read").touch()


# --- arrays of v2 ----------------------------------------------------------------------------------------------------

GRID = np.arange(35, dtype="<i4").reshape(7, 5) * 3 - 20
LINE = np.arange(11, dtype="<i4") * 1000 - 7
REALS = np.round(np.linspace(-3, 9, 11), 2)
MICROSECONDS = np.array([0, 1, 1_700_000_000_000_000, -86_400_000_000, 5], "<i8")


def arrays_v2(folder: Path) -> Iterator[Made]:
    """Write the arrays that need no more than a document and one codec; edge chunks are padded."""
    compressors: dict[str, Encode] = {
        "zlib": zlib_, "zstd": zstd, "blosc": blosc, "lz4": lz4, "bzip2": bzip2, "snappy": snappy, "crc32c": crc32c
    }  # fmt: skip
    for name, encode in compressors.items():
        store_v2(folder / f"v2_{name}", GRID, (3, 2), v2_document(GRID, (3, 2), name), encode)
        yield Made(f"v2_{name}", GRID, (f"v2-{name}",) if name in ("bzip2", "snappy") else ())
    for letter in ("u", "i"):
        values = np.arange(11, dtype=f"{letter}1")
        document = v2_document(values, (4,), dtype=f"<{letter}1")
        store_v2(folder / f"v2_{letter}1", values, (4,), document, zlib_)
        yield Made(f"v2_{letter}1", values, ("v2-byte-order-of-one-byte",))
    for name, values in {
        "bool": LINE % 3 == 0,
        "complex64": (LINE + 2j * LINE).astype("<c8"),
        "complex128": (LINE - 1j * LINE).astype("<c16"),
    }.items():
        store_v2(folder / f"v2_{name}", values, (4,), v2_document(values, (4,)), zlib_)
        yield Made(f"v2_{name}", values)
    for letter in ("M", "m"):
        values = MICROSECONDS.view(f"<{letter}8[us]")
        store_v2(folder / f"v2_{letter}8", values, (2,), v2_document(values, (2,), dtype=f"<{letter}8"), zlib_)
        yield Made(f"v2_{letter}8", values, ("v2-time-without-unit",))
    yield _missing_chunks(folder)


def _missing_chunks(folder: Path) -> Made:
    """A fill value given as an atom, and only one chunk stored."""
    values = np.full(9, np.nan)
    values[3:6] = [1.5, np.nan, 2.5]
    document = v2_document(values, (3,), fill_value="nan")
    store_v2(folder / "v2_nan", values, (3,), document, zlib_)
    for name in ("0", "2"):
        (folder / "v2_nan" / name).unlink()
    return Made("v2_nan", values)


def filters_v2(folder: Path) -> Iterator[Made]:
    """Write the filters; some mean something else than their names say."""

    def stored(name: str, values: Any, configuration: JSON, encode: Encode, *about: Any) -> Made:
        document = v2_document(values, (4,), filters=[{"id": name, **configuration}])
        store_v2(folder / f"v2_{name}", values, (4,), document, lambda data: zlib_(encode(data)))
        return Made(f"v2_{name}", values, *about)

    yield stored("delta", LINE, {"dtype": "<i4"}, lambda data: delta(data, "<i4"))
    yield stored("shuffle", LINE, {"elementsize": 4}, lambda data: shuffle(data, 4))
    yield stored("quantize", np.round(REALS * 4) / 4, {"digits": 2, "dtype": "<f8"}, raw)
    yield stored(
        "astype",
        REALS.astype("f4").astype("f8"),
        {"encode_dtype": "<f4", "decode_dtype": "<f8"},
        lambda data: np.frombuffer(data).astype("<f4").tobytes(),
    )
    yield stored(
        "fixedscaleoffset",
        np.arange(11) * 0.5 + 10,
        {"astype": "<i4", "dtype": "<f8", "offset": 10, "scale": 0.5},
        lambda data: np.around((np.frombuffer(data) - 10) / 0.5).astype("<i4").tobytes(),
        ("exzarr-fixedscaleoffset",),
        "exzarr",
        "other",
    )
    yield stored("packbits", LINE % 3 == 0, {}, raw, ("exzarr-packbits",), "exzarr", "error")
    # what is stored without the option is read; with it, one is told that it is not what was given to ExZarr
    bitround = stored("bitround", REALS.astype("<f4"), {"keepbits": 10}, raw, ("exzarr-bitround",), "exzarr")
    yield bitround._replace(readable=False)
    labels = {"labels": ["a", "b"], "dtype": "<i4"}
    yield stored("categorize", LINE, labels, raw, ("exzarr-categorize",), "exzarr", "error")


def order_v2(folder: Path) -> Iterator[Made]:
    """Write an array whose document says F, with the bytes in C order."""
    store_v2(folder / "v2_order", GRID, (3, 2), v2_document(GRID, (3, 2), order="F"), zlib_)
    yield Made("v2_order", GRID, ("exzarr-order",), "exzarr", "other")


# --- arrays of v3 ----------------------------------------------------------------------------------------------------


def arrays_v3(folder: Path) -> Iterator[Made]:
    """Write what ExZarr makes without being told codecs, and its way with each compressor."""
    without = ("v3-bytes-without-endian",)
    chains: dict[str, tuple[list[Any], Encode, tuple[str, ...]]] = {
        "default": (["bytes", ("zstd", {"level": 5})], zstd, without),
        "gzip": (["bytes", "gzip"], gzip_, without),
        "gzip_that_is_zlib": (["bytes", ("gzip", {"level": 5})], zlib_, without),
        "blosc": ([LITTLE, "blosc"], blosc, ()),
        "zstd": ([LITTLE, "zstd"], zstd, ()),
        "lz4": (["bytes", "lz4"], lz4, (*without, "v3-unprefixed-numcodecs")),
        "bz2": ([LITTLE, "bz2"], bzip2, ("v3-unprefixed-numcodecs",)),
        "crc32c": ([LITTLE, ("gzip", {"level": 5}), "crc32c"], lambda data: crc32c(gzip_(data)), ()),
    }
    for name, (codecs, encode, rows) in chains.items():
        store_v3(folder / f"v3_{name}", GRID, (3, 2), v3_document(GRID, (3, 2), codecs), encode)
        yield Made(f"v3_{name}", GRID, rows)
    for name, values in {"bool": LINE % 3 == 0, "complex64": (LINE + 2j * LINE).astype("<c8")}.items():
        store_v3(folder / f"v3_{name}", values, (4,), v3_document(values, (4,), [LITTLE]), raw)
        yield Made(f"v3_{name}", values)
    for letter, name in (("M", "datetime64"), ("m", "timedelta64")):
        values = MICROSECONDS.view(f"<{letter}8[us]")
        document = v3_document(values, (2,), [LITTLE, ("gzip", {"level": 5})], data_type=name)
        store_v3(folder / f"v3_{name}", values, (2,), document, gzip_)
        yield Made(f"v3_{name}", values, ("v3-time-names",))


def filters_v3(folder: Path) -> Iterator[Made]:
    """Write codecs before ``bytes``, with names that no specification knows."""

    def stored(name: str, values: Any, configuration: JSON, encode: Encode, *about: Any) -> Made:
        document = v3_document(values, (4,), [(name, configuration), LITTLE, ("gzip", {"level": 5})])
        store_v3(folder / f"v3_{name}", values, (4,), document, lambda data: gzip_(encode(data)))
        return Made(f"v3_{name}", values, *about)

    unprefixed = ("v3-unprefixed-numcodecs",)
    yield stored("shuffle", LINE, {"elementsize": 4}, lambda data: shuffle(data, 4), unprefixed)
    yield stored(
        "quantize",
        np.arange(11) * 0.25 + 1,
        {"dtype": "int16", "offset": 1.0, "scale": 0.25},
        lambda data: np.around((np.frombuffer(data) - 1) / 0.25).astype("<i2").tobytes(),
        unprefixed,
    )
    yield stored("bitround", REALS.astype("<f4"), {"keepbits": 10}, raw)  # what is stored is rounded: it stays so
    yield stored("delta", LINE, {"dtype": "int32"}, raw, ("exzarr-delta",), "exzarr", "error")
    store_v3(folder / "v3_big", LINE, (4,), v3_document(LINE, (4,), [("bytes", {"endian": "big"})]), raw)
    yield Made("v3_big", LINE, ("exzarr-big-endian",), "exzarr", "other")


def irregular_v3(folder: Path) -> Iterator[Made]:
    """Write chunks of lengths of their own; they are not padded."""
    sizes = [[3, 4], [1, 4]]
    grid = {"configuration": {"chunk_sizes": sizes}, "name": "irregular"}
    target = folder / "v3_irregular"
    target.mkdir(parents=True)
    (target / "zarr.json").write_bytes(document_bytes(v3_document(GRID, (1, 1), [LITTLE], chunk_grid=grid)))
    for i, j in itertools.product(range(2), range(2)):
        part = GRID[slice(0, 3) if i == 0 else slice(3, 7), slice(0, 1) if j == 0 else slice(1, 5)]
        put_chunk(target, (i, j), part.tobytes())
    yield Made("v3_irregular", GRID, ("v3-irregular",))


# --- shards of ExZarr's own ------------------------------------------------------------------------------------------


def shard(pieces: Sequence[tuple[tuple[int, ...], bytes]], at_start: bool) -> bytes:
    """Return [chunks][index][u64 length of the index]; at the start: [u64 length][index][chunks]."""
    rank, offset, entries = len(pieces[0][0]), 0, []
    for _, data in pieces:
        entries.append(struct.pack("<QQ", offset, len(data)))
        offset += len(data)
    places = [struct.pack(f"<I{rank}i", rank, *coords) for coords, _ in pieces]
    index = crc32c(struct.pack("<I", len(pieces)) + b"".join(places) + b"".join(entries))
    data, length = b"".join(data for _, data in pieces), struct.pack("<Q", len(index))
    return length + index + data if at_start else data + index + length


def shards_v3(folder: Path) -> Iterator[Made]:
    """Write shards; the grid tells the inner chunks, the codec how many of them make a shard, and codecs act twice."""
    chains: dict[str, tuple[list[Any], Encode, bool, tuple[int, int]]] = {
        "end": ([LITTLE], raw, False, (2, 2)),
        "start": ([LITTLE], raw, True, (2, 2)),
        "zstd": (["bytes", ("zstd", {"level": 5})], lambda data: zstd(zstd(data)), False, (2, 2)),
        "uneven": ([LITTLE], raw, False, (2, 3)),  # read as the specification says, two do not divide three
        "big": ([("bytes", {"endian": "big"})], raw, False, (2, 2)),  # the bytes stay little-endian in shards too
    }
    for name, (codecs, encode, at_start, chunks) in chains.items():
        configuration = {
            "chunk_shape": [2, 2],
            "codecs": [codec(item) for item in codecs],
            "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
            "index_location": "start" if at_start else "end",
        }
        values = np.arange(48, dtype="<i4").reshape(6, 8) + 1
        document = v3_document(values, chunks, [("sharding_indexed", configuration)])
        values[2:4, chunks[1] : 2 * chunks[1]] = 0  # an inner chunk that is not stored
        target = folder / f"v3_shards_{name}"
        target.mkdir(parents=True)
        (target / "zarr.json").write_bytes(document_bytes(document))
        for coords, pieces in _by_shard(values, chunks, encode).items():
            put_chunk(target, coords, shard(pieces, at_start))
        big = ("exzarr-big-endian",) if name == "big" else ()
        yield Made(f"v3_shards_{name}", values, ("exzarr-shards", *big), "exzarr", "error")


def _by_shard(
    values: Any, chunks: Sequence[int], encode: Encode
) -> dict[tuple[int, ...], list[tuple[tuple[int, ...], bytes]]]:
    found: dict[tuple[int, ...], list[tuple[tuple[int, ...], bytes]]] = {}
    for coords, data in pieces_of(values, chunks):
        if any(data):
            found.setdefault(tuple(at // 2 for at in coords), []).append((coords, encode(data)))
    return found


# --- groups and archives ---------------------------------------------------------------------------------------------


def groups(folder: Path) -> Iterator[Made]:
    """Write a group with v3 arrays: ExZarr marks groups with .zgroup whatever lies in them."""
    root, codecs = folder / "group", [LITTLE, ("gzip", {"level": 5})]
    named = v3_document(GRID, (3, 2), codecs, dimension_names=["y", "x"], attributes={"units": "K"})
    plain = v3_document(LINE, (4,), codecs)
    store_v3(root / "temperature", GRID, (3, 2), named, gzip_)
    store_v3(root / "sub" / "counts", LINE, (4,), plain, gzip_)
    for group in (root, root / "sub"):
        (group / ".zgroup").write_bytes(document_bytes({"zarr_format": 2}))
    members = {
        ".zgroup": {"zarr_format": 2},
        "sub/.zgroup": {"zarr_format": 2},
        "sub/counts/zarr.json": plain,
        "temperature/zarr.json": named,
    }
    consolidated = {"zarr_consolidated_format": 1, "metadata": members}
    (root / ".zmetadata").write_bytes(document_bytes(consolidated))
    yield Made("group", GRID, path="temperature")
    yield Made("group", LINE, path="sub/counts")


def archives(folder: Path) -> Iterator[Made]:
    """Write folders that hold nothing but an archive; a v3 document has the name and the keys of v2 there."""
    documents = {
        "zip_v2": (v2_document(GRID, (3, 2)), zlib_, ()),
        "zip_v3": (v3_document(GRID, (3, 2), [LITTLE, ("gzip", {"level": 5})]), gzip_, ("v2-v3-document",)),
    }
    for name, (document, encode, rows) in documents.items():
        (folder / name).mkdir(parents=True)
        with zipfile.ZipFile(folder / name / "array.zip", "w") as archive:
            archive.writestr(".zarray", document_bytes(document))
            for coords, data in pieces_of(GRID, (3, 2)):
                archive.writestr(".".join(map(str, coords)), encode(data))
        yield Made(name, GRID, rows)


MAKERS = (arrays_v2, filters_v2, order_v2, arrays_v3, filters_v3, irregular_v3, shards_v3, groups, archives)


def make(folder: Path) -> list[Made]:
    """Write every store below ``folder`` and return what was written."""
    return [made for maker in MAKERS for made in maker(folder)]


if __name__ == "__main__":
    for made in make(Path(sys.argv[1])):
        option = f"  (quirks={made.quirks!r})" if made.quirks else ""
        print(
            f"{'/'.join(filter(None, (made.store, made.path))):26}{made.values.dtype!s:18}{made.values.shape}{option}"
        )
