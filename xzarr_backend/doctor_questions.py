"""The questions that the rules of readers ask about arrays of v2 and fill values, and how they are combined.

Each answers with the place that decides, or "". Imports doctor_facts. Invariant: a question looks at documents and at
one chunk, never at the name or the place of an array, and never changes anything.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .doctor_facts import Facts
from .errors import MetadataError
from .inventory import ZATTRS
from .spec import JSON

Question = Callable[[Facts], str]

# --- v2 --------------------------------------------------------------------------------------------------------------


def v2(question: Question) -> Question:
    """Ask of v2 arrays only."""
    return lambda f: question(f) if f.v2 else ""


def v3(question: Question) -> Question:
    """Ask of v3 arrays only."""
    return lambda f: "" if f.v2 else question(f)


def any_of(*questions: Question) -> Question:
    """Return the first answer."""
    return lambda f: next((answer for question in questions if (answer := question(f))), "")


def lacks(*members: str) -> Question:
    """Members that are missing."""
    return lambda f: ", ".join(name for name in members if f.own and name not in f.document)


def member_is(name: str, test: Callable[[Any], bool]) -> Question:
    """A member whose value passes ``test``."""
    return lambda f: f"{name}: {f.document[name]!r:.60}" if name in f.document and test(f.document[name]) else ""


def dtype_is(*starts: str) -> Question:
    """A v2 data type that begins so."""
    return lambda f: f"dtype {f.dtype!r}" if isinstance(f.dtype, str) and f.dtype.startswith(starts) else ""


def kind_is(kinds: str) -> Question:
    """A v2 data type of one of these letters."""
    return lambda f: f"dtype {f.dtype!r}" if f.kind and f.kind in kinds else ""


def dtype_outside(names: Collection[str]) -> Question:
    """A plain v2 data type, without byte order, that is none of ``names``."""
    return lambda f: f"dtype {f.dtype!r}" if isinstance(f.dtype, str) and f.dtype.lstrip("<>|") not in names else ""


def unknown_to_numpy(f: Facts) -> str:
    """A v2 data type that NumPy does not know."""
    return f"dtype {f.dtype!r:.60}" if "dtype" in f.document and f.numpy is None else ""


def is_record(f: Facts) -> str:
    """A v2 record."""
    return "a record" if isinstance(f.dtype, list) else ""


def several_fields(f: Facts) -> str:
    """A v2 record of several fields."""
    return f"a record of {len(f.dtype)} fields" if isinstance(f.dtype, list) and len(f.dtype) > 1 else ""


def nested_record(f: Facts) -> str:
    """A record within a record."""
    if not isinstance(f.dtype, list):
        return ""
    return next((f"field {c[0]!r}" for c in f.dtype if isinstance(c, list) and isinstance(c[1], list)), "")


def subarray_field(f: Facts) -> str:
    """A field that is an array."""
    return _subarray(f.dtype)


def _subarray(dtype: JSON) -> str:
    for field in dtype if isinstance(dtype, list) else ():
        if isinstance(field, list) and (len(field) > 2 or (len(field) > 1 and _subarray(field[1]))):
            return f"field {field[0]!r}"
    return ""


def object_codec(known: Collection[str]) -> Question:
    """An array of objects whose first filter is none of ``known``."""

    def ask(f: Facts) -> str:
        if f.dtype != "|O":
            return ""
        first = next((name for place, name, _ in f.v2_codecs if place == "filters[0]"), None)
        return "" if first in known else f"objects encoded by {first or 'nothing'}"

    return ask


def unknown_id(known: Collection[str]) -> Question:
    """A v2 codec whose id is none of ``known``."""
    return lambda f: next((f"{place}: {name!r}" for place, name, _ in f.v2_codecs if name not in known), "")


def unknown_option(options: Mapping[str, Collection[str] | None]) -> Question:
    """A v2 codec with a member that its library does not take; None: takes all."""

    def ask(f: Facts) -> str:
        for place, name, configuration in f.v2_codecs:
            known = options.get(name)
            extra = sorted(set(configuration) - set(known)) if known is not None else []
            if extra:
                return f"{place}: {name} with {', '.join(extra)}"
        return ""

    return ask


def option_is(codec: str, member: str, test: Callable[[Any], bool]) -> Question:
    """A v2 codec with a member whose value passes ``test``."""

    def ask(f: Facts) -> str:
        for place, name, configuration in f.v2_codecs:
            if name == codec and member in configuration and test(configuration[member]):
                return f"{place}.{member}: {configuration[member]!r}"
        return ""

    return ask


def has_filters(f: Facts) -> str:
    """Filters, whichever they are."""
    return next((f"{place}: {name!r}" for place, name, _ in f.v2_codecs if place != "compressor"), "")


def null_and_missing(f: Facts) -> str:
    """A fill value of null that is needed, because chunks are missing."""
    return f"{f.missing} chunk(s) missing" if f.fill is None and f.missing > 0 else ""


def ranks_differ(f: Facts) -> str:
    """As many chunk lengths as dimensions? Of both formats."""
    shape, sizes = f.document.get("shape"), f.document.get("chunks")
    if not f.v2:
        grid = f.document.get("chunk_grid")
        inside = grid.get("configuration") if isinstance(grid, dict) else None
        sizes = inside.get("chunk_shape") if isinstance(inside, dict) else None
    if not isinstance(shape, list) or not isinstance(sizes, list) or len(sizes) == len(shape):
        return ""
    return f"{len(sizes)} for {len(shape)} dimensions"


# --- fill values -----------------------------------------------------------------------------------------------------


def fill_is_wrong(accepts: Mapping[str, Callable[[Any, Facts], bool]], null: bool = True) -> Question:
    """A fill value that ``accepts`` does not take for the kind of the data type (v2: its letter; v3: its name's start).

    ``null``: whether null is taken for every kind.
    """

    def ask(f: Facts) -> str:
        if "fill_value" not in f.document or (f.fill is None and null):
            return ""
        test = accepts.get(fill_kind(f))
        return "" if test is None or test(f.fill, f) else f"fill_value {f.fill!r:.60}"

    return ask


def fill_kind(f: Facts) -> str:
    """Return the letter of the kind of values, of both formats; "record", "" for what has none."""
    if f.v2:
        return "record" if isinstance(f.dtype, list) else f.kind
    name = f.dtype.get("name") if isinstance(f.dtype, dict) else f.dtype
    if not isinstance(name, str):
        return ""
    starts = {"int": "i", "uint": "u", "float": "f", "bfloat": "f", "complex": "c", "bool": "b"}
    return next((kind for start, kind in starts.items() if name.startswith(start)), name)


def is_integer(value: Any) -> bool:
    """Whether a JSON value is a whole number, and no bool."""
    return is_number(value) and math.isfinite(value) and value == int(value)


def in_range(value: Any, f: Facts) -> bool:
    """Whether a whole number fits the integers of the array."""
    name = f.dtype if isinstance(f.dtype, str) else (f.dtype or {}).get("name", "")
    if f.v2:
        bits, signed = int("".join(c for c in name[2:] if c.isdigit()) or 8) * 8, f.kind == "i"
    else:
        bits, signed = int("".join(c for c in name if c.isdigit()) or 64), not name.startswith("u")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return bool(low <= value <= high)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_number_text(value: Any) -> bool:
    """Whether a JSON value is text that Python takes for a float."""
    try:
        float(value) if isinstance(value, str) else float("x")
    except ValueError:
        return False
    return True


def lenient_base64(value: Any) -> int | None:
    """Return how many bytes Python makes of text as base64, passing over other letters; None: it fails."""
    try:
        return len(base64.b64decode(value)) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def is_base64(value: Any, nbytes: int | None = None) -> bool:
    """Whether a JSON value is base64 text, of ``nbytes`` where given."""
    try:
        decoded = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return False
    return decoded is not None and nbytes in (None, len(decoded))


def is_pair(value: Any) -> bool:
    """Whether a JSON value is a list of two."""
    return isinstance(value, list) and len(value) == 2


def wrong_metadata(f: Facts) -> str:
    """Metadata that break the specification in a way that nobody reads, other than by their fill value."""
    error = f.error
    if not isinstance(error, MetadataError):
        return ""
    others = [(place, problem) for place, problem in error.problems if place != "fill_value"]
    if error.problems:
        return f"{others[0][0]} {others[0][1]}" if others else ""
    return error.what


def wrong_fill(f: Facts) -> str:
    """A fill value that is none of the data type."""
    problems = f.error.problems if isinstance(f.error, MetadataError) else ()
    return next((f"fill_value {problem}" for place, problem in problems if place == "fill_value"), "")


def member_is_no(name: str, kind: type) -> Question:
    """A member that is there and of another kind than ``kind``, such as a number that is no whole one."""
    return member_is(name, lambda value: not isinstance(value, kind))


def attributes_broken(f: Facts) -> str:
    """Attributes of v2 that cannot be read."""
    document = f.documents.get(ZATTRS)
    return document.problem if document is not None and document.content is None else ""


def order_of_one_byte(f: Facts) -> str:
    """A v2 number of several bytes without a byte order."""
    several = f.kind and f.kind in "iufc" and f.numpy is not None and f.numpy.itemsize > 1
    return f"dtype {f.dtype!r}" if several and str(f.dtype).startswith("|") else ""


def odd_filter(f: Facts) -> str:
    """An entry among the filters that is no object."""
    filters = f.document.get("filters")
    wrong = [codec for codec in filters if not isinstance(codec, dict)] if isinstance(filters, list) else []
    return f"filters: {wrong[0]!r:.60}" if wrong else ""


def level_outside(codec: str, member: str, low: int, high: int) -> Question:
    """A v2 codec with a level beyond what its reader takes, or with none that is a number."""
    return option_is(codec, member, lambda v: isinstance(v, int) and not low <= v <= high)
