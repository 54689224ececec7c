"""What ``xzarr demo`` does: the main job from end to end, on a small dataset of its own making.

Imports xarray, distributed and the rows below. Invariant: nothing is written outside one temporary folder, which is
removed at the end; what is printed as read was counted where it was read, in every process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask.config
import numpy as np
import xarray as xr

from .array import Array
from .creation import create_array
from .display_text import bytes_text
from .formats.documents import DOCUMENTS
from .group_creation import create_group
from .opening import open_group
from .stores import open_store
from .stores.base import Buffer, ByteRange, Request, Store

SHAPE = (360, 45, 90)  # daily fields on a grid of 4 degrees
CHUNKS = (30, 45, 90)
INNER, SHARDS = (30, 15, 30), (180, 45, 90)

Say = Callable[[str], Any]


def run_demo(say: Say) -> None:
    """Run the demo; ``say`` is called with each piece of text."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="xzarr-demo-") as folder:
        places = {"v2": str(Path(folder, "climate-v2.zarr")), "v3": str(Path(folder, "climate-v3.zarr"))}
        say("1. Two stores with the same data: Zarr v2 with chunks, Zarr v3 with shards\n")
        write_dataset(places["v2"], 2)
        write_dataset(places["v3"], 3)
        for place in places.values():
            say(f"{open_group(place).tree()}\n{_stored_text(open_group(place)['t2m'])}\n")
        means = _compute(places, folder, say)
        _compare(means, say)
        _explain(places["v3"], say)
    say(f"\nDone in {time.perf_counter() - began:.1f} s; the temporary folder is removed.")


def _stored_text(array: Any) -> str:
    objects = "chunks" if array.shards is None else "shards"
    return f"t2m is stored as {array.nchunks_stored()} {objects} with {bytes_text(array.nbytes_stored())} in all"


# --- the dataset -----------------------------------------------------------------------------------------------------


class _Variable(NamedTuple):
    dims: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[Any]]
    attributes: dict[str, str]


def write_dataset(place: str, zarr_format: int) -> None:
    """Write a group with temperature, precipitation and coordinates, with the attributes of the CF conventions."""
    create_group(
        place,
        attributes={"Conventions": "CF-1.11", "title": "A made-up year", "institution": "xzarr demo"},
        zarr_format=zarr_format,
    )
    for name, variable in _variables().items():
        field = len(variable.dims) == 3
        sharded = field and zarr_format == 3
        create_array(
            place,
            name=name,
            data=variable.values,
            chunks=(INNER if sharded else CHUNKS) if field else variable.values.shape,
            shards=SHARDS if sharded else None,
            fill_value=np.nan if field else None,
            dimension_names=variable.dims,
            attributes=variable.attributes,
            zarr_format=zarr_format,
        )


def _variables() -> dict[str, _Variable]:
    days, rows, columns = (np.arange(n) for n in SHAPE)
    lat, lon = 88.0 - 4 * rows, 4.0 * columns
    random = np.random.default_rng(2024)
    season = np.cos(2 * np.pi * (days - 15) / SHAPE[0])[:, None, None]
    mean = 288 - 45 * np.sin(np.deg2rad(lat)) ** 2
    t2m = mean[:, None] - 12 * season * np.sin(np.deg2rad(lat))[:, None] + random.normal(0, 2, SHAPE)
    wet = np.exp(-((lat / 25) ** 2))[:, None] + 0.2
    pr = wet * random.gamma(0.4, 1e-4, SHAPE)
    on_grid = ("time", "lat", "lon")
    return {
        "time": _Variable(
            ("time",), days.astype("i4"), _cf("time", units="days since 2024-01-01", calendar="standard", axis="T")
        ),
        "lat": _Variable(("lat",), lat, _cf("latitude", units="degrees_north", axis="Y")),
        "lon": _Variable(("lon",), lon, _cf("longitude", units="degrees_east", axis="X")),
        "t2m": _Variable(on_grid, np.round(t2m, 1).astype("f4"), _cf("air_temperature", units="K")),
        "pr": _Variable(on_grid, np.round(pr, 6).astype("f4"), _cf("precipitation_flux", units="kg m-2 s-1")),
    }


def _cf(standard_name: str, **attributes: str) -> dict[str, str]:
    return {"standard_name": standard_name, **attributes}


# --- computing -------------------------------------------------------------------------------------------------------


