"""How the other implementations read and write the arrays of the matrix.

A peer reads what is at a path, or writes there the array that a document of ours describes: it is told the document's
members in its own words, and makes a document of its own.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.interop.matrix import ATTRIBUTES, NAMES, SHAPE, Combination, array_of, keywords_of
from xzarr_backend.codec_objects import report_codecs
from xzarr_backend.dtypes import as_dtype
from xzarr_backend.spec import ArraySpec
from xzarr_backend.spec_building import build_spec

ZARR_WARNINGS = (
    "ignore:The data type:",  # without a specification when zarr-python 3.1 was made
    "ignore:The codec:",
    "ignore:Numcodecs codecs are not in the Zarr version 3 specification",
    "ignore:Object at .* is not recognized",
)


class Read(NamedTuple):
    """What a peer found: the values, and what else it says about the array (None: it does not say)."""

    values: Any
    fill: Any = None
    attributes: Any = None
    names: tuple[str | None, ...] | None = None


def spec_of(one: Combination, fill: Any) -> ArraySpec:
    """Return our spec of a combination, to tell a peer what to write."""
    keywords = {
        "shards": None,
        "filters": None,
        "serializer": "auto",
        "compressors": "auto",
        "order": "C",
        "chunk_key_encoding": None,
        **keywords_of(one),
    }
    return build_spec(shape=SHAPE, fill_value=fill, **{**keywords, "dtype": as_dtype(one.kind.dtype)})


# --- zarr-python 3 -------------------------------------------------------------------------------------------------


def read_with_zarr(folder: Path, one: Combination) -> Read:
    """Read with the installed zarr-python."""
    import zarr

    array = zarr.open_array(folder / one.path, mode="r", zarr_format=one.way.zarr_format)
    attributes = dict(array.attrs)
    old = attributes.pop("_ARRAY_DIMENSIONS", None)
    names = old if array.metadata.zarr_format == 2 else array.metadata.dimension_names
    return Read(array[...], array.fill_value, attributes, None if names is None else tuple(names))


def write_with_zarr(folder: Path, one: Combination) -> None:
    """Write with the installed zarr-python."""
    import zarr

    values, fill = array_of(one.kind, one.way)
    spec = spec_of(one, fill)
    make = _zarr_v2 if one.way.zarr_format == 2 else _zarr_v3
    array = zarr.create_array(
        store=folder / one.path,
        shape=SHAPE,
        dtype=_zarr_dtype(one),
        fill_value=spec.fill_value,
        zarr_format=one.way.zarr_format,
        config={"write_empty_chunks": False},
        **make(spec),
    )
    array[...] = values


def _zarr_dtype(one: Combination) -> Any:
    import zarr.dtype

    if one.kind.row in ("string", "object"):
        return zarr.dtype.VariableLengthUTF8()
    return zarr.dtype.VariableLengthBytes() if one.kind.row == "bytes" else one.kind.numpy


def _zarr_v2(spec: ArraySpec) -> dict[str, Any]:
    from numcodecs import get_codec

    document = spec.document
    filters = [get_codec(dict(codec)) for codec in document["filters"] or ()]
    return {
        "chunks": tuple(document["chunks"]),
        "order": document["order"],
        "filters": filters or None,
        "compressors": document["compressor"] and get_codec(dict(document["compressor"])),
        "chunk_key_encoding": {"name": "v2", "separator": document["dimension_separator"]},
        "attributes": {**ATTRIBUTES, "_ARRAY_DIMENSIONS": list(NAMES)},
    }


def _zarr_v3(spec: ArraySpec) -> dict[str, Any]:
    codecs = report_codecs(spec)
    outer = tuple(spec.document["chunk_grid"]["configuration"]["chunk_shape"])
    inner = spec.document["codecs"][0]
    sharded = inner["name"] == "sharding_indexed"
    return {
        "chunks": tuple(inner["configuration"]["chunk_shape"]) if sharded else outer,
        "shards": outer if sharded else None,
        "filters": list(map(_complete, codecs.filters)) or None,
        "serializer": _complete(codecs.serializer),
        "compressors": list(map(_complete, codecs.compressors)) or None,
        "chunk_key_encoding": spec.document["chunk_key_encoding"],
        "dimension_names": NAMES,
        "attributes": ATTRIBUTES,
    }


def _complete(codec: dict[str, Any]) -> dict[str, Any]:
    return {"configuration": {}, **codec}


# --- tensorstore ---------------------------------------------------------------------------------------------------


def read_with_tensorstore(folder: Path, one: Combination) -> Read:
    """Read with tensorstore; of records every field by itself."""
    numpy = one.kind.numpy
    if numpy.names is None:
        array = open_tensorstore(folder / one.path, one.way.zarr_format)
        names = array.domain.labels[: len(SHAPE)] if one.way.zarr_format == 3 else None
        return Read(_joined(array.read().result(), numpy), names=names)
    values = np.zeros(SHAPE, numpy)
    for field in numpy.names:
        array = open_tensorstore(folder / one.path, one.way.zarr_format, field=field)
        values[field] = _joined(array.read().result(), numpy[field])
    return Read(values)


def _joined(values: Any, numpy: np.dtype[Any]) -> Any:
    """Elements of several bytes have a dimension of their own, and a NumPy data type without a size."""
    if values.ndim == len(SHAPE):
        return values
    assert values.strides[-1] == 1
    data = ctypes.string_at(values.ctypes.data, math.prod(values.shape))
    return np.frombuffer(data, numpy).reshape(values.shape[:-1])


def write_with_tensorstore(folder: Path, one: Combination) -> None:
    """Write with tensorstore, which gets our document as its constraints."""
    import tensorstore

    values, fill = array_of(one.kind, one.way)
    document = dict(spec_of(one, fill).document)
    path = folder / one.path
    spec = {"driver": "zarr3" if one.way.zarr_format == 3 else "zarr", "kvstore": kvstore(path), "metadata": document}
    fields = one.kind.numpy.names
    for field in fields or (None,):
        given = spec if field is None else {**spec, "field": field}
        array = tensorstore.open(given, create=True, open=field is not None, context=context()).result()
        part = values if field is None else values[field]
        if len(array.shape) > len(SHAPE):
            size = part.dtype.itemsize
            part = np.ascontiguousarray(part).view("V1" if part.dtype.kind == "V" else "S1").reshape(*SHAPE, size)
        array.write(part).result()


def open_tensorstore(path: Path, zarr_format: int, **more: Any) -> Any:
    """Return the array at ``path``, open for reading and writing."""
    import tensorstore

    spec = {"driver": "zarr3" if zarr_format == 3 else "zarr", "kvstore": kvstore(path), **more}
    return tensorstore.open(spec, context=context()).result()


def kvstore(path: Path) -> dict[str, Any]:
    """Return how tensorstore names a folder."""
    return {"driver": "file", "path": f"{path}/", "file_io_sync": False}


_context: list[Any] = []


def context() -> Any:
    """Return the one context of all arrays."""
    if not _context:
        import tensorstore

        _context.append(tensorstore.Context({"file_io_concurrency": {"limit": 2}}))
    return _context[0]


READERS = {"zarr": read_with_zarr, "tensorstore": read_with_tensorstore}
WRITERS = {"zarr": write_with_zarr, "tensorstore": write_with_tensorstore}
