"""The codec ``cast_value``: every element becomes the same number in another data type, or the chunk is refused.

Imports base, sizes, rounding and NumPy. Invariant: each element is mapped explicitly, exactly representable, or changed
by the rounding and the rule for values out of range that the metadata name; anything else raises.
Source: zarr-extensions, "cast_value".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import DataType, parse_dtype_v3
from ..errors import ChunkError, MetadataError
from ..spec import JSON
from .base import ChunkSpec, Codec, wrong_configuration
from .rounding import MODES, Numbers, describe, to_floats, to_integers
from .scale_offset import refuse_others
from .sizes import chunk_spec

Pairs = Sequence[tuple[Any, Any]]


def cast_value(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``cast_value``; ``data_type`` is required, ``rounding``, ``out_of_range`` and ``scalar_map`` are not."""
    spec = chunk_spec("cast_value", spec)
    refuse_others("cast_value", configuration, {"data_type", "rounding", "out_of_range", "scalar_map"})
    if configuration.get("data_type") is None:
        raise wrong_configuration("cast_value", "data_type", "is missing")
    target = parse_dtype_v3(configuration["data_type"])
    outside, inside = _numbers(spec.dtype), _numbers(target)
    mode = configuration.get("rounding", "nearest-even")
    if mode not in MODES:
        raise wrong_configuration("cast_value", "rounding", f"must be one of {', '.join(MODES)}, not {mode!r}")
    limit = _out_of_range(configuration.get("out_of_range"), inside)
    forth, back = _scalar_map(configuration.get("scalar_map"), spec.dtype, target)
    encode = _converter(outside, inside, mode, limit, forth)
    decode = _converter(inside, outside, mode, None if limit == "wrap" and not outside.whole else limit, back)
    return Codec(encode, decode, ChunkSpec(spec.shape, target, _cast_fill(spec, encode, decode)))


def _numbers(dtype: DataType) -> Numbers:
    numbers = describe(dtype)
    if numbers is None:
        raise MetadataError(f"codec 'cast_value' cannot convert the data type {dtype.name!r}: it holds no real numbers")
    return numbers


def _out_of_range(given: JSON, target: Numbers) -> str | None:
    if given not in (None, "clamp", "wrap"):
        raise wrong_configuration("cast_value", "out_of_range", f'must be "clamp" or "wrap", not {given!r}')
    if given == "wrap" and not target.whole:
        raise wrong_configuration("cast_value", "out_of_range", '"wrap" is for integers only')
    return given  # type: ignore[no-any-return]


def _scalar_map(given: JSON, outside: DataType, inside: DataType) -> tuple[Pairs, Pairs]:
    if given is None:
        return (), ()
    if not isinstance(given, Mapping) or given.keys() - {"encode", "decode"}:
        raise wrong_configuration("cast_value", "scalar_map", 'must be an object with "encode" and "decode"')
    return _pairs(given.get("encode"), outside, inside), _pairs(given.get("decode"), inside, outside)


def _pairs(given: JSON, source: DataType, target: DataType) -> Pairs:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in given):
        raise wrong_configuration("cast_value", "scalar_map", f"must list pairs, not {given!r:.80}")
    return [(source.parse_fill(key, 3), target.parse_fill(value, 3)) for key, value in given]


def _cast_fill(spec: ChunkSpec, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Any:
    """Return the fill value on the other side; the specification demands that it survives the way there and back."""
    fill = np.array([spec.fill_value], spec.dtype.numpy)
    try:
        there = encode(fill)
        back = decode(there)
    except ChunkError as error:
        raise MetadataError(f"the fill value {spec.fill_value!r} cannot be cast: {error}") from error
    if not bool(((back == fill) | ((back != back) & (fill != fill)))[0]):
        raise MetadataError(f"the fill value {spec.fill_value!r} becomes {back[0]!r} when it is cast there and back")
    return there[0]


def _converter(source: Numbers, target: Numbers, mode: str, limit: str | None, pairs: Pairs) -> Callable[[Any], Any]:
    cast = to_integers if target.whole else to_floats
    if source.dtype == target.dtype and not pairs:
        return lambda array: array
    harmless = source.dtype.type(1)  # a value that every data type holds, in the place of those that are mapped

    def convert(array: Any) -> Any:
        if not pairs:
            return cast(array, source, target, mode, limit)
        masks = [_matches(array, key) for key, _ in pairs]
        mapped = np.logical_or.reduce(masks)
        result = np.array(cast(np.where(mapped, harmless, array), source, target, mode, limit))
        for mask, (_, value) in zip(reversed(masks), reversed(pairs), strict=True):  # the first of equal keys wins
            result[mask] = value
        return result

    return convert


def _matches(array: Any, key: Any) -> Any:
    return array != array if key != key else array == key
