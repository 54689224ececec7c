"""What the rows of quirks look at in documents, and how they rewrite them.

Imports errors and spec. Invariant: documents come from strangers: whatever JSON they hold, these functions return an
answer, or raise `MetadataError` or `UnsupportedError`; they never change a document in place.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import MetadataError, UnsupportedError
from .spec import JSON

Document = Mapping[str, JSON]
Codecs = list[tuple[str, str, Mapping[str, JSON]]]  # (place, name, configuration)


# --- what the rows look at -------------------------------------------------------------------------------------------


def codecs(document: Document) -> Codecs:
    """Return (place, name, configuration) of the codecs of a v3 document that are well formed."""
    return _listed(document.get("codecs"), "codecs")


def chains(document: Document) -> Iterator[Codecs]:
    """Yield the codecs of a v3 document, and those that its shards, their indexes and what lies in them have."""
    for _, chain in _chains(document.get("codecs"), "codecs"):
        yield chain


def _chains(value: JSON, place: str) -> Iterator[tuple[str, Codecs]]:
    if not isinstance(value, list):
        return
    found = _listed(value, place)
    yield place, found
    for below, name, configuration in found:
        for member in ("codecs", "index_codecs") if name == "sharding_indexed" else ():
            yield from _chains(configuration.get(member), f"{below}.configuration.{member}")


def _listed(value: JSON, place: str) -> Codecs:
    found: Codecs = []
    for at, codec in enumerate(value if isinstance(value, list) else ()):
        if isinstance(codec, str):
            found.append((f"{place}[{at}]", codec, {}))
        elif isinstance(codec, dict) and isinstance(codec.get("name"), str):
            configuration = codec.get("configuration")
            found.append((f"{place}[{at}]", codec["name"], configuration if isinstance(configuration, dict) else {}))
    return found


def named(document: Document, *names: str) -> list[str]:
    """Find codecs of a v3 document by their names."""
    return [place for place, name, _ in codecs(document) if name in names]


def matching(document: Document, test: Callable[[str, Mapping[str, JSON]], object]) -> list[str]:
    """Find codecs by name and configuration, within shards too."""
    return [place for chain in chains(document) for place, name, c in chain if test(name, c)]


def without_serializer(document: Document, serializers: tuple[str, ...]) -> list[str]:
    """Find the codec chains, within shards too, that have no array->bytes codec."""
    found = _chains(document.get("codecs"), "codecs")
    return [place for place, chain in found if not any(name in serializers for _, name, _ in chain)]


OF_BYTES = frozenset(
    ["gzip", "zstd", "blosc", "crc32c"]
    + [f"numcodecs.{name}" for name in ("zlib", "gzip", "bz2", "lz4", "lzma", "zstd", "blosc", "crc32", "crc32c")]
)


def bytes_first(document: Document, serializers: tuple[str, ...]) -> list[str]:
    """Find codecs of bytes that stand in front of the array->bytes codec of their chain, within shards too."""
    found = []
    for chain in chains(document):
        at = next((at for at, (_, name, _) in enumerate(chain) if name in serializers), 0)
        found += [place for place, name, _ in chain[:at] if name in OF_BYTES]
    return found


_OF_SEVERAL_BYTES = re.compile(
    r"(u?int|float|complex|complex_float)(16|32|64|128)|bfloat16|(numpy\.)?(datetime|timedelta)64|fixed_length_utf32|struct(ured)?"
)


def bytes_without_endian(document: Document) -> list[str]:
    """Find the codec bytes without a byte order, for elements (or the offsets in a shard's index) of several bytes."""
    kind = document.get("data_type")
    name = kind.get("name") if isinstance(kind, dict) else kind
    several = isinstance(name, str) and bool(_OF_SEVERAL_BYTES.fullmatch(name)) and not _of_single_bytes(kind)
    return [
        at
        for place, chain in _chains(document.get("codecs"), "codecs")
        for at, name, c in chain
        if name == "bytes" and "endian" not in c and (several or place.endswith("index_codecs"))
    ]


def _of_single_bytes(kind: JSON) -> bool:
    """Return whether a data type is a record of fields of one byte each, which need no byte order."""
    configuration = kind.get("configuration") if isinstance(kind, dict) else None
    fields = configuration.get("fields") if isinstance(configuration, dict) else None
    if not isinstance(fields, list) or not fields:
        return False
    types = [field.get("data_type") if isinstance(field, dict) else field[1:2] for field in fields]
    types = [each[0] if isinstance(each, list) and each else each for each in types]
    return all(each in ("bool", "int8", "uint8") or _of_single_bytes(each) for each in types)


def filters(document: Document) -> list[tuple[str, Mapping[str, JSON]]]:
    """Return (place, configuration) of the filters and the compressor of a v2 document."""
    filters = document.get("filters")
    found: list[tuple[str, Mapping[str, JSON]]] = [
        (f"filters[{place}]", codec)
        for place, codec in enumerate(filters if isinstance(filters, list) else ())
        if isinstance(codec, dict)
    ]
    compressor = document.get("compressor")
    return [*found, ("compressor", compressor)] if isinstance(compressor, dict) else found


def ids(document: Document, *ids: str) -> list[str]:
    """Find filters and the compressor of a v2 document by their ids."""
    return [place for place, codec in filters(document) if codec.get("id") in ids]


def member(name: str, test: Callable[[Any], bool]) -> Callable[[Document], list[str]]:
    """Find a member whose value passes ``test``."""
    return lambda document: [name] if name in document and test(document[name]) else []


def absent_v2(name: str) -> Callable[[Document], list[str]]:
    """Find a member that a v2 document must have; documents of v3 under the v2 name are another matter."""
    return lambda document: [] if name in document or document.get("zarr_format") == 3 else [name]


def number_fill(document: Document) -> list[str]:
    """Find a fill value of a boolean or complex array that is a number instead of a boolean or a pair."""
    kind, fill = document.get("data_type"), document.get("fill_value")
    number = isinstance(fill, int | float) and not isinstance(fill, bool)
    return ["fill_value"] if number and kind in ("bool", "complex64", "complex128") else []


def unconfigured(document: Document) -> list[str]:
    """Find codecs whose configuration the specification demands."""
    needs = {"gzip": "level", "blosc": "cname"}
    return matching(document, lambda name, c: name in needs and needs[name] not in c)


def null_members(document: Document) -> list[str]:
    """Find members of a v3 document that may be left out, but that may not be null."""
    optional = ("attributes", "dimension_names", "storage_transformers")
    return [name for name in optional if name in document and document[name] is None]


def bare_numbers(document: Document) -> list[str]:
    """Find members that hold NaN or infinity as numbers, which JSON does not have."""
    return [str(name) for name, value in document.items() if _holds_bare(value)]


def _holds_bare(value: JSON) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict | list):
        return any(map(_holds_bare, value.values() if isinstance(value, dict) else value))
    return False


