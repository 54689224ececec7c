"""From a dataset to what is written: arrays to create, arrays to grow, regions to fill. Nothing is stored here.

Imports xarray, the other modules of the writer and the rows below. Invariant: everything that can be wrong with a
dataset, its encoding or its place is found here, before the first byte is written; no stored data are read but those
that checks need.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from xarray import conventions

from .array import Array
from .clearing import resized_spec
from .errors import ArgumentError, MetadataError, RegionError, XzarrError
from .options import Options
from .parallel_writing import ArrayWrite
from .paths import join
from .profiles import Profile
from .spec import ArraySpec
from .stores.base import Store
from .xarray_appending import check_complete, check_dtype, check_equal, check_round_trip, fit_dims
from .xarray_chunking import refuse_stored
from .xarray_encoding import Choices, NewArray, encode_attributes_of, encode_variable, new_array, with_types
from .xarray_expression import express
from .xarray_regions import Region, resolve_region
from .xarray_store import NO_NAME
from .xarray_target import Target

MODES = ("w", "w-", "a", "a-", "r+")


class UnknownVariableError(MetadataError, KeyError):
    """Something is said of a variable that is not there."""


class Call(NamedTuple):
    """The keywords of one call of ``to_zarr``. ``mode`` is the one in force, ``asked`` the one given (or None)."""

    mode: str
    asked: str | None
    path: str
    compute: bool
    consolidated: bool | None
    append_dim: Hashable | None
    region: Any
    safe_chunks: bool | Literal["auto"]
    align_chunks: bool
    zarr_format: int | None
    write_empty_chunks: bool | None
    computing: Mapping[str, Any]
    resume: bool
    durable: bool
    profile: Profile | None = None


class OldArray(NamedTuple):
    """Data for an array that is there; ``grown`` is its spec afterwards, where it grows."""

    array: Array
    grown: ArraySpec | None
    region: tuple[slice, ...]
    data: Any

    @property
    def target(self) -> Array:
        """The array to write to, with its size afterwards."""
        if self.grown is None:
            return self.array
        return Array(self.array.store, self.array.path, self.grown, self.array.options)


class GroupPlan(NamedTuple):
    """What is written into one group; ``below`` is its path below that of the call, ``attributes`` None: unchanged."""

    target: Target
    below: str
    attributes: dict[str, Any] | None
    new: list[NewArray]
    old: list[OldArray]

    def writes(self, store: Store, path: str) -> list[ArrayWrite]:
        """Return what goes where, with the call's group at ``path`` of ``store``."""
        created = [self._created(store, join(path, self.below), new) for new in self.new]
        return created + [ArrayWrite(old.target, old.region, old.data) for old in self.old]

    def _created(self, store: Store, path: str, new: NewArray) -> ArrayWrite:
        options = Options(writable=True, write_empty_chunks=new.write_empty_chunks)
        array = Array(store, join(path, new.name), new.spec, options)
        return ArrayWrite(array, tuple(slice(0, n) for n in new.spec.shape), new.data)


def choose_mode(mode: str | None, append_dim: Hashable | None, region: Any) -> str:
    """Return the mode in force; raise `MetadataError` for one that does not go with the other keywords."""
    if mode is None:
        mode = "a" if append_dim is not None else "r+" if region is not None else "w-"
    if mode not in ("a", "a-") and append_dim is not None:
        raise MetadataError("cannot set append_dim unless mode='a' or mode=None")
    if mode not in ("a", "a-", "r+") and region is not None:
        raise MetadataError("cannot set region unless mode='a', mode='a-', mode='r+' or mode=None")
    if mode not in MODES:
        raise MetadataError(
            f"The only supported options for mode are 'w', 'w-', 'a', 'a-', and 'r+', but mode={mode!r}"
        )
    return mode


