"""What arrays and groups look like: summaries, trees, explanations, as text, as HTML and as plain data."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.display_text import bytes_text, codec_text, plain, shape_text
from xzarr_backend.spec import Named
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.base import Store

HOSTILE = '<script>alert("x")</script>\x1b[2J&'


class Parsed(HTMLParser):
    """Checks that tags are closed in order, and keeps the text and the tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.stack.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def sharded() -> xz.Array:
    """An array of 2 x 1 shards with 2 x 3 inner chunks each; the second shard is not stored."""
    array = xz.create_array(
        MemoryStore(),
        "a",
        shape=(8, 6),
        dtype="int32",
        chunks=(2, 2),
        shards=(4, 6),
        compressors=None,
        fill_value=-1,
        dimension_names=("y", "x"),
        attributes={"units": "m"},
    )
    array[:4] = 5
    return array


# --- summaries -------------------------------------------------------------------------------------------------------


def test_the_summary_of_an_array_tells_its_facts(sharded: xz.Array) -> None:
    """Shape with names, data type, fill value, chunks, shards, codecs, size and attributes are in the text."""
    lines = str(sharded.info).splitlines()
    rows = dict(line.split("  ", 1) for line in lines if "  " in line.strip())
    assert lines[0] == "Array /a"
    assert rows["Shape"].strip() == "(y 8, x 6)"
    assert rows["Data type"].strip() == "int32"
    assert rows["Fill value"].strip() == "-1"
    assert rows["Chunks"].strip() == "(2, 2), 12 in the grid"
    assert rows["Shards"].strip() == "(4, 6), 2 in the grid"
    assert "sharding_indexed" in rows["Codecs"] and "crc32c" in rows["Codecs"]
    assert rows["Size"].strip() == "48 elements, 192 bytes in memory"
    assert any(line.split() == ["units", "m"] for line in lines)


def test_summaries_are_plain_data_too(sharded: xz.Array) -> None:
    """`as_dict` gives what JSON can hold, with the values themselves."""
    facts = json.loads(json.dumps(sharded.info.as_dict()))
    assert facts["shape"] == [8, 6] and facts["chunks"] == [2, 2] and facts["shards"] == [4, 6]
    assert facts["attributes"] == {"units": "m"} and facts["dtype"] == "int32" and facts["nchunks"] == 12


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("f4", np.nan),
        ("c16", complex(1, np.inf)),
        ("M8[s]", np.datetime64("NaT", "s")),
        ("U3", "ab"),
        ("S2", b"x"),
        ("?", True),
    ],
)
def test_fill_values_of_every_kind_can_be_shown(zarr_format: int, dtype: str, fill: Any) -> None:
    """A summary and its plain data hold any fill value in the spelling of the documents."""
    array = xz.create_array({}, shape=(3,), dtype=dtype, fill_value=fill, zarr_format=zarr_format)
    assert json.loads(json.dumps(array.info.as_dict(), allow_nan=False))["fill_value"] is not None
    assert "Fill value" in str(array.info)


def test_rectilinear_and_scalar_arrays_can_be_shown() -> None:
    """Chunks of several lengths and arrays without dimensions have a summary and an explanation."""
    edged = xz.create_array({}, data=np.arange(6), chunks=[[1, 2, 3]])
    assert "(1+2+3), 3 in the grid" in str(edged.info)
    assert edged.info.as_dict()["chunks"] == [[1, 2, 3]]
    scalar = xz.create_array({}, data=np.float64(3))
    assert "()" in str(scalar.info)
    assert scalar.explain(...).count == 1


def test_the_summary_of_a_group_lists_its_members() -> None:
    """Arrays and groups are counted and named; a long list is cut."""
    group = xz.create_group({}, attributes={"title": "T"})
    for number in range(23):
        xz.create_array(group.store, f"a{number:02}", data=[number])
    xz.create_group(group.store, "deep")
    info = xz.open_group(group.store).info
    assert "23: a00, a01" in str(info) and "and 3 more" in str(info) and "1: deep" in str(info)
    assert len(info.as_dict()["arrays"]) == 23 and info.as_dict()["groups"] == ["deep"]


