"""Bad input of every kind ends in one of our errors, which says what, where and what to do; never in wrong values."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import FailingStore
from tests.strategies import INDEX_CODECS, regular, v3_document
from xzarr_backend.memory import reuse_freed_memory
from xzarr_backend.stores import MemoryStore, Store, open_store

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4, 6],
    "chunks": [2, 3],
    "dtype": "<i4",
    "compressor": {"id": "zlib", "level": 1},
    "fill_value": 0,
    "order": "F",
    "filters": [{"id": "delta", "dtype": "<i4", "astype": "<i4"}],
    "dimension_separator": ".",
}
V3: dict[str, Any] = {
    **v3_document((4, 6), np.dtype("i4"), 0, regular((2, 3)), [BYTES, ZSTD]),
    "attributes": {"units": "m"},
    "dimension_names": ["y", "x"],
    "storage_transformers": [],
}


def sharded(inner: Any, codecs: Any, **more: Any) -> dict[str, Any]:
    """A sharding codec."""
    return {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": inner, "codecs": codecs, "index_codecs": INDEX_CODECS, **more},
    }


def with_codecs(*codecs: Any, **members: Any) -> dict[str, Any]:
    """The v3 document with other codecs, or other members."""
    return {**V3, "codecs": list(codecs) or V3["codecs"], **members}


def store_of(document: Any, **chunks: bytes) -> MemoryStore:
    """A store that holds a document (v2 where it says so) and chunks by key."""
    is_v2 = isinstance(document, dict) and document.get("zarr_format") == 2
    raw = document if isinstance(document, bytes) else json.dumps(document).encode("utf-8", "surrogatepass")
    return MemoryStore({".zarray" if is_v2 else "zarr.json": raw, **chunks})


def filled(document: Any, values: Any = 5) -> MemoryStore:
    """A store that holds an array with all its chunks."""
    store = store_of(document)
    xz.open_array(store, mode="r+")[...] = values
    return store


def complete(error: xz.XzarrError) -> str:
    """Check that an error says what is wrong and where; return its text."""
    assert error.what
    assert "memory of this process" in error.where or os.sep in error.where, f"{error!r} is at {error.where!r}"
    return str(error)


# --- what lies at the path -----------------------------------------------------------------------------------------


def test_nothing_at_the_path(tmp_path: Path) -> None:
    """A path where nothing is, or something else, says so and what is there."""
    with pytest.raises(xz.NodeNotFoundError, match="empty or does not exist") as caught:
        xz.open(tmp_path / "no")
    assert isinstance(caught.value, FileNotFoundError)
    assert str(tmp_path / "no") in complete(caught.value)
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(xz.NodeNotFoundError, match=r"readme\.txt"):
        xz.open(tmp_path)
    with pytest.raises(xz.XzarrError, match="neither a folder nor a zip"):
        xz.open(tmp_path / "readme.txt")


@pytest.mark.parametrize("place", ["memory", "folder", "consolidated"])
def test_a_misspelt_name_is_met_with_the_nearest_node(place: str, tmp_path: Path) -> None:
    """A member or a path that does not exist is met with the nearest one beside it, which is a node."""
    store = MemoryStore() if place == "memory" else tmp_path
    group = xz.create_group(store)
    for name in ("temperature", "deep/salt"):
        group.create_array(name, data=[1, 2])
    (tmp_path / "tempratur").mkdir()  # nearer, but no node
    if place == "consolidated":
        group.consolidate()
    opened = xz.open_group(store, consolidated=None if place == "consolidated" else False)
    for wrong, right in (("temprature", "temperature"), ("deep/salty", "deep/salt"), ("/dep", "deep")):
        with pytest.raises(xz.MemberNotFoundError, match=f"did you mean '{right}'") as caught:
            opened[wrong]
        complete(caught.value)
        with pytest.raises(xz.NodeNotFoundError, match=f"did you mean '{right}'"):
            xz.open(store, wrong)
        assert wrong not in opened
    for far in ("wind", "temperature/x", "deep/x/y"):
        with pytest.raises(xz.MemberNotFoundError, match="check the path"):
            opened[far]
    with pytest.raises(xz.NodeNotFoundError, match="open_array"):
        xz.open_group(store, "temperature")


def test_a_node_of_the_other_format_is_named() -> None:
    """Who asks for Zarr v2 where v3 lies is told so."""
    store = MemoryStore()
    xz.create_group(store)
    xz.create_array(store, "a", data=[1, 2])
    for path in ("", "a"):
        with pytest.raises(xz.NodeNotFoundError, match=r"zarr\.json, which is Zarr v3") as caught:
            xz.open(store, path, zarr_format=2)
        complete(caught.value)


def test_the_other_kind_of_node() -> None:
    """Opening an array as a group, or a group as an array, names the function that opens it."""
    store = MemoryStore()
    xz.create_group(store)
    xz.create_array(store, "a", data=[1, 2])
    with pytest.raises(xz.NodeNotFoundError, match="open_group") as caught:
        xz.open_array(store)
    complete(caught.value)
    with pytest.raises(xz.NodeNotFoundError, match="open_array"):
        xz.open_group(store, "a")
    with pytest.raises(KeyError, match="no member 'b'"):
        xz.open_group(store)["b"]
    with pytest.raises(xz.NodeNotFoundError):
        xz.open_group(store)["a/b"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"zarr_format": 3, "node_ty',
        b"[1, 2]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"a": "\xff"}',
        b"{'zarr_format': 3}",
        b"[" * 10**5,
        b"[" * 10**5 + b"]" * 10**5,
        b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
        b'{"zarr_format": 3, "node_type": "array", "shape": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"zarr_format": ' + b"9" * 10**5 + b"}",
        b'{"zarr_format": 3}{}',
        b"\x00" * 100,
    ],
    ids=lambda raw: f"{raw[:20]!r} {len(raw)}",
)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup", ".zmetadata", "zarr.json in a group"])
def test_documents_that_are_no_metadata(name: str, raw: bytes) -> None:
    """What is no JSON object, or no metadata, is a `MetadataError` with the document's name and place."""
    if name == "zarr.json in a group":
        store = MemoryStore({"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "a/zarr.json": raw})
        with pytest.raises(xz.MetadataError) as caught:
            xz.open(store, "a")
        with pytest.warns(xz.SkippedNodeWarning):
            assert list(xz.open_group(store).members()) == []
    else:
        with pytest.raises(xz.MetadataError) as caught:
            xz.open(MemoryStore({name: raw}))
    text = complete(caught.value)
    assert name.split(" ")[0] in text or "nested" in text
    assert len(text) < 1000


@pytest.mark.parametrize(
    ("document", "error", "named"),
    [
        ({**V2, "dtype": "<q9"}, xz.XzarrError, "q9"),
        ({**V2, "compressor": {"id": "superzip"}}, xz.UnsupportedError, "superzip"),
        ({**V2, "filters": [{"id": "superfilter"}]}, xz.UnsupportedError, "superfilter"),
        ({**V2, "order": "X"}, xz.MetadataError, "order"),
        ({**V2, "chunks": [2]}, xz.MetadataError, "chunks"),
        ({**V2, "dimension_separator": "-"}, xz.MetadataError, "separator"),
        ({**V2, "dtype": "|O", "filters": None, "compressor": None}, xz.UnsupportedError, "vlen-utf8"),
        ({**V2, "dtype": "|O", "filters": None}, xz.MetadataError, "object"),
        ({**V2, "filters": [{"id": "pickle"}], "dtype": "|O"}, xz.UnsupportedError, "pickle"),
        (with_codecs(data_type="int33"), xz.XzarrError, "int33"),
        (with_codecs(data_type={"name": "acme.float"}), xz.UnsupportedError, "acme.float"),
        (with_codecs(BYTES, {"name": "acme.zip"}), xz.UnsupportedError, "acme.zip"),
        (with_codecs(chunk_grid={"name": "hexagonal"}), xz.UnsupportedError, "hexagonal"),
        (with_codecs(chunk_grid=regular((2,))), xz.MetadataError, "chunk_shape"),
        (with_codecs(chunk_grid=regular((2, 0))), xz.MetadataError, "chunk_shape"),
        (with_codecs(chunk_key_encoding={"name": "hilbert"}), xz.UnsupportedError, "hilbert"),
        (with_codecs(storage_transformers=[{"name": "mirror"}]), xz.UnsupportedError, "mirror"),
        (with_codecs(tiling={"name": "x"}), xz.UnsupportedError, "tiling"),
        (with_codecs(tiling=3), xz.UnsupportedError, "tiling"),
        (with_codecs(BYTES, BYTES), xz.MetadataError, "array->bytes"),
        (with_codecs(BYTES, {"name": "transpose", "configuration": {"order": [1, 0]}}), xz.MetadataError, "transpose"),
        (with_codecs({"name": "transpose", "configuration": {"order": [1, 1]}}, BYTES), xz.MetadataError, "order"),
        (with_codecs(sharded([2, 2], [BYTES])), xz.MetadataError, "divide"),
        (with_codecs(sharded([2, 3], [BYTES], index_codecs=[BYTES, ZSTD])), xz.MetadataError, "index_codecs"),
        (with_codecs(sharded([2, 3], [BYTES], index_location="middle")), xz.MetadataError, "index_location"),
        (with_codecs(sharded([2, 3], [{"name": "acme.zip"}])), xz.UnsupportedError, "acme.zip"),
        (with_codecs(dimension_names=["x"]), xz.MetadataError, "dimension_names"),
        (with_codecs(fill_value="many"), xz.MetadataError, "fill_value"),
        (with_codecs(shape=[-1, 6]), xz.MetadataError, "shape"),
        (with_codecs(shape=[1] * 100, chunk_grid=regular([1] * 100)), xz.MetadataError, "100 dimensions"),
        (with_codecs(node_type="table"), xz.MetadataError, "table"),
        (with_codecs(zarr_format=4), xz.MetadataError, "zarr_format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_or_unknown_is_named(document: Any, error: type[xz.XzarrError], named: str) -> None:
    """An unknown extension and a wrong member are reported on opening, by name and place."""
    with pytest.raises(error) as caught:
        xz.open(store_of(document))
    assert named in complete(caught.value)


def test_all_problems_at_once() -> None:
    """A document is reported with everything that is wrong about it."""
    document = with_codecs(shape="x", data_type=None, dimension_names=3, codecs=7, fill_value=None)
    with pytest.raises(xz.MetadataError) as caught:
        xz.open(store_of(document))
    places = {place for place, _ in caught.value.problems}
    assert places >= {"shape", "data_type", "dimension_names", "codecs"}
    for place in places:
        assert f"- {place}" in str(caught.value)


def test_extensions_that_may_be_ignored() -> None:
    """What says that it need not be understood is kept and ignored."""
    array = xz.open_array(filled(with_codecs(tiling={"must_understand": False, "x": 1})))
    assert array[0, 0] == 5
    assert array.spec.document["tiling"] == {"must_understand": False, "x": 1}


# --- fuzz ----------------------------------------------------------------------------------------------------------

DOCUMENTS: list[dict[str, Any]] = [
    V2,
    {**V2, "dtype": [["a", "<i4"], ["b", "S3"]], "filters": None, "fill_value": "AAAAAAAAAA=="},
    {**V2, "dtype": "|O", "filters": [{"id": "vlen-utf8"}], "fill_value": ""},
    {**V2, "dtype": "<M8[ns]", "filters": None, "fill_value": "NaT", "compressor": {"id": "blosc", "cname": "lz4"}},
    {**V2, "dtype": "<U3", "filters": None, "fill_value": "", "compressor": {"id": "bz2", "level": 1}},
    V3,
    with_codecs({"name": "transpose", "configuration": {"order": [1, 0]}}, BYTES, {"name": "crc32c"}),
    with_codecs(sharded([1, 3], [BYTES, {"name": "gzip", "configuration": {"level": 1}}], index_location="start")),
    with_codecs(sharded([2, 3], [sharded([1, 1], [BYTES, ZSTD])])),
    with_codecs(
        BYTES,
        {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 1, "shuffle": "shuffle", "typesize": 4}},
        chunk_grid={
            "name": "rectilinear",
            "configuration": {"kind": "inline", "chunk_shapes": [[1, 3], [[2, 3]]]},
        },
    ),
    with_codecs({"name": "vlen-utf8"}, data_type="string", fill_value="x"),
    with_codecs(BYTES, data_type={"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}}),
    with_codecs({"name": "packbits"}, data_type="bool", fill_value=False),
    with_codecs(BYTES, data_type="complex64", fill_value=["NaN", 0.0]),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10)
    | st.sampled_from([2**31, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30)])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["int8", "<i4", ">f8", "|S0", "|V0", "|S99999999999", "<U3", "|O", "string", "bytes", "r16", "raw", "float64"]
    )
    | st.sampled_from(
        ["NaN", "Infinity", "0x7fc00000", "NaT", "zstd", "crc32c", "gzip", "transpose", "../x", "\0", "/"]
    )
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["name", "configuration", "id", "order", "chunk_shape", "codecs", "endian", "must_understand"]
            )
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def nodes_of(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every node of a JSON tree."""
    yield at
    children = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, child in children:
        yield from nodes_of(child, (*at, name))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a JSON tree with another node at ``path``; without the node where ``value`` is `DROPPED`."""
    if not path:
        return value
    changed = copy.copy(document)
    if len(path) == 1 and value is DROPPED:
        del changed[path[0]]
    else:
        changed[path[0]] = replaced(document[path[0]], path[1:], value)
    return changed


DROPPED = object()


@st.composite
def mutated(draw: st.DrawFn) -> tuple[int, Any]:
    """A valid document with some nodes replaced by anything, and which one it was."""
    number = draw(st.integers(0, len(DOCUMENTS) - 1))
    document = DOCUMENTS[number]
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in nodes_of(document) if path]
        if paths:
            document = replaced(document, draw(st.sampled_from(paths)), draw(anything | st.just(DROPPED)))
    return number, document


class TooLong(BaseException):
    """Raised by the alarm."""


@contextmanager
def limited(seconds: float, nbytes: int) -> Iterator[None]:
    """Fail what takes too long or too much memory."""

    def alarm(*_: object) -> None:
        raise TooLong

    reuse_freed_memory()  # which each thread does once
    before = signal.signal(signal.SIGALRM, alarm)
    tracemalloc.start()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        tracemalloc.stop()
        signal.signal(signal.SIGALRM, before)
    assert peak < nbytes


_objects: dict[int, dict[str, bytes]] = {}


def objects_of(number: int) -> dict[str, bytes]:
    """Return the chunks of a valid document."""
    if number not in _objects:
        document = DOCUMENTS[number]
        store = store_of(document)
        array = xz.open_array(store, mode="r+")
        array[...] = np.full(array.shape, np.zeros(1, array.dtype)[0] if array.dtype.kind not in "OTU" else "ab")
        chunk = next(iter(array.layout.grid.counts), 0) and array.layout.key((0,) * array.ndim)
        store.set(chunk, array.layout.pipeline_for(array.layout.grid.chunk_shape((0, 0))).encode(_ones(array)))
        _objects[number] = {key: bytes(value) for key, value in store.inner.items() if key[0] not in ".z"}
    return _objects[number]


def _ones(array: xz.Array) -> Any:
    shape = array.layout.grid.chunk_shape((0,) * array.ndim)
    return np.full(shape, "abc" if array.dtype.kind in "OTU" else np.ones(1, array.dtype)[0], array.dtype)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="hangs are found with an alarm")
@settings(max_examples=max(600, settings().max_examples * 20), suppress_health_check=list(HealthCheck))
@given(mutated())
@example((5, with_codecs(storage_transformers=10**18)))
@example((5, with_codecs(sharded([2, 3], [{"name": "bytes", "configuration": [[]]}]))))
@example((5, with_codecs(chunk_grid=None, chunk_key_encoding=None)))
@example((0, {**V2, "dtype": 0}))
@example((5, with_codecs(chunk_key_encoding={"name": ""})))
@example((9, with_codecs(chunk_grid={"name": "rectilinear", "configuration": {"chunk_shapes": [[10**30], [6]]}})))
def test_any_document(case: tuple[int, Any]) -> None:
    """A document with anything anywhere gives values or our error, in little time and memory."""
    number, document = case
    name = ".zarray" if number < 5 else "zarr.json"
    raw = json.dumps(document).encode("utf-8", "surrogatepass")
    store = MemoryStore({**objects_of(number), name: raw})
    with limited(10, 12 * 2**20), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about numbers that overflow
        try:
            array = xz.open_array(store)
            str(array), array.chunks, array.shards, array.nchunks, array.fill_value, array.order, array.attrs
            for index in {(0,) * array.ndim, tuple(n - 1 for n in array.shape)}:
                array[index]
        except xz.XzarrError as error:
            assert len(complete(error)) < 3000


FILTERS = {
    "an alias that NumPy warns of": {"id": "delta", "dtype": "a", "astype": "<i4"},
    "digits that no float has": {"id": "quantize", "digits": 2**63, "dtype": "<f8"},
    "objects as numbers": {"id": "quantize", "digits": 3, "dtype": "<f8"},
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_from_strangers(name: str) -> None:
    """Members of filters that make no sense are refused by our errors, without warnings."""
    dtype = "|O" if name == "objects as numbers" else "<f8"
    document = {**V2, "dtype": dtype, "fill_value": 0, "filters": [FILTERS[name]], "compressor": None}
    with pytest.raises(xz.XzarrError) as caught:
        xz.open_array(store_of(document, **{"0.0": bytes(48)}))[0, 0]
    complete(caught.value)


@settings(suppress_health_check=list(HealthCheck))
@given(mutated())
def test_any_member_of_a_group(case: tuple[int, Any]) -> None:
    """A group with a broken member, its own document or the consolidated one, lists the others."""
    number, document = case
    good = json.dumps(V3).encode()
    bad = json.dumps(document).encode("utf-8", "surrogatepass")
    name = "bad/.zarray" if number < 5 else "bad/zarr.json"
    root: dict[str, Any] = {"zarr_format": 3, "node_type": "group"}
    store = MemoryStore({"zarr.json": json.dumps(root).encode(), "good/zarr.json": good, name: bad})
    root["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": {"good": V3, "bad": document},
    }
    inline = MemoryStore({"zarr.json": json.dumps(root).encode("utf-8", "surrogatepass")})
    metadata = {".zgroup": {"zarr_format": 2}, "good/.zarray": V2, "bad/.zarray": document, "bad/.zattrs": document}
    old = MemoryStore({".zmetadata": json.dumps({"metadata": metadata}).encode("utf-8", "surrogatepass")})
    for opened in (store, inline, old):
        with limited(10, 12 * 2**20), warnings.catch_warnings():
            warnings.simplefilter("ignore", xz.SkippedNodeWarning)
            group = xz.open_group(opened)
            assert "good" in dict(group.members())
            try:
                group["bad"]
            except xz.XzarrError as error:
                complete(error)


# --- chunks --------------------------------------------------------------------------------------------------------


def first_chunk(store: Store, array: xz.Array) -> tuple[str, bytearray]:
    """Return key and bytes of the first stored object."""
    key = array.layout.key((0,) * array.ndim)
    return key, bytearray(store.get(key))


COMPRESSORS: dict[str, dict[str, Any]] = {
    "raw": with_codecs(BYTES),
    "zstd": with_codecs(BYTES, ZSTD),
    "gzip": with_codecs(BYTES, {"name": "gzip", "configuration": {"level": 1}}),
    "blosc": DOCUMENTS[9],
    "crc32c": with_codecs(BYTES, {"name": "crc32c"}),
    "zlib": V2,
    "lz4": {**V2, "compressor": {"id": "lz4"}, "filters": None},
    "bz2": {**V2, "compressor": {"id": "bz2"}, "filters": None},
    "lzma": {**V2, "compressor": {"id": "lzma"}, "filters": None},
    "v2 raw": {**V2, "compressor": None, "filters": None},
    "sharded": with_codecs(sharded([1, 3], [BYTES, ZSTD])),
    "sharded at start": with_codecs(sharded([1, 3], [BYTES], index_location="start")),
    "vlen": with_codecs({"name": "vlen-utf8"}, data_type="string", fill_value=""),
    "packbits": with_codecs({"name": "packbits"}, data_type="bool", fill_value=False),
}


def noise(array: xz.Array) -> Any:
    """Values that compress badly."""
    rng = np.random.default_rng(3)
    if array.dtype.kind in "OT":
        return np.array([f"text {n}" for n in range(array.size)], object).reshape(array.shape)
    return rng.integers(1, 2**30, array.shape).astype(array.dtype)


def damaged(name: str, damage: Any) -> tuple[xz.Array, Any]:
    """Return an array whose first object was damaged, and the values that it had."""
    store = store_of(COMPRESSORS[name])
    array = xz.open_array(store, mode="r+")
    values = noise(array)
    array[...] = values
    key, raw = first_chunk(store, array)
    store.set(key, bytes(damage(raw)))
    return xz.open_array(store), values


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, -1])
def test_truncated_chunks(name: str, share: float) -> None:
    """A chunk that is cut short is a `ChunkError` with array, chunk and key, whichever its codec."""
    array, values = damaged(name, lambda raw: raw[: int(len(raw) * share) if share >= 0 else -1])
    for key in (..., (0, 0), (slice(0, 2), slice(0, 2))):
        try:
            found = array[key]
        except xz.ChunkError as error:
            text = complete(error)
            assert "chunk (0, 0)" in text
            assert array.layout.key((0, 0)) in text
            continue
        # a part of a shard that lies before the cut may still be right, never wrong
        assert name.startswith("sharded")
        assert key != ...
        np.testing.assert_array_equal(found, values[key])


@pytest.mark.parametrize("name", sorted(set(COMPRESSORS) - {"sharded", "sharded at start"}))
@pytest.mark.parametrize("more", [b"\0", b"\0" * 100, b"more and more"])
def test_chunks_with_too_many_bytes(name: str, more: bytes) -> None:
    """Bytes behind a chunk are refused, or at least never taken for values."""
    array, values = damaged(name, lambda raw: raw + more)
    try:
        np.testing.assert_array_equal(array[...], values)
    except xz.ChunkError as error:
        complete(error)
    else:
        assert name not in ("raw", "v2 raw", "crc32c", "packbits"), "there the size is known"


@pytest.mark.parametrize("name", ["zstd", "gzip", "blosc", "zlib", "lz4", "bz2", "lzma", "raw"])
@pytest.mark.parametrize("shape", [(2, 2), (4, 6), (1, 1)])
def test_chunks_of_another_size(name: str, shape: tuple[int, int]) -> None:
    """A sound chunk that decodes to more or fewer bytes than its shape has is refused."""
    document = COMPRESSORS[name]
    other = copy.deepcopy(document)
    if document["zarr_format"] == 2:
        other["chunks"] = list(shape)
    else:
        other["chunk_grid"] = regular(shape)
    source = filled(other)
    key, raw = first_chunk(source, xz.open_array(source))
    store = store_of(document, **{key: bytes(raw)})
    with pytest.raises(xz.ChunkError) as caught:
        xz.open_array(store)[0, 0]
    assert "chunk (0, 0)" in complete(caught.value)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_noise_for_a_chunk(name: str) -> None:
    """Random bytes never crash, and are never values where there is anything to check."""
    rng = np.random.default_rng(7)
    for size in (1, 4, 7, 16, 24, 68, 300):
        array, _ = damaged(name, lambda raw, n=size: rng.bytes(n))
        with limited(10, 40 * 2**20):
            try:
                array[...]
                array[0, 0]
            except xz.ChunkError as error:
                complete(error)
            else:
                assert name in ("raw", "v2 raw", "packbits"), "there every byte is a value"


@pytest.mark.parametrize("name", COMPRESSORS)
def test_flipped_bits(name: str) -> None:
    """Any one bit of a chunk flipped gives values or a `ChunkError`, nothing else."""
    _, raw = first_chunk(array_store := filled_noise(name), xz.open_array(array_store))
    rng = np.random.default_rng(11)
    for bit in rng.choice(len(raw) * 8, min(len(raw) * 8, 60), replace=False):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        array_store.set(xz.open_array(array_store).layout.key((0, 0)), bytes(changed))
        with limited(10, 40 * 2**20):
            try:
                xz.open_array(array_store)[...]
            except xz.ChunkError as error:
                complete(error)
            else:
                assert name != "crc32c"


def filled_noise(name: str) -> MemoryStore:
    """A store with an array of noise."""
    store = store_of(COMPRESSORS[name])
    array = xz.open_array(store, mode="r+")
    array[...] = noise(array)
    return store


# --- shards --------------------------------------------------------------------------------------------------------

SHARD = with_codecs(sharded([1, 3], [BYTES], index_codecs=[BYTES]))  # without a checksum, so that entries can lie


def shard_with(change: Any, document: Any = SHARD) -> xz.Array:
    """An array whose first shard has another index: ``change`` gets its entries as an array (n, 2)."""
    store = store_of(document)
    array = xz.open_array(store, mode="r+")
    array[...] = np.arange(24).reshape(4, 6) + 1
    key, raw = first_chunk(store, array)
    entries = np.frombuffer(bytes(raw[-32:]), "<u8").reshape(2, 2).copy()
    change(entries)
    store.set(key, bytes(raw[:-32]) + entries.tobytes())
    return xz.open_array(store)


@pytest.mark.parametrize(
    ("at", "entry"),
    [
        ((0, 0), 10**6),
        ((0, 1), 10**6),
        ((1, 0), 2**63),
        ((0, 0), 2**64 - 2),
        ((0, 1), 2**64 - 2),
        ((0, 0), 2**64 - 1),
        ((0, 1), 2**64 - 1),
        ((0, 1), 0),
        ((0, 1), 11),
        ((0, 1), 13),
        ((0, 0), 56),
    ],
)
def test_index_entries_that_lie(at: tuple[int, int], entry: int) -> None:
    """An entry outside the shard, or of the wrong size, is a `ChunkError`, however the shard is read."""

    def change(entries: Any) -> None:
        entries[at] = entry

    for key in (..., (0, 0), (slice(0, 1), slice(0, 2)), (1, 0)):
        with limited(5, 2**20):
            array = shard_with(change)
            try:
                found = array[key]
            except xz.ChunkError as error:
                assert "chunk (0, 0)" in complete(error)
                continue
            # an inner chunk whose own entry is right may be read
            assert key == (1 - at[0], 0), f"{found} was read through a wrong entry"
            assert found == (1 if key == (0, 0) else 7)


@pytest.mark.parametrize("entry", [(2**63, 2**63), (2**63, 2**63 + 5), (2**64 - 2, 2), (1, 2**64 - 1)])
def test_index_entries_whose_sum_overflows(entry: tuple[int, int]) -> None:
    """Offset and length that add up to a small number lie outside, also where the size of the shard is not known."""
    array = shard_with(lambda entries: entries.__setitem__(0, entry))
    for key in (..., (0, 0)):
        with pytest.raises(xz.ChunkError, match="points at bytes"):
            array[key]
    assert array.layout.shards is not None
    encoded = np.array([entry, (0, 12)], "<u8").tobytes()
    with pytest.raises(xz.ChunkError, match="index entry 0 points at bytes"):
        array.layout.shards.sharding.parse_index(encoded)


def test_overlapping_entries_are_read_as_they_say() -> None:
    """Entries may share bytes: two equal inner chunks need only one copy."""
    array = shard_with(lambda entries: entries.__setitem__(1, entries[0]))
    np.testing.assert_array_equal(array[0:2, 0:3], [[1, 2, 3], [1, 2, 3]])
    assert array[1, 2] == 3


def test_wrong_index_checksum() -> None:
    """A damaged index is noticed by its checksum, on both routes."""
    for name in ("sharded", "sharded at start"):
        store = filled_noise(name)
        array = xz.open_array(store)
        key, raw = first_chunk(store, array)
        raw[-3 if name == "sharded" else 3] ^= 1
        store.set(key, bytes(raw))
        for selection in (..., (0, 0)):
            with pytest.raises(xz.ChunkError) as caught:
                array[selection]
            assert key in complete(caught.value)


def test_shards_within_shards_that_lie() -> None:
    """A nested shard whose index points out of it into its neighbour is refused."""
    inner = sharded([1, 1], [BYTES], index_codecs=[BYTES])
    document = with_codecs(sharded([1, 3], [inner], index_codecs=[BYTES]))
    store = store_of(document)
    xz.open_array(store, mode="r+")[...] = np.arange(24).reshape(4, 6) + 1
    key, raw = first_chunk(store, xz.open_array(store))
    # the index of the first nested shard stands behind its three elements
    entries = np.frombuffer(bytes(raw[12:60]), "<u8").reshape(3, 2).copy()
    entries[0, 0] = 60  # the first element of the second nested shard
    store.set(key, bytes(raw[:12]) + entries.tobytes() + bytes(raw[60:]))
    for selection in (..., (0, 0), (slice(0, 1), 0)):
        with pytest.raises(xz.ChunkError):
            xz.open_array(store)[selection]
    assert xz.open_array(store)[1, 0] == 7


# --- sizes ---------------------------------------------------------------------------------------------------------


def huge(chunk: int, **members: Any) -> dict[str, Any]:
    """A header that claims petabytes."""
    return with_codecs(BYTES, shape=[10**8, 10**8], chunk_grid=regular((chunk, chunk)), **members)


def test_headers_that_claim_petabytes() -> None:
    """Such an array opens; an element of a missing chunk is the fill value and costs nothing."""
    with limited(10, 2**20):
        array = xz.open_array(store_of(huge(10**7, fill_value=3)))
        assert array.nbytes == 4 * 10**16
        assert array[12345678, 87654321] == 3
        assert array.oindex[[0, 10**8 - 1], 5].tolist() == [3, 3]


@pytest.mark.parametrize(
    "codecs",
    [[BYTES], [BYTES, ZSTD], [BYTES, {"name": "gzip", "configuration": {"level": 1}}], [sharded([1, 1], [BYTES])]],
)
def test_tiny_objects_for_huge_chunks(codecs: Any) -> None:
    """A chunk over the limit is refused before its memory is allocated."""
    try:
        array = xz.open_array(store_of({**huge(10**5), "codecs": codecs}, **{"c/0/0": b"tiny"}))
    except xz.MetadataError as error:
        assert codecs[0]["name"] == "sharding_indexed"
        assert "index" in complete(error)
        return
    with limited(10, 2**20), pytest.raises(xz.ChunkError, match="max_chunk_bytes") as caught:
        array[0, 0]
    assert "chunk (0, 0)" in complete(caught.value)


def test_the_limit_is_an_option() -> None:
    """`max_chunk_bytes` bounds a chunk's decoded size."""
    store = filled(V3)
    assert xz.open_array(store, max_chunk_bytes=24)[0, 0] == 5
    with pytest.raises(xz.ChunkError, match="max_chunk_bytes"):
        xz.open_array(store, max_chunk_bytes=23)[0, 0]


def test_the_limit_holds_for_inner_chunks(tmp_path: Path) -> None:
    """Of a shard only the inner chunks need to fit: a large shard can be read in parts."""
    store = filled(with_codecs(sharded([1, 3], [BYTES])))
    assert xz.open_array(store, max_chunk_bytes=12)[0, 0] == 5
    with pytest.raises(xz.ChunkError, match="max_chunk_bytes"):
        xz.open_array(store, max_chunk_bytes=11)[0, 0]


@pytest.mark.parametrize("chunk", [10**5, 2])
def test_selections_larger_than_memory(chunk: int) -> None:
    """A selection that cannot be allocated is an error that says how much it would need, before anything is planned."""
    array = xz.open_array(store_of(huge(chunk, fill_value=1)))
    with limited(10, 2**63), pytest.raises(xz.SelectionError, match="bytes of memory"):  # what was asked for counts
        array[...]


def test_decompression_bombs() -> None:
    """A small object that decodes to gigabytes is stopped at the chunk's size."""
    import gzip
    import zlib

    import numcodecs

    zeros = bytes(64 * 2**20)
    for document, bomb in (
        (COMPRESSORS["gzip"], gzip.compress(zeros, 1)),
        (COMPRESSORS["zlib"], zlib.compress(zeros, 1)),
        (COMPRESSORS["zstd"], numcodecs.Zstd().encode(zeros)),
        (COMPRESSORS["lz4"], numcodecs.LZ4().encode(zeros)),
        (COMPRESSORS["bz2"], numcodecs.BZ2().encode(zeros)),
        (COMPRESSORS["lzma"], numcodecs.LZMA().encode(zeros)),
        (COMPRESSORS["blosc"], numcodecs.Blosc().encode(zeros)),
    ):
        key = "0.0" if document["zarr_format"] == 2 else "c/0/0"
        array = xz.open_array(store_of(document, **{key: bomb}))
        with limited(10, 16 * 2**20), pytest.raises(xz.ChunkError):  # lzma asks for 8 MiB, whatever it decodes
            array[0, 0]


# --- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["..", "../other", "a/../../b", "a/..", ".", "a//b", "a\0b", "./a"])
def test_paths_that_leave_the_store(path: str, tmp_path: Path) -> None:
    """Paths with ``..``, empty parts or NUL are refused, for opening, creating and as members."""
    xz.create_array(tmp_path / "other", data=[1])
    xz.create_group(tmp_path / "g")
    with pytest.raises(xz.XzarrError, match="not a key"):
        xz.open(tmp_path / "g", path)
    with pytest.raises(xz.XzarrError, match="not a key"):
        xz.open_group(tmp_path / "g")[path]
    with pytest.raises(xz.XzarrError, match="not a key"):
        xz.create_array(tmp_path / "g", path, data=[1])
    assert sorted(os.listdir(tmp_path)) == ["g", "other"]


def test_names_in_consolidated_metadata_cannot_leave(tmp_path: Path) -> None:
    """A member whose name in the consolidated metadata leads out of the store is not read there."""
    xz.create_array(tmp_path / "secret", data=[42])
    document = json.loads((tmp_path / "secret" / "zarr.json").read_text())
    for name in ("../secret", "/../secret", "a/../../secret"):
        root = {
            "zarr_format": 3,
            "node_type": "group",
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {name: document}},
        }
        (tmp_path / "g").mkdir(exist_ok=True)
        (tmp_path / "g" / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(xz.MetadataError, match="secret"):
            xz.open_group(tmp_path / "g")
        metadata = {".zgroup": {"zarr_format": 2}, f"{name}/zarr.json": document}
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old" / ".zmetadata").write_text(json.dumps({"metadata": metadata}))
        with pytest.raises(xz.MetadataError, match="secret"):
            xz.open_group(tmp_path / "old")


# --- stores that fail ----------------------------------------------------------------------------------------------

FAILURES = [
    PermissionError(13, "Permission denied"),
    TimeoutError("too slow"),
    ValueError("odd"),
    OSError(5, "I/O error"),
]


def failing(
    inner: Store, error: Exception, part: str, operations: tuple[str, ...] = ("get", "get_ranges")
) -> FailingStore:
    """A store that fails for keys that hold ``part``."""
    return FailingStore(inner, lambda operation, key: error if operation in operations and part in key else None)


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("name", ["zstd", "zlib", "sharded"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("too slow"), "TimeoutError: too slow"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionResetError("reset"), "ConnectionResetError: reset"),
        (OSError(5, "I/O error"), "I/O error"),
        (xz.UnsupportedError("the store says no", where="there"), "the store says no"),
    ],
    ids=repr,
)
def test_failures_to_fetch_are_no_damage(error: Exception, said: str, name: str, concurrent: bool) -> None:
    """What the connection did is said in its words, and nobody is told that the object may be damaged."""
    store = failing(filled_noise(name), error, "0.0" if COMPRESSORS[name]["zarr_format"] == 2 else "c/")
    store.concurrent = concurrent
    array = xz.open_array(store)
    for key in (..., (0, 0)):
        with pytest.raises(xz.ChunkError) as caught:
            array[key]
        what = caught.value.what
        assert what.endswith(f"could not be fetched: {said}") or what == said
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ["zstd", "zlib", "sharded", "sharded at start"])
def test_failing_chunks(error: Exception, name: str) -> None:
    """A chunk that cannot be fetched is a `ChunkError` that keeps its cause, and never fill values."""
    inner = filled_noise(name)
    part = "0.0" if COMPRESSORS[name]["zarr_format"] == 2 else "c/"
    array = xz.open_array(failing(inner, error, part))
    for key in (..., (0, 0)):
        with pytest.raises(xz.ChunkError) as caught:
            array[key]
        assert caught.value.__cause__ is error
        assert "chunk (0, 0)" in complete(caught.value)
    concurrent = failing(inner, error, part)
    concurrent.concurrent = True
    for key in (..., (0, 0)):
        with pytest.raises(xz.ChunkError) as caught:
            xz.open_array(concurrent)[key]
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", ["zarr.json", ".zarray", ".zattrs", ".zmetadata"])
def test_failing_metadata(error: Exception, part: str) -> None:
    """A document that cannot be fetched is not one that is not there; the error says which, and keeps its cause."""
    store = MemoryStore()
    xz.create_group(store, zarr_format=2)
    xz.create_array(store, "a", data=[1, 2], zarr_format=2, attributes={"x": 1})
    broken = failing(store, error, part)
    ways = [
        lambda: dict(xz.open_group(broken).members()),
        lambda: xz.open_dataset(broken),
        lambda: xz.open(broken, "a"),
        lambda: xz.create_group(broken, "a/b"),
        lambda: xz.to_zarr(xz.open_dataset(store, consolidated=False), broken, group="a", mode="a"),
    ]
    for way in ways[: 2 if part == ".zmetadata" else 3 if part == ".zattrs" else 5]:
        with pytest.raises(xz.ChunkError, match="the metadata could not be fetched") as caught:
            way()
        assert caught.value.__cause__ is error
        assert part in complete(caught.value)
        assert isinstance(caught.value, PermissionError) == isinstance(error, PermissionError)


