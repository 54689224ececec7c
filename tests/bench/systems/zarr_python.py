"""zarr-python, with its own codec pipeline and with that of zarrs. Imports base; zarr at its first use."""

from __future__ import annotations

import os
from typing import Any

from ..recipes import Recipe
from .base import System


class ZarrPython(System):
    """zarr-python, and the built-in engine of xarray; dask arrays with ``inline_array=True``, its fastest way."""

    name = "zarr_py"
    modules = ("zarr",)
    cold = "import zarr"

    def open(self, path: str, *, write: bool = False) -> Any:
        import zarr

        return zarr.open_array(path, mode="r+" if write else "r")

    def create(self, path: str, recipe: Recipe) -> Any:
        import zarr

        return zarr.create_array(
            path,
            shape=recipe.shape,
            chunks=recipe.chunks,
            shards=recipe.shards,
            compressors=_compressor(recipe),
            fill_value=recipe.fill,
            zarr_format=recipe.zarr_format,
            dimension_names=recipe.names,
            overwrite=True,
            **_layout(recipe),
        )

    def dask(self, path: str, chunks: Any = None) -> Any:
        import dask.array as da
        import zarr

        if chunks is None:
            chunks = zarr.open_array(path, mode="r").shards  # None where there are none: the chunks
        return da.from_zarr(path, chunks=chunks, inline_array=True)

    def open_dataset(self, path: str, *, consolidated: bool | None = None, lazy: bool = False) -> Any:
        import xarray as xr

        more: dict[str, Any] = {"chunks": {}, "inline_array": True} if lazy else {}
        return xr.open_dataset(path, engine="zarr", consolidated=consolidated, **more)

    def open_zarr(self, path: str) -> Any:
        import xarray as xr

        return xr.open_zarr(path)

    def cold_array(self, path: str) -> str:
        return f"{self.cold}; array = zarr.open_array({path!r}, mode='r')"

    def cold_open(self, path: str) -> str:
        return f"import xarray; dataset = xarray.open_dataset({path!r}, engine='zarr')"

    def save(self, dataset: Any, path: str, **keywords: Any) -> None:
        dataset.to_zarr(path, **keywords)


class Zarrs(ZarrPython):
    """zarr-python with the compiled pipeline of zarrs; the variable of the environment reaches workers too."""

    name = "zarrs_py"
    modules = ("zarrs", "zarr")
    cold = "import zarr, zarrs"

    def load(self) -> None:
        os.environ["ZARR_CODEC_PIPELINE__PATH"] = "zarrs.ZarrsCodecPipeline"  # read when zarr is imported
        super().load()


def _compressor(recipe: Recipe) -> Any:
    if recipe.zarr_format == 3 or recipe.compressor is None:
        return recipe.compressor
    import numcodecs

    return numcodecs.get_codec(recipe.compressor)


def _layout(recipe: Recipe) -> dict[str, Any]:
    """Data type, byte order and memory order as `zarr.create_array` takes them."""
    if recipe.dtype == "string":
        return {"dtype": "string" if recipe.zarr_format == 3 else str}
    if recipe.endian == "big":
        big = {"name": "bytes", "configuration": {"endian": "big"}}
        return {"dtype": f">{recipe.dtype}", **({"serializer": big} if recipe.zarr_format == 3 else {})}
    if recipe.order == "F" and recipe.zarr_format == 3:
        order = list(range(len(recipe.shape)))[::-1]
        return {"dtype": recipe.dtype, "filters": [{"name": "transpose", "configuration": {"order": order}}]}
    return {"dtype": recipe.dtype, **({"order": "F"} if recipe.order == "F" else {})}
