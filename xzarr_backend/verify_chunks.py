"""Decoding one stored object to see whether it is whole, and knowing which arrays cannot show that.

Imports array, codecs, layout and the rows below. Invariant: what is reported as good was decoded in full, every inner
chunk of a shard included; the decoded values are thrown away at once, so that memory holds one object per thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .chunk_reading import chunk_error
from .code_points import no_character, wrong_character
from .codecs.sharding import ABSENT, Index
from .codecs.sizes import at_most
from .errors import ChunkError, UnsupportedError
from .layout import Layout, Shards
from .spec import Named

# codecs whose decoders notice a changed bit, because a checksum is stored with the data
CHECKED = frozenset(["crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "zlib", "gzip", "bz2", "bzip2"])
TRUNCATED, DAMAGED, UNREADABLE, BAD_INDEX, ODD_HEADER = "truncated", "damaged", "unreadable", "bad-index", "odd-header"
MISSING = "missing"
DAY = 86_400
LONG_AGO = 946_684_800  # the year 2000, in seconds: no Zarr chunk is older


class Damage(NamedTuple):
    """What is wrong with one stored object. ``kind``: one of the words above; ``coords``: those of its chunk."""

    kind: str
    what: str


class Checked(NamedTuple):
    """What decoding an object showed; ``unchecked``: it holds frames that have no checksum, although they could."""

    damages: list[Damage]
    unchecked: bool = False


def has_checksum(layout: Layout) -> bool | None:
    """Return whether every bit of the chunks is covered by a checksum; None where the chunks themselves tell (zstd)."""
    layout = layout.innermost
    names = [codec.short_name for codec in layout.codecs]
    if any(name in CHECKED for name in names) or any(map(_lzma_checks, layout.codecs)):
        return True
    return None if names and names[-1] == "zstd" else False


def _lzma_checks(codec: Named) -> bool:
    given = codec.configuration
    return codec.name.endswith("lzma") and bool(given.get("format", 1) == 1 and given.get("check", -1) != 0)


def why_unverifiable(layout: Layout) -> str:
    """Return which codecs leave changed bits unnoticed."""
    names = [codec.name for codec in layout.innermost.codecs]
    return f"{', '.join(names) or 'raw bytes'}: no checksum, so changed bits can go unnoticed"


def check_object(array: Array, coords: tuple[int, ...], key: str, raw: Any) -> Checked:
    """Decode the object stored under ``key`` in full; None as ``raw`` means that it is not there (any more)."""
    if raw is None:
        return Checked([Damage(MISSING, f"chunk {coords} is not stored, and reads as the fill value")])
    layout = array.layout
    view = memoryview(raw).cast("B")
    if not view.nbytes and layout.chunk_nbytes:
        return Checked([Damage(TRUNCATED, "the object has no byte")])
    if layout.chunk_nbytes > array.options.max_chunk_bytes:
        limit = array.options.max_chunk_bytes
        return Checked([Damage(UNREADABLE, f"one chunk would take {layout.chunk_nbytes} bytes, the limit is {limit}")])
    shape = layout.grid.chunk_shape(coords)
    shards = layout.shards_for(shape)
    if shards is not None:
        return _check_shard(array, coords, key, view, shards)
    return _check_chunk(array, coords, key, view, layout, shape)


def _check_chunk(
    array: Array, coords: tuple[int, ...], key: str, view: memoryview, layout: Layout, shape: tuple[int, ...]
) -> Checked:
    pipeline = layout.pipeline_for(shape)
    expected = pipeline.encoded_size
    if expected is not None and view.nbytes != expected:
        kind = TRUNCATED if view.nbytes < expected else DAMAGED
        return Checked([Damage(kind, f"{view.nbytes} bytes are stored instead of {expected}")])
    data = np.frombuffer(view, "u1")
    try:
        with at_most(array.options.max_chunk_bytes):
            decoded = pipeline.decode(data)
        if getattr(decoded, "shape", shape) != shape:
            raise ChunkError(f"the chunk decodes to the shape {decoded.shape} instead of {shape}")
        number = wrong_character(decoded) if layout.text else None
        if number is not None:
            raise no_character(number)
    except Exception as error:
        failure = chunk_error(error, array.compiled.source, coords, key)
        return Checked([Damage(DAMAGED, failure.what)])
    last = layout.codecs[-1].short_name if layout.codecs else ""
    odd = odd_header(last, view)
    unchecked = last == "zstd" and not zstd_checksum(view)
    return Checked([Damage(ODD_HEADER, odd)] if odd else [], unchecked)


def _check_shard(array: Array, coords: tuple[int, ...], key: str, view: memoryview, shards: Shards) -> Checked:
    try:
        index = shards.sharding.index_of(np.frombuffer(view, "u1"))
    except Exception as error:
        failure = chunk_error(error, array.compiled.source, coords, key)
        kind = TRUNCATED if "less than its index" in failure.what else BAD_INDEX
        return Checked([Damage(kind, failure.what)])
    damages = [Damage(BAD_INDEX, text) for text in _overlaps(index)]
    unchecked = False
    grid = shards.sharding.grid
    for place, (offset, nbytes) in enumerate(index.tolist()):
        if offset == ABSENT:
            continue
        inner = tuple(int(n) for n in np.unravel_index(place, grid.counts)) if grid.counts else ()
        part = view[offset : offset + nbytes]
        shape = grid.chunk_shape(inner)
        below = shards.inner.shards_for(shape)
        if below is not None:
            found = _check_shard(array, coords, key, part, below)
        else:
            found = _check_chunk(array, coords, key, part, shards.inner, shape)
        damages += [Damage(d.kind, f"inner chunk {inner}: {d.what}") for d in found.damages]
        unchecked |= found.unchecked
    return Checked(damages, unchecked)


def _overlaps(index: Index) -> Iterator[str]:
    """Yield what of the index cannot be: inner chunks that share bytes (but not all: writers may share equal ones)."""
    stored = sorted({(int(offset), int(offset) + int(nbytes)) for offset, nbytes in index if offset != ABSENT})
    for (_, stop), (start, _) in pairwise(stored):
        if start < stop:
            yield f"two inner chunks overlap at byte {start}"
            return


# --- headers that decoders do not look at ----------------------------------------------------------------------------


def zstd_checksum(frame: memoryview) -> bool:
    """Return whether a zstd frame ends in a checksum (RFC 8878, 3.1.1.1.1)."""
    return len(frame) > 4 and bool(frame[4] & 4)


def odd_header(codec: str, data: memoryview) -> str:
    """Return what is odd in a header although the data decode: flags and times that no writer sets."""
    if codec == "gzip" and len(data) >= 10 and bytes(data[:2]) == b"\x1f\x8b":
        modified = int.from_bytes(data[4:8], "little")
        if data[3] & 0xE1 or data[8] not in (0, 2, 4) or (data[9] > 13 and data[9] != 255):
            return "the flags of the gzip header are none that a writer sets"
        if modified and not LONG_AGO < modified < time.time() + DAY:
            return f"the gzip header says that it was written {modified} seconds after 1970"
    if codec == "zstd" and len(data) > 4 and bytes(data[:4]) == b"\x28\xb5\x2f\xfd" and data[4] & 0x18:
        return "a bit of the zstd header is set that must not be"
    return ""


def fetch(array: Array, key: str) -> tuple[Any, Damage | None]:
    """Return the bytes of an object, or why they cannot be had."""
    try:
        return array.store.get(key), None
    except UnsupportedError:
        raise
    except Exception as error:
        return None, Damage(UNREADABLE, chunk_error(error, array.compiled.source, (), key, fetching=True).what)
