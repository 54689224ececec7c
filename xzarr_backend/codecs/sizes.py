"""Checks of sizes that all codecs share.

Imports base, errors and NumPy. Invariant: nothing is allocated because encoded data say so; a decoder knows how many
bytes it may produce, and raises `ChunkError` when it would be more, or was less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import numpy as np

from ..errors import ChunkError, MetadataError
from ..memory import Bytes1D as Bytes1D
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, wrong_configuration

# bytes: how much a chunk may decode to when nothing but the encoded data tells its size
_most_decoded = ContextVar("_most_decoded", default=1 << 32)


def as_bytes_array(data: Buffer) -> Bytes1D:
    """Return the bytes of ``data`` side by side as a 1-d uint8 array, without copying contiguous memory."""
    if isinstance(data, np.ndarray):
        flat = np.ascontiguousarray(data).reshape(-1)
        return flat if flat.dtype == np.uint8 else flat.view(np.uint8)
    if len(data) == 0:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8)


def as_memory(data: Buffer) -> memoryview:
    """Return the bytes of ``data`` as a flat memoryview, without copying contiguous memory."""
    return memoryview(cast(Any, as_bytes_array(data)))


def nbytes_of(data: Buffer) -> int:
    """Return the number of bytes of a buffer."""
    return len(data) if type(data) is bytes else memoryview(data).nbytes


@contextmanager
def at_most(nbytes: int) -> Iterator[None]:
    """Let no chunk whose size only the encoded data tell decode to more than ``nbytes`` meanwhile."""
    before = _most_decoded.set(nbytes)
    try:
        yield
    finally:
        _most_decoded.reset(before)


def most_decoded(expected: int | None) -> int:
    """Return how many bytes may come out of a decoder: those that are expected, where their number is known."""
    return _most_decoded.get() if expected is None else expected


def wrong_size(codec: str, found: int | str, expected: int | None) -> ChunkError:
    """Return the error for data that decode to, or consist of, another number of bytes than the chunk has, or may."""
    if expected is None:
        hint = "open with a larger max_chunk_bytes to read it"
        return ChunkError(f"{codec} decodes to {found} bytes: the limit is {most_decoded(None)}", hint=hint)
    return ChunkError(f"{codec} decoded to {found} bytes, but the chunk has {expected}")


def check_decoded(codec: str, found: int, expected: int | None) -> None:
    """Raise unless ``found`` bytes are the expected number, or, where that is not known, within the limit."""
    if found != expected and (expected is not None or found > most_decoded(None)):
        raise wrong_size(codec, found, expected)


def number_of_elements(spec: ChunkSpec) -> int:
    """Return how many elements a chunk of ``spec`` has."""
    return math.prod(spec.shape)


def integer(codec: str, configuration: Mapping[str, JSON], member: str, default: int) -> int:
    """Return an integer member of a configuration; null and absence mean the default."""
    value = configuration.get(member)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_configuration(codec, member, f"must be an integer, not {value!r}")
    return value


def need_fixed_size(codec: str, spec: ChunkSpec) -> int:
    """Return the number of bytes of the chunk; raise `MetadataError` for data types of variable length."""
    if spec.nbytes is None:
        raise MetadataError(
            f"codec {codec!r} cannot store the data type {spec.dtype.name!r}: its elements vary in length"
        )
    return spec.nbytes


def bytes_spec(codec: str, spec: Any) -> BytesSpec:
    """Return ``spec`` as what a bytes->bytes codec receives; raise `MetadataError` for a codec in the wrong place."""
    if isinstance(spec, BytesSpec):
        return spec
    raise MetadataError(f"codec {codec!r} works on bytes, but stands where it would receive an array")


def chunk_spec(codec: str, spec: Any) -> ChunkSpec:
    """Return ``spec`` as what an array codec receives; raise `MetadataError` for a codec in the wrong place."""
    if isinstance(spec, ChunkSpec):
        return spec
    raise MetadataError(f"codec {codec!r} works on arrays, but stands where it would receive bytes")