def test_consolidated_metadata_say_nothing_that_could_not_be_fetched() -> None:
    """Documents of a member that cannot be asked for are not those that this process remembers."""
    store = MemoryStore()
    group = xz.create_group(store)
    xz.create_array(store, "a", data=[1, 2])
    group.consolidate()
    changes = 0

    def fail(operation: str, key: str) -> Exception | None:
        nonlocal changes
        changes += (operation, key) == ("set", "a/zarr.json")
        return TimeoutError("slow") if changes and (operation, key) == ("get", "a/zarr.json") else None

    before = bytes(store.get("zarr.json") or b"")
    with pytest.raises(xz.ChunkError, match="TimeoutError: slow"):
        xz.open_array(FailingStore(store, fail), "a", mode="r+").attrs["x"] = 1
    assert bytes(store.get("zarr.json") or b"") == before


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_failing_listings(error: Exception) -> None:
    """The same for the names in a group."""
    store = MemoryStore()
    xz.create_array(store, "a", data=[1, 2])
    broken = failing(store, error, "", ("list_dir",))
    with pytest.raises(xz.ChunkError, match="the metadata could not be fetched") as caught:
        list(xz.open_group(broken))
    assert caught.value.__cause__ is error


def test_stores_that_cannot_be_listed() -> None:
    """Without listing, nodes with documents open; what needs a listing says so."""
    refusal = xz.UnsupportedError("the store cannot be listed", hint="open members by their path")
    for zarr_format in (2, 3):
        inner = MemoryStore()
        xz.create_group(inner, zarr_format=zarr_format)
        xz.create_array(inner, "a", data=[1, 2], zarr_format=zarr_format)
        store = failing(inner, refusal, "", ("list_dir", "walk"))
        group = xz.open_group(store)
        assert group["a"][1] == 2
        with pytest.raises(xz.UnsupportedError, match="cannot be listed"):
            list(group)
        with pytest.raises(xz.NodeNotFoundError):
            xz.open(store, "b")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(tmp_path: Path) -> None:
    """A chunk file that may not be read is an error."""
    xz.create_array(tmp_path, data=[1, 2], chunks=(2,))
    (tmp_path / "c" / "0").chmod(0)
    with pytest.raises(xz.ChunkError, match="Permission denied"):
        xz.open_array(tmp_path)[...]


