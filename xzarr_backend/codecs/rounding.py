"""Exact conversion between integers and floats of any width, by the five directions of IEEE 754.

Imports dtypes and NumPy. Invariant: an element is rounded once; what would be out of range after rounding is clamped,
wrapped or refused, never changed in silence.
Source: zarr-extensions, "cast_value"; IEEE 754-2019, 4.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import DataType
from ..errors import ChunkError
from .bitround import bit_length
from .scale_offset import integer_range

MODES = ("nearest-even", "towards-zero", "towards-positive", "towards-negative", "nearest-away")


class Numbers(NamedTuple):
    """The real numbers of a data type.

    ``low`` to ``high`` are the finite ones; integers have ``bits``, floats ``precision`` bits of significand and
    ``quantum``, the binary exponent of their smallest step.
    """

    dtype: np.dtype[Any]
    whole: bool
    low: Any
    high: Any
    bits: int = 0
    precision: int = 0
    quantum: int = 0
    nan: bool = False
    infinity: bool = False


def describe(dtype: DataType) -> Numbers | None:
    """Return the numbers of a data type; None where its elements are no real numbers."""
    name, numpy = dtype.name, dtype.numpy
    if name.startswith(("int", "uint")):
        low, high = integer_range(numpy)
        return Numbers(numpy, True, low, high, bits=(high - low).bit_length())
    if not name.startswith(("float", "bfloat")):
        return None
    if numpy.isbuiltin != 2:
        info: Any = np.finfo(numpy)
    else:
        import ml_dtypes

        info = ml_dtypes.finfo(numpy)
    quantum = int(np.frexp(np.float64(info.smallest_subnormal))[1]) - 1
    special = _survivors(numpy)
    return Numbers(numpy, False, float(info.min), float(info.max), 0, int(info.nmant) + 1, quantum, *special)


def _survivors(dtype: np.dtype[Any]) -> tuple[bool, bool]:
    """Whether the data type has a NaN and infinities: those without turn them into something else."""
    with np.errstate(all="ignore"):
        nan, infinity = np.array([np.nan, np.inf]).astype(dtype).astype(np.float64)
    return bool(np.isnan(nan)), bool(np.isinf(infinity))


def to_integers(array: Any, source: Numbers, target: Numbers, mode: str, limit: str | None) -> Any:
    """Return the elements as integers of ``target``."""
    if source.whole:
        wide = array.astype(np.uint64 if source.low == 0 else np.int64)
        return _whole_in_range(wide, target, limit).astype(target.dtype)
    values = array.astype(np.float64)
    if not bool(np.isfinite(values).all()):
        raise ChunkError(f"cast_value cannot store NaN or infinity as {target.dtype}: map them with scalar_map")
    return _float_in_range(round_whole(values, mode), target, limit).astype(target.dtype)


def _whole_in_range(values: Any, target: Numbers, limit: str | None) -> Any:
    if not values.size or limit == "wrap":
        return values if not values.size else _wrapped(values.astype(np.uint64), target)
    least, most = int(values.min()), int(values.max())
    if target.low <= least and most <= target.high:
        return values
    if limit is None:
        raise _out_of_range(least if least < target.low else most, target)
    info = np.iinfo(values.dtype)
    return values.clip(max(target.low, int(info.min)), min(target.high, int(info.max)))


def _float_in_range(values: Any, target: Numbers, limit: str | None) -> Any:
    """Return whole numbers that are stored as floats as integers; ``high + 1`` is a power of two, and so exact."""
    above, below = values >= float(target.high + 1), values < float(target.low)
    outside = above | below
    if limit == "wrap":
        # the remainder is exact, and the magnitude fits into 64 bits, where negation is modulo 2**64
        rest = np.fmod(values, 2.0**target.bits)
        size = np.abs(rest).astype(np.uint64)
        return _wrapped(np.where(rest < 0, np.uint64(0) - size, size), target)
    if limit is None and bool(outside.any()):
        raise _out_of_range(values[outside].reshape(-1)[0], target)
    inside = np.where(outside, 0.0, values)
    wide = inside.astype(np.uint64 if target.low == 0 else np.int64)
    return np.where(above, wide.dtype.type(target.high), np.where(below, wide.dtype.type(target.low), wide))


def _wrapped(bits: Any, target: Numbers) -> Any:
    """Return the lowest bits of uint64 elements as numbers of the target."""
    spare = np.uint64(64 - target.bits)
    return bits << spare >> spare if target.low == 0 else (bits << spare).view(np.int64) >> spare.astype(np.int64)


def to_floats(array: Any, source: Numbers, target: Numbers, mode: str, limit: str | None) -> Any:
    """Return the elements as floats of ``target``."""
    if source.whole:
        values = _significant(array.astype(np.uint64 if source.low == 0 else np.int64), target.precision, mode)
    else:
        values = array.astype(np.float64)
        _check_special(values, target)
        if target.precision < source.precision or target.quantum > source.quantum:
            values = _to_precision(values, target, mode)
    return _finite_range(values, target, limit).astype(target.dtype)


def _check_special(values: Any, target: Numbers) -> None:
    lost = (np.isnan(values) if not target.nan else False) | (np.isinf(values) if not target.infinity else False)
    if np.any(lost):
        raise ChunkError(f"cast_value cannot store NaN or infinity as {target.dtype}: map them with scalar_map")


def _finite_range(values: Any, target: Numbers, limit: str | None) -> Any:
    outside = np.isfinite(values) & ((values > target.high) | (values < target.low))
    if not bool(np.any(outside)):
        return values
    if limit is None:
        raise _out_of_range(values[outside].reshape(-1)[0], target)
    if target.infinity:
        return np.where(outside, np.copysign(np.inf, values), values)
    return np.where(outside, np.clip(values, target.low, target.high), values)


def _out_of_range(value: Any, target: Numbers) -> ChunkError:
    return ChunkError(f"cast_value cannot store {value} as {target.dtype}: it is out of range")


def round_whole(values: Any, mode: str) -> Any:
    """Round float64 elements to whole numbers; every step of it is exact."""
    if mode == "nearest-even":
        return np.rint(values)
    if mode == "towards-zero":
        return np.trunc(values)
    if mode == "towards-positive":
        return np.ceil(values)
    if mode == "towards-negative":
        return np.floor(values)
    whole = np.trunc(values)
    away = np.abs(values - whole) >= 0.5
    return np.where(away, whole + np.copysign(1.0, values), whole)


def _to_precision(values: Any, target: Numbers, mode: str) -> Any:
    """Round float64 elements to the steps of the target: count the steps, round their number, scale back."""
    finite = np.where(np.isfinite(values), values, 0.0)
    exponent = np.frexp(finite)[1]
    step = np.maximum(exponent - target.precision, target.quantum)
    with np.errstate(over="ignore"):
        rounded = np.ldexp(round_whole(np.ldexp(finite, -step), mode), step)
    # rounding up may leave float64 itself; what is beyond every narrower type must stay a number to be seen as such
    rounded = np.clip(rounded, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    return np.where(np.isfinite(values), np.copysign(rounded, values), values)


def _significant(values: Any, precision: int, mode: str) -> Any:
    """Return integers as float64, rounded once to ``precision`` significant bits, in integer arithmetic."""
    negative = values < 0
    bits = values.astype(np.uint64)
    size = np.where(negative, np.uint64(0) - bits, bits)
    drop = np.maximum(bit_length(size) - precision, 0).astype(np.uint64)
    kept = size >> drop
    rest = size - (kept << drop)
    half = np.where(drop > 0, np.uint64(1) << np.maximum(drop, np.uint64(1)) - np.uint64(1), np.uint64(0))
    up = _rounds_up(kept, rest, half, negative, mode) & (rest > 0)
    result = np.ldexp((kept + up).astype(np.float64), drop.astype(np.int32))
    return np.where(negative, -result, result)


def _rounds_up(kept: Any, rest: Any, half: Any, negative: Any, mode: str) -> Any:
    """Whether the magnitude grows, for elements that are not exact."""
    if mode == "nearest-even":
        return (rest > half) | ((rest == half) & (kept & np.uint64(1) == 1))
    if mode == "nearest-away":
        return rest >= half
    if mode == "towards-zero":
        return np.zeros(kept.shape, bool)
    return negative if mode == "towards-negative" else ~negative
