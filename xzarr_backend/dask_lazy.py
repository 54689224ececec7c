"""Lazy dask arrays that cost the same for ten blocks and for a million.

Imports dask. Invariant: tasks, keys and values are those of dask's own `from_array`; the graph holds the array itself,
which pickles as its place and its documents; what is computed from a lazy array is plain dask's. Benchmarks: open_1d,
sum_stored_million.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate, product
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.array.core import getter
from dask.base import tokenize
from dask.blockwise import Blockwise, BlockwiseDep, blockwise_token
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

LONG = 10_000  # blocks, along one dimension or in all: dask looks at each of them for almost everything
FEW = 1_000  # blocks of a selection

Sizes = tuple[Any, ...]  # along each dimension the length of equal blocks (the last may be shorter), or all lengths


class Recipe(NamedTuple):
    """What a lazy array is made of."""

    array: Any  # an `Array`, or what xarray decodes from one
    sizes: Sizes
    name: str
    inline_array: bool
    meta: Any


def lazy_array(recipe: Recipe) -> da.Array:
    """Return the array of ``recipe``, as `dask.array.from_array` makes it."""
    array, sizes, name, inline_array, meta = recipe
    blocks = all_lengths(array.shape, sizes)
    if inline_array:
        lazy = _inlined(recipe, blocks)
    else:
        lazy = da.from_array(array, chunks=blocks, name=name, inline_array=False, meta=meta)
    if type(lazy) is da.Array:  # a plugin of dask may have made something else of it
        lazy.__class__ = LazyArray
        lazy._recipe = recipe
    return lazy


def all_lengths(shape: tuple[int, ...], sizes: Sizes) -> tuple[tuple[int, ...], ...]:
    """Return the lengths of all blocks along each dimension."""
    return tuple(
        equal_lengths(length, size) if isinstance(size, int) else size
        for length, size in zip(shape, sizes, strict=True)
    )


@lru_cache(16)
def equal_lengths(length: int, size: int) -> tuple[int, ...]:
    """Return the lengths of equal blocks but for the last one; one object, as dask remembers sums by identity."""
    count, rest = divmod(length, size)
    return (size,) * count + ((rest,) if rest or not length else ())


def shortened(lengths: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return the length of equal blocks but for a shorter last one, and all lengths of others."""
    first, last = lengths[0], lengths[-1]
    equal = lengths.count(first) == len(lengths) - (first != last) and 0 < last <= first
    return first if equal else lengths


def _inlined(recipe: Recipe, blocks: tuple[tuple[int, ...], ...]) -> da.Array:
    """Return what `dask.array.from_array` would with ``inline_array``, with less work for each block.

    dask puts the array into the tasks one by one, when the graph is optimised: here the layer's own task holds it, and
    a third of the calls for each block is saved (benchmark: sum_stored_100k).
    """
    array, sizes, name, _, meta = recipe
    axes = tuple(blockwise_token(axis, ".") for axis in range(array.ndim))
    task = Task(name, getter, DataNode(None, array), TaskRef(blockwise_token(0)), _data_producer=True)
    slices = Slices(array.shape, sizes, tuple(map(len, blocks)))
    layer = Blockwise(name, axes, task, [(slices, axes)], numblocks={})
    graph = HighLevelGraph.from_collections(name, layer)
    if max(map(len, blocks), default=0) <= LONG:
        return da.Array(graph, name, blocks, dtype=array.dtype, meta=meta)
    # nothing looks at each block (benchmark: open_1d): one is cheap to check, and these are known to fit
    lazy = da.Array(graph, name, tuple((length,) for length in array.shape), dtype=array.dtype, meta=meta)
    lazy._chunks = blocks
    lazy.__dict__["shape"] = array.shape  # where dask remembers it
    if layer.collection_annotations:
        largest = tuple(size if isinstance(size, int) else max(size) for size in sizes)
        layer.collection_annotations |= {"chunksize": largest, "chunks": blocks}
    return lazy


class Slices(BlockwiseDep):  # type: ignore[misc]
    """Gives each block its slices of the array, from the lengths of the blocks: dask's own lists every start."""

    produces_tasks = False

    def __init__(self, shape: tuple[int, ...], sizes: Sizes, numblocks: tuple[int, ...]) -> None:
        self.shape, self.sizes, self.numblocks = shape, sizes, numblocks
        self._starts = [size if isinstance(size, int) else (0, *accumulate(size)) for size in sizes]

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The lengths of the blocks, as dask's own says them."""
        return all_lengths(self.shape, self.sizes)

    def __getitem__(self, index: tuple[int, ...]) -> DataNode:
        """Return the slices of the block at ``index``, as the part of a task that dask would make of them."""
        return DataNode(None, tuple(map(_slice, index, self._starts, self.shape)))

    def __dask_tokenize__(self) -> Any:
        return "xzarr_backend.Slices", self.shape, self.sizes


