"""Writing a selection: plan it, encode each object it touches once, store it whole.

Imports the rows below, chunk_reading and executor. Invariant: an object is written by one task, whole; where only a
part of it changes it is read, changed and written under the store's lock, and inner chunks that do not change are
copied as the bytes they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from .chunk_reading import expected_nbytes, too_large
from .codecs.base import Buffer
from .codecs.empty import is_empty
from .codecs.pipeline import Pipeline
from .codecs.sharding import ABSENT, Index, shard_parts
from .codecs.sizes import at_most
from .errors import ChunkError, XzarrError, reason
from .executor import inline, run, thread_budget, threads_for
from .layout import Layout, Shards
from .memory import Bytes1D, copy_rows, decoded_buffer, encoded_buffer, reuse_freed_memory
from .plan import Part, open_mesh, permute, plan, within
from .run_encoding import RunEncoder, plan_encoding
from .runs import Run
from .selection import Selection
from .stores.base import Store

LockOf = Callable[[str], AbstractContextManager[object]]  # the lock of a stored object, by its key
# from the old object's bytes (None: there is none) to the new ones (None: delete), a list of parts where it is a shard
Update = Callable[[Any], Any]


class Destination(NamedTuple):
    """Where the chunks of one array go. ``where`` names the array in errors; ``limit`` as in `Source`.

    ``write_empty_chunks``: chunks that hold nothing but the fill value are stored too, instead of deleted.
    ``lock`` excludes the other writers of an object while a part of it changes.
    """

    store: Store
    layout: Layout
    shape: tuple[int, ...]
    where: str
    limit: int
    write_empty_chunks: bool
    lock: LockOf


def write(destination: Destination, selection: Selection, values: Any) -> None:
    """Write ``values``, which broadcast to the selection's shape; raise `ChunkError`."""
    reuse_freed_memory()  # for encoded chunks
    layout = destination.layout
    values = selection.arrange(values)
    planned = plan(selection, layout.grid)
    front = planned.front
    back = None if front is None else tuple(np.argsort(front))

    threads, budget = threads_for(planned.nparts, layout.chunk_nbytes), thread_budget()
    if layout.shards is not None and planned.nparts < budget:
        threads = 1  # few shards: it is their inner chunks that the threads share
    wide = budget // threads  # threads that are left for encoding each object

    def work(parts: Iterator[Part]) -> None:
        with inline() if threads > 1 else nullcontext():
            for part in parts:
                key = layout.key(part.coords)
                try:
                    _write_object(destination, key, part, selection.points, values, back, wide)
                except Exception as error:
                    raise _not_written(error, destination, part.coords, key) from error

    with at_most(destination.limit):  # what is decoded to change a part of it
        run(work, planned.parts(opened=layout.shards is None), planned.nparts, threads)


def _write_object(
    destination: Destination,
    key: str,
    part: Part,
    points: tuple[int, ...],
    values: Any,
    back: tuple[int, ...] | None,
    wide: int,
) -> None:
    layout, store = destination.layout, destination.store
    shape = layout.grid.chunk_shape(part.coords)
    if layout.chunk_nbytes > destination.limit:
        raise too_large(layout, part.coords, destination.limit)
    whole = part.whole or (not points and covers(part, layout, shape))
    keep_empty = destination.write_empty_chunks
    update = updater(layout, shape, part.inside, points, _pick(values, part, layout), back, whole, keep_empty, wide)
    if whole:
        _store(store, key, update(None))
        return
    with destination.lock(key):
        # the old object is needed until the new one is put together, and no longer
        _store(store, key, update(store.get(key, None, encoded_buffer(expected_nbytes(layout)))))


def erase(destination: Destination, selection: Selection) -> None:
    """Write the fill value; zero in its place where the codecs cannot store it, as filters that refuse NaN."""
    layout = destination.layout
    try:
        write(destination, selection, np.asarray(layout.fill, layout.dtype))
    except ChunkError:
        if _stores_fill(layout):
            raise
        write(destination, selection, np.asarray(layout.data_type.zero, layout.dtype))


def _stores_fill(layout: Layout) -> bool:
    shape = layout.grid.largest_chunk
    shards = layout.shards if layout.regular else layout.shards_for(shape)
    if shards is not None:
        return _stores_fill(shards.inner)
    try:
        layout.pipeline_for(shape).encode(np.full(shape, layout.fill, layout.dtype))
    except ChunkError:
        return False
    return True