class Unlistable(MemoryStore):
    """A store without listing, as plain HTTP is."""

    def list_dir(self, prefix: str) -> list[str]:
        raise xz.UnsupportedError("this place cannot be listed", where=self.url)


def test_a_group_in_a_store_without_listing_has_a_summary() -> None:
    """Where the members cannot be known, the summary says so instead of failing."""
    xz.create_group(store := Unlistable())
    group = xz.open_group(store)
    assert "unknown: this place cannot be listed" in str(group.info)
    assert "unknown" in Parsed(group._repr_html_()).words


def test_showing_reads_no_chunk(sharded: xz.Array) -> None:
    """Summaries, trees and HTML ask the store for documents and listings only."""
    store = sharded.store
    asked: list[str] = []

    class Watching(MemoryStore):
        def get(self, key: str, *rest: Any) -> Any:
            asked.append(key)
            return store.get(key, *rest)

        def list_dir(self, prefix: str) -> list[str]:
            return store.list_dir(prefix)

    group = xz.open_group(Watching())
    assert "a" in str(group.tree()) and str(group["a"].info) and group["a"]._repr_html_() and group._repr_html_()
    assert asked and all(key.endswith("zarr.json") or "/." in f"/{key}" for key in asked)


# --- HTML and foreign text -------------------------------------------------------------------------------------------


def test_html_is_well_formed_and_escaped() -> None:
    """Names and attributes of strangers appear as text: no tag of theirs, no control character."""
    group = xz.create_group({}, attributes={HOSTILE: HOSTILE})
    array = xz.create_array(group.store, "<b>bold", data=[1], attributes={"note": HOSTILE}, dimension_names=[HOSTILE])
    group = xz.open_group(group.store)
    for shown in (group._repr_html_(), array._repr_html_(), group.tree()._repr_html_()):
        page = Parsed(shown)
        assert page.tags <= {"div", "b", "span", "details", "summary", "ul", "li", "strong"}
        assert "<script>" in page.words or "<b>bold" in page.words
        assert "\x1b" not in shown


def test_html_brings_no_colours_or_files() -> None:
    """The HTML takes its colours from the page and loads nothing."""
    html = xz.create_array({}, data=[1])._repr_html_()
    assert not any(word in html for word in ("background", "http", "src=", "<script", "#", "color:"))


def test_text_cannot_move_the_cursor() -> None:
    """Control characters in names and attributes are shown as escapes, line breaks too."""
    group = xz.create_group({}, attributes={"a\nb": "c\x1b[2J\rd"})
    text = str(group.info)
    assert "\\x1b" in text and "\x1b" not in text and "\r" not in text
    assert "a\\nb" in text


# --- trees -----------------------------------------------------------------------------------------------------------


def make_tree() -> xz.Group:
    """Return a group with an array, a group in a group, and a member that cannot be read."""
    objects: dict[str, bytes] = {}
    xz.create_group(objects)
    xz.create_group(objects, "one")
    xz.create_group(objects, "one/two")
    xz.create_array(objects, "one/two/deep", data=np.zeros((2, 3), "u1"), dimension_names=("y", None))
    xz.create_array(objects, "top", data=[1.5])
    objects["wrong/zarr.json"] = b'{"zarr_format": 3, "node_type": "array"}'
    return xz.open_group(objects)


def test_trees_show_everything_with_branches() -> None:
    """Arrays with shape and data type, groups with their members, and what cannot be read with the reason."""
    assert str(make_tree().tree()).splitlines() == [
        "/  group, Zarr v3",
        "├── one  group",
        "│   └── two  group",
        "│       └── deep  (y 2, 3) uint8",
        "├── top  (1) float64",
        "└── wrong  the zarr.json metadata are wrong",
    ]


def test_trees_stop_at_their_depth() -> None:
    """Depth 1 shows the members only, depth 2 those of the groups among them too."""
    assert "two" not in str(make_tree().tree(1))
    assert "two" in str(make_tree().tree(2)) and "deep" not in str(make_tree().tree(2))


