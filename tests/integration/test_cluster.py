"""A dask cluster of two processes computes what NumPy computes."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz

distributed = pytest.importorskip("distributed", reason="the cluster needs the package 'distributed'")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a cluster of two worker processes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, memory_limit=0
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.run(sys.path.extend, [path for path in sys.path if path])
            yield client


VALUES = np.random.default_rng(4).normal(size=(60, 40, 50)).astype("f4")
KINDS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (20, 20, 25), "compressors": {"id": "zlib", "level": 1}},
    "v3": {"chunks": (20, 20, 25), "attributes": {"units": "K"}, "dimension_names": ["t", "y", "x"]},
    "sharded": {"chunks": (10, 10, 25), "shards": (20, 20, 50)},
}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A group that holds the values as ``a/b``."""
    xz.create_group(tmp_path / "s", zarr_format=KINDS[request.param].get("zarr_format", 3))
    xz.create_array(tmp_path / "s", "a/b", data=VALUES, **KINDS[request.param])
    return tmp_path / "s"


def on_workers(client: Any, lazy: Any) -> Any:
    """Compute on the cluster, whatever else is the default scheduler."""
    return client.compute(lazy).result(timeout=60)


def test_computing(place: Path, client: Any) -> None:
    """Sums, means, selections and the whole array are those of NumPy."""
    lazy = xz.from_zarr(place, "a/b")
    assert lazy.shape == VALUES.shape
    np.testing.assert_array_equal(on_workers(client, lazy), VALUES)
    np.testing.assert_allclose(on_workers(client, lazy.mean(axis=0)), VALUES.mean(axis=0), atol=1e-6)
    assert on_workers(client, lazy.max()) == VALUES.max()
    np.testing.assert_array_equal(on_workers(client, lazy[5:55:7, ::-1, [3, 1]]), VALUES[5:55:7, ::-1, [3, 1]])


@pytest.mark.parametrize("family", ["zarr2", "zarr3", "field"])
def test_fixtures(family: str, client: Any, shared: Path) -> None:
    """What others wrote is computed by the workers as it is read here."""
    cases = json.loads((shared / "fixtures" / "manifest.json").read_text("utf-8"))["arrays"]
    done = 0
    for case in cases:
        if case["family"] != family or case["expect"] != "value" or case["region"] or case["quirks"] or done == 8:
            continue
        array = xz.open_array(shared / "fixtures" / case["store"], case["path"], zarr_format=case["zarr_format"])
        if array.dtype.kind not in "iuf" or array.nchunks < 2 or array.size > 10**6:
            continue
        found = on_workers(client, xz.from_zarr(array))
        np.testing.assert_array_equal(found, array[...])
        done += 1
    assert done == 8


def test_arrays_travel(place: Path, client: Any) -> None:
    """An array that is sent to a worker reads there; so does a group."""
    array = xz.open_array(place, "a/b")
    group = xz.open_group(place)
    assert client.submit(lambda a: float(a[0, 0, 0]), array).result(timeout=60) == VALUES[0, 0, 0]
    assert client.submit(lambda g: float(g["a/b"][59, 39, 49]), group).result(timeout=60) == VALUES[59, 39, 49]
    assert client.submit(lambda a: a == a, array).result(timeout=60)


def test_errors_come_home(place: Path, client: Any) -> None:
    """What goes wrong on a worker arrives as our error, with its text."""
    array = xz.open_array(place, "a/b")
    chunk = next(path for path in sorted((place / "a" / "b").rglob("*")) if path.is_file() and path.name[0] not in ".z")
    chunk.write_bytes(b"damaged")
    with pytest.raises(xz.ChunkError, match="chunk") as caught:
        client.submit(lambda a: a[...], array).result(timeout=60)
    assert str(place) in str(caught.value)


def test_names_are_the_same_everywhere(place: Path, client: Any) -> None:
    """A token is that of the place and its metadata, in every process."""
    from dask.base import tokenize

    array = xz.open_array(place, "a/b")
    assert client.submit(tokenize, array).result(timeout=60) == tokenize(array)
    assert xz.from_zarr(place, "a/b").name == xz.from_zarr(place, "a/b").name


def test_tasks_of_a_failed_write_do_not_overwrite_the_next(tmp_path: Path, client: Any) -> None:
    """A task that is still computed in another process when the error is raised stores nothing afterwards."""
    da = pytest.importorskip("dask.array")
    array = xz.create_array(tmp_path / "a", data=np.zeros(20), chunks=10)
    started, go = (str(tmp_path / name) for name in ("started", "go"))

    def block(values: Any, block_info: Any = None) -> Any:
        from pathlib import Path
        from time import sleep

        def waited_for(path: str) -> bool:
            for _ in range(2000):
                if Path(path).exists():
                    return True
                sleep(0.01)
            return False

        if block_info[0]["chunk-location"] == (0,):
            assert waited_for(started)
            raise ZeroDivisionError("a mistake")
        Path(started).touch()
        assert waited_for(go)
        return values

    lazy = da.full(20, 111.0, chunks=10).map_blocks(block, dtype="f8", meta=np.empty(0))
    with pytest.raises(ZeroDivisionError):
        xz.to_zarr(lazy, tmp_path / "a", mode="r+")
    array[...] = np.full(20, 222.0)
    Path(go).touch()
    client.run(_wait_for_tasks)
    np.testing.assert_array_equal(xz.open_array(tmp_path / "a")[...], np.full(20, 222.0))


async def _wait_for_tasks(dask_worker: Any) -> None:
    import asyncio

    while dask_worker.state.executing_count or dask_worker.state.long_running:
        await asyncio.sleep(0.01)
