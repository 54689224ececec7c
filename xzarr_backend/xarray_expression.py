"""Variables of xarray as they are stored by the conventions of `semantics`, new ones and those that are there.

Imports xarray, semantic_parts, array and the rows below. Invariant: two variables are never stored under one name; a
variable that is stored by a convention already keeps it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from .array import Array
from .errors import MetadataError, UnsupportedError
from .semantic_parts import InStoredUnit, parts_of, with_rank
from .semantics import FIELD_OF, SEMANTIC, UNITS, is_scalar
from .xarray_semantics import KEPT, OF_CHUNKS
from .xarray_values import is_lazy, typed

Variables = dict[Any, xr.Variable]

_SCALAR_DIM = "scalar"
_OF_DTYPE = ("dtype", "_FillValue", "units", "calendar", "source", "original_shape", SEMANTIC)
_OF_CF = ("units", "scale_factor", "add_offset")  # an encoding that has one of these says how to store numbers


def express(
    variables: Variables, stored: Mapping[str, Array], explicit: Mapping[Any, Any], kinds: str
) -> tuple[Variables, dict[Any, Any]]:
    """Return the variables that are stored for ``variables``, and the encodings that were given for this write.

    ``stored``: the arrays that are there, which keep the conventions they have. ``kinds``: of the data types (as
    NumPy has them) to use the conventions for; others only for variables that were read by one. Raises `MetadataError`
    where two variables would have one name, `UnsupportedError` for what no convention covers.
    """
    known = _stored_names(stored)
    dims: set[Hashable] = set().union(*(each.dims for each in variables.values()))
    found: Variables = {}
    encodings: dict[Any, Any] = {}
    for name, variable in variables.items():
        if name in known and SEMANTIC not in variable.attrs:
            parts = _like_stored(name, variable, known[name])
        elif name in stored:
            parts = {name: variable}
        else:
            parts = _parts(name, variable, name in explicit, kinds, dims)
        for part, each in parts.items():
            if part in found or (part != name and (part in variables or (part in stored and name not in known))):
                raise MetadataError(
                    f"variable {name!r} would be stored as {part!r}, which is another variable",
                    hint=f"rename one of them: ds.rename({{{name!r}: ...}})",
                )
            found[part] = each
            if name in explicit:
                encodings[part] = each.encoding
    return found, encodings


def _parts(name: Hashable, variable: xr.Variable, explicit: bool, kinds: str, dims: set[Hashable]) -> Variables:
    remembered = variable.encoding.get(SEMANTIC)
    if remembered is not None:
        variable = _forgetting(variable, str(remembered))
    if (variable.dtype.kind not in kinds and remembered is None) or _holds_cftime(variable):
        return {name: variable}
    variable = typed(variable, name)
    scalar = variable.ndim == 0 and ("i" in kinds or str(remembered).startswith("scalar"))
    parts = None if _is_numbers(variable) else parts_of(str(name), variable.dtype, _values(variable))
    if parts is None:
        return {name: _as_vector(variable, {}, dims) if scalar else variable}
    own = variable.dtype.kind == "f"  # floats that stay floats, which CF conventions mask
    if not own and variable.encoding.get("_FillValue") is not None:
        raise UnsupportedError(
            f"variable {name!r} has a _FillValue in its encoding, and its data type is stored by a convention",
            hint=f"remove it: del ds[{name!r}].encoding['_FillValue']",
        )
    made = {}
    for part in parts:
        _check_attributes(name, variable, part.attributes)
        left_out = _OF_DTYPE if explicit else [key for key in variable.encoding if key not in KEPT]
        encoding = {key: item for key, item in variable.encoding.items() if key not in left_out}
        attributes = {**variable.attrs, **part.attributes}
        if part.fill is not None:
            attributes["_FillValue"] = np.int64(part.fill)
        elif not own:
            encoding["_FillValue"] = None
        elif "_FillValue" in variable.encoding:
            encoding["_FillValue"] = variable.encoding["_FillValue"]
        one = xr.Variable(variable.dims, _converted(variable.data, part.encode, part.dtype), attributes, encoding)
        made[f"{name}{part.suffix}"] = _as_vector(one, part.attributes, dims) if scalar else one
    return made


def _forgetting(variable: xr.Variable, semantic: str) -> xr.Variable:
    """Return a variable whose encoding says nothing of the convention that it was read by."""
    variable = variable.copy(deep=False)
    of_time = _OF_DTYPE if variable.dtype.kind in "mM" and "64[" in semantic else (SEMANTIC,)
    variable.encoding = {key: item for key, item in variable.encoding.items() if key not in of_time}
    return variable


def _holds_cftime(variable: xr.Variable) -> bool:
    """Return whether objects are dates of other calendars, which CF conventions store."""
    if variable.dtype.kind != "O" or not variable.size:
        return False
    first = np.asarray(variable[(0,) * variable.ndim].data).item()
    return type(first).__module__.startswith("cftime")


def _is_numbers(variable: xr.Variable) -> bool:
    """Return whether CF conventions store a variable as numbers, so that no other convention is needed."""
    encoding = variable.encoding
    given = [key for key in _OF_CF if encoding.get(key) is not None or key in variable.attrs]
    if variable.dtype.kind in "mM" and given:
        return True
    if variable.dtype.kind == "f" and set(given) - {"units"}:  # of a float, units say nothing about its numbers
        return True
    return variable.dtype.kind in "bfmM" and np.dtype(encoding.get("dtype") or "O").kind in "iu"


def _values(variable: xr.Variable) -> Any:
    """Return the values that the choice of a convention needs; those of dask only where it cannot do without."""
    data = variable.data
    if not is_lazy(data):
        return np.asarray(data)
    return data.compute() if variable.dtype.kind in "SUTOV" else None


def _converted(data: Any, encode: Any, dtype: np.dtype[Any]) -> Any:
    if is_lazy(data):
        return data.map_blocks(encode, dtype=dtype, meta=np.empty((0,) * data.ndim, dtype))
    return encode(np.asarray(data))


def _check_attributes(name: Hashable, variable: xr.Variable, ours: Mapping[str, Any]) -> None:
    taken = sorted(str(key) for key in variable.attrs if key in {*ours, "rank", "_FillValue"} and ours)
    if taken:
        raise MetadataError(
            f"variable {name!r} has the attribute {taken[0]!r}, which the convention for {variable.dtype} needs itself",
            hint=f"rename or remove it: del ds[{name!r}].attrs[{taken[0]!r}]",
        )


def _as_vector(variable: xr.Variable, ours: Mapping[str, Any], dims: set[Hashable]) -> xr.Variable:
    if not ours and SEMANTIC in variable.attrs:
        return variable  # it says itself what it stands for
    dim = _SCALAR_DIM
    while dim in dims:
        dim += "_"
    attributes = {**variable.attrs, **with_rank(ours)}
    encoding = {key: item for key, item in variable.encoding.items() if key not in OF_CHUNKS}
    return xr.Variable((dim,), variable.data.reshape(1), attributes, encoding)


# --- storing into what is there --------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """The arrays that a variable is stored in, by name, each with its attributes."""

    arrays: Mapping[str, Mapping[str, Any]]
    shapes: Mapping[str, tuple[int, ...]]
    dims: Mapping[str, tuple[str, ...]]


def _stored_names(stored: Mapping[str, Array]) -> dict[str, _Known]:
    """Return the names of the variables that stored arrays stand for by a convention, with those arrays."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in stored.items():
        attributes = array.spec.attributes
        semantic = attributes.get(SEMANTIC)
        if not isinstance(semantic, str):
            continue
        base = name
        if semantic.startswith(FIELD_OF):
            base = semantic.removeprefix(FIELD_OF)
        elif semantic.startswith("complex") and name.endswith(f"_{attributes.get('part')}"):
            base = name.removesuffix(f"_{attributes.get('part')}")
        found.setdefault(base, {})[name] = array
    return {
        base: _Known(
            {name: array.spec.attributes for name, array in arrays.items()},
            {name: array.shape for name, array in arrays.items()},
            {name: tuple(map(str, array.dimension_names or ())) for name, array in arrays.items()},
        )
        for base, arrays in found.items()
    }


