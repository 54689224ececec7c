"""Appends to several arrays and replaced nodes: what readers see meanwhile, and what errors leave."""

from __future__ import annotations

import errno
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import FailingStore, ForwardingStore, InterruptedStore
from xzarr_backend.array import Array
from xzarr_backend.clearing import resized_spec
from xzarr_backend.errors import MetadataError, NodeNotFoundError, ReadOnlyError, RegionError
from xzarr_backend.journal import Journal, has_journal
from xzarr_backend.options import Options
from xzarr_backend.pending import load_record, record_key
from xzarr_backend.stores import MemoryStore, Store, exchange
from xzarr_backend.stores.base import Buffer
from xzarr_backend.stores.files import host_mark, remove_tree
from xzarr_backend.stores.local import LocalStore
from xzarr_backend.transactions import Append, Replacement, can_stage, recover, replaced_node

DEAD = 2**22 + 1  # no process of Linux has that number


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    return LocalStore(tmp_path / "data.zarr") if request.param == "local" else MemoryStore()


@pytest.fixture(params=["v2", "v3", "v3 consolidated", "v2 consolidated"])
def store(request: pytest.FixtureRequest, place: Store) -> Store:
    """A store of two arrays of ten elements, in chunks of four."""
    version = int(request.param[1])
    xz.create_group(place, zarr_format=version)
    for name in ("a", "b"):
        xz.create_array(place, name, data=np.arange(1, 11), chunks=4, fill_value=-1, zarr_format=version)
    if "consolidated" in request.param:
        xz.consolidate_metadata(place)
    return place


OLD = {"a": (10,), "b": (10,)}
NEW = {"a": (15,), "b": (15,)}


def grown(store: Store, name: str, length: int = 15) -> Array:
    """Return an array as it is to be after the append."""
    array = xz.open_array(store, name, mode="r+")
    return Array(store, name, resized_spec(array.spec, (length,)), Options(writable=True))


def fill(store: Store) -> None:
    """Store the new chunks of both arrays."""
    for name in NEW:
        grown(store, name)[10:] = np.arange(100, 105)


def shapes(store: Store, consolidated: bool | None = False) -> dict[str, tuple[int, ...]]:
    """Return what a reader that lists the group sees."""
    return {name: array.shape for name, array in xz.open_group(store, consolidated=consolidated).arrays()}


def change_record(store: Store, **changes: Any) -> None:
    """Let the note of an append be that of another writer."""
    record = load_record(store, "")
    assert record is not None
    store.set(record_key(""), json.dumps({**record, **changes}).encode())


ENDED = {"host": host_mark(), "pid": DEAD, "time": 0}


def test_readers_see_the_old_sizes_until_the_commit(store: Store) -> None:
    """All arrays grow at once, for readers that list and for those of consolidated metadata."""
    append = Append.begin(store, "", OLD, NEW)
    fill(store)
    assert shapes(store) == shapes(store, None) == OLD
    append.commit()
    assert shapes(store) == shapes(store, None) == NEW
    np.testing.assert_array_equal(xz.open_array(store, "b")[9:], [10, 100, 101, 102, 103, 104])
    assert load_record(store, "") is None
    assert ".xzarr/" not in store.list_dir("")


def test_half_grown_documents_do_not_show(store: Store) -> None:
    """Between the first document and the last, readers see the old sizes, or the new ones once all is stored."""
    seen: list[dict[str, tuple[int, ...]]] = []
    late = InterruptedStore(store, _sets_document_of_b, lambda: seen.append(shapes(store)))
    append = Append.begin(late, "", OLD, NEW)
    fill(store)
    append.commit()
    assert seen == [NEW]
    assert shapes(store) == NEW


def _sets_document_of_b(operation: str, key: str) -> bool:
    return operation == "set" and key in ("b/zarr.json", "b/.zarray")


def test_rolling_back_leaves_nothing_behind_the_end(store: Store) -> None:
    """After a rollback the arrays are as before, and growing them shows the fill value."""
    before = {key: bytes(store.get(key) or b"") for key, _ in store.walk("")}
    append = Append.begin(store, "", OLD, {**NEW, "c": (15,)})
    version = xz.open_group(store).zarr_format
    fill(store)
    xz.create_array(store, "c", data=np.arange(15), chunks=4, zarr_format=version)
    assert "c" not in shapes(store)
    append.rollback()
    assert shapes(store) == OLD
    np.testing.assert_array_equal(grown(store, "a")[8:], [9, 10, -1, -1, -1, -1, -1])
    assert {key for key, _ in store.walk("")} == before.keys()


