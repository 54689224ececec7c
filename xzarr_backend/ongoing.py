"""Writes that are being computed: once one has failed, none of its tasks stores anything.

Imports errors. dask raises the first error while other tasks still run, or wait for a thread: they would store their
blocks over what is written next. Invariant: when `failed` returns, no task of the write is storing in any process that
it reached, and none will.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .errors import RegionError

_changed = threading.Condition()
_storing: Counter[str] = Counter()  # tasks of each write that are storing now, in this process
_failed: set[str] = set()
_checking = threading.Lock()
_checked: set[str] = set()


def begin() -> str:
    """Return a name for a write, which its tasks carry."""
    return uuid.uuid4().hex


@contextmanager
def storing(write: str) -> Iterator[None]:
    """Store something for ``write``; raise `RegionError` where that has failed already."""
    with _changed:
        if write in _failed:
            raise RegionError("the write that this task belongs to has failed already, so nothing is stored")
        _storing[write] += 1
    try:
        yield
    finally:
        with _changed:
            _storing[write] -= 1
            if not _storing[write]:
                del _storing[write]
                _changed.notify_all()


def once(write: str, check: Callable[[], None]) -> None:
    """Let the first task of ``write`` in this process ``check`` that it may store; what that raises, all raise."""
    with _checking:
        if write not in _checked:
            check()
            _checked.add(write)


def failed(write: str, client: Any) -> None:
    """Let no task of ``write`` store any more, and wait for those that do now; ``client``: of the cluster, or None."""
    with _changed:
        _failed.add(write)
        _changed.wait_for(lambda: write not in _storing)
    if client is not None:
        with suppress(Exception):  # of a cluster that is gone; the write's own error is the one to report
            client.run(_failed_here, write, on_error="ignore")


async def _failed_here(write: str) -> None:
    with _changed:
        _failed.add(write)
    while write in _storing:  # not blocking the worker, which the tasks may need for their locks
        await asyncio.sleep(0.01)
