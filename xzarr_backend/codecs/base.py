"""What a codec is: a bundle of functions, built once for the chunks it will see.

Imports errors and types only. Invariant: a codec knows its input when it is built (shape, data type, fill value), so
that `encode` and `decode` take data alone and the per-chunk path decides nothing.
Source: Zarr v3 core, "Codecs".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import MetadataError, UnsupportedError
from ..spec import JSON

if TYPE_CHECKING:
    import numpy as np

    from ..dtypes import DataType
    from ..pieces import Pieces

Buffer = Any  # bytes, bytearray, memoryview or a contiguous NumPy array: whatever gives its bytes away

ARRAY_ARRAY = "array->array"
ARRAY_BYTES = "array->bytes"
BYTES_BYTES = "bytes->bytes"
EITHER = "array->array or bytes->bytes"  # numcodecs filters: their place in the chain decides


class ChunkSpec(NamedTuple):
    """An array as a codec receives it when it encodes. ``fill_value`` is a value of ``dtype``, never None."""

    shape: tuple[int, ...]
    dtype: DataType
    fill_value: Any

    @property
    def nbytes(self) -> int | None:
        """The size of the elements side by side, or None for data types of variable length."""
        return None if self.dtype.itemsize is None else math.prod(self.shape) * self.dtype.itemsize


class BytesSpec(NamedTuple):
    """Bytes as a codec receives them when it encodes: their number where it is fixed, and that of one element."""

    nbytes: int | None
    itemsize: int


class Codec(NamedTuple):
    """The functions of one codec for one kind of chunk.

    ``encode``/``decode`` take and return an array or a buffer, as the kind of the codec says. An array handed to
    ``encode`` has the shape and data type of the input spec; ``decode`` returns the same, or Python objects that
    such an array takes by assignment (elements of variable length). A decoded buffer or array may be a read-only view
    of its input.
    ``output`` describes what ``encode`` returns: a `ChunkSpec` for array->array, else a `BytesSpec`.
    ``decode_into(data, out)`` (bytes->bytes only) fills the writable, C-contiguous uint8 array ``out`` exactly, or
    raises; None where the library cannot.
    ``decode_until(data, out, stop)`` (bytes->bytes only) fills at least ``out[:stop]``, where ``out`` has
    the decoded size, without decoding all of it; None where that is no gain.
    ``decode_run(chunks, out)`` (bytes->bytes only) decodes many buffers, each to as many bytes as the spec says, side
    by side into ``out``; it returns False where they must be decoded one by one. None where a call for each is as fast.
    ``decode_pieces(pieces, out)`` does the same with `Pieces` of one memory, where that pays for larger chunks, too.
    ``encode_run(chunks)`` (bytes->bytes only) encodes many chunks, each of as many bytes as the spec says, to one
    buffer each. None likewise. ``encode_on(data, threads)`` (bytes->bytes only) encodes on that many threads of the
    library's own; None where it has none, or the chunks are too small for them.
    ``is_view``: `decode` of a NumPy array returns a view of that memory (``bytes``, ``transpose``), never a copy.
    ``native`` (array->bytes only): such a view has the data type of the spec, byte order included.
    ``order`` (array->array only): the permutation, where the codec does nothing but permute the dimensions; readers
    then permute the selection and views instead of the data.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    output: ChunkSpec | BytesSpec
    decode_into: Callable[[Buffer, np.ndarray[Any, Any]], object] | None = None
    is_view: bool = False
    native: bool = False
    order: tuple[int, ...] | None = None
    decode_until: Callable[[Buffer, np.ndarray[Any, Any], int], object] | None = None
    decode_run: Callable[[Sequence[Buffer], np.ndarray[Any, Any]], bool] | None = None
    decode_pieces: Callable[[Pieces, np.ndarray[Any, Any]], bool] | None = None
    encode_run: Callable[[Sequence[Buffer]], Sequence[Buffer]] | None = None
    encode_on: Callable[[Buffer, int], Buffer] | None = None


class Factory(Protocol):
    """Builds a codec from its configuration and what it will receive; raises `MetadataError` or `UnsupportedError`."""

    def __call__(self, configuration: Mapping[str, JSON], spec: Any, /) -> Codec: ...


def wrong_configuration(codec: str, member: str, problem: str) -> MetadataError:
    """Return the error for a bad ``member`` in the configuration of ``codec``."""
    place = f"{codec}.configuration.{member}"
    return MetadataError(f"wrong configuration of codec {codec!r}: {problem}", problems=[(place, problem)])


def needs_package(codec: str, package: str) -> UnsupportedError:
    """Return the error for a ``codec`` whose library is not installed."""
    return UnsupportedError(
        f"codec {codec!r} needs the package {package!r}, which is not installed", hint=f"try: pip install {package}"
    )
