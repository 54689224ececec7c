"""Requests that run at the same time, requests that are tried again, and requests that a fork would never end.

Imports errors and base; fsspec and aiohttp only where they are in use. Invariant: all asynchronous stores share
fsspec's own loop, which the first of them starts; one call has at most `WINDOW` requests in flight.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import XzarrError
from .base import Request

WINDOW = 32  # requests in flight per call of get_many
TRIES = 3
PAUSE = 0.1  # seconds before the second try; doubled before the third

T = TypeVar("T")


def this_process() -> str:
    """Return what names this process among those of all machines."""
    return f"{socket.gethostname()}:{os.getpid()}"


def on_loop(coroutine: Coroutine[Any, Any, T], loop: Any = None) -> T:
    """Run a coroutine on ``loop`` (None: fsspec's own) and return its result; works inside other running loops."""
    if loop is None:
        from fsspec.asyn import get_loop

        loop = get_loop()
    if asyncio._get_running_loop() is loop:
        coroutine.close()
        raise XzarrError("a store cannot be read from within fsspec's own loop", hint="use a thread")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def in_windows(fetch: Callable[[Request], Coroutine[Any, Any, T]], requests: Sequence[Request]) -> list[T]:
    """Return ``fetch`` of every request in their order, at most `WINDOW` at once; the first error ends the rest."""
    found: list[Any] = [None] * len(requests)
    waiting = iter(enumerate(requests))

    async def work() -> None:
        for place, request in waiting:
            found[place] = await fetch(request)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(WINDOW, len(requests)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return found


def retried(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; after a transient error it is called again, three times in all."""
    for attempt in range(TRIES - 1):
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
            time.sleep(PAUSE * 2**attempt)
    return call()


async def retried_async(call: Callable[[], Awaitable[T]]) -> T:
    """Do what `retried` does, for a call that is awaited."""
    for attempt in range(TRIES - 1):
        try:
            return await call()
        except Exception as error:
            if not is_transient(error):
                raise
            await asyncio.sleep(PAUSE * 2**attempt)
    return await call()


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may well succeed now: a connection that was reset, or too slow."""
    if isinstance(error, ConnectionRefusedError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    aiohttp = sys.modules.get("aiohttp")
    if aiohttp is None or isinstance(error, aiohttp.ClientConnectorError):
        return False
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | aiohttp.ClientOSError)


_runtimes: dict[str, int] = {}  # compiled library -> the process that used it first, and so started its threads


def check_not_forked(library: str, where: str) -> None:
    """Raise `XzarrError` in a process that was forked from one that used ``library``: it would wait forever.

    A fork takes along what the library knows of its threads, but not the threads.
    """
    if _runtimes.setdefault(library, os.getpid()) != os.getpid():
        raise XzarrError(
            f"{library} does not work in a process that was forked from one that had used it",
            where=where,
            hint='start processes by "spawn" or "forkserver", as in multiprocessing.get_context("spawn")',
        )


class Gate:
    """Lets some calls run side by side, and others only while nothing else runs. Calls of one thread do not nest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = self._waiting = 0

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Run what may run beside others of its kind, once nobody waits to run alone."""
        with self._counted("_running", lambda: not self._waiting):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run what runs alone."""
        with self._counted("_waiting", lambda: True), self._counted("_running", lambda: not self._running):
            yield

    @contextmanager
    def _counted(self, count: str, ready: Callable[[], bool]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(ready)
            setattr(self, count, getattr(self, count) + 1)
        try:
            yield
        finally:
            with self._changed:
                setattr(self, count, getattr(self, count) - 1)
                self._changed.notify_all()
