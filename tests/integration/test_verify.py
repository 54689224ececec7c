"""Verifying stores: every damage that a checksum or a size can show is found, and what cannot be shown is named."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xzarr_backend as xz
from tests.http_server import serve
from tests.stores_fakes import FailingStore
from xzarr_backend.cli import main
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore

ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}
BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 8, "blocksize": 0},
}
CHECKED: dict[str, dict[str, Any]] = {
    "crc32c": {"compressors": [{"name": "crc32c"}]},
    "gzip": {"compressors": [{"name": "gzip", "configuration": {"level": 1}}]},
    "zstd": {"compressors": [ZSTD]},
    "zlib": {"compressors": {"id": "zlib", "level": 1}, "zarr_format": 2},
    "shards": {"compressors": [ZSTD], "shards": (20, 20)},
}
UNCHECKED: dict[str, dict[str, Any]] = {"raw": {"compressors": None}, "blosc": {"compressors": [BLOSC]}}
VALUES = np.random.default_rng(7).normal(280, 5, (40, 40)).round(2)


def make(folder: Path, arrays: dict[str, dict[str, Any]], zarr_format: int = 3) -> list[str]:
    """Make a consolidated group with one full array for each item; return the names."""
    xz.create_group(folder, zarr_format=zarr_format)
    names = [name for name, options in arrays.items() if options.get("zarr_format", 3) == zarr_format]
    for name in names:
        xz.create_array(
            folder, name, **{"data": VALUES, "chunks": (10, 10), "zarr_format": zarr_format, **arrays[name]}
        )
    xz.consolidate_metadata(folder)
    return names


def chunks(folder: Path, name: str) -> list[Path]:
    """The files of the chunks of an array."""
    found = [p for p in (folder / name).rglob("*") if p.is_file() and p.name[0].isdigit()]
    assert found
    return sorted(found)


def flip(path: Path, chooser: random.Random) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    bit = chooser.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def truncate(path: Path, chooser: random.Random) -> None:
    """Cut a file off somewhere."""
    path.write_bytes(path.read_bytes()[: chooser.randrange(path.stat().st_size)])


def delete(path: Path, chooser: random.Random) -> None:
    """Delete a chunk of a full array."""
    path.unlink()


def add(path: Path, chooser: random.Random) -> None:
    """Put a file between the chunks."""
    shutil.copy(path, path.with_name(f"{path.name}.{chooser.choice(['bak', 'orig', 'copy'])}"))


def make_stale(path: Path, chooser: random.Random) -> None:
    """Change an array's own attributes behind the back of consolidated metadata."""
    array = next(p for p in path.parents if (p / "zarr.json").exists() or (p / ".zarray").exists())
    if (array / ".zarray").exists():
        (array / ".zattrs").write_text(json.dumps({"seed": chooser.random()}))
        return
    document = json.loads((array / "zarr.json").read_text())
    (array / "zarr.json").write_text(json.dumps({**document, "attributes": {"seed": chooser.random()}}))


DAMAGES: list[tuple[Callable[[Path, random.Random], None], int]] = [
    (flip, 40),
    (truncate, 16),
    (delete, 8),
    (add, 8),
    (make_stale, 8),
]


def is_harmless(folder: Path, name: str) -> bool:
    """Whether every value of an array can still be read and is what it was."""
    try:
        return bool((xz.open_array(folder, name)[...] == VALUES).all())
    except xz.ChunkError:
        return False


def test_every_damage_is_found(tmp_path: Path) -> None:
    """80 random damages, one at a time: 80 are found, each in the array that it was done to.

    A flip of a bit that no value depends on (padding of deflate, unused bits of zstd) changes nothing that a checksum
    of the data covers. It is no damage: it is put back, counted, and another bit is drawn.
    """
    chooser = random.Random(20240229)
    sources = {format_: tmp_path / f"whole{format_}" for format_ in (2, 3)}
    names = {format_: make(folder, CHECKED, format_) for format_, folder in sources.items()}
    for folder in sources.values():
        assert xz.verify(folder).problems == []
    places = [(format_, name) for format_ in names for name in names[format_]]
    missed, count, harmless = [], 0, 0
    for damage, times in DAMAGES:
        for _ in range(times):
            format_, name = places[count % len(places)]
            count += 1
            folder = tmp_path / "damaged"
            shutil.copytree(sources[format_], folder)
            victim = chooser.choice(chunks(folder, name))
            whole = victim.read_bytes()
            damage(victim, chooser)
            while damage is flip and is_harmless(folder, name):
                harmless += 1
                victim.write_bytes(whole)
                damage(victim, chooser)
            report = xz.verify(folder)
            if report.ok or not any(name in f"{p.array} {p.what}" for p in report.problems):
                missed.append((damage.__name__, name, victim.name))
            shutil.rmtree(folder)
    print(f"\n{count - len(missed)} of {count} damages found, {harmless} flips changed no value and were drawn again")
    assert count == 80 and missed == []
    assert harmless <= 4  # a checker that calls everything harmless would pass otherwise


