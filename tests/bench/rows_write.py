"""Rows that write: whole arrays, small blocks appended, regions, datasets.

Imports case; xarray at its first use. What was written is read back by another system, outside the clock.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case, Data, Row, Setup, checksum
from .datasets import NAMES, era, era_encoding
from .recipes import Recipe
from .systems import SYSTEMS, System

XARRAY = ("xarray", "dask.array")


def _scratch(system: System, data: Data) -> str:
    """Return a place for what the system writes, with nothing there."""
    path = data.folder / f"written_by_{system.name}.zarr"
    shutil.rmtree(path, ignore_errors=True)
    return str(path)


def _close(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path, ignore_errors=True)


def read_back(path: str, writer: System) -> int:
    """Return the checksum of the array as a system other than its writer reads it."""
    for name in ("tensorstore", "zarr_py", "ours"):
        if name != writer.name and SYSTEMS[name].installed():
            reader = SYSTEMS[name]
            break
    else:
        reader = writer
    array = reader.open(path)
    return checksum(reader.read(array, (slice(None),) * len(array.shape)))


def whole(name: str) -> Setup:
    """Write the cube in one call, as the prepared store of that name is stored."""

    def setup(system: System, data: Data) -> Case:
        values, recipe, path = data.values("cube"), data.recipe(name), _scratch(system, data)
        _warm(system, recipe, path)
        array = system.create(path, recipe)
        everything = (slice(None),) * values.ndim
        call = lambda: system.write(array, everything, values)  # noqa: E731
        return Case(call, lambda _: read_back(path, system), close=_close(path))

    return setup


def _warm(system: System, recipe: Recipe, path: str) -> None:
    """Write one object of ones, so that the codecs are loaded before the clock starts."""
    one = recipe.shards or recipe.chunks
    array = system.create(path, replace(recipe, shape=one))
    system.write(array, (slice(None),) * len(one), np.ones(one, recipe.dtype))
    shutil.rmtree(path)


def blocks(recipe: Recipe, rows: int, times: Callable[[Data], int]) -> Setup:
    """Append small blocks of ``rows`` along the first axis, one call each."""

    def setup(system: System, data: Data) -> Case:
        path = _scratch(system, data)
        _warm(system, recipe, path)
        array = system.create(path, recipe)
        rng, shape = np.random.default_rng(5), (rows, *recipe.shape[1:])
        values = [rng.integers(0, 999, size=shape).astype(recipe.dtype) for _ in range(times(data))]

        def call() -> None:
            growing = array
            for block in values:
                growing = system.append(growing, block)

        return Case(call, lambda _: read_back(path, system), close=_close(path))

    return setup


Cut = Callable[[Recipe], list[tuple[slice, ...]]]


def regions(name: str, cut: Cut) -> Setup:
    """Overwrite regions of a copy of the prepared store, one call each."""

    def setup(system: System, data: Data) -> Case:
        path, recipe = _scratch(system, data), data.recipe(name)
        _warm(system, recipe, path)
        shutil.copytree(data.path(name), path)
        array, selections = system.open(path, write=True), cut(recipe)
        source = np.random.default_rng(6).integers(0, 999, size=recipe.shards or recipe.chunks).astype(recipe.dtype)
        values = [np.resize(source, [s.stop - s.start for s in selection]) for selection in selections]

        def call() -> None:
            for selection, block in zip(selections, values, strict=True):
                system.write(array, selection, block)

        return Case(call, lambda _: read_back(path, system), close=_close(path))

    return setup


def objects(recipe: Recipe) -> list[tuple[slice, ...]]:
    """The region of every stored object: nothing must be read."""
    size = recipe.shards or recipe.chunks
    axes = [[slice(s, s + c) for s in range(0, n, c)] for n, c in zip(recipe.shape, size, strict=True)]
    return list(itertools.product(*axes))


def corners(recipe: Recipe) -> list[tuple[slice, ...]]:
    """The first inner chunk (or an eighth) of every stored object: the rest of the object stays."""
    edges = recipe.chunks if recipe.shards else [c // 2 for c in recipe.chunks]
    return [tuple(slice(s.start, s.start + e) for s, e in zip(one, edges, strict=True)) for one in objects(recipe)]


def layers(recipe: Recipe) -> list[tuple[slice, ...]]:
    """Four layers across all objects, each a quarter of an object thick."""
    depth = recipe.shape[0] // 4
    whole_axes = [slice(0, n) for n in recipe.shape[1:]]
    return [(slice(at, at + depth), *whole_axes) for at in range(0, recipe.shape[0], depth)]


def dataset(lazy: bool) -> Setup:
    """Store a dataset of four variables, out of memory or out of dask arrays on threads."""

    def setup(system: System, data: Data) -> Case:
        path, scale, source = _scratch(system, data), data.scale, era(data.scale)
        if lazy:
            source = source.chunk(dict(zip(("time", "lat", "lon"), scale.era_chunks, strict=True)))
        _save_first(system, path, source.isel(time=slice(2)))
        encoding = era_encoding(scale)
        call = lambda: system.save(source, path, mode="w", encoding=encoding)  # noqa: E731
        return Case(call, lambda _: _all_back(path, system), close=_close(path))

    return setup


def dataset_blocks(system: System, data: Data) -> Case:
    """Append to a dataset along time, a chunk's length of steps in each call."""
    path, source, step = _scratch(system, data), era(data.scale), data.scale.era_chunks[0]
    _save_first(system, path, source.isel(time=slice(2)))
    first, *rest = (source.isel(time=slice(at, at + step)) for at in range(0, data.scale.era[0], step))
    system.save(first, path, mode="w", encoding=era_encoding(data.scale))

    def call() -> None:
        for block in rest:
            system.save(block, path, append_dim="time")

    return Case(call, lambda _: _all_back(path, system), close=_close(path))


