"""Fetching what a read needs of shards: their indexes, whole shards, ranges of inner chunks.

Imports chunk_reading, codecs.sharding and the rows below. Invariant: an index and the ranges it points at come from
one version of the shard; where the store shows that the shard changed in between, `ShardChanged` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from .chunk_reading import Source, Target, chunk_error, expected_nbytes, fetch_many
from .codecs.exzarr import looks_like_exzarr
from .codecs.sharding import Index
from .index_cache import CacheKey
from .layout import Layout, Shards
from .memory import encoded_buffer
from .plan import Part, Plan
from .selection import Selection
from .stores.base import ByteRange, Request

GAP_NBYTES = 64 * 1024  # ranges closer than this are fetched as one: a request costs more than the bytes between


class Blob(NamedTuple):
    """A shard within an object: all of it, or ``nbytes`` from ``start`` where shards are nested.

    ``coords`` are those of the stored object. ``stamp`` is its version where that is known already; ``data`` holds the
    shard's bytes where they are in memory.
    """

    key: str
    coords: tuple[int, ...]
    start: int = 0
    nbytes: int | None = None
    stamp: Hashable = None
    data: memoryview | None = None


class Job(NamedTuple):
    """One shard to read: what of it is needed, and where that goes."""

    blob: Blob
    selection: Selection
    target: Target


class Shard(NamedTuple):
    """A job with what its metadata says: how the shard is cut, and the plan on its inner chunks."""

    job: Job
    shards: Shards
    planned: Plan


class Piece(NamedTuple):
    """One stored inner chunk: where its bytes lie within the shard, and its part of the plan."""

    start: int
    nbytes: int
    part: Part


class ShardChanged(Exception):
    """The object ``args[0]`` was replaced between two requests."""


def fetch_whole(source: Source, layout: Layout, blob: Blob) -> Blob:
    """Return ``blob`` with its data, or as it is when there is no such shard."""
    try:
        if blob.nbytes is None:
            nested = layout.shards is not None and layout.shards.inner.shards is not None
            buffer = None if nested else encoded_buffer(expected_nbytes(layout.pipeline))
            data = source.store.get(blob.key, None, buffer)
        else:
            data = _get_ranges(source, blob, [ByteRange(blob.start, blob.nbytes)])[1][0]
    except ShardChanged:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error
    return blob if data is None else blob._replace(data=memoryview(data).cast("B"))


def _get_ranges(source: Source, blob: Blob, ranges: Sequence[ByteRange]) -> tuple[Hashable, list[Any]]:
    """Return the stamp and the ranges, all of one version: that of ``blob.stamp`` where it is known."""
    stamp, found = source.store.get_ranges(blob.key, ranges, blob.stamp)
    if found is None:
        raise ShardChanged(blob.key)
    return stamp, found


# --- indexes ---------------------------------------------------------------------------------------------------------

FoundIndex = tuple[Hashable, Index]


def load_indexes(source: Source, opened: Sequence[Shard]) -> list[FoundIndex | None]:
    """Return stamp and index of each shard, None for those that do not exist; the unknown ones in one wave."""
    found: list[FoundIndex | None] = []
    unknown = []
    for shard in opened:
        blob, sharding = shard.job.blob, shard.shards.sharding
        if blob.data is not None:
            found.append((blob.stamp, _checked(source, blob, lambda b=blob, s=sharding: s.index_of(b.data))))
            continue
        known = source.indexes.get(_cache_key(shard))
        found.append(known)
        if known is None:
            unknown.append(shard)
    if not unknown:
        return found
    fetched = iter(_fetch_indexes(source, unknown))
    waiting = {id(shard) for shard in unknown}
    return [next(fetched) if id(shard) in waiting else index for shard, index in zip(opened, found, strict=True)]


def _fetch_indexes(source: Source, unknown: Sequence[Shard]) -> list[FoundIndex | None]:
    if not source.store.concurrent:
        return [_fetch_index(source, shard) for shard in unknown]
    requests = [Request(shard.job.blob.key, _index_range(shard)) for shard in unknown]
    fetched = fetch_many(source, requests)
    return [
        None if encoded is None else (None, _keep_index(source, shard, None, encoded))
        for shard, encoded in zip(unknown, fetched, strict=True)
    ]


def _fetch_index(source: Source, shard: Shard) -> FoundIndex | None:
    blob = shard.job.blob
    try:
        stamp, found = source.store.get_ranges(blob.key, [_index_range(shard)], blob.stamp)
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error
    if found is None:
        if blob.stamp is not None:
            raise ShardChanged(blob.key)
        return None
    return stamp, _keep_index(source, shard, stamp, found[0])


def _index_range(shard: Shard) -> ByteRange:
    blob, sharding = shard.job.blob, shard.shards.sharding
    if sharding.index_at_start:
        return ByteRange(blob.start, sharding.index_nbytes)
    if blob.nbytes is None:
        return ByteRange(-sharding.index_nbytes, sharding.index_nbytes)
    return ByteRange(max(blob.start + blob.nbytes - sharding.index_nbytes, blob.start), sharding.index_nbytes)


def _keep_index(source: Source, shard: Shard, stamp: Hashable, encoded: Any) -> Index:
    blob, sharding = shard.job.blob, shard.shards.sharding
    index = _checked(source, blob, lambda: sharding.parse_index(encoded, blob.nbytes))
    if stamp is not None or source.store.concurrent:  # elsewhere nothing would tell that the shard was replaced
        source.indexes.put(_cache_key(shard), stamp, index)
    return index


def _cache_key(shard: Shard) -> CacheKey:
    """Return the name of a shard's index; a nested shard may begin where the one around it begins."""
    return shard.job.blob.key, shard.job.blob.start, shard.shards.inner.depth


