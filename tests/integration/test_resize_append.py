"""Resizing and appending: what NumPy would hold, in every layout; and values that do not fit."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from stores_fakes import CountingStore, FailingStore, without_file_locks

import xzarr_backend as xz
from xzarr_backend import clearing, compiled
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

LAYOUTS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (3, 2)},
    "v2-F": {"zarr_format": 2, "chunks": (2, 3), "order": "F", "chunk_key_encoding": "/"},
    "v3": {"chunks": (2, 3), "fill_value": 7},
    "sharded": {"chunks": (2, 1), "shards": (4, 3), "fill_value": -1},
    "rectilinear": {"chunks": ([2, 1, 4], [3, 5])},
    "one axis": {"chunks": (2, [3, 5]), "fill_value": 7},
    "empty kept": {"chunks": (2, 2), "write_empty_chunks": True},
}


def fill_of(layout: str) -> int:
    """The fill value of a layout."""
    return int(LAYOUTS[layout].get("fill_value", 0))


class Changes(RuleBasedStateMachine):
    """An array and a NumPy array beside it, which go through the same changes."""

    layout = "v3"

    @initialize(store=st.sampled_from(["memory", "local"]))
    def create(self, store: str) -> None:
        self.folder = tempfile.TemporaryDirectory() if store == "local" else None
        self.store: Any = MemoryStore() if self.folder is None else self.folder.name
        self.model = np.full((7, 8), fill_of(self.layout), "i4")
        self.array = xz.create_array(self.store, "a", shape=(7, 8), dtype="i4", **LAYOUTS[self.layout])
        self.next = 100

    def values(self, *shape: int) -> Any:
        """Numbers that are nowhere else."""
        found = np.arange(self.next, self.next + np.prod(shape, dtype=int), dtype="i4").reshape(shape)
        self.next += found.size
        return found

    def check(self) -> None:
        np.testing.assert_array_equal(self.array[...], self.model)
        assert self.array.shape == self.model.shape

    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        """Write a box, or the fill value into it."""
        box = tuple(
            slice(*sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in self.array.shape
        )
        shape = self.model[box].shape
        values = self.values(*shape) if data.draw(st.booleans()) else np.full(shape, fill_of(self.layout))
        self.array[box] = self.model[box] = values
        self.check()

    @rule(rows=st.integers(0, 12), columns=st.integers(0, 12))
    def resize(self, rows: int, columns: int) -> None:
        """Grow or shrink each dimension."""
        model = np.full((rows, columns), fill_of(self.layout), "i4")
        kept = tuple(slice(0, min(a, b)) for a, b in zip(model.shape, self.model.shape, strict=True))
        model[kept] = self.model[kept]
        self.array.resize((rows, columns))
        self.model = model
        self.check()

    @precondition(lambda self: max(self.model.shape) < 20)
    @rule(axis=st.sampled_from([0, 1, -1]), length=st.integers(0, 5))
    def append(self, axis: int, length: int) -> None:
        """Append to either dimension."""
        shape = list(self.model.shape)
        shape[axis] = length
        values = self.values(*shape)
        self.model = np.concatenate([self.model, values], axis)
        assert self.array.append(values, axis) == self.model.shape
        self.check()

    @rule()
    def reopen(self) -> None:
        """Open the array again: what is stored says the same."""
        self.array = xz.open_array(self.store, "a", mode="r+")
        self.check()
        assert all(key != "a/.lock" for key, _ in self.array.store.walk(""))

    def teardown(self) -> None:
        if getattr(self, "folder", None) is not None:
            self.folder.cleanup()  # type: ignore[union-attr]


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_sequence_of_changes(layout: str, few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assigning, resizing, appending and reopening in any order give what NumPy gives, as with very many chunks."""
    from hypothesis.stateful import run_state_machine_as_test

    if not few:
        monkeypatch.setattr(clearing, "FEW", 0)
        monkeypatch.setattr(clearing, "LOOKED_FOR", 0)
    machine = type(f"Changes of {layout}", (Changes,), {"layout": layout})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=12))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_cut_off_is_deleted(layout: str) -> None:
    """Shrinking leaves no object outside the new shape; shrinking to nothing leaves the documents only."""
    store = MemoryStore()
    array = xz.create_array(store, data=np.arange(56).reshape(7, 8) + 100, **LAYOUTS[layout])
    array.resize((2, 3))
    assert array.nchunks_stored() == sum(1 for key in store.inner if key[0] != "." and key != "zarr.json")
    array.resize((0, 8))
    assert array.nchunks_stored() == 0
    assert sorted(store.inner) == ([".zarray"] if array.zarr_format == 2 else ["zarr.json"])
    array.resize((7, 8))
    assert (array[...] == fill_of(layout)).all()


