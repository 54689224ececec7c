"""Writers side by side, again and again, and a count of what got lost: ``python -m tests.stress.parallel``.

Every repetition writes values that are nowhere the fill value, so that an element that somebody overwrote with old
data is seen. Options: ``--repeat`` (50), ``--seconds`` per scenario (240), ``--only`` scenario names.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import dask
import dask.array as da
import numpy as np

import xzarr_backend as xz
from xzarr_backend.dask_writer import to_zarr
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

SHAPE = (60, 52)
LAYOUTS: tuple[dict[str, Any], ...] = ({"chunks": (10, 8)}, {"chunks": (5, 4), "shards": (20, 16)})
# smaller than a chunk, crossing chunks and shards, larger than both
BLOCKS = ((3, 3), (7, 11), (13, 5), (20, 16), (33, 25), (60, 7), (11, 52), (47, 52))
PROCESSES = 4
EDGES = (0, 13, 29, 46, 60)  # of the rows of each process


class Unlocked(LocalStore):
    """A folder that offers no locks, as most remote stores."""

    def lock(self, key: str) -> Any:
        return None

    def __reduce__(self) -> Any:
        return Unlocked, (self.root,)


def values_for(turn: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """Return values that differ in every element and every turn, and are never zero."""
    return np.arange(1, np.prod(shape) + 1, dtype="i8").reshape(shape) + turn * 1_000_003


def lost(array: xz.Array, expected: Any) -> int:
    """Return how many elements of ``array`` are not what was written."""
    return int((xz.open_array(array.store, array.path)[...] != expected).sum())


# --- scenarios: each yields a function that runs one turn and returns the number of lost elements -------------------


@contextmanager
def threads_on_one_shard() -> Iterator[Callable[[int, str], int]]:
    """16 threads write the 16 inner chunks of one shard; on disk, in memory, and where the store has no locks."""
    stores: tuple[Callable[[str], Any], ...] = (LocalStore, lambda folder: MemoryStore(), Unlocked)

    def turn(number: int, folder: str) -> int:
        array = xz.create_array(stores[number % 3](folder), shape=(32, 32), dtype="i8", chunks=(8, 8), shards=(32, 32))
        expected, start = values_for(number, (32, 32)), threading.Barrier(16)

        def write(place: int) -> None:
            rows, columns = (slice(8 * at, 8 * at + 8) for at in divmod(place, 4))
            start.wait()
            array[rows, columns] = expected[rows, columns]

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(write, range(16)))
        return lost(array, expected)

    yield turn


@contextmanager
def dask_threads() -> Iterator[Callable[[int, str], int]]:
    """dask's threads write blocks of all sizes, fused where that is allowed, and else under locks."""

    def turn(number: int, folder: str) -> int:
        blocks = BLOCKS[number % len(BLOCKS)]
        wrong = 0
        for layout in LAYOUTS:
            for largest in ("128MiB", "64B"):  # the second one forbids fusing
                store = (LocalStore if number % 2 else Unlocked)(f"{folder}/{largest}{len(layout)}")
                array = xz.create_array(store, shape=SHAPE, dtype="i8", **layout)
                expected = values_for(number)
                with dask.config.set({"scheduler": "threads", "num_workers": 8, "array.chunk-size": largest}):
                    to_zarr(da.from_array(expected, chunks=blocks), array)
                wrong += lost(array, expected)
        return wrong

    yield turn


_start: Any = None


def _begin(barrier: Any) -> None:
    global _start
    _start = barrier


Job = tuple[str, int, int, int]  # folder, number of the turn, first row and the one behind the last


@contextmanager
def _side_by_side(work: Callable[[Job], None]) -> Iterator[Callable[[str, int], None]]:
    """Yield what lets 4 processes do ``work`` at the same time, each for its rows."""
    context = multiprocessing.get_context("spawn")

    def share(folder: str, number: int) -> None:
        pool.map(work, [(folder, number, first, last) for first, last in pairwise(EDGES)], chunksize=1)

    with context.Pool(PROCESSES, _begin, (context.Barrier(PROCESSES),)) as pool:
        yield share


def _rows(first: int, last: int) -> Iterator[slice]:
    """Yield a few rows at a time, once all processes are there; so every process takes one job."""
    _start.wait(60)
    for row in range(first, last, 3):
        yield slice(row, min(row + 3, last))


def _until_done(append: Callable[[], object]) -> None:
    done = False
    while not done:
        try:
            append()
            done = True
        except xz.RegionError:
            pass  # another process was faster


def _lost_rows(values: Any, number: int) -> int:
    """Return how many elements of rows that were appended in any order are not what was written."""
    expected = values_for(number)
    if values.shape != SHAPE:
        return int(expected.size)
    return int((values[np.argsort(values[:, 0])] != expected).sum())