@pytest.mark.parametrize("name", ["crc32c", "gzip", "zstd", "zlib"])
def test_a_flip_that_is_not_found_changes_no_value(name: str, tmp_path: Path) -> None:
    """Of 150 random flips in chunks with a checksum, those that pass unnoticed leave every value as it was."""
    chooser = random.Random(11)
    format_ = CHECKED[name].get("zarr_format", 3)
    make(tmp_path / "s", {name: CHECKED[name]}, format_)
    unnoticed = 0
    for _ in range(150):
        victim = chooser.choice(chunks(tmp_path / "s", name))
        whole = victim.read_bytes()
        flip(victim, chooser)
        if xz.verify(tmp_path / "s").ok:
            unnoticed += 1
            assert is_harmless(tmp_path / "s", name)
        victim.write_bytes(whole)
    assert unnoticed <= 5


def test_arrays_without_a_checksum_are_named(tmp_path: Path) -> None:
    """20 bit flips in raw and blosc chunks: whether or not they are found, each array is named as unverifiable."""
    chooser = random.Random(4)
    names = make(tmp_path / "whole", {**UNCHECKED, "zstd": CHECKED["zstd"]})
    assert sorted(xz.verify(tmp_path / "whole").unverifiable) == ["/blosc", "/raw"] and "zstd" in names
    named = 0
    for turn in range(20):
        name = list(UNCHECKED)[turn % len(UNCHECKED)]
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", folder)
        flip(chooser.choice(chunks(folder, name)), chooser)
        report = xz.verify(folder)
        named += f"/{name}" in report.unverifiable and f"/{name}" in repr(report).split("unverifiable:")[1]
        shutil.rmtree(folder)
    assert named == 20


@pytest.mark.parametrize(("codec", "checked"), [(ZSTD, True), ({"name": "zstd", "configuration": {"level": 3}}, False)])
def test_zstd_is_verifiable_where_its_frames_have_a_checksum(
    codec: dict[str, Any], checked: bool, tmp_path: Path
) -> None:
    """What the frames hold decides, whatever the metadata say."""
    make(tmp_path / "s", {"a": {"compressors": [codec]}})
    assert (xz.verify(tmp_path / "s").unverifiable == []) is checked


@pytest.mark.parametrize(
    ("header", "found"),
    [(b"\x01", 3), (b"\x07", 9), (struct.pack("<I", 1), 4)],
)
def test_headers_that_decoders_ignore(header: bytes, found: int, tmp_path: Path) -> None:
    """Flags and times of gzip that no writer sets are told, although the data decode."""
    make(tmp_path / "s", {"a": CHECKED["gzip"]})
    victim = chunks(tmp_path / "s", "a")[3]
    data = bytearray(victim.read_bytes())
    assert gzip.decompress(data)
    value = header if found != 9 else b"\x47"
    data[found : found + len(value)] = value
    assert gzip.decompress(data)
    victim.write_bytes(data)
    assert [problem.kind for problem in xz.verify(tmp_path / "s").problems] == ["odd-header"]


def test_inner_chunks_of_shards_are_named(tmp_path: Path) -> None:
    """A damaged inner chunk is told with its place in the shard, a damaged index as such."""
    make(tmp_path / "s", {"a": CHECKED["shards"]})
    victim = chunks(tmp_path / "s", "a")[0]
    data = bytearray(victim.read_bytes())
    data[20] ^= 1
    victim.write_bytes(data)
    (problem,) = xz.verify(tmp_path / "s").problems
    assert problem.kind == "damaged" and "inner chunk (0, 0)" in problem.what
    data[20] ^= 1
    data[-10] ^= 1
    victim.write_bytes(data)
    assert [p.kind for p in xz.verify(tmp_path / "s").problems] == ["bad-index"]