def _not_written(error: Exception, destination: Destination, coords: tuple[int, ...], key: str) -> ChunkError:
    """Return the `ChunkError` for a failure to write the chunk at ``coords``; the object is then as it was."""
    where = f"{destination.where}, chunk {tuple(coords)}, key {key!r}"
    if isinstance(error, XzarrError):
        return ChunkError(error.what, where=where, hint=error.hint)
    if isinstance(error, OSError) and error.errno is not None:
        what = f"the chunk could not be stored: {reason(error)}"
        hint = "the stored chunk is as it was; check the space on the disk, the permissions and the connection"
    else:
        what = f"the chunk could not be encoded and stored: {reason(error)}"
        hint = "the stored chunk is as it was; check the values, the codecs, and that the stored chunk can be read"
    return ChunkError(what, where=where, hint=hint)


def _pick(values: Any, part: Part, layout: Layout) -> Any:
    """Return the values of one part; the pieces of unopened places are combined orthogonally."""
    if layout.shards is not None and sum(isinstance(piece, np.ndarray) for piece in part.place) > 1:
        return values[open_mesh(part.place)]
    return values[part.place]


def _store(store: Store, key: str, value: Any) -> None:
    if value is None:
        store.delete(key)
    elif isinstance(value, list):
        store.set_parts(key, value)
    else:
        store.set(key, value)


def covers(part: Part, layout: Layout, shape: tuple[int, ...]) -> bool:
    """Return whether a part replaces every element of its chunk that lies within the array."""
    for piece, size, coord, axis in zip(part.inside, shape, part.coords, layout.grid, strict=True):
        if not isinstance(piece, slice) or piece.start != 0 or (piece.step or 1) != 1:
            return False
        if piece.stop < min(size, axis.length - axis.start(coord)):
            return False
    return True


def updater(
    layout: Layout,
    shape: tuple[int, ...],
    inside: tuple[Any, ...],
    points: tuple[int, ...],
    values: Any,
    back: tuple[int, ...] | None,
    whole: bool,
    keep_empty: bool,
    wide: int = 1,
) -> Update:
    """Return the function that puts ``values`` at ``inside`` of an object of ``layout`` with ``shape``.

    ``whole``: what is stored so far does not matter. ``back`` turns values with points in front to where NumPy wants
    them. ``wide``: how many threads may encode the object, where it is no shard.
    """
    shards = layout.shards if layout.regular else layout.shards_for(shape)
    if shards is None:
        values = values if back is None else values.transpose(back)
        return _chunk_updater(layout, shape, inside, values, whole, keep_empty, wide)
    selection = within(inside, points)
    if shards.order is not None:
        selection, turn = permute(selection, shards.order)
        values = values.transpose(turn)
    return _shard_updater(shards, selection, values, whole, keep_empty)


def _chunk_updater(
    layout: Layout,
    shape: tuple[int, ...],
    inside: tuple[Any, ...],
    values: Any,
    whole: bool,
    keep_empty: bool,
    wide: int,
) -> Update:
    pipeline = layout.pipeline if layout.regular else layout.pipeline_for(shape)
    encode, encode_bytes = _encoders(pipeline, wide)

    def update(old: Any) -> Any:
        if whole and values.shape == shape:
            if not keep_empty and is_empty(values, layout.fill):
                return None
            if pipeline.view is None or values.flags.forc:
                return encode(values)
            memory, chunk = _scratch(pipeline)
            copy_rows(values, chunk)
        else:
            memory, chunk = _scratch(pipeline)
            _decode(pipeline, old, layout.fill, memory, chunk)
            chunk[inside] = values
            if not keep_empty and is_empty(chunk, layout.fill):
                return None
        try:
            return encode(chunk) if memory is None or encode_bytes is None else encode_bytes(memory)
        except ChunkError:
            if not whole:
                raise
            return encode(_filled_with_own(chunk, inside))

    return update


def _filled_with_own(chunk: Any, inside: tuple[Any, ...]) -> Any:
    """Return a chunk that reaches beyond the array with one of its elements, instead of the fill value, out there.

    Not all codecs can store the fill value: a filter that makes whole numbers refuses NaN.
    """
    stored = chunk[inside]
    filled = np.full(chunk.shape, stored.flat[0], chunk.dtype)
    filled[inside] = stored
    return filled


