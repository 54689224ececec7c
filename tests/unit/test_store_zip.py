"""Zip archives: what other programs pack, and what is left when a writer stops."""

from __future__ import annotations

import gc
import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.errors import ChunkError, UnsupportedError, XzarrError
from xzarr_backend.stores import ByteRange, Store, open_store
from xzarr_backend.stores import zip_records as records
from xzarr_backend.stores.zip import ZipStore

FIELD = Path(__file__).parents[3] / "shared" / "fixtures"


def pack(path: Path, entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    """Make an archive with the standard library."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in entries:
            archive.writestr(name, value)
    return path


def unpack(path: Path) -> dict[str, bytes]:
    """Read an archive with the standard library, which checks every entry."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == len(set(archive.namelist()))
        return {name: archive.read(name) for name in archive.namelist()}


def test_deflated_entries(tmp_path: Path) -> None:
    """A compressed entry reads like any other, ranges too."""
    data = bytes(range(256)) * 50
    store = open_store(pack(tmp_path / "x.zip", [("a/0", data), ("e", b"")], zipfile.ZIP_DEFLATED))
    assert bytes(store.get("a/0")) == data
    assert bytes(store.get("a/0", ByteRange(-5))) == data[-5:]
    assert bytes(store.get("a/0", ByteRange(100, 9))) == data[100:109]
    stamp, found = store.get_ranges("a/0", [ByteRange(0, 2), ByteRange(700, 5)])
    assert found is not None and [bytes(f) for f in found] == [data[:2], data[700:705]]
    assert store.get_ranges("a/0", [ByteRange(0, 2)], stamp)[1] is not None
    assert bytes(store.get("e")) == b"" and store.size("a/0") == len(data)


def test_data_descriptors_and_extra_fields(tmp_path: Path) -> None:
    """Archives written to a pipe keep sizes behind the data; extra fields differ between the two headers."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.raw = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.raw += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]
        info = zipfile.ZipInfo("k")
        info.extra = struct.pack("<2H4s", 0x7875, 4, b"\1\2\3\4")
        archive.writestr(info, b"value")
        archive.writestr(zipfile.ZipInfo("folder/"), b"")
        archive.writestr("folder/x", b"y", zipfile.ZIP_DEFLATED)
    (tmp_path / "x.zip").write_bytes(pipe.raw)
    store = open_store(tmp_path / "x.zip")
    assert bytes(store.get("k")) == b"value"
    assert bytes(store.get("k", ByteRange(1, 2))) == b"al"
    assert bytes(store.get("folder/x")) == b"y"
    assert store.list_dir("") == ["folder/", "k"]
    assert store.get("folder/") is None


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_equal_names_the_last_counts(tmp_path: Path) -> None:
    """Writers of zarr-python 2 add an entry again to replace it."""
    store = open_store(pack(tmp_path / "x.zip", [("k", b"old"), ("k", b"newer")]))
    assert store.get("k") == b"newer"
    assert store.list_dir("") == ["k"]


def test_archives_behind_other_bytes_and_with_comments(tmp_path: Path) -> None:
    """An archive may follow a program that unpacks it, and end in a comment."""
    path = pack(tmp_path / "x.zip", [("k", b"v")])
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert open_store(path).get("k") == b"v"


def test_an_archive_is_known_by_its_content_too(tmp_path: Path) -> None:
    """A file without ``.zip`` in its name that is an archive opens; a folder named ``.zip`` is a folder."""
    assert open_store(pack(tmp_path / "packed.zarr", [("k", b"v")])).get("k") == b"v"
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip" / "k").write_bytes(b"w")
    assert open_store(tmp_path / "folder.zip").get("k") == b"w"


def test_damaged_entries_raise(tmp_path: Path) -> None:
    """A changed byte, and a directory that points nowhere, are errors, never data."""
    path = pack(tmp_path / "x.zip", [("k", b"some value"), ("z", b"x" * 100)])
    raw = bytearray(path.read_bytes())
    at = raw.index(b"some value")
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ChunkError, match="CRC-32"):
        open_store(path).get("k")
    raw[at] ^= 1
    central = raw.index(b"PK\1\2")
    struct.pack_into("<2I", raw, central + 20, 2_000_000_000, 2_000_000_000)
    path.write_bytes(raw)
    with pytest.raises(ChunkError, match="does not lie where"):
        open_store(path).get("k")
    with pytest.raises(ChunkError, match="does not lie where"):
        open_store(path).get("k", ByteRange(0, 1_000_000_000))


def test_damaged_directories_raise(tmp_path: Path) -> None:
    """A name that is not that of the entry, entries that are hidden, and a directory that says it lies elsewhere."""
    path = pack(tmp_path / "x.zip", [(f"c/{n}", b"%d" % n * 9) for n in range(3)])
    raw = path.read_bytes()
    central = raw.index(b"PK\1\2")

    def damaged(at: int, value: bytes) -> Store:
        path.write_bytes(raw[:at] + value + raw[at + len(value) :])
        return open_store(path)

    for name in (b"c/0", b"c/9"):  # of equal names the last counts
        store = damaged(raw.index(b"c/1", central), name)
        for wanted in (None, ByteRange(0, 1)):
            with pytest.raises(ChunkError, match="does not lie where"):
                store.get(name.decode(), wanted)
        assert store.get("c/2") == b"2" * 9
    with pytest.raises(XzarrError, match="directory has 1 entries, and should have 3"):
        damaged(central + 32, struct.pack("<H", 2 * 49))  # the first one has the others as its comment
    with pytest.raises(ChunkError, match="does not lie where"):
        damaged(len(raw) - 6, struct.pack("<I", central + 1000)).get("c/0")
    with pytest.raises(XzarrError, match="not a zip archive"):
        damaged(len(raw) - 10, struct.pack("<I", len(raw)))


def test_names_of_old_writers(tmp_path: Path) -> None:
    """Names that are not UTF-8 are those of the first PCs, in both places; numbers of entries end at 65535 there."""
    path = pack(tmp_path / "x.zip", [("k!", b"v"), ("n", b"w")])
    path.write_bytes(path.read_bytes().replace(b"k!", b"k\x81"))
    assert open_store(path).get("k\xfc") == b"v"
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(65_534):
            archive.writestr(str(number), b"")
    raw = path.read_bytes()
    end, end64 = len(raw) - 22, raw.rindex(b"PK\6\6")
    start, nbytes = struct.unpack_from("<2Q", raw, end64 + 40)[::-1]
    path.write_bytes(raw[:end64] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, nbytes, start, 0))
    assert raw[end : end + 4] == b"PK\5\6" and len(open_store(path).list_dir("")) == 65_536


def test_damaged_deflated_entries_raise(tmp_path: Path) -> None:
    """An entry that does not inflate to its size is an error."""
    path = pack(tmp_path / "x.zip", [("k", b"some value " * 100)], zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    raw[31:45] = b"\xff" * 14
    path.write_bytes(raw)
    with pytest.raises(ChunkError, match="damaged"):
        open_store(path).get("k")


def test_unknown_compression_is_named(tmp_path: Path) -> None:
    """An entry packed by another method is refused with a reason."""
    with pytest.raises(UnsupportedError, match="method 12"):
        open_store(pack(tmp_path / "x.zip", [("k", b"v")], zipfile.ZIP_BZIP2)).get("k")


@pytest.mark.parametrize("content", [b"not an archive", b"PK\5\6" + b"\xff" * 18])
def test_files_that_are_no_archives(tmp_path: Path, content: bytes) -> None:
    """Another kind of file is named as such, whatever its name."""
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(XzarrError, match="not a zip archive"):
        open_store(tmp_path / "x.zip")
    (tmp_path / "x.nc").write_bytes(b"CDF")
    with pytest.raises(XzarrError, match="neither a folder nor a zip"):
        open_store(tmp_path / "x.nc")


def test_writing_replaces_without_duplicates(tmp_path: Path) -> None:
    """Set twice, deleted and set again: the archive holds each name once, with its last value."""
    path = tmp_path / "new" / "x.zip"
    with open_store(path, mode="w") as store:
        store.set("k", b"one")
        store.set("k", b"two")
        store.set("gone", b"x")
        store.delete("gone")
        store.set("ünï/c", b"utf-8")
        assert store.get("k") == b"two"
        assert store.get("gone") is None
        assert not path.exists()
    assert unpack(path) == {"k": b"two", "ünï/c": b"utf-8"}
    assert os.listdir(path.parent) == ["x.zip"]


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    """Old entries stay, packed as they were; replaced ones go."""
    path = pack(tmp_path / "x.zip", [("old", b"o" * 1000), ("k", b"1"), ("d/x", b"2")], zipfile.ZIP_DEFLATED)
    with open_store(path, mode="a") as store:
        store.set("k", b"new")
        store.delete_prefix("d/")
        store.set("more", b"m")
        assert store.list_dir("") == ["k", "more", "old"]
    assert unpack(path) == {"old": b"o" * 1000, "k": b"new", "more": b"m"}
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("old").compress_type == zipfile.ZIP_DEFLATED
    with open_store(path, mode="r+") as store:
        store.delete("more")
    assert unpack(path) == {"old": b"o" * 1000, "k": b"new"}


def test_two_writers_in_turn_lose_nothing(tmp_path: Path) -> None:
    """Entries that another writer has added since the archive was opened are kept."""
    path = tmp_path / "x.zip"
    first, second = open_store(path, mode="a"), open_store(path, mode="a")
    first.set("a", b"1")
    second.set("b", b"2")
    second.close()
    first.close()
    assert unpack(path) == {"a": b"1", "b": b"2"}
    assert second.get("a") == b"1"


def test_of_two_that_change_one_object_the_second_is_told(tmp_path: Path) -> None:
    """What the first one stored stays, and nothing of the second; equal changes are no conflict."""
    with open_store(tmp_path / "x.zip", mode="w") as store:
        for key in ("a", "b", "c"):
            store.set(key, b"old")
    for change in (lambda store: store.set("a", b"mine"), lambda store: store.delete("a")):
        first, second = (open_store(tmp_path / "x.zip", mode="a") for _ in range(2))
        change(second)
        second.set("b", b"mine")
        first.set("a", b"theirs" + (first.get("a") or b""))
        first.close()
        with pytest.raises(XzarrError, match="another writer has changed 1 of the objects too, such as 'a'"):
            second.close()
        assert os.listdir(tmp_path) == ["x.zip"]
    with open_store(tmp_path / "x.zip") as store:
        assert [bytes(store.get(key) or b"") for key in "abc"] == [b"theirstheirsold", b"old", b"old"]
    first, second = (open_store(tmp_path / "x.zip", mode="a") for _ in range(2))
    for store in (first, second):
        store.set("a", b"same")
        store.delete("b")
        store.close()
    with open_store(tmp_path / "x.zip") as store:
        assert store.list_dir("") == ["a", "c"]


def test_appends_to_one_archive_are_not_lost(tmp_path: Path) -> None:
    """The one that opened the archive before the other one had closed it is refused."""
    xz.create_array(tmp_path / "x.zip", "a", data=np.arange(4), chunks=4)
    with open_store(tmp_path / "x.zip", mode="a") as first:
        second = open_store(tmp_path / "x.zip", mode="a")
        arrays = [xz.open_array(store, "a", mode="r+") for store in (first, second)]
        for array, value in zip(arrays, (10, 20), strict=True):
            array.append([value])
    with pytest.raises(XzarrError, match="another writer"):
        second.close()
    assert list(xz.open_array(tmp_path / "x.zip", "a")) == [0, 1, 2, 3, 10]


def test_a_forgotten_writer_is_completed(tmp_path: Path) -> None:
    """A store that nobody holds any more completes its archive."""
    store = open_store(tmp_path / "x.zip", mode="w")
    store.set("k", b"v")
    del store
    gc.collect()
    assert unpack(tmp_path / "x.zip") == {"k": b"v"}


WRITE = """
import os, sys
from xzarr_backend.stores import open_store
store = open_store(sys.argv[1], mode="a")
store.set("new", b"2")
if sys.argv[2] == "killed":
    os._exit(9)
"""


@pytest.mark.parametrize("ending", ["exit", "killed"])
def test_the_end_of_the_program(tmp_path: Path, ending: str) -> None:
    """A program that ends completes its archive; one that is killed leaves the old archive as it was."""
    path = pack(tmp_path / "x.zip", [("old", b"1")])
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", WRITE, str(path), ending], env={**os.environ, "PYTHONPATH": str(root)}, check=False
    )
    assert unpack(path) == ({"old": b"1"} if ending == "killed" else {"old": b"1", "new": b"2"})


def test_a_failed_write_is_not_in_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half-way leaves the entry as it was, and later writes are sound."""
    store = open_store(tmp_path / "x.zip", mode="w")
    store.set("k", b"old")
    pwrite = os.pwrite

    def fail(descriptor: int, data: object, at: int) -> int:
        if len(memoryview(data)) > 1000:  # type: ignore[arg-type]
            return pwrite(descriptor, memoryview(data)[:700], at)  # type: ignore[arg-type, index]
        if len(memoryview(data)) > 200:  # type: ignore[arg-type]
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, at)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        store.set("k", b"n" * 1200)
    monkeypatch.undo()
    assert store.get("k") == b"old"
    store.close()
    assert unpack(tmp_path / "x.zip") == {"k": b"old"}


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let a file be written as far as ``room``, and no further."""
    pwrite = os.pwrite

    def write(descriptor: int, data: object, at: int) -> int:
        if at + memoryview(data).nbytes > room:  # type: ignore[arg-type]
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, at)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", write)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("room", [300, 3300, 6100])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: bool, room: int) -> None:
    """An archive that cannot be completed stays as it was; what was written is kept for another `close`."""
    path = pack(tmp_path / "x.zip", [("old", b"o" * 3000), ("gone", b"g")])
    store = open_store(path, mode="a")
    for value in (b"m" * 3000, b"n" * 3000)[: 1 + twice]:
        store.set("new", value)
    store.delete("gone")
    written = next(p for p in tmp_path.iterdir() if p != path)
    size = written.stat().st_size
    fill_disk(monkeypatch, room)
    with pytest.raises(ChunkError, match=r"not be completed: No space left(.|\n)*close the store again") as caught:
        store.close()
    assert isinstance(caught.value, OSError) and caught.value.where == str(path)
    assert unpack(path) == {"old": b"o" * 3000, "gone": b"g"}
    assert sum(p.stat().st_size for p in tmp_path.iterdir() if p != path) <= size
    assert bytes(store.get("new")) == value and store.get("gone") is None
    monkeypatch.undo()
    store.set("more", b"1")
    store.close()
    assert unpack(path) == {"old": b"o" * 3000, "new": value, "more": b"1"}
    assert os.listdir(tmp_path) == ["x.zip"]


def test_a_forgotten_writer_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody can store any more takes no space, and that it is lost is said."""
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_value))
    path = pack(tmp_path / "x.zip", [("old", b"1")])
    store = open_store(path, mode="a")
    store.set("new", b"n" * 1000)
    fill_disk(monkeypatch, 1000)
    del store
    gc.collect()
    assert "No space left on device" in str(*told) and "what was written is lost" in str(*told)
    assert unpack(path) == {"old": b"1"} and os.listdir(tmp_path) == ["x.zip"]