def parts_named(stored: Mapping[str, Array], name: str) -> dict[str, Array]:
    """Return the arrays that the variable ``name`` is stored in by a convention."""
    known = _stored_names(stored).get(name)
    return {} if known is None else {part: stored[part] for part in known.arrays}


def _like_stored(name: Hashable, variable: xr.Variable, known: _Known) -> Variables:
    """Return ``variable`` as the numbers that the stored arrays hold for it."""
    variable = typed(variable.copy(deep=False), name)
    attributes = next(iter(known.arrays.values()))
    variable.encoding.pop(SEMANTIC, None)
    of_cf = isinstance(attributes.get("units"), str) and variable.dtype.kind in "mM"
    parts = [] if of_cf else parts_of(str(name), variable.dtype, _values(variable), cf=False) or []
    if not parts or (len(known.arrays) == 1 and not _matches(parts[0].attributes, attributes)):
        parts = []
    found: Variables = {}
    if not parts:
        found[name] = xr.Variable(variable.dims, _in_stored_unit(str(name), variable, attributes), {}, {})
    for part in parts:
        encode = _as_labelled(str(name), part.encode, known.arrays.get(f"{name}{part.suffix}", {}))
        found[f"{name}{part.suffix}"] = xr.Variable(
            variable.dims, _converted(variable.data, encode, part.dtype), {}, {}
        )
    if set(found) != set(known.arrays):
        raise MetadataError(
            f"variable {name!r} of {variable.dtype} is stored as {', '.join(map(repr, known.arrays))}, which stand for "
            "another data type",
            hint="convert the data, or write the whole dataset again",
        )
    for part, each in found.items():
        if each.ndim == 0 and is_scalar(known.arrays[str(part)], known.shapes[str(part)]):
            found[part] = xr.Variable(known.dims[str(part)], each.data.reshape(1), {}, {})
    return found


