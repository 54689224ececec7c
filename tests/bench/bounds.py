"""Bounds that no reader passes: every chunk decoded and nothing placed, bytes copied, xarray's own cost.

Imports case and datasets; codec libraries at their first use: for each codec and size the ones that
docs/adr/0001-codec-libraries.md found fastest. They read no metadata: the recipe of the prepared store says it all.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .case import BoundSetup, Case, Data
from .datasets import varied, wide
from .recipes import Recipe

THREADS = os.cpu_count() or 1
DOCUMENTS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
SMALL = 1 << 18  # bytes: up to here a reused zstd context beats decoding in place
MISSING = 2**64 - 1

Decode = Callable[[Any, np.ndarray], object]  # from bytes into scratch of the chunk's size


def chunk_files(path: str) -> list[str]:
    """Return the files of all stored objects of the array."""
    return sorted(str(file) for file in Path(path).rglob("*") if file.is_file() and file.name not in DOCUMENTS)


def on_threads(one: Callable[[Any], object], items: list[Any]) -> None:
    """Call ``one`` for every item, one batch per thread."""

    def batch(some: list[Any]) -> None:
        for item in some:
            one(item)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(batch, [items[k::THREADS] for k in range(THREADS)]))


def decoder(recipe: Recipe) -> Decode:
    """Return the fastest decoder at hand for one chunk of the recipe."""
    if recipe.codec is None:
        return lambda raw, out: np.copyto(out, np.frombuffer(raw, np.uint8))
    return {"zstd": _zstd, "blosc": _blosc, "zlib": _zlib, "gzip": _gzip}[recipe.codec](recipe.stored_nbytes)


def _zstd(nbytes: int) -> Decode:
    if nbytes <= SMALL:
        try:
            import zstandard
        except ImportError:
            pass
        else:
            contexts = threading.local()

            def reused(raw: Any, out: np.ndarray) -> object:
                if not hasattr(contexts, "context"):
                    contexts.context = zstandard.ZstdDecompressor()
                return contexts.context.decompress(raw)

            return reused
    from numcodecs.zstd import decompress

    return decompress


def _blosc(nbytes: int) -> Decode:
    from numcodecs import blosc

    blosc.use_threads = False  # the threads are ours
    return blosc.decompress


def _zlib(nbytes: int) -> Decode:
    try:
        import deflate
    except ImportError:
        return lambda raw, out: zlib.decompress(raw)
    return lambda raw, out: deflate.zlib_decompress(raw, nbytes)


def _gzip(nbytes: int) -> Decode:
    try:
        import deflate
    except ImportError:
        return lambda raw, out: zlib.decompress(raw, 31)
    return lambda raw, out: deflate.gzip_decompress(raw, nbytes)


def limit(name: str) -> BoundSetup:
    """Read every object and decode every chunk into scratch memory of the thread; place nothing."""

    def setup(data: Data) -> Case:
        recipe, files = data.recipe(name), chunk_files(data.path(name))
        decode, scratch = decoder(recipe), threading.local()
        pieces = _inner_chunks(recipe)

        def one(file: str) -> None:
            if not hasattr(scratch, "out"):
                scratch.out = np.empty(recipe.stored_nbytes, np.uint8)
            for piece in pieces(_content(file)):
                decode(piece, scratch.out)

        one(files[0])
        return Case(lambda: on_threads(one, files), check=lambda _: None)

    return setup


def _content(file: str) -> bytes:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _inner_chunks(recipe: Recipe) -> Callable[[bytes], list[Any]]:
    """Return what cuts an object into the bytes of its chunks (a shard's index stands at its end, with a crc32c)."""
    if recipe.shards is None:
        return lambda raw: [raw]
    count = int(np.prod(recipe.shards)) // int(np.prod(recipe.chunks))

    def cut(raw: bytes) -> list[Any]:
        index, view = np.frombuffer(raw[-16 * count - 4 : -4], "<u8").reshape(-1, 2), memoryview(raw)
        return [view[start : start + size] for start, size in index.tolist() if start != MISSING]

    return cut


def copy(name: str) -> BoundSetup:
    """Read raw objects slab by slab and copy them into a fresh result, one object behind the other."""

    def setup(data: Data) -> Case:
        files, recipe = chunk_files(data.path(name)), data.recipe(name)
        nbytes, scratch = recipe.stored_nbytes, threading.local()

        def call() -> np.ndarray:
            result = np.empty(nbytes * len(files), np.uint8)

            def one(place: tuple[int, str]) -> None:
                if not hasattr(scratch, "slab"):
                    scratch.slab = np.empty(1 << 19, np.uint8)  # stays in the second cache
                _copy_file(place[1], scratch.slab, result[place[0] * nbytes :][:nbytes])

            on_threads(one, list(enumerate(files)))
            return result

        return Case(call, check=lambda _: None)

    return setup


def _copy_file(file: str, slab: np.ndarray, out: np.ndarray) -> None:
    descriptor, start = os.open(file, os.O_RDONLY), 0
    try:
        while start < out.nbytes and (got := os.readv(descriptor, [slab])):
            out[start : start + got] = slab[:got]
            start += got
    finally:
        os.close(descriptor)


def xarray_floor(make: Callable[[int], Any]) -> BoundSetup:
    """What xarray itself needs to open the data variables of a dataset, lazily and in memory."""

    def setup(data: Data) -> Case:
        import xarray as xr
        from xarray.backends import BackendArray, BackendEntrypoint
        from xarray.core import indexing

        class Lazy(BackendArray):
            def __init__(self, values: np.ndarray) -> None:
                self.values, self.shape, self.dtype = values, values.shape, values.dtype

            def __getitem__(self, key: Any) -> Any:
                support = indexing.IndexingSupport.OUTER
                return indexing.explicit_indexing_adapter(key, self.shape, support, self.values.__getitem__)

        def stored(variable: Any) -> Any:
            mask = {"_FillValue": np.nan} if variable.dtype.kind in "fc" else {}  # as it is written
            lazy = indexing.LazilyIndexedArray(Lazy(variable.values))
            return xr.Variable(variable.dims, lazy, {**variable.attrs, **mask})

        known = {
            count: {name: array.variable for name, array in make(count).data_vars.items()}
            for count in (1, data.scale.variables)
        }

        class Entrypoint(BackendEntrypoint):
            def open_dataset(self, filename_or_obj: Any, *, drop_variables: Any = None) -> Any:
                variables = {name: stored(variable) for name, variable in known[filename_or_obj].items()}
                variables, attributes, _names = xr.conventions.decode_cf_variables(variables, {})
                return xr.Dataset(variables, attrs=attributes)

        xr.open_dataset(1, engine=Entrypoint).close()  # another one, as the systems open before the clock starts
        return Case(lambda: len(xr.open_dataset(data.scale.variables, engine=Entrypoint)))

    return setup


LIMITED = ["plain", "zstd", "blosc", "gzip", "shard", "shard_blosc", "big", "fortran", "small", "small_zstd"]
LIMITED += ["small_shard", "plain2", "zstd2", "blosc2", "zlib2", "big2", "fortran2"]
BOUNDS: dict[str, BoundSetup] = {
    **{f"limit_{name}": limit(name) for name in LIMITED},
    "copy_plain": copy("plain"),
    "xr_floor_500": xarray_floor(wide),
    "xr_floor_varied": xarray_floor(varied),
}
