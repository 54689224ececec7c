"""`to_zarr` for Dataset, DataArray and DataTree: plan everything, then store it in an order that a kill cannot break.

Imports xarray, the other modules of the writer, parallel_writing, transactions, journal and the rows below. Invariant:
nothing is stored before the whole write is planned; new metadata come before chunks, grown metadata and consolidated
ones after them; with mode "w" the old node stays until the new one is complete, where the store allows that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from .block_sources import settled
from .errors import ArgumentError, MetadataError, NodeExistsError, NodeNotFoundError
from .formats.documents import format_json
from .group import Group
from .journal import Journal, has_journal, remove_journal
from .parallel_writing import ArrayWrite, plan_all, store_writes
from .paths import join
from .placing import array_documents, group_documents, make_parents
from .profile_creation import format_below, place_extra
from .profiles import Profile, choose_format, extra_documents
from .stores import open_store
from .stores.base import Store, discarding
from .stores.local import LocalStore
from .stores.zip import ZipStore
from .transactions import can_stage, recover, replaced_node
from .write_report import WriteReport
from .xarray_calls import Node, dataset_call, dataset_of, tree_call
from .xarray_growth import Growth, consolidate_root
from .xarray_planning import Call, GroupPlan, check_apart, plan_group
from .xarray_sources import without_sources
from .xarray_target import Target, find_target, new_target, refuse_other_kinds, store_documents, target_of

if TYPE_CHECKING:
    from dask.delayed import Delayed

SWEEPING = 0.05  # seconds for what killed writers left in an array, before a region write: there may be many of these


def write_dataset(ds: xr.Dataset, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write a dataset into a group; the keywords are those of `xarray.Dataset.to_zarr`, and some more.

    ``mode``: "w" replaces the group, "w-" refuses to; "a" adds variables and overwrites those that are there, "a-"
    the same but leaves those without ``append_dim``; "r+" writes only to variables that are there. The default is "a"
    with ``append_dim``, "r+" with ``region``, else "w-". ``group``: the path in the store. ``encoding``: by variable;
    ``chunks`` in it is a length, one per dimension (a tuple of lengths: a rectilinear grid), a dict by dimension, or
    "dask". ``append_dim``: the dimension along which the variables grow; without a mode the other coordinates must
    equal the stored ones. ``region``: slices by dimension, or "auto" to find them by the coordinates.
    ``safe_chunks``: "auto" (blocks that share a stored object are fused, or written under locks), True (refused, as
    xarray does), False (nobody checks). ``align_chunks``: rechunk the data to the stored chunks.
    ``compute`` False: store the metadata now and return a Delayed for the rest. ``consolidated``: None and True write
    consolidated metadata. ``resume``: go on where the same call was killed. ``durable``: each object is on the disk
    when its write returns. ``profile``: the readers to write for ("exzarr", "portable" or "zarr-python-2"): what these
    cannot read is stored by conventions that `open_dataset` reads back, or refused. Raises `NodeExistsError`,
    `NodeNotFoundError`, `MetadataError`, `RegionError`, `ArgumentError`, `UnsupportedError` or `ChunkError`.
    """
    return _write(store, *dataset_call(ds, **keywords))


