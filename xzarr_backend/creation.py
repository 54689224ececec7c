"""Creating arrays and groups: from keywords to a spec, and its documents into the store.

Imports array, group and the rows below. Invariant: everything that can be wrong is found before anything is written;
what is written are the documents of the format, complete and in one object each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .array import Array, Options
from .chunk_grids import ChunkGrid, parse_chunk_grid, regular_grid
from .chunk_keys import ChunkKeyEncoding, parse_chunk_key_encoding
from .codec_objects import named_of
from .dtypes import DataType, as_dtype
from .errors import MetadataError, NodeExistsError, UnsupportedError
from .formats.documents import format_json
from .formats.v2 import format_array_v2
from .formats.v3 import format_array_v3
from .group import Group
from .layout import compile_layout
from .nodes import Found, clean_path, place_of
from .spec import JSON, ArraySpec, GroupSpec, Named
from .stores import open_store
from .stores.base import Store

TARGET_CHUNK_NBYTES = 16 * 2**20  # what "auto" aims at: large enough to stream, small enough for a worker's memory

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


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
    zarr_format: int = 3,
    write_empty_chunks: bool = False,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Array:
    """Create an array and return it, open for writing.

    Give ``shape`` and ``dtype``, or ``data`` (anything that NumPy takes), which is written. ``chunks``: lengths per
    dimension, or "auto"; where ``shards`` are given, the lengths of the inner chunks. ``compressors``: "auto" (zstd),
    None, one codec or several: names, dicts, numcodecs or zarr-python objects. ``fill_value`` None: the data type's
    zero in v3, null in v2. Raises `NodeExistsError` where something is stored and ``overwrite`` is not set, and
    `MetadataError` or `UnsupportedError` for what the format cannot hold.
    """
    values = None if data is None else np.asarray(data)
    spec = build_spec(
        shape=_shape(shape, values),
        dtype=_dtype(dtype, values),
        chunks=chunks,
        shards=shards,
        filters=filters,
        compressors=compressors,
        serializer=serializer,
        fill_value=fill_value,
        order=order,
        dimension_names=dimension_names,
        attributes=attributes or {},
        chunk_key_encoding=chunk_key_encoding,
        zarr_format=zarr_format,
    )
    opened = open_store(store, mode="a", storage_options=storage_options)
    path = clean_path(f"{path}/{name}" if name else path)
    compile_layout(spec, path)  # before anything is written: what cannot be compiled cannot be stored
    documents = array_documents(spec, path)
    make_room(opened, path, overwrite)
    for key, document in documents.items():
        opened.set(key, format_json(document))
    array = Array(opened, path, spec, Options(writable=True, write_empty_chunks=write_empty_chunks))
    if values is not None:
        array[...] = values
    return array


def create_group(
    store: Any,
    path: str = "",
    *,
    attributes: Mapping[str, JSON] | None = None,
    zarr_format: int = 3,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Group:
    """Create a group and return it; raise `NodeExistsError` where something is stored and ``overwrite`` is not set."""
    opened = open_store(store, mode="a", storage_options=storage_options)
    path = clean_path(path)
    make_room(opened, path, overwrite)
    prefix = f"{path}/" if path else ""
    attributes = dict(attributes or {})
    document: dict[str, JSON]
    if zarr_format == 3:
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        opened.set(f"{prefix}zarr.json", format_json(document))
    else:
        document = {"zarr_format": 2}
        opened.set(f"{prefix}.zgroup", format_json(document))
        if attributes:
            opened.set(f"{prefix}.zattrs", format_json(attributes))
    spec = GroupSpec(attributes=attributes, zarr_format=zarr_format, document=document)
    return Group(opened, path, Found(spec), Options(writable=True))


def make_room(store: Store, path: str, overwrite: bool) -> None:
    """Make sure that nothing is stored at ``path``: delete it with ``overwrite``, else raise `NodeExistsError`."""
    prefix = f"{path}/" if path else ""
    if overwrite:
        store.delete_prefix(prefix)
        return
    for document in DOCUMENTS:
        if store.get(f"{prefix}{document}") is not None:
            raise NodeExistsError(
                "a node is stored here already", where=place_of(store, path), hint="use overwrite=True to replace it"
            )


def array_documents(spec: ArraySpec, path: str) -> dict[str, JSON]:
    """Return the documents of an array at ``path``, by key, in the order in which they are to be written."""
    prefix = f"{path}/" if path else ""
    if spec.zarr_format == 3:
        return {f"{prefix}zarr.json": format_array_v3(spec)}
    documents = {}
    if spec.attributes:
        documents[f"{prefix}.zattrs"] = dict(spec.attributes)
    documents[f"{prefix}.zarray"] = format_array_v2(spec)
    return documents


# --- from keywords to a spec -------------------------------------------------------------------------------------------


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
    grid, inner = _grids(shape, dtype, chunks, shards)
    if shards is not None and zarr_format == 2:
        raise UnsupportedError("Zarr v2 has no shards", hint="use zarr_format=3, or chunks alone")
    chain = _chain(dtype, len(shape), filters, serializer, compressors, order, zarr_format)
    if shards is not None:
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
    attributes = dict(attributes)
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
    return replace(spec, document=format_array_v3(spec) if spec.zarr_format == 3 else format_array_v2(spec))


def _shape(shape: int | Sequence[int] | None, values: Any) -> tuple[int, ...]:
    if shape is None:
        if values is None:
            raise MetadataError("an array needs a shape, or data to take it from", hint="give shape= or data=")
        return tuple(values.shape)
    found = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if values is not None and found != values.shape:
        raise MetadataError(f"shape {found} is not that of the data, {values.shape}")
    if any(n < 0 for n in found):
        raise MetadataError(f"shape {found} has a negative length")
    return found


def _dtype(dtype: Any, values: Any) -> DataType:
    if dtype is None:
        if values is None:
            raise MetadataError("an array needs a data type, or data to take it from", hint="give dtype= or data=")
        if values.dtype == object:
            return as_dtype("string")
        return as_dtype(values.dtype)
    return as_dtype(dtype)


def _grids(shape: tuple[int, ...], dtype: DataType, chunks: Any, shards: Any) -> tuple[ChunkGrid, tuple[int, ...]]:
    """Return the grid of stored objects, and the shape of the chunks within them."""
    if isinstance(chunks, str) and chunks == "auto":
        inner = auto_chunks(shape, dtype, None if shards is None else _sizes("shards", shards, shape))
    elif shards is None and not isinstance(chunks, int) and any(not isinstance(size, int | np.integer) for size in chunks):
        return _rectilinear(shape, chunks), ()
    else:
        inner = _sizes("chunks", chunks, shape)
    if shards is None:
        return regular_grid(shape, inner), inner
    outer = _sizes("shards", shards, shape)
    if any(o % i for o, i in zip(outer, inner, strict=True)):
        raise MetadataError(
            f"chunks {inner} do not divide the shards {outer}", hint="choose shards that are multiples of the chunks"
        )
    return regular_grid(shape, outer), inner


def _sizes(keyword: str, given: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = (given,) * len(shape) if isinstance(given, int) else tuple(given)
    if len(sizes) != len(shape) or any(not isinstance(n, int | np.integer) or (n < 1 and n != -1) for n in sizes):
        raise MetadataError(f"{keyword}={given!r} must be {len(shape)} positive whole numbers, one for each dimension")
    return tuple(max(length, 1) if n == -1 else int(n) for n, length in zip(sizes, shape, strict=True))


def _rectilinear(shape: tuple[int, ...], chunks: Any) -> ChunkGrid:
    shapes = [int(c) if isinstance(c, int | np.integer) else [int(n) for n in c] for c in chunks]
    return parse_chunk_grid(shape, Named("rectilinear", {"kind": "inline", "chunk_shapes": shapes}))


def auto_chunks(shape: tuple[int, ...], dtype: DataType, within: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Return chunk lengths of about `TARGET_CHUNK_NBYTES`, halving the longest dimension; divisors of ``within``."""
    itemsize = dtype.numpy.itemsize
    target = TARGET_CHUNK_NBYTES if within is None else TARGET_CHUNK_NBYTES // 16
    sizes = [max(n, 1) for n in (shape if within is None else within)]
    while math.prod(sizes) * itemsize > target:
        place = max((p for p in range(len(sizes)) if _halved(sizes[p], within) < sizes[p]), key=lambda p: sizes[p], default=-1)
        if place < 0:
            break
        sizes[place] = _halved(sizes[place], within)
    return tuple(sizes)


