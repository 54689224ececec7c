"""From an xarray variable to what is stored: CF-encoded values, attributes, and the spec of a new array.

Imports xarray (its public coding), creation, xarray_chunking and the rows below. Invariant: values and attributes are
those that xarray's built-in writer would store; where more is possible (times and texts that the format itself knows)
nothing is lost on the way back.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Hashable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray import conventions

from .attribute_values import TYPES, decode_attributes, encode_attributes, pack_float
from .codec_objects import spelled
from .codecs import BYTES_BYTES, lookup
from .dtypes import DataType, as_dtype
from .errors import ArgumentError, MetadataError, UnsupportedError
from .layout import compile_layout
from .profiles import Profile, apply_profile, needs_every_chunk, refuse_broken
from .spec import ArraySpec, Named
from .spec_building import build_spec
from .xarray_chunking import Policy, choose_chunks
from .xarray_values import encode_text, fits_unit, is_time, native_time, typed

DROPPED = frozenset({"source", "original_shape", "preferred_chunks"})  # what readers leave in ``encoding``
KNOWN = frozenset(
    [
        "chunks",
        "shards",
        "compressors",
        "filters",
        "serializer",
        "cache_metadata",
        "write_empty_chunks",
        "chunk_key_encoding",
    ]
)
_CF = frozenset(
    [
        "dtype",
        "units",
        "calendar",
        "scale_factor",
        "add_offset",
        "_FillValue",
        "missing_value",
        "_Unsigned",
        "coordinates",
    ]
)
_TEXT_CODECS = frozenset({"bytes", "vlen-utf8", "vlen-bytes"})  # serializers that follow from the data type


class NewArray(NamedTuple):
    """An array to be created: its spec, the values, and whether chunks of nothing but fill values are stored."""

    name: str
    spec: ArraySpec
    data: Any
    write_empty_chunks: bool


class Choices(NamedTuple):
    """What a call of ``to_zarr`` says about all new arrays.

    ``as_xarray`` is that of `xarray_chunking.Policy`; ``align_chunks`` keeps inherited chunks.
    """

    zarr_format: int
    as_xarray: bool
    align_chunks: bool
    write_empty_chunks: bool | None
    profile: Profile | None = None


def with_types(variable: xr.Variable) -> xr.Variable:
    """Return a variable with the values that its attributes stand for, where another tool has read them.

    xarray takes some of them (``missing_value``) for its encoding.
    """
    if not isinstance(variable.attrs.get(TYPES), dict):
        return variable
    moved = {name: value for name, value in variable.encoding.items() if name not in variable.attrs}
    found = dict(decode_attributes({**variable.attrs, **moved}))
    variable = variable.copy(deep=False)
    variable.encoding = {**variable.encoding, **{name: found.pop(name) for name in moved}}
    variable.attrs = found
    return variable


def encode_variable(name: Hashable, variable: xr.Variable, zarr_format: int) -> xr.Variable:
    """Return ``variable`` with the values, attributes and data type that are stored; its encoding keeps the rest."""
    native = native_time(variable)
    if native is not None:
        return fits_unit(name, variable, native)
    if variable.dtype.kind in "mM" and is_time(variable.encoding.get("dtype")):
        variable = variable.copy(deep=False)
        del variable.encoding["dtype"]  # units are given, so numbers are stored: xarray would store them as times
    # without these coders, in older releases, bool becomes int8 as for netCDF
    coders: Any = {"coders": conventions.ZARR_CODERS} if hasattr(conventions, "ZARR_CODERS") else {}
    encoded = conventions.encode_cf_variable(variable, name=name, **coders)
    return encode_text(typed(encoded, name), name, zarr_format)


def new_array(name: Hashable, variable: xr.Variable, explicit: bool, choices: Choices) -> NewArray:
    """Return the array that the encoded ``variable`` becomes; ``explicit``: its encoding was given for this write.

    Raises `ArgumentError`, `MetadataError`, `RegionError` or `UnsupportedError` for what cannot be.
    """
    attributes = dict(variable.attrs)
    dtype = dtype_of(variable.dtype)
    profile, inherits = choices.profile, explicit or choices.profile is None
    fill = _take_fill_value(variable, attributes, choices.zarr_format)
    encoding = checked_encoding(name, variable.encoding, explicit, choices.zarr_format)
    write_empty = _write_empty(encoding.pop("write_empty_chunks", None), choices.write_empty_chunks)
    policy = Policy(choices.as_xarray, explicit, choices.align_chunks, choices.zarr_format == 3 and inherits)
    chunking = choose_chunks(name, variable, encoding, policy)
    keywords = {
        "shape": variable.shape,
        "dtype": dtype,
        "chunks": chunking.chunks,
        "shards": chunking.shards if (choices.zarr_format == 3 and inherits) or explicit else None,
        "fill_value": fill,
        "order": "C",
        "dimension_names": [str(dim) for dim in variable.dims],
        "attributes": encode_attributes_of(name, attributes),
        "chunk_key_encoding": _key_encoding(encoding.get("chunk_key_encoding"), explicit, choices.zarr_format)
        if inherits
        else None,
        "zarr_format": choices.zarr_format,
    }
    spec = _with_codecs(keywords, encoding, explicit, str(name), profile)
    write_empty = write_empty or (profile is not None and needs_every_chunk(profile, spec))
    return NewArray(str(name), spec, variable.data, write_empty)


# --- codecs ---------------------------------------------------------------------------------------------------------


def _with_codecs(
    keywords: dict[str, Any], encoding: Mapping[str, Any], explicit: bool, name: str, profile: Profile | None
) -> ArraySpec:
    """Return the spec with the codecs of ``encoding``; inherited ones that do not fit any more are left out."""
    given = {key: encoding[key] for key in ("filters", "serializer", "compressors") if key in encoding}
    if explicit:
        return _compiled(name, keywords, _routed(given, keywords), profile)
    attempts = [given, {"compressors": given.get("compressors", "auto")}, {}]
    for attempt in attempts[:-1]:
        try:
            return _compiled(name, keywords, _routed(_without_implied(attempt), keywords), profile)
        except (MetadataError, UnsupportedError):
            continue
    return _compiled(name, keywords, {}, profile)


def _compiled(name: str, keywords: dict[str, Any], codecs: Mapping[str, Any], profile: Profile | None) -> ArraySpec:
    given = {**keywords, "filters": None, "serializer": "auto", "compressors": "auto", **codecs}
    try:
        spec = build_spec(**(given if profile is None else apply_profile(profile, given)))
        if profile is not None:
            refuse_broken(profile, spec)
        compile_layout(spec, name)
    except (MetadataError, UnsupportedError) as error:
        raise error.at(f"variable {name!r}")  # noqa: B904
    return spec


def _without_implied(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what follows from the data type, which may be another one by now."""
    found = dict(given)
    found["filters"] = [codec for codec in _several(given.get("filters")) if _short(codec) not in _TEXT_CODECS]
    if "serializer" in found and (found["serializer"] is None or _short(found["serializer"]) in _TEXT_CODECS):
        del found["serializer"]
    return found