def test_created_arrays_appear_with_the_commit(store: Store) -> None:
    """An array that the append creates is hidden before, and in consolidated metadata afterwards."""
    append = Append.begin(store, "", OLD, {**NEW, "c": (15,)})
    fill(store)
    version = xz.open_group(store).zarr_format
    xz.create_array(store, "c", data=np.arange(15), attributes={"units": "m"}, zarr_format=version)
    assert shapes(store) == OLD
    append.commit()
    assert shapes(store) == shapes(store, None) == {**NEW, "c": (15,)}
    assert xz.open_group(store)["c"].attrs["units"] == "m"


def test_an_error_while_growing_rolls_back(store: Store) -> None:
    """When a document cannot be stored, its error is raised and the store is as it was."""
    failing = FailingStore(store, lambda *call: RuntimeError("no more") if _sets_document_of_b(*call) else None)
    append = Append.begin(failing, "", OLD, NEW)
    fill(store)
    with pytest.raises(RuntimeError, match="no more"):
        append.commit()
    assert shapes(store) == shapes(store, None) == OLD
    np.testing.assert_array_equal(grown(store, "b")[10:], [-1] * 5)


def _fail() -> None:
    raise RuntimeError("no more")


def test_an_append_that_cannot_be_undone_says_so_and_is_undone_later(store: Store) -> None:
    """With a store that fails for good, the first error stays the error; the next writer mends."""
    broken: list[str] = []
    failing = FailingStore(store, lambda operation, key: OSError(f"{operation} {key}") if operation in broken else None)
    append = Append.begin(failing, "", OLD, NEW)
    fill(store)
    broken.extend(["set", "delete"])
    with pytest.raises(xz.XzarrError, match=r"'.xzarr/append.json' could not be stored: set .xzarr") as caught:
        append.commit()
    assert "the next writer" in caught.value.__notes__[0]
    assert shapes(store) == OLD
    recover(store, "")
    assert load_record(store, "") is None
    np.testing.assert_array_equal(grown(store, "b")[10:], [-1] * 5)


@pytest.mark.parametrize("written", range(6))
def test_a_full_disk_is_told_as_everywhere(store: Store, written: int) -> None:
    """Whichever document finds no space for a moment, the error names it, and the store is as it was."""

    def fail(operation: str, key: str) -> OSError | None:
        if not operation.startswith("set"):
            return None
        tried.append(key)
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key) if len(tried) == written + 1 else None

    tried: list[str] = []
    failing = FailingStore(store, fail)
    try:
        append = Append.begin(failing, "", OLD, NEW)
        fill(store)
        append.commit()
    except xz.XzarrError as error:
        assert f"the document {tried[written]!r} could not be stored: No space left" in str(error)
        assert shapes(store) == shapes(store, None) == OLD
    else:
        assert shapes(store) == shapes(store, None) == NEW
    assert load_record(store, "") is None


def test_two_appends_exclude_each_other(store: Store) -> None:
    """The second one is refused while the first one's writer lives, and nothing of the first one is touched."""
    append = Append.begin(store, "", OLD, NEW)
    with pytest.raises(RegionError, match="under way"):
        Append.begin(store, "", OLD, {"a": (11,)})
    recover(store, "")
    fill(store)
    append.commit()
    assert shapes(store) == NEW


def test_an_append_that_ends_while_another_one_begins(store: Store) -> None:
    """The shapes are looked at when the note is there, not before: who comes too late is refused."""

    def append() -> None:
        first = Append.begin(store, "", OLD, NEW)
        fill(store)
        first.commit()

    late = InterruptedStore(store, lambda operation, key: operation == "set_if_absent", append)
    with pytest.raises(RegionError, match="it was changed meanwhile"):
        Append.begin(late, "", OLD, NEW)
    assert late.done
    assert load_record(store, "") is None
    assert shapes(store) == shapes(store, None) == NEW


