"""From the data store of a group to the dataset: xarray's conventions, for the variables that they concern.

Imports xarray_store and the rows below, and xarray. Invariant: the dataset is the one that xarray's own
`StoreBackendEntrypoint` would make of the same store.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import AbstractDataStore, StoreBackendEntrypoint

from .errors import XzarrError
from .xarray_store import GroupStore

if TYPE_CHECKING:
    from xarray import Dataset, Variable

# attributes that xarray's conventions look at; those that name other variables first
_NAMING = ("coordinates", *xr.conventions.CF_RELATED_DATA)
_INTERPRETED = frozenset({*_NAMING, "missing_value", "scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype"})
_TIME_UNITS = frozenset({"day", "hour", "minute", "second", "millisecond", "microsecond", "nanosecond"})

_INDEXES_COME_LATER = "create_default_indexes" in inspect.signature(xr.open_dataset).parameters  # since xarray 2025.7


class Decoders(NamedTuple):
    """What xarray decodes, and how: the keywords that every engine takes."""

    mask_and_scale: Any
    decode_times: Any
    concat_characters: Any
    decode_coords: Any
    drop_variables: list[str] | None
    use_cftime: Any
    decode_timedelta: Any

    def decode(self, store: AbstractDataStore) -> Dataset:
        """Return the dataset in ``store``; raise `MetadataError` where sizes of a dimension conflict."""
        try:
            if isinstance(store, GroupStore) and self._are_plain and _INDEXES_COME_LATER:
                return self._decode_concerned(store)
            return StoreBackendEntrypoint().open_dataset(store, **self._asdict())
        except ValueError as error:
            if isinstance(error, XzarrError) or not isinstance(store, GroupStore):
                raise
            conflict = store.conflict(self.drop_variables or ())
            if conflict is None:
                raise
            raise conflict from error

    @property
    def _are_plain(self) -> bool:
        """Whether xarray does nothing to a variable that its conventions do not concern: no warning, no error."""
        return self.mask_and_scale is True and self.use_cftime is None

    def _decode_concerned(self, store: GroupStore) -> Dataset:
        """Return the dataset, having taken only the variables that its conventions concern through xarray.

        A quarter of what an opened variable costs is xarray's looking for what there is to decode
        (benchmark: xr_open_wide_c).
        """
        variables, attributes = store.load()
        concerned = concerned_variables(variables)
        decoded, shown_attributes, coordinates = xr.conventions.decode_cf_variables(
            concerned, attributes, **self._asdict()
        )
        dropped = set(self.drop_variables or ())
        data: dict[Any, Variable] = {}
        coords: dict[Any, Variable] = {}
        for name, variable in variables.items():
            if name in dropped:
                continue
            shown = decoded[name] if name in concerned else _as_decoded(variable)
            (coords if name in coordinates or shown.dims == (name,) else data)[name] = shown
        dataset = xr.Dataset(data, coords=xr.Coordinates(coords, indexes={}), attrs=shown_attributes)
        dataset.set_close(store.close)
        dataset.encoding = store.get_encoding()  # type: ignore[no-untyped-call]
        return dataset


def as_names(names: str | Iterable[str] | None) -> list[str] | None:
    """Return names as a list, of one name too; None for None."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def concerned_variables(variables: Mapping[Any, Variable]) -> dict[Any, Variable]:
    """Return the variables in which xarray's conventions may change something, and those that these name.

    xarray looks at the names that attributes hold (``coordinates``, ``bounds``), and joins single characters along a
    dimension that no other variable has: then it has to see all.
    """
    found = {name: variable for name, variable in variables.items() if _is_concerned(variable)}
    if any(variable.dtype == "S1" for variable in found.values()):
        return dict(variables)
    named = {name for variable in found.values() for name in _names_in(variable)}
    return {name: variable for name, variable in variables.items() if name in found or name in named}


def _is_concerned(variable: Variable) -> bool:
    """Return whether there may be more to decode than where a fill value of NaN is kept."""
    attributes, dtype = variable.attrs, variable.dtype
    if dtype.kind not in "fiubc" or not dtype.isnative or not _INTERPRETED.isdisjoint(attributes):
        return True
    units = attributes.get("units", "")
    if type(units) is not str or "since" in units or units.lower().removesuffix("s") in _TIME_UNITS:
        return True
    return "_FillValue" in attributes and not _is_nan(attributes["_FillValue"], dtype.kind)


def _is_nan(value: Any, kind: str) -> bool:
    return kind in "fc" and isinstance(value, float | complex | np.inexact) and bool(value != value)


def _names_in(variable: Variable) -> Iterable[str]:
    for attribute in _NAMING:
        value = variable.attrs.get(attribute)
        if isinstance(value, str):
            yield from value.replace(":", " ").split()


def _as_decoded(variable: Variable) -> Variable:
    """Return ``variable`` as xarray leaves one in which it decodes nothing."""
    attributes, encoding = variable.attrs, variable.encoding
    if "_FillValue" in attributes:
        encoding["_FillValue"] = attributes.pop("_FillValue")
    encoding.setdefault("dtype", variable.dtype)
    return variable
