"""The codec ``conditional``: bytes->bytes codecs of which each chunk says whether they were applied to it.

Imports base, pipeline, registry, sharding (for chains in configurations) and sizes. Invariant: a bit that is set for a
codec which the metadata do not name is an error; which codecs a chunk went through is known before it is decoded.
Source: zarr-extensions, "conditional".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ..errors import ChunkError
from ..spec import JSON
from .base import BYTES_BYTES, EITHER, Buffer, BytesSpec, Codec, wrong_configuration
from .pipeline import build_codecs
from .registry import lookup
from .sharding import parse_chain
from .sizes import as_memory, bytes_spec, check_decoded

MOST_CHAINS = 64  # of the codecs that chunks name: built once, and kept

Ways = tuple[Callable[[Buffer], Any], Callable[[Buffer], Any]]  # encode, decode


def conditional(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``conditional``; ``codecs`` is required, ``header_bits`` is not.

    A chunk is written through all of the codecs where that makes it smaller, and through none of them otherwise.
    """
    spec = bytes_spec("conditional", spec)
    if configuration.get("codecs") is None:
        raise wrong_configuration("conditional", "codecs", "are missing")
    chain = parse_chain("conditional", configuration, "codecs", ())
    for named in chain:
        if lookup(named.name).kind not in (BYTES_BYTES, EITHER):
            raise wrong_configuration("conditional", "codecs", f"holds {named.name!r}, which is not bytes->bytes")
    head = _header_nbytes(configuration.get("header_bits"), len(chain))

    @lru_cache(MOST_CHAINS)
    def ways(mask: int) -> Ways:
        built, _ = build_codecs([named for bit, named in enumerate(chain) if mask >> bit & 1], spec)
        return _through([codec.encode for codec in built]), _through([codec.decode for codec in reversed(built)])

    every = (1 << len(chain)) - 1
    encode_all, _ = ways(every)

    def encode(data: Buffer) -> bytes:
        raw = as_memory(data)
        encoded = as_memory(encode_all(raw))
        applied = len(encoded) < len(raw)
        return b"".join(((every if applied else 0).to_bytes(head, "little"), encoded if applied else raw))

    def decode(data: Buffer) -> Any:
        view = as_memory(data)
        if len(view) < head:
            raise ChunkError(f"the chunk has {len(view)} bytes, less than the header of {head} bytes of 'conditional'")
        mask = int.from_bytes(view[:head], "little")
        if mask > every:
            raise ChunkError(f"the chunk went through codec {mask.bit_length() - 1} of {len(chain)} of 'conditional'")
        decoded = ways(mask)[1](view[head:])
        check_decoded("conditional", len(as_memory(decoded)), spec.nbytes)
        return decoded

    return Codec(encode, decode, BytesSpec(None, 1))


def _through(functions: list[Callable[[Buffer], Any]]) -> Callable[[Buffer], Any]:
    def apply(data: Buffer) -> Any:
        for function in functions:
            data = function(data)
        return data

    return apply


def _header_nbytes(bits: JSON, codecs: int) -> int:
    least = -(-codecs // 8)
    if bits is None:
        return least
    if type(bits) is not int or bits % 8 or not least * 8 <= bits <= 1 << 16:
        raise wrong_configuration(
            "conditional", "header_bits", f"must be a multiple of 8 from {least * 8}, not {bits!r}"
        )
    return bits // 8