def test_trees_are_plain_data_and_html_too() -> None:
    """`as_dict` nests the members; the HTML holds every name."""
    tree = make_tree().tree()
    found = json.loads(json.dumps(tree.as_dict()))
    assert [member["name"] for member in found["members"]] == ["one", "top", "wrong"]
    assert found["members"][0]["members"][0]["members"][0]["node_type"] == "array"
    words = Parsed(tree._repr_html_()).words
    assert all(name in words for name in ("one", "two", "deep", "top", "wrong"))


# --- explanations ----------------------------------------------------------------------------------------------------


def test_chunks_are_explained() -> None:
    """The objects of the touched chunks are listed with key, place and size, or as not stored."""
    array = xz.create_array(
        MemoryStore(), "a", shape=(6, 6), dtype="u1", chunks=(3, 3), compressors=None, zarr_format=2
    )
    array[:3] = 1
    found = array.explain(np.s_[2:4, 0])
    assert [(o.key, o.coords, o.stored_nbytes, o.ranges) for o in found.objects] == [
        ("a/0.0", (0, 0), 9, ((0, 9),)),
        ("a/1.0", (1, 0), None, ()),
    ]
    assert (found.count, found.stored, found.fetched_nbytes, found.decoded_nbytes, found.result_nbytes) == (
        2,
        1,
        9,
        9,
        2,
    )
    assert found.shape == (2,)
    assert "2 chunks, 1 of them not stored" in str(found) and "a/1.0: not stored" in str(found)


def test_parts_of_shards_are_explained(sharded: xz.Array) -> None:
    """Of a shard, the index and the ranges of the needed inner chunks are listed."""
    found = sharded.explain(np.s_[0, :3])
    (shard,) = found.objects
    index = 16 * 6 + 4
    assert shard.stored_nbytes == 6 * 16 + index
    assert shard.inner == (2, 2, 6)
    assert shard.ranges == ((96, index), (0, 16), (16, 16))
    assert found.fetched_nbytes == index + 32 and found.decoded_nbytes == 32
    assert "2 of 6 inner chunks, index and 2 ranges" in str(found)


def test_whole_and_missing_shards_are_explained(sharded: xz.Array) -> None:
    """From half of the inner chunks on a shard is taken whole; one that is not stored costs nothing."""
    whole, missing = sharded.explain(...).objects
    assert whole.ranges == ((0, whole.stored_nbytes),) and whole.inner == (6, 6, 6)
    assert missing.stored_nbytes is None and missing.ranges == () and missing.inner == (6, 0, 6)


def test_empty_inner_chunks_are_explained() -> None:
    """Inner chunks that a shard does not hold need no bytes."""
    array = xz.create_array({}, shape=(8,), dtype="i4", chunks=(1,), shards=(8,), compressors=None)
    array[2:4] = 7
    (shard,) = array.explain(np.s_[1:4]).objects
    assert shard.inner == (3, 2, 8)
    assert sum(length for _, length in shard.ranges[1:]) == 8


