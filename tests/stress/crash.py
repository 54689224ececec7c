"""``python -m tests.stress.crash [KILLS] [SEED]``: kill writers at random moments, and look at what they leave.

One process has everything imported and forks the writers, so that a kill costs little more than the time until then.
How long a writer takes is measured first; each is then killed with SIGKILL at a random moment of that time. Afterwards
the store opens, every chunk decodes, and every element is the old or the new one (where several things change together:
all of them); then the next writer, which resumes where the writer can, completes it to equality and leaves nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

import xzarr_backend as xz
from tests.crash_scenarios import SCENARIOS, Content, Scenario, check, check_finished, content_of, ramp, same
from tests.crash_steps import CHANGES, is_creation
from xzarr_backend.journal import has_journal, remove_journal
from xzarr_backend.stores import exchange
from xzarr_backend.stores.local import LocalStore
from xzarr_backend.transactions import recover

SIZE = 160  # elements of the longest dimension: some ten to a hundred objects per writer
BLOCK = 16


def dataset(size: int, start: int, chunked: bool = False) -> xr.Dataset:
    """Return a dataset whose values follow from ``start``; with dask, one block in four is all zero."""
    matrix = ramp(size * 4, start + 1).reshape(size, 4)
    matrix[np.arange(size) // BLOCK % 4 == 1] = 0
    ds = xr.Dataset(
        {"matrix": (("time", "y"), matrix), "line": ("time", ramp(size, start + 1))},
        coords={"time": np.arange(start, start + size)},
    )
    return ds.chunk(time=BLOCK) if chunked else ds


ENCODING = {"matrix": {"chunks": (BLOCK, 2)}, "line": {"chunks": (BLOCK,)}}
SHARDED = {"matrix": {"chunks": (BLOCK // 2, 2), "shards": (BLOCK, 4)}}


def held(*parts: xr.Dataset) -> Content:
    """Return what a store of the datasets, one behind the other, holds."""
    whole = xr.concat(parts, "time") if len(parts) > 1 else parts[0]
    return {**{str(name): variable.values for name, variable in whole.variables.items()}, "@": {}}


def to_zarr(ds: xr.Dataset, folder: Path, zarr_format: int | None, **keywords: Any) -> None:
    """Write with the keywords of `xz.to_zarr`; new arrays get small chunks, and some get shards."""
    if "append_dim" not in keywords and "region" not in keywords:
        keywords["encoding"] = {**ENCODING, **(SHARDED if zarr_format == 3 else {})}
        keywords["zarr_format"] = zarr_format
    xz.to_zarr(ds, folder, consolidated=True, **keywords)


def _stored(folder: Path, zarr_format: int, size: int) -> None:
    to_zarr(dataset(size, 0), folder, zarr_format, mode="w")


def _overwritten(resume: bool, chunked: bool) -> Callable[[Path, int, int], None]:
    def write(folder: Path, zarr_format: int, size: int) -> None:
        to_zarr(dataset(size + 3, 10_000, chunked), folder, zarr_format, mode="w", resume=resume)

    return write


def _created(folder: Path, zarr_format: int, size: int) -> None:
    to_zarr(dataset(size + 3, 10_000, True), folder, zarr_format, mode="w", resume=True)


def _appended(resume: bool, chunked: bool) -> Callable[[Path, int, int], None]:
    def write(folder: Path, zarr_format: int, size: int) -> None:
        store = LocalStore(folder)
        recover(store, "", resume=resume)
        if xz.open_group(store)["time"].shape == (2 * size + 5,):
            remove_journal(store, "")  # the one before was killed after its commit; resuming it would be refused
            return
        to_zarr(dataset(size + 5, size, chunked), folder, None, append_dim="time", resume=resume)

    return write


def _region(folder: Path, zarr_format: int, size: int) -> None:
    part = dataset(size, 10_000, True).isel(time=slice(5, size - 5)).drop_vars("time")
    to_zarr(part, folder, None, region={"time": slice(5, size - 5)}, mode="r+")


def _changed(size: int) -> Content:
    ds, new = dataset(size, 0), dataset(size, 10_000)
    for name in ("matrix", "line"):
        ds[name].values[5 : size - 5] = new[name].values[5 : size - 5]
    return held(ds)


def _before(size: int) -> Content:
    return held(dataset(size, 0))


def _replaced(size: int) -> Content:
    return held(dataset(size + 3, 10_000))


def _grown(size: int) -> Content:
    return held(dataset(size, 0), dataset(size + 5, size))


XARRAY: dict[str, Scenario] = {
    "to_zarr w, new": Scenario(lambda *_: None, _created, lambda size: None, _replaced, True),
    "to_zarr w": Scenario(_stored, _overwritten(False, False), _before, _replaced, True),
    "to_zarr w, resumed": Scenario(_stored, _overwritten(True, True), _before, _replaced, True),
    "to_zarr append": Scenario(_stored, _appended(False, False), _before, _grown, True),
    "to_zarr append, resumed": Scenario(_stored, _appended(True, True), _before, _grown, True),
    "to_zarr region": Scenario(_stored, _region, _before, _changed, False),
}
ALL = {**SCENARIOS, **XARRAY}


def fork(write: Callable[[], None]) -> int:
    """Start ``write`` in a process of its own and return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        write()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def finish(write: Callable[[], None]) -> None:
    """Run ``write`` in a process of its own to its end."""
    child = fork(write)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"a writer that nobody killed ended with {code}"


