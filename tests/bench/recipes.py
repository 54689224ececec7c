"""What is stored: one `Recipe` per array, in words that every system's adapter translates, and the table of stores.

Imports scale and NumPy. Invariant: a recipe says everything about the bytes of a store, so that all systems write the
same format and the same chunks, and a bound can decode them without a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .scale import Scale


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an array is stored; ``chunks`` are the inner chunks where there are ``shards``."""

    shape: tuple[int, ...]
    dtype: str  # a NumPy dtype without byte order, or "string"
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    codec: str | None = None  # zstd, blosc, zlib (v2) or gzip (v3); None: raw bytes
    zarr_format: int = 3
    order: str = "C"
    endian: str = "little"
    fill: Any = 0
    names: tuple[str, ...] | None = None

    @property
    def compressor(self) -> dict[str, Any] | None:
        """The compressor as metadata of the format spell it."""
        if self.codec is None:
            return None
        configuration = dict(CODECS[self.codec])
        if self.zarr_format == 2:
            if self.codec == "blosc":
                configuration["shuffle"] = 1
            return {"id": self.codec, **configuration}
        if self.codec == "zstd":
            configuration["checksum"] = False
        if self.codec == "blosc":
            configuration["typesize"] = np.dtype(self.dtype).itemsize
        return {"name": self.codec, "configuration": configuration}

    @property
    def stored_nbytes(self) -> int:
        """The bytes of one decoded chunk (an inner chunk where there are shards)."""
        return int(np.prod(self.chunks)) * np.dtype(self.dtype).itemsize


CODECS: dict[str, dict[str, Any]] = {
    "zstd": {"level": 0},
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "blocksize": 0},
    "zlib": {"level": 1},
    "gzip": {"level": 1},
}


def cube(scale: Scale) -> np.ndarray:
    """Smooth uint16 values: random walks along the last axis, as gridded measurements look to a codec."""
    n, rng = scale.edge, np.random.default_rng(0)
    out = np.empty((n, n, n), "u2")
    for plane in out:
        steps = rng.integers(-3, 4, size=(n, n), dtype=np.int16)
        plane[...] = (np.cumsum(steps, axis=1, dtype=np.int32) + 1000).astype("u2")
    return out


def slab(scale: Scale) -> np.ndarray:
    """The first layer of chunks of the cube: what region writes change."""
    return cube(scale)[: scale.chunk]


def sheet(scale: Scale) -> np.ndarray:
    """Normal float32 values with two decimals."""
    return np.random.default_rng(1).normal(size=(scale.sheet, scale.sheet)).astype("f4").round(2)


def strings(scale: Scale) -> np.ndarray:
    """Short strings of several lengths, some beyond ASCII."""
    return np.array([f"station {'ü' * (k % 4)}{k * 7919 % 100_003}" for k in range(scale.strings)], dtype=object)


Values = Callable[[Scale], np.ndarray]
Stored = tuple[Values | None, Recipe]  # no values: metadata alone, every chunk is missing


def _cubes(scale: Scale) -> dict[str, Stored]:
    shape, chunks, inner = (scale.edge,) * 3, (scale.chunk,) * 3, (scale.inner,) * 3

    def stored(codec: str | None = None, **more: Any) -> Stored:
        return cube, Recipe(shape, "u2", codec=codec, **{"chunks": chunks, **more})

    return {
        "plain": stored(),
        "zstd": stored("zstd"),
        "blosc": stored("blosc"),
        "gzip": stored("gzip"),
        "shard": stored("zstd", chunks=inner, shards=chunks),
        "shard_blosc": stored("blosc", chunks=inner, shards=chunks),
        "plain2": stored(zarr_format=2),
        "zstd2": stored("zstd", zarr_format=2),
        "blosc2": stored("blosc", zarr_format=2),
        "zlib2": stored("zlib", zarr_format=2),
        "big": stored("zstd", endian="big"),
        "big2": stored("zstd", endian="big", zarr_format=2),
        "fortran": stored("zstd", order="F"),
        "fortran2": stored("zstd", order="F", zarr_format=2),
    }


def _slabs(scale: Scale) -> dict[str, Stored]:
    shape, chunks = (scale.chunk, scale.edge, scale.edge), (scale.chunk,) * 3
    return {
        "slab": (slab, Recipe(shape, "u2", chunks, codec="zstd")),
        "slab_shard": (slab, Recipe(shape, "u2", (scale.inner,) * 3, chunks, codec="zstd")),
    }


def _small(scale: Scale) -> dict[str, Stored]:
    def stored(codec: str, **more: Any) -> Stored:
        return sheet, Recipe((scale.sheet,) * 2, "f4", (64, 64), codec=codec, **more)

    return {
        "small": stored("blosc"),
        "small_zstd": stored("zstd"),
        "small_shard": stored("blosc", shards=(512, 512)),
    }


def _strings(scale: Scale) -> dict[str, Stored]:
    chunks = (max(scale.strings // 20, 1),)
    return {
        "strings": (strings, Recipe((scale.strings,), "string", chunks, codec="zstd", fill="")),
        "strings2": (strings, Recipe((scale.strings,), "string", chunks, codec="zstd", zarr_format=2, fill="")),
    }


def _many_chunks(scale: Scale) -> dict[str, Stored]:
    side, wide = scale.side, round(scale.side**1.5)

    def stored(chunks: tuple[int, ...], grid: tuple[int, ...]) -> Stored:
        shape = tuple(c * n for c, n in zip(chunks, grid, strict=True))
        return None, Recipe(shape, "f4", chunks, fill=1.0, names=("a", "b", "c")[: len(grid)])

    return {
        "million_1d": stored((100,), (side**3,)),
        "million_2d": stored((100, 10), (wide, wide)),
        "million_3d": stored((10, 10, 10), (side, side, side)),
        "tenth_2d": stored((100, 10), (wide // 10 or 1, wide)),  # a tenth of the chunks: 100,000
    }


def stores(scale: Scale) -> dict[str, Stored]:
    """Return the arrays that are prepared: name -> (values, recipe)."""
    return {**_cubes(scale), **_slabs(scale), **_small(scale), **_strings(scale), **_many_chunks(scale)}
