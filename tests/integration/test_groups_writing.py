"""Writing into groups: creating, requiring and deleting members, in every state of consolidation."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores_fakes import FailingStore

import xzarr_backend as xz
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

zarr = pytest.importorskip("zarr")

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def kinds(group: Any) -> dict[str, str]:
    """All members by path, as "array" or "group", as zarr-python or this package see them."""
    listed = group.members(max_depth=None) if isinstance(group, zarr.Group) else group.members(None)
    return {name: type(node).__name__.lower() for name, node in listed}


@FORMATS
def test_missing_groups_on_the_way_are_created(zarr_format: int, tmp_path: Path) -> None:
    """Every way of creating a node deep down declares the groups above it, so that zarr-python finds all of them."""
    group = xz.create_group(tmp_path, zarr_format=zarr_format)
    group.create_array("a/b/c", data=[1, 2])
    group.create_group("d/e", attributes={"x": 1})
    xz.create_array(tmp_path, "f/g", data=3, zarr_format=zarr_format)
    xz.create_group(tmp_path, "h/i", zarr_format=zarr_format)
    expected = {
        **dict.fromkeys(["a", "a/b", "d", "d/e", "f", "h", "h/i"], "group"),
        **dict.fromkeys(["a/b/c", "f/g"], "array"),
    }
    assert kinds(xz.open(tmp_path)) == kinds(zarr.open_group(tmp_path, mode="r")) == kinds(group) | expected == expected
    assert xz.open(tmp_path)["d/e"].attrs == {"x": 1}


@FORMATS
def test_groups_that_are_there_are_not_replaced(zarr_format: int) -> None:
    """Creating below a group leaves its document as it is, attributes included."""
    store = MemoryStore()
    xz.create_group(store, "a", attributes={"x": 1}, zarr_format=zarr_format)
    before = dict(store.inner)
    xz.create_array(store, "a/b", data=[1], zarr_format=zarr_format)
    assert {key: store.inner[key] for key in before} == before


def test_a_group_of_the_other_format_is_not_replaced() -> None:
    """A v3 array in a v2 group leaves the group a v2 group."""
    store = MemoryStore()
    xz.create_group(store, zarr_format=2)
    xz.create_array(store, "a", data=[1], zarr_format=3)
    assert "zarr.json" not in store.inner
    assert list(xz.open_group(store)) == ["a"]


@FORMATS
def test_nothing_is_created_below_an_array(zarr_format: int) -> None:
    """A path through an array is an error that names the array."""
    store = MemoryStore()
    group = xz.create_group(store, zarr_format=zarr_format)
    group.create_array("a", data=[1])
    with pytest.raises(xz.NodeExistsError, match="an array lies here") as caught:
        group.create_array("a/b/c", data=[1])
    assert caught.value.where.endswith("path 'a'")
    with pytest.raises(xz.NodeExistsError, match="an array lies here"):
        xz.create_group(store, "a/b", zarr_format=zarr_format)


@FORMATS
def test_require_group(zarr_format: int) -> None:
    """It returns the group that is there, creates the one that is not, and refuses an array."""
    group = xz.create_group({}, zarr_format=zarr_format)
    group.create_array("array", data=[1])
    made = group.require_group("a/b", attributes={"x": 1})
    assert group.require_group("a/b", attributes={"x": 2}).attrs == made.attrs == {"x": 1}
    with pytest.raises(xz.NodeExistsError, match="an array lies here"):
        group.require_group("array")


@FORMATS
def test_overwrite(zarr_format: int) -> None:
    """What is there stays unless overwriting is asked for, which leaves nothing of it."""
    store = MemoryStore()
    group = xz.create_group(store, zarr_format=zarr_format)
    group.create_array("a", data=np.arange(10), chunks=2, attributes={"x": 1})
    before = dict(store.inner)
    with pytest.raises(xz.NodeExistsError, match="already"):
        group.create_array("a", data=[1])
    with pytest.raises(xz.NodeExistsError, match="already"):
        group.create_group("a")
    assert store.inner == before
    assert group.create_array("a", data=[5], overwrite=True)[:].tolist() == [5]
    assert xz.open(store)["a"].attrs == {}
    assert len([key for key in store.inner if key.startswith("a/")]) == 2
    group.create_group("a", overwrite=True)
    assert isinstance(xz.open(store)["a"], xz.Group)


def test_two_creators_at_the_same_time_do_not_mix() -> None:
    """A writer that finds out late that another one created the array raises, and takes back what it stored."""

    class Late(MemoryStore):
        """Shows no documents to whoever asks for several at once: another writer stored them just after."""

        def get_many(self, requests: Any) -> list[Any]:
            return [None for _ in requests]

    for zarr_format in (2, 3):
        store = Late()
        xz.create_array(store, data=[1, 2], zarr_format=zarr_format)
        before = dict(store.inner)
        with pytest.raises(xz.NodeExistsError):
            xz.create_array(store, data=[1.5], attributes={"x": 1}, zarr_format=zarr_format)
        assert store.inner == before


@pytest.mark.parametrize("consolidated", [False, True])
@FORMATS
def test_deleting(zarr_format: int, consolidated: bool) -> None:
    """A deleted member is gone with all below it, for this group, for new readers, and from consolidated metadata."""
    store = MemoryStore()
    group = xz.create_group(store, zarr_format=zarr_format)
    for name in ("a/b", "ab", "c"):
        group.create_array(name, data=[1])
    if consolidated:
        group.consolidate()
    assert list(group) == ["a", "ab", "c"]
    del group["a"]
    assert list(group) == list(xz.open(store, consolidated=consolidated)) == ["ab", "c"]
    assert "a/b" not in group
    assert not [key for key in store.inner if key.startswith("a/")]
    with pytest.raises(KeyError):
        del group["a"]
    with pytest.raises(xz.NodeNotFoundError):
        del group["no/such"]


@FORMATS
def test_consolidated_metadata_stay_true(zarr_format: int, tmp_path: Path) -> None:
    """What is created and changed below consolidated groups is in their metadata, as zarr-python reads them too."""
    group = xz.create_group(tmp_path, zarr_format=zarr_format)
    group.create_array("a/b", data=np.arange(4), chunks=2)
    group["a"].consolidate()
    group.consolidate()
    group.create_array("n/m", data=[1.0], dimension_names=["x"])
    group.attrs["root"] = 1
    node = xz.open(tmp_path, mode="r+")["a/b"]
    node.attrs["x"] = float("nan")
    node.append([9, 9])
    xz.open_group(tmp_path, "a", mode="r+").attrs["y"] = 2
    for root in (xz.open(tmp_path, consolidated=True), zarr.open_consolidated(tmp_path)):
        assert kinds(root) == {"a": "group", "a/b": "array", "n": "group", "n/m": "array"}
        assert root["a/b"].shape == (6,)
        assert "x" in root["a/b"].attrs
        assert dict(root["a"].attrs) == {"y": 2}
        assert dict(root.attrs) == {"root": 1}
    inner = xz.open_group(tmp_path, "a", consolidated=True)
    assert inner["b"].shape == (6,)
    assert inner.attrs == {"y": 2}


@FORMATS
def test_read_only_groups_refuse_changes(zarr_format: int) -> None:
    """A group opened with mode "r" creates and deletes nothing."""
    store = MemoryStore()
    xz.create_array(store, "a", data=[1], zarr_format=zarr_format)
    group = xz.open_group(store)
    for change in (
        lambda: group.create_array("b", data=[1]),
        lambda: group.create_group("b"),
        lambda: group.require_group("b"),
        lambda: group.consolidate(),
        lambda: group.__delitem__("a"),
    ):
        with pytest.raises(xz.ReadOnlyError):
            change()
    assert list(xz.open_group(store)) == ["a"]


def test_names_that_leave_the_group_are_refused() -> None:
    """Empty names and those with ".." are errors."""
    group = xz.create_group({}, "g")
    for name in ("", "/", "a/../../b", "..", "a//b"):
        with pytest.raises(xz.XzarrError):
            group.create_array(name, data=[1])
        with pytest.raises(xz.XzarrError):
            del group[name]


def test_durable_arrays_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object that a durable array stores is synchronised, documents included; others are not."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor))[1])
    xz.create_array(tmp_path, "fast", data=np.arange(4), chunks=2)
    assert not synced
    array = xz.create_array(tmp_path, "safe", data=np.arange(4), chunks=2, durable=True)
    assert len(synced) >= 3 * 2  # an object and its folder each
    synced.clear()
    array[:2] = 7
    assert len(synced) >= 2
    assert array.store == LocalStore(tmp_path)


@FORMATS
def test_archives_are_finished_by_closing(zarr_format: int, tmp_path: Path) -> None:
    """A zip archive written through a group is complete after the with statement, without duplicate names."""
    import zipfile

    path = tmp_path / "a.zip"
    with xz.create_group(path, attributes={"x": 1}, zarr_format=zarr_format) as group:
        group.create_array("a/b", data=np.arange(6), chunks=4)
    names = zipfile.ZipFile(path).namelist()
    assert len(names) == len(set(names))
    assert xz.open(path)["a/b"][:].tolist() == list(range(6))
    assert kinds(zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")) == {"a": "group", "a/b": "array"}


@FORMATS
@pytest.mark.parametrize(
    "keywords",
    [
        {"data": [300], "dtype": "u1"},
        {"data": [1], "attributes": {"x": {1}}},
        {"shape": (-1,), "dtype": "i4"},
        {"shape": (4,), "dtype": "i4", "chunks": (2, 2)},
        {"shape": (4,), "dtype": "i4", "compressors": "no such codec"},
        {"shape": (4,), "dtype": "i4", "profile": "elixir"},
    ],
)
def test_bad_arguments_store_nothing(keywords: Any, zarr_format: int) -> None:
    """What cannot be stored is found before anything is deleted or written."""
    store = MemoryStore()
    xz.create_array(store, "a", data=[1], zarr_format=zarr_format)
    before = dict(store.inner)
    with pytest.raises(xz.XzarrError):
        xz.create_array(store, "a", **keywords, zarr_format=zarr_format, overwrite=True)
    with pytest.raises(xz.XzarrError):
        xz.create_array(store, "b/c", **keywords, zarr_format=zarr_format)
    assert store.inner == before


def test_chunks_must_divide_shards() -> None:
    """Shards that the chunks do not divide are an error that names both."""
    with pytest.raises(xz.MetadataError, match="shards"):
        xz.create_array({}, shape=(8,), dtype="i4", chunks=3, shards=8)


def test_broken_parents_are_errors() -> None:
    """A document above that cannot be read stops the creation."""
    store = MemoryStore({"zarr.json": b"{"})
    with pytest.raises(xz.MetadataError):
        xz.create_array(store, "a", data=[1])
    assert list(store.inner) == ["zarr.json"]


def test_documents_of_new_groups_are_those_of_the_format() -> None:
    """A v3 group is one document, a v2 group two."""
    store = MemoryStore()
    xz.create_group(store, attributes={"x": 1})
    assert json.loads(store.inner["zarr.json"]) == {"zarr_format": 3, "node_type": "group", "attributes": {"x": 1}}
    with pytest.raises(xz.UnsupportedError):
        xz.create_group({}, zarr_format=4)


def full_disk(operation: str, key: str) -> OSError | None:
    """The error of a disk without space, for everything that is stored."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key) if operation.startswith("set") else None


