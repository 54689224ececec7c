"""Values on their way into an array: NumPy's casts, but for those that would store something else.

Imports errors and NumPy. Invariant: a value out of the range of the array's data type, or a text too long for it, is an
error and never another value; what NumPy rounds (fractions to whole numbers, double to single precision) it may round.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import RegionError


def cast(values: Any, dtype: np.dtype[Any], where: str) -> Any:
    """Return ``values`` as an array of ``dtype``; raise `RegionError` where they do not fit.

    As in NumPy, fractions are cut off where whole numbers are stored and numbers lose precision. Refused are numbers
    out of range, NaN and infinity as whole numbers, imaginary parts, times that a coarser unit would round, texts that
    would be cut off, and what has no meaning in ``dtype``.
    """
    if isinstance(values, np.ndarray | np.generic) and values.dtype == dtype:
        return np.asarray(values)
    try:
        given = values if dtype.hasobject or dtype.names else np.asarray(values)
        if dtype.hasobject or dtype.names or dtype.kind in "VT":
            return np.asarray(given, dtype)
        return _cast(given, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, RegionError):
            raise error.at(where)  # noqa: B904
        raise RegionError(
            f"values of type {_type(values)} do not fit the data type {dtype}: {error}", where=where
        ) from error


def _type(values: Any) -> str:
    return str(getattr(values, "dtype", type(values).__name__))


def _cast(given: Any, dtype: np.dtype[Any]) -> Any:
    if given.dtype.kind == "O":  # whole numbers beyond 64 bits, or texts: let NumPy find out what they are
        given = _plain(given)
    if dtype.kind in "SU":
        return _cast_text(given, dtype)
    if dtype.kind in "biufc" and given.dtype.kind in "SU":
        raise RegionError(f"text cannot be stored as {dtype}", hint="convert it to numbers first")
    if np.can_cast(given.dtype, dtype, "safe"):
        return given.astype(dtype)
    if dtype.kind in "iu" and given.dtype.kind in "iuf":
        _check_range(given, dtype)
    if given.dtype.kind == "c" and dtype.kind in "iuf":
        if np.any(given.imag):
            raise RegionError(f"complex numbers cannot be stored as {dtype}", hint="store the real and imaginary parts")
        return _cast(given.real, dtype)
    if dtype.kind in "iu" and given.dtype.kind in "mM":
        raise RegionError(f"{given.dtype} cannot be stored as {dtype}", hint="encode times as numbers first")
    with np.errstate(over="ignore", invalid="ignore"):
        found = given.astype(dtype)
    _check_cast(given, found)
    return found


def _plain(given: Any) -> Any:
    found = np.asarray(given.tolist())
    if found.dtype.kind == "O" or found.shape != given.shape:
        types = sorted({type(value).__name__ for value in given.flat})
        raise RegionError(f"values of the types {', '.join(types)} have no common type that NumPy knows")
    return found


def _check_range(given: Any, dtype: np.dtype[Any]) -> None:
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise RegionError(
            f"NaN and infinity cannot be stored as {dtype}", hint="replace them first, or use a floating-point array"
        )
    if given.size == 0:
        return
    limits = np.iinfo(dtype)
    least, most = given.min().item(), given.max().item()
    if int(least) < limits.min or int(most) > limits.max:
        wrong = least if int(least) < limits.min else most
        raise RegionError(
            f"{wrong} does not fit the data type {dtype}", hint=f"it holds numbers from {limits.min} to {limits.max}"
        )


def _check_cast(given: Any, found: Any) -> None:
    kind = found.dtype.kind
    if kind in "fc" and given.dtype.kind in "fc" and found.dtype.itemsize < given.dtype.itemsize:
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
