"""Codecs of Python objects in Zarr v2: ``json2``, ``msgpack2``, ``pickle``.

Imports base, libraries, sizes and NumPy. Invariant: a chunk decodes to exactly the elements its shape makes, whatever
shape the data themselves state. json2 and msgpack2 store ``[elements..., data type, shape]``. Source: numcodecs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec
from .libraries import numcodecs_object, required
from .sizes import as_bytes_array, check_decoded, chunk_spec, nbytes_of, number_of_elements


def json2(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``json2``; ``encoding`` (default utf-8) and the options of `json.JSONEncoder`."""
    encoding = configuration.get("encoding") or "utf-8"
    decoder = json.JSONDecoder(strict=bool(configuration.get("strict", True)))
    codec = numcodecs_object("json2", "numcodecs.json", "JSON", configuration)
    return _listed("json2", spec, codec, lambda data: decoder.decode(str(data, encoding)))


def msgpack2(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``msgpack2``; ``use_single_float``, ``use_bin_type``, ``raw``."""
    unpack = required("msgpack2", "msgpack", "msgpack").unpackb
    codec = numcodecs_object("msgpack2", "numcodecs.msgpacks", "MsgPack", configuration)
    raw = bool(configuration.get("raw"))
    return _listed("msgpack2", spec, codec, lambda data: unpack(data, raw=raw))


def pickle_codec(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``pickle``, which executes what it reads: `lookup` refuses it unless it is allowed by name.

    It decodes through numcodecs, so that recent releases, which have a switch of their own, keep their say.
    """
    spec = chunk_spec("pickle", spec)
    codec = numcodecs_object("pickle", "numcodecs.pickles", "Pickle", configuration)
    count = number_of_elements(spec)

    def decode(data: Buffer) -> Any:
        check_decoded("pickle", nbytes_of(data), None)
        array = np.asarray(codec.decode(bytes(as_bytes_array(data))))
        if array.size != count:
            raise _wrong_count("pickle", array.size, count)
        return array.reshape(spec.shape).astype(spec.dtype.numpy, copy=False)

    return Codec(codec.encode, decode, BytesSpec(None, 1))


def _listed(name: str, spec: ChunkSpec, codec: Any, parse: Callable[[bytes], Any]) -> Codec:
    spec = chunk_spec(name, spec)
    shape, dtype = spec.shape, spec.dtype.numpy
    plain = np.dtype(object) if dtype.kind == "T" else dtype  # numcodecs stores the name of the data type

    def encode(array: Any) -> Any:
        return codec.encode(np.asarray(array, plain))

    def decode(data: Buffer) -> Any:
        check_decoded(name, nbytes_of(data), None)
        items = parse(bytes(as_bytes_array(data)))
        return _to_array(name, items, shape).astype(dtype, copy=False)

    return Codec(encode, decode, BytesSpec(None, 1))


def _to_array(name: str, items: Any, shape: tuple[int, ...]) -> Any:
    if not isinstance(items, list) or len(items) < 2 or not isinstance(items[-1], list | tuple):
        raise ChunkError(f"the {name} data are no list that ends with a data type and a shape")
    values = items[:-2]
    for _ in items[-1][1:]:  # one level of lists for each dimension; elements may be lists too
        if not all(isinstance(value, list) for value in values):
            raise ChunkError(f"the {name} data do not have the {len(items[-1])} dimensions that they state")
        values = [inner for value in values for inner in value]
    if len(values) != math.prod(shape):
        raise _wrong_count(name, len(values), math.prod(shape))
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array.reshape(shape)


def _wrong_count(name: str, found: int, expected: int) -> ChunkError:
    return ChunkError(f"{name} decoded to {found} elements, but the shape of the chunk makes {expected}")
