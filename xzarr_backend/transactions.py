"""Writes that hold together: replacing a node, growing several arrays, and mending what a killed writer left.

Imports appending, pending, journal and the rows below. Invariant: whenever a writer ends, by an error or a kill, every
reader finds the state before the write or the one after it; `recover` turns what is left into one of the two.
The protocol: docs/adr/0004-commit-protocol.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from .appending import change_of, finish, forget, remove_folder, undo
from .array import Array
from .clearing import clear_beyond
from .errors import RegionError
from .journal import has_journal
from .nodes import place_of
from .paths import prefix_of
from .pending import STORED, WRITING, Record, load_record, record_key, turn_of
from .placing import spare_strangers
from .resizing import check_unchanged, store_shape
from .spec import JSON, ArraySpec
from .stored_documents import store_document, store_new_document
from .stores.base import Store
from .stores.files import ThreadLock, host_mark, lives, own_lock
from .stores.local import LocalStore

SWEEP_SECONDS = 0.5  # a store of millions of files is not searched whole before each write
WEEK = 7 * 86_400.0  # seconds after which the append of another host is nobody's

Shapes = Mapping[str, tuple[int, ...]]  # of arrays, by their names

_ours: set[str] = set()  # the appends that this process has begun and not ended


# --- replacing a node -------------------------------------------------------------------------------------------------


@dataclass
class Replacement:
    """A node that is being built to take another one's place. Build it at ``path`` of ``store``, then `commit`.

    It pickles, so that the last task of a graph may commit it.
    """

    store: Store
    path: str
    staged: str | None = None  # the folder being built, and the folder it will replace
    target: str = ""
    keep: bool = False

    @classmethod
    def begin(cls, store: Store, path: str, *, resume: bool = False) -> Replacement:
        """Return where to build what will replace the node at ``path``.

        Where `can_stage`, that is a hidden folder beside it. Elsewhere it is the place itself: what is stored there is
        deleted now, which is not atomic. ``resume``: go on with what a killed writer had begun, if that kept a journal.
        """
        store.check_writable()
        spare_strangers(store, path)
        if not isinstance(store, LocalStore) or not can_stage(store, path):
            if not (resume and has_journal(store, path)):
                store.delete_prefix(prefix_of(path))
            return cls(store, path)
        from .stores import exchange

        target = store.folder(path)
        begun = _begun(target) if resume else None
        staged = exchange.adopt(target, begun) if begun else exchange.stage(target)
        exchange.sweep(target)
        building = LocalStore(staged, durable=store.durable)
        if begun:
            building.sweep()
        return cls(building, "", staged, target, resume)

    def commit(self) -> None:
        """Let the new node take the old one's place, and remove the old one."""
        if self.staged is not None:
            from .stores.exchange import exchange

            assert isinstance(self.store, LocalStore)
            exchange(self.staged, self.target, durable=self.store.durable)

    def abort(self) -> None:
        """Remove what was built; with ``resume`` it stays, hidden, for the next writer that resumes."""
        if self.staged is not None:
            from .stores import exchange

            with suppress(OSError):  # the error that led here is the one to report; a later writer removes the rest
                (exchange.release if self.keep else exchange.discard)(self.staged)


def can_stage(store: Store, path: str) -> bool:
    """Return whether the node at ``path`` can be replaced in one step: on a local store whose folder may be renamed."""
    if not isinstance(store, LocalStore):
        return False
    from .stores.exchange import is_exchangeable

    return is_exchangeable(store.folder(path))


def _begun(target: str) -> str | None:
    from .stores.exchange import leftovers

    return next((path for path in leftovers(target) if has_journal(LocalStore(path), "")), None)


