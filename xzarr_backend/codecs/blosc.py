"""The codec ``blosc``, over numcodecs, whose own choice of threads is left alone.

Imports base, libraries, sizes and NumPy. Invariant: the sizes in the header of a chunk are compared with the chunk
and with the data before the library, which does not check them, sees either.
Why not blosc2: docs/adr/0001-codec-libraries.md. Source: Zarr v3, "Blosc codec"; the header of c-blosc 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import MAX_DECODED, Bytes1D, bytes_spec, integer, wrong_size

SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
NAMES = ("lz4", "lz4hc", "blosclz", "snappy", "zlib", "zstd")
SMALL = 128 * 1024  # bytes: up to here, what the library does to look at memory given to it costs more than a copy
_header = Struct("<4xI4xI").unpack_from  # decoded size, encoded size


def blosc(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``blosc``; ``cname``, ``clevel``, ``shuffle`` (v3 names or v2 numbers), ``typesize``, ``blocksize``."""
    spec = bytes_spec("blosc", spec)
    library = required("blosc", "numcodecs", "numcodecs.blosc")
    compress, decompress = library.compress, library.decompress
    arguments = _arguments(configuration, spec)
    expected = spec.nbytes

    def encode(data: Buffer) -> Any:
        return compress(data, *arguments)

    def decode(data: Buffer) -> Any:
        decoded, encoded = _header(data)
        if encoded != len(data) or decoded != expected:
            _check(decoded, encoded, len(data), expected)
        return decompress(data) if decoded else b""  # the library refuses frames of nothing

    def decode_into(data: Buffer, out: Bytes1D) -> None:
        decoded, encoded = _header(data)
        if encoded != len(data) or decoded != out.nbytes:
            _check(decoded, encoded, len(data), out.nbytes)
        decompress(data, out)

    small = expected is not None and expected <= SMALL
    return Codec(encode, decode, BytesSpec(None, 1), None if small else decode_into)


def _check(decoded: int, encoded: int, length: int, expected: int | None) -> None:
    if encoded != length:
        raise ChunkError(f"the blosc data have {length} bytes, but their header says {encoded}")
    if expected is not None or decoded > MAX_DECODED:
        raise wrong_size("blosc", decoded, expected)


def _arguments(configuration: Mapping[str, JSON], spec: BytesSpec) -> tuple[bytes, int, int, int, int]:
    """Return what numcodecs wants: name, level, shuffle, block size, type size."""
    name = configuration.get("cname") or "lz4"
    if name not in NAMES:
        raise wrong_configuration("blosc", "cname", f"must be one of {', '.join(NAMES)}, not {name!r}")
    typesize = integer("blosc", configuration, "typesize", spec.itemsize)
    shuffle = configuration.get("shuffle")
    if shuffle is None:
        shuffle = 2 if typesize == 1 else 1
    elif isinstance(shuffle, str):
        if shuffle not in SHUFFLES:
            raise wrong_configuration("blosc", "shuffle", f"must be one of {', '.join(SHUFFLES)}, not {shuffle!r}")
        shuffle = SHUFFLES[shuffle]
    else:
        shuffle = integer("blosc", configuration, "shuffle", 1)
    level = integer("blosc", configuration, "clevel", 5)
    return name.encode(), level, shuffle, integer("blosc", configuration, "blocksize", 0), typesize
