"""Checksums: ``crc32c``, ``crc32``, ``adler32``, ``fletcher32``, ``jenkins_lookup3``.

Imports base, libraries, sizes, NumPy and the standard library. Invariant: data whose checksum does not match are never
returned; what is returned is a view of the data, not a copy.
Source: Zarr v3, "CRC32C codec"; numcodecs, where crc32c stands at the end and the others at the start.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import Bytes1D, as_bytes_array, bytes_spec, check_decoded, integer

Checksum = Callable[[Any], int]


def crc32c(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``crc32c``; ``location`` "end" (default) or "start"."""
    return _located("crc32c", required("crc32c", "google-crc32c", "google_crc32c").value, configuration, spec, "end")


def crc32c_of(data: Buffer) -> int:
    """Return the crc32c checksum of ``data``."""
    return int(required("crc32c", "google-crc32c", "google_crc32c").value(bytes(data)))


def crc32(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``crc32``; ``location`` "start" (default) or "end"."""
    return _located("crc32", zlib.crc32, configuration, spec, "start")


def adler32(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``adler32``; ``location`` "start" (default) or "end"."""
    return _located("adler32", zlib.adler32, configuration, spec, "start")


def fletcher32(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``fletcher32``, the checksum of HDF5, at the end."""
    codec = required("fletcher32", "numcodecs", "numcodecs.fletcher32").Fletcher32()

    def checksum(data: Bytes1D) -> int:
        return int.from_bytes(codec.encode(data)[-4:], "little") if data.size else 0

    return _checked("fletcher32", checksum, False, spec)


def jenkins_lookup3(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``jenkins_lookup3``, at the end; ``initval``, and a ``prefix`` that is summed but not stored."""
    lookup3 = required("jenkins_lookup3", "numcodecs", "numcodecs.jenkins").jenkins_lookup3
    start = integer("jenkins_lookup3", configuration, "initval", 0)
    prefix = _prefix(configuration.get("prefix"))
    return _checked("jenkins_lookup3", lambda data: lookup3(np.concatenate((prefix, data)), start), False, spec)


def _prefix(given: JSON) -> Bytes1D:
    try:
        return np.frombuffer(given.encode("latin-1") if isinstance(given, str) else bytes(given or b""), np.uint8)
    except (TypeError, ValueError) as error:
        raise wrong_configuration("jenkins_lookup3", "prefix", f"must be bytes, not {given!r}") from error


def _located(name: str, checksum: Checksum, configuration: Mapping[str, JSON], spec: Any, default: str) -> Codec:
    location = configuration.get("location") or default
    if location not in ("start", "end"):
        raise wrong_configuration(name, "location", f'must be "start" or "end", not {location!r}')
    return _checked(name, checksum, location == "start", spec)


def _checked(name: str, checksum: Checksum, at_start: bool, spec: Any) -> Codec:
    spec = bytes_spec(name, spec)
    expected = spec.nbytes

    def decode(data: Buffer) -> Bytes1D:
        whole = as_bytes_array(data)
        if whole.size < 4 or (expected is not None and whole.size != expected + 4):
            _check_size(name, whole.size, expected)
        stored, payload = (whole[:4], whole[4:]) if at_start else (whole[-4:], whole[:-4])
        if (found := checksum(payload)) != int.from_bytes(stored, "little"):
            raise ChunkError(f"the {name} checksum does not match: the data give {found:08x}")
        return payload

    def encode(data: Buffer) -> Bytes1D:
        payload = as_bytes_array(data)
        tail = np.frombuffer(int(checksum(payload)).to_bytes(4, "little"), np.uint8)
        return np.concatenate((tail, payload) if at_start else (payload, tail))

    def decode_into(data: Buffer, out: Bytes1D) -> None:
        payload = decode(data)
        check_decoded(name, payload.size, out.nbytes)
        out[:] = payload

    return Codec(encode, decode, BytesSpec(None if expected is None else expected + 4, spec.itemsize), decode_into)


def _check_size(name: str, size: int, expected: int | None) -> None:
    if size < 4:
        raise ChunkError(f"{size} bytes are too few to hold a {name} checksum")
    check_decoded(name, size - 4, expected)