def plan_group(target: Target, below: str, ds: xr.Dataset, encoding: Mapping[Any, Any], call: Call) -> GroupPlan:
    """Return what writing ``ds`` into ``target`` means; raise for all that cannot be."""
    _check_names(ds)
    ds = ds.copy()
    for variable in ds.variables.values():
        if variable.size == 0:
            variable.load()
    region: Region = {}
    if call.region is not None:
        ds, region = resolve_region(ds, call.region, call.mode, call.append_dim, target.coordinate)
    _check_encoding(target, encoding, call.mode)
    variables, attributes = _encoded_coordinates(ds, encoding)
    kinds = "" if call.profile is None else call.profile.conventions
    variables, encoding = express(variables, target.arrays, encoding, kinds)
    existing = [name for name in variables if name in target.arrays]
    _check_existing(target, variables, existing, call)
    as_xarray = call.safe_chunks != "auto"
    choices = Choices(target.zarr_format, as_xarray, call.align_chunks, call.write_empty_chunks, call.profile)
    new = [
        new_array(name, _encode(name, variable, target), name in encoding, choices)
        for name, variable in variables.items()
        if name not in existing
    ]
    old = _plan_existing(target, {name: variables[name] for name in existing}, region, call)
    stored = None if call.mode == "r+" else encode_attributes_of(None, attributes)
    return GroupPlan(target, below, stored, new, old)


def check_apart(plans: Sequence[GroupPlan]) -> None:
    """Raise `MetadataError` where an array would be stored at the place of a group."""
    groups = {plan.below for plan in plans}
    for plan in plans:
        for new in plan.new:
            if join(plan.below, new.name) in groups:
                raise MetadataError(
                    f"an array would be stored as {join(plan.below, new.name)!r}, which is a group", hint="rename one"
                )


def _encoded_coordinates(ds: xr.Dataset, encoding: Mapping[Any, Any]) -> tuple[dict[Any, xr.Variable], dict[Any, Any]]:
    coded, attributes = conventions.encode_dataset_coordinates(ds)
    variables = {NO_NAME if name is None else name: with_types(variable) for name, variable in coded.items()}
    for name, given in encoding.items():
        if name not in variables:
            close = get_close_matches(str(name), map(str, variables), 1)
            raise UnknownVariableError(
                f"encoding is given for {name!r}, which is no variable of the dataset",
                hint=f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(repr, variables))}",
            )
        _check_dtype(name, given)
        variables[name].encoding = given
    return variables, dict(attributes)


def _check_dtype(name: Hashable, given: Any) -> None:
    """Raise `MetadataError` for what xarray would stumble over while it encodes."""
    if not isinstance(given, Mapping):
        raise MetadataError(f"the encoding must be castable to dict, unlike {given!r:.80}", where=f"variable {name!r}")
    try:
        np.dtype(given.get("dtype"))
    except TypeError as error:
        raise MetadataError(f"encoding: {error}", where=f"variable {name!r}", hint="give a NumPy data type") from None


def _encode(name: Hashable, variable: xr.Variable, target: Target) -> xr.Variable:
    try:
        return encode_variable(name, variable, target.zarr_format)
    except Exception as error:
        error.add_note(f"Raised while encoding variable {name!r}")
        raise


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_names(ds: xr.Dataset) -> None:
    for name in [*ds.variables, *ds.dims]:
        if name is None and name not in ds.dims:
            continue
        if not isinstance(name, str):
            raise ArgumentError(
                f"Invalid name {name!r} for DataArray or Dataset key: must be either a string or None for "
                "serialization to netCDF or zarr files"
            )
        if not name:
            raise MetadataError(
                f"Invalid name {name!r} for DataArray or Dataset key: string must be length 1 or greater for "
                "serialization to netCDF or zarr files"
            )
        if name in (".", "..") or "/" in name or "\0" in name:
            raise MetadataError(f"Invalid name {name!r}: it would be another place of the store", hint="rename it")


