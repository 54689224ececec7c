"""What a conversion will do, found out before anything is written: nodes, specs, regions, memory, room on the disk.

Imports array, group, convert_spec, rechunking and the rows below. Invariant: whoever gets a plan can carry it out
within its memory; everything that the metadata can tell is wrong has been raised.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .array import Array
from .chunk_grids import ChunkGrid
from .chunk_keys import ChunkKeyEncoding
from .convert_codecs import Wishes
from .convert_places import free_space
from .convert_spec import convert_spec, same_bytes
from .convert_tasks import CopyObjects, Rewrite, copy_tasks, rewrite_regions
from .display_text import bytes_text
from .errors import MetadataError, UnsupportedError, XzarrError, not_too_deep
from .formats.v3 import format_array_v3
from .group import Group
from .memory import SCRATCH_NBYTES
from .options import Options
from .pending import FOLDER
from .placing import array_documents
from .rechunking import OBJECT_NBYTES, Budget, Rechunking, plan_rechunking
from .spec import ArraySpec
from .spec_building import default_serializer, without_byte_order
from .stores.base import Store
from .stores.local import LocalStore
from .stores.memory import MappingStore
from .stores.zip import ZipStore

VARIABLE_NBYTES = 64  # what one element of variable length is taken to need
REMOTE_OBJECT_NBYTES = 8 * 2**20  # what one intermediate object costs where every request takes its time
SHARE = 0.85  # of the memory that is planned with: allocators and libraries take the rest
BATCH_NBYTES, BATCH = 16 * 2**20, 64  # objects that are copied in one task


class Means(NamedTuple):
    """What a plan may use. ``threads`` that decode at a time, ``connections`` for copying from and to remote stores."""

    memory: int
    threads: int
    connections: int
    verify: bool


class ArrayPlan(NamedTuple):
    """What happens to one array. ``rechunking`` None: its objects are copied as they are, ``batch`` in one task."""

    path: str
    source: Array
    target: Array
    rechunking: Rechunking | None
    middle: Array | None
    alone: bool
    batch: int
    workers: int
    notes: tuple[str, ...]

    def stages(self) -> Iterator[Iterator[CopyObjects | Rewrite]]:
        """Yield the tasks, stage by stage: one is to be complete before the next begins."""
        if self.rechunking is None:
            yield copy_tasks(self.source, self.target, self.batch)
        elif self.middle is None:
            yield self._rewrites(self.source, self.target, 0, True)
        else:
            yield self._rewrites(self.source, self.middle, 0, False)
            yield self._rewrites(self.middle, self.target, 1, True)

    def compared(self) -> Iterator[CopyObjects | Rewrite]:
        """Yield tasks that compare source and target, without what lay between them."""
        if self.rechunking is None:
            yield from copy_tasks(self.source, self.target, self.batch)
        else:
            yield from self._rewrites(self.source, self.target, len(self.rechunking.passes) - 1, True)

    def _rewrites(self, source: Array, target: Array, stage: int, last: bool) -> Iterator[Rewrite]:
        assert self.rechunking is not None
        walk = self.rechunking.passes[stage]
        for region in walk.regions() if self.keeps_all else rewrite_regions(source, walk):
            yield Rewrite(source, target, region, stage, self.alone, last, self.exact)

    @property
    def exact(self) -> bool:
        """Whether a chunk that is not stored means something else than zeros: the null of v2, before and after."""
        return self.source.fill_value is None and self.target.fill_value is None and not self.keeps_all

    @property
    def keeps_all(self) -> bool:
        """Whether every chunk is to be stored."""
        return bool(self.target.options.write_empty_chunks)

    @property
    def ntasks(self) -> int:
        """The number of tasks, at most."""
        if self.rechunking is None:
            return -(-self.source.spec.chunk_grid.nchunks // self.batch)
        return sum(walk.nregions for walk in self.rechunking.passes)

    @property
    def how(self) -> str:
        """What happens, in a few words."""
        if self.rechunking is None:
            return "stored bytes copied as they are"
        first = self.rechunking.passes[0]
        sizes = " then ".join(str(walk.largest) for walk in self.rechunking.passes)
        if self.middle is not None:
            return f"two passes by way of {self.middle.spec.chunk_grid.nchunks} intermediate objects, regions {sizes}"
        reads = "" if first.reads == 1 else f", each chunk read {first.reads:.3g} times"
        return f"one pass, {first.nregions} region(s) of {sizes}{reads}"


# --- nodes ------------------------------------------------------------------------------------------------------------


def source_nodes(root: Array | Group) -> list[tuple[str, Array | Group]]:
    """Return (path below ``root``, node) of all nodes, the root first; raise `MetadataError` for unreadable ones."""
    problems: list[tuple[str, str]] = []
    found = [("", root), *(_below(root, "", problems) if isinstance(root, Group) else ())]
    if problems:
        raise MetadataError(
            "members of the source cannot be read, so they cannot be converted",
            where=root.store.url,
            problems=problems,
            hint="repair or remove them, allow what they need (quirks=, allow_codecs=), or convert the others alone",
        )
    return found


def _below(group: Group, prefix: str, problems: list[tuple[str, str]]) -> Iterator[tuple[str, Array | Group]]:
    for name, child in group.children.items():
        path = f"{prefix}{name}"
        try:
            if child.error is not None:
                raise child.error
            node = group[name]
            if isinstance(node, Array):
                node.layout  # noqa: B018 (what cannot be decoded is reported now)
        except XzarrError as error:
            problems.append((path, error.what))
            continue
        yield path, node
        if isinstance(node, Group):
            yield from _below(node, f"{path}/", problems)


# --- arrays -----------------------------------------------------------------------------------------------------------


def plan_arrays(arrays: Sequence[tuple[str, Array]], target: Store, wishes: Wishes, means: Means) -> list[ArrayPlan]:
    """Return the plans of ``arrays``; raise `XzarrError` where one does not fit the memory."""
    kept = max((min(_unit_nbytes(array), SCRATCH_NBYTES) for _, array in arrays), default=0)
    return [_plan_array(array, target, path, wishes, means, kept) for path, array in arrays]


def _plan_array(source: Array, store: Store, path: str, wishes: Wishes, means: Means, kept: int) -> ArrayPlan:
    with not_too_deep(source.where):
        spec, notes, every_chunk = convert_spec(source, wishes)
        target = _unstored(store, path, spec, source, every_chunk)
    notes = tuple(f"{path or '/'}: {note}" for note in notes)
    if same_bytes(source.spec, spec):
        nbytes = max(_object_nbytes(source), 1)
        if nbytes > means.memory:
            raise _too_little(target, nbytes, means.memory, "source")
        remote = source.store.concurrent or store.concurrent
        workers = max(1, min(means.connections if remote else means.threads, means.memory // nbytes))
        batch = max(1, min(BATCH, BATCH_NBYTES // nbytes, means.memory // (workers * nbytes)))
        return ArrayPlan(path, source, target, None, None, False, batch, workers, notes)
    middle = _middle_of(source, target)
    spare = 0 if middle is None else _spare(store)
    plans = []
    for threads in sorted({1, means.threads}):
        budget = _budget(source, target, means, threads, kept)
        cost = REMOTE_OBJECT_NBYTES if store.concurrent else OBJECT_NBYTES
        found = plan_rechunking(
            source.chunk_grid, spec.chunk_grid, _element_nbytes(target), budget, spare=spare, object_cost=cost
        )
        if found is not None:
            plans.append((sum(walk.reads for walk in found.passes) / threads, threads, found))
    if not plans:
        budget = _budget(source, target, means, 1, kept)
        need = int((budget.fixed + budget.factor * _object_nbytes(target)) / SHARE) + 1
        raise _too_little(target, need, means.memory, "target")
    _, threads, best = min(plans, key=lambda plan: plan[0])
    if best.middle is not None and middle is not None:
        middle = _with_grid(middle, best.middle)
    return ArrayPlan(path, source, target, best, middle if best.middle else None, threads == 1, 1, 1, notes)


def _unstored(store: Store, path: str, spec: ArraySpec, source: Array, every_chunk: bool) -> Array:
    """Return the target, whose documents are stored when all of its chunks are."""
    limit = source.options.max_chunk_bytes
    array = Array(
        store, path, spec, Options(writable=True, max_chunk_bytes=limit, write_empty_chunks=every_chunk or None)
    )
    array.layout  # noqa: B018 (compiled now: what cannot be written is reported before anything is)
    return array


def _element_nbytes(array: Array) -> int:
    variable = array.dtype.hasobject or array.dtype.kind == "T"
    return VARIABLE_NBYTES if variable else max(array.dtype.itemsize, 1)


def _object_nbytes(array: Array) -> int:
    return math.prod(array.spec.chunk_grid.largest_chunk) * _element_nbytes(array)


def _unit_nbytes(array: Array) -> int:
    """Return the decoded size of what can be read of the array on its own."""
    return math.prod(array.chunk_grid.largest_chunk) * _element_nbytes(array)


def _budget(source: Array, target: Array, means: Means, threads: int, kept: int) -> Budget:
    """Return what one region may take besides the buffers of ``threads`` that decode and encode.

    Each decodes a chunk of the source (decoded and encoded, in memory that threads keep), and holds an object of the
    target twice while it is encoded. The region is there twice where values are cast or compared.
    """
    unit, whole = _unit_nbytes(source), _object_nbytes(source)
    reading = 2 * max(unit, kept) + (whole if whole > unit else 0)
    fixed = threads * (reading + 2 * _object_nbytes(target))
    cast = source.dtype != target.dtype
    factor = max(1 + cast, 1 + means.verify) + source.store.concurrent
    return Budget(int(means.memory * SHARE), fixed, factor)


def _too_little(array: Array, need: int, memory: int, whose: str) -> XzarrError:
    kind = "chunk" if array.shards is None else "shard"
    shape = array.spec.chunk_grid.largest_chunk
    return XzarrError(
        f"memory of {bytes_text(memory)} is not enough for one {kind} of the {whose}, of shape {shape}: "
        f"at least {bytes_text(need)} are needed",
        where=array.where,
        hint="give more memory=, or choose smaller chunks= or shards=",
    )


# --- intermediate arrays ----------------------------------------------------------------------------------------------


def scratch_of(store: Store) -> tuple[Store, str]:
    """Return where intermediate objects go: a folder of the target; beside it where that is an archive."""
    if isinstance(store, ZipStore):
        return LocalStore(f"{store.path}.xzarr-convert"), "middle"
    return store, f"{FOLDER}convert"


def clear_scratch(store: Store) -> None:
    """Delete all intermediate objects."""
    scratch, folder = scratch_of(store)
    scratch.delete_prefix(f"{folder}/")
    if scratch is not store and isinstance(scratch, LocalStore) and os.path.isdir(scratch.root):
        os.rmdir(scratch.root)


def _spare(store: Store) -> int:
    """Return how many bytes of intermediate objects the target has room for: half of what is free."""
    if isinstance(store, MappingStore):
        return 0
    free = free_space(store)
    return 2**62 if free is None else free // 2


def _middle_of(source: Array, target: Array) -> Array | None:
    """Return an array for values on their way, None where Zarr v3 cannot spell their data type."""
    dtype = without_byte_order(source.spec.dtype)
    spec = ArraySpec(
        shape=source.shape,
        dtype=dtype,
        chunk_grid=target.spec.chunk_grid,
        chunk_key_encoding=ChunkKeyEncoding("default", "/"),
        codecs=(default_serializer(dtype),),
        fill_value=dtype.zero if source.fill_value is None else source.fill_value,
        dimension_names=None,
        attributes={},
        zarr_format=3,
        document={},
    )
    store, folder = scratch_of(target.store)
    path = f"{folder}/{target.path}" if target.path else f"{folder}/array"
    options = Options(writable=True, write_empty_chunks=source.fill_value is None)
    try:
        return _with_grid(Array(store, path, spec, options), spec.chunk_grid)
    except (UnsupportedError, MetadataError):
        return None


def _with_grid(middle: Array, grid: ChunkGrid) -> Array:
    spec = middle.spec._replace(chunk_grid=grid)
    return Array(middle.store, middle.path, spec._replace(document=format_array_v3(spec)), middle.options)


# --- sizes and identity -----------------------------------------------------------------------------------------------


def expected_nbytes(plans: Sequence[ArrayPlan]) -> int:
    """Return what the target needs at least, as far as that can be known: compressed data may be a quarter."""
    middle = max((plan.source.nbytes for plan in plans if plan.middle is not None), default=0)
    return middle + sum(map(_expected, plans))


def _expected(plan: ArrayPlan) -> int:
    try:
        sizes = [plan.source.nchunks_stored(), plan.source.nbytes_stored()]
    except UnsupportedError:
        return 0
    if plan.rechunking is None:
        return sizes[1]
    decoded = int(plan.source.nbytes * sizes[0] / max(plan.source.spec.chunk_grid.nchunks, 1))
    return min(sizes[1], decoded) // 2 if plan.target.compressors else decoded


def token_of(source: Store, documents: Any, plans: Sequence[ArrayPlan], verify: bool) -> str:
    """Return what stands for the plan in the journal: only the same call goes on with it."""
    digest = hashlib.sha256(json.dumps([source.url, documents, verify], sort_keys=True, default=str).encode())
    for plan in plans:
        described = [plan.path, dict(plan.source.spec.document), array_documents(plan.target.spec, plan.path), plan.how]
        digest.update(json.dumps([*described, plan.batch], sort_keys=True, default=str).encode())
        for walk in plan.rechunking.passes if plan.rechunking is not None else ():
            for bounds in walk.bounds:
                digest.update(bounds.tobytes())
    return digest.hexdigest()