class Recording(MemoryStore):
    """Notes the ranges that are read of chunk objects."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[tuple[str, int, int]] = set()

    def _note(self, key: str, ranges: Any) -> None:
        size = len(self.inner.get(key, b""))
        for wanted in ranges:
            if size and not key.endswith("zarr.json"):
                start, length = wanted or (0, size)
                self.read.add((key, start + size if start < 0 else start, length))

    def get(self, key: str, byte_range: Any = None, scratch: Any = None) -> Any:
        self._note(key, [byte_range])
        return super().get(key, byte_range, scratch)

    def get_ranges(self, key: str, ranges: Any, stamp: Any = None) -> Any:
        self._note(key, ranges)
        return super().get_ranges(key, ranges, stamp)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "key",
    [np.s_[0, 0, 0], np.s_[3, :, ::-2], np.s_[[0, 5], :2, [1, 2]], np.s_[5:], np.s_[..., 7], np.s_[2:2], np.s_[[1, 0]]],
    ids=str,
)
@pytest.mark.parametrize("shards", [None, (6, 4, 8)])
def test_what_is_explained_is_what_is_read(order: str, key: Any, shards: Any) -> None:
    """The ranges that an explanation lists are exactly those that reading the selection asks the store for."""
    values = np.arange(9 * 8 * 11).reshape(9, 8, 11)
    array = xz.create_array(store := Recording(), data=values, chunks=(2, 2, 2), shards=shards, order=order)
    array = xz.open_array(store)
    explained = {(o.key, start, length) for o in array.explain(key).objects for start, length in o.ranges}
    store.read.clear()
    assert np.array_equal(array[key], values[key])
    assert store.read == explained


def test_explaining_stops_at_its_limit() -> None:
    """Of a selection with very many chunks, only the first are looked up; all are counted."""
    array = xz.create_array({}, shape=(10**6, 10**6), dtype="u1", chunks=(10, 10))
    found = array.explain(..., limit=5)
    assert found.count == 10**10 and len(found.objects) == 5 and not found.complete
    assert "and 9,999,999,995 more" in str(found) and "the first 5" in str(found)


def test_explaining_a_wrong_selection_or_a_damaged_shard_is_an_error(sharded: xz.Array) -> None:
    """A selection that does not fit is a `SelectionError`; a wrong index is a `ChunkError` that names the shard."""
    with pytest.raises(xz.SelectionError):
        sharded.explain(np.s_[0, 0, 0])
    with pytest.raises(xz.SelectionError, match="'b' is no field"):
        sharded.explain("b")
    store: Store = sharded.store
    store.set("a/c/0/0", bytes(196))
    with pytest.raises(xz.ChunkError, match="a/c/0/0"):
        xz.open_array(store, "a").explain(np.s_[0, 0])


# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"zarr_format": 2}, {"zarr_format": 2, "chunk_key_encoding": "/"}, {}, {"chunk_key_encoding": "."}],
    ids=["v2 .", "v2 /", "v3 /", "v3 ."],
)
def test_only_chunks_are_counted(tmp_path: Path, options: dict[str, Any]) -> None:
    """Documents, lock files, foreign files and chunks behind the grid's end do not count."""
    place = tmp_path / "12.zarr"
    array = xz.create_array(place, "a1", shape=(4, 20), dtype="i2", chunks=(2, 2), compressors=None, **options)
    array[:2, 10:14] = 1
    array[3, 19] = 2
    key = array.layout.key((0, 5))
    for foreign in (
        "a1/notes.txt",
        "a1/0.5.lock",
        f"{key}.tmp",
        "a1/c0/5",
        "a1/00.05",
        "a1/7.7",
        "a1/c/7/7",
        "a1/.0.5",
    ):
        array.store.set(foreign, b"something")
    assert array.nchunks_stored() == 3
    assert array.nbytes_stored() == 3 * 8


def test_shards_and_scalars_are_counted(sharded: xz.Array) -> None:
    """A shard counts once; the one chunk of an array without dimensions counts."""
    assert sharded.nchunks_stored() == 1
    assert sharded.nbytes_stored() == 196
    for zarr_format in (2, 3):
        scalar = xz.create_array({}, "s", data=np.int32(5), compressors=None, zarr_format=zarr_format)
        assert (scalar.nchunks_stored(), scalar.nbytes_stored()) == (1, 4)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (9999, "9,999 bytes"),
        (2**14, "16,384 bytes (16 KiB)"),
        (12345678, "12,345,678 bytes (11.77 MiB)"),
        (2**60, "1,152,921,504,606,846,976 bytes (1 EiB)"),
        (2**75, "37,778,931,862,957,161,709,568 bytes (3.277e+04 EiB)"),
    ],
)
def test_bytes_are_written_exactly_and_readably(nbytes: int, text: str) -> None:
    """The exact number with separators; from 10,000 on also in a unit that fits."""
    assert bytes_text(nbytes) == text


def test_small_pieces_of_text() -> None:
    """Shapes with and without names, codecs with and without configuration, characters that cannot be printed."""
    assert shape_text((1, 2), ("x", None)) == "(x 1, 2)"
    assert codec_text(Named("zstd", {"level": 3})) == "zstd(level=3)"
    assert codec_text(Named("crc32c", {})) == "crc32c"
    assert plain("a\tb\u202e") == "a\\tb\\u202e"
    assert plain("é ü") == "é ü"
