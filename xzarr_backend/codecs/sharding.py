"""Shards: many inner chunks in one object, found through an index.

Imports base, empty and pipeline. Invariant: an index entry is used only after it was checked against the size of its
shard, so a wrong index is an error and never another chunk's bytes. Source: Zarr v3, "Sharding codec" (ZEP 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..chunk_grids import ChunkGrid, regular_grid
from ..dtypes import as_dtype
from ..errors import ChunkError
from ..spec import JSON, Named
from .base import Buffer, BytesSpec, ChunkSpec, Codec, wrong_configuration
from .empty import is_empty
from .pipeline import Pipeline, compile_pipeline

SHARDING = "sharding_indexed"
ABSENT = 2**64 - 1  # offset and length of an inner chunk that is not stored
MAX_INDEX_BYTES = 2**30  # what the header of a stranger may make us allocate for one index

Index = npt.NDArray[np.uint64]  # (inner chunks, 2): offset and length in bytes, in C order of the inner chunks


class Sharding(NamedTuple):
    """What a ``sharding_indexed`` codec is for shards of one shape."""

    grid: ChunkGrid  # of the inner chunks within the shard
    chunk: ChunkSpec
    codecs: tuple[Named, ...]  # of the inner chunks
    index_pipeline: Pipeline
    index_nbytes: int
    index_at_start: bool

    def index_of(self, raw: Buffer) -> Index:
        """Return the index of a whole shard."""
        view = memoryview(raw).cast("B")
        if len(view) < self.index_nbytes:
            raise ChunkError(
                f"the shard has {len(view)} bytes, less than its index of {self.index_nbytes} bytes",
            )
        return self.parse_index(
            view[: self.index_nbytes] if self.index_at_start else view[-self.index_nbytes :], len(view)
        )

    def parse_index(self, encoded: Buffer, shard_nbytes: int | None = None) -> Index:
        """Decode and check an index; ``shard_nbytes`` is the size of the shard where it is known."""
        if memoryview(encoded).nbytes != self.index_nbytes:
            raise ChunkError(
                f"the shard index has {memoryview(encoded).nbytes} bytes instead of {self.index_nbytes}: "
                "the shard is cut short"
            )
        entries: Index = self.index_pipeline.decode(encoded).reshape(-1, 2).astype("u8", copy=False)
        self._check(entries, shard_nbytes)
        return entries

    def _check(self, entries: Index, shard_nbytes: int | None) -> None:
        offset, length = entries[:, 0], entries[:, 1]
        limit = 2**63 if shard_nbytes is None else shard_nbytes
        # as good as always (row ``chunks_shard``); the sum of two numbers below 2**63 does not overflow
        if entries.max() < limit and (offset + length).max() <= limit:
            return
        present = (offset != ABSENT) | (length != ABSENT)
        # two comparisons instead of offset + length, which can overflow
        bad = present & ((offset > limit) | (length > limit - np.minimum(offset, limit)))
        if bad.any():
            place = int(np.flatnonzero(bad)[0])
            raise ChunkError(
                f"index entry {place} points at bytes {offset[place]} to {int(offset[place]) + int(length[place])}, "
                f"outside the shard of {shard_nbytes} bytes"
            )


def parse_sharding(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Sharding:
    """Return the sharding for shards of ``spec``; raise `MetadataError`."""
    chunk_shape = _chunk_shape(configuration, spec.shape)
    grid = regular_grid(spec.shape, chunk_shape)
    location = configuration.get("index_location", "end")
    if location not in ("start", "end"):
        raise wrong_configuration(SHARDING, "index_location", f'must be "start" or "end", not {location!r}')
    index_nbytes = 16 * grid.nchunks
    if index_nbytes > MAX_INDEX_BYTES:
        raise wrong_configuration(
            SHARDING, "chunk_shape", f"makes {grid.nchunks} inner chunks in one shard: the index is too large"
        )
    index_spec = ChunkSpec((*grid.counts, 2), as_dtype("uint64"), np.uint64(ABSENT))
    inner_codecs, index_codecs = chains_of(configuration)
    index = compile_pipeline(index_codecs, index_spec)
    if index.encoded_size is None:
        raise wrong_configuration(SHARDING, "index_codecs", "must give an index of a fixed size")
    return Sharding(
        grid,
        ChunkSpec(chunk_shape, spec.dtype, spec.fill_value),
        inner_codecs,
        index,
        index.encoded_size,
        location == "start",
    )


DEFAULT_INDEX_CODECS = (Named("bytes", {"endian": "little"}), Named("crc32c", {}))


def _chunk_shape(configuration: Mapping[str, JSON], shape: tuple[int, ...]) -> tuple[int, ...]:
    given = configuration.get("chunk_shape")
    if (
        not isinstance(given, list | tuple)
        or len(given) != len(shape)
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in given)
    ):
        raise wrong_configuration(SHARDING, "chunk_shape", f"needs {len(shape)} positive sizes, not {given!r:.80}")
    if any(outer % inner for outer, inner in zip(shape, given, strict=True)):
        error = wrong_configuration(
            SHARDING, "chunk_shape", f"inner chunks {tuple(given)} do not divide the shard {shape}"
        )
        error.hint = 'ExZarr counts chunks per shard there; if it wrote the store, open it with quirks="exzarr"'
        raise error
    return tuple(given)


def chains_of(configuration: Mapping[str, JSON]) -> tuple[tuple[Named, ...], tuple[Named, ...]]:
    """Return the codecs of the inner chunks, and those of the index."""
    return (
        parse_chain(SHARDING, configuration, "codecs", ()),
        parse_chain(SHARDING, configuration, "index_codecs", DEFAULT_INDEX_CODECS),
    )


def parse_chain(
    owner: str, configuration: Mapping[str, JSON], member: str, default: Sequence[Named]
) -> tuple[Named, ...]:
    """Return the codec chain stored under ``member`` of the configuration of the codec ``owner``."""
    given = configuration.get(member)
    if given is None:
        return tuple(default)
    if not isinstance(given, list | tuple):
        raise wrong_configuration(owner, member, f"must be a list of codecs, not {given!r:.80}")
    return tuple(_named(owner, codec, member) for codec in given)


def _named(owner: str, codec: JSON, member: str) -> Named:
    found = codec if isinstance(codec, Named) else Named.parse(codec)
    if found is not None:
        return found
    raise wrong_configuration(owner, member, f"holds {codec!r:.80}, which is not a codec")


def sharding_indexed(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build the codec that decodes and encodes whole shards (readers of parts use `Sharding` directly)."""
    sharding = parse_sharding(configuration, spec)
    inner = compile_pipeline(sharding.codecs, sharding.chunk)
    shape, dtype, fill = spec.shape, spec.dtype.numpy, spec.fill_value

    def places() -> Iterator[tuple[int, ...]]:
        return product(*(range(n) for n in sharding.grid.counts))

    def decode(raw: Buffer) -> Any:
        view = memoryview(raw).cast("B")
        out = np.full(shape, fill, dtype)
        for coords, (offset, length) in zip(places(), sharding.index_of(raw).tolist(), strict=True):
            if offset != ABSENT:
                out[sharding.grid.chunk_of(coords)] = inner.decode(view[offset : offset + length])
        return out

    def encode(array: Any) -> bytes:
        chunks = (array[*sharding.grid.chunk_of(coords), ...] for coords in places())  # of rank 0, too, an array
        stored = {at: inner.encode(chunk) for at, chunk in enumerate(chunks) if not is_empty(chunk, fill)}
        return b"".join(shard_parts(sharding, stored))

    return Codec(encode, decode, BytesSpec(None, spec.dtype.itemsize or 1))


