"""Checks on data that go into arrays which are there already: do they fit, and do they come back as they went in?

Imports xarray, NumPy and errors. Invariant: nothing here writes; what passes is stored in the encoding of what is
there, and decodes to the values that were given (within the steps of a packed encoding).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray import conventions

from .errors import RegionError
from .xarray_values import is_lazy


def check_dtype(name: Hashable, new: xr.Variable, stored: xr.Variable) -> None:
    """Raise `RegionError` for texts and bytes of another length than the stored ones."""
    numeric = new.dtype.kind in "biufcM"  # as xarray has it
    if numeric or new.dtype.kind in "OmT" or (new.dtype.kind in "SU" and stored.dtype.kind in "OT"):
        return
    if new.dtype != stored.dtype:
        raise RegionError(
            f"Mismatched dtypes for variable {name} between Zarr store on disk and dataset to append. Store has dtype "
            f"{stored.dtype} but dataset to append has dtype {new.dtype}.",
            hint=f"convert it: ds[{name!r}].astype({str(stored.dtype)!r}), if that cuts nothing off",
        )


def fit_dims(
    name: Hashable,
    new: xr.Variable,
    stored: xr.Variable,
    region: Mapping[Hashable, slice],
    append_dim: Hashable | None,
) -> xr.Variable:
    """Return ``new`` with the dimensions in the stored order; raise `RegionError` where names or sizes differ."""
    if new.dims != stored.dims:
        if set(new.dims) != set(stored.dims):
            raise RegionError(
                f"variable {name!r} already exists with different dimension names {stored.dims} != {new.dims}, but "
                "changing variable dimensions is not supported by to_zarr()."
            )
        new = new.transpose(*stored.dims)
    wanted = {dim: _size(name, dim, region.get(dim), size) for dim, size in stored.sizes.items() if dim != append_dim}
    given = {dim: size for dim, size in new.sizes.items() if dim != append_dim}
    if wanted != given:
        way = (
            "that is the region which was given."
            if region
            else "to_zarr() only supports changing dimension sizes when explicitly appending, but "
            f"append_dim={append_dim!r}. If you are attempting to write to a subset of the existing store without "
            "changing dimension sizes, consider using the region argument in to_zarr()."
        )
        sizes = f"{wanted} != {given}"
        raise RegionError(f"variable {name!r} already exists with different dimension sizes: {sizes}; {way}")
    return new


def _size(name: Hashable, dim: Hashable, region: slice | None, size: int) -> int:
    if region is None:
        return size
    if any(end is not None and abs(end) > size for end in (region.start, region.stop)):
        raise RegionError(
            f"variable {name!r}: the region from {region.start} to {region.stop} lies outside of dimension {dim!r}, "
            f"which has the length {size}",
            hint="append_dim= makes it longer",
        )
    start, stop, _ = region.indices(size)
    return max(stop - start, 0)


def check_complete(
    dims: Mapping[str, Sequence[Hashable]], given: Mapping[Hashable, xr.Variable], append_dim: Hashable, size: int
) -> None:
    """Raise `RegionError` where variables along ``append_dim``, now of ``size``, would differ in size afterwards.

    ``dims``: those of the stored arrays; ``given``: the variables to append.
    """
    missing = sorted(name for name, along in dims.items() if append_dim in along and name not in given)
    if missing:
        raise RegionError(
            f"the store has {', '.join(map(repr, missing))} along {append_dim!r}, which the data to append lack: their "
            "sizes would differ afterwards",
            hint="append all variables that have this dimension",
        )
    new = sorted(str(name) for name, v in given.items() if name not in dims and append_dim in v.dims)
    if new and size:
        raise RegionError(
            f"the data to append have {', '.join(map(repr, new))} along {append_dim!r}, which the store lacks: their "
            "sizes would differ afterwards",
            hint="store these variables for what is there first, or leave them out",
        )


def check_equal(name: Hashable, new: xr.Variable, stored: xr.Variable, raw: xr.Variable) -> None:
    """Raise `RegionError` where a variable that is not appended to would not be ``stored`` as it is.

    ``raw`` is the stored one before it is decoded: what its data type and its packing leave of ``new`` may be equal.
    """
    if new.dims != stored.dims and set(new.dims) == set(stored.dims):
        new = new.transpose(*stored.dims)
    equals: Any = new.equals
    if equals(stored):
        return
    new, stored = new.compute(), stored.compute()
    if _same_values(new, stored) or _same_when_stored(name, new, stored, raw):
        return
    raise RegionError(
        f"variable {name!r} differs from the stored one, so that old and new data would not belong together",
        hint='align the data first (reindex_like); or give mode="a" to overwrite what is stored, mode="a-" to keep it',
    )


def _same_values(new: xr.Variable, stored: xr.Variable) -> bool:
    """Texts and numbers of other types may mean the same."""
    if new.sizes != stored.sizes:
        return False
    a, b = np.asarray(new.values), np.asarray(stored.values)
    if a.dtype.kind in "fc" or b.dtype.kind in "fc":
        return (
            bool(np.array_equal(a, b, equal_nan=True)) if a.dtype.kind in "fciub" and b.dtype.kind in "fciub" else False
        )
    return bool(np.array_equal(a.astype(object), b.astype(object)))


def _same_when_stored(name: Hashable, new: xr.Variable, stored: xr.Variable, raw: xr.Variable) -> bool:
    """Tell whether numbers would be stored as those that are, which packing or a shorter data type made others."""
    if new.shape != raw.shape or new.dtype.kind != "f" or stored.dtype.kind not in "iuf":
        return False
    given = np.asarray(new.values)
    if raw.dtype.kind == "f" and not _is_packed(raw.attrs):
        with np.errstate(over="ignore"):
            return bool(np.array_equal(given.astype(raw.dtype), np.asarray(stored.values), equal_nan=True))
    if raw.dtype.kind not in "iu":
        return False
    try:
        _Check(str(name), raw.dtype, dict(raw.attrs), given.dtype).compare(np.asarray(raw.values), given)
    except RegionError:
        return False
    return True


# --- round trips ----------------------------------------------------------------------------------------------------


def check_round_trip(name: Hashable, given: xr.Variable, encoded: xr.Variable, raw: xr.Variable) -> Any:
    """Return the encoded data, checked against what they decode to with the attributes of the stored array ``raw``.

    NumPy data are checked now, dask data block by block when they are written. Raises `RegionError`.
    """
    data = encoded.data
    if not _needs_check(given, raw):
        return data
    check = _Check(str(name), raw.dtype, dict(raw.attrs), given.dtype)
    original = given.data
    if not is_lazy(data):
        return check(np.asarray(data), np.asarray(original))
    if not is_lazy(original):
        return data.map_blocks(check.alone, dtype=raw.dtype)
    if original.chunks != data.chunks:
        return data
    return data.map_blocks(check, original, dtype=raw.dtype, meta=np.empty((0,) * data.ndim, raw.dtype))


def _needs_check(given: xr.Variable, raw: xr.Variable) -> bool:
    if given.dtype.kind in "mM" or raw.dtype.kind in "mM" or " since " in str(raw.attrs.get("units", "")):
        return True
    return raw.dtype.kind in "iu" and given.dtype.kind in "iufb" and not _holds(raw.dtype, given.dtype, raw.attrs)


def _holds(stored: np.dtype[Any], given: np.dtype[Any], attributes: Mapping[str, Any]) -> bool:
    return not _is_packed(attributes) and given.kind in "iub" and np.can_cast(given, stored, "safe")


def _is_packed(attributes: Mapping[str, Any]) -> bool:
    return "scale_factor" in attributes or "add_offset" in attributes


class _Check:
    """Compares one block of encoded values with what was given; pickles."""

    def __init__(self, name: str, dtype: np.dtype[Any], attributes: Mapping[str, Any], given: np.dtype[Any]) -> None:
        self.name, self.dtype, self.attributes, self.given = name, dtype, attributes, given

    def __call__(self, encoded: Any, original: Any) -> Any:
        stored = self.alone(encoded)
        if original.size:
            self.compare(stored, original)
        return stored

    def alone(self, encoded: Any) -> Any:
        """Return the values in the stored data type; raise where that changes them."""
        with np.errstate(invalid="ignore", over="ignore"):
            stored = encoded.astype(self.dtype)
            same = encoded.dtype.kind not in "iufM" or np.array_equal(
                stored.astype(encoded.dtype), encoded, equal_nan=encoded.dtype.kind in "fM"
            )
        if not same:
            raise self._refused("they are outside the range of the stored data type")
        return stored

    def compare(self, stored: Any, original: Any) -> None:
        """Raise unless ``stored`` is what ``original`` becomes."""
        # in one dimension, so that the names of dimensions do not matter here
        variable = xr.Variable(("_",), stored.reshape(-1), dict(self.attributes))
        decoded = conventions.decode_cf_variable(self.name, variable).values
        flat = original.reshape(-1)
        if flat.dtype.kind in "mM" and decoded.dtype.kind in "mM":
            if not np.array_equal(decoded, flat, equal_nan=True):
                raise self._refused(f"the stored unit is {self.attributes.get('units') or self.dtype}")
        elif flat.dtype.kind in "iufb" and decoded.dtype.kind in "iuf":
            self._compare_numbers(decoded, flat)
        elif flat.dtype.kind == "O" and decoded.dtype.kind == "O" and not _same_objects(decoded, flat):
            units, calendar = self.attributes.get("units"), self.attributes.get("calendar")
            raise self._refused(f"the stored unit is {units}, the calendar {calendar}")

    def _compare_numbers(self, decoded: Any, flat: Any) -> None:
        step = abs(float(np.max(np.abs(np.asarray(self.attributes.get("scale_factor", 0))))))
        masks = "_FillValue" in self.attributes or "missing_value" in self.attributes
        wide = np.asarray(flat, "f8")
        read = np.asarray(decoded, "f8")
        with np.errstate(invalid="ignore"):
            off = np.abs(read - wide)
            allowed = step * 0.5001 + (0.5 if masks and not step else 0.0) + np.abs(wide) * 1e-6
        both_missing = np.isnan(read) & np.isnan(wide)
        if not (both_missing | (off <= allowed)).all():
            raise self._refused("the stored encoding cannot hold them")

    def _refused(self, why: str) -> RegionError:
        return RegionError(
            f"values of variable {self.name!r} would not come back from the store as they are: {why}",
            hint="convert the values, or store a new array whose encoding can hold them",
        )


def _same_objects(left: Any, right: Any) -> bool:
    """Times of different calendars cannot even be compared."""
    try:
        return bool(np.array_equal(left, right))
    except TypeError:
        return False
