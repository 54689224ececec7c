"""How the other implementations read and write the arrays of the matrix.

A peer is given a folder and a path, and returns what it found there, or writes there what it is asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.interop.matrix import Combination


class Read(NamedTuple):
    """What a peer found: the values, and what else it says about the array (None: it does not say)."""

    values: Any
    fill: Any = None
    attributes: Any = None
    names: tuple[str | None, ...] | None = None


def read_with_zarr(folder: Path, one: Combination) -> Read:
    """Read with the installed zarr-python."""
    import zarr

    array = zarr.open_array(folder / one.path, mode="r", zarr_format=one.way.zarr_format)
    attributes = dict(array.attrs)
    names = attributes.pop("_ARRAY_DIMENSIONS", None) if array.metadata.zarr_format == 2 else array.metadata.dimension_names
    return Read(array[...], array.fill_value, attributes, None if names is None else tuple(names))


def read_with_tensorstore(folder: Path, one: Combination) -> Read:
    """Read with tensorstore; of records every field by itself."""
    fields = one.kind.numpy.names
    if fields is None:
        array = open_tensorstore(folder / one.path, one.way.zarr_format)
        names = array.domain.labels if one.way.zarr_format == 3 else None
        found = array.read().result()
        if found.ndim > 2:  # elements of several bytes
            found = found.view(one.kind.numpy)[..., 0]
            names = None if names is None else names[:2]
        return Read(found, names=names)
    values: Any = None
    for field in fields:
        found = open_tensorstore(folder / one.path, one.way.zarr_format, field=field).read().result()
        if values is None:
            values = np.zeros(found.shape[:2], one.kind.numpy)
        values[field] = found.reshape(values.shape) if found.ndim == 2 else found.view(values.dtype[field])[..., 0]
    return Read(values)


def open_tensorstore(path: Path, zarr_format: int, **more: Any) -> Any:
    """Return the array at ``path``, open for reading and writing."""
    import tensorstore

    spec = {"driver": "zarr3" if zarr_format == 3 else "zarr", "kvstore": kvstore(path), **more}
    return tensorstore.open(spec, context=context()).result()


def kvstore(path: Path) -> dict[str, Any]:
    """Return how tensorstore names a folder."""
    return {"driver": "file", "path": f"{path}/", "file_io_sync": False}


_context: list[Any] = []


def context() -> Any:
    """Return the one context of all arrays."""
    if not _context:
        import tensorstore

        _context.append(tensorstore.Context({"file_io_concurrency": {"limit": 2}}))
    return _context[0]


READERS = {"zarr": read_with_zarr, "tensorstore": read_with_tensorstore}
