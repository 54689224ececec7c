"""The doctor's forecast against the installed readers, for documents that are varied in one place each."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.interop.peers import ZARR_WARNINGS, open_tensorstore
from xzarr_backend.doctor_facts import load_facts
from xzarr_backend.doctor_readers import forecasts, installed_reader
from xzarr_backend.doctor_rules import MISREADS, READS, REFUSES
from xzarr_backend.stores import open_store

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

SHARE = 0.98
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
DATA = np.arange(48, dtype="<i4").reshape(6, 8) % 7 + 1
NAN, INF = float("nan"), float("inf")
FILLS: list[Any] = [0, -1, 300, 1.5, 2.0, 2**63, 1e40, NAN, INF, True, "NaN", "nan", "Infinity", "inf", "1", "abc", ""]
FILLS += [
    "AAAA",
    "AAAAAAAAAAA=",
    "0x0",
    "0x00000000",
    "0x7ff8000000000000",
    "NaT",
    [0, 0],
    ["NaN", 1],
    ["0", "0"],
    [1],
    {},
]


def codec(name: str, **configuration: Any) -> dict[str, Any]:
    """A codec of v3."""
    return {"name": name, "configuration": configuration}


def blosc(**changed: Any) -> dict[str, Any]:
    """The codec blosc of v3 with a member changed; ... leaves it out."""
    full = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4, "blocksize": 0, **changed}
    return codec("blosc", **{name: value for name, value in full.items() if value is not ...})


def shards(**changed: Any) -> dict[str, Any]:
    """The codec sharding_indexed with a member changed."""
    index = [BYTES, codec("crc32c")]
    return codec("sharding_indexed", **{"chunk_shape": [3, 2], "codecs": [BYTES], "index_codecs": index, **changed})


def variants_v2() -> Iterator[dict[str, Any]]:
    """Yield what is changed in a v2 document."""
    for dtype in ("<i4", "|u1", "<f8", "<f2", "|b1", "<c16", "<M8[s]", "|S4", "<U3", [["a", "<i4"], ["b", "<f8"]]):
        yield from ({"dtype": dtype, "fill_value": fill} for fill in FILLS)
    for dtype in ("|i4", "|u2", "|f8", "<u1", ">b1", "<S3", "i4", "<M8", "<f16", "bfloat16", "|V4", "<z4", None):
        yield {"dtype": dtype, "fill_value": None}
    for name, levels in {
        "gzip": (-1, 0, 9, 10),
        "bz2": (0, 1, 9, 10),
        "zstd": (-5, 22, 23),
        "zlib": (-1, 0, 10),
    }.items():
        yield from ({"compressor": {"id": name, "level": level}} for level in levels)
    lz4 = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    for odd in ({"shuffle": 3}, {"shuffle": -1}, {"clevel": 10}, {"blocksize": None}, {"cname": None}, {"typesize": 4}):
        yield {"compressor": {**lz4, **odd}}
    yield from ({"filters": filters} for filters in ([], [None], [{"id": "delta", "dtype": "<i4"}], ["delta"]))
    yield from ({"zarr_format": number} for number in (2.0, "2", 3))
    yield from ({"order": order} for order in ("F", "A", None))
    yield from ({"dimension_separator": separator} for separator in ("/", "-", None))
    yield {"shape": [1] * 34, "chunks": [1] * 34}
    yield {"shape": [0], "chunks": [0]}
    yield {"foo": 1}


def variants_v3() -> Iterator[dict[str, Any]]:
    """Yield what is changed in a v3 document."""
    for name in ("int32", "uint8", "int64", "float16", "float64", "bool", "complex128"):
        yield from ({"data_type": name, "fill_value": fill} for fill in FILLS)
    yield from ({"data_type": "r16", "fill_value": fill} for fill in ([0, 0], "AAA=", 0))
    yield from ({"data_type": kind} for kind in ({"name": "int32"}, {"name": "string"}, "int4", "decimal"))
    for chain in (
        [codec("bytes", endian=None)], [codec("bytes", endian="big")], [codec("bytes")], ["bytes"], [],
        [BYTES, codec("gzip", level=10)], [BYTES, codec("gzip", level=-1)],
        [BYTES, codec("zstd", level=23, checksum=False)],
        [BYTES, codec("crc32c", foo=1)], [codec("gzip", level=1), BYTES], [BYTES, codec("transpose", order=[1, 0])],
        [BYTES, codec("numcodecs.zlib", level=1, foo=1)], [BYTES, codec("numcodecs.delta", dtype="<i4")],
        [BYTES, {**codec("gzip", level=1), "must_understand": True}], [{**BYTES, "foo": 1}],
        [codec("transpose", order=[1, 0]), shards(chunk_shape=[2, 3])], [shards(index_codecs=[BYTES])],
        [shards(codecs=[])], [shards(codecs=[codec("bytes")])], [shards(), codec("gzip", level=1)],
    ):  # fmt: skip
        yield {"codecs": chain}
    for odd in (
        {"clevel": 10},
        {"typesize": 0},
        {"typesize": None},
        {"blocksize": None},
        {"blocksize": ...},
        {"shuffle": 1},
    ):
        yield {"codecs": [BYTES, blosc(**odd)]}
    for encoding in (
        codec("default", separator="/", foo=1), {"name": "default", "configuration": None}, {"name": "v2"}, "default",
        {"name": "default", "separator": "/"},
    ):  # fmt: skip
        yield {"chunk_key_encoding": encoding}
    yield {"chunk_grid": codec("regular", chunk_shape=[3, 4], foo=1)}
    yield from ({"zarr_format": number} for number in (3.0, "3"))
    yield from ({"node_type": kind} for kind in (None, "group", 1))
    yield from ({"storage_transformers": value} for value in (None, {}, [], [{"name": "x"}]))
    yield from ({"dimension_names": names} for names in (None, ["x", "x"], ["x"], [None, "x"]))
    yield from ({"foo": value} for value in (1, {"must_understand": False}, {"must_understand": True}))


def store_v2(folder: Path, changed: dict[str, Any]) -> None:
    """Write an array of v2 whose chunks fit the document where they can."""
    keywords = {"compressors": changed.get("compressor", "zlib"), "filters": changed.get("filters")}
    try:
        xz.create_array(folder, data=DATA, chunks=(3, 4), zarr_format=2, **keywords)
    except (xz.XzarrError, AttributeError, TypeError):
        xz.create_array(folder, data=DATA, chunks=(3, 4), zarr_format=2, compressors="zlib", overwrite=True)
    _put(folder / ".zarray", changed)
    if {"dtype", "shape", "dimension_separator"} & set(changed):
        for chunk in [path for path in folder.iterdir() if path.name[0].isdigit()]:
            chunk.unlink()


def store_v3(folder: Path, changed: dict[str, Any]) -> None:
    """Write an array of v3 that is as its document says, where this package can open it."""
    xz.create_array(folder, data=DATA, chunks=(3, 4), compressors=None)
    _put(folder / "zarr.json", changed)
    if not {"codecs", "data_type", "chunk_key_encoding"} & set(changed):
        return
    for chunk in [path for path in (folder / "c").rglob("*") if path.is_file()]:
        chunk.unlink()
    try:
        array = xz.open_array(folder, mode="r+")
        if array.dtype.kind in "iuf":
            array[...] = DATA
    except xz.XzarrError:
        return


def _put(path: Path, changed: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def result(read: Callable[[], Any]) -> Any:
    """Return what a reader reads, or None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(read())
    except Exception:
        return None


