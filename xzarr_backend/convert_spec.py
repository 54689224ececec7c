"""What an array becomes: from its spec and the wishes of the caller to the spec of the target.

Imports array, creation, codecs and the rows below. Invariant: what nobody asked to change stays: a target of the same
format without wishes has the document of its source, and `same_bytes` is true only where the stored bytes of every
chunk mean the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .chunk_keys import ChunkKeyEncoding, parse_chunk_key_encoding
from .codec_objects import named_of, spelled
from .compat import found_quirks
from .convert_codecs import ARRAY_STAGE, KEEP, Wishes, codecs_for, rounds
from .convert_masks import carry_mask, names_of, plain_attributes
from .dtypes import DataType, as_dtype
from .errors import ChunkError, MetadataError, UnsupportedError, XzarrError
from .formats.v2 import format_array_v2, parse_array_v2
from .formats.v3 import format_array_v3, parse_array_v3
from .layout import compile_layout
from .profiles import apply_profile, needs_every_chunk, refuse_broken
from .spec import NUMCODECS, ArraySpec
from .spec_building import build_spec

_BY_CONVENTION = (
    "convert the other arrays alone (path=), or store the data by the profile's conventions: "
    "xz.to_zarr(xz.open_dataset(source), target, profile=...)"
)


class Converted(NamedTuple):
    """The spec of the target, and remarks on what could not stay as it was.

    ``every_chunk``: chunks of nothing but the fill value are to be stored too.
    """

    spec: ArraySpec
    notes: tuple[str, ...] = ()
    every_chunk: bool = False


def convert_spec(source: Array, wishes: Wishes) -> Converted:
    """Return what ``source`` becomes; raise `MetadataError` or `UnsupportedError` that name the array and a way out."""
    rounding = wishes.filters == KEEP and rounds(source.spec)
    try:
        if rounding:
            try:
                found = _convert(source, wishes, keep_rounding=True)
                if same_bytes(source.spec, found.spec):
                    return found
            except MetadataError:
                pass  # the filter cannot be said in the other format, but can be left out
        return _convert(source, wishes, keep_rounding=not rounding)
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
    codecs, notes = codecs_for(source, zarr_format, wishes, keep_rounding)
    chunks, shards = _grid_for(source, zarr_format, wishes)
    keys = wishes.chunk_key_encoding
    keywords: dict[str, Any] = {
        "shape": spec.shape,
        "dtype": _dtype_for(spec, zarr_format, codecs.endian),
        "chunks": chunks,
        "shards": shards,
        "filters": list(codecs.filters),
        "compressors": list(codecs.compressors),
        "serializer": codecs.serializer if codecs.serializer is not None else "auto",
        "fill_value": masked.fill,
        "order": codecs.order,
        "dimension_names": None if zarr_format == 2 and same_format else names_of(spec),
        "attributes": plain_attributes(masked.attributes, spec, zarr_format),
        "chunk_key_encoding": spec.chunk_key_encoding if keys is None and same_format and not wishes.profile else keys,
        "zarr_format": zarr_format,
    }
    built = build_spec(**(keywords if wishes.profile is None else apply_profile(wishes.profile, keywords)))
    every_chunk = built.fill_value is None and spec.fill_value is not None  # null: missing chunks may read as anything
    if wishes.profile is not None:
        refuse_broken(wishes.profile, built, "" if wishes.asks_for_codecs else _BY_CONVENTION)
        every_chunk = every_chunk or needs_every_chunk(wishes.profile, built)
    compile_layout(built, "", source.options.allow_codecs)  # what cannot be compiled cannot be stored
    notes = [note for note in (*notes, masked.note, _fill_note(spec, built)) if note]
    return Converted(built, tuple(notes), every_chunk)


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
    changed = spec._replace(chunk_key_encoding=encoding)
    written = format_array_v3(changed) if spec.zarr_format == 3 else format_array_v2(changed)
    member = "chunk_key_encoding" if spec.zarr_format == 3 else "dimension_separator"
    return changed._replace(document={**spec.document, member: written[member]})


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
    drops = wishes.shards is False or (wishes.profile is not None and wishes.shards is None)
    shards = None if drops else wanted_lengths(source, wishes.shards, outer)
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
            members = {"endian": _byte_order(members.get("endian"), dtype)}
        for member, default in (("codecs", ()), ("index_codecs", ({"name": "bytes"}, {"name": "crc32c"}))):
            if name == "sharding_indexed":
                members[member] = _canonical(
                    members.get(member) or default, size, dtype if member == "codecs" else None
                )
                members["index_location"] = members.get("index_location") or "end"
        found.append((name, _plain(members)))
    return _filters_first(found)


def _byte_order(endian: Any, dtype: DataType | None) -> Any:
    """Return the order of the stored bytes; None where it means nothing, or is that of the data type of a record."""
    if dtype is not None and dtype.fields:
        order: Any = ">" if endian == "big" else "<"
        return None if endian is None or dtype.numpy.newbyteorder(order) == dtype.numpy else endian
    return None if dtype is not None and dtype.itemsize == 1 else endian or "little"


def _filters_first(chain: list[Any]) -> list[Any]:
    """Put filters that v2 applies to the bytes of the elements where v3 has them, if that gives the same bytes."""
    at = next((place for place, (name, _) in enumerate(chain) if name == "bytes"), None)
    if at is None or chain[at][1]["endian"] == "big":
        return chain
    stop = at + 1
    while stop < len(chain) and chain[stop][0].removeprefix(NUMCODECS) in ARRAY_STAGE:
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
