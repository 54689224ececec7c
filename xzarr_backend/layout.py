"""A spec, compiled: the grid, the key function and the pipelines that reading and writing call.

Imports spec, codecs and the row below. Invariant: a `Layout` is immutable once built but for its cache of pipelines
by chunk shape; building it does no I/O and fails with `MetadataError` or `UnsupportedError` only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .chunk_grids import ChunkGrid
from .chunk_keys import KeyFunction, compile_key
from .codecs.base import ChunkSpec
from .codecs.pipeline import Chain, Pipeline, build_codecs, combined_order, compile_pipeline, split_chain
from .codecs.sharding import Sharding, parse_sharding
from .dtypes import DataType
from .errors import MetadataError
from .spec import ArraySpec, Named


class Shards(NamedTuple):
    """How to read and write parts of a shard.

    ``order``: the permutation from the shard's dimensions to those of its inner chunks (a transpose before sharding),
    None where they are the same.
    """

    sharding: Sharding
    inner: Layout
    order: tuple[int, ...] | None


class Layout:
    """``grid`` counts stored objects (shards where there are shards). ``fill`` is a value of ``dtype``, never None.

    ``zero_fill``: the fill value is all zero bytes, so that fresh memory needs no filling.
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
        if "sharding_indexed" not in [codec.name for codec in self.codecs]:
            return None
        chain = self.chain
        if chain.serializer.name != "sharding_indexed" or chain.bytes:
            return None
        before, spec = build_codecs(chain.arrays, self._chunk_spec(shape))
        order = combined_order(before, len(shape))
        if order is None:
            return None  # a codec changes values or shapes: only the whole shard can be decoded
        if self.depth >= MAX_NESTING:
            raise MetadataError(f"shards are nested more than {MAX_NESTING} deep")
        sharding = parse_sharding(chain.serializer.configuration, spec)
        inner = Layout(sharding.grid, _no_key, spec.dtype, spec.fill_value, sharding.codecs, (), self.depth + 1)
        return Shards(sharding, inner, None if order == tuple(range(len(shape))) else order)

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

    def resized(self, grid: ChunkGrid) -> Layout | None:
        """Return this layout for an array of another shape, nothing compiled again; None where the chunks differ."""
        if not self.regular or not grid.regular or grid.largest_chunk != self.grid.largest_chunk:
            return None
        layout = copy(self)
        layout.grid = grid
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


def _no_key(coords: Sequence[int]) -> str:
    raise AssertionError("inner chunks have no key of their own")


def _is_zero(fill: Any, dtype: np.dtype[Any]) -> bool:
    if dtype.hasobject or dtype.kind == "T":
        return False
    return not any(np.asarray(fill, dtype).tobytes())


def compile_layout(spec: ArraySpec, path: str, allow: Collection[str] = ()) -> Layout:
    """Return the layout of the array of ``spec`` whose keys begin with ``path`` (empty for the root)."""
    prefix = f"{path}/" if path else ""
    key = compile_key(spec.chunk_key_encoding, prefix, len(spec.shape))
    fill = spec.dtype.zero if spec.fill_value is None else spec.fill_value
    return Layout(spec.chunk_grid, key, spec.dtype, fill, spec.codecs, allow)


def inner_grid(spec: ArraySpec, layout: Layout) -> ChunkGrid:
    """Return the grid of the smallest readable chunks over the whole array, as `chunks` reports it."""
    shards = layout.shards
    if shards is None:
        return layout.grid
    return _spread(layout.grid, _inner_shape(layout))


def _inner_shape(layout: Layout) -> tuple[int, ...]:
    shards = layout.shards
    if shards is None:
        return layout.grid.largest_chunk
    shape = _inner_shape(shards.inner)
    if shards.order is None:
        return shape
    return tuple(shape[shards.order.index(axis)] for axis in range(len(shape)))


def _spread(grid: ChunkGrid, inner: tuple[int, ...]) -> ChunkGrid:
    from .chunk_grids import EdgedAxis, RegularAxis

    def along(axis: Any, step: int) -> Any:
        if isinstance(axis, RegularAxis):
            return RegularAxis(axis.length, step)
        return EdgedAxis(axis.length, [step] * (sum(axis.edges) // step))

    return ChunkGrid(along(axis, step) for axis, step in zip(grid, inner, strict=True))
