"""What a plain array of numbers stands for: the conventions for data types that other languages lack, both ways.

Imports NumPy and errors. Invariant: every value comes back exactly as it was, or storing it raises; what an attribute
``dtype_semantic`` says and nobody here understands is left as it is stored. The conventions, by data type:

bool: ``uint8``, "boolean" with ``false_value`` and ``true_value``. float16: ``float32``, "float16". datetime64 and
timedelta64: ``int64``, "datetime64[us]" with ``epoch``, "timedelta64[us]"; NaT is the least whole number. Texts and
bytes of fixed length: codes in ``uint8``, ``uint16`` or ``uint32``, "string" with ``labels``. Complex: two arrays,
``<name>_real`` and ``<name>_imag``, "complex128" with ``part``. Records: one array per field, "field of <name>" with
``field``, ``fields`` and, where a field needs a convention of its own, ``element``. Rank 0: shape (1), "scalar", or
where the data type has a convention, ``rank`` 0 beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .errors import ChunkError, MetadataError, RegionError, UnsupportedError
from .spec import JSON

SEMANTIC = "dtype_semantic"
FIELD_OF = "field of "
NOT_A_TIME = -(2**63)
EPOCH = "1970-01-01T00:00:00Z"
NANOSECONDS = np.iinfo("i8").max  # what xarray decodes to by default reaches as far as these, from the epoch
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
MAX_LABELS = 2**20  # of one array: they stand in a JSON document that every reader takes into memory

_TIME = re.compile(r"(datetime64|timedelta64)\[(s|ms|us|ns|m|h|D)\]")
_TEXT_DTYPE = re.compile(r"[<>|=]?[SU][0-9]{1,9}")
_FIXED = {"complex64": "f4", "complex128": "f8"}

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


class Meaning(NamedTuple):
    """What stored arrays stand for: the data type, and what makes the values of the stored ones."""

    dtype: np.dtype[Any]
    decode: Callable[..., Any]


# --- storing ---------------------------------------------------------------------------------------------------------


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
    return np.asarray(values, bool).view("u1")


def _to_single(values: Any) -> Any:
    return np.asarray(values).astype("<f4")


def _real(values: Any) -> Any:
    return np.ascontiguousarray(np.real(values))


def _imag(values: Any) -> Any:
    return np.ascontiguousarray(np.imag(values))


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
        found = given.astype(self.dtype)
        if not _same(found, given) or (self.as_nanoseconds and not _same(found.astype(f"{self.dtype[:2]}[ns]"), given)):
            raise RegionError(
                f"the times of {self.name!r} cannot be stored as {self.dtype} for all readers",
                hint="round them, or load the data first (.load()), so that a unit can be chosen that fits",
            )
        return np.ascontiguousarray(found).view("i8")


def _same(found: Any, given: Any) -> bool:
    known = ~np.isnat(given)
    back = found[known].astype(given.dtype)
    # a unit that overflows wraps around, so that a time changes its side or its distance
    return bool(np.array_equal(back, given[known]) and np.array_equal(np.isnat(found), ~known))


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
    return Part("", np.dtype("<i8"), encode, attributes, NOT_A_TIME)


def _unit(dtype: np.dtype[Any], own: str, count: int, values: Any) -> str:
    """Return the unit to store: microseconds, or where those cannot hold the values, their own."""
    if values is None:  # blocks that come later: their own unit always fits
        return own if own in UNITS and count == 1 else "s" if own in ("Y", "M", "W", "D", "h", "m") else "ns"
    for unit in ("us", "ns", "ms", "s"):
        if _fits(np.asarray(values), f"{dtype.kind}8[{unit}]"):
            return unit
    raise UnsupportedError(f"times of {dtype} cannot be stored as seconds or fractions of them", hint="round them")


def _fits(values: Any, dtype: str) -> bool:
    return _same(values.astype(dtype), values)


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
    wrong = next((item for item in found if not isinstance(item, str)), None)
    if wrong is not None:
        raise UnsupportedError(f"{wrong!r:.40} is no text", hint="convert the objects to texts or numbers first")
    return found  # type: ignore[no-any-return]


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
        return self.then(np.ascontiguousarray(values[self.field]))


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
        inside = None if values is None else np.asarray(values)[field]
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


# --- reading ---------------------------------------------------------------------------------------------------------


def is_scalar(attributes: Mapping[str, JSON], shape: Sequence[int]) -> bool:
    """Return whether an array of shape (1) stands for one value without dimensions."""
    semantic = attributes.get(SEMANTIC)
    rank = attributes.get("rank")
    marked = semantic == "scalar" or (isinstance(semantic, str) and rank == 0 and not isinstance(rank, bool))
    return marked and tuple(shape) == (1,)


# the attributes that belong to a convention, beside ``dtype_semantic``, by how its name begins
_MEMBERS = {
    "bool": ("false_value", "true_value"),
    "string": ("labels", "string_dtype"),
    "datetime64": ("epoch",),
    "complex": ("part",),
    "field of": ("field", "fields", "element"),
    "": ("rank",),
}


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``attributes`` without those of their convention."""
    semantic = str(attributes.get(SEMANTIC))
    own = {SEMANTIC, *(name for start, names in _MEMBERS.items() if semantic.startswith(start) for name in names)}
    return {name: value for name, value in attributes.items() if name not in own}


