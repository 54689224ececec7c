"""Fetching what a read needs of shards: their indexes, whole shards, ranges of inner chunks.

Imports chunk_reading, shard_cutting, codecs.sharding and the rows below. Invariant: an index and the ranges it points
at come from one version of the shard; where the store shows that the shard changed in between, `ShardChanged` is
raised. Stores that are asked for many objects at once tell no versions apart: there the index itself is the stamp. One
that an earlier read learned is fetched again with the ranges, behind them in the same wave, and must be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .chunk_reading import Source, Target, chunk_error, expected_nbytes, fetch_many
from .codecs.exzarr import looks_like_exzarr
from .codecs.sharding import Index
from .index_cache import CacheKey
from .layout import Layout
from .memory import Lend
from .pieces import Pieces, Spans
from .plan import Part
from .shard_cutting import Cut
from .stores.base import ByteRange, Request

WHOLE_SHARE = 0.5  # of the inner chunks of a shard: from here on the shard is fetched whole, with one request


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


class Shard(NamedTuple):
    """One shard to read: what of it is needed, and where that goes."""

    blob: Blob
    cut: Cut
    target: Target


class Found(NamedTuple):
    """A shard that is there: its version, where the needed inner chunks lie in it, and their parts of the plan.

    ``spans`` are offsets and lengths in bytes, of the inner chunks that are stored. ``parts`` is None where that is all
    of them.
    """

    shard: Shard
    stamp: Hashable
    spans: Spans
    parts: list[Part] | None


class ShardChanged(Exception):
    """The object ``args[0]`` was replaced between two requests."""


def fetch_whole(source: Source, layout: Layout, shards: Sequence[Shard], lend: Lend) -> list[Shard]:
    """Return ``shards``; those of which most is needed, and which exist, with their data, in memory that is lent."""
    found, least = list(shards), 0 if source.store.whole_objects else WHOLE_SHARE
    wanted = [at for at, shard in enumerate(shards) if shard.blob.data is None and shard.cut.share >= least]
    if not wanted:
        return found
    if source.store.concurrent:
        blobs = [shards[at].blob for at in wanted]
        answers = fetch_many(source, [Request(blob.key, _range_of(blob)) for blob in blobs])
    else:
        answers = [_fetch_one(source, layout, shards[at].blob, lend) for at in wanted]
    for at, data in zip(wanted, answers, strict=True):
        if data is not None:
            shard = shards[at]
            found[at] = shard._replace(blob=shard.blob._replace(data=memoryview(data).cast("B")))
    return found


def _range_of(blob: Blob) -> ByteRange | None:
    return None if blob.nbytes is None else ByteRange(blob.start, blob.nbytes)


def _fetch_one(source: Source, layout: Layout, blob: Blob, lend: Lend) -> Any:
    wanted = _range_of(blob)
    try:
        if wanted is not None:
            return _get_ranges(source, blob.key, [wanted], blob.stamp)[1][0]
        nested = layout.shards is not None and layout.shards.inner.shards is not None
        buffer = None if nested or source.store.whole_objects else lend(expected_nbytes(layout))
        return source.store.get(blob.key, None, buffer)
    except ShardChanged:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key, fetching=True) from error


def _get_ranges(source: Source, key: str, ranges: Sequence[ByteRange], stamp: Hashable) -> tuple[Hashable, list[Any]]:
    """Return the stamp and the ranges, all of one version: that of ``stamp`` where it is known."""
    stamp, found = source.store.get_ranges(key, ranges, stamp)
    if found is None:
        raise ShardChanged(key)
    return stamp, found


# --- indexes ---------------------------------------------------------------------------------------------------------

FoundIndex = tuple[Hashable, Index]


def load_indexes(source: Source, opened: Sequence[Shard]) -> list[FoundIndex | None]:
    """Return stamp and index of each shard, None for those that do not exist; the unknown ones in one wave."""
    found: list[FoundIndex | None] = []
    unknown = []
    for shard in opened:
        blob, sharding = shard.blob, shard.cut.shards.sharding
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
    fetched = fetch_many(source, [_index_request(shard) for shard in unknown])
    return [
        None if encoded is None else (None, _keep_index(source, shard, *_stamped(source, encoded)))
        for shard, encoded in zip(unknown, fetched, strict=True)
    ]


def _stamped(source: Source, encoded: Any) -> tuple[Hashable, bytes]:
    """Return an index with the stamp that later reads compare it by; none is needed where objects never change."""
    index = bytes(encoded)  # no copy of bytes; what is parsed looks at the same memory
    return None if source.store.frozen else index, index


def _index_request(shard: Shard) -> Request:
    return Request(shard.blob.key, _index_range(shard))


def _fetch_index(source: Source, shard: Shard) -> FoundIndex | None:
    blob = shard.blob
    try:
        stamp, found = source.store.get_ranges(blob.key, [_index_range(shard)], blob.stamp)
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key, fetching=True) from error
    if found is None:
        if blob.stamp is not None:
            raise ShardChanged(blob.key)
        return None
    return stamp, _keep_index(source, shard, stamp, found[0])


def _index_range(shard: Shard) -> ByteRange:
    blob, sharding = shard.blob, shard.cut.shards.sharding
    if sharding.index_at_start:
        return ByteRange(blob.start, sharding.index_nbytes)
    if blob.nbytes is None:
        return ByteRange(-sharding.index_nbytes, sharding.index_nbytes)
    return ByteRange(max(blob.start + blob.nbytes - sharding.index_nbytes, blob.start), sharding.index_nbytes)


def _keep_index(source: Source, shard: Shard, stamp: Hashable, encoded: Any) -> Index:
    blob, sharding = shard.blob, shard.cut.shards.sharding
    index = _checked(source, blob, lambda: sharding.parse_index(encoded, blob.nbytes))
    # else nothing would tell that the shard was replaced: of nested ones, the index that says where the index is, too
    nested = blob.nbytes is not None or shard.cut.shards.inner.shards is not None
    if source.store.frozen or (stamp is not None and not (nested and source.store.concurrent)):
        source.indexes.put(_cache_key(shard), stamp, index)
    return index


def _cache_key(shard: Shard) -> CacheKey:
    """Return the name of a shard's index; a nested shard may begin where the one around it begins."""
    return shard.blob.key, shard.blob.start, shard.cut.shards.inner.depth


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


