"""What hypothesis draws for the property tests: arrays in every layout, in any store, and selections of every kind.

A drawn array is stored by this package and held beside it as the NumPy array that it must equal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.stores_fakes import ForwardingStore
from xzarr_backend.formats.documents import format_json
from xzarr_backend.stores import MemoryStore, Store, open_store

LAYOUTS = ("v2", "v3", "sharded", "nested", "transposed", "rectilinear")
SELECTIONS = ("basic", "outer", "points", "mask", "blocks")
STORES = ("memory", "mapping", "remote", "local", "zip")  # "remote": one that is asked for many objects at once
DTYPES = ("<i4", "<f8", "|u1", "<i2")
INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


class Case(NamedTuple):
    """An array to be stored: its document (without the data) under ``key``, and the values it shall have."""

    key: str
    document: dict[str, Any]
    values: Any
    store: str

    def __repr__(self) -> str:
        return f"Case({self.store!r}, {self.document!r}, values={self.values.tolist()!r})"


# --- arrays --------------------------------------------------------------------------------------------------------


def shapes(least: int = 0, most: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of few elements, empty dimensions among them."""
    return st.lists(st.sampled_from([0, 1, 1, 2, 3, 4, 5, 7, 9]), min_size=least, max_size=most).map(_small)


def _small(lengths: list[int]) -> tuple[int, ...]:
    shape = list(lengths)
    while np.prod(shape, dtype=int) > 400:
        shape[int(np.argmax(shape))] //= 2
    return tuple(shape)


@st.composite
def values_of(draw: st.DrawFn, shape: tuple[int, ...], dtype: str, fill: int) -> Any:
    """Different values everywhere, but for a box of fill values that leaves chunks without an object."""
    values = (np.arange(np.prod(shape, dtype=int)) % 251 + 1).astype(dtype).reshape(shape)
    if draw(st.booleans()):
        box = tuple(slice(*sorted((draw(st.integers(0, n)), draw(st.integers(0, n))))) for n in shape)
        values[box] = fill
    return values


@st.composite
def cases(draw: st.DrawFn, layout: str, least: int = 0, most: int = 4) -> Case:
    """An array of ``layout`` in a store of any kind."""
    shape = draw(shapes(least, most))
    dtype = draw(st.sampled_from((*DTYPES, ">i2") if layout == "v2" else DTYPES))
    fill = draw(st.sampled_from([0, 0, 7]))
    values = draw(values_of(shape, dtype, fill))
    chunk = tuple(draw(st.integers(1, 5)) for _ in shape)
    document = draw(DOCUMENTS[layout](shape, np.dtype(dtype), fill, chunk))
    return Case(".zarray" if layout == "v2" else "zarr.json", document, values, draw(st.sampled_from(STORES)))


@st.composite
def v2_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """Zarr v2 in both orders, with both separators and several compressors."""
    compressors = [None, {"id": "zlib", "level": 1}, {"id": "zstd"}, {"id": "blosc", "cname": "lz4", "shuffle": 1}]
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunk),
        "dtype": dtype.str,
        "compressor": draw(st.sampled_from(compressors)),
        "fill_value": fill,
        "order": draw(st.sampled_from("CF")),
        "filters": draw(st.sampled_from([None, None, [{"id": "delta", "dtype": dtype.str}]])),
        "dimension_separator": draw(st.sampled_from("./")),
    }


