"""Decoding chunks to their places in the result.

Imports the rows below. Invariant: what is placed is what the whole chunk decodes to; a decoder that may stop
early does so only where nothing behind the piece could tell that the chunk is damaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import layout
from .codecs.bytes_ import wrong_length
from .codecs.pipeline import Pipeline
from .errors import ChunkError
from .memory import LONGEST_ROW, Bytes1D, decoded_buffer
from .plan import span
from .stores.base import Store

PART_OF_CHUNK = 0.8  # the share of a chunk above which it is decoded whole
MOST_RANGED = 0.5  # the share of a raw chunk above which it is read whole
RANGE_COST = 8 * 1024  # bytes that are read in the time that one more range takes
KEPT = 4096  # of so many elements of variable length one is kept: Python takes memory for some 10,000 at a time


class Decoder:
    """Decodes chunks of one shape and places their pieces into the result; one per thread and read.

    Where the chunk's place in the result is contiguous, the codec decodes right there; else into scratch memory that
    every chunk reuses, from which the piece is copied once. Whole chunks of short rows are copied row by row instead of
    element by element (rows ``subchunks_shard`` and ``all_shard`` of the benchmark): ``rows`` holds the result seen as
    an array of rows, the data type of a row and its length. A large chunk is decoded to the end of the piece only,
    where the codec can do that (row ``plane_zstd``).
    """

    __slots__ = (
        "chunk",
        "decode",
        "decode_into",
        "decode_until",
        "direct",
        "large",
        "memory",
        "out",
        "pipeline",
        "rows",
        "turn",
    )

    def __init__(self, pipeline: Pipeline, out: Any) -> None:
        self.pipeline, self.out = pipeline, out
        self.decode = pipeline.decode if pipeline.nbytes is not None else _keeping_memory(pipeline.decode)
        self.decode_into = pipeline.decode_into
        self.large = pipeline.nbytes is not None and pipeline.nbytes >= layout.SMALL_NBYTES
        self.decode_until = pipeline.decode_until if self.large else None
        order = pipeline.order
        self.direct = pipeline.view is not None and order is not None and out.dtype == pipeline.spec.dtype.numpy
        self.turn = None if order is None or order == tuple(range(out.ndim)) else order
        self.memory: Bytes1D | None = None
        self.chunk: Any = None
        self.rows = _as_rows(out, pipeline.spec.shape) if self.direct and self.turn is None else None
        if self.rows is not None and self.rows[2] < out.shape[-1] and math.prod(pipeline.spec.shape[:-1]) > 1:
            self.direct = False  # no place of a whole chunk is contiguous

    def for_chunk(self, pipeline: Pipeline) -> Decoder:
        """Return a decoder for chunks of another shape: this one where the shape is the same."""
        return self if pipeline is self.pipeline else type(self)(pipeline, self.out)

    def read(
        self, store: Store, key: str, scratch: memoryview | None, part: tuple[Any, ...], front: tuple[int, ...] | None
    ) -> bool:
        """Fetch the chunk of a `Part` and place the piece; return False where there is no such object."""
        raw = store.get(key, None, scratch)
        if raw is None:
            return False
        _, inside, place, whole = part
        self.place(raw, inside, place, whole, front)
        return True

    def place(self, raw: Any, inside: Any, place: Any, whole: bool, front: tuple[int, ...] | None) -> None:
        """Decode ``raw`` and copy its piece ``inside`` to ``place``."""
        decode_into = self.decode_into
        if decode_into is None:
            chunk = self.decode(raw)
        else:
            if whole and self.direct:
                goal = self.goal(place)
                if goal is not None:
                    decode_into(raw, goal)
                    return
            if self.memory is None:
                self.use_scratch()
            if whole or self.decode_until is None:
                decode_into(raw, self.memory)  # type: ignore[arg-type]
            else:
                self.decode_piece(raw, inside)
            chunk = self.chunk
        if whole and self.rows is not None:
            result, row, length = self.rows
            at, rest = divmod(place[-1].start, length)
            if not rest:
                result[(*place[:-1], slice(at, at + 1))] = chunk.view(row)
                return
        piece = chunk[inside]
        self.out[place] = piece if front is None else piece.transpose(front)

    def goal(self, place: Any) -> Bytes1D | None:
        """Return the bytes of ``place`` in the result, where a chunk can be decoded to them: they are contiguous."""
        goal = self.out[place]
        if self.turn is not None:
            goal = goal.transpose(self.turn)
        return goal.reshape(-1).view(np.uint8) if goal.flags.c_contiguous else None

    def decode_piece(self, raw: Any, inside: Any) -> None:
        """Decode at least what ``inside`` needs into the scratch memory."""
        memory, decode_until = self.memory, self.decode_until
        assert memory is not None and decode_until is not None and self.decode_into is not None
        stop = span(inside, self.chunk.strides, self.chunk.itemsize)[1]
        if stop <= PART_OF_CHUNK * memory.nbytes:  # streams are decoded from their beginning, wherever the piece is
            decode_until(raw, memory, stop)
        else:
            self.decode_into(raw, memory)

    def use_scratch(self) -> None:
        """Take this thread's memory for decoded chunks, and look at it as a chunk."""
        view, nbytes = self.pipeline.view, self.pipeline.nbytes
        assert view is not None and nbytes is not None
        self.memory = decoded_buffer(nbytes)
        self.chunk = view(self.memory)


