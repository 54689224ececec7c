"""The journal of a long write: what it remembers, for whom, and when it refuses."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from xzarr_backend.errors import ReadOnlyError, RegionError
from xzarr_backend.journal import BATCH, MAX_WRITERS, Journal, has_journal
from xzarr_backend.stores import MemoryStore, Store
from xzarr_backend.stores.local import LocalStore


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store that can append to files, and one that has objects only."""
    return LocalStore(tmp_path / "data.zarr") if request.param == "local" else MemoryStore()


@pytest.mark.parametrize("path", ["", "a/b"])
def test_a_resumed_journal_knows_what_was_marked(store: Store, path: str) -> None:
    """What one run marked is done for the next one with the same plan, nothing else is."""
    journal = Journal.open(store, path, "plan", resume=False)
    journal.mark(["x/c/0", "x/c/ä\n1"])
    journal.flush()
    again = Journal.open(store, path, "plan", resume=True)
    assert again.is_done("x/c/0") and again.is_done("x/c/ä\n1")
    assert not again.is_done("x/c/1")


def test_marks_are_known_at_once(store: Store) -> None:
    """The journal that marked an object knows it, whether it had looked before or not."""
    journal = Journal.open(store, "", "plan", resume=False)
    assert not journal.is_done("k")
    journal.mark(["k"])
    assert journal.is_done("k")


def test_another_plan_is_refused(store: Store) -> None:
    """Resuming with another token raises, and leaves the journal as it was."""
    Journal.open(store, "", "plan", resume=False).mark(["k"])
    with pytest.raises(RegionError, match="another plan"):
        Journal.open(store, "", "other", resume=True)
    assert has_journal(store, "")


def test_without_resume_it_begins_anew(store: Store) -> None:
    """A journal that is not resumed is forgotten."""
    first = Journal.open(store, "", "plan", resume=False)
    first.mark(["k"])
    first.flush()
    assert not Journal.open(store, "", "plan", resume=False).is_done("k")


def test_resuming_without_a_journal_begins_anew(store: Store) -> None:
    """Where nothing was begun, resuming is beginning."""
    journal = Journal.open(store, "", "plan", resume=True)
    assert not journal.is_done("k")
    assert has_journal(store, "")


def test_finishing_leaves_nothing(store: Store) -> None:
    """After the end of the write there is no trace of a journal."""
    store.set("zarr.json", b"{}")
    journal = Journal.open(store, "", "plan", resume=False)
    journal.mark(["k"])
    journal.finish()
    assert not has_journal(store, "")
    assert store.list_dir("") == ["zarr.json"]


def test_it_pickles_small_and_marks_from_there(store: Store) -> None:
    """A worker's copy is small however much is done, and what it marks counts."""
    journal = Journal.open(store, "", "plan", resume=False)
    journal.mark([f"array/c/{n}" for n in range(5000)])
    assert journal.is_done("array/c/7")
    data = pickle.dumps(journal)
    assert len(data) - len(pickle.dumps(store)) < 200
    copy = pickle.loads(data)
    copy.mark(["other"])
    copy.flush()
    assert {"array/c/0", "array/c/4999", "other"} <= Journal.open(store, "", "plan", resume=True).done


def test_threads_mark_at_the_same_time(store: Store) -> None:
    """No mark is lost between threads."""
    journal = Journal.open(store, "", "plan", resume=False)

    def work(name: str) -> None:
        for n in range(200):
            journal.mark([f"{name}/{n}"])

    threads = [threading.Thread(target=work, args=(str(t),)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    assert len(Journal.open(store, "", "plan", resume=True).done) == 1600


def test_a_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    """What a kill left of the last line is ignored; the lines before it count."""
    store = LocalStore(tmp_path)
    journal = Journal.open(store, "", "plan", resume=False)
    journal.mark(["whole", "cut"])
    [log] = [path for path in (tmp_path / ".xzarr" / "journal").iterdir() if path.name != "plan.json"]
    os.truncate(log, log.stat().st_size - 3)
    again = Journal.open(store, "", "plan", resume=True)
    assert again.done == {"whole"}
    again.mark(["next"])
    again.mark(["last"])
    assert Journal.open(store, "", "plan", resume=True).done == {"whole", "last"}


def test_few_files_stay_open(tmp_path: Path) -> None:
    """A worker that serves many writes closes the files of the earlier ones, and opens them again when it has to."""
    journals = [Journal.open(LocalStore(tmp_path / str(n)), "", "plan", resume=False) for n in range(MAX_WRITERS + 2)]
    for round_ in range(2):
        for journal in journals:
            journal.mark([f"k{round_}"])
    for journal in journals:
        assert Journal.open(journal.store, "", "plan", resume=True).done == {"k0", "k1"}


def test_stores_without_appending_hold_batches() -> None:
    """One object holds many marks: a million small objects do not need another million."""
    inner: dict[str, Any] = {}
    from xzarr_backend.stores import MappingStore

    store = MappingStore(inner)
    journal = Journal.open(store, "", "plan", resume=False)
    for n in range(4 * BATCH):
        journal.mark([f"k{n}"])
    assert len(inner) == 1 + 4


def test_a_read_only_store_has_no_journal(tmp_path: Path) -> None:
    """Opening a journal is writing."""
    with pytest.raises(ReadOnlyError):
        Journal.open(LocalStore(tmp_path, read_only=True), "", "plan", resume=True)
