"""`create_group`.

Imports group, creation, profiles and the rows below. Invariant: everything that can be wrong is found before
anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .creation import UNASKED
from .group import Group, new_group
from .nodes import clean_path
from .options import Options
from .profile_creation import format_below, place_extra
from .profiles import choose_format, find_profile
from .spec import JSON
from .stores import open_store


def create_group(
    store: Any,
    path: str = "",
    *,
    attributes: Mapping[str, JSON] | None = None,
    zarr_format: int = UNASKED,
    profile: str | None = None,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Group:
    """Create a group and return it, open for writing; groups above it that are missing are created too.

    ``zarr_format``: by default that of the groups above, else 3, with a ``profile`` 2. ``profile``: the readers to
    write for. Raises `NodeExistsError` where something is stored and ``overwrite`` is not set, `MetadataError` naming
    the attribute that cannot be stored, `UnsupportedError` where the readers do not know the format.
    """
    chosen = None if profile is None else find_profile(profile)
    opened = open_store(store, mode="a", storage_options=storage_options)
    path = clean_path(path)
    if zarr_format is UNASKED:
        zarr_format = format_below(opened, path, chosen) or zarr_format
    if chosen is not None:
        choose_format(chosen, zarr_format)
    group = new_group(opened, path, attributes, zarr_format, overwrite, Options(writable=True))
    place_extra(opened, chosen, path, zarr_format, itself=True)
    return group
