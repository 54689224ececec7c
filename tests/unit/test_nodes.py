"""Finding nodes: both formats, consolidated or not, implied groups, lost and broken documents."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.formats.documents import parse_json
from xzarr_backend.nodes import find_node, load_children
from xzarr_backend.stores import MemoryStore

ARRAY2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [2],
    "chunks": [2],
    "dtype": "<i4",
    "compressor": None,
    "fill_value": 7,
    "order": "C",
    "filters": None,
}
ARRAY3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [3],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 8,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}
GROUP2: dict[str, Any] = {"zarr_format": 2}
GROUP3: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {"a": 1}}


def stored(**documents: Any) -> MemoryStore:
    """A store of JSON documents; ``__`` in a name stands for ``/``, a ``_`` at its beginning for ``.``."""
    return MemoryStore({key: json.dumps(value).encode() for key, value in documents.items()})


def test_formats_are_found_out() -> None:
    """A node of either format opens without saying which."""
    for objects, zarr_format in (({".zarray": ARRAY2}, 2), ({"zarr.json": ARRAY3}, 3)):
        array = xz.open(stored(**objects))
        assert isinstance(array, xz.Array)
        assert array.zarr_format == zarr_format
    for objects, zarr_format in (({".zgroup": GROUP2}, 2), ({"zarr.json": GROUP3}, 3)):
        group = xz.open(stored(**objects))
        assert isinstance(group, xz.Group)
        assert group.zarr_format == zarr_format


def test_both_formats_at_one_path() -> None:
    """v3 wins, unless v2 is asked for."""
    store = stored(**{".zarray": ARRAY2, "zarr.json": ARRAY3})
    assert xz.open_array(store).shape == (3,)
    assert xz.open_array(store, zarr_format=2).shape == (2,)
    assert xz.open_array(store, zarr_format=3).shape == (3,)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_asking_for_the_other_format(zarr_format: int) -> None:
    """A node of one format is not there for those who ask for the other."""
    store = stored(**({".zgroup": GROUP2} if zarr_format == 3 else {"zarr.json": GROUP3}))
    with pytest.raises(xz.NodeNotFoundError):
        xz.open(store, zarr_format=zarr_format)


def test_attributes_of_v2() -> None:
    """Attributes of arrays and groups come from `.zattrs`."""
    store = stored(**{".zgroup": GROUP2, ".zattrs": {"t": 1}, "a/.zarray": ARRAY2, "a/.zattrs": {"u": 2}})
    group = xz.open_group(store)
    assert dict(group.attrs) == {"t": 1}
    node = group["a"]
    assert dict(node.attrs) == {"u": 2}
    assert dict(xz.open_array(store, "a").attrs) == {"u": 2}
    with pytest.raises((TypeError, xz.ReadOnlyError)):
        node.attrs["u"] = 3  # type: ignore[index]


def test_groups_that_nobody_declared() -> None:
    """Folders that hold v2 nodes are groups, one or two levels above them."""
    store = stored(**{"x/y/.zarray": ARRAY2})
    group = xz.open_group(store)
    assert list(group) == ["x"]
    assert group["x/y"].shape == (2,)
    inner = xz.open_group(store, "x")
    assert list(inner) == ["y"]


def test_paths_of_members() -> None:
    """Members are found by name and by path, from any level, with outer slashes or not."""
    store = stored(**{"zarr.json": GROUP3, "g/zarr.json": GROUP3, "g/h/zarr.json": GROUP3, "g/h/a/zarr.json": ARRAY3})
    group = xz.open_group(store)
    for path in ("g/h/a", "/g/h/a", "g/h/a/"):
        assert group[path].path == "g/h/a"
    assert group["g"]["h"]["a"].name == "/g/h/a"
    assert group["g"]["h/a"].basename == "a"
    assert [name for name, _ in group.members(None)] == ["g", "g/h", "g/h/a"]
    assert [name for name, _ in group.members(2)] == ["g", "g/h"]
    assert [name for name, _ in group.members()] == ["g"]
    assert "g/h/a" in group
    assert "g/h/b" not in group
    assert len(group) == 1
    assert dict(group["g/h"].arrays())["a"] == xz.open_array(store, "g/h/a")
    assert list(dict(group.groups())) == ["g"]


def consolidated(kind: str) -> MemoryStore:
    """A consolidated group whose arrays have no documents of their own, one of them in a group nobody declared."""
    if kind == "v3":
        members = {"a": ARRAY3, "g/b": ARRAY3, "h": {**GROUP3, "consolidated_metadata": None}, "h/c": ARRAY3}
        inline = {"kind": "inline", "must_understand": False, "metadata": members}
        return stored(**{"zarr.json": {**GROUP3, "consolidated_metadata": inline}})
    metadata = {
        ".zgroup": GROUP2,
        "a/.zarray": ARRAY2,
        "a/.zattrs": {"u": 1},
        "g/b/.zarray": ARRAY2,
        "h/.zgroup": GROUP2,
    }
    return stored(**{".zmetadata": {"zarr_consolidated_format": 1, "metadata": {**metadata, "h/c/.zarray": ARRAY2}}})


@pytest.mark.parametrize("kind", ["v2", "v3"])
def test_members_that_only_consolidated_metadata_know(kind: str) -> None:
    """Consolidated metadata are enough: for members, for paths, and for opening from their own path."""
    store = consolidated(kind)
    group = xz.open_group(store)
    assert group.consolidated
    assert sorted(name for name, _ in group.members(None)) == ["a", "g", "g/b", "h", "h/c"]
    for path in ("a", "g/b", "h/c"):
        assert isinstance(group[path], xz.Array)
        assert xz.open_array(store, path) == group[path]
    assert isinstance(group["g"], xz.Group)
    assert group["g"]["b"][0] == (7 if kind == "v2" else 8)
    with pytest.raises(KeyError):
        group["g/nothing"]


@pytest.mark.parametrize("kind", ["v2", "v3"])
def test_consolidated_metadata_can_be_ignored_or_demanded(kind: str) -> None:
    """`consolidated=False` looks at the members themselves, `True` demands the consolidated ones."""
    store = consolidated(kind)
    if kind == "v3":
        assert len(xz.open_group(store, consolidated=False)) == 0
    else:
        with pytest.raises(xz.NodeNotFoundError):
            xz.open_group(store, consolidated=False)
    assert xz.open_group(store, consolidated=True).consolidated
    for plain in (stored(**{".zgroup": GROUP2}), stored(**{"zarr.json": GROUP3})):
        with pytest.raises(xz.MetadataError, match="no consolidated metadata"):
            xz.open_group(plain, consolidated=True)


def test_stores_that_do_not_believe_in_consolidated_metadata() -> None:
    """`supports_consolidated_metadata = False` is honoured: such metadata may be out of date there."""
    for kind in ("v2", "v3"):
        store = consolidated(kind)
        store.set("fresh/.zarray", json.dumps(ARRAY2).encode())
        store.supports_consolidated_metadata = False
        assert list(xz.open_group(store)) == ["fresh"]
        with pytest.raises(xz.NodeNotFoundError):
            xz.open_array(store, "a")


def test_broken_documents_are_mended_from_the_parents() -> None:
    """A member whose own document is broken opens from the good copy of its parent."""
    metadata = {".zgroup": GROUP2, "a/.zarray": ARRAY2}
    store = stored(**{".zgroup": GROUP2, ".zmetadata": {"metadata": metadata}})
    store.set("a/.zarray", b'{"zarr_format": 2, "sha')
    assert xz.open_array(store, "a")[0] == 7
    assert xz.open_group(store)["a"][0] == 7
    with pytest.raises(xz.MetadataError):
        xz.open_array(store, "a", consolidated=False)


def test_a_mended_node_is_checked_as_others_are() -> None:
    """A broken group that a parent knows as a group is no array."""
    members = {"g": GROUP3, "a": ARRAY3}
    inline = {"kind": "inline", "must_understand": False, "metadata": members}
    store = stored(**{"zarr.json": {**GROUP3, "consolidated_metadata": inline}})
    store.set("g/zarr.json", b"{broken")
    assert isinstance(xz.open_group(store, "g"), xz.Group)
    with pytest.raises(xz.NodeNotFoundError, match="a group lies here"):
        xz.open_array(store, "g")


def test_errors_of_broken_nodes_name_their_place() -> None:
    """That of the node itself is reported, also where the parent's copy is refused, too."""
    broken = {**ARRAY3, "codecs": None}
    inline = {"kind": "inline", "must_understand": False, "metadata": {"g/a": broken}}
    store = stored(**{"zarr.json": {**GROUP3, "consolidated_metadata": inline}, "g/a/zarr.json": broken})
    said = []
    for consolidated in (None, False):
        with pytest.raises(xz.MetadataError) as caught:
            xz.open_array(store, "g/a", strict=True, consolidated=consolidated)
        said.append((caught.value.what, caught.value.where))
    assert said[0] == said[1]
    assert "path 'g/a'" in said[0][1]