def _save_first(system: System, path: str, small: Any) -> None:
    """Save something small, so that libraries are loaded before the clock starts (or the gap shows)."""
    system.save(small, path, mode="w")
    shutil.rmtree(path)


def _all_back(path: str, writer: System) -> list[int]:
    return [read_back(str(Path(path) / name), writer) for name in (*NAMES, "lat")]


def _row(name: str, shows: str, setup: Setup, **more: Any) -> Row:
    return Row(name, "write", shows, setup, **more)


FIELD = Recipe((0, 256, 256), "f4", (8, 256, 256), codec="zstd")
SERIES = Recipe((0,), "i8", (10_000,), codec="zstd")
SHARDED = Recipe((0, 256, 256), "f4", (8, 64, 64), (8, 256, 256), codec="zstd")

ROWS = [
    _row("write_plain", "whole, raw", whole("plain")),
    _row("write_zstd", "whole, zstd", whole("zstd")),
    _row("write_blosc", "whole, blosc lz4", whole("blosc")),
    _row("write_zlib2", "whole, v2, zlib", whole("zlib2")),
    _row("write_gzip", "whole, gzip", whole("gzip")),
    _row("write_shard", "whole, shards of inner zstd chunks", whole("shard")),
    _row("append_field", "appends of one row, 8 rows to a chunk", blocks(FIELD, 1, lambda data: data.scale.blocks)),
    _row("append_series", "appends of 100 values of a series", blocks(SERIES, 100, lambda data: 4 * data.scale.blocks)),
    _row("append_shard", "appends of one row to shards", blocks(SHARDED, 1, lambda data: data.scale.blocks)),
    _row("region_chunks", "regions that are whole chunks", regions("slab", objects)),
    _row("region_parts", "regions of an eighth of a chunk", regions("slab", corners)),
    _row("region_layers", "regions across all chunks", regions("slab", layers)),
    _row("region_inner", "regions of an inner chunk in shards", regions("slab_shard", corners)),
    _row("xr_write", "xarray dataset from memory", dataset(lazy=False), uses=XARRAY),
    _row("xr_write_dask", "xarray dataset from dask on threads", dataset(lazy=True), uses=XARRAY),
    _row("xr_append", "xarray appends along time", dataset_blocks, uses=XARRAY),
]