def write_dataarray(da: xr.DataArray, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write a DataArray as a dataset of one variable; the keywords are those of `write_dataset`."""
    return write_dataset(dataset_of(da), store, **keywords)


def write_datatree(tree: xr.DataTree, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write a tree of groups; the keywords are those of `write_dataset` and ``write_inherited_coords``.

    ``encoding`` goes by the path of the group. ``append_dim`` and ``group`` are not possible, as in xarray.
    """
    return _write(store, *tree_call(tree, **keywords))


def write_object(obj: xr.Dataset | xr.DataArray | xr.DataTree, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write any of the three; see `write_dataset`, `write_dataarray` and `write_datatree`."""
    if isinstance(obj, xr.DataTree):
        return write_datatree(obj, store, **keywords)
    if isinstance(obj, xr.DataArray):
        return write_dataarray(obj, store, **keywords)
    return write_dataset(obj, store, **keywords)


def planned_writes(obj: Any, store: Any, **keywords: Any) -> Sequence[ArrayWrite]:
    """Return what `to_zarr` with these arguments would write, without writing anything."""
    if isinstance(obj, xr.DataTree):
        nodes, call, options = tree_call(obj, **keywords)
    else:
        nodes, call, options = dataset_call(dataset_of(obj) if isinstance(obj, xr.DataArray) else obj, **keywords)
    opened = _open(store, call, options)
    return [write for plan in _plan(opened, nodes, call) for write in plan.writes(opened, call.path)]


# --- planning -------------------------------------------------------------------------------------------------------


def _open(store: Any, call: Call, storage_options: Mapping[str, Any] | None) -> Store:
    if store is None:
        raise ArgumentError("to_zarr needs a store", hint="give a path, a URL, a dict or a store object")
    opened = open_store(store, mode="a", storage_options=storage_options)
    opened.check_writable()
    return opened.durably() if call.durable else opened


def _plan(opened: Store, nodes: list[Node], call: Call) -> list[GroupPlan]:
    """Return the plans of all groups, checked as a whole; nothing is stored."""
    root = _root_target(opened, call)
    plans = [plan_group(_target_of(root, below, call), below, ds, encoding, call) for below, ds, encoding in nodes]
    check_apart(plans)
    if call.mode != "w":
        _refuse_other_kinds(opened, plans, call.path)
    writes = [write for plan in plans for write in plan.writes(opened, call.path)]
    if not call.align_chunks:
        plan_all(writes, safe_chunks=call.safe_chunks, partial_edges=call.mode != "r+")
    return plans


def _refuse_other_kinds(opened: Store, plans: list[GroupPlan], path: str) -> None:
    groups = [join(path, plan.below) for plan in plans if plan.below and plan.target.group is None]
    arrays = [join(path, plan.below, new.name) for plan in plans for new in plan.new]
    refuse_other_kinds(opened, path, groups, arrays)


def _root_target(opened: Store, call: Call) -> Target:
    if call.mode == "w" or (call.resume and call.mode == "w-" and has_journal(opened, call.path)):
        return _by_profile(new_target(opened, call.path, call.zarr_format), call)
    empty = bool(call.write_empty_chunks)
    try:
        found = find_target(opened, call.path, call.mode, call.consolidated, call.zarr_format, empty)
    except NodeExistsError as error:
        if not call.resume:
            raise
        raise NodeExistsError(
            "a node is stored here already, and no unfinished write that could be resumed",
            where=error.where,
            hint='if it was this call that made it, nothing is left to do; mode="w" replaces it',
        ) from None
    return _by_profile(found, call)


def _by_profile(target: Target, call: Call) -> Target:
    """Return ``target`` in the format that the profile of the call writes, or what is there in one that it knows."""
    if call.profile is None:
        return target
    if target.group is not None:
        asked: int | None = target.zarr_format
    else:
        asked = call.zarr_format or format_below(target.store, target.path, call.profile)
    return target._replace(zarr_format=choose_format(call.profile, asked))


def _target_of(root: Target, below: str, call: Call) -> Target:
    if not below:
        return root
    found: Any = None
    if root.group is not None:
        try:
            found = root.group[below]
        except NodeNotFoundError:
            if call.mode == "r+":
                raise
    if isinstance(found, Group):
        return target_of(found, bool(call.write_empty_chunks))
    if found is not None:
        raise MetadataError(f"an array is stored where the group {below!r} belongs", where=root.where)
    return Target(root.store, join(root.path, below), root.zarr_format, None, {})


# --- storing --------------------------------------------------------------------------------------------------------


def _write(store: Any, nodes: list[Node], call: Call, storage_options: Mapping[str, Any] | None) -> Any:
    opened = _open(store, call, storage_options)
    ours = opened is not store
    if ours and isinstance(opened, ZipStore):
        opened = opened.only_when_closed()
    with discarding(opened, store):
        done = _planned_and_stored(opened, nodes, call)
    if ours:
        opened.close()  # which finishes a zip archive; a store opens itself again for what a Delayed writes
    return done


def _planned_and_stored(opened: Store, nodes: list[Node], call: Call) -> Any:
    if call.mode == "w" and (not call.compute or not can_stage(opened, call.path)):
        nodes = [(below, without_sources(ds, opened, call.path), encoding) for below, ds, encoding in nodes]
    if call.mode in ("a", "a-") and opened.shared_between_processes:
        recover(opened, call.path, resume=call.resume)
    plans = _settled(opened, _plan(opened, nodes, call), call)
    if call.mode == "r+" and isinstance(opened, LocalStore):
        for write in (write for plan in plans for write in plan.writes(opened, call.path)):
            opened.sweep(f"{write.array.path}/", seconds=SWEEPING)
    done = _replace(opened, plans, call) if call.mode == "w" else _add(opened, plans, call)
    if call.profile is not None and isinstance(done, WriteReport):
        done = done.with_notes(call.profile.notes_of(plans[0].target.zarr_format))
    return done


def _settled(opened: Store, plans: list[GroupPlan], call: Call) -> list[GroupPlan]:
    """Return the plans with those data loaded that may read what this call changes."""
    changed = {old.target.path: old for plan in plans for old in plan.old}
    if not changed or call.safe_chunks is False:
        return plans
    writes = [write for plan in plans for write in plan.writes(opened, call.path)]
    data = iter(settled(writes, [write for write in writes if write.array.path in changed]))
    return [
        plan._replace(
            new=[new._replace(data=next(data)) for new in plan.new],
            old=[old._replace(data=next(data)) for old in plan.old],
        )
        for plan in plans
    ]


def _replace(opened: Store, plans: list[GroupPlan], call: Call) -> Any:
    """Build the new node beside the old one, or where the store cannot do that, in its place."""
    make_parents(opened, call.path, plans[0].target.zarr_format)
    place_extra(opened, call.profile, call.path, plans[0].target.zarr_format, itself=False)
    done: Any = None
    with replaced_node(opened, call.path, resume=call.resume) as (store, path):
        _create(store, path, plans, call.profile)
        if call.compute:
            done = _store(store, path, plans, call)
        if not call.path:
            consolidate_root(store, call)
    if call.path:
        consolidate_root(opened, call)
    return done if call.compute else _store(opened, call.path, plans, call)


def _add(opened: Store, plans: list[GroupPlan], call: Call) -> Any:
    """Write into the place itself: what is new first, what grows last."""
    for plan in plans[:1]:
        if plan.target.group is None:
            make_parents(opened, call.path, plan.target.zarr_format)
            place_extra(opened, call.profile, call.path, plan.target.zarr_format, itself=False)
    fresh = call.mode == "w-" and not call.path
    created = {join(join(call.path, plan.below), new.name): new.spec for plan in plans for new in plan.new}
    growth = Growth(opened, call, plans, created, fresh)
    if not call.compute:
        _create(opened, call.path, plans, call.profile)
        if growth.grows and not opened.transactional:
            return _store(opened, call.path, plans, call, growth, growth.check)
        growth()
        return _store(opened, call.path, plans, call)
    with growth:
        _create(opened, call.path, plans, call.profile)
        return _store(opened, call.path, plans, call)


def _create(store: Store, path: str, plans: list[GroupPlan], profile: Profile | None) -> None:
    """Store the documents of new groups and arrays."""
    for plan in plans:
        place = join(path, plan.below)
        if plan.target.group is None:
            store_documents(store, group_documents(plan.attributes or {}, place, plan.target.zarr_format))
            store_documents(store, extra_documents(profile, place, plan.target.zarr_format))
        for new in plan.new:
            store_documents(store, array_documents(new.spec, join(place, new.name)))


def _store(
    store: Store,
    path: str,
    plans: list[GroupPlan],
    call: Call,
    finish: Callable[[], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Any:
    """Store the values of all groups as one graph."""
    writes = [write for plan in plans for write in plan.writes(store, path)]
    journal = Journal.open(store, path, _token(writes), True) if call.resume else None
    if journal is None and isinstance(store, LocalStore):
        remove_journal(store, path)  # of a killed write that nobody resumed: what it lists is about to change
    return store_writes(
        writes,
        safe_chunks=call.safe_chunks,
        align_chunks=call.align_chunks,
        partial_edges=call.mode != "r+",
        compute=call.compute,
        computing=call.computing,
        journal=journal,
        check=check,
        finish=_Finish(store, journal, finish),
    )


@dataclass(frozen=True)
class _Finish:
    """What is done when everything is stored, maybe in the last task of a graph; pickles."""

    store: Store
    journal: Journal | None
    then: Callable[[], None] | None

    def __call__(self) -> None:
        if self.then is not None:
            self.then()
        if self.journal is not None:
            self.journal.finish()
        self.store.close()


def _token(writes: Sequence[ArrayWrite]) -> str:
    """Return what stands for the plan of a write: a resumed one must have the same."""
    digest = hashlib.sha256()
    for write in writes:
        digest.update(format_json(dict(write.array.spec.document)))
        blocks = getattr(write.data, "chunks", None) or write.data.shape
        digest.update(repr((write.array.path.rpartition("/")[2], write.region, blocks, str(write.data.dtype))).encode())
    return digest.hexdigest()