def test_members_that_are_nested_too_deeply_name_their_place() -> None:
    """Their whole path, as for every other member that cannot be read."""
    codecs: list[Any] = ARRAY3["codecs"]
    for _ in range(250 if sys.version_info < (3, 13) else 450):  # since then C, too, may go deeper
        codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": [3], "codecs": codecs}}]
    store = stored(**{"top/zarr.json": GROUP3, "top/a/zarr.json": {**ARRAY3, "codecs": codecs}})
    error = xz.open_group(store, "top", strict=True).children["a"].error
    assert isinstance(error, xz.MetadataError)
    assert "path 'top/a'" in error.where


def test_members_that_cannot_be_read() -> None:
    """A broken member is skipped with a warning that names it, and raises when it is asked for, or with `strict`."""
    store = stored(**{"zarr.json": GROUP3, "a/zarr.json": ARRAY3, "b/zarr.json": {**ARRAY3, "data_type": "int77"}})
    group = xz.open_group(store)
    with pytest.warns(xz.SkippedNodeWarning, match="'b'"):
        assert [name for name, _ in group.members()] == ["a"]
    with pytest.raises(xz.XzarrError, match="int77") as caught:
        group["b"]
    assert "path 'b'" in caught.value.where
    assert set(group) == {"a", "b"}
    with pytest.raises(xz.XzarrError, match="int77"):
        list(xz.open_group(store, strict=True).members())


