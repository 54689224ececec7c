"""From a chunk's coords to the key it is stored under.

Imports errors only. Invariant: an encoding is compiled once into a function of the coords; that function makes no
other Python call, since it runs for every chunk. Source: Zarr v3 core, "Chunk key encodings"; v2 "Chunks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .errors import MetadataError, UnsupportedError
from .spec import JSON, Named

KeyFunction = Callable[[Sequence[int]], str]


class ChunkKeyEncoding(NamedTuple):
    """``name`` is "default" or "v2", ``separator`` is "/" or "."."""

    name: str
    separator: str


def _compile_default(prefix: str, separator: str, rank: int) -> KeyFunction:
    if rank == 0:
        return lambda coords: prefix + "c"
    template = prefix + "c" + (separator + "%d") * rank
    return lambda coords: template % tuple(coords)


def _compile_v2(prefix: str, separator: str, rank: int) -> KeyFunction:
    if rank == 0:
        return lambda coords: prefix + "0"
    template = prefix + separator.join(["%d"] * rank)
    return lambda coords: template % tuple(coords)


class _Row(NamedTuple):
    separator: str  # where the document names none
    compile: Callable[[str, str, int], KeyFunction]


KEY_ENCODINGS = {"default": _Row("/", _compile_default), "v2": _Row(".", _compile_v2)}


def compile_key(encoding: ChunkKeyEncoding, prefix: str, rank: int) -> KeyFunction:
    """Return the function from coords (``rank`` ints) to the key below ``prefix``, which ends in "/" or is empty."""
    escaped = prefix.replace("%", "%%") if rank else prefix
    return KEY_ENCODINGS[encoding.name].compile(escaped, encoding.separator, rank)


def parse_chunk_key_encoding(document: Named) -> ChunkKeyEncoding:
    """Return the encoding that a v3 document names; raise `MetadataError` or `UnsupportedError`."""
    row = KEY_ENCODINGS.get(document.name)
    if row is None:
        raise UnsupportedError(
            f"chunk key encoding {document.name!r} is not known",
            where="chunk_key_encoding.name",
            hint=f"known are {', '.join(KEY_ENCODINGS)}",
        )
    separator: Any = document.configuration.get("separator", row.separator)
    if separator not in ("/", "."):
        place = "chunk_key_encoding.configuration.separator"
        problem = f'must be "/" or ".", not {separator!r}'
        raise MetadataError(f"wrong chunk key separator: {problem}", where=place, problems=[(place, problem)])
    return ChunkKeyEncoding(document.name, separator)


def format_chunk_key_encoding(encoding: ChunkKeyEncoding) -> JSON:
    """Return the v3 document of ``encoding``."""
    return {"name": encoding.name, "configuration": {"separator": encoding.separator}}
