"""Where work runs: inline, on the shared pool, never on a pool within a pool, and again after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend import executor
from xzarr_backend.stores import MemoryStore

MIB = 2**20


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have two cores."""
    monkeypatch.setattr(executor, "_cores", lambda: 2)


def collect(seen: list[Any], threads: set[str]) -> Any:
    """Work that notes its items and the threads that did it."""
    both = threading.Barrier(2, timeout=10)

    def work(items: Iterator[Any]) -> None:
        threads.add(threading.current_thread().name)
        for number, item in enumerate(items):
            if not number:
                both.wait()  # so that neither thread can take everything
            seen.append(item)

    return work


@pytest.mark.parametrize(
    ("count", "nbytes", "threads"),
    [(0, MIB, 1), (1, 100 * MIB, 1), (2, MIB, 2), (100, MIB, 2), (10**6, 1024, 1), (2, 64 * 1024, 1), (100, 0, 1)],
)
@pytest.mark.usefixtures("two_cores")
def test_threads_only_where_they_pay(count: int, nbytes: int, threads: int) -> None:
    """Few or small items stay on the calling thread."""
    assert executor.threads_for(count, nbytes) == threads


@pytest.mark.usefixtures("two_cores")
def test_inline_is_a_budget_of_one() -> None:
    """Inside `inline()` nothing leaves the thread; afterwards it may again, also after an error."""
    with executor.inline():
        assert executor.threads_for(100, MIB) == 1
        with executor.inline():
            pass
        assert executor.threads_for(100, MIB) == 1
    with pytest.raises(ZeroDivisionError), executor.inline():
        raise ZeroDivisionError
    assert executor.threads_for(100, MIB) == 2


@pytest.mark.usefixtures("two_cores")
def test_pool_threads_stay_inline() -> None:
    """On a thread of somebody's pool, ours or dask's, that pool is the parallelism."""
    for prefix in ("xzarr", "Dask-Default-Threads", "ThreadPoolExecutor-7", "asyncio"):
        with ThreadPoolExecutor(1, thread_name_prefix=prefix) as pool:
            assert pool.submit(executor.thread_budget).result() == 1, prefix
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(executor.thread_budget).result() == 1


def test_every_item_once() -> None:
    """Two threads share the items: each is worked on once, by both."""
    seen: list[int] = []
    threads: set[str] = set()
    executor.run(collect(seen, threads), range(1000), 1000, 2)
    assert sorted(seen) == list(range(1000))
    assert len(threads) == 2
    assert threading.current_thread().name in threads


def test_inline_keeps_the_order() -> None:
    """One thread works on the items in their order."""
    seen: list[int] = []
    executor.run(seen.extend, range(50), 50, 1)
    assert seen == list(range(50))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_error_is_raised(threads: int) -> None:
    """An error of any thread reaches the caller, and the others stop soon."""
    done = []

    def work(items: Iterator[int]) -> None:
        for item in items:
            if item == 17:
                raise KeyError(item)
            done.append(item)

    with pytest.raises(KeyError):
        executor.run(work, range(10**6), 10**6, threads)
    assert len(done) < 10**6


def test_errors_of_the_items_are_raised() -> None:
    """An iterator that fails ends the work with its error, on every thread."""

    def items() -> Iterator[int]:
        yield from range(100)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        executor.run(lambda found: [None for _ in found] and None, items(), 200, 2)


# --- fetching ahead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_fetched_task_runs_once(threads: int) -> None:
    """Each item is fetched once, and each of its tasks runs once, after its fetch."""
    fetched: list[int] = []
    done: list[tuple[int, int]] = []

    def fetch(item: int) -> list[executor.Task]:
        fetched.append(item)
        return [lambda n=n: done.append((item, n)) for n in range(item % 3)]  # type: ignore[misc]

    executor.run_fetched(fetch, range(500), threads)
    assert sorted(fetched) == list(range(500))
    assert sorted(done) == [(item, n) for item in range(500) for n in range(item % 3)]
    if threads == 1:
        assert fetched == sorted(fetched)
        assert done == sorted(done)


def test_fetching_goes_ahead_of_slow_tasks_but_not_far() -> None:
    """While the tasks are slow, the calling thread fetches a few more, then helps."""
    waiting = most = 0
    names: set[str] = set()

    def task() -> None:
        nonlocal waiting
        names.add(threading.current_thread().name)
        threading.Event().wait(0.002)
        waiting -= 1

    def fetch(_: int) -> list[executor.Task]:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return [task]

    executor.run_fetched(fetch, range(60), 2)
    assert not waiting
    assert len(names) == 2
    assert 2 <= most <= executor.AHEAD + 4


def test_slow_fetches_happen_at_the_same_time() -> None:
    """Where the store is slow, threads that have nothing to do fetch as well."""
    both = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def fetch(item: int) -> list[executor.Task]:
        if item < 2:
            both.wait()  # two fetches must be under way
        return [lambda: done.append(item)]

    executor.run_fetched(fetch, range(10), 2)
    assert sorted(done) == list(range(10))


