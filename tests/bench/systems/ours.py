"""This project as a system. Imports base; the package at its first use."""

from __future__ import annotations

from typing import Any

from ..recipes import Recipe
from .base import System


class Ours(System):
    """`xzarr_backend`, as its documentation tells users to call it."""

    name = "ours"
    modules = ("xzarr_backend",)
    cold = "import xzarr_backend"

    def open(self, path: str, *, write: bool = False) -> Any:
        import xzarr_backend as xz

        return xz.open_array(path, mode="r+" if write else "r")

    def create(self, path: str, recipe: Recipe) -> Any:
        import xzarr_backend as xz

        return xz.create_array(
            path,
            shape=recipe.shape,
            chunks=recipe.chunks,
            shards=recipe.shards,
            compressors=recipe.compressor,
            fill_value=recipe.fill,
            zarr_format=recipe.zarr_format,
            dimension_names=recipe.names,
            overwrite=True,
            **_layout(recipe),
        )

    def dask(self, path: str, chunks: Any = None) -> Any:
        import xzarr_backend as xz

        return xz.from_zarr(path, chunks=chunks)

    def open_dataset(self, path: str, *, consolidated: bool | None = None, lazy: bool = False) -> Any:
        import xarray as xr

        more: dict[str, Any] = {"chunks": {}, "inline_array": True} if lazy else {}
        return xr.open_dataset(path, engine="xzarr", consolidated=consolidated, **more)

    def open_zarr(self, path: str) -> Any:
        import xzarr_backend as xz

        return xz.open_zarr(path)

    def cold_array(self, path: str) -> str:
        return f"import xzarr_backend as xz; array = xz.open_array({path!r})"

    def cold_open(self, path: str) -> str:
        return f"import xarray; dataset = xarray.open_dataset({path!r}, engine='xzarr')"

    def save(self, dataset: Any, path: str, **keywords: Any) -> None:
        import xzarr_backend as xz

        xz.to_zarr(dataset, path, **keywords)


def _layout(recipe: Recipe) -> dict[str, Any]:
    """Data type, byte order and memory order as `create_array` takes them."""
    dtype: Any = recipe.dtype
    more: dict[str, Any] = {}
    if dtype == "string" and recipe.zarr_format == 2:
        dtype, more["filters"] = object, [{"id": "vlen-utf8"}]
    elif recipe.endian == "big":
        dtype = f">{dtype}"
        if recipe.zarr_format == 3:
            more["serializer"] = {"name": "bytes", "configuration": {"endian": "big"}}
    if recipe.order == "F":
        more["order"] = "F"
    return {"dtype": dtype, **more}
