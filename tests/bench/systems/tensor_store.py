"""tensorstore, and xarray-tensorstore for datasets. Imports base; the libraries at their first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from .base import System


class TensorStore(System):
    """tensorstore; it need not wait for the disk, as no other system does. xarray-tensorstore reads without dask."""

    name = "tensorstore"
    modules = ("tensorstore",)
    cold = "import tensorstore"

    def open(self, path: str, *, write: bool = False) -> Any:
        import tensorstore as ts

        return ts.open(_spec(path), read=True, write=write, open=True).result()

    def read(self, array: Any, selection: Any) -> np.ndarray:
        return array[selection].read().result()

    def pick(self, array: Any, places: tuple[np.ndarray, ...]) -> np.ndarray:
        return array.vindex[places].read().result()

    def create(self, path: str, recipe: Recipe) -> Any:
        import tensorstore as ts

        v3 = recipe.zarr_format == 3
        spec = {
            "driver": "zarr3" if v3 else "zarr",
            "kvstore": _file(path),
            "metadata": _metadata_v3(recipe) if v3 else _metadata_v2(recipe),
        }
        return ts.open(spec, create=True, delete_existing=True).result()

    def write(self, array: Any, selection: Any, values: np.ndarray) -> None:
        array[selection].write(values).result()

    def append(self, array: Any, values: np.ndarray) -> Any:
        start = array.shape[0]
        stop = start + len(values)
        array = array.resize(exclusive_max=(stop, *array.shape[1:])).result()
        array[start:stop].write(values).result()
        return array

    def open_dataset(self, path: str, *, consolidated: bool | None = None, lazy: bool = False) -> Any:
        if lazy:
            raise self._gap("dask arrays of the stored chunks")
        return self._open_zarr(path, consolidated)

    def _open_zarr(self, path: str, consolidated: bool | None = None) -> Any:
        try:
            import xarray_tensorstore
        except ImportError:
            raise self._gap("xarray datasets without xarray-tensorstore") from None
        return xarray_tensorstore.open_zarr(path, consolidated=consolidated)

    def cold_array(self, path: str) -> str:
        return f"import tensorstore as ts; array = ts.open({_spec(path)!r}, read=True, open=True).result()"

    def cold_open(self, path: str) -> str:
        return f"import xarray_tensorstore; dataset = xarray_tensorstore.open_zarr({path!r})"


def _spec(path: str) -> dict[str, Any]:
    return {"driver": "zarr3" if (Path(path) / "zarr.json").exists() else "zarr", "kvstore": _file(path)}


def _file(path: str) -> dict[str, Any]:
    return {"driver": "file", "path": path, "file_io_sync": False}


def _metadata_v2(recipe: Recipe) -> dict[str, Any]:
    return {
        "shape": list(recipe.shape),
        "chunks": list(recipe.chunks),
        "dtype": ("<" if recipe.endian == "little" else ">") + recipe.dtype,
        "order": recipe.order,
        "compressor": recipe.compressor,
        "filters": None,
        "fill_value": recipe.fill,
    }


def _metadata_v3(recipe: Recipe) -> dict[str, Any]:
    codecs: list[Any] = [{"name": "bytes", "configuration": {"endian": recipe.endian}}]
    if recipe.order == "F":
        order = list(range(len(recipe.shape)))[::-1]
        codecs.insert(0, {"name": "transpose", "configuration": {"order": order}})
    if recipe.codec == "zstd":  # tensorstore knows no other member of its configuration
        codecs.append({"name": "zstd", "configuration": {"level": 0}})
    elif recipe.compressor:
        codecs.append(recipe.compressor)
    if recipe.shards:
        configuration = {"chunk_shape": list(recipe.chunks), "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
    chunk_shape = list(recipe.shards or recipe.chunks)
    return {
        "shape": list(recipe.shape),
        "data_type": np.dtype(recipe.dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "codecs": codecs,
        "fill_value": recipe.fill,
    }