def test_a_note_is_its_writers_from_the_first_moment(store: Store) -> None:
    """A thread that finds it before its writer goes on leaves it alone, and is refused."""

    class NoticedStore(ForwardingStore):
        """Lets another writer look at what was just stored."""

        def set_if_absent(self, key: str, value: Buffer) -> bool:
            done = self.inner.set_if_absent(key, value)
            with pytest.raises(RegionError, match="under way"):
                Append.begin(self.inner, "", OLD, {"a": (11,)})
            return done

    append = Append.begin(NoticedStore(store), "", OLD, NEW)
    fill(store)
    append.commit()
    assert load_record(store, "") is None
    assert shapes(store) == shapes(store, None) == NEW


@pytest.mark.parametrize("owner", [None, ENDED])
def test_arrays_of_an_append_do_not_change_alone(store: Store, owner: Any) -> None:
    """Their shape would be lost when it ends, or is undone; others of the group may grow."""
    append = Append.begin(store, "", {"a": (10,)}, {"a": (15,)})
    fill(store)
    if owner is not None:
        change_record(store, owner=owner)
    array = xz.open_array(store, "a", mode="r+")
    for change in (lambda: array.append([1, 2]), lambda: array.resize(20)):
        with pytest.raises(RegionError, match="under way, or was interrupted"):
            change()
    xz.open_array(store, "b", mode="r+").append([1, 2])
    if owner is None:
        append.commit()
    else:
        recover(array.store, "")
        array.append([100, 101, 102, 103, 104])
    assert shapes(store) == {"a": (15,), "b": (12,)}
    np.testing.assert_array_equal(xz.open_array(store, "a")[9:], [10, 100, 101, 102, 103, 104])


def test_an_array_that_grows_alone_while_an_append_begins(store: Store) -> None:
    """The append waits for the array, and finds that it has changed."""
    refused: list[Exception] = []

    def begin() -> None:
        try:
            Append.begin(store, "", OLD, NEW)
        except RegionError as error:
            refused.append(error)

    other = threading.Thread(target=begin)

    def begin_other() -> None:
        other.start()
        other.join(0.2)  # as far as it gets

    interrupted = InterruptedStore(store, lambda operation, key: operation == "set", begin_other)
    xz.open_array(interrupted, "a", mode="r+").append([200, 201])
    other.join()
    assert interrupted.done and len(refused) == 1
    assert load_record(store, "") is None
    assert shapes(store) == shapes(store, None) == {"a": (12,), "b": (10,)}
    np.testing.assert_array_equal(xz.open_array(store, "a")[9:], [10, 200, 201])


@pytest.mark.parametrize("state", ["writing", "stored"])
def test_two_that_find_a_killed_append(store: Store, state: str) -> None:
    """One of them mends it, the other one waits; what that one appends then is left alone."""
    Append.begin(store, "", OLD, NEW)
    fill(store)
    change_record(store, owner=ENDED, state=state)
    before = 15 if state == "stored" else 10
    appended: list[Append] = []

    def recover_too() -> None:
        recover(store, "")
        appended.append(Append.begin(store, "", {"a": (before,)}, {"a": (before + 5,)}))
        grown(store, "a", before + 5)[before:] = 200

    other = threading.Thread(target=recover_too)

    def begin_other() -> None:
        other.start()
        other.join(0.2)  # as far as it gets

    changes = ("delete", "set", "set_if_absent")
    recover(InterruptedStore(store, lambda operation, key: operation in changes, begin_other), "")
    other.join()
    record = load_record(store, "")
    assert record is not None and record["id"] == appended[0].record["id"]
    appended[0].commit()
    assert shapes(store) == shapes(store, None) == {"a": (before + 5,), "b": (before,)}
    np.testing.assert_array_equal(xz.open_array(store, "a")[before:], [200] * 5)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ({"a": (9,)}, {"a": (15,)}, RegionError),
        ({"a": (10,)}, {"a": (5,)}, RegionError),
        ({"x": (10,)}, {"x": (15,)}, NodeNotFoundError),
    ],
)
def test_wrong_appends_are_refused(store: Store, old: Any, new: Any, error: type[Exception]) -> None:
    """An array that has another shape, is to shrink, or does not exist; nothing is noted."""
    with pytest.raises(error):
        Append.begin(store, "", old, new)
    assert load_record(store, "") is None