@FORMATS
def test_a_full_disk(zarr_format: int) -> None:
    """The error names the object, and the store stays as it was, whichever object found no space."""
    store = MemoryStore()
    group = xz.create_group(store, zarr_format=zarr_format)
    array = group.create_array("a", data=np.arange(6), chunks=4)
    group.consolidate()
    xz.create_array(store, "late", data=[1], zarr_format=zarr_format)
    before = dict(store.inner)
    full = xz.open_group(FailingStore(store, full_disk), mode="r+")
    document = "zarr.json" if zarr_format == 3 else ".z"
    for change, key in (
        (lambda: full.create_array("b", data=[1]), document),
        (lambda: full.create_group("b"), document),
        (lambda: full.consolidate(), document),
        (lambda: full.attrs.update(x=1), document),
        (lambda: full["a"].attrs.update(x=1), document),
        (lambda: full["a"].resize(9), document),
        (lambda: full["a"].append([1, 2]), array.layout.key((1,))),
        (lambda: full["a"].__setitem__(0, 9), array.layout.key((0,))),
    ):
        with pytest.raises(xz.XzarrError, match="could not be stored: No space left") as caught:
            change()
        assert key in str(caught.value)
        assert "as it was" in caught.value.hint
        assert store.inner == before


class Meanwhile(MemoryStore):
    """Does something, once, after a request: what another program does at that moment."""

    request, then = ("", ""), staticmethod(lambda: None)

    def after(self, request: tuple[str, str]) -> None:
        """Do it now, if it is after ``request``."""
        if request == self.request:
            self.request = ("", "")
            self.then()

    def set(self, key: str, value: Any) -> None:
        """Store, then do it."""
        super().set(key, value)
        self.after(("set", key))

    def delete_prefix(self, prefix: str) -> None:
        """Delete, then do it."""
        super().delete_prefix(prefix)
        self.after(("delete_prefix", prefix))


