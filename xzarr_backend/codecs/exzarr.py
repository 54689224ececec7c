"""What ExZarr 1.0 stores in ways of its own: its shards, and its scaled numbers.

Imports base, pipeline, sharding (for chains in configurations) and sizes. Invariant: these codecs are never named by a
document; compat.py puts them into a chain when the caller says that ExZarr wrote the array.
Source: the bytes that ExZarr 1.0.1 writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError, UnsupportedError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .checksums import crc32c_of
from .pipeline import compile_pipeline, split_chain
from .sharding import parse_chain
from .sizes import as_memory

_LENGTH = struct.Struct("<Q")
_COUNT = struct.Struct("<I")


def exzarr_shards(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build the reader of ExZarr's shards; ``chunk_shape`` is that of the inner chunks, in elements.

    A shard holds the inner chunks, an index blob (number of chunks, their places in the array's grid, their offsets and
    lengths, crc32c), and the length of the blob; behind the chunks, or in front of them. The bytes->bytes codecs of the
    inner chunks are applied twice.
    """
    inner_shape = tuple(configuration["chunk_shape"])
    chain = split_chain(parse_chain("sharding_indexed", configuration, "codecs", ()))
    codecs = (*chain.arrays, chain.serializer, *chain.bytes, *chain.bytes)
    inner = compile_pipeline(codecs, spec._replace(shape=inner_shape))
    counts = tuple(outer // size for outer, size in zip(spec.shape, inner_shape, strict=True))

    def decode(raw: Buffer) -> Any:
        view = as_memory(raw)
        entries, data = find_index(view, len(counts))
        chunk = np.full(spec.shape, spec.fill_value, spec.dtype.numpy)
        for place, offset, nbytes in entries:
            if offset + nbytes > len(data):
                raise ChunkError(
                    f"the index of the shard points at byte {offset + nbytes}, but its data have {len(data)}"
                )
            within = tuple(index % count for index, count in zip(place, counts, strict=True))
            goal = tuple(slice(at * n, at * n + n) for at, n in zip(within, inner_shape, strict=True))
            chunk[goal] = inner.decode(data[offset : offset + nbytes])
        return chunk

    return Codec(_refuse_writing, decode, BytesSpec(None, spec.dtype.itemsize or 1))


Entry = tuple[tuple[int, ...], int, int]  # place in the array's grid, offset, length


def find_index(view: memoryview, rank: int) -> tuple[list[Entry], memoryview]:
    """Return the entries of a shard's index and the data that their offsets count in; raise `ChunkError`.

    The metadata do not tell where the index is: "start" is obeyed or not depending on how it was given to ExZarr.
    """
    try:
        blob, data = split_shard(view, at_start=False)
        return parse_blob(blob, rank), data
    except ChunkError:
        blob, data = split_shard(view, at_start=True)
        return parse_blob(blob, rank), data


def split_shard(view: memoryview, at_start: bool) -> tuple[memoryview, memoryview]:
    """Return (index blob, data that its offsets count in) of a shard; raise `ChunkError` when there is no blob."""
    if len(view) < _LENGTH.size:
        raise ChunkError(f"the shard has {len(view)} bytes, less than the length of its index")
    (length,) = _LENGTH.unpack_from(view, 0 if at_start else len(view) - _LENGTH.size)
    if length > len(view) - _LENGTH.size:
        raise ChunkError(f"the index of the shard would have {length} bytes, more than the shard")
    if at_start:
        return view[_LENGTH.size : _LENGTH.size + length], view[_LENGTH.size + length :]
    end = len(view) - _LENGTH.size - length
    return view[end : end + length], view[:end]


def parse_blob(blob: memoryview, rank: int) -> list[Entry]:
    """Return the entries of an index blob for an array of ``rank`` dimensions; raise `ChunkError`."""
    if len(blob) < 2 * _COUNT.size or crc32c_of(blob[:-4]) != _COUNT.unpack(blob[-4:])[0]:
        raise ChunkError("the checksum of the shard's index does not match")
    (count,) = _COUNT.unpack_from(blob)
    place, entry = struct.Struct(f"<I{rank}i"), struct.Struct("<QQ")
    if len(blob) != _COUNT.size + count * (place.size + entry.size) + 4:
        raise ChunkError(f"the index of the shard has {len(blob)} bytes, which do not fit {count} inner chunks")
    first_entry = _COUNT.size + count * place.size
    found = []
    for at in range(count):
        dimensions, *index = place.unpack_from(blob, _COUNT.size + at * place.size)
        if dimensions != rank:
            raise ChunkError(f"the index of the shard lists a chunk of {dimensions} dimensions instead of {rank}")
        found.append((tuple(index), *entry.unpack_from(blob, first_entry + at * entry.size)))
    return found


def looks_like_exzarr(view: memoryview, rank: int) -> bool:
    """Return whether the bytes of a shard are laid out as ExZarr does it."""
    try:
        find_index(view, rank)
    except ChunkError:
        return False
    return True


def exzarr_scale(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build the inverse of ExZarr's fixedscaleoffset, which stores round((x - offset) / scale) as ``astype``."""
    dtype = _number_type("dtype", configuration.get("dtype"))
    stored = _number_type("astype", configuration.get("astype") or configuration.get("dtype"))
    offset, scale = _real(configuration, "offset", 0), _real(configuration, "scale", 1)

    def decode(raw: Buffer) -> Any:
        view = as_memory(raw)
        if len(view) % stored.itemsize:
            raise ChunkError(f"fixedscaleoffset stores elements of {stored.itemsize} bytes, but has {len(view)} bytes")
        values = np.frombuffer(view, stored).astype("f8") * scale + offset
        return values.astype(dtype).view("u1")

    count = None if spec.nbytes is None else spec.nbytes // dtype.itemsize
    return Codec(
        _refuse_writing, decode, BytesSpec(None if count is None else count * stored.itemsize, stored.itemsize)
    )


def _number_type(member: str, value: JSON) -> np.dtype[Any]:
    try:
        found = np.dtype(value) if isinstance(value, str) else None
    except (TypeError, ValueError):
        found = None
    if found is None or found.kind not in "biuf":
        raise wrong_configuration("fixedscaleoffset", member, f"must be a type of numbers, not {value!r:.80}")
    return found


def _real(configuration: Mapping[str, JSON], member: str, default: float) -> float:
    value = configuration.get(member, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > np.finfo("f8").max:
        raise wrong_configuration("fixedscaleoffset", member, f"must be a number, not {value!r:.80}")
    return float(value)


def _refuse_writing(data: Any) -> Any:
    raise UnsupportedError(
        "arrays that were opened with quirks='exzarr' and need it can only be read",
        hint="convert the store, or create a new array",
    )
