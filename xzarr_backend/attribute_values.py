"""Attribute values that JSON has no word for: NaN and infinity, bytes, dates and times, complex numbers.

Imports errors, spec and NumPy only. Invariant: what is stored is JSON that every parser takes and that other tools show
as readable values; an attribute of its own, `TYPES`, says which values stand for something else, so that reading turns
exactly those back, and a text such as "NaN" stays a text. See docs/adr/0003-attribute-values.md.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import MetadataError
from .spec import JSON

TYPES = "_xzarr_types"  # {JSON pointer (RFC 6901) into the attributes: name of the type}

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MICROSECOND = dt.timedelta(microseconds=1)

Types = dict[str, str]


# --- to JSON ---------------------------------------------------------------------------------------------------------


def encode_attributes(attributes: Mapping[str, Any]) -> dict[str, JSON]:
    """Return ``attributes`` as JSON; raise `MetadataError` naming the key of what cannot be stored."""
    types: Types = {}
    try:
        if isinstance(attributes.get(TYPES), dict):  # read by another tool, which took it for an attribute
            attributes = decode_attributes(attributes)
        elif TYPES in attributes:
            raise _refused(TYPES, "this name is kept for the types of other attributes")
        encoded: dict[str, JSON] = _encode_mapping(attributes, "", "", types)
    except RecursionError as error:
        raise MetadataError("an attribute contains itself, or is nested too deeply") from error
    if types:
        encoded[TYPES] = types
    return encoded


def _encode(value: Any, pointer: str, place: str, types: Types) -> JSON:
    if isinstance(value, np.ndarray):
        return _encode_array(value, pointer, place, types)
    if isinstance(value, np.datetime64 | np.timedelta64 | np.void):
        return _encode_array(np.asarray(value), pointer, place, types)
    if isinstance(value, np.generic):
        value = float(value) if isinstance(value, np.floating) else value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _encode_text(value, place)
    if isinstance(value, Mapping):
        return _encode_mapping(value, pointer, place, types)
    if isinstance(value, list | tuple):
        return [_encode(item, f"{pointer}/{at}", f"{place}[{at}]", types) for at, item in enumerate(value)]
    for name, (kind, encode, _) in _KINDS.items():
        if isinstance(value, kind):
            encoded, plain = encode(value)
            if not plain:
                types[pointer] = name
            return encoded
    return _encode_time(value, pointer, place, types)


def _encode_text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _refused(place, f"the text holds half of a character, {value[error.start]!r}") from None
    return str(value)


def _encode_mapping(value: Mapping[Any, Any], pointer: str, place: str, types: Types) -> dict[str, JSON]:
    found = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise _refused(f"{place}[{name!r}]" if place else repr(name), "names must be text")
        step = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        found[_encode_text(name, place)] = _encode(item, step, f"{place}.{name}" if place else name, types)
    return found


def _encode_array(value: Any, pointer: str, place: str, types: Types) -> JSON:
    """Arrays are stored as lists of their elements, with one type for all of them."""
    kind = value.dtype.kind
    if kind in "Mm":
        types[pointer] = str(value.dtype)
        return value.astype("U").tolist() if kind == "M" else value.astype("i8").tolist()
    if kind == "c":
        types[pointer] = "complex"
        pairs = np.stack([value.real, value.imag], axis=-1)
        return _spelled(pairs.tolist()) if not np.isfinite(pairs).all() else pairs.tolist()
    if kind == "f" and not np.isfinite(value).all():
        types[pointer] = "float"
        return _spelled(value.astype("f8").tolist())
    if kind in "biuf":
        return value.astype("f8").tolist() if value.dtype.itemsize > 8 else value.tolist()
    if kind in "SUOT":
        return _encode(value.tolist(), pointer, place, types)
    raise _refused(place, f"an array of {value.dtype} cannot be an attribute")


def _encode_time(value: Any, pointer: str, place: str, types: Types) -> JSON:
    if isinstance(value, dt.datetime):
        if value.tzinfo is None and hasattr(value, "to_datetime64"):  # pandas: nanoseconds, and NaT
            return _encode(value.to_datetime64(), pointer, place, types)
        if getattr(value, "nanosecond", 0):
            raise _refused(place, "nanoseconds together with a time zone cannot be stored")
        types[pointer] = "datetime"
        return value.isoformat()
    if isinstance(value, dt.date):
        types[pointer] = "date"
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        if hasattr(value, "to_timedelta64"):
            return _encode(value.to_timedelta64(), pointer, place, types)
        types[pointer] = "timedelta"
        return value // _MICROSECOND
    raise _refused(place, f"a {type(value).__module__}.{type(value).__qualname__} cannot be stored")


def _refused(place: str, why: str) -> MetadataError:
    return MetadataError(
        f"the attribute {place!r} cannot be stored: {why}",
        problems=[(f"attributes.{place}", why)],
        hint="use numbers, text, bytes, dates, None, and lists and dicts of these",
    )


def _spell(value: Any) -> JSON:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _spelled(value: Any) -> JSON:
    """Return nested lists with the numbers that JSON lacks as words."""
    return [_spelled(item) for item in value] if isinstance(value, list) else _spell(value)


def without_bare_numbers(value: JSON) -> JSON:
    """Return a document of another writer with its bare NaN and infinities as the words that v3 has for them."""
    if isinstance(value, dict):
        return {name: without_bare_numbers(item) for name, item in value.items()}
    return [without_bare_numbers(item) for item in value] if isinstance(value, list) else _spell(value)


def attributes_of(value: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return stored attributes as they may be stored again: unchanged, unless another writer left bare NaN in them."""
    return dict(value) if without_bare_numbers(value) == value else encode_attributes(decode_attributes(value))