def meaning_of(attributes: Mapping[str, JSON], dtype: np.dtype[Any]) -> Meaning | None:
    """Return what one stored array stands for; None where its attributes say nothing that is understood here."""
    semantic = attributes.get(SEMANTIC)
    if semantic in ("boolean", "bool") and dtype.kind in "biuf":
        return _boolean(attributes)
    if semantic == "float16" and dtype.kind == "f":
        return Meaning(np.dtype("f2"), _ToHalf())
    if semantic == "string" and dtype.kind in "iu":
        return _labelled(attributes)
    time = _TIME.fullmatch(semantic) if isinstance(semantic, str) else None
    if time and dtype.kind in "iu":
        return _time(time[1], time[2], attributes)
    return None


def pair_meaning(semantic: JSON, dtype: np.dtype[Any]) -> Meaning | None:
    """Return what two arrays of real and imaginary parts stand for; None for parts that are no numbers."""
    stored = _FIXED.get(semantic) if isinstance(semantic, str) else None
    if stored is None or dtype.kind not in "iuf":
        return None
    return Meaning(np.dtype(semantic), _Pair(str(semantic)))


def record_meaning(fields: Sequence[str], dtypes: Sequence[np.dtype[Any]]) -> Meaning:
    """Return what arrays of the fields of a record, in their order, stand for."""
    dtype = np.dtype(list(zip(fields, dtypes, strict=True)))
    return Meaning(dtype, _Records(dtype))


@dataclass(frozen=True)
class _ToHalf:
    def __call__(self, values: Any) -> Any:
        with np.errstate(over="ignore"):
            return values.astype("f2")


@dataclass(frozen=True)
class _Pair:
    dtype: str

    def __call__(self, real: Any, imag: Any) -> Any:
        found = np.empty(np.shape(real), self.dtype)
        found.real, found.imag = real, imag
        return found


@dataclass(frozen=True)
class _Records:
    dtype: np.dtype[Any]

    def __call__(self, *fields: Any) -> Any:
        found = np.empty(np.shape(fields[0]), self.dtype)
        for name, values in zip(self.dtype.names or (), fields, strict=True):
            found[name] = values
        return found


@dataclass(frozen=True)
class _Booleans:
    false: int | float
    true: int | float

    def __call__(self, values: Any) -> Any:
        found = values == self.true
        wrong = values[~(found | (values == self.false))]
        if wrong.size:
            raise ChunkError(
                f"{wrong.flat[0]} is neither the true value {self.true} nor the false value {self.false} of a boolean",
                hint="open the store with decode_semantics=False to see the stored numbers",
            )
        return found


