"""The systems that are compared: a table of adapters, ours first. A new peer is one class and one entry here."""

from __future__ import annotations

from .base import NotOffered, System
from .ours import Ours
from .tensor_store import TensorStore
from .zarr_python import ZarrPython, Zarrs

SYSTEMS: dict[str, System] = {system.name: system for system in (Ours(), ZarrPython(), Zarrs(), TensorStore())}

__all__ = ["SYSTEMS", "NotOffered", "System", "installed"]


def installed() -> list[str]:
    """Return the names of the systems that are installed here."""
    return [name for name, system in SYSTEMS.items() if system.installed()]
