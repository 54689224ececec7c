"""The codecs of elements that vary in length: ``vlen-utf8``, ``vlen-bytes``, ``vlen-array``.

Imports base, libraries, sizes, memory and NumPy. Invariant: the count and every length are checked against the chunk
and the data before they are used. A chunk is ``u32 count, count x (u32 nbytes, bytes)``, little-endian.
Source: zarr-extensions, "vlen-utf8" and "vlen-bytes"; numcodecs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from struct import Struct, error
from typing import Any

import numpy as np

from ..errors import ChunkError, MetadataError
from ..memory import decoded_buffer
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import Bytes1D, as_bytes_array, check_decoded, chunk_spec, number_of_elements

_MARK = os.urandom(16).hex()  # behind the last element of a chunk while it is decoded
_u32 = Struct("<I")
_read, _write = _u32.unpack_from, _u32.pack
_END = np.frombuffer(_write(len(_MARK)) + _MARK.encode(), np.uint8)


def vlen_utf8(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``vlen-utf8``: decodes to an array of str objects, whatever the data type.

    Placing them makes the strings of NumPy's own type out of them; an array of those in between would be one copy more
    (benchmark: strings).
    """
    spec = _variable("vlen-utf8", spec)
    shape, count = spec.shape, number_of_elements(spec)

    def decode(raw: Buffer) -> Any:
        return _split("vlen-utf8", as_bytes_array(raw), count, _MARK).reshape(shape)

    return Codec(lambda array: _join(map(_utf8, array.ravel().tolist())), decode, BytesSpec(None, 1))


def vlen_bytes(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``vlen-bytes``: decodes to an array of bytes objects."""
    spec = _variable("vlen-bytes", spec)
    shape, count = spec.shape, number_of_elements(spec)

    def decode(raw: Buffer) -> Any:
        return _split("vlen-bytes", as_bytes_array(raw), count, _MARK.encode()).reshape(shape)

    return Codec(lambda array: _join(map(_bytes, array.ravel().tolist())), decode, BytesSpec(None, 1))


def vlen_array(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``vlen-array``: decodes to an object array of 1-d arrays of the configured ``dtype``."""
    spec = _variable("vlen-array", spec)
    try:
        element = np.dtype(configuration.get("dtype"))
    except (TypeError, ValueError) as problem:
        raise wrong_configuration("vlen-array", "dtype", f"is no data type: {problem}") from problem
    if configuration.get("dtype") is None or element.hasobject or not element.itemsize:
        raise wrong_configuration("vlen-array", "dtype", "must be a data type of fixed size")
    shape, count = spec.shape, number_of_elements(spec)

    def decode(raw: Buffer) -> Any:
        data = bytes(as_bytes_array(raw))
        return _as_array([_elements(data[i:j], element) for i, j in _spans(data, count)], np.dtype(object), shape)

    def one(value: Any) -> bytes:
        if _is_missing(value):
            return b""
        return np.ascontiguousarray(value, element).tobytes()

    # not tolist(), which would take the elements apart where all are of one length
    return Codec(lambda array: _join(one(value) for value in array.flat), decode, BytesSpec(None, 1))


def _elements(data: bytes, dtype: np.dtype[Any]) -> Any:
    return np.frombuffer(data, dtype) if data else np.empty(0, dtype)


def _variable(name: str, spec: ChunkSpec) -> ChunkSpec:
    spec = chunk_spec(name, spec)
    if spec.dtype.itemsize is not None:
        raise MetadataError(
            f"codec {name!r} cannot store the data type {spec.dtype.name!r}: its elements have one length"
        )
    return spec


@cache
def _library(name: str) -> Any:
    """Return what splits elements in compiled code; it is imported when the first chunk is decoded."""
    module = required(name, "numcodecs", "numcodecs.vlen")
    return (module.VLenUTF8 if name == "vlen-utf8" else module.VLenBytes)()


def _split(name: str, data: Bytes1D, count: int, mark: str | bytes) -> Any:
    """Return an object array of the ``count`` elements; raise `ChunkError` unless they fill ``data``.

    The library does not tell where they end. One more element behind them does, which a stranger cannot know: it is
    found where they end with the data, and nowhere else (rows ``strings`` and ``strings2`` of the benchmark). Both are
    put together in memory that the thread reuses, as for decoded chunks.
    """
    _check_start(data, count)
    stop = max(len(data), 4)
    marked = decoded_buffer(stop + len(_END))
    marked[:4] = np.frombuffer(_write(count + 1), np.uint8)
    marked[4:stop] = data[4:]
    marked[stop:] = _END
    try:
        values = _library(name).decode(marked)
        if values[count] == mark:
            return values[:count]
    except UnicodeDecodeError as problem:
        _spans(bytes(data), count)  # unless the elements do not even lie within the data
        raise ChunkError(f"an element is no text in UTF-8: {problem}") from problem
    except ValueError:
        pass
    _spans(bytes(data), count)
    raise ChunkError("the elements of variable length do not fill the chunk")


def _spans(data: bytes, count: int) -> list[tuple[int, int]]:
    """Return where each of ``count`` elements starts and stops; raise `ChunkError` unless they fill ``data``."""
    _check_start(data, count)
    at, found = 4, []
    try:
        for _ in range(count):
            at += 4
            stop = at + _read(data, at - 4)[0]
            found.append((at, stop))
            at = stop
    except error:
        raise _cut_short(len(found), count) from None
    _check_end(at - 4, data)
    return found


def _check_start(data: Any, count: int) -> None:
    """Compare the number of elements that the chunk states with its shape, before memory is allocated for them."""
    check_decoded("the chunk", len(data), None)
    if not len(data) and not count:
        return
    if len(data) < 4:
        raise _cut_short(0, count)
    if (stated := _read(data)[0]) != count:
        raise ChunkError(f"the chunk holds {stated} elements of variable length, but its shape makes {count}")


def _check_end(nbytes: int, data: Any) -> None:
    """Raise unless the elements with their lengths, ``nbytes`` in all, end where ``data`` ends."""
    if len(data) and 4 + nbytes != len(data):
        raise ChunkError(
            f"the elements of variable length end at byte {4 + nbytes}, but the chunk has {len(data)} bytes"
        )


def _cut_short(found: int, count: int) -> ChunkError:
    return ChunkError(f"the chunk is cut short: element {found} of {count} goes past its end")


def _as_array(values: list[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if dtype.kind == "O":
        array = np.empty(len(values), dtype)
        for place, value in enumerate(values):  # assigning the list would take sequences apart
            array[place] = value
    else:
        array = np.array(values, dtype)
    return array.reshape(shape)


def _join(values: Iterable[bytes]) -> bytes:
    elements = list(values)
    pieces = [_write(len(elements))]
    for element in elements:
        pieces += (_write(len(element)), element)
    return b"".join(pieces)


def _is_missing(value: Any) -> bool:
    """None, and the 0 that NumPy fills object arrays with, are stored as empty elements."""
    return value is None or (type(value) in (int, bool) and value == 0)


def _utf8(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if _is_missing(value):
        return b""
    raise ChunkError(f"vlen-utf8 stores strings, not {type(value).__name__}: {value!r:.80}")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if _is_missing(value):
        return b""
    raise ChunkError(f"vlen-bytes stores bytes, not {type(value).__name__}: {value!r:.80}")
