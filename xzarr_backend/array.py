"""The array that users hold: its facts, and reading by selection.

Imports compiled, attributes, changing, reading, writing and the rows below. Invariant: an `Array` is safe to share
between threads and changes only through `resize`, `append` and its attributes; it pickles as its place and its
documents, never its data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from .attributes import Attributes
from .casting import cast
from .changing import check_writable
from .chunk_grids import ChunkGrid
from .codec_objects import report_codecs
from .compiled import Compiled
from .errors import SelectionError
from .formats.v2 import parse_array_v2
from .formats.v3 import format_named, parse_array_v3
from .indexer import Indexer
from .layout import Layout
from .options import Options
from .reading import read
from .resizing import append, resize
from .selection import Selection, check_fields, parse_basic, split_fields
from .spec import JSON, ArraySpec
from .stored import stored_chunks
from .stores.base import Store
from .stores.files import own_lock
from .writing import LockOf, write

if TYPE_CHECKING:
    from .display import Info
    from .explain import Explanation


class Array:
    """A chunked array in a store; index it like a NumPy array.

    Facts: ``shape``, ``dtype``, ``chunks`` (the smallest that can be read on their own), ``shards`` (None without),
    ``fill_value``, ``attrs``, ``dimension_names``. Reading: ``a[...]`` (NumPy's meaning), ``a.oindex[...]``,
    ``a.vindex[...]``, ``a.blocks[...]``.
    """

    def __init__(self, store: Store, path: str, spec: ArraySpec, options: Options = Options()) -> None:  # noqa: B008
        self.store, self.path, self.spec, self.options = store, path, spec, options
        self.compiled = Compiled(store, path, spec, options)

    # --- facts

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the dimensions."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy data type of what reading returns; the byte order is that of a v2 document."""
        return self.spec.dtype.numpy

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.spec.shape)

    @property
    def nbytes(self) -> int:
        """The size of the whole array in memory, in bytes (variable-length elements count as their pointers)."""
        return self.size * self.dtype.itemsize

    @property
    def chunk_grid(self) -> ChunkGrid:
        """The grid of the smallest chunks that can be read on their own (inner chunks, where there are shards)."""
        return self.compiled.chunk_grid

    @property
    def chunks(self) -> tuple[Any, ...]:
        """The length of the chunks along each dimension; a tuple of lengths where they differ (rectilinear)."""
        grid = self.chunk_grid if self.spec.sharded else self.spec.chunk_grid
        return tuple([axis.sizes for axis in grid])

    @property
    def shards(self) -> tuple[Any, ...] | None:
        """The length of the shards along each dimension, None where the array has no shards."""
        return tuple([axis.sizes for axis in self.spec.chunk_grid]) if self.spec.sharded else None

    @property
    def fill_value(self) -> Any:
        """The value of elements that nobody wrote; None for the null of v2, which reads as zero."""
        return self.spec.fill_value

    @property
    def attrs(self) -> Attributes:
        """The attributes; where the array was opened for writing, each change is stored at once."""
        return Attributes(self)

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """The names of the dimensions, None where the array has none."""
        return self.spec.dimension_names

    @property
    def zarr_format(self) -> int:
        """2 or 3."""
        return self.spec.zarr_format

    @property
    def order(self) -> str:
        """ "C" or "F": the order of the elements within a stored chunk."""
        first = self.spec.codecs[0] if self.spec.codecs else None
        if first is None or first.name != "transpose" or self.ndim < 2:
            return "C"
        order = first.configuration.get("order")
        return "F" if order == "F" or order == list(range(self.ndim))[::-1] else "C"

    @property
    def codecs(self) -> tuple[Any, ...]:
        """The codec chain as v3 dicts, in the order of encoding (v2 arrays too)."""
        return tuple(format_named(codec) for codec in self.spec.codecs)

    @property
    def filters(self) -> tuple[Any, ...]:
        """What transforms the elements: numcodecs objects for v2, dicts for v3."""
        return report_codecs(self.spec).filters

    @property
    def serializer(self) -> Any:
        """The array->bytes codec as a dict (v3), None for v2."""
        return report_codecs(self.spec).serializer

    @property
    def compressors(self) -> tuple[Any, ...]:
        """What compresses the bytes: numcodecs objects for v2, dicts for v3 (of the inner chunks, where sharded)."""
        return report_codecs(self.spec).compressors

    @property
    def nchunks(self) -> int:
        """The number of chunks in the grid, stored or not (inner chunks, where there are shards)."""
        return self.chunk_grid.nchunks

    @property
    def name(self) -> str:
        """The path with a leading slash."""
        return f"/{self.path}"

    @property
    def basename(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def where(self) -> str:
        """How errors name this array."""
        return self.compiled.where

    # --- reading

    @property
    def layout(self) -> Layout:
        """The compiled codecs; raise `MetadataError` or `UnsupportedError` where they cannot be."""
        return self.compiled.layout

    def read(self, selection: Selection) -> Any:
        """Return the values of a parsed selection (what `[...]`, `oindex`, `vindex` and `blocks` call)."""
        try:
            return selection.finish(read(self.compiled.source, selection))
        except SelectionError as error:
            raise error.at(self.where)  # noqa: B904 (the same error, with its place)

    def __getitem__(self, key: Any) -> Any:
        """Return the selected values as a NumPy array (or scalar), with NumPy's meaning of ``key``."""
        key, fields = split_fields(key)
        try:
            if fields is not None:
                check_fields(fields, self.dtype)
            selection = parse_basic(key, self.shape)
        except SelectionError as error:
            raise error.at(self.where)  # noqa: B904 (the same error, with its place)
        values = self.read(selection)
        return values if fields is None else values[fields]

    def write(self, selection: Selection, values: Any, lock: LockOf | None = None) -> None:
        """Write ``values``, which broadcast to the shape of a parsed selection.

        ``lock``: gives the lock of an object that changes in part only, by its key; None for the store's own.
        """
        check_writable(self)
        compiled = self.compiled
        destination = compiled.destination(lock or partial(own_lock, self.store))
        try:
            write(destination, selection, cast(values, self.spec.dtype, self.where))
        except SelectionError as error:
            raise error.at(self.where)  # noqa: B904
        finally:
            # shards were replaced, some even where the write failed: the next read would try their old indexes in vain
            compiled.__dict__.pop("source", None)

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write ``values`` at ``key``, with NumPy's meaning; whole records only."""
        if split_fields(key)[1] is not None:
            raise SelectionError(
                "fields cannot be written on their own",
                where=self.where,
                hint="read the records, change the field in them, and write them",
            )
        try:
            selection = parse_basic(key, self.shape)
        except SelectionError as error:
            raise error.at(self.where)  # noqa: B904
        self.write(selection, values)

    @property
    def oindex(self) -> Indexer:
        """``a.oindex[rows, columns]``: every combination of the given rows and columns."""
        return Indexer(self, "oindex")

    @property
    def vindex(self) -> Indexer:
        """``a.vindex[rows, columns]``: the points (row, column), pair by pair; or one mask of the array's shape."""
        return Indexer(self, "vindex")

    @property
    def blocks(self) -> Indexer:
        """``a.blocks[i, j]``: whole chunks by their place in the grid; slices of chunks too."""
        return Indexer(self, "blocks")

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a stored array cannot be had without a copy")
        values: npt.NDArray[Any] = np.asarray(self[...])
        return values if dtype is None else values.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array with no dimensions")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over an array with no dimensions")
        step = self.chunk_grid[0].size(0) if len(self) else 1
        for start in range(0, len(self), step):
            yield from self[start : start + step]

    # --- changing the array itself

    def resize(self, shape: int | Sequence[int]) -> None:
        """Change the shape, at once for this object, for others when they open the array again.

        New elements read as the fill value. What is cut off is deleted; growing again does not bring it back. Raises
        `MetadataError` for what is no shape of as many dimensions.
        """
        resize(self, shape)

    def append(self, values: npt.ArrayLike, axis: int = 0) -> tuple[int, ...]:
        """Write ``values`` behind the end along ``axis`` and return the new shape.

        The other dimensions must have the array's lengths. The shape changes last: a failure leaves the array as it
        was. Raises `RegionError` for values that do not fit, or when another writer changed the shape meanwhile.
        """
        return append(self, values, axis)

    def adopt(self, spec: ArraySpec) -> None:
        """Be the array that ``spec`` describes, which was just stored."""
        # in this order: what is selected from the shape is never more than what is read from
        self.compiled = Compiled(self.store, self.path, spec, self.options)
        self.spec = spec

    def described(self, spec: ArraySpec) -> Array:
        """Return another array object for the same place, as ``spec`` describes it."""
        return type(self)(self.store, self.path, spec, self.options)

    def close(self) -> None:
        """Close the store, which finishes an archive; the store opens again when it is used again."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- what is stored, for people

    def nchunks_stored(self) -> int:
        """Return how many objects (chunks, or shards) are stored; raise `UnsupportedError` without a listing."""
        return sum(1 for _ in stored_chunks(self))

    def nbytes_stored(self) -> int:
        """Return the size of the stored chunks (or shards) in bytes, without the metadata."""
        return sum(chunk.nbytes for chunk in stored_chunks(self))

    def explain(self, selection: Any, limit: int | None = None) -> Explanation:
        """Return which stored objects, ranges and bytes ``a[selection]`` would fetch, without reading a chunk.

        At most ``limit`` objects are looked up in the store (1000; of remote stores 100), the others only counted.
        """
        from .explain import explain

        return explain(self, selection, limit)

    @property
    def info(self) -> Info:
        """A summary from the metadata alone, which prints as text and shows as HTML in notebooks."""
        from .display import array_info

        return array_info(self)

    def _repr_html_(self) -> str:
        return self.info._repr_html_()

    # --- identity

    def __reduce__(self) -> Any:
        return _reopen, (self.store, self.path, self.spec.document, dict(self.spec.attributes), self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.store.url, self.path))

    def _identity(self) -> tuple[Any, ...]:
        return self.store, self.path, self.spec.document, self.spec.attributes, self.options

    def __dask_tokenize__(self) -> Any:
        return "xzarr_backend.Array", self.store, self.path, self.spec.document, self.options

    def __repr__(self) -> str:
        return f"<xzarr_backend.Array {self.name} shape={self.shape} dtype={self.dtype}>"


def _reopen(
    store: Store, path: str, document: Mapping[str, JSON], attributes: Mapping[str, JSON], options: Options
) -> Array:
    if document.get("zarr_format") == 3:
        return Array(store, path, parse_array_v3(document, options.reading), options)
    return Array(store, path, parse_array_v2(document, attributes, options.reading), options)