def test_a_killed_append_is_undone_or_finished(store: Store) -> None:
    """The next writer undoes it, with its journal, while chunks were missing; it finishes it when all were stored."""
    Append.begin(store, "", OLD, NEW)
    Journal.open(store, "", "plan", resume=False)
    fill(store)
    change_record(store, owner=ENDED)
    recover(store, "", resume=True)
    assert load_record(store, "") is not None
    recover(store, "")
    assert shapes(store) == OLD
    assert not has_journal(store, "")
    Append.begin(store, "", OLD, NEW)
    fill(store)
    change_record(store, owner=ENDED, state="stored")
    assert shapes(store) == NEW
    recover(store, "")
    assert shapes(store) == shapes(store, None) == NEW


def test_a_killed_append_can_be_resumed(store: Store) -> None:
    """The same append takes over what was stored; another one begins anew."""
    Append.begin(store, "", OLD, NEW)
    fill(store)
    change_record(store, owner=ENDED)
    append = Append.begin(store, "", OLD, NEW, resume=True)
    append.commit()
    np.testing.assert_array_equal(xz.open_array(store, "a")[10:], np.arange(100, 105))


def test_an_append_of_another_host_is_left_alone(store: Store) -> None:
    """Whether its writer lives cannot be known, until somebody says so or a week has passed."""
    Append.begin(store, "", OLD, NEW)
    import time

    change_record(store, owner={"host": "elsewhere", "pid": 1, "time": time.time()})
    recover(store, "")
    assert load_record(store, "") is not None
    with pytest.raises(RegionError, match="under way"):
        Append.begin(store, "", OLD, NEW)
    recover(store, "", force=True)
    assert load_record(store, "") is None


def test_an_append_pickles(store: Store) -> None:
    """The last task of a graph, in another process, may commit it."""
    append = Append.begin(store, "", OLD, NEW)
    fill(store)
    if store.shared_between_processes:
        pickle.loads(pickle.dumps(append)).commit()
        assert shapes(store) == NEW


@pytest.mark.parametrize("note", [b"{", b"{}", b'{"state": "writing", "arrays": {"a": 1}}'])
def test_a_damaged_note_is_an_error(store: Store, note: bytes) -> None:
    """Sizes are not guessed."""
    store.set(record_key(""), note)
    with pytest.raises(MetadataError):
        shapes(store)


def test_rectilinear_arrays_grow_too(place: Store) -> None:
    """A grid of explicit edges is part of what is noted, so that both sides can be restored."""
    xz.create_group(place)
    xz.create_array(place, "a", data=np.arange(10), chunks=[[3, 7]], fill_value=-1)
    append = Append.begin(place, "", {"a": (10,)}, {"a": (15,)})
    fill_array = grown(place, "a")
    fill_array[10:] = 5
    change_record(place, state="stored")
    assert shapes(place) == {"a": (15,)}
    append.commit()
    assert xz.open_array(place, "a").chunks == ((3, 7, 7),)


def test_parents_metadata_follow(place: Store) -> None:
    """Consolidated metadata of groups further up change with the append, too."""
    xz.create_group(place)
    xz.create_group(place, "g/h")
    xz.create_array(place, "g/h/a", data=np.arange(10), chunks=4)
    xz.consolidate_metadata(place)
    append = Append.begin(place, "g/h", {"a": (10,)}, {"a": (15,)})
    assert xz.open_group(place)["g/h/a"].shape == (10,)
    append.commit()
    assert xz.open_group(place, consolidated=True)["g/h/a"].shape == (15,)


# --- replacing -------------------------------------------------------------------------------------------------------


def build(store: Store, path: str, value: int) -> None:
    """Store a group of one array."""
    xz.create_group(store, path)
    xz.create_array(store, f"{path}/a" if path else "a", data=np.full(5, value))


