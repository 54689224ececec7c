"""How data that other languages have no type for are stored as plain numbers, by the conventions of `semantics`.

Imports NumPy, semantics and errors. Invariant: every value comes back exactly as it was, or storing it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .errors import MetadataError, RegionError, UnsupportedError
from .semantics import EPOCH, FIELD_OF, NOT_A_TIME, SEMANTIC, UNITS
from .spec import JSON

MAX_LABELS = 2**20  # of one array: they stand in a JSON document that every reader takes into memory

Convert = Callable[[Any], Any]


class Part(NamedTuple):
    """One array that data are stored in: what its name ends with, its data type, what makes its values, attributes.

    ``fill`` is what a missing chunk stands for, None where nothing is masked.
    """

    suffix: str
    dtype: np.dtype[Any]
    encode: Convert
    attributes: dict[str, JSON]
    fill: int | None = None


def parts_of(name: str, dtype: np.dtype[Any], values: Any, *, cf: bool = True) -> list[Part] | None:
    """Return how values of ``dtype`` are stored in plain numbers; None where they are plain numbers already.

    ``values``: None where they are not known yet, which texts and records that hold some cannot do without. ``cf``:
    give times the attributes of the CF conventions too, where those can express them. Raises `UnsupportedError` for
    what no convention covers, `MetadataError` for texts that are not known.
    """
    if dtype.names is not None:
        return _record_parts(name, dtype, values)
    kind = dtype.kind
    if kind == "b":
        return [Part("", np.dtype("u1"), _to_bytes, {SEMANTIC: "boolean", "false_value": 0, "true_value": 1})]
    if kind == "f" and dtype.itemsize == 2:
        return [Part("", np.dtype("<f4"), _to_single, {SEMANTIC: "float16"})]
    if kind == "c" and dtype.itemsize in (8, 16):
        return _complex_parts(dtype)
    if kind in "mM":
        return [_time_part(name, dtype, values, cf)]
    if kind in "SUTO":
        return [_text_part(name, dtype, values)]
    if kind in "iuf" and dtype.itemsize <= 8:
        return None
    raise UnsupportedError(f"there is no convention for storing {dtype}, that of {name!r}", hint="convert it first")


def _to_bytes(values: Any) -> Any:
    return np.asarray(values, bool, order="C").view("u1")


def _to_single(values: Any) -> Any:
    return np.asarray(values).astype("<f4")


def _real(values: Any) -> Any:
    return np.asarray(np.real(values), order="C")


def _imag(values: Any) -> Any:
    return np.asarray(np.imag(values), order="C")


def _complex_parts(dtype: np.dtype[Any]) -> list[Part]:
    semantic = f"complex{8 * dtype.itemsize}"
    stored = np.dtype(f"<f{dtype.itemsize // 2}")
    ways = (("real", _real), ("imag", _imag))
    return [Part(f"_{part}", stored, way, {SEMANTIC: semantic, "part": part}) for part, way in ways]


@dataclass(frozen=True)
class _Times:
    """Makes whole numbers of times; raises `RegionError` for those that the unit cannot hold."""

    name: str
    dtype: str  # with the unit that is stored
    as_nanoseconds: bool  # whether readers will take them for nanoseconds

    def __call__(self, values: Any) -> Any:
        given = np.asarray(values)
        found = _in_unit(given, self.dtype)
        if found is None or (self.as_nanoseconds and not _fits(given, f"{self.dtype[:2]}[ns]")):
            raise RegionError(
                f"the times of {self.name!r} cannot be stored as {self.dtype} for all readers",
                hint="round them, or load the data first (.load()), so that a unit can be chosen that fits",
            )
        return np.asarray(found, order="C").view("i8")


@dataclass(frozen=True)
class InStoredUnit:
    """Turns times into those of each of ``dtypes`` in turn; raises `RegionError` where one cannot hold them."""

    name: str
    dtypes: tuple[str, ...]

    def __call__(self, values: Any) -> Any:
        found = np.asarray(values)
        for dtype in self.dtypes:
            found = _in_unit(found, dtype)
            if found is None:
                raise RegionError(
                    f"the times for {self.name!r} are no whole numbers of the unit that the stored ones have, {dtype}",
                    hint="round them, or write the whole array again",
                )
        return found


def _in_unit(given: Any, dtype: str) -> Any:
    """Return times in the unit of ``dtype``; None where that cannot hold all of them exactly."""
    known = ~np.isnat(given)
    try:
        found = given.astype(dtype)
        back = found[known].astype(given.dtype)
    except OverflowError:  # NumPy 2.5 and later say so; before, a time changes its side or its distance
        return None
    same = np.array_equal(back, given[known]) and np.array_equal(np.isnat(found), ~known)
    return found if same else None


def _time_part(name: str, dtype: np.dtype[Any], values: Any, cf: bool) -> Part:
    kind = "datetime64" if dtype.kind == "M" else "timedelta64"
    own, count = np.datetime_data(dtype)
    if own == "generic":
        own = "ns"
    unit = _unit(dtype, own, count, values)
    as_nanoseconds = cf and (values is None or _fits(np.asarray(values), f"{dtype.kind}8[ns]"))
    attributes: dict[str, JSON] = {SEMANTIC: f"{kind}[{unit}]"}
    if dtype.kind == "M":
        attributes["epoch"] = EPOCH
    if as_nanoseconds:
        attributes |= _cf_attributes(dtype, unit, own)
    encode = _Times(name, f"{dtype.kind}8[{unit}]", as_nanoseconds)
    # without the units of CF, a fill value would only make xarray's own engine turn the numbers into floats
    return Part("", np.dtype("<i8"), encode, attributes, NOT_A_TIME if as_nanoseconds else None)


def _unit(dtype: np.dtype[Any], own: str, count: int, values: Any) -> str:
    """Return the unit to store: microseconds, or where those cannot hold the values, their own."""
    if values is None:  # blocks that come later: their own unit always fits
        return own if own in UNITS and count == 1 else "s" if own in ("Y", "M", "W", "D", "h", "m") else "ns"
    for unit in ("us", "ns", "ms", "s"):
        if _fits(np.asarray(values), f"{dtype.kind}8[{unit}]"):
            return unit
    raise UnsupportedError(f"times of {dtype} cannot be stored as seconds or fractions of them", hint="round them")


def _fits(values: Any, dtype: str) -> bool:
    return _in_unit(values, dtype) is not None


def _cf_attributes(dtype: np.dtype[Any], unit: str, own: str) -> dict[str, JSON]:
    if dtype.kind == "M":
        return {"units": f"{UNITS[unit]} since 1970-01-01", "calendar": "proleptic_gregorian"}
    shown = own if own in UNITS else unit
    return {"units": UNITS[unit], "dtype": f"timedelta64[{shown}]"}  # the second one is xarray's own mark


def _text_part(name: str, dtype: np.dtype[Any], values: Any) -> Part:
    if values is None:
        raise MetadataError(
            f"the texts of {name!r} must be known to be stored as codes", hint="give the data, or load them first"
        )
    labels = sorted(set(_texts(np.asarray(values))))
    if len(labels) > MAX_LABELS:
        raise UnsupportedError(
            f"{name!r} has {len(labels):,} different texts, more than fit into a list of labels",
            hint="store them as they are, without a profile",
        )
    attributes: dict[str, JSON] = {SEMANTIC: "string", "labels": labels}
    attributes["string_dtype"] = dtype.str if dtype.kind in "SU" else "string"
    return Part("", _code_dtype(len(labels)), _Codes(name, tuple(labels)), attributes)


def _code_dtype(count: int) -> np.dtype[Any]:
    return np.dtype("u1" if count <= 2**8 else "<u2" if count <= 2**16 else "<u4")


def _texts(values: Any) -> list[str]:
    found = values.ravel().tolist()
    if values.dtype.kind == "S":
        return [item.decode("latin-1") for item in found]
    # as in xarray, a missing text becomes an empty one
    found = ["" if item is None or item != item else item for item in found]
    wrong = next((item for item in found if not isinstance(item, str)), None)
    if wrong is not None:
        raise UnsupportedError(f"{wrong!r:.40} is no text", hint="convert the objects to texts or numbers first")
    return found


@dataclass(frozen=True)
class _Codes:
    """Makes codes of texts; raises `RegionError` for a text that has no label."""

    name: str
    labels: tuple[str, ...]
    dtype: str = ""

    def __call__(self, values: Any) -> Any:
        given = np.asarray(values)
        numbers = {label: number for number, label in enumerate(self.labels)}
        try:
            codes = [numbers[text] for text in _texts(given)]
        except KeyError as error:
            raise RegionError(
                f"the text {error.args[0]!r:.80} is not among the {len(numbers)} labels of {self.name!r}",
                hint="write the whole array again, so that its labels are made anew",
            ) from None
        return np.array(codes, self.dtype or _code_dtype(len(numbers))).reshape(given.shape)


@dataclass(frozen=True)
class _Field:
    """Takes a field out of records, and converts it."""

    field: str
    then: Convert

    def __call__(self, values: Any) -> Any:
        return self.then(np.asarray(values[self.field], order="C"))


def _record_parts(name: str, dtype: np.dtype[Any], values: Any) -> list[Part]:
    fields = list(dtype.names or ())
    found = []
    for field in fields:
        one = dtype[field]
        if one.subdtype is not None or (one.kind == "V" and one.names is None):
            raise UnsupportedError(
                f"the field {field!r} of {name!r} is {one}, for which there is no convention",
                hint="store it as an array of its own",
            )
        # times keep their unit, so that the records have the same data type when they come back
        inside = None if values is None or one.kind in "mM" else np.asarray(values)[field]
        below = f"{name}_{field}"
        plain = [Part("", one.newbyteorder("<"), np.asarray, {})]
        for part in parts_of(below, one, inside, cf=False) or plain:
            mark: dict[str, JSON] = {SEMANTIC: f"{FIELD_OF}{name}", "field": field, "fields": list(fields)}
            if part.attributes:
                mark["element"] = part.attributes
            found.append(Part(f"_{field}{part.suffix}", part.dtype, _Field(field, part.encode), mark, part.fill))
    return found


def with_rank(attributes: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the attributes of a convention for one value, which is stored as an array of shape (1)."""
    return {**attributes, "rank": 0} if attributes else {SEMANTIC: "scalar"}
