"""The codec ``packbits`` of zarr-extensions: only the bits of an element that carry information are stored.

Imports base, sizes and NumPy. Invariant: element ``i`` of ``k`` bits takes bits ``i*k`` to ``(i+1)*k`` of the
chunk, counted from the least significant bit of each byte (numcodecs: from the most significant one).
Source: zarr-extensions, "packbits".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError, MetadataError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .sizes import Bytes1D, as_bytes_array, check_decoded, chunk_spec, need_fixed_size, number_of_elements

NARROW = {"bool": 1, "int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}
NARROW |= {"float6_e2m3fn": 6, "float6_e3m2fn": 6}


def packbits(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``packbits``; ``padding_encoding``, ``first_bit``, ``last_bit``."""
    spec = chunk_spec("packbits", spec)
    dtype, components, width = _layout(spec)
    first, last = _bit_range(configuration, width)
    signed = spec.dtype.name.startswith("int")
    count, kept = number_of_elements(spec) * components, last - first + 1
    packed = -(-count * kept // 8)
    padding = packed * 8 - count * kept
    before, after = _padding(configuration)
    nbytes = packed + before + after
    component_bytes = dtype.itemsize // components

    def encode(array: Any) -> Bytes1D:
        flat = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).reshape(count, component_bytes)
        bits = np.unpackbits(flat, axis=1, bitorder="little")[:, first : last + 1]
        out = np.full(nbytes, padding, np.uint8)
        out[before : before + packed] = np.packbits(bits, bitorder="little")
        return out

    def decode(data: Buffer) -> Any:
        raw = as_bytes_array(data)
        check_decoded("packbits", raw.size, nbytes)
        if (before and raw[0] != padding) or (after and raw[-1] != padding):
            raise ChunkError(f"the packbits data do not state the {padding} bits of padding that the chunk has")
        stored = np.unpackbits(raw[before : before + packed], count=count * kept, bitorder="little")
        bits = np.zeros((count, component_bytes * 8), np.uint8)
        bits[:, first : last + 1] = stored.reshape(count, kept)
        if signed and last + 1 < component_bytes * 8:
            bits[:, last + 1 :] = bits[:, last : last + 1]
        return np.packbits(bits, axis=1, bitorder="little").reshape(-1).view(dtype).reshape(spec.shape)

    return Codec(encode, decode, BytesSpec(nbytes, 1))


def _layout(spec: ChunkSpec) -> tuple[np.dtype[Any], int, int]:
    """Return the little-endian data type, its number of components, and the bits of each."""
    name, dtype = spec.dtype.name, spec.dtype.numpy
    need_fixed_size("packbits", spec)
    components = 2 if name.startswith("complex") else 1
    narrow = NARROW.get(name.removeprefix("complex_"))
    if narrow is None and (dtype.names or dtype.kind in "SUmMOT" or name.startswith(("r", "float8", "null"))):
        raise MetadataError(f"codec 'packbits' cannot store the data type {name!r}")
    little = dtype if dtype.isbuiltin == 2 else dtype.newbyteorder("<")
    return little, components, narrow or dtype.itemsize * 8 // components


def _bit_range(configuration: Mapping[str, JSON], width: int) -> tuple[int, int]:
    first, last = configuration.get("first_bit"), configuration.get("last_bit")
    first, last = 0 if first is None else first, width - 1 if last is None else last
    for member, value in (("first_bit", first), ("last_bit", last)):
        if type(value) is not int or not 0 <= value < width:
            raise wrong_configuration("packbits", member, f"must be between 0 and {width - 1}, not {value!r}")
    if last < first:
        raise wrong_configuration("packbits", "last_bit", f"must not be less than first_bit ({first}), but is {last}")
    return first, last


def _padding(configuration: Mapping[str, JSON]) -> tuple[int, int]:
    """Return how many bytes before and after the bits state the padding."""
    given = configuration.get("padding_encoding") or "none"
    places = {"none": (0, 0), "first_byte": (1, 0), "last_byte": (0, 1), "start_byte": (1, 0), "end_byte": (0, 1)}
    if not isinstance(given, str) or given not in places:
        raise wrong_configuration("packbits", "padding_encoding", f"must be one of {', '.join(places)}, not {given!r}")
    return places[given]
