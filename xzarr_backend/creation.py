"""Creating arrays and groups: from keywords to a spec, and its documents into the store.

Imports array, group and the rows below. Invariant: everything that can be wrong is found before anything is written;
what is written are the documents of the format, complete and in one object each.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .array import Array
from .attribute_values import decode_attributes, encode_attributes
from .casting import cast
from .chunk_choice import choose_grid
from .chunk_keys import ChunkKeyEncoding, parse_chunk_key_encoding
from .codec_objects import named_of, spelled
from .codecs import ARRAY_BYTES, BYTES_BYTES, lookup
from .dtypes import DataType, as_dtype
from .errors import MetadataError, UnsupportedError, XzarrError
from .formats.v2 import format_array_v2, parse_array_v2, v2_chain
from .formats.v3 import format_array_v3, parse_array_v3
from .layout import compile_layout
from .nodes import clean_path
from .options import Options
from .placing import array_documents, make_parents, place_node
from .profile_creation import express_array, place_extra
from .profiles import Profile, apply_profile, find_profile, needs_every_chunk, refuse_broken
from .spec import JSON, ArraySpec, Named
from .stores import open_store
from .stores.base import Store


class _Format(int):
    """A format that nobody asked for, so that a profile may choose another one."""


UNASKED = _Format(3)


def create_array(
    store: Any,
    path: str = "",
    *,
    name: str | None = None,
    shape: int | Sequence[int] | None = None,
    dtype: Any = None,
    data: Any = None,
    chunks: Any = "auto",
    shards: Any = None,
    filters: Any = None,
    compressors: Any = "auto",
    serializer: Any = "auto",
    fill_value: Any = None,
    order: str = "C",
    dimension_names: Sequence[str | None] | None = None,
    attributes: Mapping[str, JSON] | None = None,
    chunk_key_encoding: Any = None,
    zarr_format: int = UNASKED,
    profile: str | None = None,
    write_empty_chunks: bool = False,
    durable: bool = False,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Array:
    """Create an array and return it, open for writing.

    Give ``shape`` and ``dtype``, or ``data`` (anything that NumPy takes), which is written. ``chunks``: lengths per
    dimension, or "auto"; where ``shards`` are given, the lengths of the inner chunks. ``compressors``: "auto" (zstd),
    None, one codec or several: names, dicts, numcodecs or zarr-python objects. ``fill_value`` None: the data type's
    zero in v3, null in v2. ``durable``: every write through the returned array returns when it is on the disk.
    ``profile``: the readers to write for ("exzarr", "portable", "zarr-python-2"): the format is v2 unless one is given,
    what was left open is chosen for them, data types that they lack become numbers with an attribute
    ``dtype_semantic``, and what they would read wrongly is refused. Groups above ``path`` that are missing are created.
    Raises `NodeExistsError` where something is stored and ``overwrite`` is
    not set, `MetadataError` or `UnsupportedError` for what the format cannot hold, `RegionError` for data that do not
    fit the data type; nothing is stored then. In a folder what is there is replaced when all data are stored.
    """
    values = None if data is None else _values(data, dtype)
    chosen = None if profile is None else find_profile(profile)
    path = clean_path(f"{path}/{name}" if name else path)
    keywords = {
        "shape": _shape(shape, values),
        "dtype": _dtype(dtype, values),
        "chunks": chunks,
        "shards": shards,
        "filters": filters,
        "compressors": compressors,
        "serializer": serializer,
        "fill_value": fill_value,
        "order": order,
        "dimension_names": dimension_names,
        "attributes": dict(attributes or {}),
        "chunk_key_encoding": chunk_key_encoding,
        "zarr_format": zarr_format,
    }
    if chosen is not None:
        keywords, values = _by_profile(chosen, path, keywords, values)
    spec = build_spec(**keywords)
    if chosen is not None:
        refuse_broken(chosen, spec)
    zarr_format = spec.zarr_format
    opened = open_store(store, mode="a", storage_options=storage_options)
    opened = opened.durably() if durable else opened
    compile_layout(spec, path)  # before anything is written: what cannot be compiled cannot be stored
    if values is not None:
        values = cast(values, spec.dtype, "data")
    make_parents(opened, path, zarr_format)
    place_extra(opened, chosen, path, zarr_format, itself=False)
    every = chosen is not None and needs_every_chunk(chosen, spec)
    options = Options(writable=True, write_empty_chunks=write_empty_chunks or every or None)
    fill = spec.dtype.zero if spec.fill_value is None else spec.fill_value
    stored = fill if values is None and every else values
    with _place(opened, path, overwrite and stored is not None) as (building, at):
        place_node(building, at, array_documents(spec, at), zarr_format, overwrite)
        if stored is not None:
            Array(building, at, spec, options)[...] = stored
    return Array(opened, path, spec, options)


def _place(store: Store, path: str, replaces: bool) -> AbstractContextManager[tuple[Store, str]]:
    """Yield where an array is built: beside the one whose place it takes, so that an error leaves that as it was."""
    if not replaces:
        return nullcontext((store, path))
    from .transactions import replaced_node

    return replaced_node(store, path)


def _by_profile(profile: Profile, path: str, keywords: dict[str, Any], values: Any) -> tuple[dict[str, Any], Any]:
    """Return the keywords of `build_spec` and the values that the readers of ``profile`` can read."""
    if values is not None:
        values = cast(values, keywords["dtype"], "data")
    name = path.rpartition("/")[2] or "data"
    found = express_array(
        profile, name, keywords["shape"], keywords["dtype"], values, keywords["fill_value"], keywords["attributes"]
    )
    # xarray takes zeros for missing where zero is the fill value: arrays with names of dimensions are made for it
    from .semantics import SEMANTIC

    for_xarray = keywords["dimension_names"] is not None and SEMANTIC not in found.attributes
    keywords |= {
        "shape": found.shape,
        "dtype": found.dtype,
        "fill_value": found.dtype.zero if found.fill is None and not for_xarray else found.fill,
        "attributes": found.attributes,
        "zarr_format": None if keywords["zarr_format"] is UNASKED else keywords["zarr_format"],
    }
    if found.rank_changed:
        keywords |= {"chunks": "auto", "dimension_names": None}
    return apply_profile(profile, keywords), found.values


# --- from keywords to a spec -----------------------------------------------------------------------------------------


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


def _shape(shape: int | Sequence[int] | None, values: Any) -> tuple[int, ...]:
    if shape is None:
        if values is None:
            raise MetadataError("an array needs a shape, or data to take it from", hint="give shape= or data=")
        return tuple(values.shape)
    try:
        found = tuple(map(_length, shape if np.iterable(shape) and not isinstance(shape, str) else (shape,)))
    except TypeError as error:
        raise MetadataError(f"shape={shape!r:.80} is no shape: {error}", hint="give whole numbers") from None
    if values is not None and found != values.shape:
        raise MetadataError(f"shape {found} is not that of the data, {values.shape}")
    if any(n < 0 for n in found):
        raise MetadataError(f"shape {found} has a negative length")
    return found


def _values(data: Any, dtype: Any) -> Any:
    """Return ``data`` as an array, of its own data type unless ``dtype`` says that its tuples are records."""
    try:
        wanted = None if dtype is None else as_dtype(dtype)
        return cast(data, wanted, "data") if wanted is not None and wanted.fields else np.asarray(data)
    except ValueError as error:
        if isinstance(error, XzarrError):
            raise
        raise MetadataError(f"the data make no array: {error}", where="data") from error


def _length(given: Any) -> int:
    if isinstance(given, bool | np.bool_):
        raise TypeError(f"{given} is no length")
    return operator.index(given)


def _dtype(dtype: Any, values: Any) -> DataType:
    if dtype is None:
        if values is None:
            raise MetadataError("an array needs a data type, or data to take it from", hint="give dtype= or data=")
        return _dtype_of_objects(values) if values.dtype == object else as_dtype(values.dtype)
    return as_dtype(dtype)


def _dtype_of_objects(values: Any) -> DataType:
    types = {type(value) for value in values.flat}
    if types <= {bytes} and types:
        return as_dtype("bytes")
    if types <= {str}:
        return as_dtype("string")
    raise MetadataError(
        f"the data are Python objects of the types {', '.join(sorted(t.__name__ for t in types))}",
        hint="give dtype=: a NumPy dtype, str, bytes, or in v2 object with a filter that encodes them",
    )


def _chain(
    dtype: DataType, rank: int, filters: Any, serializer: Any, compressors: Any, order: str, zarr_format: int
) -> tuple[Named, ...]:
    """Return the codec chain of a chunk (an inner chunk, where there are shards)."""
    if order not in ("C", "F"):
        raise MetadataError(f'order={order!r} must be "C" or "F"')
    size = dtype.itemsize or 1
    first = [spelled(codec, zarr_format, size) for codec in _several(filters)]
    if isinstance(compressors, str) and compressors == "auto":
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
    if (isinstance(given, str) and given == "auto") or given is None:
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
        filters = [Named(f"numcodecs.{default_serializer(dtype).name}", {}), *filters]
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