def _slice(at: int, starts: int | tuple[int, ...], length: int) -> slice:
    """Return what a block takes of a dimension; ``starts`` is the length of equal blocks, or where each begins."""
    if isinstance(starts, int):
        return slice(at * starts, min((at + 1) * starts, length), None)
    return slice(starts[at], starts[at + 1], None)


class LazyArray(da.Array):  # type: ignore[misc]
    """dask's own array, but that it pickles as what it is made of, and looks at the blocks of a small selection only.

    dask pickles the length and the start of every block, 7 MB for a million along one dimension, adds up all lengths
    for each selection (benchmarks: pickle_1d, corner_1d), and lists all blocks to optimise a sum over a few, a second
    for a million (corner_sum_2d).
    """

    __slots__ = ()
    _recipe: Recipe

    def __reduce__(self) -> Any:
        layer = self.dask.layers.get(self._recipe.name)
        if self.name != self._recipe.name or layer is None or layer.annotations:
            return super().__reduce__()  # assigned to, or annotated: not what the recipe makes
        return lazy_array, (self._recipe,)

    def __getitem__(self, index: Any) -> Any:
        layer = self.dask.layers.get(self._recipe.name) if math.prod(self.numblocks) > LONG else None
        if self.name == self._recipe.name and isinstance(layer, Blockwise) and not self.dask.dependencies[self.name]:
            parts = _parts(index, self._recipe)
            if parts is not None and math.prod(part.last - part.first for part in parts) <= FEW:
                return self._few(layer, parts)[tuple(part.within for part in parts)]
        return super().__getitem__(index)

    def _few(self, layer: Blockwise, parts: list[_Part]) -> da.Array:
        """Return some blocks as an array, like ``self.blocks[...]``; its graph holds their keys and no others."""
        spans = [range(part.first, part.last) for part in parts]
        name = f"blocks-{tokenize(self.name, spans)}"
        aliases = {}
        for place in product(*map(enumerate, spans)):
            key = (name, *(to for to, _ in place))
            aliases[key] = Alias(key, (self.name, *(at for _, at in place)))  # a bare key would list all keys again
        culled, _ = layer.cull({alias.target for alias in aliases.values()}, ())
        tasks = MaterializedLayer(dict(culled), annotations=layer.annotations)
        # not by the name of the whole: another selection of it, or all of it, may be computed together with this one
        source = f"{self.name}-{name}"
        graph = HighLevelGraph({source: tasks, name: MaterializedLayer(aliases)}, {source: set(), name: {source}})
        chunks = tuple(tuple(lengths[at] for at in span) for lengths, span in zip(self.chunks, spans, strict=True))
        return da.Array(graph, name, chunks, dtype=self.dtype, meta=self._meta)


class _Part(NamedTuple):
    """Along one dimension: the blocks from ``first`` to before ``last``, and what is selected ``within`` them."""

    first: int
    last: int
    within: int | slice


def _parts(index: Any, recipe: Recipe) -> list[_Part] | None:
    """Return the blocks that a selection by numbers and slices touches; None for any other, and for an empty one."""
    shape, key = recipe.array.shape, list(index if isinstance(index, tuple) else (index,))
    if sum(item is ... for item in key) > 1:
        return None
    at = next((at for at, item in enumerate(key) if item is ...), len(key))
    key[at : at + 1] = [slice(None)] * (len(shape) - len(key) + (at < len(key)))
    if len(key) != len(shape):
        return None
    parts = []
    for item, length, size in zip(key, shape, recipe.sizes, strict=True):
        start, stop, step = _span(item, length)
        if start >= stop or not isinstance(size, int):
            return None
        first, last = start // size, (stop - 1) // size + 1
        begin = first * size
        parts.append(_Part(first, last, slice(start - begin, stop - begin, step) if step else start - begin))
    return parts


def _span(item: Any, length: int) -> tuple[int, int, int]:
    """Return start, stop and step of a number (step 0) or a slice forward; an empty span for anything else."""
    if isinstance(item, slice):
        start, stop, step = item.indices(length)
        return (start, stop, step) if step > 0 else (0, 0, 0)
    if isinstance(item, int | np.integer) and not isinstance(item, bool) and -length <= item < length:
        start = int(item) % length
        return start, start + 1, 0
    return 0, 0, 0