def _routed(given: Mapping[str, Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Put codecs of bytes, which v2 lists as filters too, where v3 has them."""
    found = dict(given)
    if keywords["zarr_format"] == 2:
        if found.get("serializer") in ("auto", None) or _short(found["serializer"]) == "bytes":
            found.pop("serializer", None)
        return found
    itemsize = keywords["dtype"].itemsize or 1
    filters = [spelled(codec, 3, itemsize) for codec in _several(found.get("filters"))]
    moved = [codec for codec in filters if _is_of_bytes(codec)]
    if moved:
        compressors = found.get("compressors", "auto")
        last = ["zstd"] if isinstance(compressors, str) and compressors == "auto" else _several(compressors)
        found |= {"filters": [c for c in filters if not _is_of_bytes(c)], "compressors": [*moved, *last]}
    return found


def _is_of_bytes(codec: Named) -> bool:
    return lookup(codec.name).kind == BYTES_BYTES or codec.name == "numcodecs.shuffle"


def _short(codec: Any) -> str:
    try:
        return spelled(codec, 3, 1).short_name
    except (MetadataError, UnsupportedError):
        return ""


def _several(codecs: Any) -> list[Any]:
    if codecs is None or (isinstance(codecs, str) and codecs == "auto"):
        return []
    return list(codecs) if isinstance(codecs, list | tuple) and not isinstance(codecs, Named) else [codecs]


def _key_encoding(given: Any, explicit: bool, zarr_format: int) -> Any:
    """Inherited keys are those of the other format where the format changes."""
    if given is None or explicit or zarr_format == 3:
        return given
    return None


# --- what encodings may hold ----------------------------------------------------------------------------------------


def checked_encoding(name: Hashable, encoding: Mapping[str, Any], explicit: bool, zarr_format: int) -> dict[str, Any]:
    """Return what of an encoding says how to store; raise `MetadataError` for unknown keys of an explicit one."""
    if encoding.get("_FillValue") is not None:
        raise MetadataError(f"Zarr does not support _FillValue in encoding (variable {name!r}).")
    known = KNOWN | {"fill_value"} if zarr_format == 3 else KNOWN
    unknown = [key for key in encoding if key not in known and key not in DROPPED | {"_FillValue"}]
    if explicit and unknown:
        raise MetadataError(
            f"unexpected encoding parameters for zarr backend:  {unknown!r}."
            + (" Use `_FillValue` to set the Zarr array `fill_value`" if unknown == ["fill_value"] else ""),
            where=f"variable {name!r}",
            hint=_nearest(unknown, known | _CF),
        )
    return {key: value for key, value in encoding.items() if key in KNOWN}


def _nearest(unknown: Sequence[str], known: Collection[str]) -> str:
    suggestions = [
        f"did you mean {close[0]!r} for {key!r}?" for key in unknown if (close := get_close_matches(str(key), known, 1))
    ]
    return " ".join(suggestions) or f"known are {', '.join(sorted(known))}"


def _write_empty(encoded: bool | None, keyword: bool | None) -> bool:
    if encoded is not None and keyword is not None and encoded != keyword:
        raise MetadataError(
            'Differing "write_empty_chunks" values in encoding and parameters: '
            f"encoding['write_empty_chunks'] = {encoded} and write_empty_chunks = {keyword}"
        )
    return bool(keyword if encoded is None else encoded)


def encode_attributes_of(name: Hashable, attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as JSON; raise `ArgumentError` (a TypeError, as in xarray) for what JSON has no word for."""
    try:
        return encode_attributes({str(key): value for key, value in attributes.items()})
    except MetadataError as error:
        where = "the dataset" if name is None else f"variable {name!r}"
        raise ArgumentError(
            f"Invalid attribute in Dataset.attrs. {error.what}", where=where, hint=error.hint
        ) from error


# --- data types and fill values -------------------------------------------------------------------------------------


def dtype_of(dtype: np.dtype[Any]) -> DataType:
    """Return the data type that values of ``dtype`` are stored as; texts of any length are objects in xarray."""
    metadata: Any = dtype.metadata or {}
    if dtype.kind == "O" and metadata.get("element_type") is str:
        return as_dtype("string")
    return as_dtype("string" if dtype.kind == "T" else dtype)


def _take_fill_value(variable: xr.Variable, attributes: dict[str, Any], zarr_format: int) -> Any:
    """Return the array's fill value, and leave in ``attributes`` what xarray masks by.

    In v2 these are one and the same. In v3 ``_FillValue`` stays an attribute; floats are filled with NaN by default.
    """
    if variable.dtype.kind in "mM":
        return np.array("NaT", variable.dtype)[()]
    if zarr_format == 2:
        return attributes.pop("_FillValue", None)
    fill = variable.encoding.pop("fill_value", None)
    if fill is None and variable.dtype.kind == "f":
        fill = np.nan
    mask = attributes.pop("_FillValue", None)
    if mask is not None:
        attributes["_FillValue"] = encode_fill_value(mask, variable.dtype)
    return fill


def encode_fill_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the attribute ``_FillValue`` of v3 for values of ``dtype``, as xarray writes it: bit by bit the same.

    Floats are base64 of eight little-endian bytes, complex numbers two of those, bytes base64; others are plain.
    """
    kind = dtype.kind
    try:
        if kind == "f":
            return pack_float(float(value))
        if kind == "c":
            return [pack_float(complex(value).real), pack_float(complex(value).imag)]
        if kind == "S" and isinstance(value, bytes):
            return base64.standard_b64encode(value).decode()
        if kind == "b":
            return bool(value)
        if kind in "iu":
            return int(value)
        if kind in "UTO" and isinstance(value, str):
            return str(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"Failed to encode fill_value: {value!r:.80} is no value of {dtype}") from error
    raise ArgumentError(f"Failed to encode fill_value: {value!r:.80} is no value of {dtype}")
