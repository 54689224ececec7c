"""How one value of each kind of data type is read from JSON, written to JSON, and taken from a caller.

Imports NumPy and spec only. Invariant: what cannot be turned into exactly one value of the data type raises
`ValueError`, `TypeError` or `OverflowError`, which `DataType` makes a `MetadataError`; no value is wrapped or cut off.
Sources: Zarr v3 core "Permitted fill values", the data types of zarr-extensions, Zarr v2 "Fill value encoding", and
what writers are known to store besides (numbers as strings, 0 for every data type, plain text where base64 belongs).
"""

from __future__ import annotations

import base64
import datetime
import math
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .spec import JSON

if TYPE_CHECKING:
    from .dtypes import DataType, Field

NOT_A_TIME = -(2**63)
_HEX = re.compile(r"0[xX]([0-9a-fA-F]+)")


class FillCoding(NamedTuple):
    """The three ways of one kind of fill value: from JSON, to the JSON of format 2 or 3, from a caller's value."""

    parse: Callable[[DataType, JSON], Any]
    format: Callable[[DataType, Any, int], JSON]
    cast: Callable[[DataType, Any], Any]


def _plain(value: Any) -> Any:
    """Return the Python value of a NumPy scalar or array of rank 0; everything else as it is."""
    if isinstance(value, np.ndarray | np.generic):
        if value.ndim:
            raise ValueError(f"one value is needed, not an array of shape {value.shape}")
        if value.dtype.kind in "mM":
            raise ValueError(f"{value!r} is a time")  # .item() would give the bare number of some units
        return value.item()
    return value


def _is_zero(value: JSON) -> bool:
    return isinstance(value, bool | int | float) and value == 0


# --- bool and integers


