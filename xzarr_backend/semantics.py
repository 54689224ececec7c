"""What plain arrays of numbers stand for: the conventions for data types that other languages lack, on reading.

Imports NumPy and errors. Invariant: what an attribute ``dtype_semantic`` says and nobody here understands is left as it
is stored; a number that stands for nothing is an error. The conventions, by data type:

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

from .errors import ChunkError
from .spec import JSON

SEMANTIC = "dtype_semantic"
FIELD_OF = "field of "
NOT_A_TIME = -(2**63)
EPOCH = "1970-01-01T00:00:00Z"
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

_TIME = re.compile(r"(datetime64|timedelta64)\[(s|ms|us|ns|m|h|D)\]")
_TEXT_DTYPE = re.compile(r"[<>|=]?[SU][1-9][0-9]{0,6}")
_FIXED = {"complex64": "f4", "complex128": "f8"}


class Meaning(NamedTuple):
    """What stored arrays stand for: the data type, and what makes the values of the stored ones."""

    dtype: np.dtype[Any]
    decode: Callable[..., Any]


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
        found = np.empty(np.shape(codes), self.dtype)  # one text taken out alone would lose the data type
        if count:
            found[...] = _as_texts(self.labels, self.dtype)[codes]
        return found


def _as_texts(labels: tuple[str, ...], dtype: np.dtype[Any]) -> Any:
    items: Sequence[Any] = [label.encode("latin-1") for label in labels] if dtype.kind == "S" else labels
    return np.array(items, dtype)


def _labelled(attributes: Mapping[str, JSON]) -> Meaning | None:
    labels, wanted = attributes.get("labels"), attributes.get("string_dtype", "string")
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        return None
    dtype: np.dtype[Any] = np.dtypes.StringDType()
    if wanted != "string":
        if not isinstance(wanted, str) or not _TEXT_DTYPE.fullmatch(wanted) or not _hold(labels, np.dtype(wanted)):
            return None
        dtype = np.dtype(wanted)
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
    """Makes times of whole numbers: ``number * step + epoch`` in the unit of ``dtype``; raises `ChunkError`."""

    dtype: str
    step: int
    epoch: int

    def __call__(self, values: Any) -> Any:
        known = values != NOT_A_TIME if values.dtype.kind == "i" else np.ones(np.shape(values), bool)
        used = values[known]
        ends = [int(end) * self.step + self.epoch for end in (used.min(), used.max())] if used.size else []
        wrong = next((end for end in ends if not NOT_A_TIME < end < 2**63), None)
        if wrong is not None:  # NumPy would raise, or wrap around, by its version
            raise ChunkError(
                f"a stored time is {wrong} in the unit of {self.dtype}, beyond what 64 bits hold",
                hint="open the store with decode_semantics=False to see the stored numbers",
            )
        numbers: Any = np.array(values, "i8", copy=True, order="C")
        numbers[known] = numbers[known] * self.step + self.epoch
        return numbers.view(self.dtype)


_STEPS = {"m": 60, "h": 3600, "D": 86400}  # seconds in units that xarray does not know


def _time(kind: str, unit: str, attributes: Mapping[str, JSON]) -> Meaning | None:
    letter = "M" if kind == "datetime64" else "m"
    dtype = f"{letter}8[{unit if unit in UNITS else 's'}]"
    epoch = _offset_of(attributes.get("epoch", EPOCH), dtype) if letter == "M" else 0
    return None if epoch is None else Meaning(np.dtype(dtype), _Moments(dtype, _STEPS.get(unit, 1), epoch))


_MOMENT = re.compile(  # ISO 8601: a moment, and how far its clock is ahead of UTC
    r"([0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?)?)?)"
    r"(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)


def _offset_of(epoch: JSON, dtype: str) -> int | None:
    """Return an epoch, as ISO 8601 has it, in the unit of ``dtype`` since 1970; None where it cannot be told."""
    found = _MOMENT.fullmatch(epoch) if isinstance(epoch, str) else None
    if found is None:
        return None
    text, sign, hours, minutes = found.groups("0")
    ahead = (int(hours) * 60 + int(minutes)) * (-60 if sign == "-" else 60)
    try:
        moment = np.datetime64(text)
        number = moment.astype(dtype)
        exact = bool(number.astype(moment.dtype) == moment)
    except (ValueError, OverflowError):
        return None
    return int(number.astype("i8")) - ahead * _PER_SECOND[dtype[3:-1]] if exact else None


_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def coarser(stored: str, shown: str) -> Callable[[Any], Any] | None:
    """Return what makes whole numbers of the unit ``shown`` of those of ``stored``; None where it is not coarser.

    A number between two of them raises `ChunkError` when it is read.
    """
    step = _PER_SECOND.get(stored, 0) // _PER_SECOND.get(shown, 1)
    return _Coarser(step, shown) if step > 1 else None


@dataclass(frozen=True)
class _Coarser:
    step: int
    unit: str

    def __call__(self, values: Any) -> Any:
        numbers: Any = np.array(values, "i8", copy=True, order="C")
        known = numbers != NOT_A_TIME
        if (numbers[known] % self.step).any():
            raise ChunkError(
                f"a stored duration is no whole number of {UNITS[self.unit]}, which the attribute 'dtype' promises",
                hint="open the store with decode_semantics=False to see the stored numbers",
            )
        numbers[known] //= self.step
        return numbers