def test_other_files_are_no_members() -> None:
    """Folders and files without metadata, chunks and what ExZarr leaves behind are not listed."""
    store = stored(**{".zgroup": GROUP2, "a/.zarray": ARRAY2})
    for key in ("notes.txt", "empty/readme", "a/0.lock.read", "a/0.lock", "a/0"):
        store.set(key, b"\0" * 8)
    assert list(xz.open_group(store)) == ["a"]


def test_documents_that_members_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal `.zarray` documents of a group are parsed once; what then happens to one array is not seen in another."""
    store, names = MemoryStore(), [f"v{at}" for at in range(5)]
    group = xz.create_group(store, zarr_format=2)
    for at, name in enumerate(names):
        array = group.create_array(name, shape=(4,), chunks=(2,), dtype="i4", attributes={"number": at})
        array[...] = at
    group.create_array("other", shape=(4,), chunks=(2,), dtype="f8")
    parsed = []

    def counting(raw: Any, name: str) -> Any:
        parsed.append(name)
        return parse_json(raw, name)

    monkeypatch.setattr("xzarr_backend.nodes.parse_json", counting)
    arrays = dict(xz.open_group(store, mode="r+", consolidated=False).arrays())
    assert parsed.count(".zarray") == 2
    assert [arrays[name].attrs["number"] for name in names] == list(range(5))
    arrays["v1"].resize((6,))
    arrays["v2"].attrs["number"] = 20
    arrays["v1"][4:] = 7
    assert arrays["v3"].shape == (4,)
    assert json.loads(store.get("v3/.zarray"))["shape"] == [4]
    again = xz.open_group(store, consolidated=False)
    assert [again[name].shape for name in names] == [(4,), (6,), (4,), (4,), (4,)]
    assert [again[name].attrs["number"] for name in names] == [0, 1, 20, 3, 4]
    assert [again[name][...].tolist() for name in ("v0", "v1")] == [[0] * 4, [1, 1, 1, 1, 7, 7]]


def test_a_damaged_document_among_equal_ones() -> None:
    """Every member whose document cannot be read says so, even where the documents are equal."""
    store = MemoryStore()
    group = xz.create_group(store, zarr_format=2)
    group.create_array("good", shape=(4,), dtype="i4")
    for name in ("bad", "worse"):
        store.set(f"{name}/.zarray", b'{"zarr_format": 2, "shape": [4')
    found = find_node(store, "", kind="group", consolidated=False)
    children = {child.name: child for child in load_children(store, "", found)}
    for name in ("bad", "worse"):
        error = children[name].error
        assert isinstance(error, xz.MetadataError)
        assert ".zarray is not JSON" in str(error)
        assert name in str(error)
    good = children["good"].found
    assert good is not None
    assert good.spec.document["shape"] == [4]
    group = xz.open_group(store, consolidated=False)
    for name in ("bad", "worse"):
        with pytest.raises(xz.MetadataError, match=r"\.zarray is not JSON") as caught:
            group[name]
        assert name in str(caught.value)
    assert group["good"].shape == (4,)


def test_groups_pickle_and_compare() -> None:
    """Nodes are equal where they mean the same, also after a journey, and carry no data."""
    store = MemoryStore()
    xz.create_group(store)
    array = xz.create_array(store, "a", data=np.arange(100000), chunks=(100,))
    group = xz.open_group(store)
    assert pickle.loads(pickle.dumps(group))["a"][5] == 5
    again = pickle.loads(pickle.dumps(array))
    assert again == array
    assert hash(again) == hash(array)
    assert group == xz.open_group(store)
    assert group["a"] != group


def test_arrays_pickle_small(tmp_path: Any) -> None:
    """An array travels as its place and its documents."""
    xz.create_array(tmp_path, data=np.arange(10**5), chunks=(10,))
    array = xz.open_array(tmp_path)
    array[...]
    raw = pickle.dumps(array)
    assert len(raw) < 2000
    np.testing.assert_array_equal(pickle.loads(raw)[99990:], np.arange(99990, 10**5))


@pytest.mark.parametrize(
    ("keyword", "value"), [("mode", "x"), ("missing", "never"), ("zarr_format", 4), ("quirks", "nobody")]
)
def test_wrong_keywords(keyword: str, value: Any) -> None:
    """A keyword that cannot be is refused with what it can be."""
    with pytest.raises(xz.XzarrError, match=r"use one of|known") as caught:
        xz.open(stored(**{"zarr.json": ARRAY3}), **{keyword: value})
    assert repr(value) in str(caught.value)


def test_another_format_below_does_not_make_a_group_of_the_one_asked_for() -> None:
    store: dict[str, bytes] = {}
    xz.create_group(store, attributes={"title": "T"})
    xz.create_array(store, "a", data=[0, 1])
    with pytest.raises(xz.NodeNotFoundError):
        xz.open(store, zarr_format=2)


def test_consolidated_metadata_that_are_ignored_are_ignored_for_members() -> None:
    """A member that was deleted without them does not come back."""
    store: dict[str, bytes] = {}
    group = xz.create_group(store)
    group.create_array("a/b", data=[1])
    xz.consolidate_metadata(store)
    for key in [key for key in store if key.startswith("a/")]:
        del store[key]
    assert xz.open(store)["a/b"].shape == (1,)
    ignoring = xz.open_group(store, consolidated=False)
    assert list(ignoring) == [] and "a" not in ignoring and "a/b" not in ignoring


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_no_name_is_no_member(zarr_format: int) -> None:
    """As in every mapping."""
    group = xz.create_group({}, zarr_format=zarr_format)
    for name in ("..", "a//b", "\ud800", 5, None):
        assert group.get(name, 7) == (group if name is None else 7)  # type: ignore[arg-type]
    with pytest.raises(xz.MemberNotFoundError, match="no member 5"):
        group[5]  # type: ignore[index]


def test_paths_of_other_types() -> None:
    store: dict[str, bytes] = {}
    xz.create_array(store, "g/a", data=[1])
    assert xz.open(store, PurePosixPath("g") / "a").shape == (1,)  # type: ignore[arg-type]
    assert xz.open(store, None).path == ""  # type: ignore[arg-type]
    with pytest.raises(xz.XzarrError, match="no path"):
        xz.open(store, 5)  # type: ignore[arg-type]
    with pytest.raises(xz.XzarrError, match="not bytes"):
        xz.open({"zarr.json": "text"})


def test_groups_with_members_that_must_be_understood() -> None:
    """Section "must_understand" of the v3 core: arrays and groups alike."""
    document = {"zarr_format": 3, "node_type": "group", "new": {"name": "q"}}
    with pytest.raises(xz.UnsupportedError, match="new"):
        xz.open_group({"zarr.json": json.dumps(document).encode()})
    document["new"] = {"name": "q", "must_understand": False}
    assert list(xz.open_group({"zarr.json": json.dumps(document).encode()})) == []
