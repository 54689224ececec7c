"""Where work runs: inline, or on threads that all reads and writes share.

Imports the standard library only. Invariant: no pool waits for itself (work that is already on a pool thread, ours or
dask's, stays inline), and no thread is started before one is worth it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from itertools import chain, islice
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
Task = Callable[[], None]

# Handing a batch to another thread and taking turns at the interpreter costs more than it gives below these sizes:
# decoding a chunk of 4 KiB takes 25 us on one thread and 45 us on two.
LEAST_BYTES_PER_ITEM = 48 * 1024
LEAST_BYTES = 512 * 1024

# Drawing a batch costs about a microsecond; a thread that finds nothing left waits for the others' last batches.
BATCHES_EACH, MOST_AT_ONCE = 32, 64

AHEAD = 3  # tasks that may wait, for each thread that runs them
PATIENCE = 0.001  # seconds: as long as a thread waits for a task before it fetches one itself

_THREAD_NAME = "xzarr"
# Names of threads that belong to somebody's pool: there, the pool is the parallelism.
_POOLED = (_THREAD_NAME, "Dask-", "ThreadPoolExecutor-", "asyncio_")

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
    _together(lambda: _work_on(work, shared), lambda: _work_on(work, shared), threads)


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


# --- fetching ahead of the work --------------------------------------------------------------------------------------


def run_fetched(
    fetch: Callable[[T], Iterable[Task]], items: Iterable[T], threads: int, *, patient: bool = False
) -> None:
    """Call ``fetch`` with each of ``items``, and every task that it returns; the first error stops all and is raised.

    With several ``threads`` the calling one fetches, and the others run the tasks: threads that all fetch and run in
    turn would take the interpreter from each other at every step (row ``plane_shard`` of the benchmark). Where tasks
    are slow in coming, because the store is slow, the others fetch too, unless they are ``patient``.
    """
    if threads < 2:
        for item in items:
            for task in fetch(item):
                task()
        return
    ahead = _Ahead(fetch, iter(items), threads - 1, None if patient else PATIENCE)
    _together(ahead.lead, ahead.help, threads)


class _Ahead(Generic[T]):
    """Tasks that wait for a thread, in the order in which they were fetched."""

    def __init__(
        self, fetch: Callable[[T], Iterable[Task]], items: Iterator[T], helpers: int, patience: float | None
    ) -> None:
        self._fetch, self._items, self._helpers = fetch, _SharedBatches(items, 1), helpers
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._stopped, self._patience = False, patience

    def lead(self) -> None:
        """Fetch all items; run tasks while enough of them wait, and at the end."""
        tasks, most = self._tasks, AHEAD * self._helpers
        try:
            for (item,) in self._items:
                for task in self._fetch(item):
                    tasks.put(task)
                while tasks.qsize() > most:
                    self._run_one()
            while self._run_one():
                pass
        except BaseException:
            self._stop()
            raise
        finally:
            for _ in range(self._helpers):
                tasks.put(None)

    def help(self) -> None:
        """Run tasks; fetch an item where none comes."""
        patience = self._patience
        try:
            while True:
                try:
                    task = self._tasks.get(timeout=patience)
                except Empty:
                    item = next(self._items, None)
                    if item is None:
                        patience = None  # what is to come was fetched by others
                        continue
                    for task in self._fetch(item[0]):
                        if not self._stopped:
                            task()
                    continue
                if task is None:
                    return
                if not self._stopped:
                    task()
        except BaseException:
            self._stop()
            raise

    def _run_one(self) -> bool:
        try:
            task = self._tasks.get_nowait()
        except Empty:
            return False
        if task is not None and not self._stopped:
            task()
        return True

    def _stop(self) -> None:
        self._stopped = True
        self._items.stop()


# --- threads that help -----------------------------------------------------------------------------------------------


def _together(lead: Task, help_: Task, threads: int) -> None:
    """Call ``lead`` on this thread and ``help_`` on the others; return when all have ended, and raise what failed."""
    calls = [call for _ in range(threads - 1) if (call := _helpers.start(help_)) is not None]
    try:
        lead()
    finally:
        errors = [error for call in calls if (error := call.wait()) is not None]
    if errors:
        raise errors[0]


class _Call:
    """Work that another thread does, in the context (`contextvars`) of the thread that hands it over."""

    __slots__ = ("_context", "_done", "_error", "_taken", "_work")

    def __init__(self, work: Task) -> None:
        self._work, self._context = work, copy_context()
        self._taken, self._done = threading.Lock(), threading.Lock()
        self._error: BaseException | None = None
        self._done.acquire()

    def run(self) -> None:
        if not self._taken.acquire(blocking=False):
            return  # nobody waits for it any more
        try:
            self._context.run(self._work)
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def wait(self) -> BaseException | None:
        """Wait for the end of the work, where a thread has begun it; return its error."""
        if self._taken.acquire(blocking=False):
            del self._work  # all threads are busy with other work: nobody will look at it any more
            return None
        self._done.acquire()
        return self._error


class _Helpers:
    """Threads that do what others hand to them: one for each core at most, each started when it is first needed.

    concurrent.futures does the same, but takes twice as long to hand work over (some 70 us), and 4 ms to be imported
    within the first read (row ``column_shard`` of the benchmark).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._started = self._idle = 0

    def start(self, work: Task) -> _Call | None:
        """Hand ``work`` to a thread; return None where there is none, and the system gives us no other."""
        call = _Call(work)
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._started < _cores():
                try:
                    threading.Thread(target=self._serve, name=f"{_THREAD_NAME}-{self._started}", daemon=True).start()
                except RuntimeError:  # too many threads, or Python is about to end
                    if not self._started:
                        return None
                else:
                    self._started += 1
        self._calls.put(call)
        return call

    def _serve(self) -> None:
        while True:
            self._calls.get().run()
            with self._lock:
                self._idle += 1


_helpers = _Helpers()


def _forget_helpers() -> None:
    """After a fork the child has the helpers' lock but none of the threads: start over."""
    global _helpers, _inline
    _helpers, _inline = _Helpers(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
