"""Stores that are broken in one way each, with what the doctor must find first.

A case makes its store in a folder; the tests run the doctor on it, apply its fix where it has one, and read the data.
"""
# ruff: noqa: E501 (a table: one store, one line)

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import xzarr_backend as xz

DATA = (np.arange(48, dtype="i4").reshape(6, 8) * 7) % 101


class Broken(NamedTuple):
    """``make(folder)`` leaves a broken store; ``first`` is the id of the most important finding; ``case`` one of five.

    ``fixed``: the doctor's fix makes the array ``path`` read as ``values`` (None: as DATA). ``quirks``: given to it.
    """

    name: str
    case: int
    first: str
    make: Callable[[Path], None]
    fixed: bool = False
    path: str = "a"
    values: Any = None
    quirks: str | None = None


def v2(folder: Path, **options: Any) -> None:
    """Make a v2 group with the array ``a``."""
    keywords = {"data": DATA, "chunks": (3, 4), "compressors": {"id": "zlib", "level": 1}, **options}
    xz.create_group(folder, zarr_format=2)
    xz.create_array(folder, "a", zarr_format=2, **keywords)


def v3(folder: Path, **options: Any) -> None:
    """Make a v3 group with the array ``a``."""
    keywords = {"data": DATA, "chunks": (3, 4), **options}
    xz.create_group(folder)
    xz.create_array(folder, "a", **keywords)


def edit(path: Path, change: Callable[[dict[str, Any]], Any] | None = None, **members: Any) -> None:
    """Change a document: by a function that returns nothing, or by setting members."""
    document = json.loads(path.read_text())
    if change is not None:
        change(document)
    document.update(members)
    path.write_text(json.dumps(document))