def v3_document(shape: Any, dtype: Any, fill: int, grid: Any, codecs: Any, separator: str = "/") -> dict[str, Any]:
    """A `zarr.json` of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": fill,
        "codecs": codecs,
    }


def regular(chunk: Any) -> dict[str, Any]:
    """A regular grid."""
    return {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}


def compressors() -> st.SearchStrategy[list[Any]]:
    """The bytes->bytes codecs at the end of a chain."""
    return st.sampled_from(
        [
            [],
            [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
            [{"name": "gzip", "configuration": {"level": 1}}],
            [{"name": "crc32c"}],
            [{"name": "zstd", "configuration": {"level": 1, "checksum": True}}, {"name": "crc32c"}],
        ]
    )


def transposes(rank: int) -> st.SearchStrategy[list[Any]]:
    """A transpose by any permutation."""
    return st.permutations(range(rank)).map(lambda order: [{"name": "transpose", "configuration": {"order": order}}])


@st.composite
def chains(draw: st.DrawFn, rank: int) -> list[Any]:
    """A chain without shards."""
    first = draw(transposes(rank)) if rank and draw(st.integers(0, 4)) == 0 else []
    endian = draw(st.sampled_from(["little", "big"]))
    return [*first, {"name": "bytes", "configuration": {"endian": endian}}, *draw(compressors())]


@st.composite
def sharding(draw: st.DrawFn, inner: Any, codecs: Any) -> dict[str, Any]:
    """A sharding codec with its index at either end."""
    configuration = {"chunk_shape": list(inner), "codecs": codecs, "index_codecs": draw(index_codecs())}
    location = draw(st.sampled_from(["start", "end", None]))
    return {
        "name": "sharding_indexed",
        "configuration": configuration if location is None else {**configuration, "index_location": location},
    }


def index_codecs() -> st.SearchStrategy[list[Any]]:
    """The chain of an index: its size must be fixed."""
    return st.sampled_from([INDEX_CODECS, INDEX_CODECS[:1], [{"name": "bytes", "configuration": {"endian": "big"}}]])


@st.composite
def v3_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """Zarr v3 without shards."""
    codecs = draw(chains(len(shape)))
    return v3_document(shape, dtype, fill, regular(chunk), codecs, draw(st.sampled_from("/.")))


@st.composite
def sharded_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """Shards of a few inner chunks."""
    inner = tuple(min(n, 3) for n in chunk)
    shard = tuple(n * draw(st.integers(1, 3)) for n in inner)
    codec = draw(sharding(inner, draw(chains(len(shape)))))
    return v3_document(shape, dtype, fill, regular(shard), [codec])


@st.composite
def nested_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """Shards within shards."""
    inner = tuple(min(n, 2) for n in chunk)
    middle = tuple(n * draw(st.integers(1, 2)) for n in inner)
    shard = tuple(n * draw(st.integers(1, 2)) for n in middle)
    first = draw(sharding(inner, draw(chains(len(shape)))))
    return v3_document(shape, dtype, fill, regular(shard), [draw(sharding(middle, [first]))])


@st.composite
def transposed_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """A transpose before the elements or before shards, also twice."""
    rank = len(shape)
    first = draw(transposes(rank)) if rank else []
    if draw(st.integers(0, 3)) == 0:
        first += draw(transposes(rank)) if rank else []
    if draw(st.booleans()):
        codecs = [*first, {"name": "bytes", "configuration": {"endian": "little"}}, *draw(compressors())]
        return v3_document(shape, dtype, fill, regular(chunk), codecs)
    inner = tuple(min(n, 2) for n in chunk)
    shard = tuple(n * draw(st.integers(1, 3)) for n in inner)
    for codec in first:
        inner = tuple(inner[axis] for axis in codec["configuration"]["order"])
    chain = draw(chains(rank))
    if draw(st.integers(0, 3)) == 0:
        chain = [*(draw(transposes(rank)) if rank else []), draw(sharding((1,) * rank, chain))]
    return v3_document(shape, dtype, fill, regular(shard), [*first, draw(sharding(inner, chain))])


@st.composite
def rectilinear_documents(draw: st.DrawFn, shape: Any, dtype: Any, fill: int, chunk: Any) -> dict[str, Any]:
    """Chunks of different lengths, also of shards, also beyond the array's end."""
    step = 2 if draw(st.integers(0, 3)) == 0 else 1  # shards of inner chunks of length 2, or no shards
    axes = [draw(edges(length, size, step)) for length, size in zip(shape, chunk, strict=True)]
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": axes}}
    codecs = draw(chains(len(shape)))
    if step == 2:
        codecs = [draw(sharding([2] * len(shape), codecs))]
    return v3_document(shape, dtype, fill, grid, codecs)


@st.composite
def edges(draw: st.DrawFn, length: int, size: int, step: int) -> Any:
    """The edges along one dimension: one length, or lengths and runs of lengths that cover it."""
    if draw(st.integers(0, 4)) == 0:
        return size * step
    found: list[Any] = []
    covered = 0
    while covered < length or not found:
        size, count = draw(st.integers(1, 4)) * step, draw(st.sampled_from([None, 1, 2]))
        found.append(size if count is None else [size, count])
        covered += size * (count or 1)
    return [*found, *draw(st.sampled_from([[], [], [step]]))]


