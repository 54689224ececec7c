"""The words between rows and clock: what a row sets up, and what one run of it gives.

Imports scale, recipes and systems. Invariant: everything before ``Case.call`` and after it is outside the clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .recipes import Recipe, Stored, stores
from .scale import Scale
from .systems import System


@dataclass(frozen=True)
class Data:
    """The folder of prepared data, and their sizes."""

    folder: Path
    scale: Scale

    @cached_property
    def stores(self) -> dict[str, Stored]:
        """The prepared arrays."""
        return stores(self.scale)

    def recipe(self, name: str) -> Recipe:
        """Return how the prepared array is stored."""
        return self.stores[name][1]

    def path(self, name: str) -> str:
        """Return the place of a prepared store."""
        return str(self.folder / f"{name}.zarr")

    def values(self, name: str) -> np.ndarray:
        """Return prepared values, in memory."""
        return np.load(self.folder / f"{name}.npy")


class Measured(NamedTuple):
    """What a call returns that measures itself: its figure (seconds, or bytes), and its value."""

    figure: float
    value: Any


def same(value: Any) -> Any:
    """The checksum of what is its own checksum."""
    return value


def nothing() -> None:
    """There is nothing to clean up."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row, set up for one system: ``call`` is timed (the mean of ``repeat`` calls), ``check`` sums up its result."""

    call: Callable[[], Any]
    check: Callable[[Any], Any] = same
    repeat: int = 1
    close: Callable[[], None] = nothing


Setup = Callable[[System, Data], Case]
BoundSetup = Callable[[Data], Case]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: its name, what it shows, and how it is set up for a system."""

    name: str
    group: str  # read, open, start, dask, write
    shows: str
    setup: Setup | None  # None: the row has bounds only
    bounds: tuple[str, ...] = ()  # names in `bounds.BOUNDS`, measured beside the systems
    uses: tuple[str, ...] = ()  # modules that are imported before memory is counted
    unit: str = "ms"  # or "bytes"
    slow: bool = False  # only run when named
    workers: bool = False  # starts processes of its own


def checksum(values: Any) -> int:
    """Return the CRC of all values in C order and the machine's byte order; strings are joined."""
    values = np.asarray(values)
    if values.dtype.kind in "OTU":
        return zlib.crc32("\n".join(map(str, values.ravel().tolist())).encode())
    native = values.dtype.newbyteorder("=")
    return zlib.crc32(np.ascontiguousarray(values, native).reshape(-1).view("u1").data)
