"""Which stored arrays the data of a dataset are still to be read from, so that a write does not destroy its own source.

Imports array and stores; cloudpickle (a part of dask) at its first use. Invariant: nothing is read or computed; what
cannot be searched counts as a source, unless it is in memory.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from .array import Array
from .errors import RegionError
from .nodes import place_of
from .stores.base import Store
from .xarray_values import is_lazy

MAX_LOADED_NBYTES = 2**30  # of variables that are loaded because they cannot be staged


def reads_from(variable: xr.Variable, store: Store, path: str) -> bool:
    """Return whether ``variable`` may still have to be read from at or below ``path`` of ``store``."""
    data = variable._data
    if isinstance(data, np.ndarray) or (not is_lazy(data) and variable._in_memory):
        return False
    places = places_of(data)
    return places is None or any(_is_below(place, store, path) for place in places)


def without_sources(ds: xr.Dataset, store: Store, path: str) -> xr.Dataset:
    """Return ``ds`` with the variables loaded that come from the place that is about to be deleted.

    Raises `RegionError` where they are too large for that.
    """
    from_there = [name for name, variable in ds.variables.items() if reads_from(variable, store, path)]
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


def _is_below(place: tuple[Any, str], store: Store, path: str) -> bool:
    held, found = place
    if isinstance(held, Store):
        return held == store and f"{found}/".startswith(f"{path}/" if path else "")
    return f"{held}/".startswith(f"{_folder(store.url)}{f'/{path}' if path else ''}/")


def _folder(url: str) -> str:
    return os.path.realpath(url.removeprefix("file://").removeprefix("local://"))


def places_of(data: Any) -> list[tuple[Any, str]] | None:
    """Return (store, path) of the stored arrays that lazy ``data`` refer to; (folder, "") of zarr-python's on disk.

    None where they cannot be searched, because they do not pickle.
    """
    from cloudpickle import Pickler  # type: ignore[import-untyped]

    found: list[tuple[Any, str]] = []

    class Search(Pickler):  # type: ignore[misc]
        """Goes through everything that the data refer to, as pickling does, and keeps nothing of it."""

        def persistent_id(self, obj: Any) -> Any:
            """Return something for objects that need no further search."""
            if isinstance(obj, Array):
                found.append((obj.store, obj.path))
                return 0
            if type(obj).__module__.startswith("zarr.") and hasattr(obj, "store_path"):
                found.append((_folder(str(obj.store_path)), ""))
                return 0
            return 0 if isinstance(obj, np.ndarray | bytes | str | int) else None

    try:
        Search(_Nowhere()).dump(data.__dask_graph__() if is_lazy(data) else data)
    except Exception:
        return None
    return found


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)