DOCUMENTS: dict[str, Callable[..., st.SearchStrategy[dict[str, Any]]]] = {
    "v2": v2_documents,
    "v3": v3_documents,
    "sharded": sharded_documents,
    "nested": nested_documents,
    "transposed": transposed_documents,
    "rectilinear": rectilinear_documents,
}


class RemoteStore(ForwardingStore):
    """A store as remote ones are: many requests at once are cheaper, and nothing tells the version of an object."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.concurrent = True

    get_ranges = Store.get_ranges


@contextmanager
def stored(case: Case, *, write: bool = True) -> Iterator[xz.Array]:
    """Give the array of ``case``, stored and open for writing; without ``write`` nothing but its document is there."""
    with tempfile.TemporaryDirectory() as folder, place(case.store, Path(folder)) as store:
        store.set(f"a/{case.key}", format_json(case.document))
        array = xz.open_array(store, "a", mode="r+")
        if write:
            array[...] = case.values
        yield array


@contextmanager
def place(kind: str, folder: Path) -> Iterator[Store]:
    """Give an empty store of ``kind``."""
    if kind == "memory":
        yield MemoryStore()
    elif kind == "remote":
        yield RemoteStore(MemoryStore())
    elif kind == "mapping":
        yield open_store({}, mode="a")
    else:
        with open_store(folder / ("a.zip" if kind == "zip" else "a"), mode="a") as store:
            yield store


# --- selections ----------------------------------------------------------------------------------------------------


def integers(length: int) -> st.SearchStrategy[Any]:
    """An index of a dimension, negative ones and those of NumPy too."""
    numbers = st.integers(-length, length - 1)
    return numbers | numbers.map(np.int32)


def slices(length: int) -> st.SearchStrategy[slice]:
    """A slice of any step, out of bounds too."""
    bound = st.none() | st.integers(-length - 2, length + 2)
    return st.builds(slice, bound, bound, st.none() | st.sampled_from([1, 2, 3, 7, -1, -2, -5]))


def indices(length: int, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """An index array of ``shape``, with repeated and negative indices."""
    count = int(np.prod(shape, dtype=int)) if length else 0
    numbers = st.lists(st.integers(-length, max(length - 1, -length)), min_size=count, max_size=count)
    return numbers.map(lambda found: np.array(found, "i8").reshape(shape if length else (0,) * max(len(shape), 1)))


def masks(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """A boolean array of ``shape``."""
    count = int(np.prod(shape, dtype=int))
    return st.integers(0, 2**count - 1).map(
        lambda bits: np.array([bits >> i & 1 for i in range(count)], bool).reshape(shape)
    )


@st.composite
def basic_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """What stands in ``a[...]``: integers, slices, ellipsis, newaxis, and index arrays and masks mixed with them."""
    together = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
    items: list[Any] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        kinds = [slices(length), slices(length)]
        if length:
            kinds += [integers(length), indices(length, _alone(draw, together))]
        items.append(draw(st.one_of(kinds)))
    at = draw(st.integers(0, len(items)))
    if draw(st.booleans()):
        _shift_behind_ellipsis(items, at, shape, draw)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        items.insert(draw(st.integers(0, len(items))), None)
    if len(items) == 1 and draw(st.booleans()):
        return items[0]
    return tuple(items)


def _alone(draw: st.DrawFn, together: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape that broadcasts with ``together``."""
    return tuple(draw(st.sampled_from([1, n])) for n in together[draw(st.integers(0, len(together))) :])


def _shift_behind_ellipsis(items: list[Any], at: int, shape: tuple[int, ...], draw: st.DrawFn) -> None:
    """Put an ellipsis at ``at``; what stands behind it then belongs to the last dimensions, so it is drawn anew."""
    behind = len(items) - at
    del items[at:]
    items.append(Ellipsis)
    for length in shape[len(shape) - behind :] if behind else ():
        items.append(draw(integers(length) | slices(length) if length else slices(length)))


@st.composite
def outer_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """What stands in ``a.oindex[...]``: one item per dimension."""
    items = []
    for length in shape:
        kinds = [slices(length), masks((length,)), st.integers(0, 6).flatmap(lambda n, at=length: indices(at, (n,)))]
        items.append(draw(st.one_of([*kinds, integers(length)] if length else kinds)))
    return tuple(items)


