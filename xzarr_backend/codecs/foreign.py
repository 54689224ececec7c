"""Codecs of others, by the interface of numcodecs: its registry, plugins of it, imagecodecs, classes of users.

Imports base, libraries, sizes, dtypes and NumPy. Invariant: whatever such a codec returns is checked to be the chunk's
number of bytes or elements before it is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..errors import ChunkError
from ..spec import JSON
from .base import ARRAY_BYTES, BYTES_BYTES, Buffer, BytesSpec, ChunkSpec, Codec, Factory, wrong_configuration
from .libraries import optional
from .sizes import as_bytes_array, check_decoded, number_of_elements

# imagecodecs has codecs of images, which need the array, and codecs of bytes, which stand anywhere in a v2 chain.
IMAGECODECS = "imagecodecs_"
_OF_BYTES = (
    "aec bitorder bitshuffle blosc blosc2 brotli bytes bz2 deflate gzip lz4 lz4f lz4h5 lzf lzfse lzham lzma lzo lzw "
    "packbits rcomp snappy szip xor zlib zlibng zopfli zstd"
)
OF_BYTES = frozenset(_OF_BYTES.split())


def find_numcodecs(name: str) -> tuple[str, Factory] | None:
    """Return kind and factory of a codec in the registry of numcodecs, or among its entry points."""
    registry = optional("numcodecs.registry")
    if registry is None:
        return None
    if name not in registry.codec_registry and name not in registry.entries:
        return None
    codec = registry.codec_registry.get(name) or registry.entries[name].load()
    of_arrays = name.startswith(IMAGECODECS) and name.removeprefix(IMAGECODECS) not in OF_BYTES
    kind = ARRAY_BYTES if of_arrays else BYTES_BYTES
    return kind, numcodecs_factory(codec, kind)


def numcodecs_factory(cls: Any, kind: str | None = None) -> Factory:
    """Return a factory for a subclass of ``numcodecs.abc.Codec``; ``kind`` only matters where it is array->bytes."""

    def build(configuration: Mapping[str, JSON], spec: Any) -> Codec:
        name = cls.codec_id
        try:
            codec = cls.from_config(dict(configuration))
        except (TypeError, ValueError) as error:
            raise wrong_configuration(name, "", f"its class does not take it: {error}") from error
        if isinstance(spec, BytesSpec):
            return _among_bytes(name, codec, spec)
        return _to_bytes(name, codec, spec) if kind == ARRAY_BYTES else _among_arrays(name, codec, spec)

    return build


def _among_bytes(name: str, codec: Any, spec: BytesSpec) -> Codec:
    def decode(data: Buffer) -> Any:
        decoded = as_bytes_array(codec.decode(as_bytes_array(data)))
        check_decoded(name, decoded.size, spec.nbytes)
        return decoded

    return Codec(lambda data: codec.encode(as_bytes_array(data)), decode, BytesSpec(None, spec.itemsize))


def _to_bytes(name: str, codec: Any, spec: ChunkSpec) -> Codec:
    return Codec(
        lambda array: codec.encode(np.ascontiguousarray(array)),
        lambda data: _as_chunk(name, codec.decode(bytes(as_bytes_array(data))), spec),
        BytesSpec(None, 1),
    )


def _as_chunk(name: str, decoded: Any, spec: ChunkSpec) -> Any:
    """Return a decoded image, or decoded bytes, as the chunk."""
    dtype = spec.dtype.numpy
    if isinstance(decoded, np.ndarray) and decoded.dtype == dtype and decoded.size == number_of_elements(spec):
        return decoded.reshape(spec.shape)
    flat = as_bytes_array(decoded)
    check_decoded(name, flat.size, spec.nbytes)
    return flat.view(dtype).reshape(spec.shape)


def _among_arrays(name: str, codec: Any, spec: ChunkSpec) -> Codec:
    """A filter that keeps the number of elements; its data type is learnt from one element."""
    sample = codec.encode(np.full((1,) * max(1, len(spec.shape)), spec.fill_value, spec.dtype.numpy))
    if not isinstance(sample, np.ndarray) or sample.size != 1:
        raise wrong_configuration(
            name, "", "it does not turn arrays into arrays element by element: place it behind bytes"
        )
    encoded, count = sample.dtype, number_of_elements(spec)

    def checked(array: Any, way: str) -> Any:
        if np.size(array) != count:
            raise ChunkError(f"{name} {way} {count} elements to {np.size(array)}")
        return np.reshape(array, spec.shape)

    return Codec(
        lambda array: checked(codec.encode(np.ascontiguousarray(array)), "encoded"),
        lambda array: checked(codec.decode(np.ascontiguousarray(array)), "decoded").astype(
            spec.dtype.numpy, copy=False
        ),
        ChunkSpec(spec.shape, as_dtype(encoded), sample.reshape(-1)[0]),
    )
