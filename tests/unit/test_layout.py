"""What is compiled once serves all arrays of a kind, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from xzarr_backend import layout as layouts
from xzarr_backend.codecs.base import BYTES_BYTES, BytesSpec, Codec
from xzarr_backend.dtypes import as_dtype
from xzarr_backend.errors import UnsupportedError
from xzarr_backend.formats import alike, v2, v3
from xzarr_backend.formats.alike import Alike
from xzarr_backend.stores import MemoryStore

ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
SHARDED = {"chunks": (2,), "shards": (4,)}


@pytest.fixture(autouse=True)
def _nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_compiled", Alike())
    # of what other tests have parsed one table may hold codecs that another one, emptied since, made anew
    for module, name in [(v2, "_kinds"), (v2, "_forms"), (v3, "_same"), (v3, "_kinds"), (v3, "_forms")]:
        monkeypatch.setattr(module, name, Alike())


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return the codec chains that are compiled from here on."""
    chains: list[Any] = []
    build = layouts.compile_pipeline

    def count(codecs: Any, *more: Any) -> Any:
        chains.append(codecs)
        return build(codecs, *more)

    monkeypatch.setattr(layouts, "compile_pipeline", count)
    yield chains


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_of_one_kind_are_compiled_once(zarr_format: int, tmp_path: Path, compiled: list[Any]) -> None:
    """Other places, shapes and attributes: the same functions, and each its own keys and values."""
    for number in range(3):
        data = np.arange(5 + number) + 10 * number
        xz.create_array(
            tmp_path / f"{number}",
            "v",
            data=data,
            chunks=(2,),
            zarr_format=zarr_format,
            attributes={"units": str(number)},
        )
    xz.open_array(tmp_path / "0", "v")
    compiled.clear()
    arrays = [xz.open_array(tmp_path / f"{number}", "v") for number in range(3)]
    assert not compiled
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(array[:], np.arange(5 + number) + 10 * number)
        assert array.attrs["units"] == str(number)
    assert not compiled


def test_shards_are_compiled_once(tmp_path: Path, compiled: list[Any]) -> None:
    """So are the chains within shards."""
    for number in range(2):
        xz.create_array(tmp_path / f"{number}", data=np.arange(8) + number, compressors=ZSTD, **SHARDED)
    xz.open_array(tmp_path / "0")
    compiled.clear()
    assert [int(xz.open_array(tmp_path / f"{number}")[3]) for number in range(2)] == [3, 4]
    assert not compiled


@pytest.mark.parametrize(
    "other",
    [
        {"chunks": (3,)},
        {"dtype": "f4"},
        {"serializer": {"name": "bytes", "configuration": {"endian": "big"}}},
        {"fill_value": 1.0},
        {"fill_value": -0.0},
        {"fill_value": math.nan},
        {"compressors": None},
        SHARDED,
    ],
    ids=str,
)
def test_another_kind_is_compiled_by_itself(other: dict[str, Any], compiled: list[Any]) -> None:
    """One difference that matters is enough; what was compiled before does not shine through."""
    usual: dict[str, Any] = {"shape": (6,), "dtype": "f8", "chunks": (2,), "fill_value": 0.0, "compressors": ZSTD}
    stores = [MemoryStore(), MemoryStore()]
    for store, keywords in zip(stores, (usual, {**usual, **other}), strict=True):
        xz.create_array(store, **keywords)[1] = 7
    compiled.clear()
    first, second = (xz.open_array(store) for store in stores)
    assert first.layout.pipeline is not second.layout.pipeline
    for array, fill in ((first, 0.0), (second, other.get("fill_value", 0.0))):
        assert array[:].tolist()[1] == 7.0
        assert (str(array[5]), math.copysign(1, array[5])) == (str(fill), math.copysign(1, fill))