def test_shrinking_a_grid_of_millions_looks_at_what_is_stored() -> None:
    """Where most chunks were never written, those that were are found and deleted, in no time."""
    array = xz.create_array({}, shape=(10**9, 10**6), chunks=(10, 10), dtype="u1")
    array[5, 5] = array[10**9 - 1, 10**6 - 1] = 1
    array.resize((10, 10**6))
    assert array.nchunks_stored() == 1
    array.resize((10**9, 10**6))
    assert array[10**9 - 1, 10**6 - 1] == 0
    assert array[5, 5] == 1


def test_a_cut_through_millions_of_chunks_looks_at_what_is_stored() -> None:
    """Of chunks that the new end cuts, only those that are stored are read and changed; others were all looked for."""
    store = CountingStore(MemoryStore())
    array = xz.create_array(store, shape=(10**15, 10**15), chunks=(10, 10), dtype="u1")
    array[7:9, 10**14] = 1
    store.requests.clear()
    array.resize((8, 10**15))
    assert [call.key for call in store.requests if "c/" in call.key and call.operation == "get"] == [f"c/0/{10**13}"]
    assert sum(call.operation == "walk" for call in store.requests) == 1
    array.resize((10**15, 10**15))
    assert array[6:10, 10**14].tolist() == [0, 1, 0, 0]


