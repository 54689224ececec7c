"""What masks an array in xarray, carried from one format to the other.

Imports NumPy, fill_values by way of the spec's data type, and the rows below. Invariant: an array with dimension names
opens in xarray with the same values masked before and after. In v2 the fill value itself is what xarray masks; in v3 it
is the attribute ``_FillValue`` (floats in base64), and the fill value masks nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .attribute_values import pack_float, unpack_float
from .dtypes import DataType
from .spec import JSON, ArraySpec

MASK = "_FillValue"


class Masked(NamedTuple):
    """The attributes and the fill value of the target, and a remark where the mask cannot be said."""

    attributes: dict[str, JSON]
    fill: Any
    note: str = ""


def carry_mask(source: ArraySpec, zarr_format: int) -> Masked:
    """Return the attributes and the fill value that mean in ``zarr_format`` what those of ``source`` mean."""
    attributes = dict(source.attributes)
    if zarr_format == source.zarr_format or names_of(source) is None or source.dtype.numpy.kind not in "biufcS":
        return Masked(attributes, source.fill_value)
    return _to_v3(source, attributes) if zarr_format == 3 else _to_v2(source, attributes)


def names_of(source: ArraySpec) -> tuple[str | None, ...] | None:
    """Return the names of the dimensions; none at all of a scalar is not the same as unnamed."""
    if source.dimension_names is None and not source.shape and source.document.get("dimension_names") == []:
        return ()
    return source.dimension_names


def _to_v3(source: ArraySpec, attributes: dict[str, JSON]) -> Masked:
    fill = source.fill_value
    masks = fill is not None and not _is_nan(fill, source.dtype)
    mask = fill if masks else attributes.get(MASK)
    if mask is not None:
        attributes[MASK] = _encode(mask, source.dtype)
    return Masked(attributes, source.fill_value)


def _to_v2(source: ArraySpec, attributes: dict[str, JSON]) -> Masked:
    dtype, fill = source.dtype, source.fill_value
    mask = attributes.pop(MASK, None)
    if mask is not None:
        try:
            mask = _decode(mask, dtype)
        except (ValueError, TypeError, OverflowError):
            return Masked(
                dict(source.attributes), fill, f"the attribute {MASK} is no value of {dtype}, and kept as it is"
            )
        if _bits(mask, dtype) == _bits(fill, dtype) and not _is_nan(fill, dtype):
            return Masked(attributes, fill)
        attributes[MASK] = mask.decode("latin-1") if isinstance(mask, bytes) else np.asarray(mask).item()
    if _bits(fill, dtype) == _bits(dtype.zero, dtype):
        return Masked(attributes, None)  # null reads as zero, and masks nothing
    if _is_nan(fill, dtype):
        return Masked(attributes, fill)
    return Masked(attributes, fill, f"the fill value {fill} masks values in xarray now, as all fill values do in v2")


def _is_nan(value: Any, dtype: DataType) -> bool:
    """Return whether a fill value masks only what is missing anyway."""
    return dtype.numpy.kind in "fc" and bool(np.isnan(value))


def _bits(value: Any, dtype: DataType) -> bytes:
    return np.asarray(value).astype(dtype.numpy).tobytes()


def _encode(value: Any, dtype: DataType) -> JSON:
    kind = dtype.numpy.kind
    if kind == "f":
        return pack_float(float(value))
    if kind == "c":
        return [pack_float(complex(value).real), pack_float(complex(value).imag)]
    if kind == "S":
        return base64.b64encode(value if isinstance(value, bytes) else str(value).encode("latin-1")).decode()
    return bool(value) if kind == "b" else int(value)


def _decode(value: JSON, dtype: DataType) -> Any:
    """Return what an attribute of v3 stands for; raise `ValueError`, `TypeError` or `OverflowError`."""
    kind = dtype.numpy.kind
    if kind == "f" and isinstance(value, str):
        return unpack_float(value)
    if kind == "c" and isinstance(value, list | tuple):
        return complex(*(unpack_float(part) if isinstance(part, str) else part for part in value))
    if kind == "S" and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    return dtype.numpy.type(value)


def plain_attributes(attributes: Mapping[str, JSON], source: ArraySpec, zarr_format: int) -> dict[str, JSON]:
    """Return ``attributes`` without xarray's names of the dimensions, where the document says them itself in v3."""
    names = attributes.get("_ARRAY_DIMENSIONS")
    said = source.zarr_format == 2 and zarr_format == 3 and names == list(names_of(source) or ())
    return {name: value for name, value in attributes.items() if not (said and name == "_ARRAY_DIMENSIONS")}
