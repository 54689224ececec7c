"""What a row may ask of a system. Imports recipes; an adapter overrides what its system offers.

Invariant: whatever is not overridden raises `NotOffered`, so that a gap of a system shows in the report as a gap.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from ..recipes import Recipe


class NotOffered(Exception):
    """The system cannot do what the row measures."""


class System:
    """One reader and writer of Zarr stores; paths are strings, values NumPy arrays."""

    name = ""
    modules: tuple[str, ...] = ()  # imported before any clock starts
    cold: str = ""  # the statement whose cost a cold import is

    def installed(self) -> bool:
        """Tell whether every module of the system is there (without importing them)."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    def load(self) -> None:
        """Import the system."""
        for module in self.modules:
            importlib.import_module(module)

    def _gap(self, what: str) -> NotOffered:
        return NotOffered(f"{self.name} does not offer {what}")

    def open(self, path: str, *, write: bool = False) -> Any:
        """Return an open array."""
        raise self._gap("arrays")

    def read(self, array: Any, selection: Any) -> np.ndarray:
        """Return the selected values."""
        return array[selection]

    def pick(self, array: Any, places: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return the elements at ``places``, indices along each axis."""
        return array.vindex[places]

    def create(self, path: str, recipe: Recipe) -> Any:
        """Create the array, replacing what is there; return it open for writing."""
        raise self._gap("creating arrays")

    def write(self, array: Any, selection: Any, values: np.ndarray) -> None:
        """Store the values."""
        array[selection] = values

    def append(self, array: Any, values: np.ndarray) -> Any:
        """Append along the first axis; return the array to go on with."""
        array.append(values)
        return array

    def dask(self, path: str, chunks: Any = None) -> Any:
        """Return the array as a dask array; ``chunks`` None: the stored objects (whole shards)."""
        raise self._gap("dask arrays")

    def open_dataset(self, path: str, *, consolidated: bool | None = None, lazy: bool = False) -> Any:
        """Open with xarray; ``lazy``: as dask arrays of the stored chunks, the handle in every task."""
        raise self._gap("xarray datasets")

    def open_zarr(self, path: str) -> Any:
        """Open with the system's one call for a dataset of dask arrays."""
        raise self._gap("open_zarr")

    def cold_array(self, path: str) -> str:
        """Return the statements that open an array in a fresh interpreter."""
        raise self._gap("opening an array")

    def cold_open(self, path: str) -> str:
        """Return the statements that open a dataset in a fresh interpreter."""
        raise self._gap("xarray datasets")

    def save(self, dataset: Any, path: str, **keywords: Any) -> None:
        """Store an xarray dataset; ``keywords`` are those of xarray's own ``to_zarr``."""
        raise self._gap("writing datasets")