def read_zarr(folder: Path, zarr_format: int) -> Any:
    """Read with zarr-python."""
    import zarr

    return zarr.open_array(folder, mode="r", zarr_format=zarr_format)[...]


def read_tensorstore(folder: Path, zarr_format: int) -> Any:
    """Read with tensorstore."""
    return open_tensorstore(folder, zarr_format).read().result()


@pytest.mark.parametrize(("package", "read"), [("zarr", read_zarr), ("tensorstore", read_tensorstore)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_variants_are_foretold(zarr_format: int, package: str, read: Any, tmp_path: Path) -> None:
    """What the installed reader makes of an odd document is what the doctor foretells, for nearly all of them."""
    pytest.importorskip(package)
    name = installed_reader(package)
    wrong, count = [], 0
    for count, changed in enumerate(variants_v2() if zarr_format == 2 else variants_v3(), 1):
        folder = tmp_path / str(count)
        (store_v2 if zarr_format == 2 else store_v3)(folder, changed)
        facts = load_facts(open_store(str(folder)), zarr_format=zarr_format)
        foretold = next(one for one in forecasts(facts) if one.reader.id == name)
        meant = result(lambda at=folder: xz.open_array(at, zarr_format=zarr_format)[...])  # type: ignore[misc]
        found = result(lambda at=folder: read(at, zarr_format))  # type: ignore[misc]
        same = meant is None or (found is not None and found.shape == meant.shape and found.tolist() == meant.tolist())
        verdict = REFUSES if found is None else READS if same or _nan(found, meant) else MISREADS
        if foretold.verdict != verdict:
            wrong.append((changed, foretold.verdict, verdict, foretold.reasons[:1]))
    print(f"\n{name}, v{zarr_format}: {count - len(wrong)} of {count} foretold")
    assert len(wrong) <= (1 - SHARE) * count, wrong


def _nan(found: Any, meant: Any) -> bool:
    kinds = "fcMm"
    return bool(
        found.dtype.kind in kinds and meant.dtype.kind in kinds and np.array_equal(found, meant, equal_nan=True)
    )
