"""Where work runs: inline, or in batches on one shared pool of threads.

Imports errors only; concurrent.futures loads at the first use of the pool. Invariant: no pool waits for itself (work
that is already on a pool thread, ours or dask's, stays inline), and no thread is started before one is worth it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

# Handing a batch to another thread and taking turns at the interpreter costs more than it gives below these sizes:
# decoding a chunk of 4 KiB takes 25 us on one thread and 45 us on two.
LEAST_BYTES_PER_ITEM = 48 * 1024
LEAST_BYTES = 512 * 1024

# Drawing a batch costs about a microsecond; a thread that finds nothing left waits for the others' last batches.
BATCHES_EACH, MOST_AT_ONCE = 32, 64

_THREAD_NAME = "xzarr"
# Names of threads that belong to somebody's pool: there, the pool is the parallelism.
_POOLED = (_THREAD_NAME, "Dask-", "ThreadPoolExecutor-", "asyncio_")

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()
_inline = threading.local()


class inline:
    """A context in which everything runs on the calling thread (a budget of one), for callers that parallelise."""

    def __enter__(self) -> None:
        self._before = getattr(_inline, "forced", False)
        _inline.forced = True

    def __exit__(self, *exc: object) -> None:
        _inline.forced = self._before


def thread_budget() -> int:
    """Return how many threads may work on one read or write that starts on this thread."""
    if getattr(_inline, "forced", False) or threading.current_thread().name.startswith(_POOLED):
        return 1
    return _cores()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def threads_for(count: int, nbytes_each: int) -> int:
    """Return how many threads ``count`` items of ``nbytes_each`` decoded bytes are worth."""
    if count < 2 or nbytes_each < LEAST_BYTES_PER_ITEM or count * nbytes_each < LEAST_BYTES:
        return 1
    return min(thread_budget(), count)


def run(work: Callable[[Iterator[T]], None], items: Iterable[T], count: int, threads: int) -> None:
    """Call ``work`` with an iterator over ``items``; with several ``threads``, they share the items in batches.

    ``count`` is the number of items. The first error stops the others at their next batch and is raised.
    """
    if threads < 2:
        work(iter(items))
        return
    shared = _SharedBatches(iter(items), max(1, min(MOST_AT_ONCE, count // (threads * BATCHES_EACH))))
    futures = [_shared_pool().submit(_work_on, work, shared) for _ in range(threads - 1)]
    try:
        _work_on(work, shared)  # the calling thread works too
    finally:
        errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]


def _work_on(work: Callable[[Iterator[T]], None], shared: _SharedBatches[T]) -> None:
    try:
        work(chain.from_iterable(shared))
    except BaseException:
        shared.stop()
        raise


class _SharedBatches(Iterator[tuple[T, ...]]):
    """An iterator over batches of items that several threads may draw from."""

    def __init__(self, items: Iterator[T], size: int) -> None:
        self._items, self._size, self._lock = items, size, threading.Lock()

    def __next__(self) -> tuple[T, ...]:
        with self._lock:
            batch = tuple(islice(self._items, self._size))
        if not batch:
            raise StopIteration
        return batch

    def stop(self) -> None:
        """Let every thread find the items exhausted."""
        with self._lock:
            self._items = iter(())


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor

            _pool = ThreadPoolExecutor(_cores(), thread_name_prefix=_THREAD_NAME)
        return _pool


def _forget_pool() -> None:
    """After a fork the child has the pool's locks but none of its threads: start over."""
    global _pool, _pool_lock, _inline
    _pool, _pool_lock, _inline = None, threading.Lock(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
