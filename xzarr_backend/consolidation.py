"""`consolidate_metadata`: the documents of all members of a group in one place.

Imports group, consolidating and the rows below. Invariant: the group that is returned knows its members from what was
just written.
"""

from __future__ import annotations

from typing import Any

from .consolidating import consolidate
from .group import Group
from .nodes import clean_path
from .options import Options
from .stores import open_store


def consolidate_metadata(store: Any, path: str = "", *, storage_options: dict[str, Any] | None = None) -> Group:
    """Write the metadata of all members of the group at ``path`` into one document of the group, and return the group.

    v2: ``.zmetadata``; v3: ``consolidated_metadata`` in the group's ``zarr.json``, as zarr-python has them.
    The document is stored in one step, last. Raises `NodeNotFoundError` where no group lies there, `MetadataError`
    naming every member that cannot be read, `UnsupportedError` where the store keeps no consolidated metadata.
    """
    opened = open_store(store, mode="r+", storage_options=storage_options)
    path = clean_path(path)
    return Group(opened, path, consolidate(opened, path), Options(writable=True))
