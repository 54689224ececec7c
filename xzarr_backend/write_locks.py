"""Where blocks are computed, and the lock of a stored object there.

Imports errors and stores; dask and distributed only where they are in use. Invariant: a task holds one lock
at a time, so that no two tasks can wait for each other; where no lock can be had, there is an error.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from .errors import RegionError
from .stores.base import Store
from .stores.concurrency import this_process
from .stores.files import own_lock

LockFactory = Callable[[str], AbstractContextManager[Any]]

THREADS, PROCESSES, CLUSTER = "threads", "processes", "cluster"
STRIPES = 1024  # a cluster's scheduler remembers every lock: objects share so many names


def where_computed() -> str:
    """Return where dask computes now: in threads of this process, in processes, or on a cluster."""
    import dask.array as da
    from dask.base import get_scheduler

    get = get_scheduler(cls=da.Array)
    owner = getattr(get, "__self__", None) or getattr(next(iter(getattr(get, "args", ())), None), "__self__", None)
    if type(owner).__module__.startswith("distributed"):
        return CLUSTER
    if getattr(get, "__module__", "") == "dask.multiprocessing" or "ProcessPool" in type(owner).__name__:
        return PROCESSES
    return THREADS


def cluster_client() -> Any:
    """Return the client of the cluster that dask computes on; None where it computes elsewhere."""
    if where_computed() != CLUSTER:
        return None
    from distributed import default_client

    with suppress(ValueError):  # none is the default
        return default_client()
    return None


def offers_locks(store: Store, key: str) -> bool:
    """Return whether the store itself excludes other writers of ``key``, whoever they are."""
    return not store.shared_between_processes or store.lock(key) is not None


class ObjectLocks:
    """Gives the lock of a stored object, in the process where the object is written; pickles.

    The caller's ``factory`` comes first, then the store's lock, then one of the cluster. Threads of the process that
    planned the write exclude each other without any of them.
    """

    def __init__(self, store: Store, factory: LockFactory | None) -> None:
        self.store, self.factory, self.home = store, factory, this_process()

    def __call__(self, key: str) -> AbstractContextManager[object]:
        if self.factory is not None:
            return self.factory(key)
        lock = self.store.lock(key) or cluster_lock(self.store, key)
        if lock is not None:
            return lock
        if this_process() != self.home:
            raise no_lock(self.store, key)
        return own_lock(self.store, key)

    def check_place(self) -> None:
        """Raise `RegionError` in a process that does not see what the others write."""
        if not self.store.shared_between_processes and this_process() != self.home:
            raise not_shared(self.store)


def cluster_lock(store: Store, key: str) -> AbstractContextManager[object] | None:
    """Return a lock of the cluster whose worker runs this; None anywhere else."""
    distributed: Any = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        return None
    digest = hashlib.blake2b(f"{store.url} {key}".encode(), digest_size=8).digest()
    lock: AbstractContextManager[object] = distributed.Lock(f"xzarr-{int.from_bytes(digest, 'big') % STRIPES}")
    return lock


def no_lock(store: Store, key: str) -> RegionError:
    """Return the error for an object that several processes write, and nothing keeps them apart."""
    return RegionError(
        f"several processes write parts of the object {key!r}, and the store offers no locks",
        where=store.url,
        hint="rechunk the data to whole chunks (shards), use threads or a cluster, or give lock_factory=",
    )


def not_shared(store: Store) -> RegionError:
    """Return the error for a store of one process that others are to write to."""
    return RegionError(
        "several processes cannot write to this store: each of them would write to a copy of its own",
        where=store.url,
        hint='write to a folder or a remote store, or compute in one process: dask.config.set(scheduler="threads")',
    )
