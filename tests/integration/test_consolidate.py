"""Consolidated metadata: as zarr-python writes and reads them, complete, and stored last in one step."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores_fakes import CountingStore, InterruptedStore

import xzarr_backend as xz
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

zarr = pytest.importorskip("zarr")

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
PATHS = {"a": "array", "g": "group", "g/b": "array", "g/empty": "group", "g/h": "group", "g/h/c": "array"}


def hierarchy(store: Any, zarr_format: int, path: str = "") -> Any:
    """A group with arrays and groups on three levels, one of them empty, all with attributes."""
    group = xz.create_group(store, path, attributes={"title": "é"}, zarr_format=zarr_format)
    for name, kind in PATHS.items():
        if kind == "group":
            group.create_group(name, attributes={"at": name})
        else:
            group.create_array(name, data=np.arange(6.0), chunks=4, attributes={"at": name}, dimension_names=["x"])
    return group


def peer(store: Any, path: str = "", **keywords: Any) -> Any:
    """The group as zarr-python opens it from its consolidated metadata."""
    return zarr.open_group(store, path=path, mode="r", use_consolidated=True, **keywords)


def document(folder: Path, zarr_format: int) -> Any:
    """The consolidated members as they are stored."""
    if zarr_format == 2:
        return json.loads((folder / ".zmetadata").read_text())["metadata"]
    return json.loads((folder / "zarr.json").read_text())["consolidated_metadata"]["metadata"]


@pytest.mark.parametrize("path", ["", "deep/down"])
@FORMATS
def test_zarr_python_reads_them(zarr_format: int, path: str, tmp_path: Path) -> None:
    """The peer finds every node with its attributes and values, without looking at the members' own documents."""
    hierarchy(tmp_path, zarr_format, path)
    group = xz.consolidate_metadata(tmp_path, path)
    assert group.consolidated
    for name in ("g/h/c", "g", "a"):
        for member in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
            (tmp_path / path / name / member).unlink(missing_ok=True)
    theirs, ours = peer(tmp_path, path), xz.open_group(tmp_path, path, consolidated=True)
    assert {name: type(node).__name__.lower() for name, node in theirs.members(max_depth=None)} == PATHS
    assert {name: type(node).__name__.lower() for name, node in ours.members(None)} == PATHS
    for name in PATHS:
        assert theirs[name].attrs["at"] == ours[name].attrs["at"] == name
    np.testing.assert_array_equal(theirs["g/h/c"][:], np.arange(6.0))
    assert ours["g/h/c"].dimension_names == ("x",)
    assert list(ours["g/empty"]) == list(theirs["g/empty"]) == []


