"""Writes into arrays that their own data are still to be read from: right only where each block reads its own place.

Imports dask at its first use, data_sources and parallel_writing. Invariant: data stay lazy where no block can read what
another one has written; other data are loaded before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, product
from typing import Any

from .data_sources import Source, sources_of
from .errors import RegionError
from .parallel_writing import ArrayWrite, blocks_of, is_lazy

MAX_LOADED_NBYTES = 2**30  # of data that are loaded because they would be overwritten while they are read
VISITS = 1000  # tasks that are looked at for one block; one that needs more (the mean of all) reads other places too

Bounds = list[list[int]]  # along each dimension, where blocks begin and end
Key = tuple[Any, ...]  # of a task: the name of its layer, the coords of its block


def settled(writes: Sequence[ArrayWrite], changed: Sequence[ArrayWrite]) -> list[Any]:
    """Return the data of ``writes``, loaded where they may read what ``changed``, those into stored arrays, change.

    Raises `RegionError` where these are too large to be loaded.
    """
    data = [write.data for write in writes]
    clashing = [at for at, write in enumerate(writes) if is_lazy(write.data) and _clashes(write, changed)]
    if not clashing:
        return data
    if sum(data[at].nbytes for at in clashing) > MAX_LOADED_NBYTES:
        raise RegionError(
            "the data are still to be read from what this call changes, and a block may read what another one wrote",
            where=", ".join(writes[at].array.where for at in clashing),
            hint="write to another place, or load the data first; or give safe_chunks=False, "
            "if you know that each block reads only the place where it is written",
        )
    import dask

    for at, loaded in zip(clashing, dask.compute(*(data[at] for at in clashing)), strict=True):
        data[at] = loaded
    return data


def _clashes(write: ArrayWrite, changed: Sequence[ArrayWrite]) -> bool:
    """Return whether a block of the data may read what another block changes, or the data of another variable."""
    graph = write.data.__dask_graph__()
    if not hasattr(graph, "layers"):
        return any(_meets(source, other) for source in sources_of(dict(graph)).sources for other in changed)
    own = []
    for name, layer in graph.layers.items():
        if graph.dependencies[name] and not hasattr(layer, "io_deps"):
            continue  # what dask made of blocks: slices, rechunked or stacked ones
        found = sources_of(layer)
        met = [other for other in changed if any(_meets(source, other) for source in found.sources)]
        if not met:
            continue
        if not found.whole or any(other is not write for other in met):
            return True
        own.append(name)
    return bool(own) and not _reads_in_place(write, graph, own)


def _meets(source: Source, other: ArrayWrite) -> bool:
    """Return whether ``other`` changes what is read: an append, behind the end of what was opened, does not."""
    return source.is_below(other.array.store, other.array.path) and all(
        piece.start < length for piece, length in zip(other.region, source.shape, strict=False)
    )


def _reads_in_place(write: ArrayWrite, graph: Any, own: list[str]) -> bool:
    """Return whether it is sure that each block reads, of all that is written, only what itself is written to.

    ``own``: the layers that hold the array.
    """
    readers: dict[str, Bounds] = {}
    for name in own:
        users = [user for user, needed in graph.dependencies.items() if name in needed]
        for user in [name] if hasattr(graph.layers[name], "io_deps") else users:
            bounds = _bounds_read(graph.layers[user])
            if bounds is None or len(bounds) != write.array.ndim:
                return False
            readers[user] = bounds
    needed = graph.get_all_dependencies()
    starts = [piece.start for piece in write.region]
    written = [list(accumulate(sizes, initial=at)) for at, sizes in zip(starts, blocks_of(write), strict=True)]
    for place in product(*(range(n) for n in write.data.numblocks)):
        read = _keys_read((write.data.name, *place), needed, readers)
        if read is None or not all(_is_within(readers[key[0]], key[1:], written, place) for key in read):
            return False
    return True


def _bounds_read(layer: Any) -> Bounds | None:
    """Return where the blocks lie that a layer, as dask and xarray make it of an array, reads; None for any other."""
    parts = getattr(layer, "io_deps", {})
    if len(parts) != 1:
        return None
    ((name, slices),) = parts.items()
    if not hasattr(slices, "chunks") or dict(layer.indices).get(name) != layer.output_indices:
        return None
    return [list(accumulate(sizes, initial=0)) for sizes in slices.chunks]


def _keys_read(block: Key, needed: Mapping[Any, set[Any]], readers: Mapping[str, Bounds]) -> list[Key] | None:
    """Return the tasks that read the array for ``block``; None where that takes too long to find out."""
    found, todo, seen = [], [block], {block}
    while todo:
        key = todo.pop()
        if isinstance(key, tuple) and key[0] in readers:
            found.append(key)
            continue
        todo += [below for below in needed[key] if below not in seen]
        seen.update(needed[key])
        if len(seen) > VISITS:
            return None
    return found


def _is_within(reader: Bounds, read: Key, written: Bounds, block: Key) -> bool:
    """Return whether the block at ``read`` holds nothing of what is written but, at most, the block at ``block``."""
    spans = [(max(at[r], to[0]), min(at[r + 1], to[-1])) for at, r, to in zip(reader, read, written, strict=True)]
    if any(start >= stop for start, stop in spans):
        return True
    return all(to[w] <= start and stop <= to[w + 1] for (start, stop), to, w in zip(spans, written, block, strict=True))