def _boolean(attributes: Mapping[str, JSON]) -> Meaning | None:
    false, true = attributes.get("false_value", 0), attributes.get("true_value", 1)
    if not isinstance(false, bool | int | float) or not isinstance(true, bool | int | float) or false == true:
        return None
    return Meaning(np.dtype(bool), _Booleans(false, true))


@dataclass(frozen=True)
class _Labels:
    labels: tuple[str, ...]
    dtype: np.dtype[Any]

    def __call__(self, codes: Any) -> Any:
        count = len(self.labels)
        if np.size(codes) and (int(np.min(codes)) < 0 or int(np.max(codes)) >= count):
            raise ChunkError(
                f"a code stands for none of the {count} labels: they are {np.min(codes)} to {np.max(codes)}",
                hint="open the store with decode_semantics=False to see the stored codes",
            )
        return _as_texts(self.labels, self.dtype)[codes] if count else np.empty(np.shape(codes), self.dtype)


def _as_texts(labels: tuple[str, ...], dtype: np.dtype[Any]) -> Any:
    items: Sequence[Any] = [label.encode("latin-1") for label in labels] if dtype.kind == "S" else labels
    return np.array(items, dtype)


def _labelled(attributes: Mapping[str, JSON]) -> Meaning | None:
    labels, wanted = attributes.get("labels"), attributes.get("string_dtype", "string")
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        return None
    dtype: np.dtype[Any] = np.dtypes.StringDType()
    if isinstance(wanted, str) and _TEXT_DTYPE.fullmatch(wanted):
        dtype = np.dtype(wanted)
        if not _hold(labels, dtype):
            return None
    return Meaning(dtype, _Labels(tuple(labels), dtype))


def _hold(labels: Sequence[str], dtype: np.dtype[Any]) -> bool:
    """Return whether texts of fixed length have room for the labels, and are not absurdly longer."""
    longest = max(map(len, labels), default=0)
    room = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    if dtype.kind == "S" and any(ord(letter) > 255 for label in labels for letter in label):
        return False
    return longest <= room <= max(4096, 4 * longest)


@dataclass(frozen=True)
class _Moments:
    dtype: str
    epoch: int  # the offset of the epoch, in the unit of ``dtype``

    def __call__(self, values: Any) -> Any:
        if values.dtype.kind == "u" and values.size and int(values.max()) > NANOSECONDS:
            raise ChunkError("a time is a whole number beyond 63 bits", hint="open with decode_semantics=False")
        found: Any = np.array(values, "i8", copy=True, order="C").view(self.dtype)
        return found + np.array(self.epoch, f"m{self.dtype[1:]}") if self.epoch else found


def _time(kind: str, unit: str, attributes: Mapping[str, JSON]) -> Meaning | None:
    letter = "M" if kind == "datetime64" else "m"
    offset = 0
    if letter == "M":
        try:
            epoch = np.datetime64(str(attributes.get("epoch", EPOCH)).removesuffix("Z"))
            offset = int(epoch.astype(f"M8[{unit}]").view("i8"))
        except (ValueError, OverflowError):
            return None
        if np.isnat(epoch):
            return None
    if unit not in UNITS:  # xarray knows none that are coarser than seconds
        return Meaning(np.dtype(f"{letter}8[s]"), _Coarse(letter, unit, offset))
    return Meaning(np.dtype(f"{letter}8[{unit}]"), _Moments(f"{letter}8[{unit}]", offset))


@dataclass(frozen=True)
class _Coarse:
    letter: str
    unit: str
    epoch: int

    def __call__(self, values: Any) -> Any:
        return _Moments(f"{self.letter}8[{self.unit}]", self.epoch)(values).astype(f"{self.letter}8[s]")
