"""The data types: one table row each, their spelling in Zarr v2 and v3 documents, and their NumPy counterparts.

Imports NumPy and errors, spec, fill_values, numpy_types of the same row. Invariant: a `DataType` is plain data (it
pickles, hashes and compares); its behaviour is found through its name in `ROWS`; a new type is one row.
Sources: Zarr v3 core "Data types", zarr-extensions data-types, Zarr v2 "Data type encoding".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import fill_values
from .errors import MetadataError, UnsupportedError
from .fill_values import FillCoding
from .numpy_types import (
    Build,
    checked_size,
    deeper,
    from_ml_dtypes,
    parse_shape,
    sized,
    time_dtype,
    timed,
    unknown_dtype,
    wrong_dtype,
)
from .spec import JSON

_TYPESTR = re.compile(r"([<>|=]?)([biufcmMSUVO])([0-9]*)(?:\[([^\]]*)\])?")
_RAW_BITS = re.compile(r"r([1-9][0-9]*)")


class Field(NamedTuple):
    """One field of a record; ``shape`` is that of an array inside the record, mostly empty."""

    name: str
    dtype: DataType
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DataType:
    """What one element of an array is.

    ``name`` is the v3 name, also for arrays of format 2. ``numpy`` is the data type of the NumPy arrays: with the
    byte order of a v2 document, little-endian for v3. ``itemsize`` counts the bytes of a stored element, None where
    elements vary in length. ``fields`` is filled for records only.
    """

    name: str
    numpy: np.dtype[Any]
    itemsize: int | None
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        return self.name if self.itemsize is None else f"{self.name} ({self.numpy})"

    @property
    def fill(self) -> FillCoding:
        """How fill values of this data type are read, written and checked."""
        return _row(self.name).fill

    @property
    def zero(self) -> Any:
        """The default fill value: 0, False, "", b"", a record of zeros; not-a-time for times, as in zarr-python."""
        if self.name == "string":
            return ""
        if self.name == "bytes":
            return b""
        if self.numpy.kind in "mM":
            return self.fill.parse(self, "NaT")
        return np.zeros(1, dtype=self.numpy)[0]

    def parse_fill(self, value: JSON, zarr_format: int) -> Any:
        """Return the scalar that the document's ``value`` means; None for the null of v2.

        The null of v3, which some writers store, means zero. Raises `MetadataError` for what is no value of this type.
        """
        if value is None:
            return None if zarr_format == 2 else self.zero
        return self._checked(self.fill.parse, value)

    def cast_fill(self, value: Any) -> Any:
        """Return a caller's ``value`` as a scalar of this data type; raise `MetadataError` where it would change."""
        return self._checked(self.fill.cast, value)

    def format_fill(self, value: Any, zarr_format: int) -> JSON:
        """Return ``value`` as the documents hold it, bit by bit the same in v3; None is null in v2 and zero in v3.

        Format 2 knows only one NaN.
        """
        if value is None and zarr_format == 2:
            return None
        scalar = self.zero if value is None else self.cast_fill(value)
        return self._checked(lambda dtype, scalar: dtype.fill.format(dtype, scalar, zarr_format), scalar)

    def _checked(self, way: Callable[[DataType, Any], Any], value: Any) -> Any:
        try:
            return way(self, value)
        except (ValueError, TypeError, OverflowError) as error:
            problem = f"{value!r:.80} is no value of {self}: {error}"
            raise MetadataError(
                f"wrong fill value: {problem}", where="fill_value", problems=[("fill_value", problem)]
            ) from error

    def format_v2(self) -> JSON:
        """Return the member ``dtype`` of a v2 document; raise `UnsupportedError` where v2 has no spelling."""
        if self.fields:
            return [[f.name, f.dtype.format_v2(), *([list(f.shape)] if f.shape else [])] for f in self.fields]
        if self.itemsize is None:
            return "|O"
        if _row(self.name).from_ml_dtypes:
            return self.name  # as tensorstore spells them
        if self.numpy.kind in "mM" and np.datetime_data(self.numpy)[0] == "generic":
            raise UnsupportedError(f"data type {self} has no unit, which Zarr v2 demands", hint="give it a unit")
        return self.numpy.str

    def format_v3(self) -> JSON:
        """Return the member ``data_type`` of a v3 document; raise `UnsupportedError` where v3 has no spelling."""
        if self.name == "object":
            raise UnsupportedError(
                "Zarr v3 has no data type for Python objects", hint="use string or bytes, or zarr_format=2"
            )
        configure = _row(self.name).configure
        return self.name if configure is None else {"name": self.name, "configuration": configure(self)}