def test_a_cut_in_a_store_that_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be listed is looked for in every chunk."""
    monkeypatch.setattr(clearing, "LOOKED_FOR", 100)
    refusal = xz.UnsupportedError("the store cannot be listed")
    store = FailingStore(MemoryStore(), lambda operation, key: refusal if operation in ("list_dir", "walk") else None)
    array = xz.create_array(store, data=np.ones((2000, 8), "u1"), chunks=(1, 8))
    array.resize((2000, 7))
    array.resize((2000, 8))
    assert (array[...] == [1] * 7 + [0]).all()


def test_scalars_and_one_number() -> None:
    """A shape may be one number; an array without dimensions has only one shape, and nothing can be appended to it."""
    array = xz.create_array({}, data=[1, 2, 3])
    array.resize(2)
    assert array[:].tolist() == [1, 2]
    scalar = xz.create_array({}, data=5)
    scalar.resize(())
    assert scalar[()] == 5
    with pytest.raises(xz.RegionError):
        scalar.append(1)


@pytest.mark.parametrize("shape", [(1, 2), (), -1, (-1,), 1.5, "a", (None,), (2**64,)])
def test_shapes_that_are_none(shape: Any) -> None:
    """A shape with the wrong number of dimensions, or of anything but whole numbers from 0, changes nothing."""
    array = xz.create_array({}, data=[1, 2])
    with pytest.raises(xz.MetadataError, match="must be 1 whole number"):
        array.resize(shape)
    assert xz.open(array.store).shape == array.shape == (2,)


@pytest.mark.parametrize(
    ("values", "axis"), [([1], 0), ([[1, 2, 3]], 0), ([[1, 2]], 1), ([[1, 2]], 2), ([[1, 2]], -3), (5, 0)]
)
def test_values_that_cannot_be_appended(values: Any, axis: int) -> None:
    """Values whose other dimensions differ, or an axis that is none, change nothing."""
    array = xz.create_array({}, data=[[1, 2], [3, 4], [5, 6]])
    before = dict(array.store.inner)
    with pytest.raises(xz.RegionError):
        array.append(values, axis)
    assert array.store.inner == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_failed_append_leaves_the_array_as_it_was(layout: str, failing: int) -> None:
    """Whichever object cannot be stored: shape and values stay, for this object, for readers, and for later growth."""
    store = MemoryStore()
    values = np.arange(35).reshape(7, 5) + 100
    keywords = LAYOUTS[layout] | (
        {"chunks": (LAYOUTS[layout]["chunks"][0], 2)} if "shards" not in LAYOUTS[layout] else {}
    )
    xz.create_array(store, data=values, **keywords)
    count = 0

    def fail(operation: str, key: str) -> Exception | None:
        nonlocal count
        count += operation == "set"
        return OSError(28, "No space left on device") if operation == "set" and count == failing else None

    array = xz.open_array(FailingStore(store, fail), mode="r+")
    with pytest.raises(xz.XzarrError):
        array.append(np.ones((6, 5)))
    for found in (array, xz.open_array(store, mode="r+")):
        assert found.shape == (7, 5)
        np.testing.assert_array_equal(found[...], values)
    found.resize((13, 5))
    assert (found[7:] == fill_of(layout)).all()


def test_the_shape_grows_last() -> None:
    """A writer that is killed before the last step leaves a store that reads as before."""
    store = MemoryStore()
    array = xz.create_array(store, data=np.arange(5), chunks=2)
    order: list[str] = []
    spy = FailingStore(store, lambda operation, key: order.append(key) if operation == "set" else None)
    xz.open_array(spy, mode="r+").append(np.arange(5))
    assert order[-1] == "zarr.json"
    assert order.count("zarr.json") == 1
    order.clear()
    xz.open_array(spy, mode="r+").resize(3)
    assert order[:2] == [".xzarr/cut.json", "zarr.json"]
    assert array.shape == (5,), "other objects learn of it when they open the array again"


def test_values_that_make_no_array_are_refused() -> None:
    """Ragged values are a `RegionError` that names the array, as in an assignment."""
    store = MemoryStore()
    array = xz.create_array(store, data=np.arange(5), chunks=2)
    with pytest.raises(xz.RegionError, match="the values make no array") as caught:
        array.append([1, [2, 3]])
    assert caught.value.where == array.where
    assert array.shape == (5,)


def test_a_shrink_that_finds_no_space_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note of what is about to be cut off is stored first; where that fails, nothing is left of it."""
    array = xz.create_array(tmp_path / "a.zarr", data=np.arange(5), chunks=2)

    def full(store: LocalStore, key: str, value: Any) -> None:
        (tmp_path / "a.zarr" / key).parent.mkdir(exist_ok=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalStore, "set", full)
    with pytest.raises(xz.XzarrError, match=r"cut\.json' could not be stored: No space left"):
        array.resize(3)
    assert sorted(path.name for path in (tmp_path / "a.zarr").iterdir()) == ["c", "zarr.json"]
    np.testing.assert_array_equal(xz.open(tmp_path / "a.zarr")[...], np.arange(5))


def test_an_append_through_a_stale_object_is_refused() -> None:
    """Appending where another writer changed the shape meanwhile would lose data: it raises, and loses nothing."""
    store = MemoryStore()
    array = xz.create_array(store, data=[1, 2, 3], chunks=2)
    stale = xz.open_array(store, mode="r+")
    array.append([4, 5, 6])
    with pytest.raises(xz.RegionError, match="another writer"):
        stale.append([9, 9])
    assert xz.open(store)[:].tolist() == [1, 2, 3, 4, 5, 6]


class Unlocked(LocalStore):
    """A folder that offers no locks to processes, as most remote stores."""

    def lock(self, key: str) -> Any:
        return None


