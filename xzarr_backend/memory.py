"""Memory for results, for encoded chunks and for decoded ones.

Imports NumPy only. Invariant: memory of more than a page begins on a multiple of 64 bytes. Large allocations of NumPy
begin 16 bytes into a page, where some processors copy out of the kernel several times slower than anywhere else
(docs/adr/0005-memory-of-a-read.md).
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes1D = npt.NDArray[np.uint8]
Lend = Callable[[int | None], memoryview | None]  # memory for an object of about so many bytes

ALIGNMENT = 64  # bytes: a line of the processor's cache
HUGE_PAGE = 2 * 2**20  # bytes: where the system has such pages, NumPy asks for them
SMALL_NBYTES = 64 * 1024  # below this size memory comes from the heap, and is not aligned
PREFILLED_NBYTES = 32 * 2**20  # above this size fresh memory comes zeroed from the system at no cost
LONGEST_ROW = 256  # bytes: NumPy copies longer rows just as fast element by element
SCRATCH_NBYTES = 32 * 2**20  # the most that a thread keeps between reads, for each of its two buffers
REUSED_NBYTES = 16 * 2**20  # the largest block that is not given back to the system as soon as it is free


def aligned(nbytes: int, *, zeros: bool = False, huge: bool = False) -> Bytes1D:
    """Return fresh memory of ``nbytes``; ``huge``: from the beginning of a huge page on.

    Up to its first whole huge page, memory is faulted in by pages of 4 KiB, 512 times as many (row ``all_plain``).
    """
    alignment = HUGE_PAGE if huge else ALIGNMENT
    memory = (np.zeros if zeros else np.empty)(nbytes + alignment, np.uint8)
    start = -memory.__array_interface__["data"][0] % alignment
    return memory[start : start + nbytes]


def new_array(
    shape: tuple[int, ...], dtype: np.dtype[Any], order: tuple[int, ...] | None, *, zeros: bool = False
) -> Any:
    """Return a fresh array, contiguous when its dimensions are taken in ``order`` (None: as they are)."""
    reuse_freed_memory()
    if order is not None:
        stored = new_array(tuple(shape[axis] for axis in order), dtype, None, zeros=zeros)
        return stored.transpose([order.index(axis) for axis in range(len(order))])
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < SMALL_NBYTES or dtype.hasobject or dtype.kind == "T":
        return (np.zeros if zeros else np.empty)(shape, dtype)
    # the last huge page may be filled in part: of much memory that is little
    return aligned(nbytes, zeros=zeros, huge=nbytes >= 16 * HUGE_PAGE).view(dtype).reshape(shape)


def copy_rows(source: Any, goal: Any) -> None:
    """Copy ``source`` to ``goal``, arrays of one shape: short rows as one item each, which takes half the time.

    Row ``write_shard`` of the benchmark.
    """
    dtype = source.dtype
    nbytes = source.shape[-1] * dtype.itemsize if source.ndim > 1 else 0
    plain = dtype == goal.dtype and not dtype.hasobject and dtype.kind != "T"
    if plain and dtype.itemsize < nbytes <= LONGEST_ROW and source.strides[-1] == goal.strides[-1] == dtype.itemsize:
        row = np.dtype((np.void, nbytes))
        source, goal = source.view(row), goal.view(row)
    goal[...] = source


class _Buffers(threading.local):
    """Memory that a thread reuses from chunk to chunk and from read to read."""

    def __init__(self) -> None:
        for _ in range(2):  # the first one only raises the limit
            np.empty(REUSED_NBYTES, np.uint8)
        self.decoded = self.encoded = np.empty(0, np.uint8)


_buffers = _Buffers()


def reuse_freed_memory() -> None:
    """Let the C library keep blocks of up to ``REUSED_NBYTES`` that this thread frees, and take them in huge pages.

    glibc gives every block of more than 128 KiB back to the system at once, and takes it again page by page; the limit
    grows to the largest block that was ever freed. So one is taken, not touched, and freed: not more than twice that is
    kept in all. Where the limit was set by the user (``MALLOC_TRIM_THRESHOLD_``), as dask's nannies do, it stays. Rows
    ``xr_dask_mean`` and ``write_zlib2``.
    NumPy asks for huge pages for a block of this size. One that is kept is what others are cut out of next, those of
    the codec libraries too; faulting in small pages was a tenth of a first read (row ``small_shard``).
    """
    _ = _buffers.decoded  # made once in each thread


def _scratch(nbytes: int) -> Bytes1D:
    return aligned(nbytes, huge=nbytes >= HUGE_PAGE)


def decoded_buffer(nbytes: int) -> Bytes1D:
    """Return this thread's memory for a decoded chunk of ``nbytes``."""
    if nbytes > SCRATCH_NBYTES:
        return _scratch(nbytes)
    if len(_buffers.decoded) < nbytes:
        _buffers.decoded = _scratch(nbytes)
    return _buffers.decoded[:nbytes]


def encoded_buffer(nbytes: int | None) -> memoryview | None:
    """Return this thread's memory for an object of about ``nbytes``; None where that is not known, or too much."""
    if nbytes is None or nbytes > SCRATCH_NBYTES:
        return None
    if len(_buffers.encoded) < nbytes:
        _buffers.encoded = _scratch(nbytes)
    return _buffers.encoded[:nbytes].data


class Blocks:
    """Memory for objects that are fetched ahead: what is lent comes back by itself when nobody looks at it any more.

    A new block for each object would be faulted in page by page (row ``all_shard`` of the benchmark).
    """

    def __init__(self) -> None:
        self._free: list[Bytes1D] = []

    def lend(self, nbytes: int | None) -> memoryview | None:
        """Return memory for an object of about ``nbytes``; None where that is not known, or too much."""
        if nbytes is None or nbytes > SCRATCH_NBYTES:
            return None
        try:
            block = self._free.pop()
        except IndexError:
            block = _scratch(nbytes)
        if len(block) < nbytes:
            block = _scratch(nbytes)
        view = block[:nbytes]
        weakref.finalize(view, self._free.append, block).atexit = False
        return view.data
