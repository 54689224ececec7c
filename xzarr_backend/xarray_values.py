"""Values that CF conventions have no word for, on their way to a store: Python objects, texts, native times.

Imports xarray and pandas (for what is missing) and errors. Invariant: a value is stored as it is or refused, with one
exception that xarray makes too: a missing text becomes an empty one.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from .errors import MetadataError, UnsupportedError

TEXT = np.dtype("O", metadata={"element_type": str})  # how xarray marks objects that are all texts


def is_lazy(data: Any) -> bool:
    """Return whether ``data`` is a dask array."""
    return hasattr(data, "__dask_graph__")


# --- Python objects -------------------------------------------------------------------------------------------------


def typed(variable: xr.Variable, name: Hashable) -> xr.Variable:
    """Return ``variable`` with the data type that its objects have; raise `MetadataError` where there is none."""
    if variable.dtype.kind != "O" or _element_type(variable.dtype) is str:
        return variable
    data = variable.data
    if is_lazy(data):
        warnings.warn(
            f"variable {name} has data in the form of a dask array with dtype=object, which means it is being loaded "
            "into memory to determine a data type that can be safely stored on disk. To avoid this, coerce this "
            "variable to a fixed-size dtype with astype() before saving it.",
            xr.SerializationWarning,
            stacklevel=2,
        )
        data = data.compute()
    return _replaced(variable, _typed(np.asarray(data), name))


def _typed(data: Any, name: Hashable) -> Any:
    import pandas as pd  # type: ignore[import-untyped]

    missing = np.asarray(pd.isnull(data))
    present = data[~missing]
    if _element_type(data.dtype) is bytes or (present.size and all(isinstance(item, bytes) for item in present.flat)):
        found = _filled(data, missing, b"").astype(np.bytes_)
        # of length 1 they would be characters, which are joined to one text when they are read; 8 as xarray has it
        return found if found.itemsize > 1 else found.astype("S2" if found.any() else "S8")
    if present.size and all(isinstance(item, str | bytes) for item in present.flat):
        return _filled(data, missing, "").astype(TEXT)
    dtype = _number_type(present, name)
    if missing.any() and dtype.kind != "f":
        dtype = np.dtype(float)
    return _filled(data, missing, np.nan).astype(dtype) if missing.any() else data.astype(dtype)


def _filled(data: Any, missing: Any, value: Any) -> Any:
    if not missing.any():
        return data
    filled = data.copy()
    filled[missing] = value
    return filled


def _number_type(present: Any, name: Hashable) -> np.dtype[Any]:
    if not present.size:
        return np.dtype(float)
    types = {type(item) for item in present.flat}
    if len(types) > 1:
        raise MetadataError(
            f"unable to infer dtype on variable {name!r}; object array contains mixed native types: "
            f"{', '.join(sorted(each.__name__ for each in types))}",
            hint="convert it with .astype() first",
        )
    dtype = np.array(present.flat[0]).dtype
    if dtype.kind == "O":
        raise MetadataError(
            f"unable to infer dtype on variable {name!r}; xarray cannot serialize arbitrary Python objects",
            hint="convert it with .astype() first",
        )
    return dtype


def _element_type(dtype: np.dtype[Any]) -> Any:
    metadata: Any = dtype.metadata or {}
    return metadata.get("element_type", metadata.get("vlen"))


def _replaced(variable: xr.Variable, data: Any) -> xr.Variable:
    return xr.Variable(variable.dims, data, variable.attrs, variable.encoding, fastpath=True)


# --- texts ----------------------------------------------------------------------------------------------------------


def encode_text(variable: xr.Variable, name: Hashable, zarr_format: int) -> xr.Variable:
    """Return ``variable`` with texts as they are stored: of any length, of a fixed one, or as characters of UTF-8."""
    as_bytes = variable.encoding.get("dtype") == "S1"
    is_text = variable.dtype.kind in "UT" or _element_type(variable.dtype) is str
    variable = variable.copy(deep=False)
    if as_bytes:
        del variable.encoding["dtype"]
    if variable.dtype.kind == "T" and (as_bytes or variable.dtype != np.dtypes.StringDType()):
        # missing texts have no place in Zarr: fixed-width texts, as xarray stores them
        objects = np.asarray(variable.data, dtype=object)
        objects = np.where(objects == None, "", objects)  # noqa: E711 (elementwise)
        variable = _replaced(variable, np.asarray(objects, dtype="U"))
    if not (is_text and as_bytes):
        return variable
    if "_FillValue" in variable.attrs:
        raise UnsupportedError(
            f"variable {name!r} has a _FillValue, which is not yet supported on unicode strings stored as characters"
        )
    encoding = variable.encoding.pop("_Encoding", "utf-8")
    texts = np.asarray(variable.data)
    data = np.array([text.encode(encoding) for text in texts.ravel()], dtype=bytes).reshape(texts.shape)
    found = _replaced(variable, data)
    found.attrs = {**variable.attrs, "_Encoding": encoding}
    return found


# --- native times ---------------------------------------------------------------------------------------------------


def native_time(variable: xr.Variable) -> np.dtype[Any] | None:
    """Return the data type that a time is to be stored as, None where CF numbers are stored.

    It was read as one, which its fill value shows, or the encoding asks for one.
    """
    encoding = variable.encoding
    if variable.dtype.kind not in "mM" or "units" in encoding or "units" in variable.attrs:
        return None
    fills = (encoding.get("fill_value"), encoding.get("_FillValue"), variable.attrs.get("_FillValue"))
    for shown in (encoding.get("dtype"), *(getattr(fill, "dtype", None) for fill in fills)):
        if is_time(shown) and np.dtype(shown).kind == variable.dtype.kind:
            return np.dtype(shown)
    return None


def is_time(dtype: Any) -> bool:
    """Return whether an encoding's ``dtype`` is a native time."""
    try:
        return dtype is not None and np.dtype(dtype).kind in "mM"
    except TypeError:
        return False


def fits_unit(name: Hashable, variable: xr.Variable, wanted: np.dtype[Any]) -> xr.Variable:
    """Return a native time in the unit of ``wanted``; raise `MetadataError` where that would lose something."""
    found = xr.Variable(variable.dims, variable.data, variable.attrs, variable.encoding)
    for key in ("dtype", "_FillValue", "calendar", "fill_value"):
        found.encoding.pop(key, None)
    found.attrs = {key: value for key, value in variable.attrs.items() if key != "_FillValue"}
    if np.datetime_data(wanted)[0] == "generic" or wanted == variable.dtype:
        return found
    original = np.asarray(variable.data)
    data = original.astype(wanted)
    if not np.array_equal(data.astype(original.dtype), original, equal_nan=True):
        raise MetadataError(
            f"the times of variable {name!r} do not fit the unit of {wanted}",
            hint=f"give encoding={{{name!r}: {{'dtype': {str(variable.dtype)!r}}}}}",
        )
    found.data = data
    return found
