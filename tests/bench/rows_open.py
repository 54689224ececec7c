"""Rows that open: arrays, datasets of 1, 7 and many variables, arrays of very many chunks, and cold starts.

Imports case. xarray is imported and another dataset opened before the clock starts, but for the cold rows.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from .case import Case, Data, Measured, Row, Setup
from .systems import System

XARRAY = ("xarray",)


def array(name: str) -> Setup:
    """Open an array, read nothing."""

    def setup(system: System, data: Data) -> Case:
        system.open(data.path("plain2" if data.recipe(name).zarr_format == 2 else "small"))
        return Case(lambda: tuple(system.open(data.path(name)).shape), repeat=50)

    return setup


def dataset(name: str, warm: str = "warm", repeat: int = 1, **options: Any) -> Setup:
    """Open a dataset with xarray, after another one, ``warm``, of the same kind."""

    def setup(system: System, data: Data) -> Case:
        system.open_dataset(data.path(warm), **options).close()
        return Case(lambda: len(system.open_dataset(data.path(name), **options)), repeat=repeat)

    return setup


def lazy(name: str) -> Setup:
    """Open a dataset as dask arrays of the stored chunks."""

    def setup(system: System, data: Data) -> Case:
        system.open_dataset(data.path("warm"), lazy=True).close()
        return Case(lambda: int(system.open_dataset(data.path(name), lazy=True)["v"].data.npartitions))

    return setup


def open_zarr(name: str) -> Setup:
    """Open a dataset with the system's own call for dask arrays."""

    def setup(system: System, data: Data) -> Case:
        system.open_zarr(data.path("warm")).close()
        return Case(lambda: tuple(system.open_zarr(data.path(name))["v"].shape))

    return setup


def cold_import(system: System, data: Data) -> Case:
    """Import the system in a fresh interpreter, where NumPy is loaded already."""
    return Case(lambda: _cold(system.cold), check=lambda _: None)


def cold_array(name: str) -> Setup:
    """Import the system, open an array and read an element in a fresh interpreter, where NumPy is loaded already."""

    def setup(system: System, data: Data) -> Case:
        first = (0,) * len(data.recipe(name).shape)
        return Case(lambda: _cold(f"{system.cold_array(data.path(name))}; print(numpy.asarray(array[{first}]))"))

    return setup


def cold_dataset(name: str) -> Setup:
    """Import xarray, find the engine and open a dataset in a fresh interpreter."""

    def setup(system: System, data: Data) -> Case:
        statements = system.cold_open(data.path(name))
        return Case(lambda: _cold(f"{statements}; print(len(dataset))"))

    return setup


def _cold(statements: str) -> Measured:
    clock = f"import time, numpy; start = time.perf_counter(); {statements}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", clock], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    *value, seconds = done.stdout.split()
    return Measured(float(seconds), value)


ROWS = [
    Row("open_array", "open", "an array", array("zstd")),
    Row("open_array2", "open", "an array, v2", array("zstd2")),
    Row("open_array_100k", "open", "an array of 100,000 chunks", array("tenth_2d")),
    Row("open_array_million", "open", "an array of a million chunks", array("million_2d")),
    Row("xr_open_1", "open", "dataset of 1 variable", dataset("wide_1", repeat=10), uses=XARRAY),
    Row("xr_open_era", "open", "dataset of 7 arrays, v2, consolidated", dataset("era2", "warm2", 10), uses=XARRAY),
    Row("xr_open_era3", "open", "dataset of 7 arrays, v3, consolidated", dataset("era", repeat=10), uses=XARRAY),
    Row(
        "xr_open_era_u",
        "open",
        "7 arrays, not consolidated",
        dataset("era_u", "warm_u", 10, consolidated=False),
        uses=XARRAY,
    ),
    *(
        Row(name, "open", shows, dataset(*stored, consolidated=False), (floor,), uses=XARRAY)
        for name, shows, stored, floor in [
            ("xr_open_wide", "dataset of 500 variables, not consolidated", ("wide", "warm_u"), "xr_floor_500"),
            ("xr_open_wide2", "500, v2, not consolidated", ("wide2", "warm2_u"), "xr_floor_500"),
            ("xr_open_varied", "500 that differ, not consolidated", ("varied", "warm_u"), "xr_floor_varied"),
        ]
    ),
    *(
        Row(name, "open", shows, dataset(*stored), (floor,), uses=XARRAY)
        for name, shows, stored, floor in [
            ("xr_open_wide_c", "500 variables, consolidated", ("wide_c",), "xr_floor_500"),
            ("xr_open_wide2_c", "500, v2, consolidated", ("wide2_c", "warm2"), "xr_floor_500"),
            ("xr_open_varied_c", "500 that differ, consolidated", ("varied_c",), "xr_floor_varied"),
        ]
    ),
    Row("xr_floor_500", "open", "xarray's own cost of 500 variables", None, ("xr_floor_500",), uses=XARRAY),
    Row(
        "xr_lazy_100k",
        "open",
        "100,000 chunks, chunks={}, inline",
        lazy("tenth_2d_group"),
        uses=("xarray", "dask.array"),
    ),
    Row(
        "xr_dask_million",
        "open",
        "a million chunks, chunks={}, inline",
        lazy("million_2d_group"),
        uses=("xarray", "dask.array"),
    ),
    Row(
        "open_zarr_1d",
        "open",
        "a million chunks along one dimension, open_zarr",
        open_zarr("million_1d_group"),
        uses=("xarray", "dask.array"),
    ),
    Row(
        "open_zarr_million",
        "open",
        "a million chunks, open_zarr",
        open_zarr("million_2d_group"),
        uses=("xarray", "dask.array"),
    ),
    Row("cold_import", "start", "import in a fresh process, over NumPy", cold_import, workers=True),
    Row(
        "cold_array",
        "start",
        "import, an array and its first element in a fresh process",
        cold_array("plain"),
        workers=True,
    ),
    Row("cold_xr_open", "start", "xarray and a dataset in a fresh process", cold_dataset("era2"), workers=True),
    Row("cold_xr_plain", "start", "the same, without times", cold_dataset("wide_1"), workers=True),
]