@FORMATS
def test_they_say_what_those_of_zarr_python_say(zarr_format: int, tmp_path: Path) -> None:
    """For a store of the peer's, we write the members that the peer writes, in its order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peer: that v3 does not specify them
        root = zarr.open_group(tmp_path, mode="w", zarr_format=zarr_format)
        root.create_array("g/h/c", shape=(6,), chunks=(4,), dtype="f4", fill_value=float("nan"))
        root.create_array("B", shape=(), dtype="i4")
        root.create_group("empty", attributes={"x": [1]})
        zarr.consolidate_metadata(tmp_path)
    theirs = document(tmp_path, zarr_format)
    xz.consolidate_metadata(tmp_path)
    ours = document(tmp_path, zarr_format)
    for entry in theirs.values() if zarr_format == 2 else ():
        entry.pop("consolidated_metadata", None)  # the peer adds this to .zgroup, where v2 has no such member
    assert ours == theirs
    if zarr_format == 3:
        assert [name.count("/") for name in ours] == sorted(name.count("/") for name in ours)


def test_the_outer_document() -> None:
    """Both formats say what they are."""
    store = MemoryStore()
    hierarchy(store, 2).consolidate()
    assert json.loads(store.inner[".zmetadata"])["zarr_consolidated_format"] == 1
    store = MemoryStore()
    hierarchy(store, 3).consolidate()
    inline = json.loads(store.inner["zarr.json"])["consolidated_metadata"]
    assert (inline["kind"], inline["must_understand"]) == ("inline", False)
    assert json.loads(store.inner["zarr.json"])["attributes"] == {"title": "é"}


@FORMATS
def test_they_are_stored_last_in_one_step(zarr_format: int) -> None:
    """One document is stored, after everything was read; doing it again stores the same."""
    store = MemoryStore()
    hierarchy(store, zarr_format)
    counting = CountingStore(store)
    xz.consolidate_metadata(counting)
    sets = [call.key for call in counting.requests if call.operation == "set"]
    assert sets == ["zarr.json" if zarr_format == 3 else ".zmetadata"]
    before = dict(store.inner)
    xz.consolidate_metadata(store)
    assert store.inner == before


@FORMATS
def test_stale_ones_are_replaced(zarr_format: int) -> None:
    """What other writers added, changed and deleted since is seen, in nested groups with metadata of their own too."""
    store = MemoryStore()
    group = hierarchy(store, zarr_format)
    group["g"].consolidate()
    group.consolidate()
    xz.create_array(store, "g/new", data=[1], zarr_format=zarr_format)
    store.delete_prefix("g/h/c/")
    assert "g/new" not in xz.open_group(store, consolidated=True)._found.members  # type: ignore[operator]
    assert set(dict(xz.consolidate_metadata(store).members(None))) == {*PATHS, "g/new"} - {"g/h/c"}


@FORMATS
@pytest.mark.parametrize("kind", ["memory", "local"])
def test_members_that_change_while_they_are_gathered(kind: str, zarr_format: int, tmp_path: Path) -> None:
    """Whoever changes a member that was read already tells it after the gathered metadata are stored."""
    store: Any = MemoryStore() if kind == "memory" else LocalStore(tmp_path)
    hierarchy(store, zarr_format)
    xz.consolidate_metadata(store)

    def change() -> None:
        xz.open_array(store, "a", mode="r+").attrs["late"] = 1

    other = threading.Thread(target=change)

    def begin_other() -> None:
        other.start()
        other.join(0.2)  # as far as it gets

    interrupted = InterruptedStore(store, lambda operation, key: key.startswith("g/h/c"), begin_other)
    xz.consolidate_metadata(interrupted)
    other.join()
    assert interrupted.done
    for consolidated in (True, False):
        assert xz.open_group(store, consolidated=consolidated)["a"].attrs["late"] == 1


@FORMATS
def test_a_member_that_two_writers_change(zarr_format: int) -> None:
    """What the first one tells of the member last is what its documents say then, not what it stored itself."""
    store = MemoryStore()
    hierarchy(store, zarr_format)
    xz.consolidate_metadata(store)

    def change() -> None:
        xz.open_array(store, "g/b", mode="r+").attrs["second"] = 2

    outer = ("zarr.json", ".zmetadata")
    interrupted = InterruptedStore(store, lambda operation, key: operation == "lock" and key in outer, change)
    xz.open_array(interrupted, "g/b", mode="r+").attrs["first"] = 1
    assert interrupted.done
    for consolidated in (True, False):
        attributes = dict(xz.open_group(store, consolidated=consolidated)["g/b"].attrs)
        assert attributes.items() >= {"at": "g/b", "first": 1, "second": 2}.items()


@FORMATS
def test_members_that_cannot_be_read_are_all_named(zarr_format: int) -> None:
    """Broken members stop the consolidation; the error lists each of them, and nothing is stored."""
    store = MemoryStore()
    hierarchy(store, zarr_format)
    name = "zarr.json" if zarr_format == 3 else ".zarray"
    store.set(f"a/{name}", b"{")
    store.set(f"g/h/c/{name}", b"[]")
    before = dict(store.inner)
    with pytest.raises(xz.MetadataError, match="cannot be consolidated") as caught:
        xz.consolidate_metadata(store)
    assert [place for place, _ in caught.value.problems] == ["a", "g/h/c"]
    assert store.inner == before


def test_v2_members_of_a_v3_group_are_named() -> None:
    """A v3 document has no words for v2 nodes: they are not left out silently."""
    store = MemoryStore()
    xz.create_group(store)
    xz.create_array(store, "old", data=[1], zarr_format=2)
    with pytest.raises(xz.MetadataError, match="old: is of Zarr v2"):
        xz.consolidate_metadata(store)


def test_stores_without_consolidated_metadata_say_so() -> None:
    """A store that keeps none raises an error instead of writing what nobody would read."""

    class Versioned(MemoryStore):
        """A store whose snapshots make consolidated metadata useless."""

        supports_consolidated_metadata = False

    store = Versioned()
    group = hierarchy(store, 3)
    with pytest.raises(xz.UnsupportedError, match="keeps no consolidated metadata"):
        group.consolidate()
    del group["a"]
    assert "a" not in group


def test_places_without_a_group() -> None:
    """An array, an empty place and a read-only store are errors."""
    store = MemoryStore()
    xz.create_array(store, "a", data=[1])
    with pytest.raises(xz.NodeNotFoundError, match="an array lies here"):
        xz.consolidate_metadata(store, "a")
    with pytest.raises(xz.NodeNotFoundError):
        xz.consolidate_metadata({})
    with pytest.raises(xz.ReadOnlyError):
        xz.consolidate_metadata(MemoryStore(dict(store.inner), read_only=True))


@FORMATS
def test_bare_nan_of_other_writers_becomes_json(zarr_format: int, tmp_path: Path) -> None:
    """NaN that the peer left in attributes is valid JSON in what we write, and NaN in what we read."""
    root = zarr.open_group(tmp_path, mode="w", zarr_format=zarr_format, attributes={"x": float("nan")})
    root.create_array("g/a", shape=(1,), dtype="i4", attributes={"y": [float("inf")]})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    group = xz.consolidate_metadata(tmp_path)
    text = (tmp_path / ("zarr.json" if zarr_format == 3 else ".zmetadata")).read_text()
    json.loads(text, parse_constant=refuse)
    assert np.isnan(group.attrs["x"])
    assert group["g/a"].attrs["y"] == [float("inf")]


def test_groups_that_nobody_declared() -> None:
    """Old v2 stores without documents for their groups become consolidated groups."""
    store = MemoryStore()
    xz.create_array(store, "a/b", data=[1], zarr_format=2)
    for key in (".zgroup", "a/.zgroup"):
        store.delete(key)
    assert set(dict(xz.consolidate_metadata(store).members(None))) == {"a", "a/b"}
    assert ".zgroup" in store.inner


def test_metadata_that_are_nested_in_those_of_their_groups_follow() -> None:
    """What other writers list within a group's own document changes and goes with the member."""
    store: dict[str, bytes] = {}
    xz.create_array(store, "g/a", shape=(4,), dtype="i4", chunks=2)
    xz.create_array(store, "g/b", shape=(4,), dtype="i4", chunks=2)

    def inline(document: dict[str, Any], **members: Any) -> dict[str, Any]:
        return {**document, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members}}

    root, group, first, second = (
        json.loads(store[f"{path}zarr.json"])
        if f"{path}zarr.json" in store
        else {"zarr_format": 3, "node_type": "group"}
        for path in ("", "g/", "g/a/", "g/b/")
    )
    store["zarr.json"] = json.dumps(inline(root, g=inline(group, a=first, b=second))).encode()
    array = xz.open_group(store, mode="r+")["g/a"]
    array.resize(8)
    array.attrs["units"] = "K"
    found = xz.open_group(store)["g/a"]
    assert (found.shape, dict(found.attrs)) == ((8,), {"units": "K"})
    assert xz.open_group(store)["g/b"].shape == (4,)
    opened = xz.open_group(store, mode="r+")
    del opened["g/a"]
    assert [name for name, _ in xz.open_group(store).members(None)] == ["g", "g/b"]
