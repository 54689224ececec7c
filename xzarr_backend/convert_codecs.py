"""Which codecs the target of a conversion has: those of the source, sorted into the stages of the other format.

Imports array, codec_objects, profiles and the rows below. Invariant: codecs that were not asked for are left out or
replaced only where the other format, its readers or the values demand it, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .array import Array
from .codec_objects import named_of, spelled
from .codecs.pipeline import split_chain
from .codecs.sharding import chains_of
from .errors import UnsupportedError
from .formats.v2 import FILTERS, V3_ONLY, split_v2
from .profiles import Profile
from .spec import NUMCODECS, ArraySpec, Named

KEEP = "keep"

# filters of v2 that v3 has as array->array codecs, in front of the serializer
ARRAY_STAGE = frozenset({"delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits", "categorize"})
# codecs that nobody else reads, or that cannot be written here: the target gets the default in their place
_REPLACED = frozenset({"snappy", "exzarr.scale"})
# filters that round when they encode: a second time they might round differently, and they decode nothing
_ROUNDING = frozenset({"quantize", "bitround"})
_SERIALIZERS_OF_BOTH = frozenset({"vlen-utf8", "vlen-bytes", "pcodec", "zfpy"})


class Wishes(NamedTuple):
    """What the caller wants to change; None, or "keep" for codecs, leaves it as it is."""

    zarr_format: int | None = None
    chunks: Any = None
    shards: Any = None
    compressors: Any = KEEP
    filters: Any = KEEP
    chunk_key_encoding: Any = None
    profile: Profile | None = None

    @property
    def keeps_chunks(self) -> bool:
        """Whether grid and codecs stay as they are."""
        return self.profile is None and self.chunks is self.shards is None and self.compressors == KEEP == self.filters

    @property
    def asks_for_codecs(self) -> bool:
        """Whether codecs or chunk keys were asked for, which a profile may have to refuse."""
        return not (self.compressors == KEEP == self.filters and self.chunk_key_encoding is None)


class Codecs(NamedTuple):
    """The codecs of the smallest chunks, sorted. ``order``: "F" where v2 says so. ``endian``: "big" or "little"."""

    order: str
    filters: tuple[Named, ...]
    serializer: Named | None  # None: the default of the data type
    compressors: tuple[Named, ...]
    endian: str = "little"
    replaced: tuple[str, ...] = ()


def codecs_for(source: Array, zarr_format: int, wishes: Wishes, keep_rounding: bool) -> tuple[Codecs, list[str]]:
    """Return the codecs of the target, and notes; raise `UnsupportedError` for what the other format cannot say.

    ``keep_rounding``: keep filters that round; only where chunks are copied as they are.
    """
    spec = source.spec
    found = _of_v2(spec) if spec.zarr_format == 2 else _of_v3(spec.codecs)
    found = _without_replaced(found)
    notes = [f"codec {name!r}, which other readers lack, was replaced" for name in found.replaced]
    if found.replaced and wishes.compressors == KEEP and not found.compressors:
        found = found._replace(compressors=(Named("zstd", {}),))
    if wishes.filters != KEEP:
        found = found._replace(filters=_several(wishes.filters))
    elif not keep_rounding:
        found = found._replace(filters=tuple(codec for codec in found.filters if codec.short_name not in _ROUNDING))
        notes.append(
            "the filters that round were left out where chunks are encoded anew: the values are rounded already"
        )
    if wishes.profile is not None:
        found = _for_profile(found, wishes, zarr_format)
    elif wishes.compressors != KEEP:
        found = found._replace(compressors=_several("zstd" if wishes.compressors == "auto" else wishes.compressors))
    placed = _placed_in_v3(found) if zarr_format == 3 else _placed_in_v2(found)
    size = spec.dtype.itemsize or 1
    return placed._replace(compressors=tuple(spelled(codec, zarr_format, size) for codec in placed.compressors)), notes


def _for_profile(found: Codecs, wishes: Wishes, zarr_format: int) -> Codecs:
    """Leave out, of what nobody asked for, what the readers of a profile lack; they all read C order, little-endian."""
    profile = wishes.profile
    assert profile is not None
    kept = tuple(codec for codec in found.filters if codec.short_name in profile.filters)
    filters = kept if wishes.filters == KEEP else found.filters
    if wishes.compressors not in (KEEP, "auto"):
        compressors = _several(wishes.compressors)
    elif found.compressors and all(c.short_name in profile.compressors[zarr_format] for c in found.compressors):
        compressors = found.compressors
    else:
        compressors = (Named("gzip" if zarr_format == 3 and profile.compressor == "zlib" else profile.compressor, {}),)
    return found._replace(order="C", filters=filters, compressors=compressors, endian="little")


def rounds(spec: ArraySpec) -> bool:
    """Return whether a filter of the array rounds its values when they are encoded."""
    return _rounds(spec.codecs)


def _rounds(chain: Sequence[Named]) -> bool:
    return any(
        codec.short_name in _ROUNDING
        or (codec.name == "sharding_indexed" and _rounds(chains_of(codec.configuration)[0]))
        for codec in chain
    )


def _several(given: Any) -> tuple[Named, ...]:
    codecs = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    return tuple(named_of(codec) for codec in codecs)


def _of_v2(spec: ArraySpec) -> Codecs:
    order, filters, compressor = split_v2(spec)
    if isinstance(compressor, Mapping) and compressor.get("id") in FILTERS:
        filters, compressor = [*filters, compressor], None  # somebody put it in the place of the compressor
    big = any(codec.name == "bytes" and codec.configuration.get("endian") == "big" for codec in spec.codecs)
    return Codecs(
        order,
        tuple(named_of(codec) for codec in filters),
        None,
        () if compressor is None else (named_of(compressor),),
        "big" if big else "little",
    )


def _of_v3(codecs: Sequence[Named]) -> Codecs:
    chain = split_chain(codecs)
    arrays = tuple(codec for codec in chain.arrays if codec.name != "transpose")
    if chain.serializer.name in ("sharding_indexed", "exzarr.shards"):
        inner = _of_v3([named_of(codec) for codec in chain.serializer.configuration.get("codecs") or ()])
        return inner._replace(filters=(*arrays, *inner.filters))
    order = "F" if len(arrays) < len(chain.arrays) and _reverses(chain.arrays) else "C"
    endian = chain.serializer.configuration.get("endian") or "little"
    plain = chain.serializer.name in ("bytes", "endian", "n5_default")
    return Codecs(order, arrays, None if plain else chain.serializer, chain.bytes, endian)


def _reverses(arrays: Sequence[Named]) -> bool:
    orders = [codec.configuration.get("order") for codec in arrays if codec.name == "transpose"]
    return len(orders) == 1 and (
        orders[0] == "F" or (isinstance(orders[0], list) and orders[0] == list(range(len(orders[0])))[::-1])
    )


def _without_replaced(codecs: Codecs) -> Codecs:
    def kept(chain: Sequence[Named]) -> tuple[Named, ...]:
        return tuple(codec for codec in chain if codec.short_name not in _REPLACED)

    gone = tuple(c.short_name for c in (*codecs.filters, *codecs.compressors) if c.short_name in _REPLACED)
    return codecs._replace(filters=kept(codecs.filters), compressors=kept(codecs.compressors), replaced=gone)


def _placed_in_v3(codecs: Codecs) -> Codecs:
    """Sort v2 filters into the stages of v3: those on elements first, then a serializer, then those on bytes."""
    filters = [codec for codec in codecs.filters if codec.short_name not in _SERIALIZERS_OF_BOTH]
    serializers = [codec for codec in codecs.filters if codec.short_name in _SERIALIZERS_OF_BOTH]
    on_elements = [c for c in filters if c.short_name in ARRAY_STAGE or not c.name.startswith(NUMCODECS)]
    on_bytes = [codec for codec in filters if codec not in on_elements]
    if on_elements and on_bytes and filters.index(on_elements[-1]) > filters.index(on_bytes[0]):
        raise UnsupportedError(
            f"filter {on_elements[-1].name!r} works on bytes that {on_bytes[0].name!r} made, which Zarr v3 cannot say",
            hint="leave the filters out with filters=None, or keep zarr_format=2",
        )
    serializer = codecs.serializer or (serializers[0] if serializers else None)
    if serializer is None and codecs.endian == "big":
        serializer = Named("bytes", {"endian": "big"})
    return codecs._replace(
        filters=tuple(on_elements), serializer=serializer, compressors=(*on_bytes, *codecs.compressors)
    )


def _placed_in_v2(codecs: Codecs) -> Codecs:
    """Make filters of what v2 has no other place for."""
    filters = codecs.filters
    if codecs.serializer is not None and codecs.serializer.short_name in _SERIALIZERS_OF_BOTH:
        filters = (*filters, codecs.serializer)
    bad = [codec.name for codec in (*filters, *codecs.compressors) if codec.name in V3_ONLY]
    if bad:
        raise UnsupportedError(
            f"Zarr v2 has no codec {bad[0]!r}", hint="leave it out with filters=None, or keep zarr_format=3"
        )
    compressors = codecs.compressors
    if compressors and compressors[-1].short_name in FILTERS:
        filters, compressors = (*filters, *compressors), ()
    return codecs._replace(filters=filters, serializer=None, compressors=compressors)