@pytest.mark.parametrize("layout", ["v2", "v3", "sharded"])
@pytest.mark.parametrize("kind", [MemoryStore, LocalStore, Unlocked])
def test_of_two_appends_at_once_the_second_writes_nothing(
    kind: Any, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one append stores its chunks another one waits, and finds the new shape: what was stored stays."""
    store = kind() if kind is MemoryStore else kind(str(tmp_path))
    first = xz.create_array(store, data=np.arange(32).reshape(4, 8), **LAYOUTS[layout])
    second = xz.open_array(store, mode="r+")
    refused: list[BaseException] = []

    def append_too() -> None:
        try:
            second.append(np.full((5, 8), -9))
        except xz.RegionError as error:
            refused.append(error)

    other = threading.Thread(target=append_too)

    def beginning(put: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
        def begin_other(key: str, value: Any) -> None:
            if threading.current_thread() is not other and other.ident is None and not key.startswith("."):
                other.start()
                other.join(0.2)  # as far as it gets
            put(key, value)

        return begin_other

    for name in ("set", "set_parts"):
        monkeypatch.setattr(first.store, name, beginning(getattr(first.store, name)))
    first.append(np.full((5, 8), 100))
    other.join()
    assert len(refused) == 1 and "another writer" in str(refused[0])
    values = xz.open_array(store)[...]
    assert values.tolist() == [*np.arange(32).reshape(4, 8).tolist(), *[[100] * 8] * 5]


def test_threads_that_append_through_one_object_take_turns(tmp_path: Path) -> None:
    """Each append finds the shape that the one before left; nothing is lost or refused."""
    array = xz.create_array(tmp_path, data=np.zeros(3, "i8"), chunks=4)
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda number: array.append(np.full(number, number)), range(1, 41)))
    assert len(set(ends)) == 40
    counted = np.bincount(xz.open_array(tmp_path)[...])
    assert counted.tolist() == [3, *range(1, 41)]


def test_an_append_while_another_thread_clears_what_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored after the array has become smaller is not taken for what was cut off."""
    objects: dict[str, bytes] = {}
    array = xz.create_array(objects, data=np.arange(16), chunks=2)
    other = threading.Thread(target=lambda: xz.open_array(objects, mode="r+").append([100, 101, 102, 103]))
    delete = array.store.delete

    def begin_other(key: str) -> None:
        if other.ident is None:
            other.start()
            other.join(0.2)  # as far as it gets
        delete(key)

    monkeypatch.setattr(array.store, "delete", begin_other)
    array.resize(4)
    other.join()
    assert xz.open_array(objects)[...].tolist() == [0, 1, 2, 3, 100, 101, 102, 103]


@pytest.mark.parametrize("layout", ["v2", "v3", "sharded", "rectilinear"])
def test_threads_read_while_another_one_appends(layout: str) -> None:
    """What is read of an array that grows meanwhile is what it held before, or after."""
    array = xz.create_array({}, data=np.arange(32).reshape(4, 8), **LAYOUTS[layout])
    stop, wrong = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                least = len(array)
                values = array[...]
                last = int(array[-1, -1])
                if len(values) < least or values.ravel().tolist() != [*range(values.size)] or last < values.size - 1:
                    wrong.append((least, last, values))
        except Exception as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(read)
            for rows in range(4, 64, 2):
                array.append(np.arange(8 * rows, 8 * (rows + 2)).reshape(2, 8))
            stop.set()
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    assert not wrong


@pytest.mark.parametrize("layout", ["v2", "v3", "sharded", "rectilinear"])
def test_an_append_while_another_thread_compiles_the_codecs(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled for the old shape is not taken for the new one."""
    array = xz.create_array({}, data=np.arange(32).reshape(4, 8), **LAYOUTS[layout])
    array.attrs["x"] = 1  # what was compiled before is gone
    begun, goes_on = threading.Event(), threading.Event()
    compile_layout = compiled.compile_layout

    def wait(*arguments: Any) -> Any:
        if threading.current_thread() is other:
            begun.set()
            goes_on.wait(0.5)  # Python 3.11 lets nobody else compile meanwhile
        return compile_layout(*arguments)

    monkeypatch.setattr(compiled, "compile_layout", wait)
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(array[...]))
    other.start()
    begun.wait(10)
    array.append(np.arange(32, 96).reshape(8, 8))
    goes_on.set()
    other.join()
    assert found[0].ravel().tolist() in ([*range(32)], [*range(96)])
    assert array[...].ravel().tolist() == [*range(96)]
    assert array[-1, -1] == 95


def test_appending_where_only_the_folder_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS a file opened for reading takes no lock, and the folder is locked: once at a time, or nobody went on."""
    without_file_locks(monkeypatch)
    array = xz.create_array(tmp_path, data=[1, 2, 3], chunks=2, zarr_format=2)  # the chunks lie beside the document
    array.append([4, 5])
    assert xz.open_array(tmp_path)[...].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(xz.RegionError, match="another writer"):
        stale = xz.open_array(tmp_path, mode="r+")
        array.append([6])
        stale.append([9])
    assert xz.open_array(tmp_path)[...].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("grown", ["resized", "appended", "shrunk first"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_an_interrupted_resize_cut_off_does_not_come_back(layout: str, grown: str, tmp_path: Path) -> None:
    """Between the new shape and the clearing of the rest a kill left old values, which were seen after growing."""
    values = np.arange(56).reshape(7, 8) + 100
    xz.create_array(tmp_path, "a", data=values, **LAYOUTS[layout])

    def fail(operation: str, key: str) -> BaseException | None:
        cut = xz.open_array(tmp_path, "a").shape == (4, 3)
        return KeyboardInterrupt() if cut and operation in ("set", "delete") else None

    with pytest.raises(KeyboardInterrupt):
        xz.open_array(FailingStore(LocalStore(tmp_path), fail), "a", mode="r+").resize((4, 3))
    array, expected = xz.open_array(tmp_path, "a", mode="r+"), np.full((9, 9), fill_of(layout))
    expected[:4, :3] = values[:4, :3]
    if grown == "appended":
        array.append(np.ones((4, 2)), axis=1)
        expected[:4, 3:5] = 1
    if grown == "shrunk first":
        array.resize((3, 3))
        expected[3] = fill_of(layout)
    array.resize((9, 9))
    np.testing.assert_array_equal(array[...], expected)
    assert not list(tmp_path.rglob(".xzarr"))
    array.resize((9, 9))
    array.resize((1, 1))
    assert not list(tmp_path.rglob(".xzarr"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_resize_through_a_stale_object_leaves_nothing_behind(layout: str) -> None:
    """What another writer stored beyond the new shape is deleted, although the object did not know of it."""
    store = MemoryStore()
    array = xz.create_array(store, data=np.arange(56).reshape(7, 8) + 100, **LAYOUTS[layout])
    stale = xz.open_array(store, mode="r+")
    array.append(np.ones((6, 8)))
    stale.resize((6, 7))
    stale.resize((13, 8))
    assert (stale[6:] == fill_of(layout)).all()
    np.testing.assert_array_equal(stale[:6, :7], array[:6, :7])


def test_read_only_arrays_refuse_changes() -> None:
    """An array opened with mode "r" is not resized and takes no values."""
    store = MemoryStore()
    xz.create_array(store, data=[1, 2])
    array = xz.open_array(store)
    for change in (lambda: array.resize(1), lambda: array.append([1]), lambda: array.__setitem__(0, 1)):
        with pytest.raises(xz.ReadOnlyError):
            change()


def test_resizing_keeps_what_is_not_understood() -> None:
    """Members of the document that mean nothing here survive, and the attributes of other writers."""
    store = MemoryStore()
    array = xz.create_array(store, data=[1, 2], zarr_format=2)
    document = json.loads(store.inner[".zarray"]) | {"_THEIRS": {"x": 1}}
    store.set(".zarray", json.dumps(document).encode())
    array.resize(4)
    assert json.loads(store.inner[".zarray"]) == document | {"shape": [4]}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr_python_reads_what_was_resized(layout: str, tmp_path: Path) -> None:
    """After appends and resizes the peer reads the same values."""
    zarr = pytest.importorskip("zarr")
    values = np.arange(56).reshape(7, 8) + 100
    array = xz.create_array(tmp_path, data=values, **LAYOUTS[layout])
    array.append(values[:3])
    array.resize((9, 5))
    array.resize((9, 7))
    try:
        with zarr.config.set({"array.rectilinear_chunks": True}):
            theirs = zarr.open_array(tmp_path, mode="r")[...]
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"this zarr-python does not read the layout: {error}")
    np.testing.assert_array_equal(theirs, array[...])


# --- values that do not fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("u1", 300),
        ("u1", -1),
        ("i8", 2**63),
        ("i2", 1e6),
        ("u1", float("nan")),
        ("i4", float("inf")),
        ("u1", "5"),
        ("f4", "text"),
        ("i4", None),
        ("f4", 1e300),
        ("f8", 1 + 1j),
        ("S2", "abc"),
        ("U2", "abc"),
        ("S3", "é"),
        ("datetime64[s]", np.datetime64(1, "ns")),
        ("i4", np.datetime64(1, "ns")),
        ("i4", object()),
        ("u1", [[1], [2, 3]]),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_values_that_would_be_stored_as_others_are_refused(dtype: str, value: Any, zarr_format: int) -> None:
    """What is out of range, has no meaning in the data type or would be cut off is an error, and nothing is stored."""
    array = xz.create_array({}, shape=(2,), dtype=dtype, zarr_format=zarr_format)
    before = dict(array.store.inner)
    with pytest.raises(xz.RegionError):
        array[0] = value
    with pytest.raises(xz.RegionError):
        array.append(np.array([value], object) if not isinstance(value, list) else np.array([300]))
    assert array.store.inner == before
    assert array.shape == (2,)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("u1", 1.75, 1),
        ("u1", 255.0, 255),
        ("u1", True, 1),
        ("i1", np.int64(-128), -128),
        ("bool", 2, True),
        ("f4", 0.1, np.float32(0.1)),
        ("f4", float("inf"), np.float32("inf")),
        ("f8", 1 + 0j, 1.0),
        ("c8", 1, 1 + 0j),
        ("U3", "abc", "abc"),
        ("U3", b"abc", "abc"),
        ("S3", "abc", b"abc"),
        ("u8", 2**64 - 1, 2**64 - 1),
        ("datetime64[s]", np.datetime64(10**9, "ns"), np.datetime64(1, "s")),
        ("datetime64[D]", "2020-01-01", np.datetime64("2020-01-01")),
        ("datetime64[s]", np.datetime64("NaT", "ns"), np.datetime64("NaT", "s")),
    ],
)
def test_values_that_numpy_casts_are_stored(dtype: str, value: Any, expected: Any) -> None:
    """Fractions are cut off and numbers rounded as NumPy does it; what holds the value exactly always works."""
    array = xz.create_array({}, shape=(2,), dtype=dtype)
    array[0] = value
    np.testing.assert_array_equal(array[0], expected)
    assert array.append(np.array([value])) == (3,)
    np.testing.assert_array_equal(array[2], expected)


def test_values_outside_the_array() -> None:
    """A region outside the array, or values of another shape, are an error, and nothing is stored."""
    array = xz.create_array({}, shape=(4,), dtype="i4")
    for key, value in ((4, 1), (-5, 1), (slice(0, 2), [1, 2, 3]), (([0, 9],), 1)):
        with pytest.raises(xz.SelectionError):
            array[key] = value
    assert array.nchunks_stored() == 0


def test_appends_along_what_is_no_axis() -> None:
    """An axis that is no number is refused as one that the array does not have, and changes nothing."""
    array = xz.create_array({}, data=np.arange(4))
    for axis in ("x", slice(1), 0.0, [0], 1):
        with pytest.raises(xz.RegionError, match=r"(?s)axis .* is none of them.*  at "):
            array.append([1], axis=axis)  # type: ignore[arg-type]
    assert array.append([4], axis=np.int8(-1)) == (5,)  # type: ignore[arg-type]
    assert array[...].tolist() == [0, 1, 2, 3, 4]