def test_missing_chunks_for_those_who_ask() -> None:
    """Chunks that are not stored are the fill value, with a warning or an error where that is wanted."""
    store = store_of(with_codecs(fill_value=9))
    array = xz.open_array(store, mode="r+")
    array[0:2, 0:3] = 1
    assert xz.open_array(store)[3, 5] == 9
    with pytest.warns(UserWarning, match="not stored") as caught:
        assert xz.open_array(store, missing="warn")[0, 5] == 9
    assert caught[0].filename == __file__
    with pytest.raises(xz.ChunkError, match=r"c/1/1"):
        xz.open_array(store, missing="raise")[3, 5]
    assert xz.open_array(store, missing="raise")[0, 0] == 1


# --- shards that change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["local", "memory", "mapping"])
@pytest.mark.parametrize("name", ["sharded", "sharded at start", "nested"])
def test_shards_replaced_between_reads(where: str, name: str, tmp_path: Path) -> None:
    """A kept index is not used for a shard that another writer replaced."""
    document = COMPRESSORS.get(name) or with_codecs(sharded([2, 3], [sharded([1, 1], [BYTES])]))
    document = {**document, "chunk_grid": regular((4, 6))}
    place: dict[str, Any] = {"memory": MemoryStore(), "mapping": {}, "local": tmp_path}
    store = place[where]
    with open_store(store, mode="a") as opened:
        opened.set("zarr.json", json.dumps(document).encode())
    writer, reader = xz.open_array(store, mode="r+"), xz.open_array(store)
    rng = np.random.default_rng(5)
    for turn in range(5):
        values = rng.integers(0, 2**30 if turn % 2 else 3, (4, 6))
        values[turn % 4] = 0
        writer[...] = values
        assert reader[0, 0] == values[0, 0]
        assert reader[3, 5] == values[3, 5]
        np.testing.assert_array_equal(reader[1, 1:3], values[1, 1:3])
    writer[...] = 0
    assert reader[2, 2] == 0, "the shard is gone"


