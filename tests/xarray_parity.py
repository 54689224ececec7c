"""What equal means for a dataset opened with two engines: values, attributes, types, and encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xzarr_backend.xarray_backend import XzarrBackendEntrypoint

ENGINE: Any = XzarrBackendEntrypoint

ENCODING = (
    "dtype",
    "chunks",
    "preferred_chunks",
    "shards",
    "fill_value",
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "units",
    "calendar",
    "coordinates",
    "bounds",
    "char_dim_name",
)

# what zarr-python says of data types and documents that its own format 3 has no final words on
ZARR_WARNINGS = (
    r"ignore:The data type \(.*\) does not have a Zarr V3 specification",
    r"ignore:Consolidated metadata is currently not part in the Zarr format 3 specification",
    r"ignore:Numcodecs codecs are not in the Zarr version 3 specification",
)


def assert_same_dataset(theirs: xr.Dataset, ours: xr.Dataset) -> None:
    """Fail unless both datasets are identical, load to the same types and carry the same encoding."""
    xr.testing.assert_identical(theirs, ours)
    assert set(theirs.variables) == set(ours.variables)
    assert theirs.encoding == ours.encoding
    for name in theirs.variables:
        left, right = theirs[name], ours[name]
        assert left.dtype == right.dtype, name
        assert left.values.dtype == right.values.dtype, name
        assert_same_encoding(name, left.encoding, right.encoding)


def assert_same_encoding(name: Any, theirs: dict[Any, Any], ours: dict[Any, Any]) -> None:
    """Fail unless both have the same keys, and equal values of equal types under those that are compared."""
    assert set(theirs) - set(ours) <= {"filters"}, name  # which is left out for strings of format 2
    assert set(ours) <= set(theirs), name
    for key in ENCODING:
        left, right = theirs.get(key), ours.get(key)
        assert type(left) is type(right), (name, key, left, right)
        np.testing.assert_equal(right, left, err_msg=f"{name}: {key}")