def test_a_store_that_others_have_overtaken_is_used_again(tmp_path: Path) -> None:
    """What it refused to store is gone from it; what is set later is stored."""
    with open_store(tmp_path / "x.zip", mode="w") as store:
        store.set("k", b"0")
    one, two = (open_store(tmp_path / "x.zip", mode="a") for _ in range(2))
    one.set("k", b"1")
    two.set("k", b"2")
    one.close()
    with pytest.raises(XzarrError, match="another writer"):
        two.close()
    assert two.get("k") == b"1"
    two.set("k", b"3")
    two.set("other", b"4")
    two.close()
    assert unpack(tmp_path / "x.zip") == {"k": b"3", "other": b"4"}


def test_large_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the old limits the records are ZIP64, which the standard library and we read."""
    monkeypatch.setattr(records, "_BIG", 100)
    monkeypatch.setattr(records, "_MANY", 3)
    objects = {f"c/{n}": bytes([n]) * 60 * n for n in range(6)}
    with open_store(tmp_path / "x.zip", mode="w") as store:
        for key, value in objects.items():
            store.set(key, value)
    assert unpack(tmp_path / "x.zip") == objects
    store = open_store(tmp_path / "x.zip", mode="a")
    store.set("more", b"m" * 200)
    store.close()
    assert unpack(tmp_path / "x.zip") == {**objects, "more": b"m" * 200}


def test_many_entries(tmp_path: Path) -> None:
    """More entries than the old directory could count."""
    with open_store(tmp_path / "x.zip", mode="w") as store:
        for number in range(65_600):
            store.set(str(number), b"")
    assert len(open_store(tmp_path / "x.zip").list_dir("")) == 65_600
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.namelist()) == 65_600


def test_readers_go_on_while_a_writer_closes(tmp_path: Path) -> None:
    """Closing and reading at once never reads from another file."""
    store = open_store(tmp_path / "x.zip", mode="w")
    values = {str(n): bytes([n]) * 5000 for n in range(20)}
    for key, value in values.items():
        store.set(key, value)
    wrong: list[object] = []

    def read() -> None:
        try:
            for _ in range(20):
                wrong.extend(key for key, value in values.items() if bytes(store.get(key)) != value)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        store.set(f"more/{number}", b"x")
        store.close()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pickled_readers(tmp_path: Path) -> None:
    """A reader goes to other processes, a writer does not."""
    path = pack(tmp_path / "x.zip", [("k", b"v")])
    assert pickle.loads(pickle.dumps(open_store(path))).get("k") == b"v"
    writer = ZipStore(path)
    assert not writer.shared_between_processes
    with pytest.raises(XzarrError, match="open for writing"):
        pickle.dumps(writer)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the shared fixtures are not there")
def test_archives_from_the_field() -> None:
    """Every entry of every archive found in public repositories reads as the standard library reads it."""
    found = [path for path in FIELD.rglob("*.zip") if path.is_file()]
    assert found
    for path in found:
        store: Store = open_store(path)
        with zipfile.ZipFile(path) as archive:
            last = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            assert {key for key, _ in store.walk("")} == set(last)
            for name, info in last.items():
                assert bytes(store.get(name)) == archive.read(info), (path, name)