# --- selections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        4,
        (0, 6),
        -5,
        (0, 0, 0),
        (..., ...),
        "name",
        1.5,
        slice(None, None, 0),
        slice("a"),
        [4],
        [1.5],
        np.zeros(3, bool),
        np.zeros((6, 4), bool),
        np.array([2**63], "u8"),
        2**70,
        True,
        {"a": 1},
        (None, "x"),
        [None],
        [[0], [0, 1]],
        object(),
    ],
    ids=repr,
)
def test_selections_that_do_not_fit(key: Any) -> None:
    """A key that NumPy would refuse, or that could be misread, is a `SelectionError`."""
    array = xz.open_array(filled(V3), mode="r+")
    with pytest.raises(xz.SelectionError) as caught:
        array[key]
    assert isinstance(caught.value, IndexError)
    with pytest.raises(xz.SelectionError):
        array[key] = 1
    with pytest.raises(xz.SelectionError):
        array.vindex[key]
    with pytest.raises(xz.SelectionError):
        array.oindex[key]
    with pytest.raises(xz.SelectionError):
        array.blocks[key]


def test_index_arrays_that_do_not_broadcast() -> None:
    """Index arrays of different lengths fit `oindex` only."""
    array = xz.open_array(filled(V3))
    for view in (array, array.vindex):
        with pytest.raises(xz.SelectionError, match="broadcast"):
            view[[0, 1], [0, 1, 2]]
    assert array.oindex[[0, 1], [0, 1, 2]].shape == (2, 3)


