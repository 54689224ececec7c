"""Variables of xarray by the conventions of `semantics`: what is stored for them, and what stored ones stand for.

Imports xarray, semantics, array and the rows below. Invariant: decoding reads nothing, and shows what it does not
understand as it is stored; a variable read by a convention remembers it (``encoding["dtype_semantic"]``), so that it is
written by it again; two variables are never stored under one name.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from .array import Array
from .errors import MetadataError, UnsupportedError
from .semantics import (
    FIELD_OF,
    NOT_A_TIME,
    SEMANTIC,
    Meaning,
    is_scalar,
    meaning_of,
    pair_meaning,
    parts_of,
    plain_attributes,
    record_meaning,
    with_rank,
)
from .xarray_values import is_lazy, typed

Variables = dict[Any, xr.Variable]

_SCALAR_DIM = "scalar"
# what of an encoding still holds when the data type is another one
_KEPT = frozenset(
    [
        "chunks",
        "preferred_chunks",
        "shards",
        "compressors",
        "chunk_key_encoding",
        "write_empty_chunks",
        "cache_metadata",
    ]
)
_OF_CF = ("units", "scale_factor", "add_offset")  # an encoding that has one of these says how to store numbers


# --- storing ---------------------------------------------------------------------------------------------------------


def express(
    variables: Variables, stored: Mapping[str, Array], explicit: Mapping[Any, Any], convert: bool
) -> tuple[Variables, dict[Any, Any]]:
    """Return the variables that are stored for ``variables``, and the encodings that were given for this write.

    ``stored``: the arrays that are there, which keep the conventions they have. ``convert``: use the conventions for
    all data types that need them; else only for variables that were read by one. Raises `MetadataError` where two
    variables would have one name, `UnsupportedError` for what no convention covers.
    """
    known = _stored_names(stored)
    found: Variables = {}
    encodings: dict[Any, Any] = {}
    for name, variable in variables.items():
        if name in known and SEMANTIC not in variable.attrs:
            parts = _like_stored(name, variable, known[name])
        else:
            parts = _parts(name, variable, convert, set().union(*(each.dims for each in variables.values())))
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


def _parts(name: Hashable, variable: xr.Variable, convert: bool, dims: set[Hashable]) -> Variables:
    remembered = variable.encoding.get(SEMANTIC)
    if SEMANTIC in variable.encoding:
        variable = variable.copy(deep=False)
        del variable.encoding[SEMANTIC]
    if not convert and remembered is None:
        return {name: variable}
    variable = typed(variable, name)
    scalar = variable.ndim == 0 and (convert or remembered == "scalar" or variable.dtype.kind not in "iuf")
    parts = None if _is_numbers(variable) else parts_of(str(name), variable.dtype, _values(variable))
    if parts is None:
        return {name: _as_vector(variable, {}, dims) if scalar else variable}
    if variable.encoding.get("_FillValue") is not None:
        raise UnsupportedError(
            f"variable {name!r} has a _FillValue in its encoding, and its data type is stored by a convention",
            hint=f"remove it: del ds[{name!r}].encoding['_FillValue']",
        )
    made = {}
    for part in parts:
        _check_attributes(name, variable, part.attributes)
        own = variable.dtype.kind == "f"  # which stay floats, that xarray masks by NaN
        encoding = {key: item for key, item in variable.encoding.items() if key in _KEPT}
        attributes = {**variable.attrs, **part.attributes}
        if part.fill is not None:
            attributes["_FillValue"] = np.int64(part.fill)
        elif not own:
            encoding["_FillValue"] = None
        one = xr.Variable(variable.dims, _converted(variable.data, part.encode, part.dtype), attributes, encoding)
        made[f"{name}{part.suffix}"] = _as_vector(one, part.attributes, dims) if scalar else one
    return made


def _is_numbers(variable: xr.Variable) -> bool:
    """Return whether CF conventions store a variable as numbers, so that no other convention is needed."""
    encoding = variable.encoding
    if any(encoding.get(key) is not None or key in variable.attrs for key in _OF_CF) and variable.dtype.kind in "mMf":
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
    encoding = {key: item for key, item in variable.encoding.items() if key not in ("chunks", "shards")}
    return xr.Variable((dim,), variable.data.reshape(1), attributes, encoding)


# --- storing into what is there ----------------------------------------------------------------------------------------


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
        found[name] = xr.Variable(variable.dims, variable.data, {}, {})
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


# --- reading ---------------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """A stored or half-decoded variable: ``data`` answers to the keys of its ``variable``."""

    variable: xr.Variable
    data: BackendArray
    decoded: str = ""

    @property
    def attrs(self) -> dict[Any, Any]:
        return self.variable.attrs

    @property
    def semantic(self) -> str:
        found = self.variable.attrs.get(SEMANTIC)
        return found if isinstance(found, str) else ""

    def without(self, attributes: Mapping[Any, Any]) -> _Piece:
        """Return the same with other attributes."""
        variable = self.variable
        return self._replace(variable=xr.Variable(variable.dims, variable._data, attributes, variable.encoding, True))


class Decoded(BackendArray):
    """Arrays that stand for one: what is read of each is put together by a function. ``scalar``: of shape (1)."""

    def __init__(
        self, parts: Sequence[Any], decode: Any, dtype: np.dtype[Any], shape: tuple[int, ...], scalar: bool = False
    ) -> None:
        self._parts, self._decode, self._scalar = tuple(parts), decode, scalar
        self.dtype, self.shape = dtype, shape

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the values of an indexer of xarray as a NumPy array."""
        if self._scalar:
            key = indexing.BasicIndexer((0,))
        return self._decode(*(np.asarray(part[key]) for part in self._parts))

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the same from a thread, so that several variables load at once."""
        import asyncio

        return await asyncio.to_thread(self.__getitem__, key)

    def __dask_tokenize__(self) -> Any:
        return "xzarr_backend.Decoded", self._parts, repr(self._decode), str(self.dtype), self.shape, self._scalar


def decode_semantics(variables: Mapping[str, xr.Variable], data: Mapping[str, BackendArray]) -> dict[str, xr.Variable]:
    """Return what stored ``variables`` stand for, lazily; ``data`` are the arrays that they consist of."""
    if not any(SEMANTIC in variable.attrs for variable in variables.values()):
        return dict(variables)
    pieces = {name: _Piece(variable, data[name]) for name, variable in variables.items()}
    return {name: _variable(piece) for name, piece in _decode(pieces).items()}


def _decode(pieces: Mapping[str, _Piece]) -> dict[str, _Piece]:
    found = {name: _unwrapped(piece) for name, piece in pieces.items()}
    _join(found, _records(found))
    _join(found, _pairs(found))
    return {name: _single(piece) for name, piece in found.items()}


def _join(pieces: dict[str, _Piece], joined: Iterable[tuple[str, Sequence[str], _Piece]]) -> None:
    """Replace pieces by what they are parts of, unless another variable has its name."""
    for name, parts, whole in list(joined):
        if name in pieces and name not in parts:
            continue
        for part in parts:
            del pieces[part]
        pieces[name] = whole


def _unwrapped(piece: _Piece) -> _Piece:
    """Return one value without dimensions where an array of shape (1) stands for it."""
    variable = piece.variable
    if not is_scalar(variable.attrs, variable.shape):
        return piece
    attributes = plain_attributes(variable.attrs) if piece.semantic == "scalar" else dict(variable.attrs)
    attributes.pop("rank", None)
    data = Decoded([piece.data], _itself, variable.dtype, (), scalar=True)
    encoding = {
        key: item for key, item in variable.encoding.items() if key not in ("chunks", "preferred_chunks", "shards")
    }
    found = xr.Variable((), indexing.LazilyIndexedArray(data), attributes, encoding, fastpath=True)
    return _Piece(found, data, "scalar")


def _itself(values: Any) -> Any:
    return values


def _records(pieces: Mapping[str, _Piece]) -> Iterable[tuple[str, Sequence[str], _Piece]]:
    bases: dict[str, dict[str, _Piece]] = {}
    for name, piece in pieces.items():
        if piece.semantic.startswith(FIELD_OF):
            bases.setdefault(piece.semantic.removeprefix(FIELD_OF), {})[name] = piece
    for base, parts in bases.items():
        whole = _record(parts)
        if whole is not None:
            yield base, list(parts), whole


def _record(parts: Mapping[str, _Piece]) -> _Piece | None:
    """Return the records that arrays of their fields stand for; None where the fields are not complete."""
    first = next(iter(parts.values()))
    names = first.attrs.get("fields")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    fields: list[_Piece] = []
    for name in names:
        own = {part: piece for part, piece in parts.items() if piece.attrs.get("field") == name}
        inner = {part: piece.without(_element(piece.attrs)) for part, piece in own.items()}
        made = list(_decode(inner).values())
        if len(made) != 1 or made[0].variable.dims != first.variable.dims:
            return None
        fields.append(made[0])
    if len(set(names)) < len(names) or any(field.variable.shape != first.variable.shape for field in fields):
        return None
    meaning = record_meaning(names, [np.dtype(field.data.dtype) for field in fields])
    return _made(first, [field.data for field in fields], meaning, "record")


def _element(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    element = attributes.get("element")
    return dict(element) if isinstance(element, dict) else {}


def _pairs(pieces: Mapping[str, _Piece]) -> Iterable[tuple[str, Sequence[str], _Piece]]:
    for name, real in pieces.items():
        base = name.removesuffix("_real")
        imag = pieces.get(f"{base}_imag")
        if real.attrs.get("part") != "real" or base == name or imag is None or imag.attrs.get("part") != "imag":
            continue
        fits = real.semantic == imag.semantic and real.variable.sizes == imag.variable.sizes
        meaning = pair_meaning(real.semantic, np.dtype(real.data.dtype))
        if fits and meaning is not None and real.variable.dims == imag.variable.dims:
            yield base, (name, f"{base}_imag"), _made(real, [real.data, imag.data], meaning, real.semantic)


def _single(piece: _Piece) -> _Piece:
    """Return what one stored array stands for; for times that have CF units xarray finds that out itself."""
    time = piece.semantic.partition("[")[0] in ("datetime64", "timedelta64")
    if time and _has_cf_units(piece):
        return _for_cf(piece)
    meaning = meaning_of(piece.attrs, np.dtype(piece.data.dtype))
    if meaning is None:
        return piece
    if time:
        mask = _mask(piece)
        if mask is not None:
            meaning = meaning._replace(decode=partial(_masked, meaning.decode, mask))
    return _made(piece, [piece.data], meaning, piece.semantic)


def _masked(decode: Any, mask: int, values: Any) -> Any:
    found = decode(values)
    found[values == mask] = np.array("NaT", found.dtype)
    return found


def _mask(piece: _Piece) -> int | None:
    """Return the whole number that stands for no time; zero never does, it is what writers put in for nothing."""
    fill = piece.attrs.get("_FillValue")
    if not isinstance(fill, int | np.integer) or isinstance(fill, bool) or int(fill) in (0, NOT_A_TIME):
        return None
    return int(fill)


def _has_cf_units(piece: _Piece) -> bool:
    units = piece.attrs.get("units")
    return isinstance(units, str) and (piece.semantic.startswith("timedelta64") or " since " in units)


def _for_cf(piece: _Piece) -> _Piece:
    """Leave a time to xarray, but without what would make the epoch itself a missing value."""
    attributes = {key: item for key, item in piece.attrs.items() if key not in (SEMANTIC, "epoch")}
    if attributes.get("_FillValue") == 0:
        del attributes["_FillValue"]
    if piece.semantic.startswith("timedelta64"):
        attributes.setdefault("dtype", piece.semantic)
    piece.variable.encoding[SEMANTIC] = piece.semantic
    return piece.without(attributes)


def _made(first: _Piece, parts: Sequence[BackendArray], meaning: Meaning, semantic: str) -> _Piece:
    variable = first.variable
    attributes = plain_attributes(variable.attrs)
    keeps_mask = meaning.dtype.kind == "f"
    if not keeps_mask:
        attributes.pop("_FillValue", None)
    encoding = {key: item for key, item in variable.encoding.items() if key in _KEPT}
    data = Decoded(parts, meaning.decode, meaning.dtype, variable.shape)
    found = xr.Variable(variable.dims, indexing.LazilyIndexedArray(data), attributes, encoding, fastpath=True)
    return _Piece(found, data, semantic)


def _variable(piece: _Piece) -> xr.Variable:
    if piece.decoded:
        piece.variable.encoding[SEMANTIC] = piece.decoded
    return piece.variable
