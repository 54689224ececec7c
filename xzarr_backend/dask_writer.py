"""`to_zarr` for dask and NumPy arrays.

Imports dask at its first use, parallel_writing, creation, opening, transactions, dask_array and the rows below.
Invariant: an array is created, or found to fit, before its first block is written; with mode "w" the old one stays
until the new one is complete, where the store allows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from .array import Array
from .block_sources import settled
from .creation import create_array
from .data_sources import reads_from
from .errors import RegionError, unknown_keyword
from .nodes import clean_path, place_of
from .opening import open_array
from .parallel_writing import (
    ArrayWrite,
    BlockWriter,
    SafeChunks,
    is_lazy,
    plan_all,
    rechunked,
    store_writes,
)
from .paths import prefix_of
from .profile_creation import format_below
from .profiles import find_profile
from .stores import MemoryStore, open_store
from .stores.base import Store, discarding
from .stores.zip import ZipStore
from .transactions import Replacement, can_stage
from .write_locks import LockFactory
from .write_planning import check_region

MODES = ("a", "r+", "w", "w-")
OLD_NAMES = {"compressor": "compressors", "dimension_separator": "chunk_key_encoding"}  # of zarr-python's v2
CREATION = {*(create_array.__kwdefaults__ or ()), *OLD_NAMES} - {"data"}


def to_zarr(
    arr: Any,
    store: Any,
    component: str | None = None,
    storage_options: dict[str, Any] | None = None,
    region: Any = None,
    compute: bool = True,
    return_stored: bool = False,
    mode: str = "a",
    *,
    overwrite: bool = False,
    safe_chunks: SafeChunks = "auto",
    lock_factory: LockFactory | None = None,
    **creation: Any,
) -> Any:
    """Write a dask or NumPy array; the keywords are those of `dask.array.to_zarr`.

    ``store``: what `xzarr_backend.open` takes, or an `Array` that is open for writing; ``component``: the path of the
    array in it. ``mode``: "a" and "w-" create the array, and refuse to replace one; "w" (or ``overwrite``) replaces
    it; "r+" writes to one that exists. ``region``: slices and integers, the part of an existing array to write.
    ``safe_chunks`` and ``lock_factory``: see `store_writes`. ``creation``: the other keywords of `create_array`;
    ``chunks`` are those of dask unless given ("dask": exactly those, of different lengths too).

    Returns the `WriteReport`; a `Delayed` with ``compute=False``; with ``return_stored`` a dask array of what is
    stored, which ``compute=False`` stores when it is computed.
    """
    opened = open_target(store, storage_options)
    with discarding(opened, store):
        return _written(
            Request(arr, opened, component, region, mode, overwrite, creation),
            opened is not store,
            compute=compute,
            return_stored=return_stored,
            safe_chunks=safe_chunks,
            lock_factory=lock_factory,
        )


def open_target(store: Any, storage_options: dict[str, Any] | None) -> Store | Array:
    """Return what a caller gave, open for writing: an array, or a store."""
    return store if isinstance(store, Array) else open_store(store, mode="a", storage_options=storage_options)


def _written(
    request: Request,
    ours: bool,
    *,
    compute: bool,
    return_stored: bool,
    safe_chunks: SafeChunks,
    lock_factory: LockFactory | None,
) -> Any:
    """Write what is asked for; ``ours``: the store was opened for it."""
    data = request.lazy() if return_stored or not compute else request.data
    planned = request.write(data, None, dry=True)
    plan_all([planned], safe_chunks=safe_chunks, lock_factory=lock_factory)
    if not request.creates and safe_chunks is not False:
        (data,) = settled([planned], [planned])
    staged = request.replacement(keep_place=return_stored and not compute)
    try:
        write = request.write(data, staged)
        if return_stored and not compute:
            return _reloading(write, safe_chunks, lock_factory)
        if ours and isinstance(request.store, ZipStore):
            request.store.only_when_closed()
        done = store_writes(
            [write],
            safe_chunks=safe_chunks,
            compute=compute,
            lock_factory=lock_factory,
            finish=_Finish(staged, request.store if ours else None),
        )
    except BaseException:
        if staged is not None:
            staged.abort()
        raise
    return _stored(request.existing() if staged else write.array, write) if return_stored else done


@dataclass(frozen=True)
class _Finish:
    """What is done when everything is stored, maybe in the last task of a graph; pickles. ``store``: if opened here."""

    staged: Replacement | None
    store: Store | None

    def __call__(self) -> None:
        if self.staged is not None:
            self.staged.commit()
        if self.store is not None:
            self.store.close()


class Request(NamedTuple):
    """What a caller of `to_zarr` asks for; ``store`` is open, or the array to write to."""

    data: Any
    store: Any
    component: str | None
    region: Any
    mode: str
    overwrite: bool
    creation: dict[str, Any]

    @property
    def creates(self) -> bool:
        """Whether a new array is to be made."""
        return self.region is None and self.mode != "r+" and not isinstance(self.store, Array)

    @property
    def path(self) -> str:
        """Where the array is, or will be, in the store."""
        name = self.creation.get("name")
        if self.component is not None and name is not None:
            raise RegionError("component and name both name the array", hint="give one of them")
        return clean_path(self.component or name or "")

    def existing(self) -> Array:
        """Return the array that is stored, open for writing."""
        if isinstance(self.store, Array):
            return self.store
        return open_array(self.store, self.path, mode="r+")

    def lazy(self) -> Any:
        """Return the data as a dask array."""
        import dask.array as da

        return self.data if is_lazy(self.data) else da.asarray(self.data)

    def replacement(self, *, keep_place: bool) -> Replacement | None:
        """Return where to build what replaces an array that is stored already; None where nothing is replaced."""
        if not self.creates or not (self.overwrite or self.mode == "w") or keep_place:
            return None
        store = self.store
        prefix = prefix_of(self.path)
        if not store.list_dir(prefix):
            return None
        if not can_stage(store, self.path) and is_lazy(self.data) and reads_from(self.data, store, self.path):
            raise RegionError(
                "the data come from the array that they are to replace, and this store cannot keep both",
                where=place_of(store, self.path),
                hint="write to another path, or load the data first",
            )
        return Replacement.begin(store, self.path)

    def _check_keywords(self) -> None:
        for name in self.creation:
            if name not in CREATION:
                known = {"component", "region", "mode", "compute", "return_stored", "safe_chunks", "lock_factory"}
                raise unknown_keyword("to_zarr", name, "arrays", known | CREATION)
        if self.mode not in MODES:
            raise RegionError(f"mode={self.mode!r} cannot write an array", hint=f"use one of {', '.join(MODES)}")
        if self.region is not None and (self.overwrite or self.mode in ("w", "w-")):
            raise RegionError("a region is a part of an array that exists", hint='use mode="r+", without overwrite')

    def write(self, data: Any, staged: Replacement | None, *, dry: bool = False) -> ArrayWrite:
        """Make or open the target and return what goes where; ``dry``: without storing anything."""
        self._check_keywords()
        array = self._created(data, staged, dry) if self.creates else self.existing()
        region, single = check_region(self.region, array.shape)
        if single and data.ndim == array.ndim - len(single):
            data = data[tuple(None if d in single else slice(None) for d in range(array.ndim))]
        return ArrayWrite(array, region, data)

    def _created(self, data: Any, staged: Replacement | None, dry: bool) -> Array:
        keywords = {name: value for name, value in self.creation.items() if name != "name"}
        for given, meant in OLD_NAMES.items():
            if given in keywords:
                keywords[meant] = keywords.pop(given)
        keywords.setdefault("dtype", _dtype(data))
        keywords.setdefault("shape", data.shape)
        if "zarr_format" not in keywords:  # what is built beside an old array has no groups above it
            profile = None if keywords.get("profile") is None else find_profile(keywords["profile"])
            below = format_below(self.store, self.path, profile)
            keywords |= {} if below is None else {"zarr_format": below}
        keywords["chunks"] = _chunks(data, keywords.get("chunks"), keywords.get("shards"))
        if dry:
            planned = create_array(MemoryStore(), self.path, **keywords)
            return Array(self.store, planned.path, planned.spec, planned.options)
        store, path = (self.store, self.path) if staged is None else (staged.store, staged.path)
        return create_array(store, path, overwrite=self.overwrite or self.mode == "w", **keywords)


def _dtype(data: Any) -> Any:
    return "string" if data.dtype == object else data.dtype


def _chunks(data: Any, given: Any, shards: Any) -> Any:
    """Return the chunks to create an array with: by default the blocks of dask, or the largest where they differ."""
    if given == "dask" or (given is None and shards is None):
        if not is_lazy(data):
            return "auto"
        if any(size != size for sizes in data.chunks for size in sizes):
            raise RegionError("the lengths of the data's blocks are not known", hint="call compute_chunk_sizes()")
        exact = isinstance(given, str)
        return tuple(_along(sizes, exact) for sizes in data.chunks)
    return "auto" if given is None else given


def _along(sizes: tuple[int, ...], exact: bool) -> int | tuple[int, ...]:
    regular = len(set(sizes[:-1])) < 2 and sizes[-1] <= sizes[0]
    return tuple(sizes) if exact and not regular else max(*sizes, 1)


def _reloading(write: ArrayWrite, safe_chunks: SafeChunks, factory: LockFactory | None) -> Any:
    """Return the dask array that stores its blocks, and reads them back, when it is computed."""
    (plan,) = plan_all([write], safe_chunks=safe_chunks, lock_factory=factory)
    writer = BlockWriter(write, plan.blocks, factory, None)
    return writer.reloading(rechunked(write.data, plan.blocks))


def _stored(array: Array, write: ArrayWrite) -> Any:
    """Return what is stored now as a dask array, in the blocks of the data."""
    from .dask_array import from_zarr

    return from_zarr(array)[write.region].rechunk(write.data.chunks)
