"""What `create_array` and `create_group` do for a profile: data types by their conventions, documents that others need.

Imports nodes, placing, profiles, semantic_parts, stored_documents and the rows below. Invariant: what one array cannot
hold is refused with the way that can; nothing is stored here but the documents of groups that are there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .dtypes import DataType, as_dtype
from .errors import MetadataError, UnsupportedError
from .nodes import place_of
from .paths import groups_above
from .placing import format_above
from .profiles import Profile, extra_documents
from .spec import JSON
from .stored_documents import store_new_document
from .stores.base import Store

if TYPE_CHECKING:
    from .semantic_parts import Part


class Expressed(NamedTuple):
    """What is created instead of what was asked for: numbers, with the attributes that say what they stand for.

    ``fill`` is None where neither the caller nor the convention has one.
    """

    shape: tuple[int, ...]
    dtype: DataType
    values: Any
    fill: Any
    attributes: dict[str, JSON]
    rank_changed: bool


def express_array(
    profile: Profile, name: str, shape: tuple[int, ...], dtype: DataType, values: Any, fill: Any, own: dict[str, JSON]
) -> Expressed:
    """Return how an array is stored for the readers of ``profile``; ``own`` are its attributes.

    Raises `UnsupportedError` for what takes several arrays, `MetadataError` for attributes that a convention needs.
    """
    part = _part(profile, name, dtype, values)
    ours: dict[str, JSON] = {}
    if part is not None:
        if fill is not None and part.attributes.get("labels") is None:
            fill = part.encode(np.asarray(dtype.cast_fill(fill), dtype.numpy))[()]
        fill = part.fill if fill is None else fill
        ours, dtype = part.attributes, as_dtype(part.dtype)
        values = None if values is None else part.encode(values)
    scalar = "i" in profile.conventions and not shape and "dtype_semantic" not in own
    if scalar:
        from .semantic_parts import with_rank

        ours, shape = with_rank(ours), (1,)
        values = None if values is None else values.reshape(1)
    taken = sorted(set(ours) & set(own))
    if taken:
        raise MetadataError(
            f"the attribute {taken[0]!r} is needed by the convention that {name!r} is stored by", hint="rename it"
        )
    return Expressed(shape, dtype, values, fill, {**own, **ours}, scalar)


def _part(profile: Profile, name: str, dtype: DataType, values: Any) -> Part | None:
    kind = dtype.numpy.kind
    if kind not in profile.conventions or kind in "iu":
        return None
    from .semantic_parts import parts_of  # late: the conventions load with the first array that needs one

    parts = parts_of(name, dtype.numpy, values)
    if parts is not None and len(parts) > 1:
        raise UnsupportedError(
            f"the profile {profile.name!r} stores {dtype.numpy} as {len(parts)} arrays: "
            f"{', '.join(repr(name + part.suffix) for part in parts[:6])}",
            hint="write it with xz.to_zarr, as a variable of an xarray.Dataset; or create these arrays one by one",
        )
    return None if parts is None else parts[0]


def format_below(store: Store, path: str, profile: Profile | None) -> int | None:
    """Return the format of a new node at ``path`` when none is asked for: that of the groups above, or of ``profile``.

    Raises `UnsupportedError` where the readers of ``profile`` do not know the one of the groups above: in a node of
    another format few readers would find anything.
    """
    above = format_above(store, path)
    if profile is None or above in profile.formats:
        return above
    if above is not None:
        raise UnsupportedError(
            f"the groups above are of Zarr v{above}, which {profile.readers} would not read",
            where=place_of(store, path),
            hint="use another store, or write without a profile",
        )
    return profile.formats[0]


def place_extra(store: Store, profile: Profile | None, path: str, zarr_format: int, *, itself: bool) -> None:
    """Store the documents that the readers of ``profile`` need in the groups above ``path``, and ``itself`` in it."""
    for each in [*groups_above(path), *([path] if itself else [])]:
        for key, document in extra_documents(profile, each, zarr_format).items():
            store_new_document(store, key, document)
