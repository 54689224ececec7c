"""`xz.convert`: a store becomes another one, of another format, with other chunks, shards, codecs or keys.

Imports opening, the modules convert_* and the rows below. Invariant: the documents of the target are stored when all of
its chunks are, those of the root last: until then it does not open, and its journal says that it is unfinished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from .array import Array
from .attribute_values import encode_attributes
from .consolidating import consolidate
from .convert_codecs import KEEP, Wishes
from .convert_places import check_apart, check_room, is_finished, make_place, parse_memory
from .convert_plan import ArrayPlan, Means, clear_scratch, expected_nbytes, plan_arrays, source_nodes, token_of
from .convert_report import Report
from .convert_running import LateJournal, Progress, Runner, Work, check_shared, connected
from .errors import MetadataError, UnsupportedError, XzarrError
from .executor import thread_budget
from .group import Group
from .journal import Journal, has_journal
from .opening import open as open_node
from .paths import prefix_of
from .placing import array_documents, group_documents
from .profiles import Profile, choose_format, extra_documents, find_profile
from .spec import JSON
from .stored_documents import store_document
from .stores import open_store
from .stores.base import Store
from .stores.local import LocalStore
from .stores.zip import ZipStore

CONNECTIONS = 16  # objects copied at a time from or to a remote store


def convert(
    src: Any,
    dst: Any,
    *,
    path: str = "",
    zarr_format: int | None = None,
    chunks: Any = None,
    shards: Any = None,
    compressors: Any = KEEP,
    filters: Any = KEEP,
    chunk_key_encoding: Any = None,
    profile: str | None = None,
    quirks: str | None = None,
    allow_codecs: Collection[str] = (),
    memory: int | str = "256 MiB",
    verify: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    consolidated: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    target_storage_options: dict[str, Any] | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
) -> Report:
    """Convert the array or the group with all its members at ``path`` of ``src`` to the store ``dst``.

    What is not given stays as it is. ``chunks``, ``shards``: as in `create_array`; a sequence is meant for arrays of as
    many dimensions, a mapping for the dimensions that it names; ``shards=False`` removes shards. ``compressors``,
    ``filters``: as in `create_array`, None for none. ``chunk_key_encoding``: "/", ".", or a document.
    ``profile``: choose what its readers can read, refuse what they cannot (see `create_array`).
    ``consolidated``: None as in the source. ``memory``: what may be used at a time, in all (on a cluster: by each
    task). ``verify`` reads both and compares, bit by bit. ``resume`` goes on where the same call was interrupted;
    where nothing is left to do, what is there is compared.
    ``overwrite`` replaces the node, or the unfinished conversion, at the target. ``scheduler``: address or client of a
    dask cluster. ``progress(finished, total, array)`` is called after every task.

    Chunks whose bytes mean the same in both are copied without decoding. Raises, before anything is written,
    `NodeExistsError`, `MetadataError` and `UnsupportedError` with a way out, `XzarrError` where memory or disk are too
    small; `ChunkError` for what cannot be read or written.
    """
    if zarr_format not in (None, 2, 3):
        raise UnsupportedError(f"zarr_format={zarr_format!r} is not known", hint="use 2 or 3")
    root = open_node(src, path, storage_options=storage_options, quirks=quirks, allow_codecs=allow_codecs)
    target = open_store(dst, mode="a", storage_options=target_storage_options)
    check = partial(check_places, root.store, target, resume=resume, overwrite=overwrite, scheduler=scheduler)
    check()
    readers = None if profile is None else find_profile(profile)
    zarr_format = choose_format(readers, zarr_format) if readers is not None else zarr_format or root.zarr_format
    wishes = Wishes(zarr_format, chunks, shards, compressors, filters, chunk_key_encoding, readers)
    means = _means(parse_memory(memory), verify, scheduler)
    nodes = source_nodes(root)
    arrays = [(at, node) for at, node in nodes if isinstance(node, Array)]
    plans = plan_arrays(arrays, target, wishes, means)
    _check_meant(wishes, plans)
    documents = _documents(nodes, plans, zarr_format, readers)
    check_room(target, expected_nbytes(plans) - (_stored(target) if resume or overwrite else 0))
    consolidated = isinstance(root, Group) and (root.consolidated if consolidated is None else consolidated)
    report = _report(root.store, target, len(nodes), plans)
    report.notes += [] if readers is None else readers.notes_of(zarr_format)
    if resume and is_finished(target, documents):
        report.consolidated = consolidated
        compared = [(plan.compared(), plan.workers) for plan in plans]
        return confirm(target, report, compared, scheduler=scheduler, progress=progress)
    token = token_of(root.store, documents, plans, verify)

    def work(runner: Runner) -> None:
        for plan in plans:
            _convert_array(runner, plan, verify)
        _commit(target, documents)
        if consolidated:
            report.consolidated = consolidate(target, "").members is not None

    report.verified = verify
    make = partial(check, make=True)
    return run(target, token, report, make, work, resume=resume, scheduler=scheduler, progress=progress)


def check_places(
    source: Store, target: Store, *, resume: bool, overwrite: bool, scheduler: Any, make: bool = False
) -> None:
    """Raise where ``target`` cannot take what is in ``source``; ``make``: delete there what ``overwrite`` replaces."""
    if resume and overwrite:
        raise XzarrError("resume and overwrite contradict each other", hint="give one of them")
    check_apart(source, target)
    if scheduler is not None:
        check_shared(source)
        check_shared(target)
    make_place(target, resume=resume, overwrite=overwrite, check_only=not make)


def _means(memory: int, verify: bool, scheduler: Any) -> Means:
    threads = 1 if scheduler is not None else thread_budget()
    return Means(memory, threads, 1 if scheduler is not None else max(threads, CONNECTIONS), verify)


def _check_meant(wishes: Wishes, plans: Sequence[ArrayPlan]) -> None:
    """Raise where chunks or shards are meant for arrays that there are none of."""
    for keyword, given in (("chunks", wishes.chunks), ("shards", wishes.shards)):
        if isinstance(given, dict):
            names = {name for plan in plans for name in plan.source.dimension_names or ()}
            unknown = [name for name in given if name not in names]
            if unknown:
                raise MetadataError(f"{keyword}: no array has a dimension {unknown[0]!r}", hint=f"there are {names}")
        elif isinstance(given, list | tuple) and all(plan.source.ndim != len(given) for plan in plans):
            ranks = sorted({plan.source.ndim for plan in plans})
            raise MetadataError(f"{keyword}={given!r:.80} fits no array: they have {ranks} dimensions")


def _documents(
    nodes: Any, plans: Sequence[ArrayPlan], zarr_format: int, profile: Profile | None
) -> list[dict[str, JSON]]:
    """Return the documents of all nodes, by key, the root last."""
    specs = {plan.path: plan.target.spec for plan in plans}
    found = []
    for path, node in reversed(nodes):
        if isinstance(node, Array):
            found.append(_array_documents(specs[path], path))
        else:
            extra = extra_documents(profile, path, zarr_format)
            found.append({**extra, **group_documents(encode_attributes(node.spec.attributes), path, zarr_format)})
    return found


def _array_documents(spec: Any, path: str) -> dict[str, JSON]:
    documents = array_documents(spec, path)
    prefix = prefix_of(path)
    name = f"{prefix}zarr.json" if spec.zarr_format == 3 else f"{prefix}.zarray"
    return {**documents, name: {**spec.document, **documents[name]}}


def _report(source: Store, target: Store, nnodes: int, plans: Sequence[ArrayPlan]) -> Report:
    """Return the report of a conversion that has not begun: how each array is converted, and what to know of it."""
    report = Report(source.url, target.url, len(plans), nnodes - len(plans))
    report.passes = {plan.path: plan.how for plan in plans}
    report.notes = [note for plan in plans for note in plan.notes]
    report.tasks = sum(plan.ntasks for plan in plans)
    return report


def _stored(target: Store) -> int:
    try:
        return sum(size or 0 for _, size in target.walk(""))
    except UnsupportedError:
        return 0


# --- carrying it out --------------------------------------------------------------------------------------------------


def run(
    target: Store,
    token: str,
    report: Report,
    prepare: Callable[[], None],
    work: Callable[[Runner], None],
    *,
    resume: bool,
    scheduler: Any,
    progress: Progress | None,
) -> Report:
    """Do ``work`` under a journal and complete ``report``; whatever ends it early leaves a state to be resumed.

    ``prepare`` makes place at the target, when nothing else can be wrong. An archive that is replaced has no room for
    both: it stays as it is until the work is done.
    """
    began = time.monotonic()
    with connected(scheduler) as client:
        late = isinstance(target, ZipStore)
        replaces = late and not has_journal(target, "") and any(target.walk(""))
        prepare()
        journal = LateJournal(target, token, resume) if late else Journal.open(target, "", token, resume)
        with _discarding(target) if replaces else _resumable(target, journal):
            work(Runner(journal, report, progress, client))
            clear_scratch(target)
            journal.finish()
            # a killed archive cannot be resumed, but leaves as much behind
            if isinstance(target, ZipStore) or (resume and isinstance(target, LocalStore)):
                target.sweep()
    target.close()
    report.seconds = time.monotonic() - began
    return report


def confirm(
    target: Store,
    report: Report,
    tasks: Iterable[tuple[Iterable[Work], int]],
    *,
    scheduler: Any,
    progress: Progress | None,
) -> Report:
    """Compare a finished target with its source and complete ``report``: a kill may have come after the last step.

    ``tasks``: what stored it, with the number of workers. Raises `ChunkError` where the two differ.
    """
    began = time.monotonic()
    with connected(scheduler) as client:
        runner = Runner(LateJournal(target, "", False), report, progress, client)
        for some, workers in tasks:
            runner.compare(some, workers)
    report.resumed, report.verified = report.tasks, True
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _resumable(target: Store, journal: Journal | LateJournal) -> Iterator[None]:
    """Store what is finished when anything ends the work, and say so in errors."""
    try:
        yield
    except BaseException as error:
        journal.flush()
        target.close()
        if isinstance(error, XzarrError):
            way = "the target is unfinished: resume=True goes on, overwrite=True begins anew"
            error.hint = f"{error.hint}; {way}" if error.hint else way
        raise


@contextmanager
def _discarding(target: Store) -> Iterator[None]:
    """Leave what ``target`` held where anything ends the work, and say so in errors."""
    try:
        yield
    except BaseException as error:
        target.discard()
        with suppress(OSError):  # the error that led here is the one to report
            clear_scratch(target)
        _hint(error, "what was to be replaced is as it was: the same call begins anew")
        raise


def _hint(error: BaseException, way: str) -> None:
    if isinstance(error, XzarrError):
        error.hint = f"{error.hint}; {way}" if error.hint else way


def _convert_array(runner: Runner, plan: ArrayPlan, verify: bool) -> None:
    finished = f"{plan.path}: finished"
    runner.label = plan.path
    if runner.journal.is_done(finished):
        runner.report.resumed += plan.ntasks
        runner.finished += plan.ntasks
        return
    for stage in plan.stages():
        runner.run(stage, plan.workers, plan.rechunking is None)
    for stage in plan.stages() if verify else ():
        runner.compare(stage, plan.workers)
    runner.journal.mark([finished])
    if plan.middle is not None:
        plan.middle.store.delete_prefix(f"{plan.middle.path}/")


def _commit(target: Store, documents: Sequence[dict[str, JSON]]) -> None:
    for node in documents:
        for key, document in node.items():
            store_document(target, key, document)
