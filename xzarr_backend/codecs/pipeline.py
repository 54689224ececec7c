"""A chain of codecs, bound into a few functions for one shape of chunk.

Imports base, registry and pieces. Invariant: all that can be decided from metadata is decided in `compile_pipeline`;
`decode_into` and `decode` are as few calls as the chain has codecs. Source: Zarr v3 core, "Codecs".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import MetadataError
from ..memory import Bytes1D
from ..pieces import Pieces, gather
from ..spec import Named
from .base import ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, Buffer, BytesSpec, ChunkSpec, Codec
from .registry import lookup

# Bytes: of larger raw chunks, copying them once more takes longer than placing each; pieces of one memory are copied
# without holding the interpreter.
LARGEST_COPIED, LARGEST_GATHERED = 1 << 13, 1 << 17


class Pipeline(NamedTuple):
    """The functions of a chain of codecs for chunks of one shape.

    ``encode_bytes(memory)`` encodes what ``view`` shows of that memory; without bytes->bytes codecs, to itself. None
    where encoding changes elements (``bitround`` decodes to what it gets).
    ``decode(raw)`` returns an array of ``shape`` in the stored byte order, maybe a read-only view of ``raw``; elements
    of variable length as objects, to be assigned to memory of the data type.
    ``view(memory)`` looks at ``nbytes`` decoded bytes as such an array without copying; None where the chain does more
    than view, permute and decompress. Then ``decode_into(raw, memory)`` decodes into memory that can be viewed so;
    None where the last decoder has no way to do it. ``raw``: the stored bytes are the elements themselves.
    ``decode_until(raw, memory, stop)`` decodes at least the bytes before ``stop``, and maybe not all; None where
    that is no gain. ``decode_run(chunks, memory)`` decodes many chunks into such memory, side by side, or returns False
    (see `Codec`); ``decode_pieces(pieces, memory)`` those that lie in one memory. ``encode_run(chunks)`` encodes many
    that lie in such memory, ``encode_on(memory, threads)`` one.
    ``order``: the elements lie in it in the byte order of the data type, with the dimensions in this order, so
    memory of a result that lies alike can be decoded into; None where they do not.
    ``encoded_size`` is the stored size in bytes where it is always the same.
    """

    spec: ChunkSpec
    decode: Callable[[Buffer], Any]
    encode: Callable[[Any], Buffer]
    encode_bytes: Callable[[Bytes1D], Buffer] | None
    decode_into: Callable[[Buffer, Bytes1D], object] | None
    decode_until: Callable[[Buffer, Bytes1D, int], object] | None
    decode_run: Callable[[Sequence[Buffer], Bytes1D], bool] | None
    decode_pieces: Callable[[Pieces, Bytes1D], bool] | None
    encode_run: Callable[[Sequence[Buffer]], Sequence[Buffer]] | None
    encode_on: Callable[[Buffer, int], Buffer] | None
    view: Callable[[Bytes1D], Any] | None
    nbytes: int | None
    raw: bool
    order: tuple[int, ...] | None
    encoded_size: int | None


class Chain(NamedTuple):
    """The codecs of a chain, by kind, in the order of encoding."""

    arrays: tuple[Named, ...]
    serializer: Named
    bytes: tuple[Named, ...]


_USUAL = ([ARRAY_BYTES], [ARRAY_BYTES, BYTES_BYTES])


def split_chain(codecs: Sequence[Named], allow: Collection[str] = ()) -> Chain:
    """Sort a chain into its three stages. ``allow`` names codecs that are refused otherwise (see `lookup`).

    Chains that old writers left without an array->bytes codec get ``bytes`` (little-endian); a bytes->bytes codec that
    stands before the serializer works on its output, which is what those writers did.
    """
    kinds = [lookup(codec.name, allow).kind for codec in codecs]
    if kinds in _USUAL:
        return Chain((), codecs[0], tuple(codecs[1:]))
    serializers = [place for place, kind in enumerate(kinds) if kind == ARRAY_BYTES]
    if len(serializers) > 1:
        names = " and ".join(repr(codecs[place].name) for place in serializers)
        raise MetadataError(
            f"a codec chain has one array->bytes codec, not {names}",
            problems=[(f"codecs[{serializers[1]}]", "a second array->bytes codec")],
        )
    at = (
        serializers[0] if serializers else next((i for i, kind in enumerate(kinds) if kind == BYTES_BYTES), len(codecs))
    )
    serializer = codecs[at] if serializers else Named("bytes", {"endian": "little"})
    before, after = range(at), range(at + len(serializers), len(codecs))
    misplaced = [place for place in after if kinds[place] == ARRAY_ARRAY]
    if misplaced:
        name = codecs[misplaced[0]].name
        raise MetadataError(
            f"the array->array codec {name!r} stands behind the array->bytes codec {serializer.name!r}",
            problems=[(f"codecs[{misplaced[0]}]", "must stand before the array->bytes codec")],
        )
    arrays = tuple(codecs[i] for i in before if kinds[i] != BYTES_BYTES)
    early = tuple(codecs[i] for i in before if kinds[i] == BYTES_BYTES)
    return Chain(arrays, serializer, early + tuple(codecs[i] for i in after))


def build_codecs(
    codecs: Sequence[Named], spec: ChunkSpec | BytesSpec, allow: Collection[str] = ()
) -> tuple[list[Codec], Any]:
    """Build the codecs one after the other; return them with the spec of what the last one encodes to."""
    built = []
    for named in codecs:
        codec = lookup(named.name, allow).factory(named.configuration, spec)
        built.append(codec)
        spec = codec.output
    return built, spec


def compile_pipeline(codecs: Sequence[Named], spec: ChunkSpec, allow: Collection[str] = ()) -> Pipeline:
    """Bind the chain for chunks of ``spec``; raise `MetadataError` or `UnsupportedError`."""
    chain = split_chain(codecs, allow)
    arrays, inner = build_codecs(chain.arrays, spec, allow)
    (serializer,), encoded = build_codecs([chain.serializer], inner, allow)
    byte_codecs, encoded = build_codecs(chain.bytes, encoded, allow)
    to_array = _compose([codec.decode for codec in (*arrays, serializer)])
    viewable = serializer.is_view and all(codec.is_view for codec in arrays)
    order = combined_order(arrays, len(spec.shape))
    moves = viewable and order is not None  # encoding the elements moves them, too, and changes none
    return Pipeline(
        spec=spec,
        decode=_compose([codec.decode for codec in (*arrays, serializer, *byte_codecs)]),
        encode=_compose([codec.encode for codec in reversed((*arrays, serializer, *byte_codecs))]),
        encode_bytes=_compose([codec.encode for codec in reversed(byte_codecs)]) if moves else None,
        decode_into=_compose_into(byte_codecs) if viewable else None,
        decode_until=byte_codecs[0].decode_until if viewable and len(byte_codecs) == 1 else None,
        decode_run=_compose_run(byte_codecs, inner.nbytes) if viewable else None,
        decode_pieces=_compose_pieces(byte_codecs, inner.nbytes) if viewable else None,
        encode_run=_compose_encode_run(byte_codecs) if moves else None,
        encode_on=byte_codecs[0].encode_on if moves and len(byte_codecs) == 1 else None,
        view=to_array if viewable else None,
        nbytes=inner.nbytes,
        raw=viewable and not byte_codecs,
        order=order if viewable and serializer.native else None,
        encoded_size=encoded.nbytes,
    )


def combined_order(codecs: Sequence[Codec], ndim: int) -> tuple[int, ...] | None:
    """Return which dimension of the chunk each dimension of the encoded array is; None where codecs do more."""
    order = tuple(range(ndim))
    for codec in codecs:
        if codec.order is None:
            return None
        order = tuple(order[axis] for axis in codec.order)
    return order


def _compose(functions: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return one function that applies the last of ``functions`` first."""
    if len(functions) == 1:
        return functions[0]
    if len(functions) == 2:
        outer, inner = functions
        return lambda data: outer(inner(data))
    steps = tuple(reversed(functions))

    def apply(data: Any) -> Any:
        for step in steps:
            data = step(data)
        return data

    return apply