# --- fill values -----------------------------------------------------------------------------------------------------


def fill_of_v2(document: Document) -> list[str]:
    """Find a fill value that is spelled in another way than Zarr v2 has it for the data type."""
    dtype, fill = document.get("dtype"), document.get("fill_value")
    kind = dtype[1:2] if isinstance(dtype, str) else "record" if isinstance(dtype, list) else ""
    size = int(dtype[2:]) if isinstance(dtype, str) and dtype[2:].isdecimal() and kind in "SV" else None
    right = {
        "i": type(fill) is int,
        "u": type(fill) is int,
        "f": _is_real(fill),
        "b": type(fill) is bool,
        "c": isinstance(fill, list) and len(fill) == 2 and all(map(_is_real, fill)),
        "S": _is_base64(fill, size),
        "V": _is_base64(fill, size),
        "U": isinstance(fill, str),
        "M": type(fill) is int or fill == "NaT",
        "m": type(fill) is int or fill == "NaT",
        "record": _is_base64(fill, None),
    }
    return [] if fill is None or right.get(kind, True) else ["fill_value"]


def fill_of_v3(document: Document) -> list[str]:
    """Find a fill value that is spelled in another way than Zarr v3 has it; numbers for others are `number_fill`."""
    kind, fill = document.get("data_type"), document.get("fill_value")
    found = _NUMBERS.fullmatch(kind) if isinstance(kind, str) else None
    if found is None or fill is None or number_fill(document):
        return []
    bits = int(found[2] or 0)
    if found[1] in ("int", "uint"):
        right = type(fill) is int
    elif found[1] == "bool":
        right = type(fill) is bool
    elif found[1] == "complex":
        right = isinstance(fill, list) and len(fill) == 2 and all(_is_real(part, bits // 2) for part in fill)
    else:
        right = _is_real(fill, bits)
    return [] if right else ["fill_value"]


_NUMBERS = re.compile(r"(int|uint|float|complex|bool)([0-9]{0,3})")


def _is_real(value: JSON, bits: int = 0) -> bool:
    """Return whether ``value`` spells a float; ``bits``: whether it may be as many of them, in hexadecimal."""
    if isinstance(value, str):
        digits = value[2:] if value.startswith("0x") else ""
        spelled = bits and len(digits) == bits // 4 and not set(digits) - set("0123456789abcdefABCDEF")
        return value in ("NaN", "Infinity", "-Infinity") or bool(spelled)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_base64(value: JSON, size: int | None) -> bool:
    """Return whether ``value`` is base64 of at most ``size`` bytes: zarr-python 2 leaves out zeros at the end."""
    try:
        found = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:
        return False
    return found is not None and (size is None or len(found) <= size)


# --- rewriting -------------------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[Document], Document]:
    """Return the rewriting that takes codecs out of the chain of a v3 document."""

    def rewrite(document: Document) -> Document:
        places = {int(place[len("codecs[") : -1]) for place in named(document, *names)}
        return {**document, "codecs": [codec for at, codec in enumerate(document["codecs"]) if at not in places]}

    return rewrite


def without_filters(*ids: str) -> Callable[[Document], Document]:
    """Return the rewriting that takes codecs out of a v2 document, as filters or as the compressor."""
    return lambda document: _each(document, lambda codec: None if codec.get("id") in ids else codec)


def scaled(document: Document) -> Document:
    """Name the codec that does with numbers what ExZarr means by fixedscaleoffset."""
    return _each(document, lambda c: {**c, "id": "exzarr.scale"} if c.get("id") == "fixedscaleoffset" else c)


def _each(document: Document, change: Callable[[dict[str, JSON]], JSON]) -> Document:
    """Change the filters and the compressor of a v2 document, those that are well formed; None removes one."""
    found = dict(document)
    if isinstance(filters := document.get("filters"), list):
        changed = [change(codec) if isinstance(codec, dict) else codec for codec in filters]
        found["filters"] = [new for new, old in zip(changed, filters, strict=True) if new is not None or old is None]
    if isinstance(compressor := document.get("compressor"), dict):
        found["compressor"] = change(compressor)
    return found


def little(document: Document) -> Document:
    """Say that the bytes are little-endian."""
    return {**document, "codecs": _little(document["codecs"])}


def _little(codecs: list[JSON]) -> list[JSON]:
    places = [place for place, name, _ in _listed(codecs, "codecs") if name == "bytes"]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return [little if f"codecs[{at}]" in places else codec for at, codec in enumerate(codecs)]


def own_shards(document: Document) -> Document:
    """The grid counts inner chunks and ``sharding_indexed`` chunks per shard: say it in elements per shard."""
    (name, sharding), *others = [(name, c) for _, name, c in codecs(document)] or [("", {})]
    if name != "sharding_indexed" or others:
        raise UnsupportedError(
            "it is not known how ExZarr stores shards that have codecs before or behind them",
            where="codecs",
            hint="convert the array where it can be read",
        )
    grid = document.get("chunk_grid")
    inner = _sizes(grid.get("configuration") if isinstance(grid, dict) else None, "chunk_grid")
    counts = _sizes(sharding, "codecs[0]")
    if len(inner) != len(counts):
        raise MetadataError("chunk_grid and sharding_indexed of an ExZarr array must have one chunk_shape rank")
    shape = [n * count for n, count in zip(inner, counts, strict=True)]
    chain = sharding.get("codecs")
    configuration = {**sharding, "chunk_shape": inner}
    if isinstance(chain, list):
        configuration["codecs"] = _little(chain)
    return {
        **document,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "codecs": [{"name": "exzarr.shards", "configuration": configuration}],
    }


def _sizes(configuration: JSON, place: str) -> list[int]:
    """Return the chunk_shape of a configuration; raise `MetadataError` where there is none of positive numbers."""
    found = configuration.get("chunk_shape") if isinstance(configuration, Mapping) else None
    if not isinstance(found, list) or not all(type(size) is int and size > 0 for size in found):
        problem = f"must be a list of positive whole numbers, not {found!r:.80}"
        where = f"{place}.configuration.chunk_shape"
        raise MetadataError("wrong sizes of an ExZarr array with shards", problems=[(where, problem)])
    return found