def _encoders(pipeline: Pipeline, wide: int) -> tuple[Callable[[Any], Buffer], Callable[[Bytes1D], Buffer] | None]:
    """Return what encodes a chunk, and what encodes its bytes, on ``wide`` threads where the codec has them."""
    encode_on, order, dtype = pipeline.encode_on, pipeline.order, pipeline.spec.dtype.numpy
    if encode_on is None or wide < 2:
        return pipeline.encode, pipeline.encode_bytes

    def encode_bytes(memory: Bytes1D) -> Buffer:
        return encode_on(memory, wide)

    def encode(values: Any) -> Buffer:
        stored = values if order is None else values.transpose(order)
        if order is not None and stored.flags.c_contiguous and stored.dtype == dtype:
            return encode_bytes(stored.reshape(-1).view(np.uint8))
        memory, chunk = _scratch(pipeline)
        copy_rows(values, chunk)
        return encode_bytes(memory)  # type: ignore[arg-type]

    return encode, encode_bytes


def _scratch(pipeline: Pipeline) -> tuple[Bytes1D | None, Any]:
    """Return memory in which a chunk is put together as it is stored, and the chunk in it.

    It is this thread's memory for decoded chunks, as its bytes are encoded before another chunk needs it. Chunks that
    are no view of bytes get an array of their own.
    """
    if pipeline.view is None or pipeline.nbytes is None or pipeline.encode_bytes is None:
        return None, np.empty(pipeline.spec.shape, pipeline.spec.dtype.numpy)
    memory = decoded_buffer(pipeline.nbytes)
    return memory, pipeline.view(memory)


def _decode(pipeline: Pipeline, old: Any, fill: Any, memory: Bytes1D | None, chunk: Any) -> None:
    """Put what was stored, or the fill value, into ``chunk``, which looks at ``memory`` where there is any."""
    if old is None:
        chunk[...] = fill
    elif memory is not None and pipeline.decode_into is not None:
        pipeline.decode_into(old, memory)
    else:
        chunk[...] = pipeline.decode(old)


def _shard_updater(shards: Shards, selection: Selection, values: Any, whole: bool, keep_empty: bool) -> Update:
    sharding, inner = shards.sharding, shards.inner
    grid, shape = sharding.grid, sharding.chunk.shape
    planned = plan(selection, grid)
    front = planned.front
    back = None if front is None else tuple(np.argsort(front))

    def change(part: Part, stored: Any) -> bytes | None:
        covered = part.whole or whole  # of a covered shard every inner chunk is covered too
        picked = _pick(values, part, inner)
        update = updater(inner, shape, part.inside, selection.points, picked, back, covered, keep_empty)
        encoded = update(None if covered else stored)
        if isinstance(encoded, list):
            encoded = b"".join(encoded)
        # what is no object of its own may lie in memory that the next inner chunk uses
        return encoded if encoded is None or isinstance(encoded, bytes) else bytes(encoded)

    def update(old: Any) -> Any:
        data = None if old is None else memoryview(old).cast("B")
        shard = None if data is None else (data, sharding.index_of(data))
        changes: dict[int, Any] = {}

        def work(parts: Iterator[tuple[int, Part]]) -> None:
            for at, part in parts:
                changes[at] = change(part, _inner_chunk(shard, at))

        def work_in_runs(items: Iterator[Run]) -> None:
            assert runs is not None
            encoder = RunEncoder(runs, values, inner.fill, keep_empty)
            for item in items:
                changes.update(zip(numbers[item.start : item.stop], encoder.encode(item), strict=True))

        threads = threads_for(planned.nparts, inner.chunk_nbytes)
        numbers = planned.numbers(grid.counts)
        runs = plan_encoding(inner.pipeline, planned, values, threads)
        if runs is not None:
            run(work_in_runs, runs.runs, len(runs.runs), min(threads, len(runs.runs)))
        else:
            parts = zip(numbers, planned.parts(opened=inner.shards is None), strict=True)
            run(work, parts, planned.nparts, threads)
        written = shard_parts(sharding, changes, shard)
        return written if len(written) > 1 else None  # an index alone

    return update


def _inner_chunk(shard: tuple[memoryview, Index] | None, at: int) -> memoryview | None:
    """Return the encoded inner chunk of number ``at``, as a view of the shard; None where there is none."""
    if shard is None:
        return None
    data, index = shard
    start, nbytes = index[at].tolist()
    return None if start == ABSENT else data[start : start + nbytes]