def test_patient_threads_do_not_fetch() -> None:
    """Where fetching is one thread's business, it stays so, however slow it is."""
    names: set[str] = set()
    done: list[int] = []

    def fetch(item: int) -> list[executor.Task]:
        names.add(threading.current_thread().name)
        threading.Event().wait(0.005)
        return [lambda: done.append(item)]

    executor.run_fetched(fetch, range(10), 3, patient=True)
    assert names == {threading.current_thread().name}
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("where", ["fetch", "task", "items"])
def test_the_first_error_ends_fetching(threads: int, where: str) -> None:
    """An error in a fetch, a task or the items reaches the caller; what is left is not fetched."""
    fetched = []

    def fail(here: str, item: int) -> None:
        if here == where and item == 17:
            raise KeyError(item)

    def items() -> Iterator[int]:
        for item in range(10**5):
            fail("items", item)
            yield item

    def fetch(item: int) -> list[executor.Task]:
        fail("fetch", item)
        fetched.append(item)
        return [lambda: fail("task", item)]

    with pytest.raises(KeyError):
        executor.run_fetched(fetch, items(), threads)
    assert len(fetched) < 10**5
    again: list[int] = []
    executor.run_fetched(lambda item: [lambda: again.append(item)], range(3), threads)
    assert sorted(again) == [0, 1, 2]


def test_errors_of_helpers_are_raised() -> None:
    """An error on another thread is raised on this one, once everything has ended."""
    here = threading.current_thread()
    failed = threading.Event()

    def task() -> None:
        if threading.current_thread() is not here:
            failed.set()
            raise KeyError("helper")
        failed.wait(10)

    with pytest.raises(KeyError, match="helper"):
        executor.run_fetched(lambda _: [task], range(20), 2)


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread, the calling one does everything."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(executor, "_helpers", executor._Helpers())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    executor.run_fetched(lambda item: [lambda: done.append(item)], range(20), 3)
    executor.run(done.extend, range(20, 40), 20, 3)
    assert sorted(done) == list(range(40))


@pytest.mark.usefixtures("two_cores")
def test_many_callers_share_one_pool() -> None:
    """Threads that read at the same time all get their results, and no more threads than the pool has appear."""
    store = MemoryStore()
    values = np.arange(4 * 2**17).reshape(4, -1)
    array = xz.create_array(store, data=values, chunks=(1, 2**15), compressors=None)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                np.testing.assert_array_equal(array[...], values)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, name=f"reader {n}") for n in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert not failures
    assert not any(reader.is_alive() for reader in readers)
    assert sum(thread.name.startswith("xzarr") for thread in threading.enumerate()) <= os.cpu_count() or 1


@pytest.mark.usefixtures("two_cores")
def test_work_runs_in_the_context_of_its_caller() -> None:
    """What holds for the calling thread (`contextvars`) holds for those that help it, and for no other work."""
    limit = ContextVar("limit", default=0)
    seen: list[int] = []
    both = threading.Barrier(2, timeout=10)

    def work(items: Iterator[int]) -> None:
        for _ in items:
            both.wait()  # so that neither thread can take everything
            seen.append(limit.get())

    for value in (7, 0):
        before = limit.set(value)
        executor.run(work, range(2), 2, 2)
        limit.reset(before)
    assert seen == [7, 7, 0, 0]


@pytest.mark.usefixtures("two_cores")
def test_work_waits_for_no_thread_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """While all threads of the pool have other work, the calling thread does its own and returns."""
    monkeypatch.setattr(executor, "_helpers", executor._Helpers())
    busy, free = [threading.Event() for _ in range(4)], threading.Event()
    quick: list[int] = []

    def wait_for_the_end(items: Iterator[threading.Event]) -> None:
        for item in items:
            item.set()
            free.wait(60)

    def work(items: Iterator[int]) -> None:
        quick.extend(items)

    # two of them keep two threads of the pool busy, beside their own
    others = [
        threading.Thread(target=executor.run, args=(wait_for_the_end, items, 2, 2)) for items in (busy[:2], busy[2:])
    ]
    for other in others:
        other.start()
    reader = threading.Thread(target=executor.run, args=(work, range(64), 64, 2))
    try:
        assert all(event.wait(60) for event in busy)
        reader.start()
        reader.join(20)
        assert not reader.is_alive(), "it waits for the threads of the others"
        assert sorted(quick) == list(range(64))
    finally:
        free.set()
        for thread in [*others, reader]:
            thread.join(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("two_cores")
def test_after_a_fork() -> None:
    """A child that was forked while the pool lived makes a pool of its own."""
    values = np.arange(2**20)
    array = xz.create_array(MemoryStore(), data=values, chunks=(2**16,), compressors=None)
    np.testing.assert_array_equal(array[...], values)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if (array[...] == values).all() else 1)
        except BaseException:
            os._exit(2)
    for _ in range(600):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        threading.Event().wait(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")
