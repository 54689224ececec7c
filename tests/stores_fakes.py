"""Stores for tests: one that counts what is asked of it, one that fails when told to."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest

from xzarr_backend.stores.base import Buffer, ByteRange, Request, Store


class Call(NamedTuple):
    """One request: its operation (a method's name), key or prefix, and range. Misses are recorded too."""

    operation: str
    key: str
    byte_range: ByteRange | None = None


class ForwardingStore(Store):
    """Hands every request on to ``inner``, after `seen` was told of it."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self.read_only = inner.read_only
        self.concurrent = inner.concurrent
        self.shared_between_processes = inner.shared_between_processes
        self.supports_consolidated_metadata = inner.supports_consolidated_metadata
        self.transactional = inner.transactional
        self.frozen = inner.frozen

    def seen(self, calls: Sequence[Call]) -> None:
        """Be told of the requests of one call, before they are made."""

    @property
    def identity(self) -> Hashable:
        return self.inner.identity

    def name_of(self, key: str) -> tuple[Hashable, str]:
        return self.inner.name_of(key)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        self.seen([Call("get", key, byte_range)])
        return self.inner.get(key, byte_range, scratch)

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        self.seen([Call("get", key, byte_range) for key, byte_range in requests])
        return self.inner.get_many(requests)

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        self.seen([Call("get_ranges", key, wanted) for wanted in ranges])
        return self.inner.get_ranges(key, ranges, stamp)

    def set(self, key: str, value: Buffer) -> None:
        self.seen([Call("set", key)])
        self.inner.set(key, value)

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        self.seen([Call("set_if_absent", key)])
        return self.inner.set_if_absent(key, value)

    def delete(self, key: str) -> None:
        self.seen([Call("delete", key)])
        self.inner.delete(key)

    def delete_prefix(self, prefix: str) -> None:
        self.seen([Call("delete_prefix", prefix)])
        self.inner.delete_prefix(prefix)

    def list_dir(self, prefix: str) -> list[str]:
        self.seen([Call("list_dir", prefix)])
        return self.inner.list_dir(prefix)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        self.seen([Call("walk", prefix)])
        return self.inner.walk(prefix)

    def size(self, key: str) -> int | None:
        self.seen([Call("size", key)])
        return self.inner.size(key)

    def lock(self, key: str) -> AbstractContextManager[object] | None:
        self.seen([Call("lock", key)])
        return self.inner.lock(key)

    def close(self) -> None:
        self.inner.close()


class CountingStore(ForwardingStore):
    """Records ``requests`` in their order, and in ``waves`` how many of them each call made at once."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.requests: list[Call] = []
        self.waves: list[int] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return CountingStore, (self.inner,)

    def seen(self, calls: Sequence[Call]) -> None:
        with self._lock:
            self.requests.extend(calls)
            self.waves.append(len(calls))

    def count(self, *operations: str) -> int:
        """Return the number of requests so far, of certain operations only when these are given."""
        return sum(1 for call in self.requests if not operations or call.operation in operations)

    def reset(self) -> None:
        """Forget what was recorded."""
        self.requests.clear()
        self.waves.clear()


class InterruptedStore(ForwardingStore):
    """Lets something else happen, once, before the first request for which ``when(operation, key)`` is true."""

    def __init__(self, inner: Store, when: Callable[[str, str], bool], meanwhile: Callable[[], object]) -> None:
        super().__init__(inner)
        self.when, self.meanwhile = when, meanwhile
        self.done = False

    def seen(self, calls: Sequence[Call]) -> None:
        if not self.done and any(self.when(call.operation, call.key) for call in calls):
            self.done = True
            self.meanwhile()


def without_file_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks on files fail, as NFS does for those that are opened for reading; locks on folders work."""
    import fcntl

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    flock = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)


class FailingStore(ForwardingStore):
    """Raises what ``fail(operation, key)`` returns, unless that is None, instead of making the request."""

    def __init__(self, inner: Store, fail: Callable[[str, str], BaseException | None]) -> None:
        super().__init__(inner)
        self.fail = fail

    def __reduce__(self) -> Any:
        return FailingStore, (self.inner, self.fail)

    def seen(self, calls: Sequence[Call]) -> None:
        for call in calls:
            error = self.fail(call.operation, call.key)
            if error is not None:
                raise error