def test_values_that_do_not_fit() -> None:
    """Values that do not broadcast to the selection, or are no numbers, change nothing."""
    store = filled(V3)
    array = xz.open_array(store, mode="r+")
    with pytest.raises(xz.XzarrError, match="do not fit"):
        array[0:2] = np.zeros((3, 6))
    with pytest.raises((xz.XzarrError, ValueError, TypeError)):
        array[0:2] = "text"
    assert (array[...] == 5).all()


def test_writing_to_what_was_opened_for_reading(tmp_path: Path) -> None:
    """Mode "r" is kept, for arrays and stores."""
    xz.create_array(tmp_path, data=[1, 2])
    array = xz.open_array(tmp_path)
    with pytest.raises(xz.ReadOnlyError, match=r"r\+") as caught:
        array[0] = 5
    assert isinstance(caught.value, PermissionError)
    assert array[0] == 1


def test_attributes_that_are_nested_too_deeply_for_what_looks_into_them() -> None:
    """An array with them opens; what goes through them step by step says why it cannot."""
    depth = 900 if sys.version_info < (3, 12) else 1100  # since 3.12 C has a stack of its own
    deep = '{"zarr_format":3,"node_type":"group","attributes":{"a":' + "[" * depth + "]" * depth + "}}"
    store = {"zarr.json": b'{"zarr_format":3,"node_type":"group"}', "g/zarr.json": deep.encode()}
    assert "a" in xz.open_group(store, "g").attrs
    with pytest.raises(xz.MetadataError, match="too deeply"):
        xz.open_dataset(store, group="g", consolidated=False)
    with pytest.raises(xz.MetadataError, match="too deeply"):
        xz.consolidate_metadata(store)
    array = store_of({**V3, "attributes": {"a": json.loads("[" * 600 + "]" * 600)}})
    with pytest.raises(xz.MetadataError, match=r"(?s)too deeply.*document 'zarr.json'"):
        xz.open_array(array, mode="r+").resize((2, 6))
    assert xz.open_array(array).shape == (4, 6)


