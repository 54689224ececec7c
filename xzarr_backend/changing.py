"""Changing nodes that are stored already: attributes, shapes.

Imports nodes, consolidating and the rows below. Invariant: each change of a document is one atomic `set` made from the
document as it is stored now, so that nothing that others wrote meanwhile, or that is not understood here, is lost; an
array grows after its new data are stored and shrinks before its old data are deleted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .attribute_values import decode_attributes, encode_attributes
from .chunk_grids import MAX_EDGES, ChunkGrid, EdgedAxis, format_chunk_grid
from .compat import Reading
from .consolidating import change_document, change_locked, update_member
from .errors import MetadataError, ReadOnlyError, RegionError, UnsupportedError, not_too_deep
from .formats.documents import parse_json
from .formats.v2 import parse_array_v2, parse_group_v2
from .formats.v3 import parse_array_v3, parse_group_v3
from .layout import compile_layout
from .nodes import place_of
from .paths import join, prefix_of
from .pending import forget_cut, load_record, note_cut, noted_cut, patched, turn_of
from .selection import parse_basic
from .spec import JSON, ArraySpec, GroupSpec
from .stored import StoredChunk, stored_chunks
from .stored_documents import store_new_document
from .stores.base import Store
from .stores.files import ObjectLock, own_lock, thread_lock
from .writing import Destination, erase

if TYPE_CHECKING:
    from .array import Array
    from .options import Options

FEW = 1000  # deletes that are sent without asking the store what there is
LOOKED_FOR = 100_000  # chunks that are looked for one by one, many at a time, without asking the store what there is

Listing = Callable[[], list[StoredChunk]]  # what is stored of an array, when that is asked for


class Node(Protocol):
    """What an `Array` and a `Group` have in common."""

    store: Store
    path: str
    options: Options

    @property
    def spec(self) -> Any:
        """What the node's documents say."""

    def adopt(self, spec: Any) -> None:
        """Be the node that ``spec`` describes from now on."""


def check_writable(node: Node) -> None:
    """Raise `ReadOnlyError` unless the node was opened for writing."""
    if not node.options.writable:
        kind = "array" if isinstance(node.spec, ArraySpec) else "group"
        where = f"{node.store.url}, {kind} {node.path!r}" if node.path else node.store.url
        raise ReadOnlyError(f"the {kind} was opened for reading", where=where, hint='open it with mode="r+"')
    node.store.check_writable()


# --- attributes ------------------------------------------------------------------------------------------------------


