"""Changing the shape of an array that is stored: resize and append.

Imports changing, clearing, consolidating, pending and the rows below. Invariant: an array grows after its new data are
stored and shrinks before its old data are deleted; the document changes in one atomic `set` made from the one that is
stored now.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .changing import check_writable
from .clearing import clear_beyond, resized_spec, shape_members
from .consolidating import change_document, change_locked, update_member
from .errors import MetadataError, RegionError, not_too_deep
from .fetching import get_document
from .formats.documents import parse_json
from .formats.v2 import parse_array_v2
from .formats.v3 import parse_array_v3
from .layout import compile_layout
from .paths import join
from .pending import forget_cut, load_record, note_cut, noted_cut, patched, turn_of
from .spec import JSON, ArraySpec
from .stores.files import ObjectLock, own_lock, thread_lock

if TYPE_CHECKING:
    from .array import Array


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
                note_cut(array.store, array.path, shape_members(old))
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
    values = _as_array(array, values)
    with _lock_of_shape(array), not_too_deep(array.where):
        lock = own_lock(array.store, _document_key(array))
        with lock:
            held = not (isinstance(lock, ObjectLock) and lock.of_folder)
            spec = _append(array, values, axis, held=True) if held else None
        if spec is None:  # the chunks may need the folder's lock too: only the document is written under it
            spec = _append(array, values, axis, held=False)
    update_member(array.store, array.path, spec)
    return spec.shape


def _as_array(array: Array, values: Any) -> Any:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise RegionError(f"the values make no array: {error}", where=array.where) from error


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
    raw = get_document(array.store, key)
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
    members = shape_members(spec)

    def change(document: dict[str, JSON]) -> dict[str, JSON]:
        if check is not None:
            check(document)
        return {**document, **members}

    replace = change_locked if held else change_document
    replace(array.store, _document_key(array), array.spec.document, change)
    array.adopt(spec)
    if in_parents:
        update_member(array.store, array.path, spec)