def _in_stored_unit(name: str, variable: xr.Variable, stored: Mapping[str, Any]) -> Any:
    """Return the data of ``variable``; times in the unit of the stored numbers, which xarray encodes exactly.

    Durations must also be whole numbers of the unit that those in the store come back in.
    """
    if variable.dtype.kind not in "mM":
        return variable.data
    names = {f"{variable.dtype.kind}8[{unit}]": name for unit, name in UNITS.items()}
    shown, units = str(stored.get("dtype")), str(stored.get("units")).partition(" ")[0]
    dtypes = [f"m8{shown[11:]}"] if variable.dtype.kind == "m" and f"m8{shown[11:]}" in names else []
    dtypes += [dtype for dtype, name in names.items() if name == units]
    return (
        _converted(variable.data, InStoredUnit(name, tuple(dtypes)), np.dtype(dtypes[-1])) if dtypes else variable.data
    )


def _matches(ours: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Return whether values made by our convention are those that the stored one means."""
    keys = ("false_value", "true_value", SEMANTIC, "epoch")
    if ours.get(SEMANTIC) == "string":
        return stored.get(SEMANTIC) == "string"
    if any(ours.get(key) != stored.get(key) for key in keys):
        raise MetadataError(
            f"the stored convention {stored.get(SEMANTIC)!r} is not the one that new values are written by, "
            f"{ours.get(SEMANTIC)!r}",
            hint="open with decode_semantics=False and write the stored numbers",
        )
    return True


def _as_labelled(name: str, encode: Any, stored: Mapping[str, Any]) -> Any:
    labels = stored.get("labels")
    if stored.get(SEMANTIC) != "string" or not isinstance(labels, list | tuple):
        return encode
    return type(encode)(name, tuple(labels))
