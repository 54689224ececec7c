"""Compressors that see numbers instead of bytes: ``pcodec``, ``zfpy`` and ``zfp``.

Imports base, libraries, sizes and NumPy. Invariant: memory is allocated for the chunk's own shape; what the data state
about their size is compared with it first. Source: numcodecs (``zfpy`` writes a header, zarr-extensions' ``zfp`` none).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChunkError, MetadataError, UnsupportedError
from ..spec import JSON
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .libraries import numcodecs_object, required
from .sizes import as_bytes_array, chunk_spec, number_of_elements

PCODEC_TYPES = frozenset({"f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"})
ZFP_TYPES = frozenset({"f4", "f8", "i4", "i8"})
ZFP_MODES = {"reversible": None, "fixed_accuracy": "tolerance", "fixed_rate": "rate", "fixed_precision": "precision"}
ZFP_BLOCK = 64  # bytes: more than the library stores of a block beside its elements


def pcodec(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``pcodec``; ``level`` 0 to 12 and the other options of numcodecs."""
    spec, native = _numeric("pcodec", spec, PCODEC_TYPES)
    standalone = required("pcodec", "pcodec", "pcodec.standalone")  # no attribute of the package before pcodec 1
    codec = numcodecs_object("pcodec", "numcodecs.pcodec", "PCodec", configuration)
    shape, count = spec.shape, number_of_elements(spec)

    def decode(data: Buffer) -> Any:
        out = np.empty(count, native)
        # one element of room too many would hide nothing: the library reports how many there are
        progress = standalone.simple_decompress_into(bytes(as_bytes_array(data)), out)
        if progress.n_processed != count or not progress.finished:
            raise ChunkError(f"pcodec decoded {progress.n_processed} elements, but the chunk has {count}")
        return out.reshape(shape)

    def encode(array: Any) -> Any:
        return codec.encode(np.ascontiguousarray(array, native).reshape(-1))

    return Codec(encode, decode, BytesSpec(None, 1))


def zfpy(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``zfpy``; ``mode`` 2 (``rate``), 3 (``precision``) or 4 (``tolerance``; -1: lossless)."""
    spec, native = _numeric("zfpy", spec, ZFP_TYPES)
    library = required("zfpy", "zfpy", "zfpy")
    if configuration.get("mode", 4) not in (2, 3, 4):
        raise wrong_configuration("zfpy", "mode", f"must be 2, 3 or 4, not {configuration.get('mode')!r}")
    if not 1 <= len(spec.shape) <= 4 or 0 in spec.shape:
        raise MetadataError(f"zfpy stores chunks of one to four dimensions, not of shape {spec.shape}")
    given = {k: v for k, v in configuration.items() if k in ("mode", "tolerance", "rate", "precision")}
    codec = numcodecs_object("zfpy", "numcodecs.zfpy", "ZFPY", given)
    shape = spec.shape

    def decode(data: Buffer) -> Any:
        raw = bytes(as_bytes_array(data))
        _check_header(library.header(raw), shape)
        decoded = library.decompress_numpy(raw)
        if decoded.shape != shape or decoded.dtype != native:
            raise ChunkError(f"zfpy decoded to {decoded.dtype} {decoded.shape}, but the chunk is {native} {shape}")
        return decoded

    return Codec(lambda array: codec.encode(np.ascontiguousarray(array, native)), decode, BytesSpec(None, 1))


def zfp(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``zfp``: the stream alone; ``mode`` with the one parameter that it has.

    Its mode "expert" is out of reach of the Python library.
    """
    spec, native = _numeric("zfp", spec, ZFP_TYPES)
    library = required("zfp", "zfpy", "zfpy")
    given = _zfp_parameters(configuration)
    shape = spec.shape or (1,)
    if len(shape) > 4 or 0 in shape:
        raise MetadataError(f"zfp stores chunks of up to four dimensions that are not empty, not of shape {shape}")
    kind = library.dtype_to_ztype(native)
    longest = math.prod(-(-n // 4) for n in shape) * (4 ** len(shape) * native.itemsize + ZFP_BLOCK)

    def encode(array: Any) -> Any:
        flat = np.ascontiguousarray(array, native).reshape(shape)
        return library.compress_numpy(flat, write_header=False, **given)

    def decode(data: Buffer) -> Any:
        raw = bytes(as_bytes_array(data))
        if not 0 < len(raw) <= longest:
            raise ChunkError(f"the zfp data have {len(raw)} bytes; a chunk of {shape} takes 1 to {longest}")
        raw = raw.ljust(longest, b"\0")  # the library would read on behind a stream that was cut short
        return library._decompress(raw, kind, shape, **given).reshape(spec.shape)

    return Codec(encode, decode, BytesSpec(None, 1))


def _zfp_parameters(configuration: Mapping[str, JSON]) -> dict[str, Any]:
    mode = configuration.get("mode")
    if mode == "expert":
        raise UnsupportedError(
            "codec 'zfp' in mode 'expert' is not known here: the package 'zfpy' cannot set its limits"
        )
    if mode not in ZFP_MODES:
        raise wrong_configuration("zfp", "mode", f"must be one of {', '.join(ZFP_MODES)} or expert, not {mode!r}")
    member = ZFP_MODES[mode]
    if member is None:
        return {}
    value = configuration.get(member)
    whole = member == "precision"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 <= value < math.inf:
        raise wrong_configuration("zfp", member, f"must be a number from 0, not {value!r}")
    return {member: value}


def _check_header(header: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """zfp counts dimensions from the last (nx) on, and leaves 0 for those that are not there."""
    stated = tuple(header[name] for name in ("nx", "ny", "nz", "nw"))
    if stated != (*reversed(shape), 0, 0, 0)[:4]:
        raise ChunkError(f"the zfpy data state the sizes {stated}, but the chunk has {shape}")


def _numeric(name: str, spec: ChunkSpec, types: frozenset[str]) -> tuple[ChunkSpec, np.dtype[Any]]:
    spec = chunk_spec(name, spec)
    native = spec.dtype.numpy.newbyteorder("=")
    if native.str[1:] not in types:
        raise MetadataError(f"codec {name!r} cannot store the data type {spec.dtype.name!r}")
    return spec, native
