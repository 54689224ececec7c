"""How ExZarr 1.0.1 reads an array: a strict model, written from what was observed of it, independent of the package.

It looks at documents and chunks by itself, with json and the compression libraries. What ExZarr refuses raises
`Refused`; what it reads wrongly without an error, the model reads wrongly in the same way.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np

V2_TYPES = {
    **{f"{order}{kind}": kind for order in "<>" for kind in "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8 c8 c16 b1".split()},  # noqa: SIM905
    "|i1": "i1",
    "|u1": "u1",
    "|b1": "b1",
}
V3_TYPES = {
    **{f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "f4",
    "float64": "f8",
    "bool": "b1",
    "complex64": "c8",
    "complex128": "c16",
}
V2_MEMBERS = {"chunks", "compressor", "dtype", "fill_value", "filters", "order", "shape", "zarr_format"}
V3_MEMBERS = {"shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "node_type"}
FILTERS = {"delta", "shuffle", "astype", "quantize"}


class Refused(Exception):
    """ExZarr raises an error."""


def _json(path: Path) -> dict[str, Any]:
    def constant(name: str) -> Any:
        raise Refused(f"{name} is no JSON")

    return dict(json.loads(path.read_text("utf-8"), parse_constant=constant))


def read(folder: Path) -> np.ndarray[Any, Any]:
    """Return the values that ExZarr reads from the array in ``folder``; raise `Refused` where it raises."""
    if (folder / "zarr.json").exists():
        return _read_v3(folder, _json(folder / "zarr.json"))
    return _read_v2(folder, _json(folder / ".zarray"))


def open_group(folder: Path) -> None:
    """Raise `Refused` where ExZarr finds no group in ``folder``."""
    if not (folder / ".zgroup").exists() or _json(folder / ".zgroup").get("zarr_format") != 2:
        raise Refused("no .zgroup")


def _read_v2(folder: Path, document: dict[str, Any]) -> np.ndarray[Any, Any]:
    lacking = V2_MEMBERS - set(document)
    if lacking:
        raise Refused(f"no {lacking}")
    if document["dtype"] not in V2_TYPES if isinstance(document["dtype"], str) else True:
        raise Refused(f"dtype {document['dtype']!r}")
    if not document["shape"]:
        raise Refused("rank 0")
    dtype = np.dtype("<" + V2_TYPES[document["dtype"]])  # the byte order is ignored
    compressor = document["compressor"]
    if compressor is not None and compressor["id"] not in ("zlib", "zstd", "blosc"):
        raise Refused(f"compressor {compressor['id']}")

    def decode(raw: bytes) -> bytes:
        if compressor is not None:
            raw = _decompress(compressor["id"], raw)
        for codec in reversed(document["filters"] or []):
            raw = _unfilter(codec, raw)
        return raw

    # the separator and the order are ignored
    return _assemble(folder, document["shape"], document["chunks"], dtype, document["fill_value"], ".", "", decode)


def _unfilter(codec: dict[str, Any], raw: bytes) -> bytes:
    name = codec["id"]
    if name not in FILTERS:
        return raw  # filters that it does not know are passed over
    if name == "delta" and np.dtype(codec.get("astype") or codec["dtype"]) != np.dtype(codec["dtype"]):
        raise Refused("delta with another data type")
    try:
        return np.asarray(numcodecs.get_codec(dict(codec)).decode(raw)).tobytes()
    except ValueError as error:
        raise Refused(str(error)) from error


def _read_v3(folder: Path, document: dict[str, Any]) -> np.ndarray[Any, Any]:
    lacking = V3_MEMBERS - set(document)
    if lacking:
        raise Refused(f"no {lacking}")
    if not isinstance(document["data_type"], str) or document["data_type"] not in V3_TYPES:
        raise Refused(f"data type {document['data_type']!r}")
    grid = document["chunk_grid"]
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise Refused("grid")
    codecs = document["codecs"]
    if not all(isinstance(codec, dict) for codec in codecs):
        raise Refused("a codec that is no object")
    names = [codec["name"] for codec in codecs]
    if names[:1] != ["bytes"] or not {"gzip", "zstd", "blosc", "crc32c"}.issuperset(names[1:]):
        raise Refused(f"codecs {names}")

    def decode(raw: bytes) -> bytes:
        for name in reversed(names[1:]):
            raw = _decompress(name, raw)
        return raw

    dtype = np.dtype("<" + V3_TYPES[document["data_type"]])  # so is the endian of bytes, and the key encoding
    chunks = grid["configuration"]["chunk_shape"]
    return _assemble(folder, document["shape"], chunks, dtype, document["fill_value"], "/", "c", decode)


def _decompress(name: str, raw: bytes) -> bytes:
    try:
        if name in ("zlib", "gzip"):
            reader = zlib.decompressobj(wbits=31 if name == "gzip" else 15)
            found = reader.decompress(raw)
            if not reader.eof:
                raise Refused("cut short")
            return found  # what follows the first member is not looked at
        if name == "zstd":
            return _zstd(raw)
        if name == "blosc" and int.from_bytes(raw[12:16], "little") != len(raw):
            raise Refused("a blosc buffer that is cut short")
        if name == "crc32c":
            return bytes(numcodecs.get_codec({"id": "crc32c", "location": "end"}).decode(raw))
        return bytes(numcodecs.get_codec({"id": name}).decode(raw))
    except (zlib.error, ValueError, RuntimeError) as error:
        raise Refused(str(error)) from error


def _zstd(raw: bytes) -> bytes:
    """Decode a frame that says how long its content is, as RFC 8878 has it."""
    if len(raw) < 6 or struct.unpack_from("<I", raw)[0] != 0xFD2FB528:
        raise Refused("no zstd frame")
    descriptor = raw[4]
    if descriptor >> 6 == 0 and not descriptor & 0x20:
        raise Refused("a zstd frame without its content size")
    return bytes(numcodecs.zstd.decompress(raw))


def _assemble(
    folder: Path, shape: Any, chunks: Any, dtype: np.dtype[Any], fill: Any, separator: str, prefix: str, decode: Any
) -> np.ndarray[Any, Any]:
    found = np.zeros(shape, dtype)
    counts = [math.ceil(size / chunk) if chunk else 0 for size, chunk in zip(shape, chunks, strict=True)]
    for coords in itertools.product(*map(range, counts)):
        numbers = separator.join(map(str, coords))
        path = folder / (f"{prefix}/{numbers}" if prefix and numbers else prefix or numbers)
        place = tuple(slice(at * chunk, (at + 1) * chunk) for at, chunk in zip(coords, chunks, strict=True))
        if not path.is_file():
            if not isinstance(fill, bool | int | float) or not math.isfinite(fill):
                raise Refused(f"fill value {fill!r} for a chunk that is not stored")
            found[place] = fill
            continue
        raw = decode(path.read_bytes())
        if len(raw) != math.prod(chunks) * dtype.itemsize:
            raise Refused(f"a chunk of {len(raw)} bytes")
        values = np.frombuffer(raw, dtype).reshape(chunks)
        target = found[place]
        target[...] = values[tuple(slice(0, size) for size in target.shape)]
    return found


def arrays_in(folder: Path) -> list[Path]:
    """Return the folders of all arrays below ``folder``."""
    v2 = [path.parent for path in folder.rglob(".zarray")]
    v3 = [path.parent for path in folder.rglob("zarr.json") if json.loads(path.read_text())["node_type"] == "array"]
    return sorted(v2 + v3)