@FORMATS
def test_what_others_create_while_it_is_deleted_stays_listed(zarr_format: int) -> None:
    """Consolidated metadata list a group, and its members, that were made anew before the deletion was told."""
    store = Meanwhile()
    group = xz.create_group(store, zarr_format=zarr_format)
    group.create_array("a/b", data=[1, 2])
    group.create_array("a/old", data=[1, 2])
    group.consolidate()
    store.request = ("delete_prefix", "a/")
    store.then = lambda: xz.open_group(store, mode="r+").create_array("a/b", data=[1, 2, 3])
    del group["a"]
    assert kinds(xz.open(store, consolidated=True)) == {"a": "group", "a/b": "array"}
    assert xz.open(store, consolidated=True)["a/b"].shape == (3,)


@FORMATS
def test_what_others_delete_while_it_changes_is_not_listed_again(zarr_format: int) -> None:
    """Attributes of an array that is deleted before they are told do not bring it back into consolidated metadata."""
    store = Meanwhile()
    group = xz.create_group(store, zarr_format=zarr_format)
    array = group.create_array("a", data=[1, 2])
    group.consolidate()
    store.request = ("set", "a/zarr.json" if zarr_format == 3 else "a/.zattrs")
    store.then = lambda: xz.open_group(store, mode="r+").__delitem__("a")
    array.attrs["x"] = 1
    assert kinds(xz.open(store, consolidated=True)) == kinds(xz.open(store, consolidated=False)) == {}
