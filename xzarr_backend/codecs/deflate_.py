"""The codecs ``gzip`` and ``zlib``, over libdeflate where it is installed, else over the standard library.

Imports base, libraries, sizes and the standard library. Invariant: decoding accepts both wrappers under both names
(some writers label one as the other) and never produces more bytes than the chunk has; encoding writes what the name
says.
Which library, and why: docs/adr/0001-codec-libraries.md. Source: Zarr v3, "Gzip codec"; RFC 1950, RFC 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec
from .libraries import optional
from .sizes import as_memory, bytes_spec, check_decoded, integer, most_decoded, wrong_size

GZIP, ZLIB = 31, 15  # window bits, as the standard library spells the two wrappers
EITHER_WRAPPER = 47
GZIP_MAGIC = b"\x1f\x8b"
STEP = 1 << 20  # how much is fed to the decompressor at a time, so that many small members stay cheap


def gzip_codec(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``gzip``; ``level`` 0 to 9 (default 5)."""
    return _deflate_codec("gzip", GZIP, integer("gzip", configuration, "level", 5), spec)


def zlib_codec(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``zlib``; ``level`` -1 to 9 (default 1, as in numcodecs)."""
    return _deflate_codec("zlib", ZLIB, integer("zlib", configuration, "level", 1), spec)


def _deflate_codec(name: str, wrapper: int, level: int, spec: BytesSpec) -> Codec:
    spec = bytes_spec(name, spec)
    return Codec(_encoder(wrapper, level), _decoder(name, spec.nbytes), BytesSpec(None, 1))


def _encoder(wrapper: int, level: int) -> Callable[[Buffer], Buffer]:
    fast = optional("deflate")
    if fast is not None and 1 <= level <= 9:  # the levels that mean the same in both libraries
        compress = fast.gzip_compress if wrapper == GZIP else fast.zlib_compress
        return lambda data: compress(data, level)
    return lambda data: zlib.compress(data, level, wrapper)


def _decoder(name: str, expected: int | None) -> Callable[[Buffer], Buffer]:
    fast = optional("deflate")
    if fast is None or not expected:
        return lambda data: inflate(name, data, expected)
    from_gzip, from_zlib, adler32, failed = fast.gzip_decompress, fast.zlib_decompress, fast.adler32, fast.DeflateError
    trailer = (expected & 0xFFFFFFFF).to_bytes(4, "little")  # gzip ends with its size, zlib with its checksum

    def decode(data: Buffer) -> Any:
        try:
            if bytes(data[:2]) == GZIP_MAGIC:
                decoded = from_gzip(data, expected)
                whole = bytes(data[-4:]) == trailer
            else:
                decoded = from_zlib(data, expected)
                whole = bytes(data[-4:]) == adler32(decoded).to_bytes(4, "big")
        except failed:
            return inflate(name, data, expected)  # several members, or an error that it words better
        return decoded if whole and len(decoded) == expected else inflate(name, data, expected)

    return decode


def inflate(name: str, data: Buffer, expected: int | None) -> bytes:
    """Decode streams one after the other with the standard library; raise `ChunkError` for anything else."""
    limit = most_decoded(expected)
    view = as_memory(data)
    parts: list[bytes] = []
    at = total = 0
    while at < len(view) or not parts:
        if parts and not any(view[at:]):
            break  # zeros behind the last member are padding (RFC 1952 readers agree on that)
        stream = zlib.decompressobj(EITHER_WRAPPER)
        while not stream.eof:
            if at >= len(view):
                raise ChunkError(f"the {name} data are cut short: {len(view)} bytes are not a whole stream")
            piece = view[at : at + STEP]
            part = stream.decompress(piece, limit - total + 1)
            at += len(piece) - len(stream.unused_data) - len(stream.unconsumed_tail)
            total += len(part)
            if total > limit:
                raise wrong_size(name, f"more than {limit}", expected)
            parts.append(part)
    check_decoded(name, total, expected)
    return parts[0] if len(parts) == 1 else b"".join(parts)