def fetch_chunks(source: Source, found: Sequence[Found]) -> Iterator[Sequence[Any]]:
    """Yield the encoded inner chunks of each shard, in the order of its spans."""
    if source.store.concurrent:
        return iter(_fetch_wave(source, found))
    return (_chunks_of_one(source, shard.blob, stamp, spans) for shard, stamp, spans, _ in found)


def _chunks_of_one(source: Source, blob: Blob, stamp: Hashable, spans: Spans) -> Sequence[Any]:
    if blob.data is not None:
        return Pieces(blob.data, spans)
    if not len(spans) and stamp is None:
        return []
    ranges = [ByteRange(blob.start + start, nbytes) for start, nbytes in spans.tolist()]
    try:
        return _get_ranges(source, blob.key, ranges, stamp)[1]
    except ShardChanged:
        raise
    except Exception as error:
        raise chunk_error(error, source, blob.coords, blob.key, fetching=True) from error


def _fetch_wave(source: Source, found: Sequence[Found]) -> list[Sequence[Any]]:
    """Fetch what is not in memory yet with one wave of requests; the store joins those of neighbouring ranges."""
    requests = [
        Request(shard.blob.key, ByteRange(shard.blob.start + start, nbytes))
        for shard, _, spans, _ in found
        if shard.blob.data is None
        for start, nbytes in spans.tolist()
    ]
    learned = [(shard, stamp) for shard, stamp, _, _ in found if stamp is not None and shard.blob.data is None]
    requests += [_index_request(shard) for shard, _ in learned]
    answers = iter(fetch_many(source, requests) if requests else [])
    chunks = [_taken(each, answers) for each in found]
    for (shard, stamp), encoded in zip(learned, answers, strict=True):
        if encoded is None or bytes(encoded) != stamp:
            raise ShardChanged(shard.blob.key)
    return chunks


def _taken(found: Found, answers: Iterator[Any]) -> Sequence[Any]:
    blob = found.shard.blob
    if blob.data is not None:
        return Pieces(blob.data, found.spans)
    chunks = list(islice(answers, len(found.spans)))
    if any(chunk is None for chunk in chunks):
        raise ShardChanged(blob.key)  # the index was there a moment ago
    return chunks
