"""``ds.xzarr``, ``da.xzarr`` and ``dt.xzarr``: what this package can do with an object of xarray.

Imports xarray. Importing this module registers the accessors; `xzarr_backend.to_zarr` and the engine ``xzarr`` do it.
"""

from __future__ import annotations

from typing import Any

import xarray as xr


class Accessor:
    """The functions of this package that store an xarray object."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def to_zarr(self, store: Any = None, **keywords: Any) -> Any:
        """Store the object; keywords and result are those of `xzarr_backend.to_zarr`."""
        from .xarray_writer import write_object

        return write_object(self._obj, store, **keywords)

    def __repr__(self) -> str:
        return f"<xzarr accessor of a {type(self._obj).__name__}: .to_zarr(store, ...)>"


_REGISTERS: tuple[Any, ...] = (
    xr.register_dataset_accessor,
    xr.register_dataarray_accessor,
    xr.register_datatree_accessor,
)
for _register in _REGISTERS:
    _register("xzarr")(Accessor)