def shard_parts(
    sharding: Sharding, changes: Mapping[int, Buffer | None], old: tuple[memoryview, Index] | None = None
) -> list[Buffer]:
    """Return what, joined, is a shard: a part for its index, and others where it holds inner chunks.

    ``changes``: encoded inner chunks by their number in C order of the grid, None for those that are not to be stored.
    The others are taken from the bytes and the index of the ``old`` shard, neighbours as one part (row
    ``region_inner`` of the benchmark), and come first; bytes that no entry of the index points at are left out.
    """
    index = np.full((sharding.grid.nchunks, 2), ABSENT, "u8")
    at = sharding.index_nbytes if sharding.index_at_start else 0
    parts: list[Buffer] = []
    if old is not None:
        data, entries = old
        kept = entries[:, 0] != ABSENT
        kept[list(changes)] = False
        parts, at = _keep(data, entries, kept.nonzero()[0], index, at)
    for number, chunk in sorted(changes.items()):
        if chunk is not None:
            nbytes = memoryview(chunk).nbytes
            index[number] = at, nbytes
            parts.append(chunk)
            at += nbytes
    encoded = sharding.index_pipeline.encode(index.reshape(*sharding.grid.counts, 2))
    return [encoded, *parts] if sharding.index_at_start else [*parts, encoded]


def _keep(
    data: memoryview, entries: Index, numbers: npt.NDArray[np.int64], index: Index, at: int
) -> tuple[list[Buffer], int]:
    """Note in ``index`` where the inner chunks of ``numbers`` lie from ``at`` on; return their bytes, and the end."""
    if not len(numbers):
        return [], at
    numbers = numbers[entries[numbers, 0].argsort(kind="stable")]
    start, nbytes = entries[numbers].view(np.int64).T  # checked to lie within the shard
    stop, moved = start + nbytes, at + nbytes.cumsum()
    index[numbers, 0] = moved - nbytes  # one behind the other, without the gaps
    index[numbers, 1] = nbytes
    gaps = (start[1:] != stop[:-1]).nonzero()[0]
    first, last = [0, *(gaps + 1).tolist()], [*gaps.tolist(), len(numbers) - 1]
    parts: list[Buffer] = [data[i:j] for i, j in zip(start[first].tolist(), stop[last].tolist(), strict=True)]
    return parts, int(moved[-1])