def warm_up() -> None:
    """Import everything that writers import late, without starting a thread that a fork would lose for good."""
    with dask.config.set(scheduler="synchronous"), tempfile.TemporaryDirectory() as folder:
        for zarr_format in (2, 3):
            to_zarr(dataset(2 * BLOCK, 0, True), Path(folder, "data.zarr"), zarr_format, mode="w", resume=True)
            to_zarr(dataset(BLOCK, 2 * BLOCK), Path(folder, "data.zarr"), None, append_dim="time")
    assert {thread.name for thread in threading.enumerate()} <= {"MainThread", "xzarr-closing"}  # it starts again


def times_of(write: Callable[[], None]) -> tuple[float, float]:
    """Return after how many seconds ``write`` changes the first file, and ends."""
    reader, writer = os.pipe()

    def watched() -> None:
        def hook(event: str, arguments: Any) -> None:
            nonlocal first
            if first is None and (event in CHANGES or (event == "open" and is_creation(arguments))):
                first = time.perf_counter()

        first: float | None = None
        sys.addaudithook(hook)
        write()
        os.write(writer, struct.pack("d", first or time.perf_counter()))

    begun = time.perf_counter()
    finish(watched)
    ended = time.perf_counter()
    [first] = struct.unpack("d", os.read(reader, 8))
    os.close(reader)
    os.close(writer)
    return first - begun, ended - begun


class Place:
    """A store that is prepared once for each scenario and format, and copied for each writer."""

    def __init__(self, folder: Path, name: str, zarr_format: int) -> None:
        self.scenario, self.zarr_format = ALL[name], zarr_format
        self.origin = folder / f"{name}-{zarr_format}"
        self.work = folder / "work" / "data.zarr"
        finish(lambda: self.scenario.prepare(self.origin, zarr_format, SIZE))
        times = []
        for _ in range(3):
            self.reset()
            times.append(times_of(self.write))
        self.first, self.end = map(min, zip(*times, strict=True))

    def reset(self) -> None:
        """Let the store be as it is before the write."""
        shutil.rmtree(self.work.parent, ignore_errors=True)
        self.work.parent.mkdir()
        if self.origin.exists():
            shutil.copytree(self.origin, self.work)

    def write(self) -> None:
        """Write as the scenario does."""
        self.scenario.write(self.work, self.zarr_format, SIZE)

    def kill(self, after: float) -> bool:
        """Start a writer and kill it ``after`` so many seconds; return whether it still ran."""
        child = fork(self.write)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def resumable(self) -> bool:
        """Return whether a journal waits for the next writer."""
        places = [str(self.work), *exchange.leftovers(str(self.work))]
        return any(has_journal(LocalStore(place), "") for place in places)

    def state(self) -> str:
        """Return what a reader finds: "old", "new" or "between"."""
        found = content_of(self.work, None)
        if same(found, self.scenario.before(SIZE)):
            return "old"
        return "new" if same(found, self.scenario.after(SIZE)) else "between"


def main(kills: int = 200, seed: int = 0) -> int:
    """Kill so many writers, print what was found, and return the number of stores that were not as they have to be."""
    chance = random.Random(seed)
    states: Counter[str] = Counter()
    wrong = 0
    begun = time.perf_counter()
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        places = [Place(Path(folder), name, zarr_format) for name in ALL for zarr_format in (2, 3)]
        turn = 0
        while states["killed"] < kills:
            place = places[turn % len(places)]
            turn += 1
            place.reset()
            if not place.kill(chance.uniform(0.9 * place.first, place.end)):
                states["ended before the kill"] += 1
                continue
            states["killed"] += 1
            try:
                check(place.scenario, place.work, SIZE)
                states[place.state()] += 1
                states["with a journal to resume"] += place.resumable()
                finish(place.write)
                check_finished(place.scenario, place.work, SIZE)
                states["completed to equality"] += 1
            except Exception as error:
                wrong += 1
                print(f"{place.origin.name}: {error!r}", flush=True)
    for name, count in states.items():
        print(f"{count:6d} {name}")
    print(f"{wrong:6d} wrong, of {len(ALL)} kinds of writers in both formats; {time.perf_counter() - begun:.0f} s")
    return wrong


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) != 0)
