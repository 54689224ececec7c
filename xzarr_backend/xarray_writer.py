"""`to_zarr` for Dataset, DataArray and DataTree: plan everything, then store it in an order that a kill cannot break.

Imports xarray, the other modules of the writer, parallel_writing, transactions, journal and the rows below. Invariant:
nothing is stored before the whole write is planned; new metadata come before chunks, grown metadata and consolidated
ones after them; with mode "w" the old node stays until the new one is complete, where the store allows that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import xarray as xr

from . import xarray_accessors as xarray_accessors  # registers them
from .changing import clear_beyond, store_shape
from .consolidating import change_document, consolidate, update_member
from .creation import array_documents
from .errors import ArgumentError, MetadataError, NodeNotFoundError
from .formats.documents import format_json
from .group import Group
from .journal import Journal, has_journal
from .nodes import clean_path
from .parallel_writing import ArrayWrite, plan_all, store_writes
from .spec import ArraySpec, GroupSpec
from .stores import open_store
from .stores.base import Store
from .stores.local import LocalStore
from .transactions import Append, recover, replaced_node
from .write_report import WriteReport
from .xarray_planning import Call, GroupPlan, choose_mode, join, plan_group
from .xarray_sources import without_sources
from .xarray_target import Target, create_parents, find_target, group_documents, new_target, store_documents, target_of

if TYPE_CHECKING:
    from dask.delayed import Delayed

VARIABLE = "__xarray_dataarray_variable__"  # how xarray stores a DataArray that has no name of its own,
NAME = "__xarray_dataarray_name__"  # and where it keeps one that is taken by a coordinate

Node = tuple[str, xr.Dataset, Mapping[Any, Any]]  # path below the call's group, data, encoding


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
    when its write returns. Raises `NodeExistsError`, `NodeNotFoundError`, `MetadataError`, `RegionError`,
    `ArgumentError`, `UnsupportedError` or `ChunkError`.
    """
    return _write(store, *_dataset_call(ds, **keywords))


