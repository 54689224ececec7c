"""The filters of numcodecs: arrays to arrays in a v3 chain (``numcodecs.*``), bytes to bytes in a v2 chain.

Imports base, sizes, dtypes and NumPy. Invariant: a filter is a pair of functions on flat arrays of two known data
types; `_in_place` binds it to where it stands in the chain, and checks there that sizes fit in both directions.
Source: numcodecs, whose output is matched; unlike it, encoding raises instead of storing values that overflow.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..errors import ChunkError, MetadataError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import as_bytes_array, check_decoded, integer, number_of_elements, wrong_size

MOST_DIGITS = 300  # of a decimal fraction: about as many as a float64 reaches

Flat = Any  # a 1-d array
Way = Callable[[Flat], Flat]


def delta(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.delta``: the first element, then differences; ``dtype``, ``astype``."""
    decoded = _dtype("delta", configuration, "dtype", "biufc", spec)
    encoded = _dtype("delta", configuration, "astype", "iufc", decoded)

    modulo = decoded.kind in "iu" and encoded.kind in "iu"  # differences may wrap around, as sums do

    def forward(flat: Flat) -> Flat:
        differences = np.concatenate((flat[:1], np.diff(flat)))
        if not modulo:
            return _fit("delta", differences, encoded)
        out = differences.astype(encoded, copy=False)
        if encoded.itemsize < decoded.itemsize and not np.array_equal(backward(out), flat):
            raise ChunkError(f"delta cannot store all differences as {encoded}: use a larger astype")
        return out

    def backward(flat: Flat) -> Flat:
        return np.cumsum(flat, dtype=decoded.newbyteorder("=")).astype(decoded, copy=False)

    return _in_place("delta", spec, decoded, encoded, forward, backward, pointwise=False)