def _check_encoding(target: Target, encoding: Mapping[Any, Any], mode: str) -> None:
    if mode not in ("a", "a-", "r+"):
        return
    for name in target.arrays:
        if name in encoding:
            raise MetadataError(
                f"variable {name!r} already exists, but encoding was provided",
                where=target.where,
                hint="what is stored keeps its encoding; leave it out",
            )


def _check_existing(
    target: Target, variables: Mapping[Hashable, xr.Variable], existing: list[Hashable], call: Call
) -> None:
    new = [name for name in variables if name not in existing]
    if call.mode == "r+" and new:
        raise RegionError(
            f"dataset contains non-pre-existing variables {new!r}, which is not allowed in "
            "``xarray.Dataset.to_zarr()`` with ``mode='r+'``. To allow writing new variables, set ``mode='a'``.",
            where=target.where,
        )
    if call.append_dim is None:
        return
    dims = target.dims()
    known = dict.fromkeys(dim for along in dims.values() for dim in along)
    if call.append_dim not in known:
        raise RegionError(
            f"append_dim={call.append_dim!r} does not match any existing dataset dimensions {list(known)}",
            where=target.where,
        )
    sizes = {dim: n for name, along in dims.items() for dim, n in zip(along, target.arrays[name].shape, strict=True)}
    check_complete(dims, variables, call.append_dim, sizes[str(call.append_dim)])


# --- arrays that are there ------------------------------------------------------------------------------------------


def _plan_existing(
    target: Target, variables: Mapping[Hashable, xr.Variable], region: Region, call: Call
) -> list[OldArray]:
    stored, raw = target.decoded(variables), target.variables(variables)
    for name, variable in variables.items():
        check_dtype(name, variable, stored[name])
    found = []
    for name, variable in variables.items():
        grows = call.append_dim is not None and call.append_dim in stored[name].dims
        if call.append_dim is not None and not grows:
            if call.mode == "a-":
                continue
            if call.asked is None:
                check_equal(name, variable, stored[name], raw[str(name)])
                continue
        fitting = fit_dims(name, variable, stored[name], region, call.append_dim)
        found.append(_old_array(name, fitting, stored[name], raw[str(name)], target, region, call))
    return found


def _old_array(
    name: Hashable,
    variable: xr.Variable,
    stored: xr.Variable,
    raw: xr.Variable,
    target: Target,
    region: Region,
    call: Call,
) -> OldArray:
    array = target.arrays[str(name)]
    if call.safe_chunks != "auto":
        refuse_stored(name, array)
    given = variable.copy(deep=False)
    given.encoding = dict(stored.encoding)
    with warnings.catch_warnings():
        # xarray would store these times in another unit than the attributes say; they are refused below
        warnings.filterwarnings("ignore", "(Times|Timedeltas) can't be serialized faithfully", UserWarning)
        encoded = _encoded_as_stored(name, given, target)
    data = check_round_trip(name, variable, encoded, raw)
    spec, pieces = array.spec, []
    for dim, length, size in zip(variable.dims, array.shape, variable.shape, strict=True):
        start, stop, _ = region.get(dim, slice(None)).indices(length)
        pieces.append(slice(length, length + size) if dim == call.append_dim else slice(start, max(stop, start)))
    shape = tuple(max(piece.stop, length) for piece, length in zip(pieces, array.shape, strict=True))
    grown = resized_spec(spec, shape) if shape != array.shape else None
    return OldArray(array, grown, tuple(pieces), _as_stored(data, array))


def _encoded_as_stored(name: Hashable, variable: xr.Variable, target: Target) -> xr.Variable:
    try:
        return _encode(name, variable, target)
    except ValueError as error:
        if isinstance(error, XzarrError):
            raise
        raise RegionError(
            f"values of variable {name!r} do not fit the encoding of what is stored: {error}", where=target.where
        ) from error


def _as_stored(data: Any, array: Array) -> Any:
    """Texts that xarray holds as objects are given as what the array says."""
    return data if not isinstance(data, np.ndarray) or data.dtype.kind != "O" else np.asarray(data, array.dtype)