def test_the_same_codecs_with_another_fill_value_or_type() -> None:
    """A spec that was made of another one has its codecs, and still its own fill value and type."""
    spec = xz.create_array(MemoryStore(), shape=(4,), dtype="i4", chunks=(2,), fill_value=1).spec
    first = layouts.compile_layout(spec, "")
    assert layouts.compile_layout(spec._replace(fill_value=np.int32(2)), "").fill == 2
    assert layouts.compile_layout(spec._replace(fill_value=None), "").fill == 0
    assert layouts.compile_layout(spec._replace(dtype=as_dtype("uint32")), "").dtype == "u4"
    assert (first.fill, first.dtype) == (1, "i4")


def test_edged_chunks_are_compiled_by_each_array(compiled: list[Any]) -> None:
    """They have chunks of many shapes, which nobody but their array needs."""
    store = MemoryStore()
    xz.create_array(store, data=np.arange(6), chunks=((1, 3, 2),))
    for _ in range(2):
        compiled.clear()
        np.testing.assert_array_equal(xz.open_array(store)[:], np.arange(6))
        assert compiled
    assert not [layout for layout in layouts._compiled._made.values() if not layout.regular]


def test_a_codec_that_is_registered_anew_means_what_it_means_now() -> None:
    """Only codecs of the table are taken to mean the same for as long as the process lives."""

    def shifting(by: int) -> Any:
        def build(_configuration: Any, spec: Any) -> Codec:
            def shift(raw: Any, by: int) -> bytes:
                return ((np.frombuffer(raw, "u1").astype(int) + by) % 256).astype("u1").tobytes()

            return Codec(lambda raw: shift(raw, by), lambda raw: shift(raw, -by), BytesSpec(spec.nbytes, 1))

        return build

    name = "shift-of-test-layout"
    for more in ({"chunks": (4,)}, SHARDED):
        store = MemoryStore()
        xz.register_codec(name, shifting(1), kind=BYTES_BYTES)
        xz.create_array(store, data=np.arange(8, dtype="u1"), compressors={"name": name}, **more)
        np.testing.assert_array_equal(xz.open_array(store)[:], np.arange(8))
        xz.register_codec(name, shifting(2), kind=BYTES_BYTES)
        np.testing.assert_array_equal(xz.open_array(store)[:], np.arange(8, dtype="u1") - 1)


def test_what_one_caller_allows_is_not_allowed_to_all() -> None:
    """A codec that executes code is refused although another caller of this process allowed it."""
    store = MemoryStore()
    document = (
        b'{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": null, "order": "C", '
        b'"compressor": null, "filters": [{"id": "pickle"}]}'
    )
    store.set(".zarray", document)
    for allowed in ({"pickle"}, ["pickle"], "pickle"):
        assert xz.open_array(store, allow_codecs=allowed).layout.pipeline
    with pytest.raises(UnsupportedError, match="executes code"):
        xz.open_array(store)


def test_few_layouts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opens thousands of kinds keeps a few."""
    monkeypatch.setattr(alike, "KEPT", 4)
    for number in range(11):
        store = MemoryStore()
        xz.create_array(store, data=np.arange(3), chunks=(2,), fill_value=number)
        np.testing.assert_array_equal(xz.open_array(store)[:], np.arange(3))
        assert len(layouts._compiled._made) <= 4


def test_an_array_that_grows_keeps_its_own_chunks() -> None:
    """The layout of a grown array is that of its own place and shape."""
    counting = CountingStore(MemoryStore())
    array = xz.create_array(counting, "a/b", data=np.arange(4), chunks=(2,), compressors=ZSTD)
    other = xz.create_array(counting, "a/c", data=np.arange(4) * 2, chunks=(2,), compressors=ZSTD)
    array.append(np.arange(4, 7))
    other.resize((6,))
    np.testing.assert_array_equal(array[:], np.arange(7))
    np.testing.assert_array_equal(other[:], [0, 2, 4, 6, 0, 0])
    assert array.layout.grid.counts == (4,) and other.layout.grid.counts == (3,)