class Row(NamedTuple):
    """One data type: its v3 name, how a NumPy dtype finds it, its fill values.

    ``key`` is a NumPy kind with or without a size, or a name. ``build(configuration, place)`` makes the NumPy dtype,
    by default that of the key; ``configure`` makes the configuration, where the name alone does not say everything.
    """

    name: str
    key: str
    fill: FillCoding
    build: Build | None = None
    configure: Callable[[DataType], JSON] | None = None

    @property
    def from_ml_dtypes(self) -> bool:
        """Whether the type comes from the package ml_dtypes; both formats call it by its name there."""
        return self.key == self.name


def _length(dtype: DataType) -> JSON:
    return {"length_bytes": dtype.numpy.itemsize}


def _unit(dtype: DataType) -> JSON:
    unit, scale = np.datetime_data(dtype.numpy)
    return {"unit": unit, "scale_factor": scale}


def _from_ml_dtypes(name: str) -> Row:
    return Row(name, name, fill_values.INTEGER if "int" in name else fill_values.FLOAT, from_ml_dtypes(name))


def _format_fields(dtype: DataType) -> JSON:
    for field in dtype.fields:
        if field.shape:
            raise UnsupportedError(
                f"field {field.name!r} is itself an array, which Zarr v3 cannot spell", hint="use zarr_format=2"
            )
    return {"fields": [{"name": field.name, "data_type": field.dtype.format_v3()} for field in dtype.fields]}


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("bool", "b1", fill_values.BOOL),
        Row("int8", "i1", fill_values.INTEGER),
        Row("int16", "i2", fill_values.INTEGER),
        Row("int32", "i4", fill_values.INTEGER),
        Row("int64", "i8", fill_values.INTEGER),
        Row("uint8", "u1", fill_values.INTEGER),
        Row("uint16", "u2", fill_values.INTEGER),
        Row("uint32", "u4", fill_values.INTEGER),
        Row("uint64", "u8", fill_values.INTEGER),
        Row("float16", "f2", fill_values.FLOAT),
        Row("float32", "f4", fill_values.FLOAT),
        Row("float64", "f8", fill_values.FLOAT),
        Row("complex64", "c8", fill_values.COMPLEX),
        Row("complex128", "c16", fill_values.COMPLEX),
        Row("numpy.datetime64", "M", fill_values.TIME, timed("M"), _unit),
        Row("numpy.timedelta64", "m", fill_values.TIME, timed("m"), _unit),
        Row("fixed_length_utf32", "U", fill_values.TEXT, sized("U", 4), _length),
        Row("null_terminated_bytes", "S", fill_values.PADDED, sized("S"), _length),
        Row("raw_bytes", "V", fill_values.RAW, sized("V"), _length),
        Row("r*", "r", fill_values.BITS),
        Row("string", "T", fill_values.TEXT, lambda configuration, place: np.dtypes.StringDType()),
        Row("bytes", "vlen", fill_values.BYTES, lambda configuration, place: np.dtype(object)),
        Row("object", "O", fill_values.OBJECT),
        Row("struct", "fields", fill_values.RECORD, None, _format_fields),
        *map(_from_ml_dtypes, ("int2", "uint2", "int4", "uint4", "bfloat16")),
        *map(_from_ml_dtypes, ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3")),
        *map(_from_ml_dtypes, ("float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2")),
        *map(_from_ml_dtypes, ("float8_e5m2fnuz", "float8_e8m0fnu")),
    )
}
_BY_KEY = {row.key: row for row in ROWS.values()}

# other v3 names: that of the row, and the configuration they imply
ALIASES: dict[str, tuple[str, Mapping[str, JSON]]] = {
    "complex_float32": ("complex64", {}),
    "complex_float64": ("complex128", {}),
    "variable_length_bytes": ("bytes", {}),  # zarr-python
    "structured": ("struct", {}),
    "datetime64": ("numpy.datetime64", {"unit": "us"}),  # ExZarr
    "timedelta64": ("numpy.timedelta64", {"unit": "us"}),
}

_OBJECT_CODECS = {"vlen-utf8": "string", "vlen-bytes": "bytes"}  # of format 2; all others hold Python objects


