"""Values on their way into an array: NumPy's casts, but for those that would store something else.

Imports errors and dtypes of the rows below. Invariant: a value out of the range of the array's data type, or a text too
long for it, is an error and never another value; what NumPy rounds (fractions to whole numbers, double to single
precision) it may round.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from .dtypes import DataType
from .errors import RegionError
from .fill_values import integer_limits


def cast(values: Any, dtype: DataType, where: str) -> Any:
    """Return ``values`` as an array of ``dtype``; raise `RegionError` where they do not fit.

    As in NumPy, fractions are cut off where whole numbers are stored and numbers lose precision. Refused are numbers
    out of range, NaN and infinity as whole numbers, imaginary parts, times that a coarser unit would round, texts that
    would be cut off, and what has no meaning in ``dtype``. Records are held to it field by field.
    """
    same = isinstance(values, np.ndarray | np.generic) and values.dtype == dtype.numpy
    if same and dtype.name != "bytes" and not hasattr(values.dtype, "na_object"):
        return np.asarray(values)
    try:
        return _cast(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, RegionError):
            raise error.at(where)  # noqa: B904
        raise RegionError(
            f"values of type {_type(values)} do not fit the data type {dtype.numpy}: {error}", where=where
        ) from error


def _type(values: Any) -> str:
    return str(getattr(values, "dtype", type(values).__name__))


def _cast(values: Any, dtype: DataType) -> Any:
    if dtype.fields:
        return _cast_fields(values, dtype)
    if dtype.numpy.kind == "O":
        found = np.asarray(values, dtype.numpy)
        return _checked_bytes(found) if dtype.name == "bytes" else found
    given = np.asarray(values)
    if dtype.numpy.kind == "T":
        return _cast_strings(given, dtype.numpy)
    if given.dtype.kind == "O":  # whole numbers beyond 64 bits, times, or texts: let NumPy find out what they are
        given = _plain(given, dtype.numpy)
    if _is_small(given.dtype):
        given = given.astype(np.int64 if "int" in given.dtype.name else np.float64)  # which hold all of them
    if _is_small(dtype.numpy):
        return _cast_small(given, dtype)
    if dtype.numpy.kind == "V":
        return _cast_raw(given, dtype.numpy)
    return _cast_numpy(given, dtype.numpy)


def _cast_numpy(given: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "SU":
        return _cast_text(given, dtype)
    if dtype.kind in "biufc" and given.dtype.kind in "SU":
        raise RegionError(f"text cannot be stored as {dtype}", hint="convert it to numbers first")
    if np.can_cast(given.dtype, dtype, "safe"):
        return given.astype(dtype)
    if dtype.kind in "iu" and given.dtype.kind in "iuf":
        _check_range(given, dtype)
    if given.dtype.kind == "c" and dtype.kind in "iuf":
        return _cast_numpy(_real(given, dtype), dtype)
    if dtype.kind in "iu" and given.dtype.kind in "mM":
        raise RegionError(f"{given.dtype} cannot be stored as {dtype}", hint="encode times as numbers first")
    with np.errstate(over="ignore", invalid="ignore"):
        found = given.astype(dtype)
    _check_cast(given, found)
    return found


def _real(given: Any, dtype: np.dtype[Any]) -> Any:
    if np.any(given.imag):
        raise RegionError(f"complex numbers cannot be stored as {dtype}", hint="store the real and imaginary parts")
    return given.real


def _plain(given: Any, dtype: np.dtype[Any]) -> Any:
    """Return an array of Python objects as one of what they are."""
    types = {type(value) for value in given.flat}
    if dtype.kind in "mM" and types <= (_DATES if dtype.kind == "M" else _DURATIONS):
        return given.astype(f"{dtype.kind}8[us]")
    found = np.asarray(given.tolist())
    if found.dtype.kind == "O" or found.shape != given.shape:
        if types == {int} and "int" in dtype.name:
            _check_limits(min(given.flat), max(given.flat), dtype)
        if types == {int} and dtype.kind in "fc":
            return given.astype(np.float64)
        names = ", ".join(sorted(each.__name__ for each in types))
        raise RegionError(f"values of the types {names} have no common type that NumPy knows")
    return found


_DATES = {datetime.datetime, datetime.date, type(None)}
_DURATIONS = {datetime.timedelta, type(None)}


def _check_range(given: Any, dtype: np.dtype[Any]) -> None:
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise RegionError(
            f"NaN and infinity cannot be stored as {dtype}", hint="replace them first, or use a floating-point array"
        )
    if given.size:
        _check_limits(given.min().item(), given.max().item(), dtype)


def _check_limits(least: Any, most: Any, dtype: np.dtype[Any]) -> None:
    low, high = integer_limits(dtype.name)
    if int(least) < low or int(most) > high:
        wrong = least if int(least) < low else most
        raise RegionError(f"{wrong} does not fit the data type {dtype}", hint=f"it holds numbers from {low} to {high}")


def _check_cast(given: Any, found: Any) -> None:
    kind = found.dtype.kind
    narrower = given.dtype.kind in "fc" and found.dtype.itemsize < given.dtype.itemsize
    if kind in "fc" and (narrower or found.dtype.itemsize == 2):  # whole numbers go beyond a float16, too
        if np.any(np.isinf(found) & np.isfinite(given)):
            raise RegionError(f"numbers are too large for the data type {found.dtype}")
    elif kind in "mM" and given.dtype.kind == kind and not _same_times(found, given):
        raise RegionError(
            f"the data type {found.dtype} cannot hold the given times exactly", hint="round them, or use a finer unit"
        )


def _same_times(found: Any, given: Any) -> bool:
    back = found.astype(given.dtype)
    return bool(np.all((back == given) | (np.isnat(back) & np.isnat(given))))


def _cast_text(given: Any, dtype: np.dtype[Any]) -> Any:
    text = given if given.dtype.kind in "SU" else given.astype(dtype.kind)
    if text.dtype.kind != dtype.kind:
        text = text.astype(dtype.kind)  # raises for characters that bytes cannot hold
    if text.dtype.itemsize > dtype.itemsize and text.size:
        longest = int(np.strings.str_len(text).max())
        room = dtype.itemsize // (4 if dtype.kind == "U" else 1)
        if longest > room:
            raise RegionError(
                f"a text of length {longest} does not fit the data type {dtype}",
                hint=f"use a data type with room for {longest}, or dtype=str",
            )
    return text.astype(dtype)


# --- what NumPy casts without a check at all ------------------------------------------------------------------------


def _cast_fields(values: Any, dtype: DataType) -> Any:
    """Return records of ``dtype``: of records, whose fields go by their place as in NumPy, or of tuples."""
    given: Any = values if isinstance(values, np.ndarray | np.generic) and values.dtype.names else None
    if given is None:  # each field as Python objects: NumPy would cut off and wrap what does not fit
        given = np.asarray(values, np.dtype([(field.name, object, field.shape) for field in dtype.fields]))
    names = given.dtype.names
    if len(names) != len(dtype.fields):
        raise RegionError(f"records of the fields {', '.join(names)} do not fit the data type {dtype.numpy}")
    found = np.empty(given.shape, dtype.numpy)
    for name, field in zip(names, dtype.fields, strict=True):
        found[field.name] = _cast(given[name], field.dtype)
    return found


def _is_small(dtype: np.dtype[Any]) -> bool:
    return dtype.type.__module__ == "ml_dtypes"


def _cast_small(given: Any, dtype: DataType) -> Any:
    """Return numbers in a type of ml_dtypes, which wraps integers and turns what it lacks into NaN or its greatest."""
    numpy = dtype.numpy
    if given.dtype.kind not in "biufc":
        raise RegionError(f"values of type {given.dtype} cannot be stored as {numpy}", hint="convert them to numbers")
    given = _real(given, numpy) if given.dtype.kind == "c" else given
    if "int" in dtype.name:
        _check_range(given, numpy)
        return given.astype(np.int64).astype(numpy)
    given = given.astype(np.float64)
    with np.errstate(all="ignore"):
        found = given.astype(numpy)
        back, greatest = found.astype(np.float64), np.array(np.inf).astype(numpy).astype(np.float64)
        lost = (np.isnan(back) != np.isnan(given)) | (np.isinf(back) != np.isinf(given))
        if np.isfinite(greatest):  # without infinity and NaN: it is the greatest number that they become
            lost |= np.abs(given) > greatest
    if lost.any():
        raise RegionError(f"{given[lost].flat[0]} cannot be stored as {numpy}", hint="use a type with a larger range")
    return found


def _cast_raw(given: Any, dtype: np.dtype[Any]) -> Any:
    longest = int(np.strings.str_len(given).max(initial=0)) if given.dtype.kind == "S" else given.dtype.itemsize
    if given.dtype.kind in "SV" and longest > dtype.itemsize:
        raise RegionError(f"{longest} bytes do not fit the data type {dtype}")
    return np.asarray(given, dtype)


def _cast_strings(given: Any, dtype: np.dtype[Any]) -> Any:
    """Return texts of any length; NumPy would spell out what is missing ("None", "nan") and take any bytes for text."""
    if given.dtype.kind == "S":
        given = given.astype("U")  # raises for what is not ASCII
    if given.dtype.kind in "OT":
        missing = next((value for value in given.flat if value is None or value != value), "")
        if missing != "":
            raise RegionError(f"{missing} is no text", hint='replace what is missing, by "" for instance')
    return np.asarray(given, dtype)


def _checked_bytes(found: Any) -> Any:
    fine = (bytes, bytearray, memoryview, type(None))  # and what derives of them: numpy.bytes_
    kinds = {kind for kind in set(map(type, found.flat)) if not issubclass(kind, fine)}
    wrong = [kind.__name__ for kind in kinds if not (kind is int and {0} == {v for v in found.flat if type(v) is int})]
    if wrong:
        raise RegionError(f"bytes are needed, not {wrong[0]}", hint="encode texts first, or use dtype=str")
    return found
