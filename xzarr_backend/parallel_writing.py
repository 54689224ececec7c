"""Writing NumPy and dask arrays to stored arrays, planned by stored object, so that parallel tasks never lose data.

Imports dask at its first use, array, write_planning, write_locks, write_report and the rows below. Invariant: two
tasks write one stored object only under its lock, each reading it again before it writes; everything that makes a
write unsafe is found before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from . import ongoing
from .array import Array
from .errors import RegionError
from .executor import inline
from .selection import parse_basic
from .stores.concurrency import this_process
from .write_locks import (
    PROCESSES,
    THREADS,
    LockFactory,
    ObjectLocks,
    cluster_client,
    no_lock,
    not_shared,
    offers_locks,
    where_computed,
)
from .write_planning import Blocks, Region, WritePlan, check_aligned, cut_edges, plan_blocks
from .write_report import WriteReport, report_of

if TYPE_CHECKING:
    from dask.delayed import Delayed

LARGEST_FUSED = 2**30  # bytes that a fused block may take, however large the blocks of dask's configuration are

SafeChunks = bool | Literal["auto"]


class ArrayWrite(NamedTuple):
    """``data`` (a NumPy or dask array of the region's shape, encoded already) goes to ``array[region]``.

    ``region``: start and stop along every dimension, in elements of the array, step None.
    """

    array: Array
    region: tuple[slice, ...]
    data: Any


class FinishedWork(Protocol):
    """Remembers which blocks are stored, for a write that continues a killed one; pickles."""

    def is_done(self, key: str) -> bool:
        """Return whether the work called ``key`` was finished before."""

    def mark(self, keys: Sequence[str]) -> None:
        """Remember that the work called ``keys`` is finished."""


def store_writes(
    writes: Sequence[ArrayWrite],
    *,
    safe_chunks: SafeChunks = "auto",
    align_chunks: bool = False,
    partial_edges: bool = True,
    compute: bool = True,
    computing: Mapping[str, Any] | None = None,
    lock_factory: LockFactory | None = None,
    journal: FinishedWork | None = None,
    check: Callable[[], None] | None = None,
    finish: Callable[[], None] | None = None,
) -> WriteReport | Delayed:
    """Write them all; return what was shared and how that was dealt with, or with ``compute=False`` a Delayed.

    NumPy data are written at once, dask data as one graph with the scheduler in use. ``finish`` is called once, after
    every block is stored (in the last task of the Delayed). ``check`` is called before the first block is stored in a
    process, and raises where that must not be; NumPy data then wait for it, too. ``computing``: keywords of
    `dask.compute`.

    ``safe_chunks``: what to do with blocks that share a stored object (a chunk, or shard). "auto" fuses them as long
    as that keeps blocks small, and else writes them under locks: those of ``lock_factory(key)``, of the store, of the
    cluster, of the process; `RegionError` where none is to be had. True: `RegionError` as xarray raises it, where
    ``partial_edges=False`` refuses regions whose edges lie inside objects too. False: nothing is checked, but objects
    that change in part are locked all the same. ``align_chunks`` fuses, whatever it takes.
    ``journal`` is asked which blocks are stored already, and told of those that are.
    """
    plans = plan_all(
        writes,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
        partial_edges=partial_edges,
        lock_factory=lock_factory,
    )
    report = report_of([(write.array.path, plan) for write, plan in zip(writes, plans, strict=True)])
    totals = []
    name = ongoing.begin()
    for write, plan in zip(writes, plans, strict=True):
        writer = BlockWriter(write, plan.blocks, lock_factory, journal, name, check)
        if is_lazy(write.data):
            totals.append(writer.lazily(rechunked(write.data, plan.blocks)))
        elif check is not None:
            totals.append(writer.lazily(_as_lazy(write.data)))
        else:
            writer.write_all(write.data)
    if not compute:
        import dask

        return dask.delayed(_complete, pure=False)(totals, finish, report)
    try:
        _compute(totals, computing or {})
    except BaseException:
        ongoing.failed(name, cluster_client())  # before anybody writes there again
        raise
    finally:
        for write in writes:
            write.array.adopt(write.array.spec)  # other processes have replaced what this one may remember
    if finish is not None:
        finish()
    return report


def is_lazy(data: Any) -> bool:
    """Return whether ``data`` is a dask array."""
    return hasattr(data, "__dask_graph__") and hasattr(data, "numblocks")


def _as_lazy(data: Any) -> Any:
    import dask.array as da

    return da.from_array(data, chunks=-1, name=False)


def rechunked(data: Any, blocks: Blocks) -> Any:
    """Return the dask array ``data`` in ``blocks``."""
    return data if data.chunks == blocks else data.rechunk(blocks)


def _compute(totals: list[Any], computing: Mapping[str, Any]) -> None:
    if totals:
        import dask

        dask.compute(*totals, **computing)


def _complete(totals: Any, finish: Callable[[], None] | None, report: WriteReport) -> WriteReport:
    """The last task: everything is stored."""
    if finish is not None:
        finish()
    return report


# --- planning ------------------------------------------------------------------------------------------------------


def plan_all(
    writes: Sequence[ArrayWrite],
    *,
    safe_chunks: SafeChunks = "auto",
    align_chunks: bool = False,
    partial_edges: bool = True,
    lock_factory: LockFactory | None = None,
) -> list[WritePlan]:
    """Return the plan of each write, or raise `RegionError`, as `store_writes` says; nothing is written."""
    place = where_computed() if any(is_lazy(write.data) for write in writes) else THREADS
    plans = []
    for write in writes:
        blocks = blocks_of(write)
        limit = None if align_chunks else fusing_limit() if safe_chunks == "auto" else 0
        if not is_lazy(write.data):
            limit = 0
        grid, itemsize = write.array.spec.chunk_grid, itemsize_of(write.array.dtype)
        if safe_chunks is True and not align_chunks and is_lazy(write.data):
            check_aligned(grid, write.region, blocks, write.array.basename, partial_edges=partial_edges)
        plan = plan_blocks(grid, write.region, blocks, itemsize, limit)
        _check_place(write, place)
        if safe_chunks == "auto":
            _check_locks(write, plan, place, lock_factory)
        plans.append(plan)
    return plans


def blocks_of(write: ArrayWrite) -> Blocks:
    """Return the blocks that the data come in; raise `RegionError` where they do not fit the region."""
    wanted = tuple(piece.stop - piece.start for piece in write.region)
    blocks: Blocks = write.data.chunks if is_lazy(write.data) else tuple((n,) for n in write.data.shape)
    if any(size != size for sizes in blocks for size in sizes):
        raise RegionError(
            "the lengths of the data's blocks are not known", where=write.array.where, hint="call compute_chunk_sizes()"
        )
    if write.data.shape != wanted:
        raise RegionError(
            f"data of shape {write.data.shape} do not fit the region of shape {wanted}", where=write.array.where
        )
    return blocks


def fusing_limit() -> int:
    """Return how many bytes a fused block may take: four times dask's ``array.chunk-size``, at most 1 GiB."""
    import dask
    from dask.utils import parse_bytes

    return min(4 * int(parse_bytes(dask.config.get("array.chunk-size"))), LARGEST_FUSED)


def itemsize_of(dtype: np.dtype[Any]) -> int:
    """Return the bytes of one element; of variable-length ones a pointer and a short string are assumed."""
    return 32 if dtype.hasobject or dtype.kind == "T" else dtype.itemsize


def _check_place(write: ArrayWrite, place: str) -> None:
    if place != THREADS and is_lazy(write.data) and not write.array.store.shared_between_processes:
        raise not_shared(write.array.store)


def _check_locks(write: ArrayWrite, plan: WritePlan, place: str, factory: LockFactory | None) -> None:
    """Raise where objects stay shared and no lock keeps their writers apart."""
    array = write.array
    if not plan.locked or factory is not None:
        return
    key = array.layout.key((0,) * array.ndim)
    if offers_locks(array.store, key):
        return
    if plan.shared_within and place == PROCESSES:
        raise no_lock(array.store, key)
    check_edges(array, write.region)


def check_edges(array: Array, region: Region) -> None:
    """Raise `RegionError` where ``region`` ends inside an object of a store that has no locks.

    Of two writers side by side, one has such an end: that one is refused. A region that begins inside an object, as
    an append does, is not.
    """
    cuts = [cut for cut in cut_edges(array.spec.chunk_grid, region) if cut.edge == "stop"]
    if not cuts:
        return
    name, position, below, above = cuts[0].dimension, cuts[0].position, cuts[0].below, cuts[0].above
    kind = "chunk" if array.shards is None else "shard"
    raise RegionError(
        f"the region ends at {position} along dimension {name}, inside the {kind} from {below} to {above}; "
        "others may write the rest of it at the same time, and the store offers no locks",
        where=array.where,
        hint=f"end the region at {below} or {above}; or give lock_factory=, or safe_chunks=False if nobody else writes",
    )


# --- writing --------------------------------------------------------------------------------------------------------


class BlockWriter:
    """Writes the blocks of one array; the graph holds it once, all tasks refer to it."""

    def __init__(
        self,
        write: ArrayWrite,
        blocks: Blocks,
        factory: LockFactory | None,
        journal: FinishedWork | None,
        name: str = "",
        check: Callable[[], None] | None = None,
    ) -> None:
        self.array, self.journal, self.name, self.check = write.array, journal, name or ongoing.begin(), check
        self.locks = ObjectLocks(write.array.store, factory)
        starts = (piece.start for piece in write.region)
        self.bounds = [np.cumsum([start, *sizes]) for start, sizes in zip(starts, blocks, strict=True)]

    def region_of(self, block: Sequence[int]) -> Region:
        """Return where the block with these coords goes."""
        return tuple(slice(int(b[i]), int(b[i + 1])) for b, i in zip(self.bounds, block, strict=True))

    def name_of(self, region: Region) -> str:
        """Return what the journal calls the work of writing ``region``: its place, so that it holds for every plan."""
        return f"{self.array.path}[{','.join(f'{piece.start}:{piece.stop}' for piece in region)}]"

    def is_done(self, region: Region) -> bool:
        """Return whether ``region`` was written before."""
        return self.journal is not None and self.journal.is_done(self.name_of(region))

    def write(self, region: Region, values: Any) -> None:
        """Write the values of one region."""
        self.locks.check_place()
        self.array.write(parse_basic(region, self.array.shape), values, self.locks)
        if self.journal is not None:
            self.journal.mark([self.name_of(region)])

    def write_all(self, values: Any) -> None:
        """Write the whole region at once."""
        region = self.region_of((0,) * self.array.ndim)
        if not self.is_done(region):
            self.write(region, values)

    def write_block(self, values: Any, block: Sequence[int]) -> Region:
        """Write one block in a task, and return where it went."""
        region = self.region_of(block)
        with ongoing.storing(self.name):
            if self.check is not None:
                ongoing.once(self.name, self.check)
            if this_process() == self.locks.home:
                self.write(region, values)
            else:
                with inline():  # the processes are the parallelism
                    self.write(region, values)
        return region

    def lazily(self, data: Any) -> Any:
        """Return what writes every block of ``data`` when it is computed: a dask array of how many were written."""
        written = self._mapped(_write_block, data, tuple((1,) * n for n in data.numblocks), np.dtype("i8"))
        if self.journal is None:
            return written.sum(split_every=16)
        todo = [place for place in np.ndindex(*data.numblocks) if not self.is_done(self.region_of(place))]
        if len(todo) == written.size:
            return written.sum(split_every=16)
        import dask

        tasks = written.to_delayed()  # those whose blocks are stored already are left out, and all they depend on
        return dask.delayed(len)([tasks[place] for place in todo])

    def reloading(self, data: Any) -> Any:
        """Return a dask array like ``data`` whose blocks are stored, and read back, when they are computed."""
        return self._mapped(_rewrite_block, data, data.chunks, self.array.dtype)

    def _mapped(self, task: Callable[..., Any], data: Any, chunks: Blocks, dtype: np.dtype[Any]) -> Any:
        import dask

        handle = dask.delayed(self, pure=False, traverse=False)
        meta = np.empty((0,) * data.ndim, dtype)
        return data.map_blocks(task, handle, dtype=dtype, chunks=chunks, meta=meta, name=_name(data, handle))


def _name(data: Any, handle: Any) -> str:
    """Writing is done each time it is asked for, so its name is never the same."""
    return f"xzarr-write-{data.name.rpartition('-')[2][:8]}-{handle.key.rpartition('-')[2]}"


def _write_block(values: Any, writer: BlockWriter, block_id: tuple[int, ...] = ()) -> Any:
    writer.write_block(values, block_id)
    return np.ones((1,) * len(block_id), "i8")


def _rewrite_block(values: Any, writer: BlockWriter, block_id: tuple[int, ...] = ()) -> Any:
    region = writer.write_block(values, block_id)
    return np.asarray(writer.array[region] if region else writer.array[...])
