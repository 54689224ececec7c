"""Read and write Zarr v2 and v3 stores, whoever wrote them, from Python, xarray and dask.

Importing the package loads the errors alone: its other modules load at their first use, as do NumPy, xarray, dask,
fsspec and codec libraries.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .errors import (
    ArgumentError,
    ChunkError,
    MemberNotFoundError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
    RegionError,
    SelectionError,
    SkippedNodeWarning,
    UnsupportedError,
    XzarrError,
)

if TYPE_CHECKING:
    from .array import Array
    from .codecs.registry import available_codecs, codec_available, register_codec
    from .consolidation import consolidate_metadata
    from .converting import convert
    from .creation import create_array
    from .dask_array import from_zarr
    from .examining import doctor
    from .group import Group
    from .group_creation import create_group
    from .opening import open, open_array, open_group
    from .previewing import plan_writes
    from .profile_checking import check_profile
    from .saving import to_zarr
    from .verifying import verify
    from .xarray_opening import open_dataset, open_datatree, open_mfdataset, open_zarr

__version__ = "0.1.0"

# All but the errors loads at its first use (row ``cold_import`` of the benchmark): who opens creates nothing, and who
# opens with xarray opens nothing by hand.
_LAZY = {
    "Array": ".array",
    "Group": ".group",
    "available_codecs": ".codecs.registry",
    "check_profile": ".profile_checking",
    "codec_available": ".codecs.registry",
    "consolidate_metadata": ".consolidation",
    "convert": ".converting",
    "create_array": ".creation",
    "create_group": ".group_creation",
    "doctor": ".examining",
    "from_zarr": ".dask_array",
    "open": ".opening",
    "open_array": ".opening",
    "open_dataset": ".xarray_opening",
    "open_datatree": ".xarray_opening",
    "open_group": ".opening",
    "open_mfdataset": ".xarray_opening",
    "open_zarr": ".xarray_opening",
    "plan_writes": ".previewing",
    "register_codec": ".codecs.registry",
    "to_zarr": ".saving",
    "verify": ".verifying",
}

__all__ = [
    "ArgumentError",
    "Array",
    "ChunkError",
    "Group",
    "MemberNotFoundError",
    "MetadataError",
    "NodeExistsError",
    "NodeNotFoundError",
    "ReadOnlyError",
    "RegionError",
    "SelectionError",
    "SkippedNodeWarning",
    "UnsupportedError",
    "XzarrError",
    "available_codecs",
    "check_profile",
    "codec_available",
    "consolidate_metadata",
    "convert",
    "create_array",
    "create_group",
    "doctor",
    "from_zarr",
    "open",
    "open_array",
    "open_dataset",
    "open_datatree",
    "open_group",
    "open_mfdataset",
    "open_zarr",
    "plan_writes",
    "register_codec",
    "to_zarr",
    "verify",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(module, __name__), name)  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})  # without the modules inside


def _register_accessors() -> None:
    """Register ``.xzarr`` of xarray objects; where xarray is loaded later, the engine or `to_zarr` does it."""
    if "xarray" in sys.modules:
        from . import xarray_accessors  # noqa: F401


_register_accessors()