@st.composite
def points_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """What stands in ``a.vindex[...]``: index arrays that broadcast, mixed with slices."""
    together = draw(st.lists(st.integers(0, 4), max_size=2).map(tuple))
    items = []
    for length in shape:
        kinds: list[Any] = [slices(length)]
        if length:
            kinds += [indices(length, together), indices(length, _alone(draw, together)), integers(length)]
        items.append(draw(st.one_of(kinds)))
    return tuple(items)


@st.composite
def mask_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """A mask of some neighbouring dimensions, between slices."""
    first = draw(st.integers(0, max(len(shape) - 1, 0)))
    last = draw(st.integers(min(first + 1, len(shape)), len(shape)))
    if first == last:
        return slice(None) if shape else Ellipsis
    before = [draw(slices(length)) for length in shape[:first]]
    if first and draw(st.booleans()):
        before = [Ellipsis]
        last = len(shape)
    return (*before, draw(masks(shape[first:last])), *(draw(slices(length)) for length in shape[last:]))


@st.composite
def blocks_keys(draw: st.DrawFn, counts: tuple[int, ...]) -> Any:
    """What stands in ``a.blocks[...]``: integers and slices that count chunks."""
    items: list[Any] = []
    for count in counts[: draw(st.integers(0, len(counts)))]:
        bound = st.none() | st.integers(-count - 1, count + 1)
        items.append(draw(st.builds(slice, bound, bound) | integers(count) if count else st.just(slice(None))))
    return tuple(items) if items else Ellipsis


KEYS = {"basic": basic_keys, "outer": outer_keys, "points": points_keys, "mask": mask_keys}


def keys_for(selection: str, array: xz.Array) -> st.SearchStrategy[Any]:
    """Keys of a kind of ``selection`` for ``array``."""
    if selection == "blocks":
        return blocks_keys(array.chunk_grid.counts)
    return KEYS[selection](array.shape)


# --- what NumPy says -------------------------------------------------------------------------------------------------


def view_for(selection: str, array: xz.Array) -> Any:
    """Return what is indexed with keys of ``selection``."""
    return {"basic": array, "mask": array, "outer": array.oindex, "points": array.vindex, "blocks": array.blocks}[
        selection
    ]


def places(selection: str, array: xz.Array, key: Any) -> Any:
    """Return, for each element of the result, its number in C order of the array: selecting from these is NumPy's."""
    numbers = np.arange(array.size).reshape(array.shape)
    if selection == "outer":
        return _outer(numbers, key)
    if selection == "points":
        return _points(numbers, key)
    if selection == "blocks":
        return numbers[_block_slices(array, key)]
    return numbers[key]


def _outer(numbers: Any, key: Any) -> Any:
    axis = 0
    for item in key:
        numbers = numbers[(slice(None),) * axis + (item,)]
        axis += np.ndim(item) if not isinstance(item, slice) else 1
    return numbers


def _points(numbers: Any, key: Any) -> Any:
    """Sliced dimensions stand last; NumPy does so, too, when it is asked for the points with those dimensions whole."""
    advanced = [axis for axis, item in enumerate(key) if not isinstance(item, slice)]
    sliced = numbers[tuple(item if isinstance(item, slice) else slice(None) for item in key)]
    front = np.moveaxis(sliced, advanced, range(len(advanced)))
    return front[tuple(np.asarray(key[axis]) for axis in advanced)] if advanced else front


def _block_slices(array: xz.Array, key: Any) -> tuple[slice, ...]:
    """The elements that chunks of a key cover, from the lengths of the chunks that the array reports."""
    items = () if key is Ellipsis else key
    found = []
    for axis, item in enumerate(items):
        sizes, length = array.chunks[axis], array.shape[axis]
        bounds = (
            list(range(0, length, sizes)) if isinstance(sizes, int) else [0, *np.cumsum(sizes).tolist()][: len(sizes)]
        )
        starts = [*bounds, length]
        count = len(bounds)
        chosen = range(count)[item] if isinstance(item, slice) else range(count)[int(item) :][:1]
        if not isinstance(item, slice) and item < 0:
            chosen = range(count + int(item), count + int(item) + 1)
        found.append(slice(starts[chosen[0]], starts[chosen[-1] + 1]) if chosen else slice(0, 0))
    return tuple(found)