def cut(path: Path, nbytes: int | None = None) -> None:
    """Cut a file off in its middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if nbytes is None else nbytes])


def _made(make: Callable[..., None], then: Callable[[Path], Any], **options: Any) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        make(folder, **options)
        then(folder)

    return run


def _edited(make: Callable[..., None], name: str, change: Any = None, *, made: Any = None, **members: Any) -> Any:
    return _made(make, lambda folder: edit(folder / "a" / name, change, **members), **(made or {}))


def _consolidated_then_cut(folder: Path) -> None:
    v3(folder)
    xz.consolidate_metadata(folder)
    cut(folder / "a" / "zarr.json")


def _consolidated_then_edited(folder: Path) -> None:
    v3(folder)
    xz.consolidate_metadata(folder)
    edit(folder / "a" / "zarr.json", attributes={"units": "m"})


def _attributes_cut(folder: Path) -> None:
    v2(folder, attributes={"units": "kelvin"})
    xz.consolidate_metadata(folder)
    cut(folder / "a" / ".zattrs")


def _nested_keys(folder: Path) -> None:
    v2(folder)
    for chunk in [p for p in (folder / "a").iterdir() if p.name[0].isdigit()]:
        first, second = chunk.name.split(".")
        (folder / "a" / first).mkdir(exist_ok=True)
        shutil.move(chunk, folder / "a" / first / second)


def _keys_without_c(folder: Path) -> None:
    v3(folder)
    for row in (folder / "a" / "c").iterdir():
        shutil.move(row, folder / "a" / row.name)
    (folder / "a" / "c").rmdir()


def _dotted_keys(folder: Path) -> None:
    v3(folder)
    for chunk in [p for p in (folder / "a" / "c").rglob("*") if p.is_file()]:
        shutil.move(chunk, folder / "a" / f"c.{chunk.parent.name}.{chunk.name}")
    shutil.rmtree(folder / "a" / "c")


def _zlib_as_gzip(folder: Path) -> None:
    v2(folder)
    edit(folder / "a" / ".zarray", compressor={"id": "gzip", "level": 1})


def _v3_zlib_as_gzip(folder: Path) -> None:
    v3(folder, compressors=[{"name": "gzip", "configuration": {"level": 1}}])
    for chunk in [p for p in (folder / "a" / "c").rglob("*") if p.is_file()]:
        chunk.write_bytes(zlib.compress(zlib.decompress(chunk.read_bytes(), 31)))


def _locks(folder: Path) -> None:
    v2(folder)
    for name in ("0.0", "0.1", "1.0", "1.1"):
        (folder / "a" / f"{name}.lock.read").touch()


def _foreign(folder: Path) -> None:
    v3(folder)
    (folder / "a" / "c" / "README.txt").write_text("who put this here?")


def _archive(folder: Path) -> None:
    folder.mkdir()
    xz.create_array(folder / "array.zip", data=DATA, zarr_format=2).close()


def _implicit_group(folder: Path) -> None:
    v2(folder)
    (folder / ".zgroup").unlink()


def _deleted_chunk(folder: Path) -> None:
    v3(folder)
    (folder / "a" / "c" / "0" / "1").unlink()


def _null_fill(folder: Path) -> None:
    v2(folder)
    edit(folder / "a" / ".zarray", fill_value=None)
    (folder / "a" / "0.0").unlink()


def _swapped(folder: Path) -> None:
    v2(folder, data=DATA.astype("f8") + 273.15)
    edit(folder / "a" / ".zarray", dtype=">f8")


def _first_chunk(folder: Path, change: Callable[[bytes], bytes]) -> None:
    for chunk in [p for p in (folder / "a").rglob("*") if p.is_file() and p.name[0].isdigit()]:
        chunk.write_bytes(change(chunk.read_bytes()))


def _shrunk(folder: Path) -> None:
    v3(folder)
    edit(folder / "a" / "zarr.json", shape=[3, 8])


def _partly_filled() -> Any:
    values = DATA.copy()
    values[0:3, 0:4] = 0
    return values


def _exzarr(**members: Any) -> Callable[[Path], None]:
    """Make a store in the form of ExZarr: eight members, level 5, no attributes."""

    def run(folder: Path) -> None:
        folder.mkdir()
        (folder / ".zgroup").write_text('{"zarr_format":2}')
        array = folder / "a"
        array.mkdir()
        document = {
            "chunks": [6, 8],
            "compressor": {"id": "zlib", "level": 5},
            "dtype": "<i4",
            "fill_value": 0,
            "filters": None,
            "order": "C",
            "shape": [6, 8],
            "zarr_format": 2,
            **members,
        }
        (array / ".zarray").write_text(json.dumps(document))
        (array / "0.0").write_bytes(zlib.compress(DATA.astype(document["dtype"].replace("<u1", "u1")).tobytes()))

    return run


def _scaled(folder: Path) -> None:
    """Make a store in the form of ExZarr, with its fixedscaleoffset: round((x - offset) / scale)."""
    options = {"id": "fixedscaleoffset", "offset": 1, "scale": 0.5, "dtype": "<f8", "astype": "<i4"}
    _exzarr(filters=[options])(folder)
    edit(folder / "a" / ".zarray", dtype="<f8")


def _shape_changed(folder: Path) -> None:
    v3(folder)
    xz.consolidate_metadata(folder)
    edit(folder / "a" / "zarr.json", shape=[7, 8])


def _set(place: list[Any], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        inner: Any = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value

    return change


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.pop(name)


RAW = {"compressors": None}
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
MANY = np.zeros(4096, "u1")

CASES = (
    # 1: cannot be opened
    Broken("empty folder", 1, "no-node", lambda folder: folder.mkdir()),
    Broken("only other files", 1, "no-node", lambda folder: (folder.mkdir(), (folder / "x.csv").write_text("1"))[0]),
    Broken("cut-off v2 document", 1, "document-not-json", _made(v2, lambda f: cut(f / "a" / ".zarray"))),
    Broken("cut-off v3 document, known to its group", 1, "document-not-json", _consolidated_then_cut, True),
    Broken("empty document", 1, "document-not-json", _made(v3, lambda f: cut(f / "a" / "zarr.json", 0))),
    Broken("v2 document without chunks", 1, "document-wrong", _edited(v2, ".zarray", _without("chunks"))),
    Broken("v3 document without a data type", 1, "document-wrong", _edited(v3, "zarr.json", _without("data_type"))),
    Broken("chunks of another rank", 1, "document-wrong", _edited(v2, ".zarray", chunks=[3])),
    Broken("an order that is none", 1, "document-wrong", _edited(v2, ".zarray", order="N")),
    Broken("wrong number of the format", 1, "wrong-format-number", _edited(v2, ".zarray", zarr_format="2"), True),
    Broken("no kind of node", 1, "other-kind", _edited(v3, "zarr.json", _without("node_type")), True),
    Broken("array without a group", 1, "group-undeclared", _implicit_group, True),
    Broken("archive in a folder", 1, "archive-in-folder", _archive, path=""),
    Broken("no order", 1, "v2-missing-order", _edited(v2, ".zarray", _without("order")), True),
    Broken("old name of bytes", 1, "v3-endian", _edited(v3, "zarr.json", _set(["codecs", 0, "name"], "endian")), True),
    Broken("no serializer", 1, "v3-no-serializer", _edited(v3, "zarr.json", codecs=[], made=RAW), True),
    Broken("bytes without endian", 1, "v3-bytes-without-endian", _edited(v3, "zarr.json", codecs=[{"name": "bytes"}], made=RAW), True),
    Broken("bare NaN", 1, "v3-bare-numbers", _edited(v3, "zarr.json", fill_value=float("nan"), made={"data": DATA.astype("f8")}), True),
    Broken("null for what may be left out", 1, "v3-null-members", _edited(v3, "zarr.json", dimension_names=None), True),
    Broken("no filters", 1, "v2-missing-filters", _edited(v2, ".zarray", _without("filters")), True),
    Broken("old name of bz2, which is slow too", 1, "v2-bzip2", _edited(v2, ".zarray", compressor={"id": "bzip2", "level": 1}, made={"compressors": {"id": "bz2", "level": 1}}), True),
    Broken("attributes cut off", 1, "attributes-not-json", _attributes_cut, True),
    # 2: data type or codec
    Broken("unknown v2 data type", 2, "dtype-unsupported", _edited(v2, ".zarray", dtype="<z4")),
    Broken("unknown v3 data type", 2, "dtype-unsupported", _edited(v3, "zarr.json", data_type="decimal128")),
    Broken("unknown v2 codec", 2, "codec-unknown", _edited(v2, ".zarray", compressor={"id": "wonderzip"})),
    Broken("unknown v3 codec", 2, "codec-unknown", _edited(v3, "zarr.json", codecs=[BYTES, {"name": "wonderzip"}])),
    Broken("codec that executes code", 2, "codec-unsafe", _edited(v2, ".zarray", dtype="|O", filters=[{"id": "pickle"}])),
    Broken("unknown grid", 2, "extension-unknown", _edited(v3, "zarr.json", chunk_grid={"name": "hexagonal"})),
    # 3: values
    Broken("missing chunk", 3, "missing-chunks", _deleted_chunk),
    Broken("missing chunk and null", 3, "fill-value-null", _null_fill, True, values=_partly_filled()),
    Broken("swapped bytes", 3, "byte-order-suspect", _swapped),
    Broken("fill value as text", 3, "fill-value-spelling", _edited(v2, ".zarray", fill_value="0"), True),
    Broken("consolidated metadata out of date", 3, "stale-consolidated", _consolidated_then_edited, True),
    Broken("shape changed, not in the consolidated metadata", 3, "stale-consolidated", _shape_changed, True, values=np.vstack([DATA, 0 * DATA[:1]])),
    Broken("scale of ExZarr", 3, "exzarr-fixedscaleoffset", _scaled, True, values=DATA * 0.5 + 1, quirks="exzarr"),
    Broken("bitround of ExZarr", 3, "exzarr-bitround", _exzarr(dtype="<f4", filters=[{"id": "bitround", "keepbits": 9}]), quirks="exzarr"),
    Broken("order F of ExZarr", 3, "exzarr-order", _exzarr(order="F"), True, quirks="exzarr"),
    Broken("order F, perhaps of ExZarr", 3, "exzarr-order", _exzarr(order="F")),
    Broken("one-byte type of ExZarr", 1, "v2-byte-order-of-one-byte", _exzarr(dtype="<u1"), True),
    # 4: chunks
    Broken("v2 chunks in folders", 4, "chunk-keys-differ", _nested_keys, True),
    Broken("v3 chunks without c", 4, "chunk-keys-differ", _keys_without_c, True),
    Broken("v3 chunks with dots", 4, "chunk-keys-differ", _dotted_keys, True),
    Broken("zlib called gzip", 4, "codec-mislabelled", _zlib_as_gzip, True),
    Broken("zlib called gzip in v3", 4, "codec-mislabelled", _v3_zlib_as_gzip, True),
    Broken("empty chunk", 4, "empty-objects", _made(v3, lambda f: cut(f / "a" / "c" / "0" / "0", 0))),
    Broken("raw chunk cut off", 4, "chunks-of-wrong-size", _made(v3, lambda f: cut(f / "a" / "c" / "0" / "0"), **RAW)),
    Broken("chunks of noise", 4, "chunk-undecodable", _made(v2, lambda f: _first_chunk(f, lambda data: b"noise" * 9))),
    Broken("lock files", 4, "lock-files", _locks),
    Broken("foreign file", 4, "foreign-objects", _foreign),
    Broken("chunks outside of the grid", 4, "chunks-outside-grid", _shrunk),
    # 5: speed
    Broken("many small chunks", 5, "small-chunks", lambda f: v3(f, data=MANY, chunks=(2,), write_empty_chunks=True)),
    Broken("huge chunks", 5, "large-chunks", lambda f: v3(f, data=None, shape=(2**28,), dtype="f8", chunks=(2**28,))),
    Broken("many objects", 5, "many-objects", lambda f: v3(f, data=None, shape=(2**34,), dtype="f8", chunks=(2**16,))),
    Broken("slow codec", 5, "slow-compression", lambda f: v2(f, compressors={"id": "lzma", "format": 1, "check": -1, "preset": None, "filters": None})),
    Broken("high level", 5, "slow-compression", lambda f: v3(f, compressors=[{"name": "zstd", "configuration": {"level": 19, "checksum": False}}])),
    Broken("tiny inner chunks", 5, "small-inner-chunks", lambda f: v3(f, data=None, shape=(2**20,), dtype="u1", chunks=(4,), shards=(2**20,))),
)  # fmt: skip