def test_documents_that_cannot_be_stored_again_are_named() -> None:
    """Half of a character in a document that opens is an error that says which document, and changes nothing."""
    store = store_of({**V3, "storage_transformers": [{"name": "\ud800", "must_understand": False}]})
    with pytest.raises(xz.MetadataError, match="surrogates") as caught:
        xz.open_array(store, mode="r+").resize((2, 6))
    assert "document 'zarr.json'" in complete(caught.value)
    assert xz.open_array(store).shape == (4, 6)


def test_explaining_what_touches_too_many_chunks() -> None:
    """The error of a selection that cannot be planned says of which array."""
    array = xz.open_array(store_of({**V3, "shape": [2**62, 6]}))
    with pytest.raises(xz.SelectionError, match="touches more than") as caught:
        array.explain(...)
    complete(caught.value)


def test_reading_what_no_memory_can_hold_names_the_array() -> None:
    """The error of a selection too large to allocate, or to plan, says of which array."""
    array = xz.open_array(store_of({**V3, "shape": [2**62, 2**62]}))
    for read in (array.__getitem__, array.oindex.__getitem__):
        with pytest.raises(xz.SelectionError, match="bytes of memory") as caught:
            read(...)
        complete(caught.value)


def test_numbers_beyond_all_floats_in_filters() -> None:
    """A whole number that no float can hold is refused as any other that makes no sense."""
    quantize = {"name": "numcodecs.quantize", "configuration": {"dtype": "<f4", "digits": 10**400}}
    with pytest.raises(xz.MetadataError, match="must be a number") as caught:
        xz.open_array(store_of(with_codecs(quantize, BYTES, data_type="float32")))
    complete(caught.value)


