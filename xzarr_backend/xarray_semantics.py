"""Variables of xarray that stand for others by the conventions of `semantics`: lazily, what they stand for.

Imports xarray, semantics and the rows below. Invariant: decoding reads nothing, and shows what it does not understand
as it is stored; a variable read by a convention remembers it (``encoding["dtype_semantic"]``), so that it is written by
it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from .semantics import (
    FIELD_OF,
    NOT_A_TIME,
    SEMANTIC,
    UNITS,
    Meaning,
    coarser,
    is_scalar,
    meaning_of,
    pair_meaning,
    plain_attributes,
    record_meaning,
)

# what of an encoding still holds when the data type is another one
CF_UNITS = frozenset([*UNITS.values(), "minutes", "hours", "days"])  # of durations, as xarray knows them
KEPT = ("chunks", "preferred_chunks", "shards", "compressors", "chunk_key_encoding", "write_empty_chunks")
OF_CHUNKS = ("chunks", "preferred_chunks", "shards")


class _Piece(NamedTuple):
    """A stored or half-decoded variable: ``data`` answers to the keys of its ``variable``."""

    variable: xr.Variable
    data: Any  # a BackendArray
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
        data = indexing.LazilyIndexedArray(self.data)
        return self._replace(variable=xr.Variable(variable.dims, data, attributes, variable.encoding, fastpath=True))


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
    attributes = _without_zero(plain_attributes(variable.attrs) if piece.semantic == "scalar" else variable.attrs)
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
    if not isinstance(units, str):
        return False
    return units in CF_UNITS if piece.semantic.startswith("timedelta64") else " since " in units


def _for_cf(piece: _Piece) -> _Piece:
    """Leave a time to xarray, but without what would make the epoch itself a missing value."""
    attributes = _without_zero(plain_attributes(piece.attrs))
    piece.variable.encoding[SEMANTIC] = _remembered(piece, piece.semantic)
    if piece.semantic.startswith("timedelta64"):
        attributes.setdefault("dtype", piece.semantic)
        piece = _in_shown_unit(piece, attributes)
    return piece.without(attributes)._replace(decoded="")


def _in_shown_unit(piece: _Piece, attributes: dict[Any, Any]) -> _Piece:
    """Return durations as numbers of the unit that they come back in, which xarray would not keep to otherwise."""
    stored = next((unit for unit, name in UNITS.items() if name == attributes["units"]), "")
    shown = str(attributes["dtype"]).removeprefix("timedelta64[").removesuffix("]")
    rescale = coarser(stored, shown) if piece.data.dtype.kind == "i" and shown in UNITS else None
    if rescale is None:
        return piece
    attributes["units"] = UNITS[shown]
    return piece._replace(data=Decoded([piece.data], rescale, np.dtype("i8"), piece.variable.shape))


def _without_zero(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return ``attributes`` without a fill value of zero: writers put it in for nothing, and it masks nothing here."""
    zero = isinstance(attributes.get("_FillValue"), int | float | np.number) and attributes["_FillValue"] == 0
    return {key: item for key, item in attributes.items() if not (zero and key == "_FillValue")}


def _remembered(piece: _Piece, semantic: str) -> str:
    """Return how the encoding of what ``piece`` stands for names the convention."""
    return f"scalar {semantic}" if piece.decoded == "scalar" else semantic


def _made(first: _Piece, parts: Sequence[BackendArray], meaning: Meaning, semantic: str) -> _Piece:
    variable = first.variable
    attributes = _without_zero(plain_attributes(variable.attrs))
    keeps_mask = meaning.dtype.kind == "f"
    if not keeps_mask:
        attributes.pop("_FillValue", None)
    encoding = {key: item for key, item in variable.encoding.items() if key in KEPT}
    if meaning.dtype.kind == "T":
        encoding["dtype"] = meaning.dtype
    data = Decoded(parts, meaning.decode, meaning.dtype, variable.shape)
    found = xr.Variable(variable.dims, indexing.LazilyIndexedArray(data), attributes, encoding, fastpath=True)
    return _Piece(found, data, _remembered(first, semantic))


def _variable(piece: _Piece) -> xr.Variable:
    if piece.decoded:
        piece.variable.encoding[SEMANTIC] = piece.decoded
    return piece.variable
