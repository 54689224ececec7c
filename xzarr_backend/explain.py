"""What reading a selection would fetch: which stored objects, which ranges of them, how many bytes.

Imports array for types only, plan, shard_fetching (its rules) and the rows below. Invariant: nothing is asked of the
store but sizes and the indexes of shards; no chunk is fetched or decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from .chunk_reading import chunk_error
from .codecs.sharding import ABSENT, Index
from .display_text import bytes_text, plain, shape_text
from .errors import SelectionError
from .layout import Layout, Shards
from .plan import Part, permute, plan, within
from .selection import Selection, check_fields, parse_basic, split_fields
from .shard_fetching import WHOLE_SHARE
from .stores.base import ByteRange

if TYPE_CHECKING:
    from .array import Array

LIMIT = 1000  # objects that are looked up in the store; the others are only counted
REMOTE_LIMIT = 100  # where each look takes as long as a fetch
_SHOWN = 20  # objects that the text lists


class TouchedObject(NamedTuple):
    """One stored object (a chunk or a shard) that the selection needs.

    ``stored_nbytes``: its size, None when it is not stored and reads as the fill value. ``ranges``: the
    (start, length) pairs that are fetched, the index of a shard included; one range of the whole object where it is
    fetched whole. ``inner``: (inner chunks needed, of them stored, all of the shard), None without shards.
    """

    key: str
    coords: tuple[int, ...]
    stored_nbytes: int | None
    ranges: tuple[tuple[int, int], ...]
    inner: tuple[int, int, int] | None = None

    @property
    def fetched_nbytes(self) -> int:
        """How many bytes of the object are needed."""
        return sum(length for _, length in self.ranges)


@dataclass(frozen=True)
class Explanation:
    """What reading a selection of an array would fetch. Prints as text; `as_dict` gives the same as plain data.

    ``shape``: that of the result. ``count``: the stored objects that the selection needs, of which ``objects``
    lists the first. ``result_nbytes``: the memory of the result; ``decoded_nbytes``: what the chunks or inner chunks of
    the listed objects decode to (pointers only, where elements vary in length).
    """

    where: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    result_nbytes: int
    decoded_nbytes: int
    sharded: bool
    objects: tuple[TouchedObject, ...]

    @property
    def complete(self) -> bool:
        """Whether every object was looked up in the store, so that the totals are those of the whole selection."""
        return len(self.objects) == self.count

    @property
    def stored(self) -> int:
        """How many of the listed objects are stored."""
        return sum(found.stored_nbytes is not None for found in self.objects)

    @property
    def fetched_nbytes(self) -> int:
        """How many bytes of the listed objects are needed; joining neighbouring ranges may fetch a little more."""
        return sum(found.fetched_nbytes for found in self.objects)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
        return {
            "array": self.where,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "objects_needed": self.count,
            "objects_listed": len(self.objects),
            "objects_stored": self.stored,
            "fetched_nbytes": self.fetched_nbytes,
            "decoded_nbytes": self.decoded_nbytes,
            "result_nbytes": self.result_nbytes,
            "objects": [_object_dict(found) for found in self.objects],
        }

    def __repr__(self) -> str:
        lines = [
            f"selection  {shape_text(self.shape)} {self.dtype}, {bytes_text(self.result_nbytes)} in memory",
            f"of         {self.where}",
            f"needs      {self._needs()}",
            f"fetches    {bytes_text(self.fetched_nbytes)}, which decode to {bytes_text(self.decoded_nbytes)}",
            *(f"  {_object_text(found)}" for found in self.objects[:_SHOWN]),
        ]
        more = self.count - min(len(self.objects), _SHOWN)
        return plain("\n".join([*lines, f"  ... and {more:,} more"] if more else lines), keep="\n")

    def _needs(self) -> str:
        kind = "shard" if self.sharded else "chunk"
        needed = f"{self.count:,} {kind}{'' if self.count == 1 else 's'}"
        if not self.complete:
            listed = f"the first {len(self.objects):,}, of which {self.stored:,} are stored"
            return f"{needed}; looked up and added up are {listed}"
        missing = self.count - self.stored
        return f"{needed}, {missing:,} of them not stored (fill value)" if missing else f"{needed}, all stored"


def _object_dict(found: TouchedObject) -> dict[str, Any]:
    plain_data: dict[str, Any] = {
        "key": found.key,
        "coords": list(found.coords),
        "stored_nbytes": found.stored_nbytes,
        "ranges": [list(pair) for pair in found.ranges],
        "fetched_nbytes": found.fetched_nbytes,
    }
    if found.inner is not None:
        plain_data["inner_chunks"] = dict(zip(("needed", "stored", "all"), found.inner, strict=True))
    return plain_data


def _object_text(found: TouchedObject) -> str:
    if found.stored_nbytes is None:
        return f"{found.key}: not stored"
    if found.inner is None:
        return f"{found.key}: {bytes_text(found.stored_nbytes)}"
    needed, stored, total = found.inner
    empty = f" ({needed - stored:,} of them empty)" if stored < needed else ""
    inner = f"{needed:,} of {total:,} inner chunks{empty}"
    if found.ranges == ((0, found.stored_nbytes),):
        return f"{found.key}: {inner}, all {bytes_text(found.stored_nbytes)} in one request"
    ranges = len(found.ranges) - 1
    fetched = f"index and {ranges:,} range{'' if ranges == 1 else 's'}"
    return f"{found.key}: {inner}, {fetched}, {found.fetched_nbytes:,} of {bytes_text(found.stored_nbytes)}"


def explain(array: Array, key: Any, limit: int | None = None) -> Explanation:
    """Return what ``array[key]`` would fetch; at most ``limit`` objects (1000, of remote stores 100) are looked up.

    Sizes cost one request per object, the index of a shard another. Raises `SelectionError` for a selection that does
    not fit, `ChunkError` for a wrong shard index.
    """
    if limit is None:
        limit = REMOTE_LIMIT if array.store.concurrent else LIMIT
    try:
        key, fields = split_fields(key)
        check_fields(fields, array.dtype)
        selection = parse_basic(key, array.shape)
        planned = plan(selection, array.layout.grid)
    except SelectionError as error:
        raise error.at(array.where)  # noqa: B904
    objects, decoded = [], 0
    for part in islice(planned.parts(opened=False), limit):
        found = _look_up(array, part, planned.points)
        objects.append(found)
        decoded += _decoded_nbytes(array.layout, part, found)
    return Explanation(
        where=array.where,
        shape=selection.result_shape,
        dtype=str(array.dtype),
        count=planned.nparts,
        result_nbytes=math.prod(selection.result_shape) * array.dtype.itemsize,
        decoded_nbytes=decoded,
        sharded=array.shards is not None,
        objects=tuple(objects),
    )


def _decoded_nbytes(layout: Layout, part: Part, found: TouchedObject) -> int:
    if found.stored_nbytes is None:
        return 0
    if found.inner is None or layout.shards is None:
        return math.prod(layout.grid.chunk_shape(part.coords)) * layout.dtype.itemsize
    return found.inner[1] * layout.shards.inner.chunk_nbytes


def _look_up(array: Array, part: Part, points: tuple[int, ...]) -> TouchedObject:
    layout = array.layout
    key = layout.key(part.coords)
    try:
        size = array.store.size(key)
    except Exception as error:
        raise chunk_error(error, array.compiled.source, part.coords, key, fetching=True) from error
    shards = layout.shards_for(layout.grid.chunk_shape(part.coords))
    if shards is None:
        return TouchedObject(key, part.coords, size, () if size is None else ((0, size),))
    rows, total = _needed(shards, within(part.inside, points))
    if size is None:
        return TouchedObject(key, part.coords, None, (), (len(rows), 0, total))
    return _look_into(array, shards, TouchedObject(key, part.coords, size, ((0, size),), (len(rows), 0, total)), rows)


def _needed(shards: Shards, selection: Selection) -> tuple[Sequence[int], int]:
    """Return the places of the inner chunks that ``selection`` needs in the index, and how many there are in all."""
    if shards.order is not None:
        selection, _ = permute(selection, shards.order)
    grid = shards.sharding.grid
    return plan(selection, grid).numbers(grid.counts), grid.nchunks


def _look_into(array: Array, shards: Shards, shard: TouchedObject, rows: Sequence[int]) -> TouchedObject:
    """Add to a stored ``shard`` what its index says of the inner chunks at ``rows``."""
    start, length = _index_range(shards, shard.stored_nbytes or 0)
    try:
        encoded = array.store.get(shard.key, ByteRange(start, length))
        if encoded is None:  # deleted a moment ago
            return shard._replace(stored_nbytes=None, ranges=())
        index: Index = shards.sharding.parse_index(encoded, shard.stored_nbytes)
    except Exception as error:
        raise chunk_error(error, array.compiled.source, shard.coords, shard.key) from error
    found = [(int(at), int(nbytes)) for at, nbytes in index[rows] if at != ABSENT]
    inner = (len(rows), len(found), len(index))
    if len(rows) >= WHOLE_SHARE * len(index):  # where the reader takes the shard with one request
        return shard._replace(inner=inner)
    return shard._replace(ranges=((start, length), *sorted(found)), inner=inner)


def _index_range(shards: Shards, size: int) -> tuple[int, int]:
    nbytes = shards.sharding.index_nbytes
    return (0, nbytes) if shards.sharding.index_at_start else (max(size - nbytes, 0), nbytes)