def test_converting_codecs_with_members_that_mean_nothing() -> None:
    """A member ``codecs`` of a codec that has none is no chain."""
    source = filled({**V2, "filters": None, "compressor": {"id": "zlib", "level": 1, "codecs": 3}})
    target: dict[str, bytes] = {}
    xz.convert(source, target)
    assert (xz.open_array(target)[...] == 5).all()


def test_consolidating_attributes_that_cannot_be_stored_again() -> None:
    """Half of a character in the attributes of a v2 member is an error that names its document."""
    store = xz.create_group({}, zarr_format=2).store
    xz.create_array(store, "a", data=np.arange(3), zarr_format=2)
    store.set("a/.zattrs", b'{"units": "\\ud800"}')
    with pytest.raises(xz.MetadataError, match="half of a character") as caught:
        xz.consolidate_metadata(store)
    assert "document 'a/.zattrs'" in complete(caught.value)


def test_datasets_with_a_shard_whose_codecs_are_none() -> None:
    """Its variable is skipped with a warning that says why, as one with any other wrong chain."""
    wrong = with_codecs(sharded([1, 3], [BYTES, {"name": "zstd", "configuration": "text"}]))
    store = xz.create_group({}).store
    for name, document in (("good", V3), ("bad", wrong)):
        store.set(f"{name}/zarr.json", json.dumps(document).encode())
    with pytest.warns(xz.SkippedNodeWarning, match=r"(?s)skipped 'bad'.*which is not a codec"):
        assert list(xz.open_dataset(store, consolidated=False)) == ["good"]


def test_sizes_that_no_number_has_a_word_for() -> None:
    array = xz.create_array({}, shape=(2**62,) * 40, dtype="i4", chunks=(1,) * 40)
    assert "bytes" in str(array.info) and "<" in array.info._repr_html_()
