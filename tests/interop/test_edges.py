"""Shapes, chunks and fill values at the edges, written by us and read by others, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import xzarr_backend as xz
from tests.interop.matrix import same
from tests.interop.peers import ZARR_WARNINGS, kvstore, open_tensorstore

zarr = pytest.importorskip("zarr")
tensorstore = pytest.importorskip("tensorstore")

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]


class Edge(NamedTuple):
    """An array: its shape, and what is said about its chunks."""

    name: str
    shape: tuple[int, ...]
    keywords: dict[str, Any]
    formats: tuple[int, ...] = (2, 3)


EDGES = [
    Edge("rank 0", (), {}),
    Edge("rank 0, empty chunk", (), {"write_empty_chunks": True}),
    Edge("empty", (0,), {"chunks": 3}),
    Edge("one empty dimension", (3, 0, 2), {"chunks": (2, 1, 2)}),
    Edge("one element", (1,), {"chunks": 1}),
    Edge("chunk larger than the shape", (3, 2), {"chunks": (10, 7)}),
    Edge("a rest in every dimension", (5, 7, 3), {"chunks": (2, 3, 2)}),
    Edge("one chunk per element", (3, 2), {"chunks": 1}),
    Edge("all of it", (3, 2), {"chunks": -1}),
    Edge("chosen", (3, 2), {}),
    Edge("order F of rank 3", (5, 7, 3), {"chunks": (2, 3, 2), "order": "F"}),
    Edge("order F of rank 1", (5,), {"chunks": 2, "order": "F"}),
    Edge("shards with a rest", (5, 7), {"chunks": (2, 2), "shards": (4, 6)}, (3,)),
    Edge("shards larger than the shape", (5, 7), {"chunks": (2, 3), "shards": (20, 30)}, (3,)),
    Edge("one chunk per shard", (5, 7), {"chunks": (2, 3), "shards": (2, 3)}, (3,)),
    Edge("shards of rank 0", (), {"chunks": (), "shards": ()}, (3,)),
    Edge("chosen shards", (50, 70), {"chunks": (7, 8), "shards": "auto"}, (3,)),
    Edge("shards, order F", (5, 7, 3), {"chunks": (2, 3, 1), "shards": (4, 3, 2), "order": "F"}, (3,)),
]
FILLS = (None, 0, -9)
CASES = [
    pytest.param(edge, zarr_format, fill, id=f"{edge.name}-v{zarr_format}-{fill}")
    for edge in EDGES
    for zarr_format in edge.formats
    for fill in FILLS
]


def values_of(edge: Edge, fill: Any) -> Any:
    """Return different values, with an empty part in the middle."""
    values = np.arange(1, 1 + int(np.prod(edge.shape)), dtype="i4").reshape(edge.shape)
    if edge.shape and edge.shape[0] > 3:
        values[2:4] = fill or 0
    return values


@pytest.mark.parametrize(("edge", "zarr_format", "fill"), CASES)
@pytest.mark.parametrize("keep", [False, True])
def test_others_read_the_edges(edge: Edge, zarr_format: int, fill: Any, keep: bool, folder: Path) -> None:
    """Every shape with and without chunks that are full of the fill value."""
    values = values_of(edge, fill)
    keywords = {"write_empty_chunks": keep, **edge.keywords}
    array = xz.create_array(folder / "a", data=values, fill_value=fill, zarr_format=zarr_format, **keywords)
    found = zarr.open_array(folder / "a", mode="r", zarr_format=zarr_format)
    assert same(found[...], values) == ""
    assert found.chunks == array.chunks and found.shards == array.shards
    assert found.fill_value == (array.fill_value if zarr_format == 3 else fill)
    assert same(open_tensorstore(folder / "a", zarr_format).read().result(), values) == ""


@pytest.mark.parametrize(("edge", "zarr_format", "fill"), CASES)
def test_fill_values_stand_for_arrays_that_are_not_written(
    edge: Edge, zarr_format: int, fill: Any, folder: Path
) -> None:
    """An array without any chunk reads as its fill value everywhere; so does one that was written full of it."""
    expected = np.full(edge.shape, fill or 0, "i4")
    for name, data in (("created", None), ("written", expected)):
        keywords = {**edge.keywords, "write_empty_chunks": False, "zarr_format": zarr_format, "fill_value": fill}
        array = xz.create_array(folder / name, shape=edge.shape, dtype="i4", **keywords)
        if data is not None:
            array[...] = data
        stored = array.nchunks_stored()
        assert stored == 0 or fill is None
        assert same(zarr.open_array(folder / name, mode="r")[...], expected) == ""
        assert same(open_tensorstore(folder / name, zarr_format).read().result(), expected) == ""


@pytest.mark.parametrize(("edge", "zarr_format", "fill"), [case for case in CASES if case.values[2] is not None])
@pytest.mark.parametrize("keep", [False, True])
def test_we_read_the_edges_of_zarr(edge: Edge, zarr_format: int, fill: Any, keep: bool, folder: Path) -> None:
    """The same shapes, written by zarr-python into the same chunks."""
    model = xz.create_array({}, shape=edge.shape, dtype="i4", zarr_format=zarr_format, **edge.keywords)
    values = values_of(edge, fill)
    transposed = edge.keywords.get("order") == "F"
    more: dict[str, Any] = {"order": "F"} if transposed and zarr_format == 2 else {}
    if transposed and zarr_format == 3:
        more = {"filters": [{"name": "transpose", "configuration": {"order": list(range(values.ndim))[::-1]}}]}
    if 0 in values.shape and values.ndim == 1 and zarr_format == 2:
        more["chunks"] = model.chunks
    if model.shards == ():
        pytest.skip("zarr-python cannot write shards without dimensions")
    theirs = zarr.create_array(
        store=folder / "a",
        shape=edge.shape,
        dtype="i4",
        fill_value=fill,
        zarr_format=zarr_format,
        config={"write_empty_chunks": keep},
        **{"chunks": model.chunks, "shards": model.shards, **more},
    )
    theirs[...] = values
    ours = xz.open_array(folder / "a")
    assert same(ours[...], values) == ""
    assert (ours.chunks, ours.shards, ours.fill_value) == (model.chunks, model.shards, fill)


@pytest.mark.parametrize(("edge", "zarr_format", "fill"), [case for case in CASES if case.values[2] is not None])
def test_we_read_the_edges_of_tensorstore(edge: Edge, zarr_format: int, fill: Any, folder: Path) -> None:
    """The same shapes, written by tensorstore into the same chunks."""
    keywords = {**edge.keywords, "write_empty_chunks": False, "zarr_format": zarr_format, "fill_value": fill}
    model = xz.create_array({}, shape=edge.shape, dtype="i4", **keywords)
    values = values_of(edge, fill)
    driver = "zarr3" if zarr_format == 3 else "zarr"
    spec = {"driver": driver, "kvstore": kvstore(folder / "a"), "metadata": dict(model.spec.document)}
    tensorstore.open(spec, create=True).result().write(values).result()
    ours = xz.open_array(folder / "a")
    assert same(ours[...], values) == ""
    assert (ours.chunks, ours.shards, ours.fill_value) == (model.chunks, model.shards, fill)


@pytest.mark.parametrize("dtype", [">i4", ">f8", ">c8", ">M8[s]", ">U3"])
def test_byte_order_is_no_matter_of_v3(dtype: str, folder: Path) -> None:
    """Values of the other byte order are stored as the same values, in the order that every reader has."""
    values = np.array([0, 1, 2]).astype(dtype)
    array = xz.create_array(folder / "a", data=values)
    assert array.dtype == values.dtype.newbyteorder("<") == xz.open_array(folder / "a").dtype
    assert array.serializer == {"name": "bytes", "configuration": {"endian": "little"}}
    assert same(zarr.open_array(folder / "a", mode="r")[...], values) == ""


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_null_of_bytes_is_read_by_all(zarr_format: int, folder: Path) -> None:
    """Bytes of variable length without a fill value of their own, some chunks missing."""
    values = np.array([b"a\0", b"", b"\xff", b"", b"", b""], object)
    xz.create_array(folder / "a", data=values, chunks=2, zarr_format=zarr_format)
    assert zarr.open_array(folder / "a", mode="r")[...].tolist() == values.tolist()
