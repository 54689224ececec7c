"""NumPy dtypes made from what documents say: lengths, units of time, shapes, names of ml_dtypes.

Imports NumPy, errors and spec; ml_dtypes when one of its types is asked for. Invariant: no dtype is built before its
size is checked, and what is wrong raises `MetadataError` or `UnsupportedError` with its place in the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import MetadataError, UnsupportedError
from .spec import JSON

MAX_ITEMSIZE = 2**28  # bytes per element: what a stranger's document may make us allocate for one value
MAX_DEPTH = 32  # records inside records, dimensions of an array inside a record

_TIME_UNIT = re.compile(r"([0-9]*)(Y|M|W|D|h|m|s|ms|us|[μµ]s|ns|ps|fs|as|generic)")

Build = Callable[[Mapping[str, JSON], str], np.dtype[Any]]  # (configuration, place in the document)


def wrong_dtype(place: str, problem: str) -> MetadataError:
    """Return the error for a data type that is malformed at ``place``."""
    return MetadataError(f"wrong data type: {problem}", where=place, problems=[(place, problem)])


def unknown_dtype(name: str, place: str) -> UnsupportedError:
    """Return the error for a data type that is well formed but not known."""
    return UnsupportedError(f"data type {name!r:.80} is not known", where=place)


def checked_size(size: int, place: str) -> int:
    """Return ``size``, the bytes of one element, or raise where it is zero or absurd."""
    if not 1 <= size <= MAX_ITEMSIZE:
        raise wrong_dtype(place, f"an element of {size} bytes is not possible")
    return size


def sized(kind: str, unit: int = 1) -> Build:
    """Return the builder of a type whose length is configured in bytes; one character takes ``unit`` bytes."""

    def build(configuration: Mapping[str, JSON], place: str) -> np.dtype[Any]:
        place = f"{place}.configuration.length_bytes"
        length = configuration.get("length_bytes")
        if not isinstance(length, int) or isinstance(length, bool) or length % unit:
            raise wrong_dtype(place, f"a multiple of {unit} is needed, not {length!r}")
        return np.dtype(f"<{kind}{checked_size(length, place) // unit}")

    return build


def timed(kind: str) -> Build:
    """Return the builder of a type that counts ``scale_factor`` units of time; ``kind`` is "M" or "m"."""

    def build(configuration: Mapping[str, JSON], place: str) -> np.dtype[Any]:
        unit, scale = configuration.get("unit"), configuration.get("scale_factor", 1)
        if not isinstance(unit, str) or not isinstance(scale, int) or isinstance(scale, bool):
            raise wrong_dtype(f"{place}.configuration", f"unit {unit!r} and scale_factor {scale!r} make no time")
        return time_dtype(f"<{kind}8", f"{scale}{unit}", f"{place}.configuration")

    return build


def time_dtype(typestr: str, text: str, place: str) -> np.dtype[Any]:
    """Return the NumPy dtype of times that count ``text``, such as "25us"."""
    found = _TIME_UNIT.fullmatch(text)
    if found is None or not 1 <= int(found[1][:12] or 1) < 2**31:
        raise wrong_dtype(place, f"{text!r:.80} is no unit of time")
    unit = "us" if found[2] in ("μs", "µs") else found[2]
    return np.dtype(typestr if unit == "generic" else f"{typestr}[{found[1]}{unit}]")


def from_ml_dtypes(name: str) -> Build:
    """Return the builder of the type called ``name`` in the package ml_dtypes."""

    def build(configuration: Mapping[str, JSON], place: str) -> np.dtype[Any]:
        try:
            import ml_dtypes

            found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        except (ImportError, AttributeError) as error:
            raise UnsupportedError(
                f"data type {name!r} needs the package 'ml_dtypes' in a version that has it",
                where=place,
                hint="try: pip install --upgrade ml_dtypes",
            ) from error
        return found

    return build


def parse_shape(value: JSON, place: str) -> tuple[int, ...]:
    """Return the shape of an array inside a record: a list of sizes, or one size."""
    sizes = value if isinstance(value, list | tuple) else [value]
    if len(sizes) > MAX_DEPTH or not all(type(n) is int and 0 < n <= MAX_ITEMSIZE for n in sizes):
        raise wrong_dtype(place, f"{value!r:.80} is no shape")
    return tuple(sizes)


def deeper(depth: int, place: str) -> int:
    """Return the depth of a field in a record at ``depth``; raise where that is absurd."""
    if depth >= MAX_DEPTH:
        raise wrong_dtype(place, "records are nested too deeply")
    return depth + 1
