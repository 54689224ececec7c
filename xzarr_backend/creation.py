"""Creating arrays: from what is asked for to a spec, and its documents and values into the store.

Imports array, spec_building and the rows below. Invariant: everything that can be wrong is found before anything is
written; what is written are the documents of the format, complete and in one object each.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .array import Array
from .casting import cast
from .dtypes import DataType, as_dtype
from .errors import MetadataError, XzarrError
from .layout import compile_layout
from .nodes import clean_path
from .options import Options
from .placing import array_documents, make_parents, place_node
from .profile_creation import express_array, format_below, place_extra
from .profiles import Profile, apply_profile, find_profile, needs_every_chunk, refuse_broken
from .spec import JSON
from .spec_building import build_spec
from .stores import open_store
from .stores.base import Store, discarding


class _Format(int):
    """A format that nobody asked for, so that the groups above or a profile may have another one."""


UNASKED = _Format(3)


def create_array(
    store: Any,
    path: str = "",
    *,
    name: str | None = None,
    shape: int | Sequence[int] | None = None,
    dtype: Any = None,
    data: Any = None,
    chunks: Any = "auto",
    shards: Any = None,
    filters: Any = None,
    compressors: Any = "auto",
    serializer: Any = "auto",
    fill_value: Any = None,
    order: str = "C",
    dimension_names: Sequence[str | None] | None = None,
    attributes: Mapping[str, JSON] | None = None,
    chunk_key_encoding: Any = None,
    zarr_format: int = UNASKED,
    profile: str | None = None,
    write_empty_chunks: bool = False,
    durable: bool = False,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Array:
    """Create an array, and missing groups above it, and return it, open for writing.

    Give ``shape`` and ``dtype``, or ``data`` (anything that NumPy takes), which is written. ``chunks``: lengths per
    dimension, in their order or by their names, or "auto"; where ``shards`` are given, the lengths of the inner chunks.
    ``compressors``: "auto" (zstd), None, one codec or several: names, dicts, numcodecs or zarr-python objects;
    ``filters`` too, where "auto" is what the data type needs, like None. ``fill_value`` None: the data type's zero in
    v3, null in v2. ``durable``: writes through the returned array return when they are on the disk. ``zarr_format``: by
    default that of the groups above, else 3. ``profile``: the readers to write for ("exzarr", "portable",
    "zarr-python-2"): without groups above the format is v2, what is open is chosen for them, data types that they lack
    become numbers with an attribute ``dtype_semantic``, what they would read wrongly is refused.
    Raises `NodeExistsError` where something is stored and ``overwrite`` is not set, `MetadataError` or
    `UnsupportedError` for what the format cannot hold, `RegionError` for data that do not fit the data type; nothing is
    stored then. In a folder what is there is replaced when all data are stored.
    """
    path = clean_path(f"{path}/{name}" if name else path)
    opened = _opened(store, storage_options, durable)
    values = None if data is None else _values(data, dtype)
    names = (dimension_names,) if isinstance(dimension_names, str) else dimension_names  # not its letters
    keywords = {
        "shape": _shape(shape, values),
        "dtype": _dtype(dtype, values),
        "chunks": _by_name("chunks", chunks, names),
        "shards": _by_name("shards", shards, names),
        "filters": filters,
        "compressors": compressors,
        "serializer": serializer,
        "fill_value": fill_value,
        "order": order,
        "dimension_names": names,
        "attributes": _attributes(attributes),
        "chunk_key_encoding": chunk_key_encoding,
        "zarr_format": zarr_format,
    }
    with discarding(opened, store):
        return _created(opened, path, keywords, values, profile, write_empty_chunks, overwrite)


def _opened(store: Any, storage_options: dict[str, Any] | None, durable: bool) -> Store:
    opened = open_store(store, mode="a", storage_options=storage_options)
    return opened.durably() if durable else opened


def _created(
    store: Store,
    path: str,
    keywords: dict[str, Any],
    values: Any,
    profile: str | None,
    write_empty_chunks: bool,
    overwrite: bool,
) -> Array:
    """Store the array that the ``keywords`` of `build_spec` mean, with its values, and return it."""
    chosen = None if profile is None else find_profile(profile)
    if keywords["zarr_format"] is UNASKED:
        keywords["zarr_format"] = format_below(store, path, chosen) or UNASKED
    if chosen is not None:
        keywords, values = _by_profile(chosen, path, keywords, values)
    spec = build_spec(**keywords)
    if chosen is not None:
        refuse_broken(chosen, spec)
    compile_layout(spec, path)  # before anything is written: what cannot be compiled cannot be stored
    if values is not None:
        values = cast(values, spec.dtype, "data")
    make_parents(store, path, spec.zarr_format)
    place_extra(store, chosen, path, spec.zarr_format, itself=False)
    every = chosen is not None and needs_every_chunk(chosen, spec)
    options = Options(writable=True, write_empty_chunks=write_empty_chunks or every or None)
    fill = spec.dtype.zero if spec.fill_value is None else spec.fill_value
    stored = fill if values is None and every else values
    with _place(store, path, overwrite and stored is not None) as (building, at):
        place_node(building, at, array_documents(spec, at), spec.zarr_format, overwrite)
        if stored is not None:
            Array(building, at, spec, options)[...] = stored
    return Array(store, path, spec, options)


def _place(store: Store, path: str, replaces: bool) -> AbstractContextManager[tuple[Store, str]]:
    """Yield where an array is built: beside the one whose place it takes, so that an error leaves that as it was."""
    if not replaces:
        return nullcontext((store, path))
    from .transactions import replaced_node

    return replaced_node(store, path)


def _by_name(keyword: str, given: Any, names: Sequence[str | None] | None) -> Any:
    """Return lengths that are given by the names of dimensions in their order; what is not named is chosen."""
    if not isinstance(given, Mapping):
        return given
    names = names or ()
    unknown = [name for name in given if name not in names]
    if unknown:
        hint = f"there are {', '.join(map(repr, names))}" if names else "give dimension_names= too"
        raise MetadataError(f"{keyword}: no dimension has the name {unknown[0]!r}", hint=hint)
    return tuple("auto" if name is None else given.get(name, "auto") for name in names)


def _attributes(given: Any) -> dict[str, JSON]:
    if not isinstance(given, Mapping | None):
        raise MetadataError(f"attributes={given!r:.80} is no mapping from names to values")
    return dict(given or {})


def _by_profile(profile: Profile, path: str, keywords: dict[str, Any], values: Any) -> tuple[dict[str, Any], Any]:
    """Return the keywords of `build_spec` and the values that the readers of ``profile`` can read."""
    if values is not None:
        values = cast(values, keywords["dtype"], "data")
    name = path.rpartition("/")[2] or "data"
    found = express_array(
        profile, name, keywords["shape"], keywords["dtype"], values, keywords["fill_value"], keywords["attributes"]
    )
    # xarray takes zeros for missing where zero is the fill value: arrays with names of dimensions are made for it
    from .semantics import SEMANTIC

    for_xarray = keywords["dimension_names"] is not None and SEMANTIC not in found.attributes
    keywords |= {
        "shape": found.shape,
        "dtype": found.dtype,
        "fill_value": found.dtype.zero if found.fill is None and not for_xarray else found.fill,
        "attributes": found.attributes,
    }
    if found.rank_changed:
        keywords |= {"chunks": "auto", "dimension_names": None}
    return apply_profile(profile, keywords), found.values


# --- what is asked for ------------------------------------------------------------------------------------------------


def _shape(shape: int | Sequence[int] | None, values: Any) -> tuple[int, ...]:
    if shape is None:
        if values is None:
            raise MetadataError("an array needs a shape, or data to take it from", hint="give shape= or data=")
        return tuple(values.shape)
    try:
        found = tuple(map(_length, shape if np.iterable(shape) and not isinstance(shape, str) else (shape,)))
    except TypeError as error:
        raise MetadataError(f"shape={shape!r:.80} is no shape: {error}", hint="give whole numbers") from None
    if values is not None and found != values.shape:
        raise MetadataError(f"shape {found} is not that of the data, {values.shape}")
    if any(n < 0 for n in found):
        raise MetadataError(f"shape {found} has a negative length")
    return found


def _values(data: Any, dtype: Any) -> Any:
    """Return ``data`` as an array, of its own data type unless ``dtype`` says that its tuples are records."""
    try:
        wanted = None if dtype is None else as_dtype(dtype)
        return cast(data, wanted, "data") if wanted is not None and wanted.fields else np.asarray(data)
    except ValueError as error:
        if isinstance(error, XzarrError):
            raise
        raise MetadataError(f"the data make no array: {error}", where="data") from error


def _length(given: Any) -> int:
    if isinstance(given, bool | np.bool_):
        raise TypeError(f"{given} is no length")
    return operator.index(given)


def _dtype(dtype: Any, values: Any) -> DataType:
    if dtype is None:
        if values is None:
            raise MetadataError("an array needs a data type, or data to take it from", hint="give dtype= or data=")
        return _dtype_of_objects(values) if values.dtype == object else as_dtype(values.dtype)
    return as_dtype(dtype)


def _dtype_of_objects(values: Any) -> DataType:
    types = {type(value) for value in values.flat}
    if types <= {bytes} and types:
        return as_dtype("bytes")
    if types <= {str}:
        return as_dtype("string")
    raise MetadataError(
        f"the data are Python objects of the types {', '.join(sorted(t.__name__ for t in types))}",
        hint="give dtype=: a NumPy dtype, str, bytes, or in v2 object with a filter that encodes them",
    )