@contextmanager
def replaced_node(store: Store, path: str, *, resume: bool = False) -> Iterator[tuple[Store, str]]:
    """Yield (store, path) to build the node that replaces the one at ``path``, which happens at the end.

    Where `can_stage`, the old node stays as it is until the two are exchanged in one step; an error leaves it as it
    was. Elsewhere it is deleted first. ``resume``: see `Replacement.begin`.
    """
    replacement = Replacement.begin(store, path, resume=resume)
    try:
        yield replacement.store, replacement.path
    except BaseException:
        replacement.abort()
        raise
    replacement.commit()


# --- growing several arrays -------------------------------------------------------------------------------------------


class Append:
    """Several arrays of one group that grow together. `begin` it, store the new chunks, then `commit` or `rollback`.

    Until `commit` no document changes. It pickles, so that the last task of a graph may commit it.
    """

    def __init__(self, store: Store, path: str, record: Record) -> None:
        self.store, self.path, self.record = store, path, record

    @classmethod
    def begin(
        cls,
        store: Store,
        group_path: str,
        old: Shapes,
        new: Shapes,
        *,
        resume: bool = False,
    ) -> Append:
        """Note that the arrays of ``new`` (by name) grow from their ``old`` to their ``new`` shapes.

        Arrays that ``old`` does not name are created by this append. ``resume``: take over the same append of a killed
        writer with what it had stored. Raise `RegionError` while another append is under way, or where an array does
        not have its ``old`` shape.
        """
        store.check_writable()
        record = _taken_over(store, group_path, old, new) if resume else None
        if record is None:
            recover(store, group_path, force=resume)
            record = _noted(store, group_path, old, new)
        return cls(store, group_path, record)

    def commit(self) -> None:
        """Let the arrays have their new shapes, now that every chunk is stored; a failure rolls the append back."""
        try:
            self._set_state(STORED)
            finish(self.store, self.path, self.record)
        except BaseException as error:
            try:
                self.rollback()
            except Exception as more:
                error.add_note(f"the append could not be undone now, the next writer will do it: {more}")
            raise
        finally:
            _ours.discard(self.record["id"])

    def rollback(self) -> None:
        """Restore the old shapes, and remove what was stored beyond them."""
        try:
            stored = load_record(self.store, self.path)
            if stored is None or stored.get("state") != WRITING:  # on a full disk nothing can be stored anew
                self._set_state(WRITING)
            undo(self.store, self.path, self.record)
        finally:
            _ours.discard(self.record["id"])

    def _set_state(self, state: str) -> None:
        store_document(self.store, record_key(self.path), {**self.record, "state": state})


class AppendInMemory:
    """The same for a store that only this process has: a lock takes the place of the note, and costs no request."""

    def __init__(self, store: Store, turn: ThreadLock, grown: Sequence[tuple[Array, ArraySpec]]) -> None:
        self.store, self.turn = store, turn
        self.grown = [(array, array.spec, spec) for array, spec in grown]

    @classmethod
    def begin(cls, store: Store, group_path: str, grown: Sequence[tuple[Array, ArraySpec]]) -> AppendInMemory:
        """Begin to let the arrays grow to what their new specs say. Raise `RegionError` as `Append.begin` does."""
        append = cls(store, turn_of(store, group_path), grown)
        if not append.turn.take():
            raise _under_way(store, group_path)
        try:
            for array, _ in grown:
                check_unchanged(array)
        except BaseException:
            append.turn.release()
            raise
        if store.transactional:
            try:
                append._grow()
            except BaseException:
                append.rollback()
                raise
        return append

    def commit(self) -> None:
        """Store the new shapes."""
        try:
            if not self.store.transactional:
                self._grow()
        finally:
            self.turn.release()

    def rollback(self) -> None:
        """Remove what was stored beyond the old shapes."""
        try:
            for array, old, spec in self.grown:
                clear_beyond(Array(array.store, array.path, spec, array.options), old.shape)
                if self.store.transactional:
                    store_shape(array, old, in_parents=False)
        finally:
            self.turn.release()

    def _grow(self) -> None:
        for array, _, spec in self.grown:
            store_shape(array, spec, in_parents=False)


