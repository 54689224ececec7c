"""Zarr v2 documents: `.zarray`, `.zgroup`, `.zattrs`.

Imports documents, v3 and row 0. Invariant: what comes out is a v3 codec chain; nothing behind it knows of filters,
compressors, order or byte order. Source: Zarr v2, "Metadata".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..attribute_values import decode_attributes
from ..chunk_grids import ChunkGrid, RegularAxis, regular_grid
from ..chunk_keys import ChunkKeyEncoding
from ..compat import TOLERANT, Reading, read_as_meant
from ..dtypes import DataType, parse_dtype_v2
from ..errors import UnsupportedError
from ..spec import JSON, NUMCODECS, ArraySpec, GroupSpec, Named
from .alike import Alike, fingerprint
from .documents import DIMENSIONS as DIMENSIONS
from .documents import Checks, expect_format
from .v3 import parse_array_v3


def parse_array_v2(
    stored: Mapping[str, JSON], attributes: Mapping[str, JSON], reading: Reading = TOLERANT
) -> ArraySpec:
    """Return the spec of the array that ``stored`` (.zarray) and ``attributes`` (.zattrs) describe.

    ``reading`` says which quirks of writers are assumed or refused. Raises `MetadataError` or `UnsupportedError`.
    """
    if reading != TOLERANT:
        return _parse_array(stored, attributes, reading)
    get = stored.get
    form = get("shape"), get("chunks")
    # all members that mean anything; v2 has no extensions
    kind = [get(name) for name in ("zarr_format", "dtype", "filters", "compressor", "fill_value")]
    kind += [get("order", "C"), get("dimension_separator"), len(form[0]) if isinstance(form[0], list) else None]
    kind_key, form_key = fingerprint(kind), fingerprint(form)
    known, formed = _kinds.find(kind_key), _forms.find(form_key)
    if known is None or formed is None:
        spec = _parse_array(stored, attributes, reading, known)
        if spec.zarr_format == 2:  # else a v3 document under the v2 name
            _kinds.keep(kind_key, spec)
            _forms.keep(form_key, spec)
        return spec
    return ArraySpec(
        shape=formed.shape,
        dtype=known.dtype,
        chunk_grid=formed.chunk_grid,
        chunk_key_encoding=known.chunk_key_encoding,
        codecs=known.codecs,
        fill_value=known.fill_value,
        dimension_names=dimension_names(stored, attributes, len(formed.shape)),
        attributes=decode_attributes(attributes),
        zarr_format=2,
        document=stored,
    )


_kinds: Alike[ArraySpec] = Alike()
_forms: Alike[ArraySpec] = Alike()


def _parse_array(
    stored: Mapping[str, JSON], attributes: Mapping[str, JSON], reading: Reading, alike: ArraySpec | None = None
) -> ArraySpec:
    """Parse a document; ``alike`` is the spec of one that differs in its attributes, shape and chunks only."""
    document = read_as_meant(stored, 2, reading)
    if document.get("zarr_format") == 3 and "data_type" in document:
        return parse_array_v3({**document, "attributes": document.get("attributes") or attributes}, reading)
    expect_format(document, 2, ".zarray")
    checks = Checks(document)
    shape = checks.shape()
    filters = [] if alike else _codec_list(checks, document.get("filters"))
    dtype = alike.dtype if alike else _data_type(checks, filters)
    grid = _grid(checks, shape)
    order = document.get("order", "C")
    if order not in ("C", "F"):
        checks.problem("order", f'must be "C" or "F", not {order!r:.80}')
    separator = document.get("dimension_separator") or "."
    if separator not in (".", "/"):
        checks.problem("dimension_separator", f'must be "." or "/", not {separator!r:.80}')
    compressor = None if alike else _codec(checks, document.get("compressor"), "compressor")
    fill = alike.fill_value if alike else _fill_value(checks, dtype)
    checks.finish(".zarray")
    assert dtype is not None and grid is not None
    return ArraySpec(
        shape=shape,
        dtype=dtype,
        chunk_grid=grid,
        chunk_key_encoding=ChunkKeyEncoding("v2", separator),
        codecs=alike.codecs if alike else v2_chain(dtype, order, len(shape), filters, compressor),
        fill_value=fill,
        dimension_names=dimension_names(document, attributes, len(shape)),
        attributes=decode_attributes(attributes),
        zarr_format=2,
        document=stored,
    )


def _fill_value(checks: Checks, dtype: DataType | None) -> Any:
    return (
        checks.attempt("fill_value", lambda: dtype.parse_fill(checks.document.get("fill_value"), 2)) if dtype else None
    )


def _data_type(checks: Checks, filters: Sequence[Named]) -> DataType | None:
    document = checks.needed("dtype")
    if document is None:
        return None
    object_codec = filters[0].name.removeprefix(NUMCODECS) if filters else None
    return checks.attempt("dtype", lambda: parse_dtype_v2(document, object_codec))


def _grid(checks: Checks, shape: tuple[int, ...]) -> ChunkGrid | None:
    chunks = checks.required("chunks")
    if "chunks" not in checks.document:
        return None
    if not isinstance(chunks, list) or len(chunks) != len(shape):
        checks.problem("chunks", f"needs {len(shape)} sizes, one for each dimension, not {chunks!r:.80}")
        return None
    for place, (size, length) in enumerate(zip(chunks, shape, strict=True)):
        if not isinstance(size, int) or isinstance(size, bool) or size < (1 if length else 0):
            checks.problem(f"chunks[{place}]", f"must be a positive whole number, not {size!r:.80}")
            return None
    return regular_grid(shape, [max(size, 1) for size in chunks])


def _codec_list(checks: Checks, value: JSON) -> list[Named]:
    if value is None:
        return []
    if not isinstance(value, list):
        checks.problem("filters", f"must be a list or null, not {value!r:.80}")
        return []
    found = [_codec(checks, item, f"filters[{place}]") for place, item in enumerate(value)]
    return [codec for codec in found if codec is not None]


def _codec(checks: Checks, value: JSON, place: str) -> Named | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        checks.problem(place, f"must be an object with an id, not {value!r:.80}")
        return None
    return Named(NUMCODECS + value["id"], {name: item for name, item in value.items() if name != "id"})


def v2_chain(
    dtype: DataType, order: str, rank: int, filters: Sequence[Named], compressor: Named | None
) -> tuple[Named, ...]:
    """Return the v3 chain of a v2 array."""
    chain = []
    if order == "F" and rank > 1:
        chain.append(Named("transpose", {"order": list(range(rank))[::-1]}))
    codecs = [_with_defaults(codec) for codec in (*filters, *([compressor] if compressor else []))]
    first = codecs[0].name.removeprefix(NUMCODECS) if codecs else None
    if dtype.itemsize is None and first is None:
        raise UnsupportedError(
            "an array of objects needs a filter that encodes them (vlen-utf8, json2, ...), but has none",
            where="filters",
        )
    if dtype.itemsize is None and first == "categorize":  # objects become numbers, which are then the elements
        chain.append(codecs.pop(0))
        chain.append(Named("bytes", {"endian": "little"}))
    elif dtype.itemsize is not None and first not in ARRAY_BYTES:
        while codecs and codecs[0].name == "numcodecs.bitround":  # it must know the byte order; its document does not
            chain.append(codecs.pop(0))
        chain.append(Named("bytes", _byte_order(dtype)))
    return (*chain, *codecs)


ARRAY_BYTES = frozenset({"pcodec", "zfpy"})  # ids of numcodecs that take the elements as they are, not their bytes


def _with_defaults(codec: Named) -> Named:
    """Fill in what numcodecs assumes in v2 and assumes differently in v3."""
    if codec.name == "numcodecs.shuffle" and "elementsize" not in codec.configuration:
        return Named(codec.name, {**codec.configuration, "elementsize": 4})
    return codec


def _byte_order(dtype: DataType) -> dict[str, JSON]:
    if dtype.fields:
        return {}  # each field of a record has a byte order of its own
    return {"endian": "big" if dtype.numpy.byteorder == ">" else "little"}


def dimension_names(
    document: Mapping[str, JSON], attributes: Mapping[str, JSON], rank: int
) -> tuple[str | None, ...] | None:
    """Return the names that xarray or netcdf-c (NCZarr) gave the dimensions; None where there are none of use."""
    names: Any = attributes.get(DIMENSIONS)
    if names is None:
        nczarr: Any = document.get("_NCZARR_ARRAY") or attributes.get("_nczarr_array") or {}
        nczarr = nczarr if isinstance(nczarr, dict) else {}
        references = nczarr.get("dimrefs", nczarr.get("dimension_references"))  # the later name
        if isinstance(references, list) and all(isinstance(ref, str) for ref in references):
            names = [ref.rpartition("/")[2] for ref in references]  # fully qualified: "/group/lat"
    if not isinstance(names, list) or len(names) != rank or not all(isinstance(n, str | None) for n in names):
        return None
    return tuple(names)


def parse_group_v2(document: Mapping[str, JSON], attributes: Mapping[str, JSON]) -> GroupSpec:
    """Return the spec of a group; ``document`` is its .zgroup."""
    expect_format(document, 2, ".zgroup")
    return GroupSpec(attributes=decode_attributes(attributes), zarr_format=2, document=document)


def format_array_v2(spec: ArraySpec) -> dict[str, JSON]:
    """Return the `.zarray` document of ``spec``; raise `UnsupportedError` for what v2 cannot say."""
    if not spec.chunk_grid.regular:
        raise UnsupportedError("Zarr v2 has only regular chunk grids", hint="use zarr_format=3")
    if spec.chunk_key_encoding.name != "v2":
        raise UnsupportedError("Zarr v2 has only v2 chunk keys", hint="use zarr_format=3")
    order, filters, compressor = split_v2(spec)
    return {
        "zarr_format": 2,
        "shape": list(spec.shape),
        "chunks": [axis.step for axis in spec.chunk_grid if isinstance(axis, RegularAxis)],
        "dtype": spec.dtype.format_v2(),
        "compressor": compressor,
        "fill_value": spec.dtype.format_fill(spec.fill_value, 2),
        "order": order,
        "filters": filters or None,
        "dimension_separator": spec.chunk_key_encoding.separator,
    }


# ids of numcodecs that transform values; v2 documents list them as filters
FILTERS = frozenset(
    [
        "delta",
        "fixedscaleoffset",
        "quantize",
        "bitround",
        "astype",
        "packbits",
        "categorize",
        "shuffle",
        "vlen-utf8",
        "vlen-bytes",
        "vlen-array",
        "json2",
        "msgpack2",
        "pickle",
    ]
)


V3_ONLY = frozenset({"transpose", "sharding_indexed", "reshape", "cast_value", "scale_offset", "conditional", "zfp"})


def split_v2(spec: ArraySpec) -> tuple[str, list[JSON], JSON]:
    """Return (order, filters, compressor) as v2 documents hold them; raise `UnsupportedError` where v2 cannot."""
    chain = list(spec.codecs)
    order = "C"
    if chain and chain[0].name == "transpose":
        permutation = chain.pop(0).configuration.get("order")
        if permutation not in ("F", list(range(len(spec.shape)))[::-1]):
            raise UnsupportedError("Zarr v2 knows the orders C and F only", hint="use zarr_format=3")
        order = "F"
    chain = [codec for codec in chain if codec.name not in ("bytes", "endian")]  # v2: part of the data type
    for codec in chain:
        if codec.name in V3_ONLY:
            raise UnsupportedError(f"Zarr v2 has no codec {codec.name!r}", hint="use zarr_format=3")
    configurations: list[JSON] = [{"id": codec.name.removeprefix(NUMCODECS), **codec.configuration} for codec in chain]
    if not configurations or configurations[-1]["id"] in FILTERS:
        return order, configurations, None
    return order, configurations[:-1], configurations[-1]
