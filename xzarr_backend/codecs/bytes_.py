"""The codec ``bytes``: the elements of a chunk side by side, in C order, in a given byte order.

Imports base, sizes and NumPy. Invariant: decoding copies nothing; the array is a view in the stored byte order.
Source: Zarr v3, "Bytes codec"; zarr-extensions for data types of less than a byte, which take a byte each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .sizes import chunk_spec, nbytes_of, need_fixed_size, number_of_elements

_ORDERS = {"little": "<", "big": ">"}


def bytes_codec(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``bytes``; without ``endian`` the elements are little-endian, fields of records as their data type says."""
    spec = chunk_spec("bytes", spec)
    nbytes = need_fixed_size("bytes", spec)
    stored = stored_dtype(configuration.get("endian"), spec.dtype.numpy)
    output = BytesSpec(nbytes, stored.itemsize)
    if _numpy_cannot_swap(stored, spec.dtype.numpy):
        order = _ORDERS.get(configuration.get("endian") or "little", "<")
        return _swapped(spec, spec.dtype.numpy, order, output)
    if nbytes == 0:
        return _empty(spec, output)
    return _plain(spec, stored, output)


def _numpy_cannot_swap(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Return whether NumPy leaves the bytes as they are: of types that others registered, of times without a unit."""
    if stored.isbuiltin == 2:
        return stored.itemsize > 1
    return stored.kind in "mM" and stored != dtype and np.datetime_data(dtype)[0] == "generic"


def stored_dtype(endian: JSON, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return ``dtype`` in the byte order of the chunks."""
    if endian is None:
        return dtype if dtype.names or dtype.isbuiltin == 2 else dtype.newbyteorder("<")
    if not isinstance(endian, str) or endian not in _ORDERS:
        raise wrong_configuration("bytes", "endian", f'must be "little" or "big", not {endian!r}')
    return dtype if dtype.isbuiltin == 2 else dtype.newbyteorder(_ORDERS[endian])  # type: ignore[arg-type]


def _plain(spec: ChunkSpec, stored: np.dtype[Any], output: BytesSpec) -> Codec:
    shape, expected = spec.shape, output.nbytes

    def decode(raw: Buffer) -> Any:
        try:
            return np.frombuffer(raw, stored).reshape(shape)
        except ValueError:
            raise wrong_length(nbytes_of(raw), expected) from None

    def encode(array: Any) -> Any:
        return np.ascontiguousarray(array, stored).reshape(-1).view(np.uint8)

    return Codec(encode, decode, output, is_view=True, native=stored == spec.dtype.numpy)


def _swapped(spec: ChunkSpec, dtype: np.dtype[Any], order: str, output: BytesSpec) -> Codec:
    """Elements in native order whose bytes travel as unsigned integers."""
    shape, expected, count = spec.shape, output.nbytes, number_of_elements(spec)
    native = np.dtype(f"u{dtype.itemsize}")
    stored = native.newbyteorder(order)  # type: ignore[arg-type]

    def decode(raw: Buffer) -> Any:
        if nbytes_of(raw) != expected:
            raise wrong_length(nbytes_of(raw), expected)
        bits = np.frombuffer(raw, stored) if count else np.empty(0, stored)
        return bits.astype(native, copy=False).view(dtype).reshape(shape)

    def encode(array: Any) -> Any:
        bits = np.ascontiguousarray(array, dtype).reshape(-1).view(native)
        return bits.astype(stored, copy=False).view(np.uint8)

    return Codec(encode, decode, output, is_view=stored == native and count > 0, native=stored == native)


def _empty(spec: ChunkSpec, output: BytesSpec) -> Codec:
    """No elements, or elements of no bytes: `numpy.frombuffer` refuses both."""

    def decode(raw: Buffer) -> Any:
        if nbytes_of(raw):
            raise wrong_length(nbytes_of(raw), 0)
        return np.zeros(spec.shape, spec.dtype.numpy)

    return Codec(lambda array: b"", decode, output)


def wrong_length(found: int, expected: int | None) -> ChunkError:
    """Return the error for a chunk whose elements take another number of bytes than its shape says."""
    return ChunkError(f"the chunk holds {found} bytes, but its shape and data type make {expected}")
