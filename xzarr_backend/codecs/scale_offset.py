"""The codec ``scale_offset``: ``(x - offset) * scale``, in the arithmetic of the array's own data type.

Imports base, sizes and NumPy. Invariant: what that data type cannot hold is an error, never wrapped or infinite.
Source: zarr-extensions, "scale_offset".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError, MetadataError
from ..spec import JSON
from .base import ChunkSpec, Codec, wrong_configuration
from .sizes import chunk_spec


def scale_offset(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``scale_offset``; ``offset`` (default 0) and ``scale`` (default 1) as fill values of the data type."""
    spec = chunk_spec("scale_offset", spec)
    refuse_others("scale_offset", configuration, {"offset", "scale"})
    whole = is_whole(spec)
    if whole is None:
        raise MetadataError(f"codec 'scale_offset' cannot compute with the data type {spec.dtype.name!r}")
    offset, scale = _constant(configuration, "offset", 0, spec), _constant(configuration, "scale", 1, spec)
    if not scale:
        raise wrong_configuration("scale_offset", "scale", "must not be 0")
    encode, decode = (_whole if whole else _float)(offset, scale, spec.dtype.numpy)
    try:
        fill = encode(np.array([spec.fill_value], spec.dtype.numpy))[0]
    except ChunkError as error:
        raise MetadataError(f"the fill value {spec.fill_value!r} does not survive scale_offset: {error}") from error
    return Codec(encode, decode, spec._replace(fill_value=fill))


def refuse_others(codec: str, configuration: Mapping[str, JSON], known: set[str]) -> None:
    """Raise for members that the specification reserves for later versions."""
    for member in configuration.keys() - known:
        raise wrong_configuration(codec, member, "is not known, and this codec must not ignore it")


def is_whole(spec: ChunkSpec) -> bool | None:
    """Return whether the elements are integers; None where they are no real numbers."""
    name = spec.dtype.name
    if name.startswith(("int", "uint")):
        return True
    return False if name.startswith(("float", "bfloat")) else None


def _constant(configuration: Mapping[str, JSON], member: str, default: int, spec: ChunkSpec) -> Any:
    if configuration.get(member) is None:
        return default
    return spec.dtype.parse_fill(configuration[member], 3)


def _whole(offset: Any, scale: Any, dtype: np.dtype[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Integers: both ways are monotonic, so checking the extremes (as Python integers) checks every element."""
    offset, scale = int(offset), int(scale)
    low, high = integer_range(dtype)
    wide: Any = np.dtype(np.uint64 if low == 0 else np.int64)

    def extremes(array: Any) -> tuple[int, int]:
        wider = array.astype(wide, copy=False)
        return (int(wider.min()), int(wider.max())) if array.size else (0, 0)

    def check(values: tuple[int, ...]) -> None:
        if not all(low <= value <= high for value in values):
            raise ChunkError(f"scale_offset makes values from {min(values)} to {max(values)}, beyond those of {dtype}")

    def encode(array: Any) -> Any:
        if not array.size:
            return array
        shifted = tuple(value - offset for value in extremes(array))
        check(shifted)
        check(tuple(value * scale for value in shifted))
        with np.errstate(over="ignore"):  # modulo 2**64, and checked above
            result = (array.astype(wide, copy=False) - _wrap(offset, wide)) * _wrap(scale, wide)
        return result.astype(dtype)

    def decode(array: Any) -> Any:
        if not array.size:
            return array
        wider = array.astype(wide, copy=False)
        if scale != 1 and (wider % _wrap(scale, wide) if _fits(scale, wide) else wider).any():
            raise ChunkError(f"scale_offset cannot divide all values by {scale} exactly")
        divided = tuple(value // scale for value in extremes(array))
        check(divided)
        check(tuple(value + offset for value in divided))
        with np.errstate(over="ignore"):
            result = (wider if scale == 1 else wider // _wrap(scale, wide)) + _wrap(offset, wide)
        return result.astype(dtype)

    return encode, decode


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= value <= int(info.max)


def _wrap(value: int, dtype: np.dtype[Any]) -> Any:
    return np.array(value % (1 << 64), np.uint64).astype(dtype)


def integer_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the least and the greatest value of an integer data type, those of ml_dtypes included."""
    if dtype.isbuiltin != 2:
        info: Any = np.iinfo(dtype)
    else:
        import ml_dtypes

        info = ml_dtypes.iinfo(dtype)
    return int(info.min), int(info.max)


def _float(offset: Any, scale: Any, dtype: np.dtype[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    native = dtype if dtype.isbuiltin == 2 else dtype.newbyteorder("=")
    offset, scale = np.array(offset).astype(native), np.array(scale).astype(native)

    def checked(array: Any, result: Any) -> Any:
        if bool(np.any(np.isfinite(array) & ~np.isfinite(result))):
            raise ChunkError(f"scale_offset makes values that {native} cannot hold")
        return result.astype(dtype, copy=False)

    def encode(array: Any) -> Any:
        with np.errstate(all="ignore"):
            return checked(array, ((array - offset) * scale).astype(native, copy=False))

    def decode(array: Any) -> Any:
        with np.errstate(all="ignore"):
            return checked(array, (array / scale + offset).astype(native, copy=False))

    return encode, decode
