"""`create_group`.

Imports group, placing and the rows below. Invariant: everything that can be wrong is found before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .array import Options
from .group import Group, new_group
from .nodes import clean_path
from .spec import JSON
from .stores import open_store


def create_group(
    store: Any,
    path: str = "",
    *,
    attributes: Mapping[str, JSON] | None = None,
    zarr_format: int = 3,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Group:
    """Create a group and return it, open for writing; groups above it that are missing are created too.

    Raises `NodeExistsError` where something is stored and ``overwrite`` is not set, `MetadataError` naming the
    attribute that cannot be stored.
    """
    opened = open_store(store, mode="a", storage_options=storage_options)
    return new_group(opened, clean_path(path), attributes, zarr_format, overwrite, Options(writable=True))
