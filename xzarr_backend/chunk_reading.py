"""Reading chunks that are objects of their own: fetch, decode, place.

Imports the rows below, executor and index_cache. Invariant: a chunk that is not there becomes the fill value and any
other failure a `ChunkError` that names the chunk; each needed object is fetched once.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .codecs.pipeline import Bytes1D, Pipeline
from .errors import ChunkError, SelectionError, XzarrError
from .executor import run, threads_for
from .index_cache import IndexCache
from .layout import Layout
from .plan import Part, Plan
from .stores.base import Request, Store

# How much is fetched at once from a store where many requests at once are cheaper: decoded bytes, and requests.
WINDOW_NBYTES = 128 * 2**20
WINDOW_REQUESTS = 512

SCRATCH_NBYTES = 32 * 2**20  # the most that a thread keeps between reads, for each of its two buffers
LONGEST_ROW = 256  # bytes: NumPy copies longer rows just as fast element by element
PREFILLED_NBYTES = 32 * 2**20  # above this size fresh memory comes zeroed from the system at no cost


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


def allocate(shape: tuple[int, ...], layout: Layout) -> Target:
    """Return the one allocation of a read: a C-contiguous array of ``shape``."""
    nbytes = math.prod(shape) * layout.dtype.itemsize
    filled = layout.zero_fill and nbytes > PREFILLED_NBYTES
    try:
        array = np.zeros(shape, layout.dtype) if filled else np.empty(shape, layout.dtype)
    except (MemoryError, ValueError) as error:
        raise SelectionError(
            f"the selection of shape {shape} would need {nbytes} bytes of memory",
            hint="select less, or work on it lazily with xz.from_zarr",
        ) from error
    return Target(array, filled, layout.fill)


def read_chunks(source: Source, planned: Plan, target: Target) -> None:
    """Fill ``target`` from chunks that are objects of their own."""
    store, layout = source.store, source.layout
    threads = threads_for(planned.nparts, layout.chunk_nbytes)
    if not store.concurrent:
        run(chunk_worker(source, planned, target, store.get), planned.parts(), planned.nparts, threads)
        return
    parts = planned.parts()
    size = max(1, min(WINDOW_REQUESTS, WINDOW_NBYTES // max(layout.chunk_nbytes, 1)))
    while window := list(islice(parts, size)):
        fetched = fetch_many(source, [Request(layout.key(part.coords)) for part in window])
        prefetched = dict(zip((layout.key(part.coords) for part in window), fetched, strict=True))
        worker = chunk_worker(source, planned, target, lambda key, *_, found=prefetched: found[key])
        run(worker, window, len(window), min(threads, len(window)))


def fetch_many(source: Source, requests: Sequence[Request]) -> list[Any]:
    """Fetch all ``requests``; any failure becomes a `ChunkError`."""
    try:
        return source.store.get_many(requests)
    except Exception as error:
        raise ChunkError(
            f"chunks could not be fetched: {error}", where=source.where, hint="check the connection and the permissions"
        ) from error


def chunk_worker(
    source: Source, planned: Plan, target: Target, get: Callable[..., Any]
) -> Callable[[Iterator[Part]], None]:
    """Return the loop that fetches, decodes and places parts; several threads may run it on shared parts."""
    layout, out, front = source.layout, target.array, planned.front
    key = layout.key

    def work(parts: Iterator[Part]) -> None:
        pipeline = layout.pipeline
        decoder = Decoder(pipeline, out)
        encoded = scratch(pipeline)
        for coords, inside, place, whole in parts:
            name = key(coords)
            try:
                raw = get(name, None, encoded)
                if raw is None:
                    target.miss(place, lambda name=name: repr(name))
                    continue
                if not layout.regular:
                    decoder = decoder.for_chunk(layout.pipeline_for(layout.grid.chunk_shape(coords)))
                if layout.chunk_nbytes > source.limit:
                    raise too_large(layout, coords, source.limit)
                decoder.place(raw, inside, place, whole, front)
            except Exception as error:
                raise chunk_error(error, source, coords, name) from error

    return work


class Decoder:
    """Decodes chunks of one shape and places their pieces into the result; one per thread and read.

    Where the chunk's place in the result is contiguous, the codec decodes right there; else into scratch memory that
    every chunk reuses, from which the piece is copied once. Whole chunks of short rows are copied row by row instead of
    element by element (rows ``subchunks_shard`` and ``all_shard`` of the benchmark): ``rows`` holds the result and the
    chunk seen as arrays of rows, with the number of elements in a row.
    """

    __slots__ = ("chunk", "decode", "decode_into", "direct", "memory", "out", "pipeline", "rows")

    def __init__(self, pipeline: Pipeline, out: Any) -> None:
        self.pipeline, self.out = pipeline, out
        self.decode, self.decode_into = pipeline.decode, pipeline.decode_into
        self.direct = self.decode_into is not None and pipeline.in_order and out.dtype == pipeline.spec.dtype.numpy
        self.memory: Bytes1D | None = None
        self.chunk: Any = None
        self.rows: tuple[Any, Any, int] | None = None

    def for_chunk(self, pipeline: Pipeline) -> Decoder:
        """Return a decoder for chunks of another shape: this one where the shape is the same."""
        return self if pipeline is self.pipeline else Decoder(pipeline, self.out)

    def place(self, raw: Any, inside: Any, place: Any, whole: bool, front: tuple[int, ...] | None) -> None:
        """Decode ``raw`` and copy its piece ``inside`` to ``place``."""
        decode_into = self.decode_into
        if decode_into is None:
            piece = self.decode(raw)[inside]
        else:
            if whole and self.direct:
                goal = self.out[place]
                if goal.flags.c_contiguous:
                    decode_into(raw, goal.reshape(-1).view("u1"))
                    return
            if self.memory is None:
                self._use_scratch()
            decode_into(raw, self.memory)  # type: ignore[arg-type]
            if whole and self.rows is not None:
                result, chunk, length = self.rows
                row, rest = divmod(place[-1].start, length)
                if not rest:
                    result[(*place[:-1], slice(row, row + 1))] = chunk
                    return
            piece = self.chunk[inside]
        self.out[place] = piece if front is None else piece.transpose(front)

    def _use_scratch(self) -> None:
        view, nbytes = self.pipeline.view, self.pipeline.nbytes
        assert view is not None and nbytes is not None
        self.memory = _buffers.decoded(nbytes)
        self.chunk = view(self.memory)
        self.rows = _as_rows(self.out, self.chunk) if self.direct else None


def _as_rows(out: Any, chunk: Any) -> tuple[Any, Any, int] | None:
    """Return ``out`` and ``chunk`` (of one data type) as arrays of whole rows of the chunk; None where it is no use."""
    if chunk.ndim < 2 or not 1 < chunk.shape[-1] * chunk.itemsize <= LONGEST_ROW:
        return None
    length = chunk.shape[-1]
    if length == 1 or out.strides[-1] != out.itemsize or out.shape[-1] % length:
        return None
    row = np.dtype((np.void, length * chunk.itemsize))
    return out.view(row), chunk.view(row), length


class _Buffers(threading.local):
    """Memory that a thread reuses from chunk to chunk and from read to read."""

    def __init__(self) -> None:
        self._decoded = np.empty(0, "u1")
        self._encoded = np.empty(0, "u1")

    def decoded(self, nbytes: int) -> Bytes1D:
        """Return ``nbytes`` of memory for a decoded chunk."""
        if nbytes > SCRATCH_NBYTES:
            return np.empty(nbytes, "u1")
        if len(self._decoded) < nbytes:
            self._decoded = np.empty(nbytes, "u1")
        return self._decoded[:nbytes]

    def encoded(self, nbytes: int) -> memoryview | None:
        """Return memory that an object of about ``nbytes`` may be read into."""
        if nbytes > SCRATCH_NBYTES:
            return None
        if len(self._encoded) < nbytes:
            self._encoded = np.empty(nbytes, "u1")
        return self._encoded.data


_buffers = _Buffers()


def scratch(pipeline: Pipeline) -> memoryview | None:
    """Return this thread's memory for encoded chunks, which are rarely larger than decoded ones."""
    nbytes = pipeline.encoded_size or pipeline.nbytes
    return None if nbytes is None else _buffers.encoded(nbytes)