def pack_float(value: float) -> str:
    """Return a number as xarray writes it to ``_FillValue`` of v3: base64 of eight little-endian bytes."""
    return base64.b64encode(struct.pack("<d", value)).decode()


@lru_cache(64)  # the variables of a dataset have few of them
def unpack_float(text: str) -> float:
    """Return the number that a text in ``_FillValue`` stands for; raise `ValueError` for one that stands for none.

    It may be spelled as fill values themselves are ("NaN"), too.
    """
    try:
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
    except (ValueError, struct.error):
        return float(text)


# --- from JSON -------------------------------------------------------------------------------------------------------


def decode_attributes(stored: Mapping[str, JSON]) -> Mapping[str, Any]:
    """Return stored attributes as the values they stand for.

    A value that does not look like its type (another tool changed it) is left as it is.
    """
    types = stored.get(TYPES)
    if not isinstance(types, dict):
        return stored
    found = {name: value for name, value in stored.items() if name != TYPES}
    copied: set[int] = set()
    for pointer, name in types.items():
        _decode_at(found, pointer, name, copied)
    return found


def _decode_at(found: dict[str, Any], pointer: JSON, name: JSON, copied: set[int]) -> None:
    steps = [step.replace("~1", "/").replace("~0", "~") for step in str(pointer).split("/")[1:]]
    if not steps or not isinstance(name, str):
        return
    holder: Any = found
    try:
        for step in steps[:-1]:
            holder = _own(holder, _at(holder, step), copied)
        last = _at(holder, steps[-1])
        holder[last] = _decode(holder[last], name)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError):
        pass  # changed by somebody who does not know of the types


def _own(holder: Any, step: Any, copied: set[int]) -> Any:
    """Return what ``holder`` has at ``step``, as a copy that may be changed."""
    if id(holder[step]) not in copied:
        holder[step] = holder[step].copy()
        copied.add(id(holder[step]))
    return holder[step]


def _at(holder: Any, step: str) -> Any:
    return int(step) if isinstance(holder, list) else step


def _decode(value: JSON, name: str) -> Any:
    if name in _KINDS:
        return _mapped(value, _KINDS[name][2], depth_of_leaf=1 if name == "complex" else 0)
    if name in _TIMES:
        return _TIMES[name](value)
    if name.startswith(("datetime64", "timedelta64")):
        array = np.asarray(value, "i8" if name[0] == "t" else "U").astype(np.dtype(name))
        return array if array.ndim else array[()]
    return value


def _mapped(value: Any, decode: Callable[[Any], Any], depth_of_leaf: int) -> Any:
    """Return nested lists with their leaves decoded; a leaf itself may be a list of plain values."""
    is_leaf = not isinstance(value, list)
    if depth_of_leaf and not is_leaf:
        is_leaf = bool(value) and not isinstance(value[0], list)
    return decode(value) if is_leaf else [_mapped(item, decode, depth_of_leaf) for item in value]


def _number(value: JSON) -> Any:
    return _NUMBERS[value] if isinstance(value, str) else value


def _complex(value: JSON) -> complex:
    real, imaginary = value
    return complex(_number(real), _number(imaginary))


# name: (type in Python, to (JSON, whether it is plain JSON), back); bool and text are dealt with before
_KINDS: dict[str, tuple[Any, Callable[[Any], tuple[JSON, bool]], Callable[[JSON], Any]]] = {
    "int": (int, lambda value: (int(value), True), lambda value: value),
    "float": (float, lambda value: (_spell(float(value)), math.isfinite(value)), _number),
    "complex": (complex, lambda value: ([_spell(value.real), _spell(value.imag)], False), _complex),
    "bytes": (
        bytes | bytearray | memoryview,
        lambda value: (base64.b64encode(value).decode(), False),
        lambda value: base64.b64decode(value, validate=True),
    ),
}

_TIMES: dict[str, Callable[[Any], Any]] = {
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "timedelta": lambda value: value * _MICROSECOND,
}
