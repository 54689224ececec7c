"""Running tasks: on this machine or on a dask cluster, with a journal of those that are finished.

Imports journal and the rows below; concurrent.futures and distributed load at their first use. Invariant: a task is
marked after all that it stores is stored; whatever ends the run, an error, Ctrl-C or a kill, the rest can be resumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

from .convert_report import Report
from .errors import UnsupportedError, XzarrError
from .journal import Journal, has_journal, remove_journal
from .stores.base import Store

_ADDRESS = re.compile(r"(?:(?:tcp|tls|ucx|wss?)://)?[^/]+:[0-9]+(?:/.*)?|inproc://.+")
Progress = Callable[[int, int, str], object]  # (tasks finished, tasks in all, array)


class Work(Protocol):
    """What can be run and checked; see `convert_tasks`."""

    @property
    def name(self) -> str:
        """What the journal calls it."""

    def run(self) -> Any:
        """Do it and return (objects, bytes)."""

    def compare(self) -> None:
        """Raise unless source and target agree."""


class LateJournal:
    """A journal that is kept in memory, and stored only when the work ends early: for archives, which only grow."""

    def __init__(self, store: Store, token: str, resume: bool) -> None:
        self.store, self.token = store, token
        earlier = Journal.open(store, "", token, True) if resume and has_journal(store, "") else None
        self.done = set() if earlier is None else set(earlier.done)

    def is_done(self, name: str) -> bool:
        """Return whether the task was finished."""
        return name in self.done

    def mark(self, names: Iterable[str]) -> None:
        """Note that these tasks are finished."""
        self.done.update(names)

    def flush(self) -> None:
        """Store the journal."""
        journal = Journal.open(self.store, "", self.token, False)
        journal.mark(sorted(self.done))
        journal.flush()

    def finish(self) -> None:
        """Remove what an earlier run stored."""
        if has_journal(self.store, ""):
            remove_journal(self.store, "")


class Runner:
    """Runs stages of tasks one after the other and counts what they did."""

    def __init__(
        self, journal: Journal | LateJournal, report: Report, progress: Progress | None, client: Any = None
    ) -> None:
        self.journal, self.report, self.progress, self.client = journal, report, progress, client
        self.finished, self.label = 0, ""

    def run(self, tasks: Iterable[Work], workers: int, copied: bool) -> None:
        """Run the ``tasks`` that no earlier run has finished."""

        def finish(task: Work, done: Any) -> None:
            self.journal.mark([task.name])
            self._count(done, copied)

        self._each(self._todo(tasks), _run, finish, workers)

    def compare(self, tasks: Iterable[Work], workers: int) -> None:
        """Compare what the ``tasks`` stored with what they stored it from."""
        self._each(iter(tasks), _compare, lambda task, done: None, workers)

    def _todo(self, tasks: Iterable[Work]) -> Iterator[Work]:
        for task in tasks:
            if self.journal.is_done(task.name):
                self.report.resumed += 1
                self._advance()
            else:
                yield task

    def _count(self, done: Any, copied: bool) -> None:
        self.report.objects += done.objects
        if copied:
            self.report.copied += done.objects
            self.report.bytes_copied += done.nbytes
        else:
            self.report.bytes_recoded += done.nbytes
        self._advance()

    def _advance(self) -> None:
        self.finished += 1
        if self.progress is not None:
            self.progress(self.finished, self.report.tasks, self.label)

    def _each(
        self, tasks: Iterator[Work], way: Callable[[Work], Any], finish: Callable[[Work, Any], None], workers: int
    ) -> None:
        if self.client is not None:
            _on_cluster(self.client, tasks, way, finish)
        elif workers > 1:
            _in_threads(tasks, way, finish, workers)
        else:
            for task in tasks:
                finish(task, way(task))


def _run(task: Work) -> Any:
    return task.run()


def _compare(task: Work) -> None:
    task.compare()


def _in_threads(
    tasks: Iterator[Work], way: Callable[[Work], Any], finish: Callable[[Work, Any], None], workers: int
) -> None:
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(workers, thread_name_prefix="xzarr-copy") as pool:
        running = {pool.submit(way, task): task for task in islice(tasks, 2 * workers)}
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    finish(running.pop(future), future.result())
                    running.update((pool.submit(way, task), task) for task in islice(tasks, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# --- clusters ---------------------------------------------------------------------------------------------------------


def check_shared(store: Store) -> None:
    """Raise `UnsupportedError` where the workers of a cluster would not see the same objects."""
    if not store.shared_between_processes:
        raise UnsupportedError(
            "other processes do not see what is stored here, so a cluster cannot work on it",
            where=store.url,
            hint="leave scheduler= out, or use a folder or a remote store that all workers reach",
        )


@contextmanager
def connected(scheduler: Any) -> Iterator[Any]:
    """Yield a client of the cluster: of an address, one that is closed in the end; a client, or None, as it is."""
    if not isinstance(scheduler, str):
        yield scheduler
        return
    client = _connect(scheduler)
    try:
        yield client
    finally:
        client.close()


def _connect(scheduler: str) -> Any:
    if _ADDRESS.fullmatch(scheduler) is None:  # a client that fails on it would complain once more when it is freed
        raise XzarrError(f"{scheduler!r:.80} is no address of a scheduler", hint='it is like "tcp://host:8786"')
    from distributed import Client

    try:
        return Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise XzarrError(
            f"the scheduler cannot be reached: {error}", where=scheduler, hint='its address is like "tcp://host:8786"'
        ) from error


def _on_cluster(
    client: Any, tasks: Iterator[Work], way: Callable[[Work], Any], finish: Callable[[Work, Any], None]
) -> None:
    from distributed import as_completed

    window = 4 * max(sum(client.nthreads().values()), 1)

    def submit(task: Work) -> Any:
        future = client.submit(way, task, pure=False)
        running[future] = task
        return future

    running: dict[Any, Work] = {}
    waiting = as_completed([submit(task) for task in islice(tasks, window)], loop=client.loop)
    try:
        for future in waiting:
            finish(running.pop(future), future.result())
            for task in islice(tasks, 1):
                waiting.add(submit(task))
    finally:
        if running:
            client.cancel(list(running))
