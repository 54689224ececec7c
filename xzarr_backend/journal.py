"""Which objects a long write has finished, so that a second run can go on where a killed one ended.

Imports errors, pending and stores. Invariant: an object is listed only after it was stored (or found to be empty and
deleted), and a list that was cut short by a kill loses its last line only: what is not listed is written again.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import RegionError
from .formats.documents import parse_json
from .paths import prefix_of
from .pending import FOLDER
from .stores.base import Store
from .stores.files import write_all
from .stores.local import LocalStore

BATCH = 256  # keys that one object of a store without appending holds at least,
SECONDS = 10.0  # unless the first of them is older than this

MAX_WRITERS = 8  # that one process keeps open

_writers: dict[
    tuple[int, str, str], _FileWriter | _ObjectWriter
] = {}  # by process, journal and run: what this process writes to
_guard = threading.Lock()


def _prefix(path: str) -> str:
    return f"{prefix_of(path)}{FOLDER}journal/"


def has_journal(store: Store, path: str) -> bool:
    """Return whether a write that kept a journal was begun in the group at ``path`` and not finished."""
    return store.get(f"{_prefix(path)}plan.json") is not None


def remove_journal(store: Store, path: str) -> None:
    """Remove the journal of the group at ``path``, if there is one."""
    prefix = _prefix(path)
    store.delete(f"{prefix}plan.json")  # first: lists without a plan mean nothing
    store.delete_prefix(prefix)
    if isinstance(store, LocalStore):
        store.remove_empty(prefix.removesuffix("journal/"))


class Journal:
    """The finished objects of one write. Threads, processes and the workers of a cluster may `mark` at the same time.

    ``token`` stands for the plan of the write: shapes, data types, chunks, region, source.
    """

    def __init__(self, store: Store, path: str, run: str) -> None:
        self.store, self.path, self.run = store, path, run
        self._done: set[str] | None = None

    @classmethod
    def open(cls, store: Store, group_path: str, token: str, resume: bool) -> Journal:
        """Return the journal of the group at ``group_path``.

        ``resume``: go on with the journal of a killed write, if there is one; raise `RegionError` where it was kept for
        another plan. Otherwise begin anew.
        """
        store.check_writable()
        key = f"{_prefix(group_path)}plan.json"
        raw = store.get(key) if resume else None
        if raw is not None:
            plan = parse_json(raw, key)
            if plan.get("token") != token:
                raise RegionError(
                    "the write to be resumed had another plan: its data, chunks, region or the store have changed",
                    where=f"{store.url}, key {key!r}",
                    hint="repeat exactly the call that was interrupted, or begin anew without resume=True",
                )
            return cls(store, group_path, str(plan["run"]))
        remove_journal(store, group_path)
        run = secrets.token_hex(8)
        store.set(key, json.dumps({"token": token, "run": run}).encode())
        return cls(store, group_path, run)

    def is_done(self, key: str) -> bool:
        """Return whether the object ``key`` was finished, by this run or one before it."""
        return key in self.done

    @property
    def done(self) -> set[str]:
        """The keys of all objects that were finished when this journal was opened, or marked through it since."""
        if self._done is None:
            self._done = _load(self.store, _prefix(self.path), self.run)
        return self._done

    def mark(self, keys: Iterable[str]) -> None:
        """Note that the objects ``keys`` are finished: stored, or not stored because they hold the fill value only."""
        keys = list(keys)
        if not keys:
            return
        while not self._writer().add(keys):
            pass  # it was closed in favour of others; the next one is new
        if self._done is not None:
            self._done.update(keys)

    def flush(self) -> None:
        """Store what was marked by this process so far."""
        self._writer().flush()

    def finish(self) -> None:
        """Remove the journal: the write is complete."""
        with _guard:
            writer = _writers.pop(self._place, None)
        if writer is not None:
            writer.close()
        remove_journal(self.store, self.path)

    @property
    def _place(self) -> tuple[int, str, str]:
        return os.getpid(), f"{self.store.url}\0{self.path}", self.run

    def _writer(self) -> _FileWriter | _ObjectWriter:
        with _guard:
            writer = _writers.get(self._place)
            if writer is None:
                while len(_writers) >= MAX_WRITERS:  # those of writes that another process has finished
                    _writers.pop(next(iter(_writers))).close()
                prefix = _prefix(self.path)
                if isinstance(self.store, LocalStore):
                    writer = _FileWriter(self.store, prefix, self.run)
                else:
                    writer = _ObjectWriter(self.store, prefix, self.run)
                _writers[self._place] = writer
            return writer

    def __reduce__(self) -> Any:
        return Journal, (self.store, self.path, self.run)

    def __repr__(self) -> str:
        return f"Journal({self.store.url!r}, {self.path!r})"


def _load(store: Store, prefix: str, run: str) -> set[str]:
    found: set[str] = set()
    for name in store.list_dir(prefix):
        if name.startswith(f"{run}-"):
            text = bytes(store.get(f"{prefix}{name}") or b"")
            found.update(_parse_lines(text))
    return found


def _parse_lines(text: bytes) -> Iterator[str]:
    for line in text.split(b"\n"):
        try:
            yield str(json.loads(line))
        except ValueError:
            pass  # cut short by a kill or a full disk: what it told of is written again


def _format_lines(keys: Iterable[str]) -> bytes:
    return "".join(f"{json.dumps(key)}\n" for key in keys).encode()


class _FileWriter:
    """Appends lines to one file of this process; each call is one write, so that a kill leaves whole lines."""

    def __init__(self, store: LocalStore, prefix: str, run: str) -> None:
        folder = store.folder(prefix[:-1])
        os.makedirs(folder, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(f"{folder}/{run}-{os.getpid()}-{secrets.token_hex(4)}", flags, 0o666)
        self._durable = store.durable
        self._lock = threading.Lock()

    def add(self, keys: list[str]) -> bool:
        lines = memoryview(_format_lines(keys))
        with self._lock:
            if self._descriptor < 0:
                return False
            write_all(self._descriptor, [lines])
            if self._durable:
                os.fdatasync(self._descriptor)
        return True

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


class _ObjectWriter:
    """Collects keys and stores them in objects of their own, where nothing can be appended to."""

    def __init__(self, store: Store, prefix: str, run: str) -> None:
        self._store, self._stem = store, f"{prefix}{run}-{secrets.token_hex(4)}"
        self._keys: list[str] = []
        self._count = 0
        self._since = time.monotonic()
        self._closed = False
        self._lock = threading.Lock()

    def add(self, keys: list[str]) -> bool:
        with self._lock:
            if self._closed:
                return False
            if not self._keys:
                self._since = time.monotonic()
            self._keys.extend(keys)
            if len(self._keys) >= BATCH or time.monotonic() - self._since > SECONDS:
                self._store_batch()
        return True

    def flush(self) -> None:
        with self._lock:
            self._store_batch()

    def close(self) -> None:
        with self._lock:
            self._closed = True  # what it still holds would be written again, nothing worse

    def _store_batch(self) -> None:
        if self._keys:
            self._store.set(f"{self._stem}-{self._count}", _format_lines(self._keys))
            self._count += 1
            self._keys = []
