"""Codecs: what turns a chunk into bytes and back.

Invariant: importing this package loads no codec library (not even numcodecs); a row loads when it is first used.
"""

from __future__ import annotations

from .base import ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, EITHER, BytesSpec, ChunkSpec, Codec
from .registry import ResolvedRow, available_codecs, codec_available, lookup, register_codec
from .table import CODECS, Row

__all__ = [
    "ARRAY_ARRAY",
    "ARRAY_BYTES",
    "BYTES_BYTES",
    "CODECS",
    "EITHER",
    "BytesSpec",
    "ChunkSpec",
    "Codec",
    "ResolvedRow",
    "Row",
    "available_codecs",
    "codec_available",
    "lookup",
    "register_codec",
]
