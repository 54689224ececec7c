"""The codecs ``lz4``, ``bz2``, ``lzma`` and ``base64``.

Imports base, libraries, sizes and the standard library. Invariant: streams are decoded piece by piece, so that one
which would give more bytes than the chunk has stops there; forms of ExZarr are read and never written.
Source: numcodecs; the raw lz4 block and bzip2 formats.
"""

from __future__ import annotations

import binascii
import bz2
import lzma
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import Bytes1D, as_bytes_array, bytes_spec, check_decoded, integer, most_decoded, wrong_size

MEMORY_LIMIT = 1 << 30  # bytes: what the headers of lzma data may make the decompressor allocate
ZEROS = bytes(4)
NOTHING = bytes(5)  # what numcodecs makes of no bytes, and refuses to decode


def lz4(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``lz4``: a block behind its decoded size as u32; ``acceleration`` (default 1)."""
    spec = bytes_spec("lz4", spec)
    library = required("lz4", "numcodecs", "numcodecs.lz4")
    compress, decompress = library.compress, library.decompress
    acceleration, expected = integer("lz4", configuration, "acceleration", 1), spec.nbytes

    def decode(data: Buffer) -> Any:
        if len(data) == 5 and bytes(data) == NOTHING:
            check_decoded("lz4", 0, expected)
            return b""
        return decompress(_lz4_block(data, expected))

    def decode_into(data: Buffer, out: Bytes1D) -> None:
        decompress(_lz4_block(data, out.nbytes), out)

    return Codec(lambda data: compress(data, acceleration), decode, BytesSpec(None, 1), decode_into)


def _lz4_block(data: Buffer, expected: int | None) -> Buffer:
    """Check the stated size, and turn the form of ExZarr (u64 size) into that of numcodecs.

    No block begins with four zero bytes: that would be a match at offset 0.
    """
    check_decoded("lz4", int.from_bytes(data[:4], "little"), expected)
    if len(data) > 8 and bytes(data[4:8]) == ZEROS:
        return b"".join((data[:4], data[8:]))
    return data


def bz2_codec(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``bz2`` (ExZarr's ``bzip2``, which puts the decoded size as u64 in front); ``level`` 1 to 9 (default 1)."""
    spec = bytes_spec("bz2", spec)
    level, expected = integer("bz2", configuration, "level", 1), spec.nbytes

    def decode(data: Buffer) -> bytes:
        prefixed = bytes(data[:3]) != b"BZh" and bytes(data[8:11]) == b"BZh"
        return drain("bz2", bz2.BZ2Decompressor, data[8:] if prefixed else data, expected)

    return Codec(lambda data: bz2.compress(data, level), decode, BytesSpec(None, 1))


def lzma_codec(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``lzma``; ``format``, ``check``, ``preset``, ``filters`` as in the standard library."""
    spec = bytes_spec("lzma", spec)
    kind = integer("lzma", configuration, "format", lzma.FORMAT_XZ)
    filters = _lzma_filters(configuration.get("filters"))
    given: dict[str, Any] = {"format": kind, "check": integer("lzma", configuration, "check", -1)}
    given |= {"preset": configuration.get("preset"), "filters": filters}
    raw = kind == lzma.FORMAT_RAW
    if raw and filters is None:
        raise wrong_configuration("lzma", "filters", "are needed for raw streams")

    def start() -> lzma.LZMADecompressor:
        # only a raw stream needs to be told its filters, and only others can be given a limit
        if raw:
            return lzma.LZMADecompressor(kind, filters=filters)
        return lzma.LZMADecompressor(kind, memlimit=MEMORY_LIMIT)

    def decode(data: Buffer) -> bytes:
        return drain("lzma", start, data, spec.nbytes)

    return Codec(lambda data: lzma.compress(data, **given), decode, BytesSpec(None, 1))


def _lzma_filters(filters: JSON) -> list[dict[str, Any]] | None:
    if filters is None:
        return None
    if not isinstance(filters, list) or not all(isinstance(item, Mapping) and "id" in item for item in filters):
        raise wrong_configuration("lzma", "filters", f"must be a list of filters with an id, not {filters!r}")
    for item in filters:
        size = item.get("dict_size", 0)
        if not isinstance(size, int) or size > MEMORY_LIMIT:
            raise wrong_configuration("lzma", "filters", f"ask for a dictionary of {size!r} bytes")
    return [dict(item) for item in filters] or None


def drain(name: str, start: Callable[[], Any], data: Buffer, expected: int | None) -> bytes:
    """Decode streams one after the other, up to ``expected`` bytes; raise `ChunkError` for anything else."""
    limit = most_decoded(expected)
    rest, total = bytes(as_bytes_array(data)), 0
    parts: list[bytes] = []
    while rest.strip(b"\0") or not parts:  # zeros behind the last stream are padding
        stream = start()
        while not stream.eof:
            part = stream.decompress(rest, limit - total + 1)
            rest = b""
            total += len(part)
            if total > limit:
                raise wrong_size(name, f"more than {limit}", expected)
            if not part and not stream.eof:
                raise ChunkError(f"the {name} data are cut short: {len(data)} bytes are not a whole stream")
            parts.append(part)
        rest = stream.unused_data
    check_decoded(name, total, expected)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def base64_codec(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``base64``: the standard alphabet, no line breaks."""
    spec = bytes_spec("base64", spec)
    nbytes, expected = None if spec.nbytes is None else -(-spec.nbytes // 3) * 4, spec.nbytes

    def decode(data: Buffer) -> bytes:
        decoded = binascii.a2b_base64(data, strict_mode=True)
        check_decoded("base64", len(decoded), expected)
        return decoded

    return Codec(lambda data: binascii.b2a_base64(data, newline=False), decode, BytesSpec(nbytes, 1))