def _row(name: str) -> Row:
    return ROWS["r*"] if _RAW_BITS.fullmatch(name) else ROWS[name]


def _of(row: Row, numpy: np.dtype[Any]) -> DataType:
    return DataType(row.name, numpy, None if numpy.kind in "OT" else numpy.itemsize)


def _struct(fields: Iterable[Field], place: str) -> DataType:
    """Return the record of ``fields``, packed without gaps; raise `MetadataError` where they do not make one."""
    fields = tuple(fields)
    if not fields:
        raise wrong_dtype(place, "a record needs at least one field")
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise wrong_dtype(place, "two fields have the same name")
    sizes = [(field.dtype.itemsize or 0) * math.prod(field.shape) for field in fields]
    if any(field.dtype.itemsize is None for field in fields):
        raise UnsupportedError("records with fields of variable length are not known", where=place)
    size = checked_size(sum(sizes), place)
    numpy = np.dtype([(field.name, field.dtype.numpy, field.shape) for field in fields])
    return DataType("struct", numpy, size, fields)


# --- format 2


def parse_dtype_v2(value: JSON, object_codec: str | None = None) -> DataType:
    """Return the data type that the member ``dtype`` of a v2 document names (v2, "Data type encoding").

    ``object_codec`` is the id of the filter that encodes "|O". Times without a unit count microseconds.
    Raises `MetadataError` for what is malformed and `UnsupportedError` for what is not known.
    """
    return _parse_v2(value, object_codec, "dtype", 0)


def _parse_v2(value: JSON, object_codec: str | None, place: str, depth: int) -> DataType:
    if isinstance(value, list):
        return _struct((_field_v2(item, n, f"{place}[{n}]", depth) for n, item in enumerate(value)), place)
    if not isinstance(value, str):
        raise wrong_dtype(place, f"a type string or a list of fields is needed, not {value!r:.80}")
    row = ROWS.get(value)
    if row is not None and row.from_ml_dtypes and row.build:
        return _of(row, row.build({}, place))
    found = _TYPESTR.fullmatch(value)
    if found is None:
        raise unknown_dtype(value, place)
    order, kind, digits, unit = found.groups()
    if len(digits) > 12:
        raise wrong_dtype(place, f"an element of {digits:.40} bytes is not possible")
    if unit is not None and kind not in "mM":
        raise wrong_dtype(place, f"only times have a unit, not {value!r:.80}")
    if kind == "O":
        return as_dtype(_OBJECT_CODECS.get(object_codec or "", "object"))
    return _typestr(value, ">" if order == ">" else "<", kind, int(digits or 0), unit, place)


def _typestr(value: str, order: str, kind: str, size: int, unit: str | None, place: str) -> DataType:
    if kind in "SUV":
        checked_size(size * (4 if kind == "U" else 1), place)
        return _of(_BY_KEY[kind], np.dtype(f"{order}{kind}{size}"))
    if kind in "mM":
        if size != 8:
            raise unknown_dtype(value, place)
        return _of(_BY_KEY[kind], time_dtype(f"{order}{kind}8", "us" if unit is None else unit, place))
    row = _BY_KEY.get(f"{kind}{size}")
    if row is None:
        raise unknown_dtype(value, place)
    return _of(row, np.dtype(f"{order}{row.key}"))


def _field_v2(item: JSON, number: int, place: str, depth: int) -> Field:
    if not isinstance(item, list) or len(item) not in (2, 3) or not isinstance(item[0], str):
        raise wrong_dtype(place, f"a field is [name, type] or [name, type, shape], not {item!r:.80}")
    dtype = _parse_v2(item[1], None, f"{place}[1]", deeper(depth, place))
    # NumPy describes gaps between fields as fields without a name, and reads them back under these names
    return Field(item[0] or f"f{number}", dtype, parse_shape(item[2], f"{place}[2]") if len(item) == 3 else ())


# --- format 3


def parse_dtype_v3(value: JSON) -> DataType:
    """Return the data type that the member ``data_type`` of a v3 document names, as a name or as an object.

    Raises `MetadataError` for what is malformed and `UnsupportedError` for what is not known.
    """
    return _parse_v3(value, "data_type", 0)


