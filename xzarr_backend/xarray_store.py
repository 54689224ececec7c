"""A group as the data store that xarray decodes: variables, attributes, encoding.

Imports group, array, xarray_arrays, xarray_dimensions and the rows below, and xarray. Invariant: what xarray sees of a
group equals what its built-in Zarr engine would show, but for dimension names that are missing or repeated; making a
variable reads nothing.
"""

from __future__ import annotations

import base64
import copy
import marshal
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import xarray as xr
from xarray import Variable
from xarray.backends import AbstractDataStore
from xarray.core import indexing

from .array import Array
from .attribute_values import unpack_float
from .chunk_grids import listable
from .codec_objects import Reported, report_codecs
from .codecs.pipeline import split_chain
from .errors import MetadataError, SkippedNodeWarning, UnsupportedError
from .formats.v2 import DIMENSIONS
from .spec import JSON
from .xarray_arrays import FEW_OBJECTS, MAX_OBJECTS, Prefetch, StoredArray
from .xarray_dimensions import Names, PhonyDimensions, conflict_of, name_dimensions

NO_NAME = "__values__"  # how xarray stores the variable None


class DatasetOptions(NamedTuple):
    """How the groups of one call are turned into datasets.

    ``fill_value_as_mask``: None means yes for format 2 and no for 3. ``phony`` invents dimension names. ``semantics``:
    whether arrays are shown as what their ``dtype_semantic`` says, or as they are stored.
    """

    phony: PhonyDimensions
    duplicate_dims: str = "rename"
    fill_value_as_mask: bool | None = None
    strict: bool = False
    semantics: bool = False


class GroupStore(AbstractDataStore):
    """The arrays of one group. ``close`` is called when the dataset is closed."""

    def __init__(
        self,
        arrays: Mapping[str, Array],
        attributes: Mapping[str, JSON],
        zarr_format: int,
        where: str,
        options: DatasetOptions,
        close: Callable[[], None],
    ) -> None:
        self._arrays, self._attributes, self._options = arrays, attributes, options
        self._zarr_format, self._where, self._close = zarr_format, where, close
        self._reported: dict[int, Reported] = {}  # by the id of the chain, which the arrays keep alive
        self._encodings: dict[tuple[int, int, Names], tuple[bytes, dict[str, Any]]] = {}
        self._names: dict[str, Names] = name_dimensions(arrays, options.duplicate_dims, options.phony)

    def load(self) -> tuple[dict[Any, Variable], dict[str, JSON]]:
        """Return variables and attributes as plain dicts: xarray's frozen ones cost a call for every look."""
        variables: dict[Any, Variable] = self.get_variables()
        if NO_NAME in variables:
            variables = {None if name == NO_NAME else name: variable for name, variable in variables.items()}
        return variables, self.get_attrs()

    def get_variables(self) -> dict[str, Variable]:
        """Return the variables, none of them read; those that cannot be decoded are skipped with a warning."""
        prefetch = Prefetch()
        variables: dict[str, Variable] = {}
        stored: dict[str, StoredArray] = {}
        for name, array in self._arrays.items():
            try:
                variables[name], stored[name] = self._variable(name, array, prefetch)
            except (MetadataError, UnsupportedError) as error:
                if self._options.strict:
                    raise error.at(array.where)  # noqa: B904
                warnings.warn(f"skipped {name!r}: {error.at(array.where)}", SkippedNodeWarning, levels_to_the_caller())
        if not self._options.semantics or not any("dtype_semantic" in a.spec.attributes for a in self._arrays.values()):
            return variables
        from .xarray_semantics import decode_semantics  # late: few datasets need the conventions

        return decode_semantics(variables, stored)

    def get_attrs(self) -> dict[str, JSON]:
        """Return the attributes of the group, without those that NCZarr keeps for itself."""
        return {
            name: copy.deepcopy(value) for name, value in self._attributes.items() if not name.lower().startswith("_nc")
        }

    def get_dimensions(self) -> dict[str, int]:
        """Return the sizes of the dimensions."""
        return {
            dim: size
            for name, array in self._arrays.items()
            for dim, size in zip(self._names[name], array.shape, strict=True)
        }

    def conflict(self, dropped: Iterable[str]) -> MetadataError | None:
        """Return the error for variables, but for those ``dropped``, whose dimensions differ in size; None if none."""
        left_out = set(dropped)
        shapes = {name: (self._names[name], a.shape) for name, a in self._arrays.items() if name not in left_out}
        return conflict_of(shapes, self._where)

    def close(self) -> None:
        """Give back what the store holds open."""
        self._close()

    def _variable(self, name: str, array: Array, prefetch: Prefetch) -> tuple[Variable, StoredArray]:
        dims = self._names[name]
        attributes = _attributes_of(array)
        encoding = self._encoding(array, dims)
        self._place_fill_values(array, attributes, encoding)
        is_index = dims == (name,)
        shared = _worth_prefetching(array, is_index, attributes) and prefetch.add(array, _most_objects(array, is_index))
        stored = StoredArray(array, prefetch if shared else None, is_index=is_index)
        if stored.dtype.kind == "T":
            encoding["dtype"] = stored.dtype
            if array.zarr_format == 2:
                # implied by the type; the built-in writer would also use it for an index, which has another type
                del encoding["filters"]
        lazy = indexing.LazilyIndexedArray(stored, _whole(len(dims)))
        return Variable(dims, lazy, attributes, encoding, fastpath=True), stored

    def _place_fill_values(self, array: Array, attributes: dict[str, JSON], encoding: dict[str, Any]) -> None:
        """Say where xarray finds the fill value: as the value to mask, or beside one that the attributes give."""
        as_mask = self._options.fill_value_as_mask
        if as_mask if as_mask is not None else self._zarr_format == 2:
            if array.fill_value is not None and array.dtype.kind != "V":  # xarray cannot mask records
                attributes["_FillValue"] = array.fill_value
            return
        if self._zarr_format == 3:
            encoding["fill_value"] = array.fill_value
        if "_FillValue" in attributes:
            attributes["_FillValue"] = decode_fill_value(attributes["_FillValue"], array.dtype)

    def _encoding(self, array: Array, dims: Names) -> dict[str, Any]:
        """Return the encoding of a variable, all plain parts of it its own; arrays of one kind share the work.

        marshal copies nested dicts and tuples fastest (benchmark: xr_open_wide_c).
        """
        spec = array.spec
        kind = id(spec.codecs), id(spec.chunk_grid), dims  # the arrays keep these alive
        known = self._encodings.get(kind)
        if known is None:
            known = self._encodings[kind] = self._describe(array, dims)
        plain, shared = known
        return {**marshal.loads(plain), **shared}

    def _describe(self, array: Array, dims: Names) -> tuple[bytes, dict[str, Any]]:
        """Return the encoding of arrays of one kind: what is plain, marshalled, and the codec objects of format 2."""
        spec = array.spec
        codecs = self._reported.get(id(spec.codecs))
        if codecs is None:
            if spec.zarr_format == 2:
                split_chain(spec.codecs, array.options.allow_codecs)  # raises for codecs that are not known
            codecs = self._reported[id(spec.codecs)] = report_codecs(spec)
        chunks, shards = _compact(array.chunks), array.shards
        plain = {
            "chunks": chunks,
            "preferred_chunks": dict(zip(dims, map(listable, chunks, array.shape), strict=True)),
            "shards": None if shards is None else _compact(shards),
        }
        named = {"compressors": codecs.compressors, "filters": codecs.filters}
        if spec.zarr_format == 2:
            return marshal.dumps(plain), named
        return marshal.dumps({**plain, **named, "serializer": codecs.serializer}), {}