def change_attributes(node: Node, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Store what ``change`` returns for the attributes, in one step; raise `MetadataError` or `ReadOnlyError`."""
    check_writable(node)
    spec, prefix = node.spec, prefix_of(node.path)

    def changed(stored: Mapping[str, JSON]) -> dict[str, JSON]:
        try:
            return encode_attributes(change(dict(decode_attributes(stored))))
        except MetadataError as error:
            raise error.at(place_of(node.store, node.path))  # noqa: B904

    if spec.zarr_format == 3:
        key = f"{prefix}zarr.json"
        document = change_document(
            node.store, key, spec.document, lambda d: {**d, "attributes": changed(d.get("attributes") or {})}
        )
        attributes = document["attributes"]
    else:
        if isinstance(spec, GroupSpec):
            store_new_document(node.store, f"{prefix}.zgroup", {"zarr_format": 2})
        attributes = change_document(node.store, f"{prefix}.zattrs", {}, changed)
    node.adopt(with_attributes(spec, attributes, node.options.reading))
    update_member(node.store, node.path, node.spec)


def with_attributes(spec: ArraySpec | GroupSpec, stored: Mapping[str, JSON], reading: Reading) -> ArraySpec | GroupSpec:
    """Return ``spec`` with other attributes, given as they are stored."""
    if spec.zarr_format == 3:
        document = {**spec.document, "attributes": dict(stored)}
        return parse_array_v3(document, reading) if isinstance(spec, ArraySpec) else parse_group_v3(document)
    if isinstance(spec, ArraySpec):
        return parse_array_v2(spec.document, stored, reading)
    return parse_group_v2(spec.document, stored)


# --- shapes ----------------------------------------------------------------------------------------------------------


def resize(array: Array, shape: int | Sequence[int]) -> None:
    """Give ``array`` another shape.

    New elements are the fill value, also where others were cut off. Consolidated metadata above are updated too.
    """
    check_writable(array)
    shape = _checked_shape(array, shape)
    with _lock_of_shape(array), not_too_deep(array.where):
        old = _stored_spec(array)  # another writer may have grown it
        new = resized_spec(old, shape)
        compile_layout(new, array.path, array.options.allow_codecs)
        before, at_once = array.described(old), array.store.transactional
        shrinks = any(n < m for n, m in zip(shape, old.shape, strict=True))
        if at_once and shrinks:
            _check_group(array)
            clear_beyond(before, shape)
        elif not at_once:
            _clear_noted(before)
            if shrinks:
                note_cut(array.store, array.path, _shape_members(old))
        store_shape(array, new, check=lambda stored: _check_group(array))
        if shrinks and not at_once:
            clear_beyond(before, shape)
            forget_cut(array.store, array.path)


def _clear_noted(array: Array) -> None:
    """Remove what an interrupted `resize` has cut off and not cleared: it would be seen when the array grows."""
    fields = noted_cut(array.store, array.path)
    if fields is not None:
        _check_group(array)
        clear_beyond(array.described(_parsed(array, patched(array.spec.document, fields))), array.shape)
        forget_cut(array.store, array.path)


def append(array: Array, values: Any, axis: int = 0) -> tuple[int, ...]:
    """Write ``values`` behind the end of ``array`` along ``axis`` and return the new shape.

    The data are stored first and the shape changes last, so that a failure leaves the array as it was. Meanwhile the
    document is locked: of two that append at the same time, the second finds another shape before it writes anything.
    """
    check_writable(array)
    values = np.asarray(values)
    with _lock_of_shape(array), not_too_deep(array.where):
        lock = own_lock(array.store, _document_key(array))
        with lock:
            held = not (isinstance(lock, ObjectLock) and lock.of_folder)
            spec = _append(array, values, axis, held=True) if held else None
        if spec is None:  # the chunks may need the folder's lock too: only the document is written under it
            spec = _append(array, values, axis, held=False)
    update_member(array.store, array.path, spec)
    return spec.shape


def _lock_of_shape(array: Array) -> AbstractContextManager[object]:
    """Return a lock that excludes the threads of this process that change the array's shape, from first to last.

    The lock of a file ends when the document is replaced, before the array object has the new shape, and before what
    lies beyond a smaller one is cleared.
    """
    place, key = array.store.name_of(_document_key(array))
    return thread_lock(("shape", place), key)


def _append(array: Array, values: Any, axis: int, *, held: bool) -> ArraySpec:
    old = array.shape
    axis = _checked_axis(array, values, axis)
    shape = (*old[:axis], old[axis] + values.shape[axis], *old[axis + 1 :])
    before, grown = array.spec, array.described(resized_spec(array.spec, shape))
    grow = partial(store_shape, array, in_parents=False, held=held)
    _check_group(array)
    same = partial(_check_shape, array, old)
    same(_stored_document(array))
    try:
        if array.store.transactional:
            grow(grown.spec, check=same)
        grown[(slice(None),) * axis + (slice(old[axis], None),)] = values
        if not array.store.transactional:
            grow(grown.spec, check=same)
    except BaseException:
        _undo(grown, before, grow)
        raise
    return grown.spec


def _undo(grown: Array, before: ArraySpec, store_shape: Callable[[ArraySpec], None]) -> None:
    """Remove what a failed append stored, unless the array has grown, by this or another writer."""
    try:
        if grown.store.transactional:
            clear_beyond(grown, before.shape)
            store_shape(before)
        elif _stored_document(grown).get("shape") == list(before.shape):
            clear_beyond(grown, before.shape)
    except Exception:
        pass  # the first failure is the one to report, and what is left lies behind the end


def _document_key(array: Array) -> str:
    return join(array.path, "zarr.json" if array.zarr_format == 3 else ".zarray")


def _stored_document(array: Array) -> Mapping[str, JSON]:
    key = _document_key(array)
    raw = array.store.get(key)
    return array.spec.document if raw is None else parse_json(raw, key.rpartition("/")[2])


def _stored_spec(array: Array) -> ArraySpec:
    document = _stored_document(array)
    return array.spec if document == array.spec.document else _parsed(array, document)


def _parsed(array: Array, document: Mapping[str, JSON]) -> ArraySpec:
    if array.zarr_format == 3:
        return parse_array_v3(document, array.options.reading)
    return parse_array_v2(document, array.spec.attributes, array.options.reading)


def check_unchanged(array: Array) -> None:
    """Raise `RegionError` where the array has another shape by now; who is changing it is waited for."""
    with own_lock(array.store, _document_key(array)):
        _check_shape(array, array.shape, _stored_document(array))


def _check_shape(array: Array, expected: tuple[int, ...], stored: Mapping[str, JSON]) -> None:
    if stored.get("shape") != list(expected):
        raise RegionError(
            f"the array has the shape {stored.get('shape')} by now, not {expected}: another writer changed it",
            where=array.where,
            hint="open the array again, then append",
        )


def _check_group(array: Array) -> None:
    """Raise `RegionError` where the array is about to grow with others of its group: its shape would be lost."""
    if not array.path:
        return
    group, _, name = array.path.rpartition("/")
    record = load_record(array.store, group)
    noted = record is not None and name in record["arrays"]
    if noted or (not array.store.shared_between_processes and turn_of(array.store, group).is_held):
        raise RegionError(
            "an append to the group is under way, or was interrupted",
            where=array.where,
            hint=f"wait for it; if its writer has ended: xzarr_backend.transactions.recover(array.store, {group!r})",
        )


def _checked_shape(array: Array, shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        found = tuple(operator.index(n) for n in (shape if isinstance(shape, Sequence) else [shape]))
    except TypeError:
        found = (-1,)
    if len(found) != array.ndim or any(not 0 <= n < 2**63 for n in found):
        raise MetadataError(
            f"the shape {shape!r} must be {array.ndim} whole numbers from 0, one for each dimension", where=array.where
        )
    return found


def _checked_axis(array: Array, values: Any, axis: int) -> int:
    if not hasattr(axis, "__index__") or not -array.ndim <= axis < array.ndim:
        raise RegionError(f"the array has {array.ndim} dimension(s), axis {axis!r} is none of them", where=array.where)
    axis %= array.ndim
    others = [at for at in range(array.ndim) if at != axis]
    if values.ndim != array.ndim or any(values.shape[at] != array.shape[at] for at in others):
        raise RegionError(
            f"values of shape {values.shape} cannot be appended to shape {array.shape} along axis {axis}",
            where=array.where,
            hint="all other dimensions must have the array's lengths",
        )
    return axis


def resized_spec(spec: ArraySpec, shape: tuple[int, ...]) -> ArraySpec:
    """Return ``spec`` for another shape, its document too; a rectilinear axis repeats its last chunk to grow."""
    for axis, length in zip(spec.chunk_grid, shape, strict=True):
        if isinstance(axis, EdgedAxis) and (length - int(axis.starts[-1])) // (axis.edges or (1,))[-1] > MAX_EDGES:
            raise MetadataError(f"the chunks of a dimension of length {length} would be more than {MAX_EDGES}")
    grid = ChunkGrid(spec.chunk_grid.resized(shape))
    new = spec._replace(shape=shape, chunk_grid=grid)
    return new._replace(document={**spec.document, **_shape_members(new)})


def _shape_members(spec: ArraySpec) -> dict[str, JSON]:
    if spec.chunk_grid.regular:
        return {"shape": list(spec.shape)}
    return {"shape": list(spec.shape), "chunk_grid": format_chunk_grid(spec.chunk_grid)}


def store_shape(
    array: Array,
    spec: ArraySpec,
    *,
    in_parents: bool = True,
    check: Callable[[Mapping[str, JSON]], None] | None = None,
    held: bool = False,
) -> None:
    """Store the shape of ``spec`` in the array's document, which ``array`` then has.

    ``check`` raises where the document, as it is stored now, forbids that.
    ``held``: the caller holds the document's lock.
    """
    members = _shape_members(spec)

    def change(document: dict[str, JSON]) -> dict[str, JSON]:
        if check is not None:
            check(document)
        return {**document, **members}

    replace = change_locked if held else change_document
    replace(array.store, _document_key(array), array.spec.document, change)
    array.adopt(spec)
    if in_parents:
        update_member(array.store, array.path, spec)


# --- what lies behind the end ----------------------------------------------------------------------------------------


def clear_beyond(array: Array, shape: tuple[int, ...]) -> None:
    """Remove what ``array`` (of its old shape) stores beyond ``shape``: objects, and parts of those at the edge."""
    counts = array.spec.chunk_grid.resized(shape).counts
    stored = cache(lambda: list(stored_chunks(array)))  # listed once, where anything is many
    for key in _keys_beyond(array, counts, stored):
        array.store.delete(key)
    ends = [_end_of_last(array, axis, count, n) for axis, (count, n) in enumerate(zip(counts, shape, strict=True))]
    if 0 in ends:
        return
    spec = resized_spec(array.spec, tuple(ends))
    layout = compile_layout(spec, array.path, array.options.allow_codecs)
    limit, lock = array.options.max_chunk_bytes, partial(own_lock, array.store)
    destination = Destination(array.store, layout, spec.shape, array.where, limit, False, lock)
    for axis, (length, end) in enumerate(zip(shape, ends, strict=True)):
        if length < end:
            for region in _cut_regions(spec.chunk_grid, axis, slice(length, end), stored):
                erase(destination, parse_basic(region, spec.shape))


def _cut_regions(grid: ChunkGrid, axis: int, cut: slice, stored: Listing) -> Iterator[tuple[slice, ...]]:
    """Yield regions that hold all that is stored in the ``cut`` along ``axis``, which lies in the last chunk there.

    That is the cut itself, or where it goes through many chunks, its part in each that is stored.
    """
    counts = grid.counts
    whole = (*(slice(None),) * axis, cut)
    if math.prod(counts) // counts[axis] <= LOOKED_FOR:
        yield whole
        return
    try:
        found = stored()
    except UnsupportedError:  # the store cannot be listed
        yield whole
        return
    for coords in (chunk.coords for chunk in found):
        if coords[axis] == counts[axis] - 1 and all(map(operator.lt, coords, counts)):
            region = grid.chunk_of(coords)
            yield (*region[:axis], cut, *region[axis + 1 :])


def _end_of_last(array: Array, axis: int, count: int, length: int) -> int:
    """Return where the last chunk that stays ends, as far as it held elements."""
    along = array.spec.chunk_grid[axis]
    old = array.shape[axis]
    if length >= old or count == 0:
        return min(length, old)
    return min(int(along.start(count - 1)) + along.size(count - 1), old)


def _keys_beyond(array: Array, counts: tuple[int, ...], stored: Listing) -> Iterator[str]:
    """Yield the keys of the objects that lie outside a grid of ``counts``: all, or where they are many, the stored."""
    old = array.spec.chunk_grid.counts
    kept = math.prod(min(a, b) for a, b in zip(old, counts, strict=True))
    if math.prod(old) - kept <= FEW:
        yield from (array.layout.key(coords) for coords in _coords_beyond(old, counts))
        return
    for chunk in stored():
        if any(coord >= count for coord, count in zip(chunk.coords, counts, strict=True)):
            yield chunk.key


def _coords_beyond(old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis in range(len(old)):
        inner = [range(min(a, b)) for a, b in zip(old[:axis], new[:axis], strict=True)]
        yield from product(*inner, range(new[axis], old[axis]), *map(range, old[axis + 1 :]))
