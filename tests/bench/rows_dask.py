"""Rows that load with xarray or compute with dask: on threads, on a cluster of processes, over a million chunks.

Imports case, bounds and datasets; xarray and dask at their first use.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from .bounds import THREADS
from .case import Case, Data, Measured, Row, Setup, checksum
from .datasets import NAMES
from .systems import NotOffered, System

LIBRARIES = ("xarray", "dask.array")
Build = Callable[[System, str], Any]  # from a path to something lazy with ``compute``


def load(name: str, warm: str) -> Setup:
    """Load all variables of a dataset."""

    def setup(system: System, data: Data) -> Case:
        system.open_dataset(data.path(warm)).load()
        dataset = system.open_dataset(data.path(name))
        return Case(dataset.load, lambda loaded: [checksum(loaded[name].values) for name in NAMES])

    return setup


def on_threads(build: Build, name: str, warm: str) -> Setup:
    """Build and compute on dask's threads, after the same of a small store, ``warm``."""

    def setup(system: System, data: Data) -> Case:
        import dask

        def call(path: str = data.path(name)) -> float:
            with dask.config.set(scheduler="threads", num_workers=THREADS):
                return _number(build(system, path))

        call(data.path(warm))
        return Case(call)

    return setup


def on_cluster(build: Build, name: str, warm: str) -> Setup:
    """Build and compute on a local cluster of processes with one thread each, after the same of ``warm``."""

    def setup(system: System, data: Data) -> Case:
        from distributed import Client, LocalCluster

        build(system, data.path(warm))  # a system that does not offer it starts no cluster
        cluster = LocalCluster(n_workers=THREADS, threads_per_worker=1, dashboard_address=None)
        client = Client(cluster)
        client.run(_warm, system, data.path("warm"), data.path("zstd"))
        _number(build(system, data.path(warm)))

        def close() -> None:
            client.close()
            cluster.close()

        return Case(lambda: _number(build(system, data.path(name))), close=close)

    return setup


def _warm(system: System, dataset: str, array: str) -> None:
    """Load on every worker what the tasks will need."""
    system.load()
    system.open_dataset(dataset).load()
    system.read(system.open(array), (slice(8),) * 3)


def _number(lazy: Any) -> float:
    return float(f"{float(lazy.compute()):.6g}")  # the order of summing differs


def total(system: System, path: str) -> Any:
    """The sum of an array, a task for every stored object."""
    return system.dask(path).sum()


def mean(system: System, path: str) -> Any:
    """The mean over time of a variable, summed."""
    return system.open_dataset(path, lazy=True).t2m.astype("f8").mean("time").sum()


def mean_anyhow(system: System, path: str) -> Any:
    """The same; systems without dask arrays read and reduce in their own way."""
    try:
        return mean(system, path)
    except NotOffered:
        return system.open_dataset(path).t2m.astype("f8").mean("time").sum()


def many_open(name: str) -> Setup:
    """Build the lazy array of very many chunks."""

    def setup(system: System, data: Data) -> Case:
        system.dask(data.path("small"))
        return Case(lambda: int(system.dask(data.path(name)).npartitions))

    return setup


def many_corner(name: str) -> Setup:
    """Compute a corner of an array of very many chunks."""

    def setup(system: System, data: Data) -> Case:
        lazy = system.dask(data.path(name))
        corner = (slice(10),) * lazy.ndim
        system.dask(data.path("small"))[:10, :10].compute(scheduler="threads")
        return Case(lambda: float(lazy[corner].compute(scheduler="threads").sum()))

    return setup


def many_corner_sum(name: str) -> Setup:
    """Let dask sum a corner of an array of very many chunks."""

    def setup(system: System, data: Data) -> Case:
        lazy = system.dask(data.path(name))
        corner = (slice(20),) * lazy.ndim
        system.dask(data.path("small"))[:10, :10].sum().compute(scheduler="threads")
        return Case(lambda: float(lazy[corner].sum().compute(scheduler="threads")))

    return setup


def many_pickle(name: str) -> Setup:
    """Measure the bytes of the pickled lazy array."""

    def setup(system: System, data: Data) -> Case:
        lazy = system.dask(data.path(name))
        return Case(lambda: Measured(len(pickle.dumps(lazy, protocol=5)), None))

    return setup


def many_sum(name: str, chunks: Any) -> Setup:
    """Build and optimise the sum of very many chunks, compute nothing."""

    def setup(system: System, data: Data) -> Case:
        import dask

        dask.optimize(system.dask(data.path("small"), chunks="auto").sum())

        def call() -> int:
            (lazy,) = dask.optimize(system.dask(data.path(name), chunks=chunks).sum())
            return len(lazy.__dask_graph__())

        return Case(call, check=lambda _: None)  # each system fuses as it likes

    return setup


def _row(name: str, shows: str, setup: Setup, **more: Any) -> Row:
    return Row(name, "dask", shows, setup, uses=LIBRARIES, **more)


def _many(dims: str) -> list[Row]:
    name = f"million_{dims}"
    return [
        _row(f"open_{dims}", f"a million chunks, {dims}, lazy array", many_open(name)),
        _row(f"corner_{dims}", f"a million chunks, {dims}, a corner computed", many_corner(name)),
        _row(f"corner_sum_{dims}", f"a million chunks, {dims}, sum of a corner", many_corner_sum(name)),
        _row(f"pickle_{dims}", f"a million chunks, {dims}, pickled size", many_pickle(name), unit="bytes"),
        _row(f"sum_auto_{dims}", f"a million chunks, {dims}, chunks='auto', sum optimised", many_sum(name, "auto")),
    ]


ROWS = [
    _row("xr_load_era", "xarray load of 4 variables", load("era", "warm")),
    _row("xr_load_era2", "xarray load of 4 variables, v2", load("era2", "warm2")),
    _row("xr_dask_mean", "xarray mean over time on threads", on_threads(mean_anyhow, "era", "warm")),
    _row("dask_all", "dask sum on threads, zstd", on_threads(total, "zstd", "slab")),
    _row("dask_shard", "dask sum on threads, shards", on_threads(total, "shard", "slab_shard")),
    _row("xr_cluster_mean", "xarray mean over time on a cluster", on_cluster(mean, "era", "warm"), workers=True),
    _row("cluster_all", "dask sum on a cluster, zstd", on_cluster(total, "zstd", "slab"), workers=True),
    *_many("1d"),
    *_many("2d"),
    *_many("3d"),
    _row("sum_stored_100k", "100,000 tasks, stored chunks, sum optimised", many_sum("tenth_2d", None)),
    _row("sum_stored_million", "a million tasks, sum optimised", many_sum("million_2d", None), slow=True),
]