def fixedscaleoffset(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.fixedscaleoffset``: ``round((x - offset) * scale)`` in ``astype``."""
    decoded = _dtype("fixedscaleoffset", configuration, "dtype", "iuf", spec)
    encoded = _dtype("fixedscaleoffset", configuration, "astype", "iuf", decoded)
    offset = _number("fixedscaleoffset", configuration, "offset")
    scale = _number("fixedscaleoffset", configuration, "scale")
    return _in_place(
        "fixedscaleoffset",
        spec,
        decoded,
        encoded,
        lambda flat: _fit("fixedscaleoffset", np.around((flat - offset) * scale), encoded, flat),
        lambda flat: (flat / scale + offset).astype(decoded, copy=False),
    )


def quantize(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.quantize`` (``digits``), or the codec of that name in ExZarr's v3 (``scale``, ``offset``)."""
    if configuration.get("digits") is None and configuration.get("scale") is not None:
        return _scaled_integers(configuration, spec)
    decoded = _dtype("quantize", configuration, "dtype", "f", spec)
    encoded = _dtype("quantize", configuration, "astype", "f", decoded)
    digits = _number("quantize", configuration, "digits")
    if abs(digits) > MOST_DIGITS:
        raise wrong_configuration("quantize", "digits", f"cannot be {digits!r}")
    exponent = math.log10(10.0**-digits)
    exponent = math.floor(exponent) if exponent < 0 else math.ceil(exponent)
    scale = 2.0 ** math.ceil(math.log2(10.0**-exponent))
    return _in_place(
        "quantize",
        spec,
        decoded,
        encoded,
        lambda flat: _fit("quantize", np.around(scale * flat) / scale, encoded, flat),
        lambda flat: flat.astype(decoded, copy=False),
    )


def _scaled_integers(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    if not isinstance(spec, ChunkSpec):
        raise wrong_configuration("quantize", "digits", "is missing")
    decoded = spec.dtype.numpy
    encoded = _dtype("quantize", {"dtype": configuration.get("dtype", "int16")}, "dtype", "iu", spec)
    scale = _number("quantize", configuration, "scale")
    offset = _number("quantize", {"offset": configuration.get("offset", 0.0)}, "offset")
    return _in_place(
        "quantize",
        spec,
        decoded,
        encoded,
        lambda flat: _fit("quantize", np.around((flat - offset) / scale), encoded),
        lambda flat: (flat * scale + offset).astype(decoded, copy=False),
    )


def astype(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.astype``: a cast to ``encode_dtype`` and back to ``decode_dtype``."""
    decoded = _dtype("astype", configuration, "decode_dtype", "biufcmMSU", spec)
    if configuration.get("encode_dtype") is None:
        raise wrong_configuration("astype", "encode_dtype", "is missing")
    encoded = _dtype("astype", configuration, "encode_dtype", "biufcmMSU", spec)
    return _in_place(
        "astype",
        spec,
        decoded,
        encoded,
        lambda flat: _fit("astype", flat, encoded),
        lambda flat: flat.astype(decoded, copy=False),
    )


def categorize(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.categorize``: strings to the place of their label, from 1; 0 is the empty string.

    An array of objects needs it in the place of an array->array codec.
    """
    labels = configuration.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise wrong_configuration("categorize", "labels", f"must be a list of strings, not {labels!r:.80}")
    if isinstance(spec, ChunkSpec) and spec.dtype.itemsize is None:
        decoded = spec.dtype.numpy
    else:
        decoded = _dtype("categorize", configuration, "dtype", "U", spec)
    encoded = _dtype("categorize", {"astype": configuration.get("astype") or "u1"}, "astype", "iu", spec)
    if len(labels) > np.iinfo(encoded).max:
        raise wrong_configuration("categorize", "astype", f"{encoded} cannot count {len(labels)} labels")
    table = np.array(["", *labels], object)
    table = table.astype(decoded) if decoded.kind != "O" else table

    def forward(flat: Flat) -> Flat:
        out = np.zeros(flat.shape, encoded)
        for place, label in enumerate(labels, 1):
            out[flat == label] = place
        unknown = flat[(out == 0) & (flat != "")]
        if any(unknown):  # None and 0 in an array of objects are the empty string, too
            raise ChunkError(f"categorize has no label for {str(next(filter(None, unknown)))!r:.80}")
        return out

    return _in_place(
        "categorize",
        spec,
        decoded,
        encoded,
        forward,
        lambda flat: table[np.where((flat >= 0) & (flat < len(table)), flat, 0)],
    )


def packbits(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.packbits``: a byte with the number of padding bits, then eight booleans to a byte."""
    array = isinstance(spec, ChunkSpec)
    count = number_of_elements(spec) if array else spec.nbytes
    if count is None or (array and spec.dtype.itemsize != 1):
        raise MetadataError("codec 'numcodecs.packbits' stores booleans of one byte, and needs to know their number")
    nbytes, padding = 1 + -(-count // 8), -count % 8

    def encode(data: Any) -> Any:
        flat = as_bytes_array(data)
        return np.concatenate((np.array([padding], np.uint8), np.packbits(flat.view(bool))))

    def decode(data: Any) -> Any:
        raw = as_bytes_array(data)
        check_decoded("packbits", raw.size, nbytes)
        if raw[0] != padding:
            raise ChunkError(f"the packbits data state {raw[0]} bits of padding instead of {padding}")
        bits = np.unpackbits(raw[1:], count=count)
        return bits.view(spec.dtype.numpy).reshape(spec.shape) if array else bits

    output = ChunkSpec((nbytes,), as_dtype("uint8"), np.uint8(0)) if array else BytesSpec(nbytes, 1)
    return Codec(encode, decode, output)


def shuffle(configuration: Mapping[str, JSON], spec: Any) -> Codec:
    """Build ``numcodecs.shuffle``: first bytes of all elements, then second bytes, and so on; ``elementsize``."""
    array = isinstance(spec, ChunkSpec)
    size = integer("shuffle", configuration, "elementsize", (spec.dtype.itemsize or 1) if array else spec.itemsize)
    expected = spec.nbytes
    if array and expected is None:
        raise MetadataError(f"codec 'shuffle' cannot store the data type {spec.dtype.name!r}")
    if size > 1 and expected is not None and expected % size:
        raise wrong_configuration("shuffle", "elementsize", f"{size} does not divide the chunk of {expected} bytes")
    codec = required("shuffle", "numcodecs", "numcodecs.shuffle").Shuffle(size)

    def encode(data: Any) -> Any:
        flat = as_bytes_array(np.ascontiguousarray(data, little) if array else data)
        return codec.encode(flat) if size > 1 and flat.size else flat

    def decode(data: Buffer) -> Any:
        raw = as_bytes_array(data)
        if expected is not None:
            check_decoded("shuffle", raw.size, expected)
        flat = codec.decode(raw) if size > 1 and raw.size else raw
        return flat.view(little).reshape(spec.shape) if array else flat

    if array:
        little = spec.dtype.numpy.newbyteorder("<")
        return Codec(encode, decode, ChunkSpec((expected,), as_dtype("uint8"), np.uint8(0)))
    return Codec(encode, decode, BytesSpec(expected, spec.itemsize))


def _in_place(
    name: str,
    spec: Any,
    decoded: np.dtype[Any],
    encoded: np.dtype[Any],
    forward: Way,
    backward: Way,
    *,
    pointwise: bool = True,
) -> Codec:
    """Bind a filter to arrays of ``decoded`` elements, or to the bytes of such elements side by side."""
    if isinstance(spec, ChunkSpec):
        return _among_arrays(name, spec, decoded, encoded, forward, backward, pointwise)
    return _among_bytes(name, spec, decoded, encoded, forward, backward)


def _among_arrays(
    name: str,
    spec: ChunkSpec,
    decoded: np.dtype[Any],
    encoded: np.dtype[Any],
    forward: Way,
    backward: Way,
    pointwise: bool,
) -> Codec:
    dtype, shape, count = spec.dtype.numpy, spec.shape, number_of_elements(spec)
    same = decoded == dtype or (dtype.kind not in "OT" and decoded.newbyteorder("=") == dtype.newbyteorder("="))
    pointers = (decoded.kind in "OT") != (dtype.kind in "OT")
    if pointers or (not same and decoded.itemsize != dtype.itemsize):
        raise MetadataError(f"codec {name!r} is configured for {decoded}, but receives {spec.dtype}")
    stored = as_dtype(encoded)
    fill = stored.zero
    if pointwise:
        with suppress(ChunkError):  # what the filter cannot store: chunks that are not there do without
            fill = forward(_cast(np.array([spec.fill_value], dtype), decoded, same))[0]

    def encode(array: Any) -> Any:
        return forward(_cast(np.ascontiguousarray(array, dtype).reshape(-1), decoded, same)).reshape(shape)

    def decode(array: Any) -> Any:
        flat = np.asarray(array).reshape(-1)
        if flat.size != count:
            raise wrong_size(name, flat.nbytes, count * encoded.itemsize)
        result = backward(flat)
        return (result if same else result.view(dtype)).reshape(shape)

    return Codec(encode, decode, ChunkSpec(shape, stored, fill))


def _cast(flat: Flat, decoded: np.dtype[Any], same: bool) -> Flat:
    """The same values in the byte order of the filter; other types of the same size as the bits they are."""
    return flat.astype(decoded, copy=False) if same else flat.view(decoded)


def _among_bytes(
    name: str, spec: BytesSpec, decoded: np.dtype[Any], encoded: np.dtype[Any], forward: Way, backward: Way
) -> Codec:
    if spec.nbytes is not None and spec.nbytes % decoded.itemsize:
        raise MetadataError(
            f"codec {name!r} is configured for {decoded}, which chunks of {spec.nbytes} bytes cannot hold"
        )
    nbytes = None if spec.nbytes is None else spec.nbytes // decoded.itemsize * encoded.itemsize

    def encode(data: Buffer) -> Any:
        return as_bytes_array(forward(as_bytes_array(data).view(decoded)))

    def decode(data: Buffer) -> Any:
        raw = as_bytes_array(data)
        if raw.size != nbytes and (nbytes is not None or raw.size % encoded.itemsize):
            raise ChunkError(f"{name} receives {raw.size} bytes to decode, but the chunk makes {nbytes}")
        return as_bytes_array(backward(raw.view(encoded)))

    return Codec(encode, decode, BytesSpec(nbytes, encoded.itemsize))


def _dtype(name: str, configuration: Mapping[str, JSON], member: str, kinds: str, default: Any) -> np.dtype[Any]:
    """Return a data type of the configuration; where it is missing, that of the spec, or the given one."""
    given = configuration.get(member)
    if given is None:
        if isinstance(default, ChunkSpec):
            default = default.dtype.numpy
        if not isinstance(default, np.dtype):
            raise wrong_configuration(name, member, "is missing")
        given = default
    if isinstance(given, str) and given.lstrip("<>=|").startswith("a"):
        raise wrong_configuration(name, member, f"is no data type: {given!r}")  # NumPy warns of this old name for S
    try:
        dtype = np.dtype(given)
    except (TypeError, ValueError) as error:
        raise wrong_configuration(name, member, f"is no data type: {given!r}") from error
    if dtype.kind not in kinds or not dtype.itemsize:
        raise wrong_configuration(name, member, f"cannot be {given!r}")
    return dtype


def _number(name: str, configuration: Mapping[str, JSON], member: str) -> float:
    value = configuration.get(member)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:  # or NaN
        raise wrong_configuration(name, member, f"must be a number, not {value!r}")
    if member == "scale" and value == 0:
        raise wrong_configuration(name, member, "must not be 0")
    return value


def _fit(name: str, values: Flat, dtype: np.dtype[Any], given: Flat | None = None) -> Flat:
    """Cast as NumPy does, which may cut off fractions and lose precision; raise for what does not fit into ``dtype``.

    ``given`` are the elements that ``values`` were computed of: what was finite must not have become infinite.
    """
    if not values.size or (given is None and np.can_cast(values.dtype, dtype, "safe")):
        return values.astype(dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        found = values.astype(dtype, copy=False)
    given = values if given is None else given
    lost = given[_lost(given, values, found)][:1]
    if lost.size:
        raise ChunkError(f"{name} cannot store {lost[0]} as {dtype}: use a larger astype, or fill missing values")
    return found


def _lost(given: Flat, values: Flat, found: Flat) -> Any:
    """Return which of ``given`` became something else on their way through ``values`` to ``found``."""
    kinds = values.dtype.kind, found.dtype.kind
    if kinds[0] in "iuf" and kinds[1] in "iu":
        info = np.iinfo(found.dtype)
        if kinds[0] != "f":
            return (values < info.min) | (values > info.max)
        whole = np.trunc(values.astype("f8"))  # float16 has no place for the bounds
        return ~((whole >= float(info.min)) & (whole < float(info.max) + 1))  # a power of two, and so exact
    if kinds[0] in "iufc" and kinds[1] in "fc":
        return np.isinf(found) & np.isfinite(given)
    if kinds[0] in "iuf" and kinds[1] == "b":
        return (values != 0) & (values != 1)
    if kinds[0] == kinds[1] and kinds[0] in "SU":
        return np.strings.str_len(values) > np.strings.str_len(found)
    return np.zeros(values.shape, bool)