def test_sparse_arrays_are_not_incomplete(tmp_path: Path) -> None:
    """Where most chunks are missing, that is counted but no problem, unless every chunk is demanded."""
    make(tmp_path / "s", {"a": {"data": None, "shape": (40, 40), "dtype": "f8"}})
    xz.open_array(tmp_path / "s", "a", mode="r+")[0, 0] = 1
    report = xz.verify(tmp_path / "s")
    assert report.ok and report.arrays[0].missing == 15
    assert len([p for p in xz.verify(tmp_path / "s", full=True).problems if p.kind == "missing"]) == 15


def test_repair_consolidates_and_sweeps(tmp_path: Path) -> None:
    """``repair`` writes consolidated metadata anew and removes lock files, and leaves chunks and orphans alone."""
    make(tmp_path / "s", {"a": CHECKED["zstd"]})
    victim = chunks(tmp_path / "s", "a")[0]
    before = {path: path.read_bytes() for path in chunks(tmp_path / "s", "a")}
    make_stale(victim, random.Random(1))
    (victim.parent / "0.lock.read").touch()
    (tmp_path / "s" / "a" / "notes.txt").write_text("mine")
    (victim.parent / "0.partial").write_bytes(b"cut")
    kinds = {p.kind for p in xz.verify(tmp_path / "s").problems}
    assert kinds == {"stale", "leftover", "orphan"}
    assert len(xz.verify(tmp_path / "s", repair=True).repaired) == 2
    report = xz.verify(tmp_path / "s")
    assert {p.kind for p in report.problems} == {"orphan", "leftover"} and report.notes == []
    (victim.parent / "0.partial").unlink()
    assert {path: path.read_bytes() for path in chunks(tmp_path / "s", "a")} == before
    assert (tmp_path / "s" / "a" / "notes.txt").exists()


def test_lock_files_of_other_writers_are_noted(tmp_path: Path) -> None:
    """The empty lock files that ExZarr leaves beside its chunks make no store wrong; a lock with content is odd."""
    make(tmp_path / "s", {"a": CHECKED["zlib"]}, 2)
    for name in ("0.0.lock", "0.0.lock.read", "3.3.lock.read"):
        (tmp_path / "s" / "a" / name).touch()
    report = xz.verify(tmp_path / "s")
    assert report.ok and {(note.kind, note.key) for note in report.notes} == {
        ("lock", f"a/{name}") for name in ("0.0.lock", "0.0.lock.read", "3.3.lock.read")
    }
    assert "noted: 3 lock" in repr(report) and len(report.as_dict()["notes"]) == 3
    (tmp_path / "s" / "a" / "0.0.lock").write_text("7")
    assert [(p.kind, p.key) for p in xz.verify(tmp_path / "s").problems] == [("leftover", "a/0.0.lock")]


