"""``xzarr demo``: it runs as the console script runs it, tells the truth, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.demo import CHUNKS, SHAPE, SHARDS, CountingStore, take_reads, write_dataset
from xzarr_backend.stores import MemoryStore

if not entry_points(group="xarray.backends", name="xzarr"):
    pytest.skip("the package is not installed, so xarray does not know the engine", allow_module_level=True)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """What the demo prints, and what is left of its home, temporary and current folders."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("home", "tmp", "here")}
    environment = {
        **os.environ,
        "HOME": str(folders["home"]),
        "TMPDIR": str(folders["tmp"]),
        "XDG_CONFIG_HOME": str(folders["home"]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    program = "from xzarr_backend.cli import main; main(prog_name='xzarr')"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo"],
        capture_output=True,
        text=True,
        cwd=folders["here"],
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, [path for folder in folders.values() for path in folder.rglob("*")]


def test_nothing_is_left_behind(ran: tuple[str, list[Path]]) -> None:
    """The home, the temporary and the current folder are as empty as before."""
    assert ran[1] == []


def test_it_prints_datasets_result_and_counts(ran: tuple[str, list[Path]]) -> None:
    """Both datasets, the mean, and what was read of either store are in the output."""
    text = ran[0]
    assert text.count("<xarray.Dataset>") == 3
    assert "time     (time) datetime64" in text and "units" not in text
    assert re.search(r"temperature at   0 degrees north: 28[78]\.\d K", text)
    assert re.search(r"2 shards, all stored", text)


@pytest.mark.parametrize(("name", "stored"), [("v2", CHUNKS), ("v3", SHARDS)])
def test_the_counts_are_those_of_the_stored_objects(ran: tuple[str, list[Path]], name: str, stored: tuple[int]) -> None:
    """The mean over time reads every chunk or shard of both fields: that many objects are reported."""
    objects = 2 * int(np.prod([-(-n // size) for n, size in zip(SHAPE, stored, strict=True)]))
    assert f"Zarr {name}, computing read {objects} data objects" in ran[0]


def test_every_read_is_counted() -> None:
    """The counting store notes each answer with its bytes, whatever way it was asked."""
    store = MemoryStore()
    write_dataset_store = xz.create_array(store, data=np.arange(64), chunks=(4,), shards=(32,), compressors=None)
    assert write_dataset_store.nchunks_stored() == 2
    array = xz.open_array(CountingStore(store))
    take_reads()
    assert array[:4].tolist() == [0, 1, 2, 3]
    index = 8 * 16 + 4
    assert sorted(read.nbytes for read in take_reads() if read.nbytes is not None) == [4 * 8, index]
    assert take_reads() == []


def test_the_counting_store_only_reads() -> None:
    """Every way of writing through it is refused."""
    store = CountingStore(MemoryStore({"a": b"1"}))
    for write in (
        lambda: store.set("b", b""),
        lambda: store.set_if_absent("b", b""),
        lambda: store.delete("a"),
        lambda: store.delete_prefix(""),
    ):
        with pytest.raises(xz.ReadOnlyError):
            write()
    assert list(store.walk("")) == [("a", 1)] and store.list_dir("") == ["a"] and store.size("a") == 1


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_dataset_is_the_same_in_both_formats(tmp_path: Path, zarr_format: int) -> None:
    """The stores differ in format and chunks only; coordinates and attributes follow the CF conventions."""
    place = str(tmp_path / "x.zarr")
    write_dataset(place, zarr_format)
    group = xz.open_group(place)
    assert sorted(group) == ["lat", "lon", "pr", "t2m", "time"]
    assert all(array.zarr_format == zarr_format for _, array in group.arrays())
    assert group["t2m"].dimension_names == ("time", "lat", "lon")
    assert group["t2m"].attrs["units"] == "K" and group["time"].attrs["units"] == "days since 2024-01-01"
    assert np.isfinite(group["t2m"][...]).all() and (group["pr"][...] >= 0).all()
