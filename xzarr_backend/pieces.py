"""Encoded chunks that lie in one memory, as those of a shard that was fetched whole do.

Imports NumPy only. Invariant: pieces are views; whoever needs them elsewhere in memory copies them with one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_SPARSE = 1.25  # the most that pieces may take, with what lies between them, for each of their bytes

Spans = npt.NDArray[np.int64]  # (chunks, 2): where each begins, and how many bytes it has
Places = npt.NDArray[np.int64]


class Pieces(Sequence[memoryview]):
    """The pieces of ``memory`` at ``spans``."""

    __slots__ = ("memory", "spans")

    def __init__(self, memory: memoryview, spans: Spans) -> None:
        self.memory, self.spans = memory, spans

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[memoryview]:
        starts, sizes = self.spans.T
        return map(self.memory.__getitem__, map(slice, starts.tolist(), (starts + sizes).tolist()))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return Pieces(self.memory, self.spans[at])
        start, nbytes = self.spans[at].tolist()
        return self.memory[start : start + nbytes]


def join_behind(room: int, chunks: Sequence[Any]) -> tuple[npt.NDArray[np.uint8], Places, Places]:
    """Return ``chunks`` in fresh memory, behind ``room`` bytes, with the places where they begin, and their sizes.

    Pieces that lie close together are copied at once, with what is between them: meanwhile other threads have the
    interpreter, which joining many buffers holds (row ``small_shard`` of the benchmark).
    """
    if isinstance(chunks, Pieces):
        starts, sizes = chunks.spans.T
        first, last = int(starts.min()), int((starts + sizes).max())
        if last - first <= MOST_SPARSE * int(sizes.sum()):
            joined = np.empty(room + last - first, np.uint8)
            joined[room:] = np.frombuffer(chunks.memory, np.uint8)[first:last]
            return joined, starts + (room - first), sizes
    sizes = np.fromiter(map(len, chunks), np.int64, len(chunks))
    joined = np.frombuffer(bytearray().join((bytes(room), *chunks)), np.uint8)
    return joined, sizes.cumsum() - sizes + room, sizes


def gather(pieces: Pieces, out: npt.NDArray[np.uint8]) -> bool:
    """Copy ``pieces``, which share ``out`` evenly, side by side with one call; return False where that does not work.

    It does where all have that size and begin a multiple of it apart, as raw chunks of a shard do, in whatever order.
    """
    nbytes = len(out) // len(pieces)
    starts, sizes = pieces.spans.T
    first, last = int(starts.min()), int(starts.max()) + nbytes
    rows, rest = np.divmod(starts - first, nbytes)
    if last > len(pieces.memory) or rest.any() or (sizes != nbytes).any():
        return False
    memory = np.frombuffer(pieces.memory, np.uint8)[first:last].reshape(-1, nbytes)
    memory.take(rows, 0, out.reshape(-1, nbytes), "clip")  # no row is beyond; to find out, NumPy would copy twice
    return True
