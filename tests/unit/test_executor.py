"""Where work runs: inline, on the shared pool, never on a pool within a pool, and again after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
