"""The collector of cycles is paused while a dataset is opened from a fast store, and is then as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend.collecting import paused
from xzarr_backend.stores import MemoryStore


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the collector as it was found."""
    enabled, thresholds = gc.isenabled(), gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    (gc.enable if enabled else gc.disable)()


def test_it_is_enabled_again() -> None:
    """After the end, after an error, and after a pause within a pause."""
    gc.enable()
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), paused():
        raise KeyError
    assert gc.isenabled()


def test_who_does_without_still_does_without() -> None:
    """A collector that the user has disabled stays disabled."""
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()


def collections_of(*arguments: Any, **keywords: Any) -> int:
    """Return how often the collector runs while a dataset is opened."""
    xr = pytest.importorskip("xarray")
    ran: list[str] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        ran.append(phase)

    xr.open_dataset(*arguments, engine="xzarr", **keywords)  # imports what it needs
    gc.set_threshold(200, 10, 10)
    gc.callbacks.append(watch)
    try:
        dataset = xr.open_dataset(*arguments, engine="xzarr", **keywords)
    finally:
        gc.callbacks.remove(watch)
    assert len(dataset.data_vars) == 100
    return ran.count("start")


def test_opening_collects_nothing(tmp_path: Path) -> None:
    """Opening a dataset of many variables does not set off the collector; on a store that may be slow it may run."""
    remote = CountingStore(MemoryStore())
    remote.concurrent = True
    for store in (tmp_path, remote):
        group = xz.create_group(store)
        for number in range(100):
            group.create_array(f"v{number}", data=[number], dimension_names=["x"])
        xz.consolidate_metadata(store)
    gc.enable()
    local = collections_of(tmp_path)
    assert gc.isenabled()
    assert local <= 4, "what xarray does when the engine has finished"
    assert collections_of(remote) > 2 * local


def test_the_collector_runs_again_after_an_error(tmp_path: Path) -> None:
    """A store that cannot be opened leaves the collector enabled."""
    xr = pytest.importorskip("xarray")
    gc.enable()
    with pytest.raises(xz.NodeNotFoundError):
        xr.open_dataset(tmp_path / "nothing", engine="xzarr")
    assert gc.isenabled()