def too_large(layout: Layout, coords: Sequence[int], limit: int) -> ChunkError:
    """Return the error for a stored chunk that would need more memory than is allowed."""
    return ChunkError(
        f"the chunk of shape {layout.grid.chunk_shape(coords)} would need {layout.chunk_nbytes} bytes of memory, "
        f"more than the limit of {limit}",
        hint="open with a larger max_chunk_bytes to read it",
    )


def chunk_error(error: Exception, source: Source, coords: Sequence[int], key: str) -> ChunkError:
    """Return the `ChunkError` for a failure to fetch or decode the chunk at ``coords``, stored under ``key``."""
    where = f"{source.where}, chunk {tuple(coords)}, key {key!r}"
    if isinstance(error, ChunkError) and ", chunk (" in error.where:
        return error
    if isinstance(error, XzarrError):
        return ChunkError(error.what, where=where, hint=error.hint)
    if isinstance(error, OSError) and error.errno is not None:
        what, hint = f"the chunk could not be fetched: {error.strerror}", "check the permissions and the connection"
    else:
        what = f"the chunk could not be decoded: {type(error).__name__}: {error}"
        hint = "the object may be damaged, or the metadata may name the wrong codecs; `xzarr verify` lists such chunks"
    return ChunkError(what, where=where, hint=hint)
