"""The data of a dataset that come from the place that is about to be deleted are loaded before.

Imports data_sources and stores. Invariant: what cannot be searched counts as a source, unless it is in memory.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .block_sources import MAX_LOADED_NBYTES
from .data_sources import reads_from
from .errors import RegionError
from .nodes import place_of
from .stores.base import Store
from .xarray_values import is_lazy


def without_sources(ds: xr.Dataset, store: Store, path: str) -> xr.Dataset:
    """Return ``ds`` with the variables loaded that come from the place that is about to be deleted.

    Raises `RegionError` where they are too large for that.
    """
    from_there = [name for name, variable in ds.variables.items() if _reads_from(variable, store, path)]
    if not from_there:
        return ds
    nbytes = sum(ds.variables[name].nbytes for name in from_there)
    if nbytes > MAX_LOADED_NBYTES:
        raise RegionError(
            f"the data of {', '.join(map(repr, from_there))} are still to be read from the store that is to be "
            "replaced, which cannot hold the old and the new data at the same time",
            where=place_of(store, path),
            hint="write to another place, or load the data first (ds.load())",
        )
    loaded = ds.copy()
    for name in from_there:
        loaded[name].load()
    return loaded


def _reads_from(variable: xr.Variable, store: Store, path: str) -> bool:
    data = variable._data
    if isinstance(data, np.ndarray) or (not is_lazy(data) and variable._in_memory):
        return False
    return reads_from(data, store, path)
