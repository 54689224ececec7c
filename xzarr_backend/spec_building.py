"""From the keywords of `create_array` to the spec that they mean.

Imports codec_objects, codecs, formats and the rows below. Invariant: the spec that comes out has a document which reads
back as the same array; what the format cannot hold raises before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .attribute_values import decode_attributes, encode_attributes
from .chunk_choice import choose_grid
from .chunk_keys import ChunkKeyEncoding, parse_chunk_key_encoding
from .codec_objects import named_of, spelled
from .codecs import ARRAY_BYTES, BYTES_BYTES, lookup
from .dtypes import DataType, as_dtype
from .errors import MetadataError, UnsupportedError
from .formats.v2 import format_array_v2, parse_array_v2, v2_chain
from .formats.v3 import format_array_v3, parse_array_v3
from .spec import JSON, NUMCODECS, ArraySpec, Named


def build_spec(
    *,
    shape: tuple[int, ...],
    dtype: DataType,
    chunks: Any,
    shards: Any,
    filters: Any,
    compressors: Any,
    serializer: Any,
    fill_value: Any,
    order: str,
    dimension_names: Sequence[str | None] | None,
    attributes: Mapping[str, JSON],
    chunk_key_encoding: Any,
    zarr_format: int,
) -> ArraySpec:
    """Return the spec that the keywords of `create_array` mean; its document is the one that will be stored."""
    if zarr_format not in (2, 3):
        raise UnsupportedError(f"zarr_format={zarr_format!r} is not known", hint="use 2 or 3")
    if shards is not None and zarr_format == 2:
        raise UnsupportedError("Zarr v2 has no shards", hint="use zarr_format=3, or chunks alone")
    if zarr_format == 3:
        dtype = without_byte_order(dtype)
    grid, inner = choose_grid(shape, dtype.numpy.itemsize, chunks, shards)
    chain = _chain(dtype, len(shape), filters, serializer, compressors, order, zarr_format)
    if inner is not None:
        configuration = {
            "chunk_shape": list(inner),
            "codecs": list(chain),
            "index_codecs": [Named("bytes", {"endian": "little"}), Named("crc32c", {})],
            "index_location": "end",
        }
        chain = (Named("sharding_indexed", configuration),)
    names = tuple(dimension_names) if dimension_names is not None else None
    if names is not None and len(names) != len(shape):
        raise MetadataError(f"{len(names)} dimension names do not fit an array of {len(shape)} dimensions")
    attributes = dict(decode_attributes(encode_attributes(attributes)))  # as they read back
    if names is not None and zarr_format == 2:
        attributes["_ARRAY_DIMENSIONS"] = list(names)
    fill = None if fill_value is None else dtype.cast_fill(fill_value)
    if fill is None and zarr_format == 3:
        fill = dtype.zero
    spec = ArraySpec(
        shape=shape,
        dtype=dtype,
        chunk_grid=grid,
        chunk_key_encoding=_key_encoding(chunk_key_encoding, zarr_format),
        codecs=chain,
        fill_value=fill,
        dimension_names=names,
        attributes=attributes,
        zarr_format=zarr_format,
        document={},
    )
    return _with_document(spec)


def _with_document(spec: ArraySpec) -> ArraySpec:
    """Return ``spec`` with its document, which must read back: what nobody could open again is not stored."""
    if spec.zarr_format == 3:
        document = format_array_v3(spec)
        parse_array_v3(document)
    else:
        document = format_array_v2(spec)
        parse_array_v2(document, spec.attributes)
    return spec._replace(document=document)


def _chain(
    dtype: DataType, rank: int, filters: Any, serializer: Any, compressors: Any, order: str, zarr_format: int
) -> tuple[Named, ...]:
    """Return the codec chain of a chunk (an inner chunk, where there are shards)."""
    if order not in ("C", "F"):
        raise MetadataError(f'order={order!r} must be "C" or "F"')
    size = dtype.itemsize or 1
    first = [spelled(codec, zarr_format, size) for codec in _several(None if _is_auto(filters) else filters)]
    if first and first[0].name == "numcodecs.delta":  # which numcodecs, and so other readers, cannot do without
        first[0] = Named(first[0].name, {"dtype": dtype.numpy.str, **first[0].configuration})
    if _is_auto(compressors):
        compressors = "zstd"
    last = [spelled(codec, zarr_format, size) for codec in _several(compressors)]
    if zarr_format == 2:
        return _v2_chain(dtype, rank, order, first, last, serializer)
    arrays = [Named("transpose", {"order": list(range(rank))[::-1]})] if order == "F" and rank > 1 else []
    arrays += [codec for codec in first if not _works_on_bytes(codec)]
    last = [codec for codec in first if _works_on_bytes(codec)] + last
    if arrays and arrays[-1].name != "transpose":
        size = 0  # what filters make of an element is not known here
    return (*arrays, _serializer(serializer, dtype, size), *last)


def _works_on_bytes(codec: Named) -> bool:
    """Return whether a codec given as a filter, as in v2, stands behind the serializer in v3."""
    return codec.name == "numcodecs.shuffle" or lookup(codec.name, {"pickle"}).kind == BYTES_BYTES


def _serializer(given: Any, dtype: DataType, size: int) -> Named:
    default = default_serializer(dtype)
    if not size and default.name == "bytes":
        default = Named("bytes", {"endian": "little"})
    if _is_auto(given) or given is None:
        return default
    codec = spelled(given, 3, size)
    if lookup(codec.name, {"pickle"}).kind != ARRAY_BYTES:
        raise MetadataError(
            f"codec {codec.name!r} is no serializer: it does not make bytes of an array",
            hint="give it to compressors= or filters=",
        )
    return default if codec == Named("bytes", {}) else codec


def _v2_chain(
    dtype: DataType, rank: int, order: str, filters: list[Named], compressors: list[Named], serializer: Any
) -> tuple[Named, ...]:
    if serializer not in ("auto", None):
        raise UnsupportedError("Zarr v2 has no serializer", hint="give the codec to filters=, or use zarr_format=3")
    if dtype.itemsize is None and not (filters and encodes_objects(filters[0])):
        filters = [Named(NUMCODECS + default_serializer(dtype).name, {}), *filters]
    if dtype.numpy.byteorder == ">" and any(c.name in _NATIVE_ONLY for c in (*filters, *compressors)):
        raise UnsupportedError(
            f"data type {dtype.numpy.str} with pcodec or zfpy would be read with swapped bytes by zarr-python",
            hint="give a little-endian dtype, or use zarr_format=3",
        )
    return v2_chain(dtype, order, rank, [*filters, *compressors[:-1]], compressors[-1] if compressors else None)


_NATIVE_ONLY = frozenset({"numcodecs.pcodec", "numcodecs.zfpy"})  # numcodecs gives their values no byte order


def encodes_objects(codec: Named) -> bool:
    """Return whether a v2 filter turns elements of variable length into something else."""
    return lookup(codec.name, {"pickle"}).kind == ARRAY_BYTES or codec.name == "numcodecs.categorize"


def default_serializer(dtype: DataType) -> Named:
    """Return the array->bytes codec that a data type is stored with in v3 when nobody chooses one."""
    if dtype.name == "string":
        return Named("vlen-utf8", {})
    if dtype.itemsize is None:
        return Named("vlen-bytes", {})
    if dtype.itemsize == 1 or (dtype.numpy.kind in "SV" and not dtype.fields and dtype.numpy.isbuiltin != 2):
        return Named("bytes", {})
    return Named("bytes", {"endian": "little"})


def without_byte_order(dtype: DataType) -> DataType:
    """Return ``dtype`` as v3 knows it: values alone; they are stored little-endian, as all readers can."""
    if dtype.itemsize is None or dtype.numpy.isbuiltin == 2 or dtype.name.startswith("r"):
        return dtype
    return as_dtype(dtype.numpy.newbyteorder("<"))


def _is_auto(given: Any) -> bool:
    return isinstance(given, str) and given == "auto"


def _several(codecs: Any) -> list[Any]:
    if codecs is None:
        return []
    return list(codecs) if isinstance(codecs, list | tuple) and not isinstance(codecs, Named) else [codecs]


def _key_encoding(given: Any, zarr_format: int) -> ChunkKeyEncoding:
    if given is None:
        return ChunkKeyEncoding("v2", ".") if zarr_format == 2 else ChunkKeyEncoding("default", "/")
    if isinstance(given, ChunkKeyEncoding):
        return given
    if given in ("/", "."):
        return ChunkKeyEncoding("v2" if zarr_format == 2 else "default", given)
    given = given.to_dict() if hasattr(given, "to_dict") else given
    if isinstance(given, Mapping) and "configuration" not in given:
        return parse_chunk_key_encoding(_flat(given))
    return parse_chunk_key_encoding(named_of(given))


def _flat(given: Mapping[str, Any]) -> Named:
    """zarr-python also takes ``{"name": ..., "separator": ...}``."""
    return Named(str(given.get("name", "default")), {name: value for name, value in given.items() if name != "name"})