@pytest.fixture(params=["one step", "two renames"])
def local(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A local store, on a system that can exchange two names, and on one that cannot."""
    if request.param == "two renames":
        monkeypatch.setattr(exchange, "_renameat2", lambda: None)
    store = LocalStore(tmp_path / "data.zarr")
    build(store, "", 1)
    build(store, "g/h", 1)
    return store


@pytest.mark.parametrize("path", ["", "g/h", "g/new"])
def test_the_old_node_stays_until_the_new_one_is_complete(local: LocalStore, path: str, tmp_path: Path) -> None:
    """While the new one is built, readers and listings see the old one only; then the new one only."""
    before = sorted(key for key, _ in local.walk(""))
    array = f"{path}/a" if path else "a"
    with replaced_node(local, path) as (store, inner):
        build(store, inner, 2)
        assert sorted(key for key, _ in local.walk("")) == before
        if path != "g/new":
            assert xz.open_array(local, array)[0] == 1
    assert xz.open_array(local, array)[0] == 2
    assert [name for _, folders, files in os.walk(tmp_path) for name in folders + files if ".xzarr" in name] == []
    if path:
        assert xz.open_array(local, "a")[0] == 1


def test_an_error_leaves_the_old_node(local: LocalStore, tmp_path: Path) -> None:
    """What was built is removed."""
    with pytest.raises(RuntimeError), replaced_node(local, "") as (store, path):
        build(store, path, 2)
        _fail()
    assert xz.open_array(local, "a")[0] == 1
    assert os.listdir(tmp_path) == ["data.zarr"]


def test_a_replacement_pickles(local: LocalStore) -> None:
    """The last task of a graph may commit it."""
    replacement = Replacement.begin(local, "g/h")
    build(replacement.store, replacement.path, 2)
    pickle.loads(pickle.dumps(replacement)).commit()
    assert xz.open_array(local, "g/h/a")[0] == 2


def test_a_store_behind_a_link_is_replaced_behind_it(local: LocalStore, tmp_path: Path) -> None:
    """The link stays and leads to the new store."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.zarr"
    link.symlink_to(tmp_path / "data.zarr")
    with replaced_node(LocalStore(link), "") as (store, path):
        build(store, path, 2)
    assert link.is_symlink()
    assert xz.open_array(local, "a")[0] == 2


def test_a_store_that_does_not_exist_is_made(tmp_path: Path) -> None:
    """With all the folders above it."""
    store = LocalStore(tmp_path / "x" / "y.zarr")
    with replaced_node(store, "") as (staged, path):
        build(staged, path, 2)
    assert xz.open_array(store, "a")[0] == 2


def test_resuming_goes_on_with_what_was_built(local: LocalStore, tmp_path: Path) -> None:
    """What a writer with a journal had built is taken over; without ``resume`` it is removed."""
    with pytest.raises(RuntimeError), replaced_node(local, "", resume=True) as (store, path):
        build(store, path, 2)
        Journal.open(store, path, "plan", resume=True).mark(["a/c/0"])
        Path(store.url, "a", f".xzarr-{host_mark()}-{DEAD}-0123456789ab.tmp").write_bytes(b"half")
        _fail()
    assert xz.open_array(local, "a")[0] == 1
    with pytest.raises(RuntimeError), replaced_node(local, "", resume=True) as (store, path):
        assert Journal.open(store, path, "plan", resume=True).is_done("a/c/0")
        assert xz.open_array(store, "a")[0] == 2
        assert list(Path(store.url).rglob("*.tmp")) == []
        _fail()
    with replaced_node(local, "") as (store, path):
        assert not has_journal(store, path)
        build(store, path, 3)
    assert os.listdir(tmp_path) == ["data.zarr"]


def test_only_ones_own_kind_is_swept(local: LocalStore, tmp_path: Path) -> None:
    """Folders of living writers, of other stores and of other programs stay."""
    alive = Replacement.begin(local, "")
    other = tmp_path / ".xzarr-something"
    other.mkdir()
    foreign = Replacement.begin(LocalStore(tmp_path / "other.zarr"), "")
    dead = exchange.stage(str(tmp_path / "data.zarr"))
    exchange.release(dead)
    with replaced_node(local, "") as (store, path):
        build(store, path, 2)
    assert not Path(dead).exists()
    assert other.exists()
    for kept in (alive, foreign):
        assert kept.staged is not None and Path(kept.staged).exists()
        kept.abort()


@pytest.mark.parametrize("call", ["mkdir", "rename"])
def test_a_folder_is_ones_own_from_the_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Another thread that sweeps as soon as the folder is there leaves it alone, whether it is new or adopted."""
    target = str(tmp_path / "data.zarr")
    dead = exchange.stage(target)
    exchange.release(dead)
    real, abandoned = getattr(os, call), []

    def made(*names: str) -> None:
        real(*names)
        abandoned.append(exchange.is_abandoned(names[-1]))

    monkeypatch.setattr(os, call, made)
    staged = exchange.stage(target) if call == "mkdir" else exchange.adopt(target, dead)
    assert abandoned == [False]
    exchange.discard(staged)


@pytest.mark.parametrize("path", ["", "g/h"])
def test_an_exchange_that_ended_between_its_renames_is_finished_at_open(local: LocalStore, path: str) -> None:
    """Opening the node, or listing the group above, finds the new one."""
    array = f"{path}/a" if path else "a"
    _end_between_the_renames(local, path)
    assert xz.open_array(local, array)[0] == 2
    _end_between_the_renames(local, path)
    if path:
        assert list(xz.open_group(local, "g")) == ["h"]
    with replaced_node(local, path) as (store, inner):
        build(store, inner, 3)
    assert xz.open_array(local, array)[0] == 3


def _end_between_the_renames(local: LocalStore, path: str) -> None:
    replacement = Replacement.begin(local, path)
    build(replacement.store, replacement.path, 2)
    staged, target = str(replacement.staged), replacement.target
    old = f"{staged.removesuffix('.new')}.old"
    names = [os.path.basename(place) for place in (target, staged, old)]
    exchange._note(exchange._record_path(target), f"{staged}.tmp", names)
    os.rename(target, old)
    exchange.release(staged)


def test_a_mount_point_is_replaced_in_place(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder cannot be renamed, so that the old node goes first."""
    monkeypatch.setattr(os.path, "ismount", lambda path: path == local.root)
    assert not can_stage(local, "")
    assert can_stage(local, "g/h")
    with replaced_node(local, "") as (store, path):
        assert (store, path) == (local, "")
        build(store, path, 2)
    assert xz.open_array(local, "a")[0] == 2


def test_other_stores_are_replaced_in_place() -> None:
    """There the old node is deleted first, unless a journal says that it is the new one already."""
    store = MemoryStore()
    build(store, "", 1)
    with replaced_node(store, "", resume=True) as (place, path):
        assert place is store
        assert list(store.walk("")) == []
        build(place, path, 2)
        Journal.open(place, path, "plan", resume=True)
    with replaced_node(store, "", resume=True) as (place, path):
        assert xz.open_array(store, "a")[0] == 2


def test_read_only_stores_are_refused(local: LocalStore) -> None:
    """Neither mended, appended to nor replaced."""
    store = LocalStore(local.root, read_only=True)
    for attempt in (
        lambda: recover(store, ""),
        lambda: Append.begin(store, "", {"a": (5,)}, {"a": (6,)}),
        lambda: Replacement.begin(store, ""),
    ):
        with pytest.raises(ReadOnlyError):
            attempt()


def test_temporary_files_are_swept_by_the_next_writer(local: LocalStore) -> None:
    """What a killed writer of single objects left goes, what a living one works on stays."""
    dead = Path(local.root, "a", "c", f".xzarr-{host_mark()}-{DEAD}-0123456789ab.tmp")
    alive = Path(local.root, "a", "c", f".xzarr-{host_mark()}-{os.getpid()}-0123456789ab.tmp")
    for path in (dead, alive):
        path.write_bytes(b"half")
    assert xz.open_array(local, "a").nchunks_stored() == 1
    recover(local, "")
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.parametrize("in_one_step", [True, False])
def test_what_others_delete_before_it_is_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_step: bool
) -> None:
    """A node that is deleted at the moment at which it is to be replaced: the new one is there, and nothing else."""
    exchange_names = exchange._exchange_names

    def deleted_first(staged: str, target: str) -> bool:
        remove_tree(target)
        return in_one_step and exchange_names(staged, target)

    monkeypatch.setattr(exchange, "_exchange_names", deleted_first)
    group = xz.create_group(tmp_path)
    group.create_array("a", data=[1, 2])
    group.create_array("a", data=[3], overwrite=True)
    np.testing.assert_array_equal(group["a"][...], [3])
    assert sorted(os.listdir(tmp_path)) == ["a", "zarr.json"]