def _compose_into(byte_codecs: Sequence[Codec]) -> Callable[[Buffer, Bytes1D], object] | None:
    if not byte_codecs or byte_codecs[0].decode_into is None:
        return None
    first = byte_codecs[0].decode_into
    if len(byte_codecs) == 1:
        return first
    rest = _compose([codec.decode for codec in byte_codecs[1:]])
    return lambda raw, out: first(rest(raw), out)


def _compose_run(
    byte_codecs: Sequence[Codec], nbytes: int | None
) -> Callable[[Sequence[Buffer], Bytes1D], bool] | None:
    """Return what decodes many chunks of ``nbytes`` at once: raw ones are only laid side by side."""
    if not byte_codecs:
        return _side_by_side if nbytes and nbytes <= LARGEST_COPIED else None
    first = byte_codecs[0].decode_run
    if first is None or len(byte_codecs) == 1:
        return first
    rest = _compose([codec.decode for codec in byte_codecs[1:]])
    return lambda chunks, out: first([rest(raw) for raw in chunks], out)


def _compose_pieces(byte_codecs: Sequence[Codec], nbytes: int | None) -> Callable[[Pieces, Bytes1D], bool] | None:
    """Return what decodes many chunks of ``nbytes`` that lie in one memory."""
    if not byte_codecs:
        return gather if nbytes and nbytes <= LARGEST_GATHERED else None
    if len(byte_codecs) == 1 and byte_codecs[0].decode_pieces is not None:
        return byte_codecs[0].decode_pieces
    return _compose_run(byte_codecs, nbytes)


def _compose_encode_run(byte_codecs: Sequence[Codec]) -> Callable[[Sequence[Buffer]], Sequence[Buffer]]:
    """Return what encodes many chunks; raw ones are stored as they are."""
    if not byte_codecs:
        return lambda chunks: chunks
    first, *others = byte_codecs
    encode_run = first.encode_run
    if encode_run is None:
        encode = _compose([codec.encode for codec in reversed(byte_codecs)])
        return lambda chunks: [_own(encode(chunk)) for chunk in chunks]
    if not others:
        return encode_run
    rest = _compose([codec.encode for codec in reversed(others)])
    return lambda chunks: [rest(encoded) for encoded in encode_run(chunks)]


def _own(encoded: Buffer) -> bytes:
    """Return bytes that share no memory with what was encoded."""
    return encoded if isinstance(encoded, bytes) else bytes(encoded)


def _side_by_side(chunks: Sequence[Buffer], out: Bytes1D) -> bool:
    nbytes = len(out) // len(chunks)
    if any(len(chunk) != nbytes for chunk in chunks):
        return False
    out[:] = np.frombuffer(b"".join(chunks), np.uint8)
    return True
