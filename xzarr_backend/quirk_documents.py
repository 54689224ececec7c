"""What the rows of quirks look at in documents, and how they rewrite them.

Imports errors and spec. Invariant: documents come from strangers: whatever JSON they hold, these functions return an
answer, or raise `MetadataError`; they never change a document in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import MetadataError
from .spec import JSON

Document = Mapping[str, JSON]


# --- what the rows look at -------------------------------------------------------------------------------------------


def codecs(document: Document) -> list[tuple[str, str, Mapping[str, JSON]]]:
    """Return (place, name, configuration) of the codecs of a v3 document that are well formed."""
    found: list[tuple[str, str, Mapping[str, JSON]]] = []
    codecs = document.get("codecs")
    for place, codec in enumerate(codecs if isinstance(codecs, list) else ()):
        if isinstance(codec, str):
            found.append((f"codecs[{place}]", codec, {}))
        elif isinstance(codec, dict) and isinstance(codec.get("name"), str):
            configuration = codec.get("configuration")
            found.append((f"codecs[{place}]", codec["name"], configuration if isinstance(configuration, dict) else {}))
    return found


def named(document: Document, *names: str) -> list[str]:
    return [place for place, name, _ in codecs(document) if name in names]


def filters(document: Document) -> list[tuple[str, Mapping[str, JSON]]]:
    filters = document.get("filters")
    found: list[tuple[str, Mapping[str, JSON]]] = [
        (f"filters[{place}]", codec)
        for place, codec in enumerate(filters if isinstance(filters, list) else ())
        if isinstance(codec, dict)
    ]
    compressor = document.get("compressor")
    return [*found, ("compressor", compressor)] if isinstance(compressor, dict) else found


def ids(document: Document, *ids: str) -> list[str]:
    return [place for place, codec in filters(document) if codec.get("id") in ids]


def member(name: str, test: Callable[[Any], bool]) -> Callable[[Document], list[str]]:
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
    return [place for place, name, c in codecs(document) if name in needs and needs[name] not in c]


# --- rewriting -------------------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[Document], Document]:
    def rewrite(document: Document) -> Document:
        places = {int(place[len("codecs[") : -1]) for place in named(document, *names)}
        return {**document, "codecs": [codec for at, codec in enumerate(document["codecs"]) if at not in places]}

    return rewrite


def without_filters(*ids: str) -> Callable[[Document], Document]:
    def rewrite(document: Document) -> Document:
        kept = [codec for codec in document["filters"] if not (isinstance(codec, dict) and codec.get("id") in ids)]
        return {**document, "filters": kept}

    return rewrite


def scaled(document: Document) -> Document:
    filters = [
        {**codec, "id": "exzarr.scale"} if isinstance(codec, dict) and codec.get("id") == "fixedscaleoffset" else codec
        for codec in document["filters"]
    ]
    return {**document, "filters": filters}


def little(document: Document) -> Document:
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}} if place in named(document, "bytes") else codec
        for place, codec in zip(
            (f"codecs[{at}]" for at in range(len(document["codecs"]))), document["codecs"], strict=True
        )
    ]
    return {**document, "codecs": codecs}


def own_shards(document: Document) -> Document:
    """The grid counts inner chunks and ``sharding_indexed`` chunks per shard: say it in elements per shard."""
    sharding = next(c for c in document["codecs"] if isinstance(c, dict) and c.get("name") == "sharding_indexed")
    grid = document.get("chunk_grid")
    inner = grid["configuration"]["chunk_shape"] if isinstance(grid, dict) else None
    counts = sharding["configuration"]["chunk_shape"]
    if not isinstance(inner, list) or not isinstance(counts, list) or len(inner) != len(counts):
        raise MetadataError("chunk_grid and sharding_indexed of an ExZarr array must have one chunk_shape rank")
    shape = [n * count for n, count in zip(inner, counts, strict=True)]
    codec = {"name": "exzarr.shards", "configuration": {**sharding["configuration"], "chunk_shape": inner}}
    return {
        **document,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "codecs": [codec],
    }