@lru_cache
def _whole(rank: int) -> indexing.BasicIndexer:
    """Return the key that xarray would make for every array anew."""
    return indexing.BasicIndexer((slice(None),) * rank)


def _worth_prefetching(array: Array, is_index: bool, attributes: Mapping[str, JSON]) -> bool:
    """Return whether xarray will look into the array when it opens the dataset."""
    units = attributes.get("units")
    if isinstance(units, str) and " since " in units:
        return True
    return is_index and array.store.concurrent


def _most_objects(array: Array, is_index: bool) -> int:
    """Return how many objects an array may have to be fetched at once."""
    if not array.store.concurrent:
        return 1
    return MAX_OBJECTS if is_index else FEW_OBJECTS


def _attributes_of(array: Array) -> dict[str, JSON]:
    """Return a copy of the attributes without those that only name the dimensions."""
    spec = array.spec
    attributes = spec.attributes
    if spec.zarr_format == 2:
        shown = {k: v for k, v in attributes.items() if k != DIMENSIONS and not k.lower().startswith("_nc")}
    else:
        shown = dict(attributes)
        if spec.dimension_names is not None and spec.document.get("dimension_names") is None:
            shown.pop(DIMENSIONS, None)  # where the names came from
    for name, value in shown.items():
        if isinstance(value, _CONTAINERS):
            shown[name] = copy.deepcopy(value)
    return shown


_CONTAINERS = (list, dict)


def _compact(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([size if isinstance(size, int) else compact_sizes(size) for size in sizes])


def compact_sizes(sizes: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """Return chunk sizes along one dimension as xarray takes them: one number where they are alike but for the last."""
    if isinstance(sizes, int):
        return sizes
    if not sizes:
        return (0,)
    return sizes[0] if len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0] else sizes


def decode_fill_value(value: JSON, dtype: Any) -> Any:
    """Return the value that a ``_FillValue`` attribute of format 3 stands for.

    xarray writes floats as base64 of eight little-endian bytes, complex numbers as two of those, bytes as base64. Other
    writers put plain numbers there, which are taken as they are.
    """
    kind = dtype.kind
    try:
        if kind == "f" and isinstance(value, str):
            return unpack_float(value)
        if kind == "c" and isinstance(value, list | tuple) and len(value) == 2:
            return complex(*(unpack_float(part) if isinstance(part, str) else part for part in value))
        if kind == "S" and isinstance(value, str):
            return base64.standard_b64decode(value)
        if kind == "b":
            return bool(value)
        return int(value) if kind in "iu" and value == value else value
    except (ValueError, TypeError, OverflowError) as error:
        raise MetadataError(f"the attribute _FillValue {value!r:.80} is no value of {dtype}") from error


def levels_to_the_caller() -> int:
    """Return the stacklevel, for the function that calls this, of the first frame outside xarray and this package."""
    inside = tuple(os.path.dirname(os.path.abspath(path)) for path in (__file__, xr.__file__))
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    return level
