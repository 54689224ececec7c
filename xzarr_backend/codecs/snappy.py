"""The codec ``snappy``: raw snappy blocks, which ExZarr writes; in Python, so that they can always be read.

Imports base, errors and sizes. Invariant: no copy reaches before the start of the output or past the stated size.
Source: the format description of google/snappy (no framing).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec
from .sizes import as_bytes_array, bytes_spec, check_decoded

LONGEST_LITERAL = 1 << 16


def snappy(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``snappy``; what it writes is valid, but not compressed."""
    spec = bytes_spec("snappy", spec)
    return Codec(store, lambda data: uncompress(data, spec.nbytes), BytesSpec(None, 1))


def uncompress(data: Buffer, expected: int | None = None) -> bytes:
    """Decode one block of ``expected`` bytes; raise `ChunkError` where it is damaged or of another size."""
    source = bytes(as_bytes_array(data))
    size, at = _read_size(source)
    check_decoded("snappy", size, expected)
    out = bytearray()
    while at < len(source):
        tag = source[at]
        if tag & 3 == 0:
            length, at = _literal(source, at)
            out += source[at : at + length]
            at += length
        else:
            length, offset, at = _copy(source, at)
            _repeat(out, offset, length)
        if at > len(source) or len(out) > size:
            raise ChunkError("the snappy data are damaged: an element goes past the end")
    if len(out) != size:
        raise ChunkError(f"the snappy data give {len(out)} bytes, but say {size}")
    return bytes(out)


def _read_size(source: bytes) -> tuple[int, int]:
    size = 0
    for at, byte in enumerate(source[:5]):
        size |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return size, at + 1
    raise ChunkError("the snappy data do not begin with their size")


def _literal(source: bytes, at: int) -> tuple[int, int]:
    """Return the length of a literal and where its bytes begin."""
    length = source[at] >> 2
    if length < 60:
        return length + 1, at + 1
    width = length - 59
    return int.from_bytes(source[at + 1 : at + 1 + width], "little") + 1, at + 1 + width


def _copy(source: bytes, at: int) -> tuple[int, int, int]:
    """Return length and offset of a copy, and where the next element begins."""
    tag = source[at]
    kind = tag & 3
    if kind == 1:
        low = source[at + 1] if at + 1 < len(source) else 0
        return (tag >> 2 & 7) + 4, (tag >> 5) << 8 | low, at + 2
    width = 2 if kind == 2 else 4
    return (tag >> 2) + 1, int.from_bytes(source[at + 1 : at + 1 + width], "little"), at + 1 + width


def _repeat(out: bytearray, offset: int, length: int) -> None:
    """Append ``length`` bytes that stand ``offset`` bytes back; they may overlap with what they make."""
    if not 0 < offset <= len(out):
        raise ChunkError("the snappy data are damaged: a copy from before their start")
    start = len(out) - offset
    pattern = out[start : start + length]
    out += (pattern * (-(-length // len(pattern))))[:length]


def store(data: Buffer) -> bytes:
    """Return ``data`` as a block of literals."""
    source = bytes(as_bytes_array(data))
    parts, size = [], len(source)
    while size >= 0x80:
        parts.append(bytes([size & 0x7F | 0x80]))
        size >>= 7
    parts.append(bytes([size]))
    for start in range(0, len(source), LONGEST_LITERAL):
        literal = source[start : start + LONGEST_LITERAL]
        parts += [b"\xf4", (len(literal) - 1).to_bytes(2, "little"), literal]
    return b"".join(parts)