def _write_rows(job: Job) -> None:
    folder, number, first, last = job
    array = xz.open_array(folder, mode="r+")
    for rows in _rows(first, last):
        array[rows] = values_for(number)[rows]


@contextmanager
def processes() -> Iterator[Callable[[int, str], int]]:
    """4 processes write regions of one array that share chunks and shards, each in several small writes."""

    def turn(number: int, folder: str) -> int:
        array = xz.create_array(folder, shape=SHAPE, dtype="i8", **LAYOUTS[number % 2])
        share(folder, number)
        return lost(array, values_for(number))

    with _side_by_side(_write_rows) as share:
        yield turn


def _append_rows(job: Job) -> None:
    folder, number, first, last = job
    for rows in _rows(first, last):
        _until_done(lambda rows=rows: xz.open_array(folder, mode="r+").append(values_for(number)[rows]))


@contextmanager
def appends() -> Iterator[Callable[[int, str], int]]:
    """4 processes append to one array, each again until it is not refused; every row is there once in the end."""

    def turn(number: int, folder: str) -> int:
        array = xz.create_array(folder, shape=(0, SHAPE[1]), dtype="i8", **LAYOUTS[number % 2])
        share(folder, number)
        return _lost_rows(xz.open_array(array.store)[...], number)

    with _side_by_side(_append_rows) as share:
        yield turn


def _append_datasets(job: Job) -> None:
    folder, number, first, last = job
    for rows in _rows(first, last):
        _until_done(lambda rows=rows: xz.to_zarr(_dataset(number, rows), folder, append_dim="time"))


def _dataset(number: int, rows: slice) -> Any:
    import xarray as xr

    values = values_for(number)[rows]
    return xr.Dataset({"rows": (("time", "x"), values), "first": ("time", values[:, 0])})


@contextmanager
def datasets() -> Iterator[Callable[[int, str], int]]:
    """4 processes append to one dataset, each again until it is not refused; every row is there once in the end."""

    def turn(number: int, folder: str) -> int:
        encoding = {"rows": {"chunks": (10, 8)}, "first": {"chunks": (7,)}}
        xz.to_zarr(_dataset(number, slice(0)), folder, mode="w", encoding=encoding, zarr_format=2 + number % 2)
        share(folder, number)
        found = xz.open_dataset(folder).load()
        wrong = int((found["first"].values != found["rows"].values[:, 0]).sum())
        return wrong + _lost_rows(found["rows"].values, number)

    with _side_by_side(_append_datasets) as share:
        yield turn


@contextmanager
def cluster() -> Iterator[Callable[[int, str], int]]:
    """2 worker processes of a cluster write two regions at the same time, then append; with and without store locks."""
    from distributed import Client, LocalCluster

    def turn(number: int, folder: str) -> int:
        store = (LocalStore if number % 2 else Unlocked)(folder)
        array = xz.create_array(store, shape=SHAPE, dtype="i8", **LAYOUTS[number // 2 % 2])
        expected = values_for(number, (SHAPE[0] + 25, SHAPE[1]))
        blocks = BLOCKS[number % len(BLOCKS)]

        def write(rows: slice) -> Any:
            data = da.from_array(expected[rows], chunks=blocks)
            # without locks of its own the store refuses a region that ends inside a chunk; here both writers are known
            factory = shared_lock if isinstance(store, Unlocked) else None
            return to_zarr(data, array, region=(rows,), compute=False, lock_factory=factory)

        with dask.config.set({"array.chunk-size": "64B" if number % 3 else "128MiB"}):
            dask.compute(write(slice(0, 33)), write(slice(33, SHAPE[0])))
            array.resize((SHAPE[0] + 25, SHAPE[1]))
            array = xz.open_array(store, mode="r+")
            to_zarr(da.from_array(expected[SHAPE[0] :], chunks=blocks), array, region=(slice(SHAPE[0], None),))
        return lost(array, expected)

    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as local,
        Client(local),
    ):
        yield turn


def shared_lock(key: str) -> Any:
    """Return the lock that all workers of the cluster share."""
    from distributed import Lock

    return Lock(f"stress-{key}")


SCENARIOS = (threads_on_one_shard, dask_threads, processes, appends, datasets, cluster)


def main() -> int:
    """Run the scenarios; return 1 when an element was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--only", nargs="*", choices=[scenario.__name__ for scenario in SCENARIOS])
    options = parser.parse_args()
    total = 0
    for scenario in SCENARIOS:
        if options.only and scenario.__name__ not in options.only:
            continue
        began, turns, wrong = time.monotonic(), 0, 0
        with scenario() as turn:
            while turns < options.repeat and time.monotonic() - began < options.seconds:
                with tempfile.TemporaryDirectory() as folder:
                    wrong += turn(turns, folder)
                turns += 1
        took = time.monotonic() - began
        print(f"{scenario.__name__:22s} {turns:4d} times, {wrong} lost elements, {took:.1f} s", flush=True)
        total += wrong
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