class RawDecoder(Decoder):
    """Chunks whose stored bytes are the elements: read to their place, or only those bytes that hold the piece.

    Rows ``chunks_plain`` and ``column_plain`` of the benchmark.
    """

    __slots__ = ()

    def read(
        self, store: Store, key: str, scratch: memoryview | None, part: tuple[Any, ...], front: tuple[int, ...] | None
    ) -> bool:
        """Fetch the chunk of a `Part`, or the piece of it, and place it; return False where there is no object."""
        _, inside, place, whole = part
        raw: Any
        if whole and self.direct and (goal := self.goal(place)) is not None:
            raw = store.get(key, None, goal.data)
            memory: Any = getattr(raw, "obj", None)
            if memory is goal:  # the store did read to that place
                if len(raw) != len(goal):
                    raise wrong_length(len(raw), len(goal))
                return True
        elif not whole and self.large and (rows := self._rows_of(inside)) is not None:
            return self._read_rows(store, key, rows, inside, place, front)
        else:
            raw = store.get(key, None, scratch)
        if raw is None:
            return False
        self.place(raw, inside, place, whole, front)
        return True

    def _rows_of(self, inside: Any) -> tuple[Bytes1D, range] | None:
        """Return where the bytes of the piece lie in the scratch memory, as equal rows, and their starts in the object.

        None where reading the whole chunk is no slower.
        """
        if self.memory is None:
            self.use_scratch()
        memory, chunk = self.memory, self.chunk
        assert memory is not None
        start, stop = span(inside, chunk.strides, chunk.itemsize)
        outermost = _outermost(inside, chunk)
        if outermost is not None:
            first, last, length = outermost
            low, high = start % length, stop - last * length
            cost = (last - first + 1) * (high - low + RANGE_COST)
            if low < high and cost < stop - start:
                return memory.reshape(-1, length)[first : last + 1, low:high], range(start, stop, length)
        if stop - start > MOST_RANGED * len(memory):
            return None
        return memory[start:stop].reshape(1, -1), range(start, start + 1)

    def _read_rows(
        self, store: Store, key: str, rows: tuple[Bytes1D, range], inside: Any, place: Any, front: Any
    ) -> bool:
        memory, starts = rows
        found = store.get_strided(key, starts, memory.shape[1])
        if found is None:
            return False
        if len(found) != memory.size:
            raise ChunkError(f"the bytes from {starts[0]} on are not all there: the chunk is cut short")
        memory[...] = np.frombuffer(found, np.uint8).reshape(memory.shape)
        piece = self.chunk[inside]
        self.out[place] = piece if front is None else piece.transpose(front)
        return True


def decoder_for(pipeline: Pipeline, out: Any, *, fetches: bool) -> Decoder:
    """Return a decoder into ``out``; ``fetches``: it fetches the chunks itself (`Decoder.read`)."""
    return RawDecoder(pipeline, out) if pipeline.raw and fetches else Decoder(pipeline, out)


def _keeping_memory(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``decode``, which makes an object of every element, with some of them alive until the next chunk.

    Else Python would give the memory of all back to the system and ask for it again, chunk by chunk (row ``strings``
    of the benchmark).
    """
    kept: Any = None

    def decode_and_keep(raw: Any) -> Any:
        nonlocal kept
        chunk = decode(raw)
        kept = chunk.reshape(-1)[::KEPT].copy()
        return chunk

    return decode_and_keep


def _outermost(inside: Any, chunk: Any) -> tuple[int, int, int] | None:
    """Return the first and last index that is needed along the outermost stored dimension, and its stride in bytes."""
    axis = max(range(chunk.ndim), key=lambda axis: (chunk.strides[axis], chunk.shape[axis]), default=None)
    if axis is None or not isinstance(inside[axis], slice) or inside[axis].step not in (None, 1):
        return None
    return inside[axis].start, inside[axis].stop - 1, chunk.strides[axis]


def _as_rows(out: Any, shape: tuple[int, ...]) -> tuple[Any, np.dtype[Any], int] | None:
    """Return ``out`` as an array of rows as long as those of chunks of ``shape``, the type of a row, and its length.

    None where it is no use.
    """
    length = shape[-1] if len(shape) > 1 else 1
    if length == 1 or length * out.itemsize > LONGEST_ROW or out.shape == shape:
        return None
    if out.strides[-1] != out.itemsize or out.shape[-1] % length:
        return None
    row = np.dtype((np.void, length * out.itemsize))
    return out.view(row), row, length
