"""`doctor`: who can read a store, what is wrong with it, and what to do about it.

Imports the checks, doctor_report and the rows below. Invariant: nothing is written unless ``fix`` asks for it, and then
metadata only; whatever a stranger stored becomes a finding, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .compat import check_quirks
from .consolidated_state import ask_consolidated, consolidated_groups, stale_members
from .doctor_checks import check_array, check_group, check_reader, check_undeclared
from .doctor_chunk_checks import check_chunks, check_speed
from .doctor_facts import Facts
from .doctor_findings import Finding, Mend, found, most_important_first
from .doctor_mending import mend
from .doctor_readers import READERS, forecasts, with_neighbours
from .doctor_report import ArrayReport, Report
from .errors import UnsupportedError, XzarrError, not_too_deep, reason
from .inventory import Inventory, load_nodes, only_archive, take_inventory
from .nodes import clean_path
from .paths import groups_above, prefix_of
from .stores import open_store
from .stores.base import Store

MOST_PASSES = 4  # a mended document may show what its problem hid


def doctor(
    store: Any,
    path: str = "",
    *,
    quirks: str | None = None,
    reader: str | None = None,
    fix: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Report:
    """Examine the node at ``path`` of ``store`` with everything below it, and return the `Report`.

    ``quirks``: the writer that is known to have written it ("exzarr"), whose ways then count. ``reader``: an id of
    `doctor_readers.READERS` that must be able to read every array; without it, what others refuse is told, but is no
    finding. ``fix``: mend the metadata where a finding says how; each document changes in one step, and what it was
    stays beside it. One chunk of each array is fetched. Raises `XzarrError` for wrong arguments, or what is no store.
    """
    check_quirks(quirks)
    known = [one.id for one in READERS]
    if reader is not None and reader not in known:
        raise XzarrError(f"reader={reader!r} is not known", hint=f"known are: {', '.join(known)}")
    path = clean_path(path)
    opened = open_store(store, mode="r+" if fix else "r", storage_options=storage_options)
    mended: list[str] = []
    report = _examine(opened, path, quirks, reader)
    for _ in range(MOST_PASSES if fix else 0):
        groups = list(consolidated_groups(take_inventory(opened)))
        changed = mend(opened, report.findings, groups)
        if not changed:
            break
        mended += [key for key in changed if key not in mended]
        report = _examine(opened, path, quirks, reader)
    return report._replace(mended=mended)


def _examine(store: Store, path: str, quirks: str | None, reader: str | None) -> Report:
    with not_too_deep(store.url):
        return _examine_all(store, path, quirks, reader)


def _examine_all(store: Store, path: str, quirks: str | None, reader: str | None) -> Report:
    inventory = take_inventory(store, path)
    archive = only_archive(store) if not inventory.nodes and not path else None
    findings: list[Finding] = []
    if archive is not None:
        findings.append(found("archive-in-folder", "/", f"the folder holds only {archive.url}"))
        inventory = take_inventory(archive)
    if isinstance(inventory.problem, UnsupportedError):
        ask_consolidated(inventory)
    _add_parents(inventory, path)
    findings += _examine_store(inventory, path)
    examined = list(_all_facts(inventory, path, quirks, archive is not None))
    foretold = with_neighbours({facts.where: forecasts(facts) for facts in examined})
    arrays = []
    for facts in examined:
        findings += check_array(facts, inventory)
        if inventory.complete:
            findings += check_chunks(facts)
        findings += check_speed(facts)
        for one in foretold[facts.where]:
            if one.reader.id == reader:
                findings += check_reader(facts, one)
        arrays.append(ArrayReport(facts.where, _described(facts), facts.array is not None, foretold[facts.where]))
    return Report(store.url, f"/{path}", most_important_first(findings), arrays, [], inventory.complete)


def _all_facts(inventory: Inventory, path: str, quirks: str | None, archive: bool) -> Iterator[Facts]:
    below = prefix_of(path)
    found_facts = [
        Facts(
            inventory.store,
            array,
            inventory.nodes[array],
            quirks=quirks,
            keys=inventory.below(array),
            archive=archive,
            listed=inventory.complete,
        )
        for array in inventory.arrays
        if array == path or array.startswith(below)
    ]
    _note_conflicts(found_facts)
    yield from found_facts


def _note_conflicts(arrays: list[Facts]) -> None:
    """Note for each array whether a dimension of its group has another size elsewhere."""
    sizes: dict[tuple[str, str], dict[int, str]] = {}
    for facts in arrays:
        names = facts.array.spec.dimension_names if facts.array is not None else None
        group = facts.path.rpartition("/")[0]
        for name, size in zip(names or (), facts.array.shape if facts.array is not None else (), strict=False):
            if name is not None:
                known = sizes.setdefault((group, name), {})
                first = next(iter(known), size)
                known.setdefault(size, facts.path)
                if first != size and not facts.conflict:
                    facts.conflict = f"dimension {name!r} has {size} elements here and {first} in /{known[first]}"


def _described(facts: Facts) -> str:
    array = facts.array
    if array is None:
        return "cannot be opened"
    return f"v{array.zarr_format} {array.dtype} {array.shape}"


def _examine_store(inventory: Inventory, path: str) -> Iterator[Finding]:
    if isinstance(inventory.problem, OSError) and not isinstance(inventory.problem, XzarrError):
        yield found("access-denied", f"/{path}", f"the store cannot be listed: {reason(inventory.problem)}")
    elif not inventory.complete:
        what = "the store cannot be listed" if inventory.problem else "the store holds more objects than are looked at"
        yield found("not-listed", f"/{path}", what)
    below = prefix_of(path)
    nodes = {p: d for p, d in inventory.nodes.items() if p == path or p.startswith(below)}
    if not nodes and inventory.problem is None:
        names = sorted({stored.key[len(below) :].partition("/")[0] for stored in inventory.objects})
        there = f"there are {len(names)} name(s): {', '.join(names[:5])}" if names else "nothing lies there"
        yield found("no-node", f"/{path}", there)
        return
    groups = set(inventory.groups)
    for group, documents in nodes.items():
        if group in groups:
            yield from check_group(group, documents, inventory)
    if inventory.complete:
        yield from check_undeclared(inventory)
        yield from check_consolidated(inventory)


def check_consolidated(inventory: Inventory) -> Iterator[Finding]:
    """Yield the groups whose consolidated metadata are out of date."""
    for group, members in consolidated_groups(inventory).items():
        stale = stale_members(inventory, group, members)
        if stale:
            listed = "; ".join(f"/{group}/{name}".replace("//", "/") + f" {why}" for name, why in stale[:3])
            what = f"{len(stale)} member(s): {listed}{'; ...' if len(stale) > 3 else ''}"
            yield found("stale-consolidated", f"/{group}", what, mends=(Mend(group, ""),))


def _add_parents(inventory: Inventory, path: str) -> None:
    """Load the documents of the groups above ``path``, which tell what members are."""
    load_nodes(inventory, groups_above(path))