def test_an_array_without_any_chunk_is_noted(tmp_path: Path) -> None:
    """Where the only chunk is deleted nothing tells that there was one: the array is named, without a verdict."""
    make(tmp_path / "s", {"a": {"chunks": (40, 40)}, "void": {"data": None, "shape": (0, 2), "dtype": "i1"}})
    assert xz.verify(tmp_path / "s").notes == []
    (tmp_path / "s" / "a" / "c" / "0" / "0").unlink()
    report = xz.verify(tmp_path / "s")
    assert report.ok and [(note.kind, note.array) for note in report.notes] == [("empty", "/a")]
    assert [p.key for p in xz.verify(tmp_path / "s", full=True).problems] == ["a/c/0/0"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_folder_in_the_place_of_a_chunk(zarr_format: int, tmp_path: Path) -> None:
    """An empty folder with the name of a chunk reads as the fill value and cannot be replaced: sparse arrays too."""
    make(
        tmp_path / "s", {"a": {"data": None, "shape": (40, 40), "dtype": "f8", "zarr_format": zarr_format}}, zarr_format
    )
    key = "a/c/2/1" if zarr_format == 3 else "a/2.1"
    (tmp_path / "s" / key).mkdir(parents=True)
    assert [(p.kind, p.key) for p in xz.verify(tmp_path / "s").problems] == [("orphan", key)]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_one_array_is_compared_with_the_groups_above_it(zarr_format: int, tmp_path: Path) -> None:
    """Checking one member finds what the consolidated metadata of a group above say of it, and nothing of others."""
    make(tmp_path / "s", {}, zarr_format)
    for name in ("deep/er/a", "b"):
        xz.create_array(tmp_path / "s", name, data=VALUES, chunks=(10, 10), zarr_format=zarr_format)
    xz.consolidate_metadata(tmp_path / "s")
    make_stale(chunks(tmp_path / "s", "deep/er/a")[0], random.Random(2))
    for path in ("deep/er/a", "deep/er", "deep"):
        (problem,) = xz.verify(tmp_path / "s", path).problems
        assert (problem.kind, problem.array) == ("stale", "/") and "/deep/er/a differs" in problem.what
    assert xz.verify(tmp_path / "s", "b").ok
    assert xz.verify(tmp_path / "s", "deep/er/a", repair=True).repaired == ["consolidated metadata of /"]
    assert xz.verify(tmp_path / "s").ok


def test_folders_that_nobody_declared_are_not_stale(tmp_path: Path) -> None:
    """Consolidated metadata list the groups that their members imply; attributes of theirs that are gone are told."""
    make(tmp_path / "s", {}, 2)
    xz.create_array(tmp_path / "s", "deep/er/a", data=VALUES, zarr_format=2)
    for path in ("deep", "deep/er"):
        (tmp_path / "s" / path / ".zgroup").unlink()
    xz.consolidate_metadata(tmp_path / "s")
    assert "deep/.zgroup" in (tmp_path / "s" / ".zmetadata").read_text()
    assert xz.verify(tmp_path / "s").problems == []
    (tmp_path / "s" / "deep" / ".zattrs").write_text('{"title": "Trial"}')
    (problem,) = xz.verify(tmp_path / "s").problems
    assert problem.kind == "stale" and "/deep differs" in problem.what


def test_repair_says_what_it_cannot(tmp_path: Path) -> None:
    """Unreadable consolidated metadata are written anew; a member that cannot be read stands in the report."""
    make(tmp_path / "s", {"a": CHECKED["zlib"]}, 2)
    (tmp_path / "s" / ".zmetadata").write_text("{")
    report = xz.verify(tmp_path / "s", repair=True)
    assert [p.key for p in report.problems] == [".zmetadata"] and report.repaired and xz.verify(tmp_path / "s").ok
    (tmp_path / "s" / ".zmetadata").write_text("{")
    (tmp_path / "s" / "a" / ".zarray").write_text("{")
    report = xz.verify(tmp_path / "s", repair=True)
    assert (report.repaired, len(report.problems)) == ([], 2)
    assert "a: .zarray is not JSON" in report.unrepaired[0] and "not repaired: consolidated" in repr(report)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """With a state file, what was checked is not fetched again, and what was found is not forgotten."""
    make(tmp_path / "s", {"a": {"compressors": [ZSTD], "chunks": (2, 2)}})
    truncate(chunks(tmp_path / "s", "a")[0], random.Random(1))
    state = tmp_path / "state.json"

    def stop(done: int, total: int) -> None:
        assert total == 400
        if done == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        xz.verify(tmp_path / "s", state=state, progress=stop)
    with pytest.raises(xz.RegionError, match="other options"):
        xz.verify(tmp_path / "s", state=state, sample=3)
    report = xz.verify(tmp_path / "s", state=state)
    assert report.resumed >= 200 and report.arrays[0].checked == 400
    assert [p.kind for p in report.problems] in (["damaged"], ["truncated"])
    assert not state.exists()
    state.write_text("no state\n")
    with pytest.raises(xz.XzarrError, match="no state file"):
        xz.verify(tmp_path / "s", state=state)


@pytest.mark.parametrize("state", [True, False])
def test_ctrl_c_at_the_terminal(state: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no verdict: the status is 130, and the message says whether the same command goes on."""
    make(tmp_path / "s", {"a": CHECKED["zstd"]})

    def interrupt(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xzarr_backend.verifying._check_arrays", interrupt)
    options = ["--state", str(tmp_path / "state")] if state else []
    ended = CliRunner().invoke(main, ["verify", str(tmp_path / "s"), *options])
    assert ended.exit_code == 130
    assert ("the same command goes on" if state else "with --state FILE") in ended.stderr


def test_a_sample_and_one_array(tmp_path: Path) -> None:
    """``sample`` decodes a few objects of each array; a path limits the check to what is below it."""
    make(tmp_path / "s", {"a": CHECKED["zstd"], "b": CHECKED["gzip"]})
    report = xz.verify(tmp_path / "s", sample=3)
    assert [array.checked for array in report.arrays] == [3, 3]
    assert [array.path for array in xz.verify(tmp_path / "s", "b").arrays] == ["/b"]
    with pytest.raises(xz.XzarrError, match="sample=0"):
        xz.verify(tmp_path / "s", sample=0)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_places_that_cannot_be_listed(zarr_format: int, tmp_path: Path) -> None:
    """Over plain HTTP the grids tell what to ask for, consolidated metadata which arrays; else nothing passes."""
    pytest.importorskip("aiohttp")
    codec = CHECKED["zlib" if zarr_format == 2 else "zstd"]
    xz.create_group(tmp_path / "s", zarr_format=zarr_format)
    xz.create_array(tmp_path / "s", "g/a", **{"data": VALUES, "chunks": (10, 10), "zarr_format": zarr_format, **codec})
    sparse = xz.create_array(
        tmp_path / "s", "z", shape=(99,), dtype="i1", chunks=(1,), zarr_format=zarr_format, fill_value=0
    )
    sparse[0] = 1
    with serve(tmp_path) as url:
        with pytest.raises(xz.XzarrError, match="members of this group are not known"):
            xz.verify(f"{url}/s")
        assert xz.verify(f"{url}/s", "g/a").ok
        xz.consolidate_metadata(tmp_path / "s")
        whole = xz.verify(f"{url}/s")
        assert whole.ok and [(a.path, a.stored, a.missing) for a in whole.arrays] == [("/g/a", 16, 0), ("/z", 1, 98)]
        first, second, *_ = chunks(tmp_path / "s", "g/a")
        truncate(first, random.Random(1))
        second.unlink()
        make_stale(chunks(tmp_path / "s", "z")[0], random.Random(1))
        for path in ("", "g", "g/a"):
            first_kind, *kinds = [p.kind for p in xz.verify(f"{url}/s", path).problems]
            assert first_kind in ("truncated", "damaged") and kinds == ["missing", *["stale"] * (not path)]
        assert sum(p.kind == "missing" for p in xz.verify(f"{url}/s", full=True).problems) == 99


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the listing fails, nobody has seen what is there: that is no whole store."""
    make(tmp_path / "s", {"a": CHECKED["zstd"]})
    denied = PermissionError(13, "Permission denied", str(tmp_path / "s" / "a"))

    def walk(self: LocalStore, prefix: str) -> Any:
        yield "zarr.json", 1
        raise denied

    monkeypatch.setattr(LocalStore, "walk", walk)
    (problem,) = xz.verify(tmp_path / "s").problems
    assert problem.kind == "unreadable" and f"{tmp_path}/s/a cannot be listed: Permission denied" in problem.what
    monkeypatch.undo()
    monkeypatch.setattr("xzarr_backend.inventory.MAX_OBJECTS", 5)
    assert [p.kind for p in xz.verify(tmp_path / "s").problems if "--array" in p.what] == ["unreadable"]


def test_objects_that_cannot_be_fetched(tmp_path: Path) -> None:
    """A failing request is a problem of its object; the others are checked."""
    make(tmp_path / "s", {"a": CHECKED["zstd"]})

    def fail(operation: str, key: str) -> BaseException | None:
        return PermissionError(13, "Permission denied") if operation == "get" and key == "a/c/0/0" else None

    report = xz.verify(FailingStore(LocalStore(tmp_path / "s"), fail))
    (problem,) = report.problems
    assert (problem.kind, problem.key) == ("unreadable", "a/c/0/0") and "Permission denied" in problem.what
    assert report.arrays[0].checked == 16


def test_broken_documents_are_problems(tmp_path: Path) -> None:
    """A member that cannot be opened is told; nothing of Zarr at all is an error."""
    make(tmp_path / "s", {"a": CHECKED["zstd"], "b": CHECKED["gzip"]})
    (tmp_path / "s" / "b" / "zarr.json").write_text("{")
    assert [(p.kind, p.key) for p in xz.verify(tmp_path / "s").problems if p.kind == "metadata"] == [
        ("metadata", "b/zarr.json")
    ]
    with pytest.raises(xz.NodeNotFoundError):
        xz.verify(MemoryStore({}))


def test_the_command(tmp_path: Path) -> None:
    """``xzarr verify`` prints text or JSON; its exit status is 0, 1 or 2."""
    make(tmp_path / "s", {"a": CHECKED["zstd"], "raw": UNCHECKED["raw"]})
    store = str(tmp_path / "s")
    shown = CliRunner().invoke(main, ["verify", store])
    assert shown.exit_code == 0 and "unverifiable: /raw" in shown.stdout
    truncate(chunks(tmp_path / "s", "a")[0], random.Random(3))
    facts = CliRunner().invoke(main, ["verify", store, "--array", "a", "--json"])
    assert facts.exit_code == 1 and json.loads(facts.stdout)["problems"][0]["key"] == "a/c/0/0"
    failed = CliRunner().invoke(main, ["verify", str(tmp_path / "nothing")])
    assert failed.exit_code == 2 and "Traceback" not in failed.output
