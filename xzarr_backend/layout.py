"""A spec, compiled: the grid, the key function and the pipelines that reading and writing call.

Imports spec, codecs and the row below. Invariant: a `Layout` is immutable once built but for what it keeps by shape
(pipelines, shards, cuts of shards); building it does no I/O and fails with `MetadataError` or `UnsupportedError` only.
What arrays of one kind share (formats/alike.py) is compiled once. Benchmark: open_array.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .chunk_grids import ChunkGrid, EdgedAxis, RegularAxis
from .chunk_keys import KeyFunction, compile_key
from .code_points import holds_text
from .codecs.base import ChunkSpec
from .codecs.pipeline import Chain, Pipeline, build_codecs, combined_order, compile_pipeline, split_chain
from .codecs.sharding import SHARDING, Sharding, chains_of, parse_sharding
from .codecs.table import CODECS
from .dtypes import DataType
from .errors import MetadataError
from .formats.alike import Alike
from .spec import ArraySpec, Named


class Shards(NamedTuple):
    """How to read and write parts of a shard.

    ``order``: the permutation from the shard's dimensions to those of its inner chunks (a transpose before sharding),
    None where they are the same. ``cuts``: what was worked out for reads of parts (shard_cutting.py).
    """

    sharding: Sharding
    inner: Layout
    order: tuple[int, ...] | None
    cuts: dict[Hashable, Any]


class Small(NamedTuple):
    """How to find and decode one small chunk (inner chunk, where there are shards).

    ``steps`` has, for each dimension, the length of a stored object, that of a chunk in it, and the number of those.
    ``nbytes`` is the decoded size. ``in_place``: elements decode to the order and byte order of a result in C order.
    """

    steps: tuple[tuple[int, int, int], ...]
    nbytes: int
    pipeline: Pipeline
    in_place: bool


class Layout:
    """``grid`` counts stored objects (shards where there are shards). ``fill`` is a value of ``dtype``, never None.

    ``zero_fill``: the fill value is all zero bytes, so that fresh memory needs no filling. ``text``: elements hold
    fixed-length text.
    ``chunk_nbytes``: the decoded size of the largest stored object in bytes (variable length: of its pointers).
    """

    def __init__(
        self,
        grid: ChunkGrid,
        key: KeyFunction,
        dtype: DataType,
        fill: Any,
        codecs: Sequence[Named],
        allow: Collection[str] = (),
        depth: int = 0,
    ) -> None:
        self.grid, self.key = grid, key
        self.data_type, self.dtype = dtype, dtype.numpy
        self.fill = fill
        self.zero_fill = _is_zero(fill, dtype.numpy)
        self.text = holds_text(dtype.numpy)
        self.codecs = tuple(codecs)
        largest = grid.largest_chunk
        self.chunk_nbytes = math.prod(largest) * dtype.numpy.itemsize
        self._allow = allow
        self.depth = depth
        self._pipelines: dict[tuple[int, ...], Pipeline] = {}
        self._shards: dict[tuple[int, ...], Shards | None] = {}
        self.regular = grid.regular
        # compiled at once, so that a codec that is not known is reported on opening and not on the first read
        self.pipeline = self.pipeline_for(largest)
        self.shards = self.shards_for(largest)

    def pipeline_for(self, shape: tuple[int, ...]) -> Pipeline:
        """Return the pipeline for stored objects of ``shape``."""
        pipeline = self._pipelines.get(shape)
        if pipeline is None:
            pipeline = self._pipelines[shape] = compile_pipeline(self.codecs, self._chunk_spec(shape), self._allow)
        return pipeline

    def shards_for(self, shape: tuple[int, ...]) -> Shards | None:
        """Return how to read parts of shards of ``shape``; None where they must be decoded whole."""
        if shape not in self._shards:
            self._shards[shape] = self._parse_shards(shape)
        return self._shards[shape]

    def _chunk_spec(self, shape: tuple[int, ...]) -> ChunkSpec:
        return ChunkSpec(shape, self.data_type, self.fill)

    def _parse_shards(self, shape: tuple[int, ...]) -> Shards | None:
        if SHARDING not in [codec.name for codec in self.codecs]:
            return None
        chain = self.chain
        if chain.serializer.name != SHARDING or chain.bytes:
            return None
        before, spec = build_codecs(chain.arrays, self._chunk_spec(shape))
        order = combined_order(before, len(shape))
        if order is None:
            return None  # a codec changes values or shapes: only the whole shard can be decoded
        if self.depth >= MAX_NESTING:
            raise MetadataError(f"shards are nested more than {MAX_NESTING} deep")
        sharding = parse_sharding(chain.serializer.configuration, spec)
        inner = Layout(sharding.grid, _no_key, spec.dtype, spec.fill_value, sharding.codecs, (), self.depth + 1)
        return Shards(sharding, inner, None if order == tuple(range(len(shape))) else order, {})

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """The order of the dimensions in which decoded elements lie in memory; None for C order, and where unknown."""
        if self.shards is None:
            order = self.pipeline.order
            return None if order == tuple(range(len(self.grid))) else order
        outer, inner = self.shards.order, self.shards.inner.order
        if outer is None or inner is None:
            return outer or inner
        return tuple(outer[axis] for axis in inner)

    @cached_property
    def small(self) -> Small | None:
        """How to read one chunk in few steps (single_reading.py); None where chunks are large, irregular or nested."""
        inner, shards = self.innermost, self.shards
        if shards is not None and (shards.order is not None or shards.inner is not inner):
            return None
        pipeline, nbytes = inner.pipeline, inner.chunk_nbytes
        if not self.regular or not self.grid or pipeline.nbytes is None or nbytes >= SMALL_NBYTES:
            return None
        lengths, counts = inner.grid.largest_chunk, (1,) * len(self.grid) if shards is None else inner.grid.counts
        steps = tuple(zip(self.grid.largest_chunk, lengths, counts, strict=True))
        in_place = pipeline.decode_into is not None and pipeline.order == tuple(range(len(self.grid)))
        return Small(steps, nbytes, pipeline, in_place)

    def is_for(self, spec: ArraySpec) -> bool:
        """Tell whether this was compiled from the very codecs, type and fill value of ``spec``."""
        same = self.codecs is spec.codecs and self.data_type is spec.dtype
        return same and (self.fill is spec.fill_value or spec.fill_value is None)

    def moved(self, grid: ChunkGrid, key: KeyFunction) -> Layout:
        """Return this layout for an array elsewhere, with chunks of the same shape."""
        layout = object.__new__(Layout)
        layout.__dict__.update(self.__dict__, grid=grid, key=key)
        return layout

    @cached_property
    def chain(self) -> Chain:
        """The codecs by kind."""
        return split_chain(self.codecs, self._allow)

    @property
    def innermost(self) -> Layout:
        """The layout of the smallest chunks that can be read on their own."""
        return self if self.shards is None else self.shards.inner.innermost


MAX_NESTING = 8
SMALL_NBYTES = 1 << 17  # of a decoded chunk: leaving out a part of it saves nothing, planning takes as long as decoding


def _no_key(coords: Sequence[int]) -> str:
    raise AssertionError("inner chunks have no key of their own")


def _is_zero(fill: Any, dtype: np.dtype[Any]) -> bool:
    if dtype.hasobject or dtype.kind == "T":
        return False
    return not any(np.asarray(fill, dtype).tobytes())


def compile_layout(spec: ArraySpec, path: str, allow: Collection[str] = ()) -> Layout:
    """Return the layout of the array of ``spec`` whose keys begin with ``path`` (empty for the root)."""
    key = compile_key(spec.chunk_key_encoding, f"{path}/" if path else "", len(spec.shape))
    grid, fill = spec.chunk_grid, spec.fill_value
    kind = (id(spec.codecs), grid.largest_chunk, fill is None, frozenset(allow)) if grid.regular else None
    known = _compiled.find(kind)
    if known is not None and known.is_for(spec):
        return known.moved(grid, key)
    layout = Layout(grid, key, spec.dtype, spec.dtype.zero if fill is None else fill, spec.codecs, allow)
    if kind is not None and _all_in_table(layout.codecs):
        _compiled.keep(kind, layout)
    return layout


_compiled: Alike[Layout] = Alike()  # by the identity of codecs, which a layout keeps alive


def _all_in_table(codecs: Sequence[Named]) -> bool:
    """Tell whether the codecs, and those within shards, always mean the same: others can be registered anew."""
    return all(
        codec.name in CODECS
        and (codec.name != SHARDING or all(_all_in_table(chain) for chain in chains_of(codec.configuration)))
        for codec in codecs
    )


def inner_grid(layout: Layout) -> ChunkGrid:
    """Return the grid of the smallest readable chunks over the whole array, as `chunks` reports it."""
    return layout.grid if layout.shards is None else _spread(layout.grid, _inner_shape(layout))


def _inner_shape(layout: Layout) -> tuple[int, ...]:
    shards = layout.shards
    if shards is None:
        return layout.grid.largest_chunk
    shape = _inner_shape(shards.inner)
    if shards.order is None:
        return shape
    return tuple(shape[shards.order.index(axis)] for axis in range(len(shape)))


def _spread(grid: ChunkGrid, inner: tuple[int, ...]) -> ChunkGrid:
    def along(axis: Any, step: int) -> Any:
        if isinstance(axis, RegularAxis):
            return RegularAxis(axis.length, step)
        return EdgedAxis(axis.length, [step] * (sum(axis.edges) // step))

    return ChunkGrid(along(axis, step) for axis, step in zip(grid, inner, strict=True))
