"""Rows that read arrays: whole, by chunks, by inner chunks, by elements, columns and planes.

Imports case. Each function takes the name of a prepared store and returns the set-up of a row.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .case import Case, Data, Row, Setup, checksum
from .systems import System


def _opened(system: System, data: Data, name: str) -> Any:
    """Open the array and read a corner of it, so that the codecs are loaded before the clock starts."""
    array = system.open(data.path(name))
    system.read(array, (slice(8),) * len(data.recipe(name).shape))
    return array


def whole(name: str) -> Setup:
    """Read everything in one call."""

    def setup(system: System, data: Data) -> Case:
        array, everything = _opened(system, data, name), (slice(None),) * len(data.recipe(name).shape)
        return Case(lambda: system.read(array, everything), checksum)

    return setup


def pieces(name: str, inner: bool = False) -> Setup:
    """Read the cube chunk by chunk (shard by shard), or by inner chunks, one call each."""

    def setup(system: System, data: Data) -> Case:
        array, size = _opened(system, data, name), data.scale.inner if inner else data.scale.chunk
        cuts = [slice(start, start + size) for start in range(0, data.scale.edge, size)]

        def call() -> int:
            total = 0
            for selection in itertools.product(cuts, repeat=3):
                total += int(system.read(array, selection)[0, 0, 0])
            return total

        return Case(call)

    return setup


def points(name: str) -> Setup:
    """Read single elements at random places, one call each."""

    def setup(system: System, data: Data) -> Case:
        array, shape = _opened(system, data, name), data.recipe(name).shape
        places = np.random.default_rng(3).integers(0, shape, size=(data.scale.points, len(shape))).tolist()
        selections = [tuple(slice(at, at + 1) for at in place) for place in places]

        def call() -> float:
            return sum(float(system.read(array, selection).item()) for selection in selections)

        return Case(call)

    return setup


def picks(name: str) -> Setup:
    """Read the same number of elements at random places in one call."""

    def setup(system: System, data: Data) -> Case:
        array, shape = _opened(system, data, name), data.recipe(name).shape
        rng = np.random.default_rng(3)
        places = tuple(rng.integers(0, length, size=data.scale.points) for length in shape)
        return Case(lambda: system.pick(array, places), checksum)

    return setup


def columns(name: str) -> Setup:
    """Read thin columns along the first axis, one call each."""

    def setup(system: System, data: Data) -> Case:
        array, edge = _opened(system, data, name), data.scale.edge

        def call() -> int:
            starts = range(0, edge, edge // 32)
            return sum(int(system.read(array, np.s_[:, at : at + 1, 1:2]).sum()) for at in starts)

        return Case(call)

    return setup


def planes(name: str, axis: int) -> Setup:
    """Read planes across ``axis``, one call each."""

    def setup(system: System, data: Data) -> Case:
        array, edge = _opened(system, data, name), data.scale.edge

        def call() -> int:
            total = 0
            for at in range(edge // 16, edge, edge // 8):
                selection = [slice(None)] * 3
                selection[axis] = slice(at, at + 1)
                total += int(system.read(array, tuple(selection)).sum())
            return total

        return Case(call)

    return setup


def _row(name: str, shows: str, setup: Setup, *bounds: str) -> Row:
    return Row(name, "read", shows, setup, bounds)


ROWS = [
    _row("all_plain", "whole, raw chunks", whole("plain"), "limit_plain", "copy_plain"),
    _row("all_zstd", "whole, zstd", whole("zstd"), "limit_zstd"),
    _row("all_blosc", "whole, blosc lz4", whole("blosc"), "limit_blosc"),
    _row("all_gzip", "whole, gzip", whole("gzip"), "limit_gzip"),
    _row("all_shard", "whole, shards of 4096 inner zstd chunks", whole("shard"), "limit_shard"),
    _row("all_shard_blosc", "whole, shards of 4096 inner blosc chunks", whole("shard_blosc"), "limit_shard_blosc"),
    _row("all_plain2", "whole, v2, raw chunks", whole("plain2"), "limit_plain2"),
    _row("all_zstd2", "whole, v2, zstd", whole("zstd2"), "limit_zstd2"),
    _row("all_blosc2", "whole, v2, blosc lz4", whole("blosc2"), "limit_blosc2"),
    _row("all_zlib2", "whole, v2, zlib", whole("zlib2"), "limit_zlib2"),
    _row("all_big", "whole, big endian, zstd", whole("big"), "limit_big"),
    _row("all_big2", "whole, v2, big endian, zstd", whole("big2"), "limit_big2"),
    _row("all_fortran", "whole, transposed, zstd", whole("fortran"), "limit_fortran"),
    _row("all_fortran2", "whole, v2, order F, zstd", whole("fortran2"), "limit_fortran2"),
    _row("strings", "whole, variable-length strings", whole("strings")),
    _row("strings2", "whole, v2, variable-length strings", whole("strings2")),
    _row("chunks_plain", "chunk by chunk, raw", pieces("plain")),
    _row("chunks_zstd", "chunk by chunk, zstd", pieces("zstd")),
    _row("chunks_blosc2", "chunk by chunk, v2, blosc", pieces("blosc2")),
    _row("chunks_shard", "shard by shard", pieces("shard")),
    _row("subchunks_shard", "inner chunk by inner chunk", pieces("shard", inner=True)),
    _row("small_all", "whole, 4096 chunks of 16 KiB", whole("small"), "limit_small"),
    _row("small_zstd", "whole, 4096 zstd chunks of 16 KiB", whole("small_zstd"), "limit_small_zstd"),
    _row("small_shard", "whole, shards of 64 blosc chunks of 16 KiB", whole("small_shard"), "limit_small_shard"),
    _row("small_points", "single elements of small chunks", points("small")),
    _row("points_shard", "single elements through shards", points("shard")),
    _row("pick_small", "elements of small chunks, in one call", picks("small")),
    _row("pick_shard", "elements through shards, in one call", picks("shard")),
    _row("column_plain", "columns through raw chunks", columns("plain")),
    _row("column_shard", "columns through shards", columns("shard")),
    _row("plane_zstd", "planes through zstd chunks", planes("zstd", 0)),
    _row("plane_shard", "planes through shards", planes("shard", 0)),
    _row("plane_shard_last", "planes across the last axis of shards", planes("shard", 2)),
]
