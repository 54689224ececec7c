"""`verify`: decode every stored chunk of a store, and list what is damaged, missing, foreign or out of date.

Imports inventory, the modules of verify and the rows below. Invariant: nothing is written unless ``repair`` asks for
it, and then only consolidated metadata and what unfinished writers left; memory holds as many objects as threads work.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

from .array import Array
from .compat import check_quirks
from .consolidated_state import consolidated_groups, stale_above, stale_members
from .consolidating import consolidate
from .doctor_facts import Facts
from .errors import NodeNotFoundError, XzarrError, reason
from .executor import run, thread_budget
from .inventory import MAX_OBJECTS, ZMETADATA, Inventory, Stored, only_archive, owner, take_inventory
from .nodes import clean_path, place_of
from .paths import prefix_of
from .pending import FOLDER
from .stored import parse_key
from .stores import open_store
from .stores.base import Request, Store
from .stores.files import OURS
from .stores.local import LocalStore
from .stores.zip import ZipStore
from .verify_chunks import MISSING, check_object, fetch, has_checksum, why_unverifiable
from .verify_report import ArrayResult, Problem, VerifyReport
from .verify_state import Progress
from .verify_unlisted import find_nodes, is_unlisted, settle_missing

NEARLY_FULL = 0.5  # from this share of the grid on, an array is meant to be full
MOST_MISSING = 1000  # that are listed by name
WINDOW_REQUESTS = 64  # objects that are fetched at once from a remote store
WINDOW_NBYTES = 64 * 2**20
LEFTOVER = re.compile(r"(\.lock(\.read|\.write)?|__lock|\.partial|\.tmp)$")
LOCK = re.compile(r"(\.lock(\.read|\.write)?|__lock)$")  # of other writers; ours have names that no listing shows

Report = Callable[[int, int], None]


def verify(
    store: Any,
    path: str = "",
    *,
    sample: int | None = None,
    full: bool = False,
    repair: bool = False,
    state: str | os.PathLike[str] | None = None,
    quirks: str | None = None,
    progress: Report | None = None,
    storage_options: dict[str, Any] | None = None,
) -> VerifyReport:
    """Check the array or group at ``path`` of ``store`` with everything below it, and return what was found.

    Every stored chunk is fetched and decoded, inner chunks of shards too, so that checksums and sizes are compared; a
    ``sample`` decodes at most so many objects of each array. Missing chunks are problems where at least half of the
    grid is stored, with ``full`` always. ``state``: a file that keeps what was checked, so that the same call goes on
    after an interruption; it goes away at the end. ``progress``: called with (objects checked, objects in all).
    ``repair`` writes consolidated metadata anew and removes what unfinished writers left. Raises `NodeNotFoundError`
    where nothing of Zarr lies, `RegionError` for the state of another call.
    """
    check_quirks(quirks)
    if sample is not None and sample < 1:
        raise XzarrError(f"sample={sample} is not possible", hint="give the number of objects to decode, from 1")
    path = clean_path(path)
    opened = open_store(store, mode="r+" if repair else "r", storage_options=storage_options)
    inventory = _inventory(opened, path)
    below = prefix_of(path)
    facts = [
        Facts(inventory.store, array, inventory.nodes[array], quirks=quirks, keys=inventory.below(array))
        for array in inventory.arrays
        if array == path or array.startswith(below)
    ]
    report = VerifyReport(opened.url, sample=sample)
    report.add(_metadata_problems(inventory, facts))
    unlisted = is_unlisted(inventory)
    for one in facts if unlisted else ():
        one.expect_every_chunk()
    work = Progress(state, (opened.url, path, sample, quirks))
    report.resumed = len(work.done)
    try:
        _check_arrays(report, facts, work, sample, full, progress)
    finally:
        work.flush()
    if unlisted:
        report.add(settle_missing(zip(facts, report.arrays, strict=True), work.problems, 0 if full else NEARLY_FULL))
    work.problems.sort(key=lambda problem: (problem.array, problem.key))  # threads find them in any order
    report.add([*work.problems, *_strays(inventory, path), *_hollow(inventory, facts, path)])
    report.add([*_leftovers(inventory, path), *_stale(inventory, path)])
    work.finish()
    _count(report)
    if repair:
        _repair(opened, path, report)
    return report


def _inventory(store: Store, path: str) -> Inventory:
    inventory = take_inventory(store, path)
    archive = only_archive(store) if not inventory.nodes and not path else None
    if archive is not None:
        inventory = take_inventory(archive)
    if is_unlisted(inventory):
        find_nodes(inventory, path)
    if not inventory.nodes:
        why = f"the place cannot be listed: {reason(inventory.problem)}" if inventory.problem else "no Zarr metadata"
        where = place_of(store, path)
        raise NodeNotFoundError(f"no Zarr node is stored here: {why}", where=where, hint="check the path")
    return inventory


def _metadata_problems(inventory: Inventory, arrays: list[Facts]) -> Iterator[Problem]:
    if is_unlisted(inventory) and inventory.problem is not None:
        yield Problem("unlisted", "/", "", f"{reason(inventory.problem)}; each chunk of the grids was asked for")
    elif inventory.problem is not None:
        place = getattr(inventory.problem, "filename", None) or inventory.store.url
        yield Problem("unreadable", "/", "", f"{place} cannot be listed: {reason(inventory.problem)}")
    elif not inventory.complete:
        why = f"there are more than {MAX_OBJECTS:,} objects, of which the others were not looked at"
        yield Problem("unreadable", "/", "", f"{why}; check the arrays one by one (--array)")
    for path, documents in sorted(inventory.nodes.items()):
        prefix = prefix_of(path)
        for name, document in sorted(documents.items()):
            if document.content is None:
                yield Problem("metadata", f"/{path}", f"{prefix}{name}", document.problem)
    for facts in arrays:
        if facts.error is not None and not facts.broken:
            yield Problem("metadata", facts.where, "", str(facts.error).split("\n")[0])


# --- arrays ----------------------------------------------------------------------------------------------------------


def _check_arrays(
    report: VerifyReport, arrays: list[Facts], work: Progress, sample: int | None, full: bool, progress: Report | None
) -> None:
    plans = []
    for facts in arrays:
        result = ArrayResult(facts.where, unverifiable="")
        report.arrays.append(result)
        if facts.array is None:
            result.stored = len(facts.keys)
            continue
        chunks = facts.chunks
        result.stored, result.nbytes = len(chunks), sum(stored.nbytes or 0 for stored in chunks.values())
        result.missing = facts.missing
        report.add([*_missing(facts, full), *_orphans(facts)])
        if has_checksum(facts.array.layout) is False:
            result.unverifiable = why_unverifiable(facts.array.layout)
        plans.append((facts.array, result, _chosen(chunks, sample)))
    total = sum(len(chosen) for _, _, chosen in plans)
    count = 0
    for array, result, chosen in plans:
        for _ in _check_chunks(array, result, chosen, work):
            count += 1
            if progress is not None:
                progress(count, total)


Chunks = list[tuple[tuple[int, ...], Stored]]


def _chosen(chunks: dict[tuple[int, ...], Stored], sample: int | None) -> Chunks:
    items = sorted(chunks.items())
    if sample is None or len(items) <= sample:
        return items
    return sorted(random.Random(0).sample(items, sample))  # the same ones again, so that a run can be resumed


def _check_chunks(array: Array, result: ArrayResult, chosen: Chunks, work: Progress) -> Iterator[None]:
    """Check objects window by window, each on several threads; yield once for every one."""
    waiting = iter([item for item in chosen if item[1].key not in work.done])
    for _, stored in chosen:
        if stored.key in work.done:
            result.checked += 1
            _note_frames(array, result, work.done[stored.key])
            yield
    size = max(1, min(WINDOW_REQUESTS, WINDOW_NBYTES // max(array.layout.chunk_nbytes, 1)))
    while window := list(islice(waiting, size)):
        raws = _fetch_window(array, window)
        threads = min(thread_budget(), len(window))
        run(lambda items: _check_items(array, result, raws, work, items), window, len(window), threads)  # noqa: B023
        for _ in window:
            result.checked += 1
            yield


def _fetch_window(array: Array, window: Chunks) -> dict[str, Any]:
    """Fetch a window at once where that is faster; {} where each is fetched when its turn comes."""
    if not array.store.concurrent:
        return {}
    try:
        found = array.store.get_many([Request(stored.key) for _, stored in window])
    except Exception:  # one of them fails: each is asked for alone
        return {}
    return {stored.key: raw for (_, stored), raw in zip(window, found, strict=True)}


def _check_items(
    array: Array, result: ArrayResult, raws: dict[str, Any], work: Progress, items: Iterator[tuple[Any, Stored]]
) -> None:
    for coords, stored in items:
        raw, failure = (raws[stored.key], None) if stored.key in raws else fetch(array, stored.key)
        if failure is not None:
            damages, unchecked = [failure], False
        else:
            damages, unchecked = check_object(array, coords, stored.key, raw)
        _note_frames(array, result, unchecked)
        problems = [Problem(damage.kind, f"/{array.path}", stored.key, damage.what) for damage in damages]
        work.mark(stored.key, unchecked, problems)


def _note_frames(array: Array, result: ArrayResult, unchecked: bool) -> None:
    if unchecked and not result.unverifiable and has_checksum(array.layout) is None:
        result.unverifiable = why_unverifiable(array.layout)


def _missing(facts: Facts, full: bool) -> Iterator[Problem]:
    array = facts.array
    assert array is not None
    count = array.spec.chunk_grid.nchunks
    if facts.missing == count > 0 and not full:
        yield Problem("empty", facts.where, "", f"none of the {count} chunk(s) is stored")
    if not facts.missing or not (full or (facts.chunks and len(facts.chunks) >= NEARLY_FULL * count)):
        return
    every = product(*(range(count) for count in array.spec.chunk_grid.counts))
    absent = (coords for coords in every if coords not in facts.chunks)
    for coords in islice(absent, MOST_MISSING):
        yield Problem(
            MISSING,
            facts.where,
            array.layout.key(coords),
            f"chunk {coords} is not stored, and reads as the fill value",
        )
    if facts.missing > MOST_MISSING:
        yield Problem(MISSING, facts.where, "", f"{facts.missing - MOST_MISSING} more chunks are not stored")


def _orphans(facts: Facts) -> Iterator[Problem]:
    assert facts.array is not None
    for stored in facts.keys:
        if parse_key(facts.array, stored.key) is None and not LEFTOVER.search(stored.key):
            yield Problem("orphan", facts.where, stored.key, "this is no chunk of the grid")


# --- what belongs to nobody ------------------------------------------------------------------------------------------


def _strays(inventory: Inventory, path: str) -> Iterator[Problem]:
    for stored in inventory.strays:
        if not LEFTOVER.search(stored.key):
            yield Problem("orphan", f"/{path}", stored.key, "the object belongs to no array")


def _hollow(inventory: Inventory, arrays: list[Facts], path: str) -> Iterator[Problem]:
    """Yield the empty folders that have the name of a chunk: it cannot be stored, and reads as the fill value."""
    if not isinstance(inventory.store, LocalStore):
        return
    by_path = {facts.path: facts for facts in arrays if facts.array is not None}
    for folder, folders, names in os.walk(f"{inventory.store.root}/{path}"):
        key = os.path.relpath(folder, inventory.store.root).replace(os.sep, "/")
        facts = by_path.get(owner(key, by_path) or "") if not folders and not names else None
        if facts is not None and facts.array is not None and parse_key(facts.array, key) is not None:
            yield Problem("orphan", facts.where, key, "an empty folder lies in the place of this chunk")


def _leftovers(inventory: Inventory, path: str) -> Iterator[Problem]:
    for stored in inventory.objects:
        if LOCK.search(stored.key) and not _nbytes(inventory.store, stored):
            yield Problem("lock", f"/{path}", stored.key, "an empty lock file")
        elif LEFTOVER.search(stored.key):
            yield Problem("leftover", f"/{path}", stored.key, "a lock or temporary file")
    for group in {"", *inventory.groups} if inventory.complete else ():
        for name, what in (("append.json", "an append"), ("journal/plan.json", "a resumable write")):
            key = f"{prefix_of(group)}{FOLDER}{name}"
            if inventory.store.size(key) is not None:
                yield Problem("leftover", f"/{group}", key, f"the record of {what} that was not finished")
    if isinstance(inventory.store, LocalStore):
        yield from _temporary_files(inventory.store, path)


def _nbytes(store: Store, stored: Stored) -> int | None:
    return store.size(stored.key) if stored.nbytes is None else stored.nbytes


def _temporary_files(store: LocalStore, path: str) -> Iterator[Problem]:
    for folder, folders, names in os.walk(f"{store.root}/{path}"):
        for name in sorted([*folders, *names]):
            if name.startswith(OURS):
                key = os.path.relpath(f"{folder}/{name}", store.root)
                yield Problem("leftover", f"/{path}", key, "a file that a writer did not finish")
        folders[:] = [name for name in folders if not name.startswith(OURS)]


def _stale(inventory: Inventory, path: str) -> Iterator[Problem]:
    if not inventory.complete and not is_unlisted(inventory):
        return
    found = stale_above(inventory, path)
    for group, members in consolidated_groups(inventory).items():
        found += [(group, name, why) for name, why in stale_members(inventory, group, members)]
    for group, name, why in found:
        place = f"{group}/{name}".strip("/")
        yield Problem("stale", f"/{group}", "", f"/{place} {why}")


def _count(report: VerifyReport) -> None:
    by_path = {array.path: array for array in report.arrays}
    for problem in report.problems:
        if problem.array in by_path:
            by_path[problem.array].problems += 1


def _repair(store: Store, path: str, report: VerifyReport) -> None:
    """Write consolidated metadata anew, remove locks without content and what ended writers left."""
    outdated = {problem.array.strip("/") for problem in report.problems if problem.kind == "stale"}
    unreadable = [problem.key for problem in report.problems if problem.kind == "metadata"]
    for group in sorted(outdated | {key.rpartition("/")[0] for key in unreadable if key.endswith(ZMETADATA)}):
        try:
            consolidate(store, group)
        except XzarrError as error:  # the report of what is wrong is worth more than a repair
            why = "; ".join([error.what, *(f"{place}: {what}" for place, what in getattr(error, "problems", ()))])
            report.unrepaired.append(f"consolidated metadata of /{group}: {why}")
            continue
        report.repaired.append(f"consolidated metadata of /{group}")
    removed = 0
    for note in report.notes:
        if note.kind == "lock":
            store.delete(note.key)
            removed += 1
    if isinstance(store, LocalStore):
        removed += store.sweep(prefix_of(path))
    elif isinstance(store, ZipStore):
        removed += store.sweep()
    report.repaired += [f"{removed} leftover(s) removed"] if removed else []