def write_dataarray(da: xr.DataArray, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write a DataArray as a dataset of one variable; the keywords are those of `write_dataset`."""
    return write_dataset(_dataset_of(da), store, **keywords)


def write_datatree(tree: xr.DataTree, store: Any, **keywords: Any) -> WriteReport | Delayed:
    """Write a tree of groups; the keywords are those of `write_dataset` and ``write_inherited_coords``.

    ``encoding`` goes by the path of the group. ``append_dim`` and ``group`` are not possible, as in xarray.
    """
    return _write(store, *_tree_call(tree, **keywords))


def planned_writes(obj: Any, store: Any, **keywords: Any) -> Sequence[ArrayWrite]:
    """Return what `to_zarr` with these arguments would write, without writing anything."""
    if isinstance(obj, xr.DataTree):
        nodes, call, options = _tree_call(obj, **keywords)
    else:
        nodes, call, options = _dataset_call(_dataset_of(obj) if isinstance(obj, xr.DataArray) else obj, **keywords)
    opened = _open(store, call, options)
    return [write for plan in _plan(opened, nodes, call) for write in plan.writes(opened, call.path)]


# --- keywords ----------------------------------------------------------------------------------------------------------


def _dataset_of(da: xr.DataArray) -> xr.Dataset:
    if da.name is None:
        return da.to_dataset(name=VARIABLE)
    if da.name in da.coords or da.name in da.dims:
        ds = da.to_dataset(name=VARIABLE)
        ds.attrs[NAME] = da.name
        return ds
    return da.to_dataset()


def _dataset_call(
    ds: xr.Dataset, *, encoding: Mapping[Any, Any] | None = None, **keywords: Any
) -> tuple[list[Node], Call, Any]:
    call, options = _call(**keywords)
    return [("", ds, encoding or {})], call, options


def _tree_call(
    tree: xr.DataTree,
    *,
    encoding: Mapping[str, Any] | None = None,
    write_inherited_coords: bool = False,
    **keywords: Any,
) -> tuple[list[Node], Call, Any]:
    for name, what in (("group", "a root group for the tree"), ("append_dim", "``append_dim``")):
        if keywords.get(name) is not None:
            raise _NotForTrees(f"specifying {what} with ``DataTree.to_zarr`` has not been implemented")
    unknown = set(encoding or {}) - set(tree.groups)
    if unknown:
        raise MetadataError(f"unexpected encoding group name(s) provided: {unknown}")
    nodes = [
        (
            "" if path == "." else path,
            node.to_dataset(inherit=write_inherited_coords or node is tree),
            (encoding or {}).get(node.path) or {},
        )
        for path, node in tree.subtree_with_keys
    ]
    keywords["mode"] = keywords.get("mode") or (None if keywords.get("region") is not None else "w-")
    call, options = _call(**keywords)
    return nodes, call, options


class _NotForTrees(ArgumentError, NotImplementedError):
    """A keyword that has no meaning for a tree yet."""


def _call(
    *,
    chunk_store: Any = None,
    mode: str | None = None,
    synchronizer: Any = None,
    group: str | None = None,
    compute: bool = True,
    consolidated: bool | None = None,
    append_dim: Hashable | None = None,
    region: Any = None,
    safe_chunks: bool | Literal["auto"] = "auto",
    align_chunks: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    zarr_version: int | None = None,
    zarr_format: int | None = None,
    write_empty_chunks: bool | None = None,
    chunkmanager_store_kwargs: Mapping[str, Any] | None = None,
    resume: bool = False,
    durable: bool = False,
    profile: None = None,
) -> tuple[Call, Mapping[str, Any] | None]:
    for name, value in (("chunk_store", chunk_store), ("synchronizer", synchronizer), ("profile", profile)):
        if value is not None:
            raise ArgumentError(f"{name}= is not supported", hint="leave it out")
    if safe_chunks not in (True, False, "auto"):
        raise MetadataError(f"safe_chunks={safe_chunks!r} is not possible", hint='use True, False or "auto"')
    if zarr_version is not None and zarr_format not in (None, zarr_version):
        raise MetadataError(f"zarr_format={zarr_format} and zarr_version={zarr_version} disagree")
    zarr_format = zarr_version if zarr_format is None else zarr_format
    if zarr_format not in (None, 2, 3):
        raise MetadataError(f"zarr_format={zarr_format!r} is not possible", hint="use 2 or 3")
    return Call(
        mode=choose_mode(mode, append_dim, region),
        asked=mode,
        path=clean_path(group or ""),
        compute=compute,
        consolidated=consolidated,
        append_dim=append_dim,
        region=region,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
        zarr_format=zarr_format,
        write_empty_chunks=write_empty_chunks,
        computing=chunkmanager_store_kwargs or {},
        resume=resume,
        durable=durable,
    ), storage_options


# --- planning ----------------------------------------------------------------------------------------------------------


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
    writes = [write for plan in plans for write in plan.writes(opened, call.path)]
    if not call.align_chunks:
        plan_all(writes, safe_chunks=call.safe_chunks, partial_edges=call.mode != "r+")
    return plans


def _root_target(opened: Store, call: Call) -> Target:
    if call.mode == "w" or (call.resume and call.mode == "w-" and has_journal(opened, call.path)):
        return new_target(opened, call.path, call.zarr_format)
    empty = bool(call.write_empty_chunks)
    return find_target(opened, call.path, call.mode, call.consolidated, call.zarr_format, empty)


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


# --- storing -----------------------------------------------------------------------------------------------------------


def _write(store: Any, nodes: list[Node], call: Call, storage_options: Mapping[str, Any] | None) -> Any:
    opened = _open(store, call, storage_options)
    if call.mode == "w" and (not call.compute or not isinstance(opened, LocalStore)):
        nodes = [(below, without_sources(ds, opened, call.path), encoding) for below, ds, encoding in nodes]
    if call.mode not in ("w", "w-") and _outlives(opened):
        recover(opened, call.path)
    plans = _plan(opened, nodes, call)
    done = _replace(opened, plans, call) if call.mode == "w" else _add(opened, plans, call)
    if call.compute and opened is not store:
        opened.close()
    return done


def _replace(opened: Store, plans: list[GroupPlan], call: Call) -> Any:
    """Build the new node beside the old one, or where the store cannot do that, in its place."""
    create_parents(opened, call.path, plans[0].target.zarr_format)
    done: Any = None
    with replaced_node(opened, call.path, resume=call.resume) as (store, path):
        _create(store, path, plans)
        if call.compute:
            done = _store(store, path, plans, call)
        if not call.path:
            _consolidate(store, call)
    if call.path:
        _consolidate(opened, call)
    return done if call.compute else _store(opened, call.path, plans, call)


def _add(opened: Store, plans: list[GroupPlan], call: Call) -> Any:
    """Write into the place itself: what is new first, what grows last."""
    for plan in plans[:1]:
        if plan.target.group is None:
            create_parents(opened, call.path, plan.target.zarr_format)
    fresh = call.mode == "w-" and not call.path
    created = _create(opened, call.path, plans)
    growth = Growth(opened, call, plans, created, fresh)
    if not call.compute:
        if not growth.grows:
            growth.finish()
        return _store(opened, call.path, plans, call, growth if growth.grows else None)
    with growth:
        return _store(opened, call.path, plans, call)


def _create(store: Store, path: str, plans: list[GroupPlan]) -> dict[str, ArraySpec]:
    """Store the documents of new groups and arrays; return the specs of the arrays by path."""
    created = {}
    for plan in plans:
        place = join(path, plan.below)
        if plan.target.group is None:
            store_documents(store, group_documents(place, plan.attributes or {}, plan.target.zarr_format))
        for new in plan.new:
            created[join(place, new.name)] = new.spec
            store_documents(store, array_documents(new.spec, join(place, new.name)))
    return created


def _store(
    store: Store, path: str, plans: list[GroupPlan], call: Call, finish: Callable[[], None] | None = None
) -> Any:
    """Store the values of all groups as one graph."""
    writes = [write for plan in plans for write in plan.writes(store, path)]
    journal = Journal.open(store, path, _token(writes), True) if call.resume else None
    done = store_writes(
        writes,
        safe_chunks=call.safe_chunks,
        align_chunks=call.align_chunks,
        partial_edges=call.mode != "r+",
        compute=call.compute and not call.computing,
        journal=journal,
        finish=_Finish(journal, finish) if journal is not None else finish,
    )
    if call.compute and call.computing:
        done = done.compute(**call.computing)  # type: ignore[union-attr]
    return done


class _Finish(NamedTuple):
    """The end of a write with a journal; pickles."""

    journal: Journal
    then: Callable[[], None] | None

    def __call__(self) -> None:
        if self.then is not None:
            self.then()
        self.journal.finish()


def _token(writes: Sequence[ArrayWrite]) -> str:
    """Return what stands for the plan of a write: a resumed one must have the same."""
    digest = hashlib.sha256()
    for write in writes:
        digest.update(format_json(dict(write.array.spec.document)))
        blocks = getattr(write.data, "chunks", None) or write.data.shape
        digest.update(repr((write.array.path.rpartition("/")[2], write.region, blocks, str(write.data.dtype))).encode())
    return digest.hexdigest()


def _outlives(store: Store) -> bool:
    """Return whether what is stored outlives this process, so that a killed writer can leave something behind."""
    return store.shared_between_processes


def _consolidate(store: Store, call: Call) -> None:
    if call.consolidated is not False and call.mode != "r+" and store.supports_consolidated_metadata:
        consolidate(store, "")


class Growth:
    """What becomes visible at the end: grown arrays, changed attributes of groups, consolidated metadata.

    As a context it begins an append before the chunks are stored, and commits it or rolls it back. Called (as the last
    task of a graph) it does all of it at once. It pickles.
    """

    def __init__(
        self, store: Store, call: Call, plans: list[GroupPlan], created: Mapping[str, ArraySpec], fresh: bool
    ) -> None:
        self.store, self.path, self.created, self.fresh = store, call.path, dict(created), fresh
        self.call = call._replace(region=None, computing={})
        self.grown = {old.array.path: (old.array, old.grown) for plan in plans for old in plan.old if old.grown}
        self.attributes = {
            plan.target.path: (plan.target.group.spec, plan.attributes)
            for plan in plans
            if plan.target.group is not None and plan.attributes is not None
        }
        self.append: Append | None = None

    @property
    def grows(self) -> bool:
        """Whether an array grows."""
        return bool(self.grown)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, kind: Any, *error: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.undo()

    def __call__(self) -> None:
        self.begin()
        self.finish()

    def begin(self) -> None:
        """Note that arrays are about to grow, where a killed writer could leave that half done."""
        if self.grown and _outlives(self.store):
            old = {array.basename: array.shape for array, _ in self.grown.values()}
            new = {array.basename: spec.shape for array, spec in self.grown.values() if spec is not None}
            self.append = Append.begin(self.store, self.path, old, new, resume=self.call.resume)

    def undo(self) -> None:
        """Remove what was stored beyond the old sizes."""
        if self.append is not None:
            self.append.rollback()
            return
        for array, spec in self.grown.values():
            clear_beyond(type(array)(array.store, array.path, spec or array.spec, array.options), array.shape)

    def finish(self) -> None:
        """Let everything be seen."""
        if self.append is not None:
            self.append.commit()
        else:
            for array, spec in self.grown.values():
                assert spec is not None
                store_shape(array, spec, in_parents=False, expected=array.shape)
        for path, (group, attributes) in self.attributes.items():
            self._store_attributes(path, group, attributes)
        if self.call.consolidated is False and not self.fresh:
            for path, spec in self.created.items():
                update_member(self.store, path, spec)
        _consolidate(self.store, self.call)

    def _store_attributes(self, path: str, group: GroupSpec, attributes: Mapping[str, Any]) -> None:
        if dict(group.attributes) == dict(attributes):
            return
        prefix = f"{path}/" if path else ""
        if group.zarr_format == 2:
            change_document(self.store, f"{prefix}.zattrs", {}, lambda old: dict(attributes))
        else:
            change_document(
                self.store, f"{prefix}zarr.json", group.document, lambda old: {**old, "attributes": dict(attributes)}
            )