def _checked(source: Source, blob: Blob, parse: Callable[..., Index]) -> Index:
    try:
        return parse()
    except Exception as error:
        failure = chunk_error(error, source, blob.coords, blob.key)
        if blob.nbytes is None and _written_by_exzarr(source, blob):
            failure.hint = 'the shard is in the format of ExZarr: open the array with quirks="exzarr"'
        raise failure from error


def _written_by_exzarr(source: Source, blob: Blob) -> bool:
    """Look at the whole of a shard whose index cannot be read, to tell the user what it is."""
    data = blob.data if blob.data is not None else source.store.get(blob.key)
    return data is not None and looks_like_exzarr(memoryview(data).cast("B"), len(blob.coords))


# --- inner chunks ---------------------------------------------------------------------------------------------------


def fetch_pieces(source: Source, found: Sequence[tuple[Shard, Hashable, list[Piece]]]) -> Iterator[list[Any]]:
    """Yield the encoded inner chunks of each shard, in the order of its pieces."""
    if source.store.concurrent:
        return iter(_fetch_coalesced(source, found))
    return (_pieces_of_one(source, shard.job.blob._replace(stamp=stamp), pieces) for shard, stamp, pieces in found)


def _pieces_of_one(source: Source, blob: Blob, pieces: Sequence[Piece]) -> list[Any]:
    data = blob.data
    if data is not None:
        return [data[start : start + nbytes] for start, nbytes, _ in pieces]
    if not pieces and blob.stamp is None:
        return []
    ranges = [ByteRange(blob.start + start, nbytes) for start, nbytes, _ in pieces]
    try:
        return _get_ranges(source, blob, ranges)[1]
    except ShardChanged:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key) from error


def _fetch_coalesced(source: Source, found: Sequence[tuple[Shard, Hashable, list[Piece]]]) -> list[list[Any]]:
    """Fetch what is not in memory yet with one wave of requests, neighbouring ranges as one."""
    requests: list[Request] = []
    # for each piece of each shard: its request, and where in the answer it begins
    spans: list[list[tuple[int, int]]] = []
    for shard, _, pieces in found:
        blob = shard.job.blob
        here = [(0, 0)] * len(pieces)
        starts = [piece.start for piece in pieces]
        for at in sorted(range(len(pieces)), key=starts.__getitem__) if blob.data is None else ():
            start, nbytes = blob.start + pieces[at].start, pieces[at].nbytes
            last = requests[-1].byte_range if requests and requests[-1].key == blob.key else None
            if last is not None and 0 <= start - (last.start + (last.length or 0)) <= GAP_NBYTES:
                requests[-1] = Request(blob.key, ByteRange(last.start, start + nbytes - last.start))
            else:
                requests.append(Request(blob.key, ByteRange(start, nbytes)))
            fetched_from = requests[-1].byte_range
            assert fetched_from is not None
            here[at] = len(requests) - 1, start - fetched_from.start
        spans.append(here)
    answers = fetch_many(source, requests) if requests else []
    return [_cut(shard.job.blob, pieces, here, answers) for (shard, _, pieces), here in zip(found, spans, strict=True)]


def _cut(blob: Blob, pieces: Sequence[Piece], spans: Sequence[tuple[int, int]], answers: Sequence[Any]) -> list[Any]:
    if blob.data is not None:
        return [blob.data[start : start + nbytes] for start, nbytes, _ in pieces]
    if any(answers[request] is None for request, _ in spans):
        raise ShardChanged(blob.key)  # the index was there a moment ago
    return [
        memoryview(answers[request])[start : start + piece.nbytes]
        for (request, start), piece in zip(spans, pieces, strict=True)
    ]
