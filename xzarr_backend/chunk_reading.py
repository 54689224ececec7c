"""Reading chunks that are objects of their own: fetch, decode, place.

Imports the rows below, executor and index_cache. Invariant: a chunk that is not there becomes the fill value and any
other failure a `ChunkError` that names the chunk; each needed object is fetched once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from .decoding import decoder_for
from .errors import ChunkError, SelectionError, XzarrError, reason
from .executor import LEAST_BYTES_PER_ITEM, run, threads_for
from .index_cache import IndexCache
from .layout import Layout
from .memory import PREFILLED_NBYTES, encoded_buffer, new_array
from .plan import Part, Plan
from .stores.base import Request, Store

# How much is fetched at once from a store where many requests at once are cheaper: decoded bytes, and requests.
WINDOW_NBYTES = 128 * 2**20
WINDOW_REQUESTS = 512

# What chunks that cannot be compressed take beside their decoded size: one byte of so many, and what stands around it.
MOST_ADDED, HEADERS_NBYTES = 128, 64

# Small chunks are fetched and decoded in turns: how many bytes at a time, what a chunk counts beside its bytes, and how
# many chunks are worth it.
TURN_NBYTES, PART_NBYTES, LEAST_TURN = 1 << 20, 256, 8


class Source(NamedTuple):
    """Where the chunks of one array come from and what to do about those that are not there.

    ``where`` names the array in errors. ``missing``: "fill", "warn" or "raise". ``limit``: the most decoded bytes that
    one chunk may take. ``indexes`` keeps the indexes of shards between reads.
    """

    store: Store
    layout: Layout
    where: str
    missing: str
    limit: int
    indexes: IndexCache


class Target:
    """The result being filled. ``filled``: memory that nobody writes already reads as the fill value."""

    def __init__(self, array: Any, filled: bool, fill: Any) -> None:
        self.array, self.filled, self.fill = array, filled, fill
        self.missing: list[str] = []

    def part(self, array: Any, *, filled: bool | None = None) -> Target:
        """Return a target for a view of this one, or for memory that goes into it; missing chunks are shared."""
        part = Target(array, self.filled if filled is None else filled, self.fill)
        part.missing = self.missing
        return part

    def miss(self, place: tuple[Any, ...], what: Callable[..., str]) -> None:
        """Note a chunk that is not stored and fill its place."""
        if not self.filled:
            self.array[place] = self.fill
        self.missing.append("" if self.missing else what())

    def report_missing(self, source: Source) -> None:
        """Warn of missing chunks or raise, as ``source.missing`` says."""
        if source.missing == "fill" or not self.missing:
            return
        text = f"{len(self.missing)} chunk(s) are not stored, the first is {self.missing[0]}"
        if source.missing == "raise":
            raise ChunkError(text, where=source.where, hint='open with missing="fill" to read the fill value there')
        warnings.warn(f"{text}; they read as the fill value, at {source.where}", stacklevel=5)


def allocate(shape: tuple[int, ...], layout: Layout, order: tuple[int, ...] | None) -> Target:
    """Return the one allocation of a read: an array of ``shape``, contiguous with its dimensions in ``order``."""
    nbytes = math.prod(shape) * layout.dtype.itemsize
    filled = layout.zero_fill and nbytes > PREFILLED_NBYTES
    try:
        array = new_array(shape, layout.dtype, order, zeros=filled)
    except (MemoryError, ValueError) as error:
        raise SelectionError(
            f"the selection of shape {shape} would need {nbytes} bytes of memory",
            hint="select less, or work on it lazily with xz.from_zarr",
        ) from error
    return Target(array, filled, layout.fill)


def read_chunks(source: Source, planned: Plan, target: Target) -> None:
    """Fill ``target`` from chunks that are objects of their own."""
    store, layout = source.store, source.layout
    count, front = planned.nparts, planned.front
    nbytes_each = target.array.nbytes // count if layout.pipeline.raw else layout.chunk_nbytes
    threads = threads_for(count, nbytes_each)
    if layout.pipeline.nbytes is None:
        # Making elements of variable length holds the interpreter: threads would only wait for each other. But a second
        # one decompresses meanwhile (row ``strings`` of the benchmark).
        threads = min(threads, 2 if layout.chain.bytes else 1)
    if not store.concurrent:
        small = threads == 1 and count >= LEAST_TURN and layout.chunk_nbytes < LEAST_BYTES_PER_ITEM
        way = _in_turns if small and not layout.pipeline.raw else _fetching
        run(way(source, front, target), planned.parts(), count, threads)
        return
    parts = planned.parts()
    size = max(1, min(WINDOW_REQUESTS, WINDOW_NBYTES // max(layout.chunk_nbytes, 1)))
    while window := list(islice(parts, size)):
        fetched = fetch_many(source, [Request(layout.key(part.coords)) for part in window])
        work = placing(source, front, target)
        run(work, zip(fetched, window, strict=True), len(window), min(threads, len(window)))


def fetch_many(source: Source, requests: Sequence[Request]) -> list[Any]:
    """Fetch all ``requests``; any failure becomes a `ChunkError`."""
    try:
        return source.store.get_many(requests)
    except Exception as error:
        raise ChunkError(
            f"chunks could not be fetched: {reason(error)}",
            where=source.where,
            hint="check the connection and the permissions",
        ) from error


def fetch_one(source: Source, part: Part, memory: memoryview | None) -> Any:
    """Fetch the object of ``part``, into ``memory`` where it is large enough; any failure becomes a `ChunkError`."""
    key = source.layout.key(part.coords)
    try:
        return source.store.get(key, None, memory)
    except Exception as error:
        raise chunk_error(error, source, part.coords, key, fetching=True) from error


def _fetching(source: Source, front: tuple[int, ...] | None, target: Target) -> Callable[[Iterator[Part]], None]:
    """Return the loop that fetches, decodes and places parts; several threads may run it on shared parts."""
    store, layout = source.store, source.layout
    key = layout.key

    def work(parts: Iterator[Part]) -> None:
        pipeline = layout.pipeline
        decoder = decoder_for(pipeline, target.array, fetches=True)
        scratch = encoded_buffer(expected_nbytes(layout))
        for part in parts:
            name = key(part[0])
            try:
                if not layout.regular:
                    decoder = decoder.for_chunk(layout.pipeline_for(layout.grid.chunk_shape(part[0])))
                if layout.chunk_nbytes > source.limit:
                    found = store.size(name) is not None
                    if found:
                        raise too_large(layout, part[0], source.limit)
                else:
                    found = decoder.read(store, name, scratch, part, front)
                if not found:
                    target.miss(part[2], lambda name=name: repr(name))
            except Exception as error:
                raise chunk_error(error, source, part[0], name) from error

    return work


def _in_turns(source: Source, front: tuple[int, ...] | None, target: Target) -> Callable[[Iterator[Part]], None]:
    """Return the loop for many small chunks, on one thread: it fetches some of them, then decodes and places those.

    What it runs stays in the processor's caches for longer; the objects of a turn lie one behind the other in memory of
    the thread, which saves asking how large they are (row ``small_all`` of the benchmark).
    """
    place = placing(source, front, target)
    nbytes = expected_nbytes(source.layout)

    def work(parts: Iterator[Part]) -> None:
        turn: list[tuple[Any, Part]] = []
        used, slot = 0, PART_NBYTES + (nbytes or 0)
        memory = None if nbytes is None else encoded_buffer(TURN_NBYTES + slot)
        for part in parts:
            raw = fetch_one(source, part, memory and memory[used : used + slot])
            turn.append((raw, part))
            used += PART_NBYTES if raw is None else PART_NBYTES + len(raw)
            if used > TURN_NBYTES:
                place(iter(turn))
                turn, used = [], 0
        place(iter(turn))

    return work


def placing(
    source: Source, front: tuple[int, ...] | None, target: Target
) -> Callable[[Iterator[tuple[Any, Part]]], None]:
    """Return the loop that decodes and places parts whose objects were fetched before."""
    layout = source.layout

    def work(fetched: Iterator[tuple[Any, Part]]) -> None:
        decoder = decoder_for(layout.pipeline, target.array, fetches=False)
        for raw, (coords, inside, place, whole) in fetched:
            try:
                if raw is None:
                    target.miss(place, lambda coords=coords: repr(layout.key(coords)))
                    continue
                if not layout.regular:
                    decoder = decoder.for_chunk(layout.pipeline_for(layout.grid.chunk_shape(coords)))
                if layout.chunk_nbytes > source.limit:
                    raise too_large(layout, coords, source.limit)
                decoder.place(raw, inside, place, whole, front)
            except Exception as error:
                raise chunk_error(error, source, coords, layout.key(coords)) from error

    return work


def expected_nbytes(layout: Layout) -> int | None:
    """Return how large the stored objects are at most: codecs that find nothing to compress add a little, shards more.

    None where nothing tells (elements of variable length).
    """
    nbytes, size, shards = layout.pipeline.nbytes, layout.pipeline.encoded_size, layout.shards
    if size or nbytes is None:
        return size
    added = nbytes // MOST_ADDED + HEADERS_NBYTES
    if shards is not None:
        added += shards.sharding.index_nbytes + HEADERS_NBYTES * shards.inner.grid.nchunks
    return nbytes + added


def too_large(layout: Layout, coords: Sequence[int], limit: int) -> ChunkError:
    """Return the error for a stored chunk that would need more memory than is allowed."""
    return ChunkError(
        f"the chunk of shape {layout.grid.chunk_shape(coords)} would need {layout.chunk_nbytes} bytes of memory, "
        f"more than the limit of {limit}",
        hint="open with a larger max_chunk_bytes to read it",
    )


def chunk_error(
    error: Exception, source: Source, coords: Sequence[int], key: str, *, fetching: bool = False
) -> ChunkError:
    """Return the `ChunkError` for a failure to fetch or decode the chunk at ``coords``, stored under ``key``.

    ``fetching``: nothing was decoded. Else the error must tell: those of some decoders are an `OSError`, too.
    """
    where = f"{source.where}, chunk {tuple(coords)}, key {key!r}"
    if isinstance(error, ChunkError) and ", chunk (" in error.where:
        return error
    if isinstance(error, XzarrError):
        return ChunkError(error.what, where=where, hint=error.hint)
    by_system = isinstance(error, OSError) and error.errno is not None
    if fetching or by_system or isinstance(error, ConnectionError | TimeoutError):
        what, hint = f"the chunk could not be fetched: {reason(error)}", "check the permissions and the connection"
    else:
        what = f"the chunk could not be decoded: {reason(error)}"
        hint = "the object may be damaged, or the metadata may name the wrong codecs; `xzarr verify` lists such chunks"
    return ChunkError(what, where=where, hint=hint)
