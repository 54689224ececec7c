"""Which stored arrays lazy data are still to be read from, so that a write does not destroy its own source.

Imports array and stores; cloudpickle (a part of dask) at its first use. Invariant: nothing is read or computed.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .paths import prefix_of
from .stores.base import Store


class Source(NamedTuple):
    """A stored array that data refer to: its store and path there, or of zarr-python's on disk the folder and ""."""

    store: Any
    path: str
    shape: tuple[int, ...]

    def is_below(self, store: Store, path: str) -> bool:
        """Return whether it lies at or below ``path`` of ``store``."""
        if isinstance(self.store, Store):
            return self.store == store and f"{self.path}/".startswith(prefix_of(path))
        return f"{self.store}/".startswith(f"{_folder(store.url)}{f'/{path}' if path else ''}/")


class Found(NamedTuple):
    """The sources of some data. ``whole``: each as it is stored, no selection of it wrapped into another array."""

    sources: list[Source]
    whole: bool
    complete: bool  # False where the search ended early, because something does not pickle


def reads_from(data: Any, store: Store, path: str) -> bool:
    """Return whether lazy ``data`` may still have to be read from at or below ``path`` of ``store``."""
    found = sources_of(data.__dask_graph__() if hasattr(data, "__dask_graph__") else data)
    return not found.complete or any(source.is_below(store, path) for source in found.sources)


def sources_of(data: Any) -> Found:
    """Return the stored arrays that ``data``, or the tasks of a graph, refer to."""
    from cloudpickle import Pickler  # type: ignore[import-untyped]

    sources: list[Source] = []
    whole = True

    class Search(Pickler):  # type: ignore[misc]
        """Goes through everything that the data refer to, as pickling does, and keeps nothing of it."""

        def persistent_id(self, obj: Any) -> Any:
            """Return something for objects that need no further search."""
            nonlocal whole
            if isinstance(obj, Array):
                sources.append(Source(obj.store, obj.path, obj.shape))
                return 0
            if type(obj).__module__.startswith("zarr.") and hasattr(obj, "store_path"):
                sources.append(Source(_folder(str(obj.store_path)), "", tuple(obj.shape)))
                return 0
            if type(obj).__module__ == "xarray.core.indexing" and hasattr(obj, "key"):
                whole = whole and all(isinstance(piece, slice) and piece == slice(None) for piece in obj.key.tuple)
            return 0 if isinstance(obj, np.ndarray | bytes | str | int) else None

    try:
        Search(_Nowhere()).dump(data)
    except Exception:
        return Found(sources, whole, False)
    return Found(sources, whole, True)


def _folder(url: str) -> str:
    return os.path.realpath(url.removeprefix("file://").removeprefix("local://"))


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)