def _noted(store: Store, path: str, old: Shapes, new: Shapes) -> Record:
    """Leave a note of what grows, and return it; raise `RegionError` where that cannot be."""
    record: Record = {"id": os.urandom(8).hex(), "owner": _owner(), "state": WRITING, "arrays": {}}
    key = record_key(path)
    _ours.add(record["id"])  # before a thread can find a note that would seem to be nobody's
    try:
        if not store_new_document(store, key, record):
            raise _under_way(store, path)
        try:  # not before now, when nobody else can change the shapes
            record["arrays"] = {name: change_of(store, path, name, old.get(name), shape) for name, shape in new.items()}
            store_document(store, key, record)
        except BaseException:
            forget(store, path)
            raise
    except BaseException:
        _ours.discard(record["id"])
        raise
    return record


def _taken_over(store: Store, path: str, old: Shapes, new: Shapes) -> Record | None:
    """Make the note of a killed writer who was about to do the same one of this process; None where there is none."""
    with _abandoned(store, path, force=True) as left:
        if left is None or not _same(left, old, new):
            return None
        record = {**left, "owner": _owner()}
        _ours.add(record["id"])
        store_document(store, record_key(path), record)
        return record


def recover(store: Store, group_path: str, *, force: bool = False, resume: bool = False) -> None:
    """Mend what a killed writer left at ``group_path``: finish or undo its append, remove its temporary files.

    An append whose chunks are all stored is finished, any other is undone (and its journal removed). Nothing happens
    to one whose writer lives; of a writer on another host that is assumed for a week, unless ``force`` says that it
    has ended. ``resume``: leave an append that is to be undone to `Append.begin`, which may go on with it.
    """
    store.check_writable()
    store.settle(group_path)
    if isinstance(store, LocalStore):
        _sweep(store, group_path)
    with _abandoned(store, group_path, force) as record:
        if record is not None and record["state"] == STORED:
            finish(store, group_path, record)
        elif record is not None and not resume:
            undo(store, group_path, record)


@contextmanager
def _abandoned(store: Store, path: str, force: bool) -> Iterator[Record | None]:
    """Yield the note of an append whose writer has ended, under its lock: of several processes one alone mends it."""
    record = load_record(store, path)
    if record is None or _is_alive(record, force):
        yield None
        return
    with own_lock(store, record_key(path)):
        record = load_record(store, path)  # another process may have mended it meanwhile
        yield None if record is None or _is_alive(record, force) else record
    remove_folder(store, path)  # which waiting for the lock may have made


def _sweep(store: LocalStore, path: str) -> None:
    from .stores import exchange

    exchange.sweep(store.folder(path))
    remove_folder(store, path)
    store.sweep(prefix_of(path), seconds=SWEEP_SECONDS)


def _owner() -> dict[str, JSON]:
    return {"host": host_mark(), "pid": os.getpid(), "time": time.time()}


def _is_alive(record: Record, force: bool) -> bool:
    owner = record.get("owner") or {}
    if owner.get("host") != host_mark():
        return not force and time.time() - owner.get("time", 0.0) < WEEK
    if owner.get("pid") == os.getpid():
        return record.get("id") in _ours
    return lives(owner.get("pid", 0))


def _same(record: Record, old: Shapes, new: Shapes) -> bool:
    def shapes(side: str) -> dict[str, tuple[int, ...]]:
        return {name: tuple(c[side]["shape"]) for name, c in record["arrays"].items() if c[side] is not None}

    grown = {name: tuple(shape) for name, shape in new.items() if name in old}
    before = {name: tuple(shape) for name, shape in old.items() if name in new}
    same_arrays = record["state"] == WRITING and set(record["arrays"]) == set(new)
    return same_arrays and (shapes("old"), shapes("new")) == (before, grown)


def _under_way(store: Store, path: str) -> RegionError:
    return RegionError(
        "another append to this group is under way",
        where=place_of(store, path),
        hint="wait for it; if its writer ended on another host: transactions.recover(store, path, force=True)",
    )
