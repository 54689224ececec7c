"""The codec ``bitround``: keep the first bits of numbers and round the rest away, so that they compress better.

Imports base, sizes and NumPy. Invariant: decoding changes nothing; encoding is idempotent, and leaves NaN and infinity
as they are. Floats: bits of the mantissa, ties to even. Integers: bits from the most significant one that is set,
of the magnitude where there is a sign. Source: zarr-extensions, "bitround"; numcodecs for floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import MetadataError
from ..spec import JSON
from .base import BytesSpec, ChunkSpec, Codec, wrong_configuration
from .sizes import as_bytes_array, check_decoded, chunk_spec

MANTISSA = {"f2": 10, "f4": 23, "f8": 52}


def bitround(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``bitround``; ``keepbits`` is required."""
    spec = chunk_spec("bitround", spec)
    keepbits = _keepbits(configuration)
    mantissa, part = _parts(spec)
    dtype = spec.dtype.numpy

    def encode(array: Any) -> Any:
        flat = np.ascontiguousarray(array, dtype).reshape(-1)
        native = flat if dtype.isbuiltin == 2 else flat.astype(dtype.newbyteorder("="), copy=False)
        bits = native.view(f"u{part}")
        rounded = _round_integers(bits, keepbits, signed=dtype.kind in "imM") if mantissa is None else None
        if rounded is None and mantissa is not None:
            rounded = _round_floats(bits, keepbits, mantissa)
        assert rounded is not None
        return rounded.view(native.dtype).astype(dtype, copy=False).reshape(spec.shape)

    return Codec(encode, lambda array: array, spec, is_view=True)


def numcodecs_bitround(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.bitround``: the same for arrays; among bytes (v2) of little-endian floats of the item size."""
    if isinstance(spec, ChunkSpec):
        return bitround(configuration, spec)
    kind = f"f{spec.itemsize}"
    keepbits = _keepbits(configuration)
    if kind not in MANTISSA:
        raise MetadataError(f"codec 'bitround' rounds floats of 2, 4 or 8 bytes, not elements of {spec.itemsize} bytes")

    def encode(data: Any) -> Any:
        bits = as_bytes_array(data).view(f"<u{spec.itemsize}").astype(f"u{spec.itemsize}", copy=False)
        return _round_floats(bits, keepbits, MANTISSA[kind]).astype(f"<u{spec.itemsize}", copy=False).view(np.uint8)

    def decode(data: Any) -> Any:
        raw = as_bytes_array(data)
        check_decoded("bitround", raw.size, spec.nbytes)
        return raw

    return Codec(encode, decode, BytesSpec(spec.nbytes, spec.itemsize))


def _keepbits(configuration: Mapping[str, JSON]) -> int:
    keepbits = configuration.get("keepbits")
    if type(keepbits) is not int or keepbits < 0:
        raise wrong_configuration("bitround", "keepbits", f"must be a number of bits, not {keepbits!r}")
    return keepbits


def _parts(spec: ChunkSpec) -> tuple[int | None, int]:
    """Return the bits of the mantissa (None for integers) and the bytes of each real number in an element."""
    name, dtype = spec.dtype.name, spec.dtype.numpy
    if name == "bfloat16":
        return 7, 2
    if dtype.kind in "fc" and dtype.isbuiltin != 2:
        part = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        return MANTISSA[f"f{part}"], part
    if dtype.kind in "iumM" and dtype.isbuiltin != 2:
        return None, dtype.itemsize
    raise MetadataError(f"codec 'bitround' cannot round the data type {name!r}")


def _round_floats(bits: Any, keepbits: int, mantissa: int) -> Any:
    drop = mantissa - keepbits
    if drop <= 0:
        return bits
    one = bits.dtype.type(1)
    half = bits.dtype.type((1 << (drop - 1)) - 1)
    mask = bits.dtype.type(-(1 << drop) % (1 << bits.itemsize * 8))
    rounded = (bits + ((bits >> bits.dtype.type(drop)) & one) + half) & mask
    exponent = bits.dtype.type(((1 << (bits.itemsize * 8 - 1 - mantissa)) - 1) << mantissa)
    return np.where(bits & exponent == exponent, bits, rounded)  # infinities and NaN


def _round_integers(bits: Any, keepbits: int, *, signed: bool) -> Any:
    if keepbits < 1:
        raise wrong_configuration("bitround", "keepbits", "must be at least 1 for integers")
    width = bits.itemsize * 8
    top = 1 << (width - 1)
    negative = bits >= top if signed else np.zeros(bits.shape, bool)
    special = bits == top if signed else negative  # not-a-time, and the one integer without a counterpart
    size = np.where(negative, np.uint64(0) - bits.astype(np.uint64), bits).astype(bits.dtype).astype(np.uint64)
    drop = np.maximum(bit_length(size) - keepbits, 0).astype(np.uint64)
    one = np.uint64(1)
    half = np.where(drop > 0, (one << (np.maximum(drop, one) - one)) - one, np.uint64(0))
    step = np.where(drop > 0, (size >> drop) & one, np.uint64(0)) + half
    most = np.uint64(top - 1 if signed else 2 * top - 1)
    rounded = np.where(size > most - step, most, size + step) >> drop << drop  # what would not fit is cut instead
    result = np.where(negative, np.uint64(0) - rounded, rounded).astype(bits.dtype)
    return np.where(special, bits, result)


def bit_length(values: Any) -> Any:
    """Return the number of bits of each uint64, without the rounding that a detour over float64 alone would bring."""
    guess = np.frexp(values.astype(np.float64))[1]
    shift = np.maximum(guess - 1, 0).astype(np.uint64)
    return np.where((guess > 0) & (np.where(shift < 64, values >> np.minimum(shift, 63), 0) == 0), guess - 1, guess)
