"""What an array becomes: from its spec and the wishes of the caller to the spec of the target.

Imports array, creation, codecs and the rows below. Invariant: what nobody asked to change stays: a target of the same
format without wishes has the document of its source, and `same_bytes` is true only where the stored bytes of every
chunk mean the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .chunk_keys import ChunkKeyEncoding, parse_chunk_key_encoding
from .codec_objects import named_of, spelled
from .codecs.pipeline import split_chain
from .compat import found_quirks
from .convert_masks import carry_mask, names_of, plain_attributes
from .creation import build_spec
from .dtypes import DataType, as_dtype
from .errors import ChunkError, MetadataError, UnsupportedError, XzarrError
from .formats.v2 import FILTERS, format_array_v2, parse_array_v2, split_v2
from .formats.v3 import format_array_v3, parse_array_v3
from .layout import compile_layout
from .spec import ArraySpec, Named

KEEP = "keep"
_OWN = "numcodecs."

# filters of v2 that v3 has as array->array codecs, in front of the serializer
_ARRAY_STAGE = frozenset({"delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits", "categorize"})
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

    @property
    def keeps_chunks(self) -> bool:
        """Whether grid and codecs stay as they are."""
        return self.chunks is self.shards is None and self.compressors == KEEP == self.filters


class Converted(NamedTuple):
    """The spec of the target, and remarks on what could not stay as it was."""

    spec: ArraySpec
    notes: tuple[str, ...] = ()


class _Codecs(NamedTuple):
    """The codecs of the smallest chunks, sorted. ``order``: "F" where v2 says so. ``endian``: "big" or "little"."""

    order: str
    filters: tuple[Named, ...]
    serializer: Named | None  # None: the default of the data type
    compressors: tuple[Named, ...]
    endian: str = "little"
    replaced: tuple[str, ...] = ()


def convert_spec(source: Array, wishes: Wishes) -> Converted:
    """Return what ``source`` becomes; raise `MetadataError` or `UnsupportedError` that name the array and a way out."""
    rounds = wishes.filters == KEEP and _rounds(source.spec)
    try:
        if rounds:
            try:
                found = _convert(source, wishes, keep_rounding=True)
                if same_bytes(source.spec, found.spec):
                    return found
            except MetadataError:
                pass  # the filter cannot be said in the other format, but can be left out
        return _convert(source, wishes, keep_rounding=not rounds)
    except (MetadataError, UnsupportedError) as error:
        if isinstance(error, UnsupportedError) and not error.hint:
            error.hint = "keep the format, choose other codecs (compressors=, filters=), or leave the array out"
        raise error.within(source.where)  # noqa: B904
    except ChunkError as error:  # a filter that cannot take the fill value
        raise UnsupportedError(
            f"the filters cannot be kept: {error.what}", where=source.where, hint="leave them out: filters=None"
        ) from error


def _convert(source: Array, wishes: Wishes, keep_rounding: bool) -> Converted:
    spec, zarr_format = source.spec, wishes.zarr_format or source.zarr_format
    same_format = zarr_format == spec.zarr_format
    if same_format and wishes.keeps_chunks and _says_what_is_meant(source):
        return Converted(_with_keys(spec, wishes.chunk_key_encoding))
    masked = carry_mask(spec, zarr_format)
    codecs, notes = _codecs_for(source, zarr_format, wishes, keep_rounding)
    chunks, shards = _grid_for(source, zarr_format, wishes)
    keys = wishes.chunk_key_encoding
    built = build_spec(
        shape=spec.shape,
        dtype=_dtype_for(spec, zarr_format, codecs.endian),
        chunks=chunks,
        shards=shards,
        filters=list(codecs.filters),
        compressors=list(codecs.compressors),
        serializer=codecs.serializer if codecs.serializer is not None else "auto",
        fill_value=masked.fill,
        order=codecs.order,
        dimension_names=None if zarr_format == 2 and same_format else names_of(spec),
        attributes=plain_attributes(masked.attributes, spec, zarr_format),
        chunk_key_encoding=keys if keys is not None or not same_format else spec.chunk_key_encoding,
        zarr_format=zarr_format,
    )
    compile_layout(built, "", source.options.allow_codecs)  # what cannot be compiled cannot be stored
    return Converted(built, tuple(note for note in (*notes, masked.note, _fill_note(spec, built)) if note))


def _fill_note(source: ArraySpec, target: ArraySpec) -> str:
    """Say so where the document of the target cannot hold the fill value to the bit: v2 knows one NaN."""
    if target.fill_value is None or target.dtype.itemsize is None:
        return ""
    stored = target.dtype.parse_fill(target.document["fill_value"], target.zarr_format)
    same = (
        np.asarray(stored, target.dtype.numpy).tobytes() == np.asarray(target.fill_value, target.dtype.numpy).tobytes()
    )
    return "" if same else f"Zarr v{target.zarr_format} cannot say the bits of the fill value {source.fill_value!r}"


def _says_what_is_meant(source: Array) -> bool:
    """Return whether the document can be taken over: it shows no quirk, and means what was read from it."""
    spec = source.spec
    if found_quirks(spec.document, spec.zarr_format, source.options.quirks):
        return False
    if spec.zarr_format == 3:
        again = parse_array_v3(spec.document)
    else:
        again = parse_array_v2(spec.document, spec.document.get("attributes") or {})
    return (again.codecs, again.chunk_key_encoding) == (spec.codecs, spec.chunk_key_encoding)


def _with_keys(spec: ArraySpec, given: Any) -> ArraySpec:
    """Return ``spec`` with another chunk key encoding, all other members of its document as they are."""
    if given is None:
        return spec
    if given in ("/", "."):
        encoding = ChunkKeyEncoding("v2" if spec.zarr_format == 2 else "default", given)
    else:
        encoding = parse_chunk_key_encoding(named_of(given))
    changed = replace(spec, chunk_key_encoding=encoding)
    written = format_array_v3(changed) if spec.zarr_format == 3 else format_array_v2(changed)
    member = "chunk_key_encoding" if spec.zarr_format == 3 else "dimension_separator"
    return replace(changed, document={**spec.document, member: written[member]})


def _dtype_for(spec: ArraySpec, zarr_format: int, endian: str) -> DataType:
    """Return the data type of the target; in v2 its byte order is that of the stored bytes."""
    dtype = spec.dtype
    if zarr_format == 2 and spec.zarr_format == 3 and endian == "big" and not dtype.fields and dtype.itemsize:
        return as_dtype(dtype.numpy.newbyteorder(">"))
    return dtype


# --- grids ------------------------------------------------------------------------------------------------------------


def _grid_for(source: Array, zarr_format: int, wishes: Wishes) -> tuple[Any, Any]:
    """Return the keywords ``chunks`` and ``shards`` of the target."""
    kept, outer = _lengths(source.chunk_grid), None if source.shards is None else _lengths(source.spec.chunk_grid)
    for codec in source.spec.codecs:
        if codec.name == "exzarr.shards":
            outer, kept = kept, tuple(codec.configuration["chunk_shape"])
    chunks = wanted_lengths(source, wishes.chunks, kept)
    shards = None if wishes.shards is False else wanted_lengths(source, wishes.shards, outer)
    if zarr_format == 2:
        if wishes.shards not in (None, False):
            raise UnsupportedError("Zarr v2 has no shards", hint="use zarr_format=3, or leave shards= out")
        if isinstance(chunks, tuple | list) and any(isinstance(length, tuple | list) for length in chunks):
            raise UnsupportedError("Zarr v2 has only chunks of one length", hint="give chunks=, or keep zarr_format=3")
        return chunks, None
    return chunks, shards


def _lengths(grid: Any) -> tuple[Any, ...]:
    return tuple(axis.sizes or (max(axis.length, 1),) for axis in grid)


def wanted_lengths(source: Array, given: Any, kept: tuple[Any, ...] | None) -> Any:
    """Return the lengths that ``given`` means for ``source``, ``kept`` where it says nothing of this array.

    A sequence is meant for arrays of as many dimensions, a mapping for the dimensions that it names; all else for every
    array.
    """
    if given is None:
        return kept
    if isinstance(given, Mapping):
        names = source.dimension_names or ()
        if not any(name in given for name in names):
            return kept
        base = kept if kept is not None else _lengths(source.chunk_grid)
        return tuple(given.get(name, length) for name, length in zip(names, base, strict=True))
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) != source.ndim:
        return kept
    return given


# --- codecs -----------------------------------------------------------------------------------------------------------


def _codecs_for(source: Array, zarr_format: int, wishes: Wishes, keep_rounding: bool) -> tuple[_Codecs, list[str]]:
    spec = source.spec
    found = _of_v2(spec) if spec.zarr_format == 2 else _of_v3(spec.codecs)
    found = _without_replaced(found)
    notes = [f"codec {name!r}, which other readers lack, was replaced" for name in found.replaced]
    if found.replaced and wishes.compressors == KEEP and not found.compressors:
        found = found._replace(compressors=(Named("zstd", {}),))
    if wishes.filters != KEEP:
        found = found._replace(filters=_several(wishes.filters))
    elif not keep_rounding:
        found = found._replace(filters=tuple(codec for codec in found.filters if _short(codec) not in _ROUNDING))
        notes.append(
            "the filters that round were left out where chunks are encoded anew: the values are rounded already"
        )
    if wishes.compressors != KEEP:
        found = found._replace(compressors=_several("zstd" if wishes.compressors == "auto" else wishes.compressors))
    placed = _placed_in_v3(found) if zarr_format == 3 else _placed_in_v2(found)
    size = spec.dtype.itemsize or 1
    return placed._replace(compressors=tuple(spelled(codec, zarr_format, size) for codec in placed.compressors)), notes


def _rounds(spec: ArraySpec) -> bool:
    chains = [spec.codecs, *(codec.configuration.get("codecs") or () for codec in spec.codecs)]
    return any(_short(named_of(codec)) in _ROUNDING for chain in chains for codec in chain)


def _several(given: Any) -> tuple[Named, ...]:
    codecs = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    return tuple(named_of(codec) for codec in codecs)


def _of_v2(spec: ArraySpec) -> _Codecs:
    order, filters, compressor = split_v2(spec)
    if isinstance(compressor, Mapping) and compressor.get("id") in FILTERS:
        filters, compressor = [*filters, compressor], None  # somebody put it in the place of the compressor
    big = any(codec.name == "bytes" and codec.configuration.get("endian") == "big" for codec in spec.codecs)
    return _Codecs(
        order,
        tuple(named_of(codec) for codec in filters),
        None,
        () if compressor is None else (named_of(compressor),),
        "big" if big else "little",
    )


def _of_v3(codecs: Sequence[Named]) -> _Codecs:
    chain = split_chain(codecs)
    arrays = tuple(codec for codec in chain.arrays if codec.name != "transpose")
    if chain.serializer.name in ("sharding_indexed", "exzarr.shards"):
        inner = _of_v3([named_of(codec) for codec in chain.serializer.configuration.get("codecs") or ()])
        return inner._replace(filters=(*arrays, *inner.filters))
    order = "F" if len(arrays) < len(chain.arrays) and _reverses(chain.arrays) else "C"
    endian = chain.serializer.configuration.get("endian") or "little"
    plain = chain.serializer.name in ("bytes", "endian", "n5_default")
    return _Codecs(order, arrays, None if plain else chain.serializer, chain.bytes, endian)


def _reverses(arrays: Sequence[Named]) -> bool:
    orders = [codec.configuration.get("order") for codec in arrays if codec.name == "transpose"]
    return len(orders) == 1 and (
        orders[0] == "F" or (isinstance(orders[0], list) and orders[0] == list(range(len(orders[0])))[::-1])
    )


def _short(codec: Named) -> str:
    return codec.name.removeprefix(_OWN)


def _without_replaced(codecs: _Codecs) -> _Codecs:
    def kept(chain: Sequence[Named]) -> tuple[Named, ...]:
        return tuple(codec for codec in chain if _short(codec) not in _REPLACED)

    gone = tuple(_short(c) for c in (*codecs.filters, *codecs.compressors) if _short(c) in _REPLACED)
    return codecs._replace(filters=kept(codecs.filters), compressors=kept(codecs.compressors), replaced=gone)


def _placed_in_v3(codecs: _Codecs) -> _Codecs:
    """Sort v2 filters into the stages of v3: those on elements first, then a serializer, then those on bytes."""
    filters = [codec for codec in codecs.filters if _short(codec) not in _SERIALIZERS_OF_BOTH]
    serializers = [codec for codec in codecs.filters if _short(codec) in _SERIALIZERS_OF_BOTH]
    on_elements = [codec for codec in filters if _short(codec) in _ARRAY_STAGE or not codec.name.startswith(_OWN)]
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


def _placed_in_v2(codecs: _Codecs) -> _Codecs:
    """Make filters of what v2 has no other place for."""
    filters = codecs.filters
    if codecs.serializer is not None and _short(codecs.serializer) in _SERIALIZERS_OF_BOTH:
        filters = (*filters, codecs.serializer)
    bad = [codec.name for codec in filters if codec.name in ("reshape", "cast_value", "scale_offset")]
    if bad:
        raise UnsupportedError(
            f"Zarr v2 has no codec {bad[0]!r}", hint="leave it out with filters=None, or keep zarr_format=3"
        )
    compressors = codecs.compressors
    if compressors and _short(compressors[-1]) in FILTERS:
        filters, compressors = (*filters, *compressors), ()
    return codecs._replace(filters=filters, serializer=None, compressors=compressors)


# --- whether bytes mean the same --------------------------------------------------------------------------------------


def same_bytes(source: ArraySpec, target: ArraySpec) -> bool:
    """Return whether the stored objects of ``source`` are those of ``target``, byte by byte, but for their keys."""
    if source.chunk_grid != target.chunk_grid or not _same_elements(source.dtype, target.dtype):
        return False
    if source.codecs == target.codecs:
        return True
    size = source.dtype.itemsize or 1
    return bool(_canonical(source.codecs, size, source.dtype) == _canonical(target.codecs, size, target.dtype))


def _same_elements(source: DataType, target: DataType) -> bool:
    if source.fields or target.fields or source.itemsize is None:
        return (source.name, source.numpy) == (target.name, target.numpy)
    return source.numpy.newbyteorder("=") == target.numpy.newbyteorder("=") and source.name == target.name


def _canonical(codecs: Sequence[Any], size: int, dtype: DataType | None) -> Any:
    """Return a chain in one spelling, without what only encoders use."""
    found = []
    for codec in map(named_of, codecs):
        try:
            name, configuration = spelled(codec, 3, size)
        except XzarrError:
            name, configuration = codec
        members = {member: value for member, value in configuration.items() if member != "typesize"}
        if name == "bytes":
            single = dtype is not None and (bool(dtype.fields) or dtype.itemsize == 1)
            members = {"endian": None if single else members.get("endian") or "little"}
        for member, default in (("codecs", ()), ("index_codecs", ({"name": "bytes"}, {"name": "crc32c"}))):
            if name == "sharding_indexed":
                members[member] = _canonical(
                    members.get(member) or default, size, dtype if member == "codecs" else None
                )
                members["index_location"] = members.get("index_location") or "end"
        found.append((name, _plain(members)))
    return _filters_first(found)


def _filters_first(chain: list[Any]) -> list[Any]:
    """Put filters that v2 applies to the bytes of the elements where v3 has them, if that gives the same bytes."""
    at = next((place for place, (name, _) in enumerate(chain) if name == "bytes"), None)
    if at is None or chain[at][1]["endian"] == "big":
        return chain
    stop = at + 1
    while stop < len(chain) and chain[stop][0].removeprefix(_OWN) in _ARRAY_STAGE:
        if any(isinstance(value, str) and value.startswith(">") for value in chain[stop][1].values()):
            break
        stop += 1
    return [*chain[:at], *chain[at + 1 : stop], chain[at], *chain[stop:]]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
