"""JSON documents and the checks that both formats share.

Imports spec and errors. Invariant: a document is reported with all of its problems at once, each with its place, and
nothing that JSON can hold makes the parsers fail in any other way.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..attribute_values import decode_attributes
from ..errors import MetadataError, UnsupportedError
from ..spec import JSON, Named

MAX_DOCUMENT_NBYTES = 512 * 2**20  # consolidated metadata of large stores reach tens of megabytes
MAX_RANK = 64  # NumPy's own limit
MAX_LENGTH = 2**63 - 1
NODES = ("zarr.json", ".zarray", ".zgroup")  # where one of these lies, there is a node
DOCUMENTS = (*NODES, ".zattrs", ".zmetadata")
DIMENSIONS = "_ARRAY_DIMENSIONS"  # xarray's attribute for dimension names

T = TypeVar("T")


def parse_json(raw: Any, name: str) -> dict[str, JSON]:
    """Return the JSON object stored in ``raw``, the bytes of the document ``name``; raise `MetadataError`."""
    data = bytes(raw)
    if len(data) > MAX_DOCUMENT_NBYTES:
        raise MetadataError(f"{name} has {len(data)} bytes, too many for metadata")
    try:
        found = json.loads(data.removeprefix(codecs.BOM_UTF8).decode())  # "utf-8-sig" is slow, and many are small
    except UnicodeDecodeError as error:
        raise MetadataError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        ending = "the document is empty" if not data.strip() else f"{error.msg}, line {error.lineno}"
        hint = "the document may be cut short; write it again or take a copy"
        raise MetadataError(f"{name} is not JSON: {ending}", hint=hint) from error
    except (RecursionError, ValueError) as error:
        raise MetadataError(f"{name} cannot be read as metadata: {error}") from error
    if not isinstance(found, dict):
        raise MetadataError(f"{name} holds {type(found).__name__} instead of a JSON object")
    return found


def format_json(document: Mapping[str, JSON]) -> bytes:
    """Return the bytes that a metadata document is stored as; raise `MetadataError` for what JSON cannot hold."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MetadataError(f"the metadata cannot be stored as JSON: {error}") from error


class Checks:
    """Collects the problems of one document, so that all of them can be reported together."""

    def __init__(self, document: Mapping[str, JSON]) -> None:
        self.document = document
        self.problems: list[tuple[str, str]] = []
        self.unsupported: UnsupportedError | None = None

    def problem(self, place: str, text: str) -> None:
        """Note a problem."""
        self.problems.append((place, text))

    def attempt(self, place: str, parse: Callable[[], T]) -> T | None:
        """Return what ``parse`` returns; note what is wrong and return None when it raises one of our errors."""
        try:
            return parse()
        except MetadataError as error:
            self.problems.extend(error.problems or [(place, error.what)])
        except UnsupportedError as error:
            self.unsupported = self.unsupported or error.at(place)  # type: ignore[assignment]
        return None

    def finish(self, kind: str) -> None:
        """Raise when anything was noted: the problems first, then what is not supported."""
        if self.problems:
            raise MetadataError(f"the {kind} metadata are wrong", problems=self.problems)
        if self.unsupported is not None:
            raise self.unsupported

    def required(self, member: str) -> JSON:
        """Return a member that must be there."""
        if member not in self.document:
            self.problem(member, "is missing")
        return self.document.get(member)

    def needed(self, member: str) -> JSON:
        """Return a member that must be there and cannot be null; None after noting that it is."""
        value = self.required(member)
        if value is None and member in self.document:
            self.problem(member, "must not be null")
        return value

    def shape(self, member: str = "shape") -> tuple[int, ...]:
        """Return the lengths of the array."""
        value = self.required(member)
        if member not in self.document:
            return ()
        if not isinstance(value, list) or not all(_is_length(n) for n in value):
            self.problem(member, f"must be a list of whole numbers from 0, not {value!r:.80}")
            return ()
        if len(value) > MAX_RANK:
            self.problem(member, f"has {len(value)} dimensions, more than {MAX_RANK}")
            return ()
        return tuple(value)

    def attributes(self, value: JSON) -> Mapping[str, JSON]:
        """Return user attributes."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problem("attributes", f"must be an object, not {value!r:.80}")
            return {}
        return decode_attributes(value)

    def named(self, value: JSON, place: str) -> Named:
        """Return a name with its configuration; a bare string is a name without one."""
        found = Named.parse(value)
        if found is None:
            self.problem(place, f"must be a name, or an object with name and configuration, not {value!r:.80}")
        return found or Named("", {})


def _is_length(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LENGTH


def expect_format(document: Mapping[str, JSON], expected: int, name: str) -> None:
    """Raise unless the document says that it is of format ``expected``."""
    found: Any = document.get("zarr_format")
    if found != expected or isinstance(found, bool):
        raise MetadataError(
            f"{name} says zarr_format {found!r}, but must say {expected}",
            problems=[("zarr_format", f"must be {expected}, not {found!r}")],
        )
