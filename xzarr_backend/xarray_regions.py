"""Where a dataset goes within a stored group: the ``region`` keyword of ``to_zarr``.

Imports xarray, pandas and errors. Invariant: what comes out is a slice with a step of one for each dimension that was
named, found and checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from .errors import ArgumentError, MemberNotFoundError, RegionError

Region = dict[Hashable, slice]


class UnknownLabelError(RegionError, KeyError):
    """A label of the data is not in the stored coordinate."""


def resolve_region(
    ds: xr.Dataset,
    region: Any,
    mode: str,
    append_dim: Hashable | None,
    stored_coordinate: Callable[[Hashable], xr.Variable],
) -> tuple[xr.Dataset, Region]:
    """Return what of ``ds`` is to be written, and where: the variables without indexes, and a slice per dimension.

    ``region`` is "auto", or a mapping from dimensions to slices or "auto"; ``stored_coordinate`` gives the decoded
    variable of a dimension. Raises `ArgumentError` (a TypeError) or `RegionError`.
    """
    given = dict.fromkeys(ds.dims, "auto") if isinstance(region, str) and region == "auto" else region
    if not isinstance(given, Mapping):
        raise ArgumentError(f"``region`` must be a dict, got {type(region)}", hint='or the text "auto"')
    found = dict(given)
    if any(_is_auto(value) for value in found.values()):
        if mode not in ("r+", "a"):
            raise RegionError(f"``mode`` must be 'r+' or 'a' when using ``region='auto'``, got {mode!r}")
        for dim, value in given.items():
            if _is_auto(value):
                found[dim] = _find(ds, dim, stored_coordinate)
    _check(ds, found, append_dim)
    return ds.drop_vars(list(ds.indexes)), found


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _find(ds: xr.Dataset, dim: Hashable, stored_coordinate: Callable[[Hashable], xr.Variable]) -> slice:
    """Return where the labels of ``dim`` lie in the stored coordinate."""
    import pandas as pd  # type: ignore[import-untyped]

    if dim not in ds.variables:
        return slice(0, ds.sizes[dim])
    try:
        labels = pd.Index(stored_coordinate(dim).values)
    except MemberNotFoundError:
        raise RegionError(
            f"the store has no coordinate {dim!r} to find the region in", hint=f"give region={{{dim!r}: slice(...)}}"
        ) from None
    if not labels.is_unique:
        raise RegionError(
            f"the stored coordinate {dim!r} holds labels more than once, so that no region can be found in it",
            hint=f"give region={{{dim!r}: slice(...)}}",
        )
    places = labels.get_indexer(ds[dim].values)
    if not len(places):
        return slice(0, 0)
    if (places == -1).any():
        raise UnknownLabelError(
            f"Not all values of coordinate '{dim}' in the new array were found in the original store. Writing to a "
            "zarr region slice requires that no dimensions or metadata are changed by the write."
        )
    if (np.diff(places) != 1).any():
        raise RegionError(
            f"The auto-detected region of coordinate '{dim}' for writing new data to the original store had "
            "non-contiguous indices. Writing to a zarr region slice requires that the new data constitute a contiguous "
            "subset of the original store."
        )
    return slice(int(places[0]), int(places[-1]) + 1)


def _check(ds: xr.Dataset, region: Mapping[Hashable, Any], append_dim: Hashable | None) -> None:
    for dim, value in region.items():
        if dim not in ds.dims:
            raise RegionError(
                f"all keys in ``region`` are not in Dataset dimensions, got {list(region)} and {list(ds.dims)}"
            )
        if not isinstance(value, slice):
            raise ArgumentError(f"all values in ``region`` must be slice objects, got region={dict(region)}")
        if value.step not in (1, None):
            raise RegionError(f"step on all slices in ``region`` must be 1 or None, got region={dict(region)}")
    beside = [name for name, v in ds.variables.items() if not set(region).intersection(v.dims)]
    if region and beside:
        raise RegionError(
            "when setting `region` explicitly in to_zarr(), all variables in the dataset to write must have at least "
            f"one dimension in common with the region's dimensions {list(region)}, but that is not the case for some "
            "variables here",
            hint=f"to drop these variables from this dataset before exporting to zarr, write: .drop_vars({beside!r})",
        )
    if append_dim is not None and append_dim in region:
        raise RegionError(
            "cannot list the same dimension in both ``append_dim`` and ``region`` with to_zarr(), got "
            f"{append_dim} in both"
        )