def _halved(size: int, within: tuple[int, ...] | None) -> int:
    if within is None:
        return -(-size // 2)
    return next((size // k for k in range(2, min(size, 64) + 1) if size % k == 0), size)


def _chain(
    dtype: DataType, rank: int, filters: Any, serializer: Any, compressors: Any, order: str, zarr_format: int
) -> tuple[Named, ...]:
    """Return the codec chain of a chunk (an inner chunk, where there are shards)."""
    chain = []
    if order not in ("C", "F"):
        raise MetadataError(f'order={order!r} must be "C" or "F"')
    if order == "F" and rank > 1:
        chain.append(Named("transpose", {"order": list(range(rank))[::-1]}))
    given = [_spelled(codec, zarr_format) for codec in _several(filters)]
    default = default_serializer(dtype)
    if zarr_format == 2:
        if dtype.itemsize is not None or not given:
            chain.append(default)
        chain.extend(given)
    else:
        chain.extend(given)
        chain.append(default if serializer in ("auto", None) else named_of(serializer))
    if isinstance(compressors, str) and compressors == "auto":
        compressors = [Named("numcodecs.zstd" if zarr_format == 2 else "zstd", {"level": 0, "checksum": False})]
    chain.extend(_spelled(codec, zarr_format) for codec in _several(compressors))
    return tuple(chain)


def default_serializer(dtype: DataType) -> Named:
    """Return the array->bytes codec that a data type is stored with when nobody chooses one."""
    if dtype.name == "string":
        return Named("vlen-utf8", {})
    if dtype.itemsize is None:
        return Named("vlen-bytes", {})
    if dtype.fields and dtype.numpy != dtype.numpy.newbyteorder("<"):
        return Named("bytes", {})
    if dtype.itemsize == 1 or dtype.numpy.kind in "SV" and not dtype.fields:
        return Named("bytes", {})
    return Named("bytes", {"endian": "big" if dtype.numpy.byteorder == ">" else "little"})


def _several(codecs: Any) -> list[Any]:
    if codecs is None:
        return []
    return list(codecs) if isinstance(codecs, list | tuple) and not isinstance(codecs, Named) else [codecs]


def _spelled(codec: Any, zarr_format: int) -> Named:
    """Return a codec under the name that the format uses: ids of numcodecs in v2, registered names in v3."""
    named = named_of(codec)
    if zarr_format == 2:
        name = named.name if named.name.startswith("numcodecs.") else f"numcodecs.{named.name}"
        return Named(name, named.configuration)
    short = named.name.removeprefix("numcodecs.")
    return Named(short, named.configuration) if short in V3_CODECS else named


V3_CODECS = frozenset({"zstd", "gzip", "blosc", "crc32c"})


def _key_encoding(given: Any, zarr_format: int) -> ChunkKeyEncoding:
    if given is None:
        return ChunkKeyEncoding("v2", ".") if zarr_format == 2 else ChunkKeyEncoding("default", "/")
    if isinstance(given, ChunkKeyEncoding):
        return given
    if given in ("/", "."):
        return ChunkKeyEncoding("v2" if zarr_format == 2 else "default", given)
    named = named_of(given) if isinstance(given, str) or "configuration" in given else _flat(given)
    return parse_chunk_key_encoding(named)


def _flat(given: Mapping[str, Any]) -> Named:
    """zarr-python also takes ``{"name": ..., "separator": ...}``."""
    return Named(str(given.get("name", "default")), {name: value for name, value in given.items() if name != "name"})

