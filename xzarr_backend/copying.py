"""Copying a whole store as it is: every object, byte by byte, from any store to any other.

Imports converting (its runner and journal) and the rows below. Invariant: documents are stored when all other objects
are, those of the root last, so that a copy opens only when it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .convert_places import check_room, parse_memory
from .convert_report import Report
from .convert_running import Progress, Runner
from .convert_tasks import Done, guarded
from .converting import CONNECTIONS, check_places, confirm, run
from .errors import ChunkError, NodeNotFoundError, XzarrError
from .executor import thread_budget
from .formats.documents import DOCUMENTS
from .journal import has_journal
from .nodes import clean_path, place_of
from .paths import prefix_of
from .pending import FOLDER
from .stores import open_store
from .stores.base import Request, Store

BATCH_NBYTES, BATCH = 16 * 2**20, 64  # bytes and objects that one task copies


class CopyKeys(NamedTuple):
    """Copy the objects ``keys`` below ``prefix`` of the source to the target."""

    source: Store
    target: Store
    prefix: str
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the journal calls this task."""
        return f"{self.keys[0]} and {len(self.keys) - 1} more"

    def run(self) -> Done:
        """Copy the objects; one that was deleted meanwhile is left out. Raise `ChunkError`."""
        objects = nbytes = 0
        for key, raw in zip(self.keys, self._fetch(self.source, self.prefix), strict=True):
            if raw is not None:
                guarded(self.target.url, key, partial(self.target.set, key, raw))
                objects, nbytes = objects + 1, nbytes + memoryview(raw).nbytes
        return Done(objects, nbytes)

    def compare(self) -> None:
        """Raise `ChunkError` unless source and target hold the same."""
        both = zip(self.keys, self._fetch(self.source, self.prefix), self._fetch(self.target, ""), strict=True)
        for key, old, new in both:
            if (old is None) != (new is None) or (old is not None and bytes(old) != bytes(new)):
                raise ChunkError(
                    "the copy differs from the source",
                    where=f"{self.target.url}, key {key!r}",
                    hint="was one of them written to meanwhile? copy it again with overwrite=True",
                )

    def _fetch(self, store: Store, prefix: str) -> Iterator[Any]:
        if store.concurrent:
            requests = [Request(prefix + key) for key in self.keys]
            yield from guarded(store.url, requests[0].key, lambda: store.get_many(requests))
            return
        for key in self.keys:
            yield guarded(store.url, prefix + key, partial(store.get, prefix + key))


def copy(
    src: Any,
    dst: Any,
    *,
    path: str = "",
    memory: int | str = "256 MiB",
    verify: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
    target_storage_options: dict[str, Any] | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
) -> Report:
    """Copy every object below ``path`` of ``src`` to the store ``dst``, as it is; keywords as those of `convert`.

    Raises `UnsupportedError` where the source cannot be listed (plain HTTP: `convert` copies it by its metadata).
    """
    source = open_store(src, storage_options=storage_options)
    target = open_store(dst, mode="a", storage_options=target_storage_options)
    path = clean_path(path)
    prefix, limit = prefix_of(path), parse_memory(memory)
    check = partial(check_places, source, target, resume=resume, overwrite=overwrite, scheduler=scheduler)
    check()
    found = sorted(
        (key[len(prefix) :], source.size(key) or 0 if size is None else size)
        for key, size in source.walk(prefix)
        if not key[len(prefix) :].startswith(FOLDER)
    )
    largest = max(found, key=lambda item: item[1], default=("", 0))
    _check(source, path, found, largest, limit)
    check_room(target, sum(size for _, size in found))
    others = [item for item in found if not _is_document(item[0])]
    documents = [key for key, _ in found if _is_document(key)]
    remote = source.concurrent or target.concurrent
    workers = max(1, min(CONNECTIONS if remote else thread_budget(), limit // max(largest[1], 1)))
    tasks = [CopyKeys(source, target, prefix, keys) for keys in _batches(others, min(BATCH_NBYTES, limit // workers))]
    last = [CopyKeys(source, target, prefix, (key,)) for key in sorted(documents, key=lambda k: (-k.count("/"), k))]
    report = Report(source.url, target.url, tasks=len(tasks) + len(last), verified=verify)
    if resume and not has_journal(target, "") and _same_documents(last):
        return confirm(target, report, [(tasks, workers)], scheduler=scheduler, progress=progress)
    digest = hashlib.sha256(repr((source.url, path, found, verify)).encode()).hexdigest()

    def work(runner: Runner) -> None:
        runner.run(tasks, workers, True)
        if verify:
            runner.compare(tasks, workers)
        runner.run(last, 1, True)

    make = partial(check, make=True)
    return run(target, digest, report, make, work, resume=resume, scheduler=scheduler, progress=progress)


def _check(source: Store, path: str, found: Sequence[tuple[str, int]], largest: tuple[str, int], limit: int) -> None:
    where = place_of(source, path)
    if not any(key in DOCUMENTS for key, _ in found):
        raise NodeNotFoundError("no Zarr node is stored here to be copied", where=where, hint="check the path")
    if largest[1] > limit:
        raise XzarrError(
            f"the object {largest[0]!r} has {largest[1]} bytes, more than memory={limit}",
            where=where,
            hint="give more memory=",
        )


def _same_documents(tasks: Sequence[CopyKeys]) -> bool:
    try:
        for task in tasks:
            task.compare()
    except ChunkError:
        return False
    return True


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] in DOCUMENTS


def _batches(found: Sequence[tuple[str, int]], limit: int) -> Iterator[tuple[str, ...]]:
    keys: list[str] = []
    nbytes = 0
    for key, size in found:
        if keys and (len(keys) >= BATCH or nbytes + size > limit):
            yield tuple(keys)
            keys, nbytes = [], 0
        keys.append(key)
        nbytes += size
    if keys:
        yield tuple(keys)