def _parse_v3(value: JSON, place: str, depth: int) -> DataType:
    named = {"name": value} if isinstance(value, str) else value
    name = named.get("name") if isinstance(named, dict) else None
    configuration = named.get("configuration", {}) if isinstance(named, dict) else None
    if not isinstance(name, str) or not isinstance(configuration, dict | None):
        raise wrong_dtype(place, f"a name or an object with name and configuration is needed, not {value!r:.80}")
    if _RAW_BITS.fullmatch(name):
        return _raw_bits(name, place)
    name, implied = ALIASES.get(name, (name, {}))
    row = ROWS.get(name)
    if row is None or name in ("object", "r*"):
        raise unknown_dtype(name, place)
    configuration = {**implied, **(configuration or {})}
    if name == "struct":
        return _parse_struct(configuration.get("fields"), f"{place}.configuration.fields", depth)
    return _of(row, row.build(configuration, place) if row.build else np.dtype(f"<{row.key}"))


def _raw_bits(name: str, place: str) -> DataType:
    bits = int(name[1:13])
    if bits % 8 or len(name) > 13:
        raise wrong_dtype(place, f"{name!r:.80} is not a whole number of bytes")
    return DataType(name, np.dtype(f"V{checked_size(bits // 8, place)}"), bits // 8)


def _parse_struct(fields: JSON, place: str, depth: int) -> DataType:
    if not isinstance(fields, list):
        raise wrong_dtype(place, f"a list of fields is needed, not {fields!r:.80}")
    return _struct((_field_v3(item, f"{place}[{n}]", depth) for n, item in enumerate(fields)), place)


def _field_v3(item: JSON, place: str, depth: int) -> Field:
    depth = deeper(depth, place)
    shape: tuple[int, ...] = ()
    if isinstance(item, dict):
        name, data_type, inner = item.get("name"), item.get("data_type"), f"{place}.data_type"
    elif isinstance(item, list) and len(item) in (2, 3):  # the older form; its third item as in format 2
        name, data_type, inner = item[0], item[1], f"{place}[1]"
        shape = parse_shape(item[2], f"{place}[2]") if len(item) == 3 else ()
    else:
        raise wrong_dtype(place, f"a field has a name and a data_type, unlike {item!r:.80}")
    if not isinstance(name, str) or not name:
        raise wrong_dtype(place, f"{name!r:.80} is no name of a field")
    return Field(name, _parse_v3(data_type, inner, depth), shape)


# --- what callers give


def as_dtype(value: Any) -> DataType:
    """Return the data type that a caller means.

    ``value`` is a `DataType`, a name of the v3 or NumPy vocabulary, a v3 object, a v2 list of fields, a Python type
    (str and bytes: variable length), or whatever `numpy.dtype` takes. Raises `UnsupportedError` for anything else.
    """
    if isinstance(value, DataType):
        return value
    if isinstance(value, dict) and "name" in value:
        return parse_dtype_v3(value)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        return parse_dtype_v2(value)
    if isinstance(value, str) and (value in ALIASES or value in ROWS or _RAW_BITS.fullmatch(value)):
        return _of(ROWS["object"], np.dtype(object)) if value == "object" else parse_dtype_v3(value)
    try:
        return _from_numpy(np.dtype(value))
    except TypeError as error:
        raise UnsupportedError(
            f"data type {value!r:.80} is not known", hint=f"known are NumPy's and {', '.join(ROWS)}"
        ) from error


def _from_numpy(numpy: np.dtype[Any]) -> DataType:
    if numpy.names is not None:
        fields = [(name, numpy[name]) for name in numpy.names]
        return _struct((Field(name, _from_numpy(field.base), field.shape) for name, field in fields), "dtype")
    if numpy.kind == "T":
        return parse_dtype_v3("string")
    if numpy.kind in "US" and not numpy.itemsize:  # the types str and bytes
        return parse_dtype_v3("string" if numpy.kind == "U" else "bytes")
    row = _BY_KEY.get(numpy.name if numpy.type.__module__ == "ml_dtypes" else numpy.str[1:]) or _BY_KEY.get(numpy.kind)
    if row is None:
        raise UnsupportedError(f"data type {numpy} has no place in Zarr")
    if row.from_ml_dtypes:
        return _of(row, np.dtype(numpy.type))  # of native order: ml_dtypes knows no other
    if numpy.kind in "SUV":
        checked_size(numpy.itemsize, "dtype")
    return _of(row, np.dtype(numpy.str))