def _compute(places: dict[str, str], folder: str, say: Say) -> list[xr.Dataset]:
    from distributed import Client, LocalCluster

    say("2. Opened with xarray, the mean over time computed on a dask cluster of 2 processes")
    say("   (what is read is counted by the store, in this process and in those of the cluster)\n")
    means = []
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "silence_logs": "ERROR"}
    with (
        dask.config.set(temporary_directory=folder),  # where the processes of the cluster keep their files
        LocalCluster(dashboard_address=None, **options) as cluster,
        Client(cluster) as client,
    ):
        for name, place in places.items():
            take_reads()
            store: Any = CountingStore(open_store(place))
            dataset = xr.open_dataset(store, engine="xzarr", chunks={}, consolidated=False)
            opening = take_reads()
            say(f"Zarr {name}: {dataset}\n")
            means.append(dataset.mean("time").compute())
            working = [read for reads in client.run(take_reads).values() for read in reads]
            say(f"Zarr {name}, {_reads_text('opening read', opening)}")
            say(f"Zarr {name}, {_reads_text('computing read', working + take_reads())}\n")
    return means


def _compare(means: Sequence[xr.Dataset], say: Say) -> None:
    xr.testing.assert_identical(*means)
    say(f"3. The result, the same from both stores\n\n{means[0]}\n")
    by_latitude = means[0].t2m.mean("lon")
    for lat in (60, 0, -60):
        say(f"mean temperature at {lat:>3} degrees north: {float(by_latitude.sel(lat=lat)):.1f} K")


def _explain(place: str, say: Say) -> None:
    say("\n4. What one point's time series needs of the shards, asked before it is read\n")
    array = open_group(place)["t2m"]
    assert isinstance(array, Array)
    say(str(array.explain(np.s_[:, 20, 40])))


# --- counting --------------------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """One answer of a store: the object, and how many of its bytes came back; None where there is no such object."""

    key: str
    nbytes: int | None


_reads: list[Read] = []  # of this process, since `take_reads` was called last


def take_reads() -> list[Read]:
    """Return what the counting stores of this process read since the last call."""
    taken, _reads[:] = list(_reads), []
    return taken


def _reads_text(what: str, reads: Iterable[Read]) -> str:
    found = [read for read in reads if read.nbytes is not None]
    metadata = [read for read in found if read.key.rpartition("/")[2] in DOCUMENTS]
    chunks = [read for read in found if read.key.rpartition("/")[2] not in DOCUMENTS]
    parts = [_part_text(kind, part) for kind, part in (("metadata", metadata), ("data", chunks)) if part]
    return f"{what} {'; '.join(parts) or 'nothing'}"


def _part_text(kind: str, reads: Sequence[Read]) -> str:
    objects = len({read.key for read in reads})
    nbytes = sum(read.nbytes or 0 for read in reads)
    return f"{_counted(objects, f'{kind} object')} in {_counted(len(reads), 'read')}, {bytes_text(nbytes)}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class CountingStore(Store):
    """Another store that notes what is read through it, in every process that it is sent to."""

    def __init__(self, inner: Store) -> None:
        self.inner, self.url, self.read_only = inner, inner.url, True
        self.concurrent, self.shared_between_processes = inner.concurrent, inner.shared_between_processes

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Read an object or a range of it, and note it."""
        found = self.inner.get(key, byte_range, scratch)
        self._note(key, found)
        return found

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Read several, and note them."""
        found = self.inner.get_many(requests)
        for request, value in zip(requests, found, strict=True):
            self._note(request.key, value)
        return found

    def get_ranges(self, key: str, ranges: Sequence[ByteRange], stamp: Any = None) -> tuple[Any, list[Buffer] | None]:
        """Read ranges of one object, and note them."""
        now, found = self.inner.get_ranges(key, ranges, stamp)
        for value in found or ():
            self._note(key, value)
        return now, found

    def _note(self, key: str, value: Buffer | None) -> None:
        _reads.append(Read(key, None if value is None else memoryview(value).nbytes))

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names right below ``prefix``."""
        return self.inner.list_dir(prefix)

    def walk(self, prefix: str) -> Any:
        """Yield (key, size) of every object below ``prefix``."""
        return self.inner.walk(prefix)

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        return self.inner.size(key)

    def set(self, key: str, value: Buffer) -> None:
        """Refuse: this store only reads."""
        self.check_writable()

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Refuse: this store only reads."""
        self.check_writable()
        return False

    def delete(self, key: str) -> None:
        """Refuse: this store only reads."""
        self.check_writable()

    def delete_prefix(self, prefix: str) -> None:
        """Refuse: this store only reads."""
        self.check_writable()
