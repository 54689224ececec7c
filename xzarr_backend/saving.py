"""`xz.to_zarr`: one function for all that can be stored, which hands each kind of object to its writer.

Imports the writers at the first use of each. Invariant: whoever stores a NumPy array never loads xarray.
"""

from __future__ import annotations

import sys
from typing import Any

from .errors import ArgumentError


def to_zarr(obj: Any, store: Any = None, **keywords: Any) -> Any:
    """Store ``obj`` and return a report of what was written, or with ``compute=False`` a `dask.delayed.Delayed`.

    A Dataset, DataArray or DataTree of xarray takes the keywords of xarray's own ``to_zarr`` (and ``resume``,
    ``durable``, ``profile``): see `xarray_writer.write_dataset`. A dask or NumPy array takes those of
    `dask.array.to_zarr`: see `dask_writer.to_zarr`.
    """
    check_storable(obj)
    if is_of_xarray(obj):
        from . import xarray_accessors  # noqa: F401 (registers them)
        from .xarray_writer import write_object

        return write_object(obj, store, **keywords)
    from .dask_writer import to_zarr

    return to_zarr(obj, store, **keywords)


def is_of_xarray(obj: Any) -> bool:
    """Return whether ``obj`` is a Dataset, DataArray or DataTree."""
    xarray = sys.modules.get("xarray")  # there is no object of xarray before xarray is loaded
    return xarray is not None and isinstance(obj, xarray.Dataset | xarray.DataArray | xarray.DataTree)


def check_storable(obj: Any) -> None:
    """Raise `ArgumentError` for what no writer stores."""
    if not is_of_xarray(obj) and not (hasattr(obj, "shape") and hasattr(obj, "dtype")):
        raise ArgumentError(
            f"a {type(obj).__name__} cannot be stored",
            hint="give a Dataset, DataArray or DataTree of xarray, or a dask or NumPy array",
        )
