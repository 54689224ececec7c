"""Blocks of N5: a header with the block's own shape, then the elements through a chain of codecs.

Imports base, pipeline, sharding (for chains in configurations) and sizes. Invariant: the shape in the header is
checked against the chunk before anything is decoded; a block that is cut off at the array's end is padded with the
fill value, and of one that is padded itself the chunk is taken.
Source: zarr-extensions, codec "n5_default".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .pipeline import compile_pipeline, split_chain
from .sharding import parse_chain
from .sizes import chunk_spec, need_fixed_size

DEFAULT_MODE = 0
LARGEST_PADDED = 1 << 26  # bytes: what a header may ask for beyond the chunk


def n5_default(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``n5_default``; blocks are written with the full shape of the chunk."""
    spec = chunk_spec("n5_default", spec)
    need_fixed_size("n5_default", spec)
    chain = parse_chain("n5_default", configuration, "codecs", ())
    if split_chain(chain).serializer.name == "n5_default":
        raise wrong_configuration("n5_default", "codecs", "cannot hold n5_default again")
    rank = len(spec.shape)
    header = struct.Struct(f">HH{rank}I")
    whole = compile_pipeline(chain, spec)

    def decode(raw: Buffer) -> Any:
        view = memoryview(raw).cast("B")
        shape = _block_shape(view, header, spec)
        if shape == spec.shape:
            return whole.decode(view[header.size :])
        block = compile_pipeline(chain, spec._replace(shape=shape)).decode(view[header.size :])
        chunk = np.full(spec.shape, spec.fill_value, spec.dtype.numpy)
        common = tuple(slice(min(pair)) for pair in zip(shape, spec.shape, strict=True))
        chunk[common] = block[common]
        return chunk

    def encode(array: Any) -> bytes:
        return b"".join([header.pack(DEFAULT_MODE, rank, *spec.shape), whole.encode(array)])

    nbytes = None if whole.encoded_size is None else header.size + whole.encoded_size
    return Codec(encode, decode, BytesSpec(nbytes, spec.dtype.itemsize or 1))


def _block_shape(view: memoryview, header: struct.Struct, spec: ChunkSpec) -> tuple[int, ...]:
    """Return the shape that the header states: smaller than the chunk at the edges, or larger where writers pad."""
    chunk = spec.shape
    if len(view) < header.size:
        raise ChunkError(f"the N5 block has {len(view)} bytes, less than its header of {header.size} bytes")
    mode, rank, *shape = header.unpack_from(view)
    if mode != DEFAULT_MODE or rank != len(chunk):
        raise ChunkError(f"the N5 block has mode {mode} and {rank} dimensions instead of mode 0 and {len(chunk)}")
    if math.prod(shape) * (spec.dtype.itemsize or 1) > max(spec.nbytes or 0, LARGEST_PADDED):
        raise ChunkError(f"the N5 block has the shape {tuple(shape)}, far larger than the chunk {chunk}")
    return tuple(shape)