def _whole(value: JSON) -> int:
    """Return the whole number that ``value`` spells: 7, 7.0, "7" or "7e0"."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"a whole number is needed, not {value!r}")


def integer_limits(name: str) -> tuple[int, int]:
    """Return the least and the greatest value of the integer type called ``name``, such as "uint4"."""
    bits = int(name.lstrip("uint"))
    return (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _parse_integer(dtype: DataType, value: JSON) -> Any:
    number = _whole(value)
    low, high = integer_limits(dtype.name)
    if not low <= number <= high:
        raise ValueError(f"{number} is outside the range {low} to {high}")
    return dtype.numpy.type(number)


def _parse_bool(dtype: DataType, value: JSON) -> np.bool_:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return np.bool_(value.lower() == "true")
    number = _whole(value)
    if number not in (0, 1):
        raise ValueError(f"true or false is needed, not {value!r}")
    return np.bool_(number)


def _cast_plain(parse: Callable[[DataType, JSON], Any]) -> Callable[[DataType, Any], Any]:
    return lambda dtype, value: parse(dtype, _plain(value))


BOOL = FillCoding(_parse_bool, lambda dtype, value, zarr_format: bool(value), _cast_plain(_parse_bool))
INTEGER = FillCoding(_parse_integer, lambda dtype, value, zarr_format: int(value), _cast_plain(_parse_integer))


# --- floats, complex numbers


def _float(numpy: np.dtype[Any], value: JSON) -> Any:
    """Return a scalar of the native ``numpy`` from a number, its text, or the hexadecimal text of its bits."""
    pattern = _HEX.fullmatch(value) if isinstance(value, str) else None
    if pattern:
        return _from_bits(numpy, pattern[1])
    if not isinstance(value, bool | int | float | str):
        raise TypeError(f"a number is needed, not {value!r}")
    number = float(value)
    with np.errstate(all="ignore"):
        scalar = numpy.type(number)
    if number == 0 and math.isnan(scalar):
        return _from_bits(numpy, "00")  # float8_e8m0fnu has no zero: numbers mean the nearest value (v3 core)
    # the smallest formats lack infinity or NaN, and turn what they lack into something else
    if math.isnan(number) != math.isnan(scalar) or (math.isinf(number) and not math.isinf(scalar)):
        raise ValueError(f"{value!r} cannot be represented")
    return scalar


def _from_bits(numpy: np.dtype[Any], digits: str) -> Any:
    if len(digits) != 2 * numpy.itemsize:
        raise ValueError(f"a bit pattern needs {2 * numpy.itemsize} hexadecimal digits, not {len(digits)}")
    return np.array(int(digits, 16), dtype=f"u{numpy.itemsize}").view(numpy)[()]


def _bits(scalar: Any) -> int:
    return int.from_bytes(np.asarray(scalar).tobytes(), sys.byteorder)


def _format_float(numpy: np.dtype[Any], value: Any, zarr_format: int) -> JSON:
    number = float(value)
    if math.isnan(number):
        if zarr_format == 3 and _bits(value) != _bits(numpy.type(math.nan)):
            return f"0x{_bits(value):0{2 * numpy.itemsize}x}"
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _native(dtype: DataType) -> np.dtype[Any]:
    return dtype.numpy.newbyteorder("=")


def _cast_float(dtype: DataType, value: Any) -> Any:
    numpy = _native(dtype)
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 and value.dtype == numpy:
        return np.asarray(value)[()]  # not through a Python float: the bits of a NaN must survive
    return _float(numpy, _plain(value))


FLOAT = FillCoding(
    lambda dtype, value: _float(_native(dtype), value),
    lambda dtype, value, zarr_format: _format_float(_native(dtype), value, zarr_format),
    _cast_float,
)


def _part(dtype: DataType) -> np.dtype[Any]:
    return np.dtype(f"=f{dtype.numpy.itemsize // 2}")


def _parse_complex(dtype: DataType, value: JSON) -> Any:
    parts = value if isinstance(value, list | tuple) else [value, 0.0]
    if len(parts) != 2:
        raise ValueError(f"a real and an imaginary part are needed, not {value!r}")
    pair = np.array([_float(_part(dtype), part) for part in parts], dtype=_part(dtype))
    return pair.view(_native(dtype))[0]


def _format_complex(dtype: DataType, value: Any, zarr_format: int) -> JSON:
    pair = np.asarray(value, dtype=_native(dtype)).reshape(1).view(_part(dtype))
    return [_format_float(_part(dtype), part, zarr_format) for part in pair]


def _cast_complex(dtype: DataType, value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 and value.dtype == _native(dtype):
        return np.asarray(value)[()]
    number = _plain(value)
    return _parse_complex(dtype, [number.real, number.imag] if isinstance(number, complex) else number)


COMPLEX = FillCoding(_parse_complex, _format_complex, _cast_complex)


# --- times


def _parse_time(dtype: DataType, value: JSON) -> Any:
    count = NOT_A_TIME if value == "NaT" else _whole(value)
    return np.array(count, dtype="=i8").view(_native(dtype))[()]


def _format_time(dtype: DataType, value: Any, zarr_format: int) -> JSON:
    return int(np.asarray(value, dtype=_native(dtype)).view("=i8"))


def _cast_time(dtype: DataType, value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.timedelta):
        value = np.datetime64(value) if isinstance(value, datetime.date) else np.timedelta64(value)
    if isinstance(value, str) and value != "NaT" and dtype.numpy.kind == "M":
        value = np.datetime64(value)
    given = np.asarray(value)
    if given.dtype.kind != dtype.numpy.kind or given.ndim:
        return _parse_time(dtype, _plain(value))
    scalar = given.astype(_native(dtype))
    if not np.isnat(given) and scalar.astype(given.dtype) != given:
        raise ValueError(f"{value!r} is not a whole number of {np.datetime_data(dtype.numpy)}")
    return scalar[()]


TIME = FillCoding(_parse_time, _format_time, _cast_time)


# --- bytes and text of fixed length


def _binary(value: JSON) -> bytes:
    """Return the bytes that base64 text or a list of numbers spells; 0 and "" stand for none."""
    if _is_zero(value):
        return b""
    if isinstance(value, list | tuple):
        return bytes(value)
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    raise TypeError(f"base64 text or a list of bytes is needed, not {value!r}")


def _fixed(dtype: DataType, data: bytes) -> Any:
    size = dtype.numpy.itemsize
    if len(data if dtype.numpy.kind == "V" else data.rstrip(b"\0")) > size:
        raise ValueError(f"{len(data)} bytes do not fit into {size}")
    return np.frombuffer(data[:size].ljust(size, b"\0"), dtype=dtype.numpy)[0]


def _parse_padded(dtype: DataType, value: JSON) -> Any:
    if not isinstance(value, str):
        return _fixed(dtype, _binary(value))
    text = value.encode()  # some writers store the text itself
    try:
        data = _binary(value)
    except ValueError:
        return _fixed(dtype, text)
    return _fixed(dtype, text if len(data) > dtype.numpy.itemsize >= len(text) else data)


def _format_binary(dtype: DataType, value: Any, zarr_format: int) -> JSON:
    return base64.b64encode(bytes(value)).decode("ascii")


def _cast_binary(dtype: DataType, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.void):
        return _fixed(dtype, value.tobytes())
    if isinstance(value, str):
        return _fixed(dtype, value.encode()) if dtype.numpy.kind == "S" else dtype.fill.parse(dtype, value)
    return _fixed(dtype, bytes(value) if isinstance(value, bytes | bytearray | memoryview) else _binary(_plain(value)))


def _format_padded(dtype: DataType, value: Any, zarr_format: int) -> JSON:
    data = bytes(value)  # without the zeros at its end; in v2 tensorstore wants them
    return _format_binary(dtype, data.ljust(dtype.numpy.itemsize, b"\0") if zarr_format == 2 else data, zarr_format)


PADDED = FillCoding(_parse_padded, _format_padded, _cast_binary)
RAW = FillCoding(lambda dtype, value: _fixed(dtype, _binary(value)), _format_binary, _cast_binary)
BITS = RAW._replace(
    format=lambda dtype, value, zarr_format: list(bytes(value)) if zarr_format == 3 else _format_binary(dtype, value, 2)
)


def _parse_text(dtype: DataType, value: JSON) -> Any:
    text = "" if _is_zero(value) else value
    if not isinstance(text, str):
        raise TypeError(f"text is needed, not {value!r}")
    if dtype.numpy.kind != "U":
        return str(text)
    if 4 * len(text.rstrip("\0")) > dtype.numpy.itemsize:
        raise ValueError(f"{len(text)} characters do not fit into {dtype.numpy.itemsize // 4}")
    return np.array(text, dtype=dtype.numpy)[()]


TEXT = FillCoding(_parse_text, lambda dtype, value, zarr_format: str(value), _cast_plain(_parse_text))


# --- bytes of variable length, Python objects


def _cast_bytes(dtype: DataType, value: Any) -> bytes:
    value = _plain(value)
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else _binary(value)


BYTES = FillCoding(lambda dtype, value: _binary(value), _format_binary, _cast_bytes)
OBJECT = FillCoding(
    lambda dtype, value: value,
    lambda dtype, value, zarr_format: _plain(value),
    lambda dtype, value: value,
)


# --- records


def _record(dtype: DataType, values: Any, way: Callable[[Field, Any], Any]) -> Any:
    """Return a record of ``values``, in the order of the fields or by their names; what is left out is zero."""
    named = values if isinstance(values, dict) else dict(zip(dtype.numpy.names or (), values, strict=True))
    unknown = set(named).difference(dtype.numpy.names or ())
    if unknown:
        raise ValueError(f"there is no field {', '.join(map(repr, sorted(map(str, unknown))))}")
    record = np.zeros(1, dtype=dtype.numpy)
    for field in dtype.fields:
        if field.name in named:
            try:
                record[field.name][0] = way(field, named[field.name])
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(f"field {field.name!r}: {error}") from error
    return record[0]


def _parse_field(field: Field, value: JSON) -> Any:
    if field.shape:
        raise ValueError("a field that is itself an array has no spelling but the base64 text of the whole record")
    return field.dtype.fill.parse(field.dtype, value)


def _cast_field(field: Field, value: Any) -> Any:
    return np.asarray(value) if field.shape else field.dtype.fill.cast(field.dtype, value)


def _parse_record(dtype: DataType, value: JSON) -> Any:
    if isinstance(value, dict | list | tuple):
        return _record(dtype, value, _parse_field)
    return _packed(dtype, _binary(value))


def _packed(dtype: DataType, data: bytes) -> Any:
    if data and len(data) != dtype.numpy.itemsize:
        raise ValueError(f"a record has {dtype.numpy.itemsize} bytes, not {len(data)}")
    return np.frombuffer(data.ljust(dtype.numpy.itemsize, b"\0"), dtype=dtype.numpy)[0]


def _format_record(dtype: DataType, value: Any, zarr_format: int) -> JSON:
    if zarr_format == 2:
        return base64.b64encode(np.asarray(value, dtype=dtype.numpy).tobytes()).decode("ascii")
    if any(field.shape for field in dtype.fields):
        raise ValueError("a field that is itself an array has no spelling in Zarr v3")
    return {f.name: f.dtype.fill.format(f.dtype, value[f.name], zarr_format) for f in dtype.fields}


def _cast_record(dtype: DataType, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.void) and value.dtype.newbyteorder("=") == dtype.numpy.newbyteorder("="):
        return np.asarray(value).astype(dtype.numpy)[()]
    if isinstance(value, np.void) and value.dtype.names == dtype.numpy.names:
        value = [value[name] for name in value.dtype.names or ()]
    if isinstance(value, bytes):
        return _packed(dtype, value)
    if isinstance(value, dict | list | tuple):
        return _record(dtype, value, _cast_field)
    return _packed(dtype, _binary(_plain(value)))


RECORD = FillCoding(_parse_record, _format_record, _cast_record)
