"""Every error this package raises: what went wrong, where, and what to do about it.

Imports nothing. Invariant: each error is also the built-in exception that a caller would expect (a missing node
is a ``FileNotFoundError``), prints as up to three lines, and survives pickling, because dask workers send errors home.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

LONGEST = 10_000  # characters of each part of a message: documents, and what is quoted of them, come from strangers


class XzarrError(Exception):
    """Base of all errors of this package.

    ``what`` says what went wrong, ``where`` the store, array, chunk or place in a document, ``hint`` what to do.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        lines = [_cut(self.what)]
        if self.where:
            lines.append(f"  at {_cut(self.where)}")
        if self.hint:
            lines.append(f"  {_cut(self.hint)}")
        return "\n".join(lines)

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.__dict__)

    def at(self, where: str) -> XzarrError:
        """Return the same error with its place filled in, unless a place nearer to the fault is known already."""
        if not self.where:
            self.where = where
        return self

    def within(self, where: str) -> XzarrError:
        """Return the same error with its place, which may be one in a document, put into that of the document."""
        if not self.where.startswith(where):
            self.where = f"{where}, {self.where}" if self.where else where
        return self


def _cut(text: str) -> str:
    """Return ``text``, or where it is too long to be read its begin and its end."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}"


def _rebuild(cls: type[XzarrError], fields: dict[str, Any]) -> XzarrError:
    error = cls.__new__(cls)
    Exception.__init__(error, fields["what"])
    error.__dict__.update(fields)
    return error


def reason(error: BaseException) -> str:
    """Return why an access failed, in the words of the system where it has some; never nothing."""
    if isinstance(error, XzarrError):
        return error.what
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".removesuffix(": ")


class NodeNotFoundError(XzarrError, FileNotFoundError):
    """Nothing, or the other kind of node, is stored at this path."""


class MemberNotFoundError(NodeNotFoundError, KeyError):
    """A group has no member of this name."""


class NodeExistsError(XzarrError, FileExistsError):
    """A node is already stored at this path and ``overwrite`` was not asked for."""


class MetadataError(XzarrError, ValueError):
    """A metadata document is wrong. ``problems`` holds every (place, problem) pair found in it."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", problems: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(what, where=where, hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        listed = [f"  - {place}: {problem}" for place, problem in self.problems]
        first, *rest = super().__str__().split("\n")
        return "\n".join([first, *listed, *rest])


class UnsupportedError(XzarrError, NotImplementedError):
    """The document is valid, but names a codec, data type, grid or extension that is not known here."""


class SelectionError(XzarrError, IndexError):
    """The selection does not fit the array's shape or data type."""


class RegionError(XzarrError, ValueError):
    """A write region is unsafe, misaligned, or does not match what is stored."""


class ChunkError(XzarrError, OSError):
    """A chunk, or metadata, could not be fetched, decoded or verified; ``__cause__`` keeps the first failure."""


class ReadOnlyError(XzarrError, PermissionError):
    """A write to a read-only store, or to a node opened with mode "r"."""


class ArgumentError(XzarrError, TypeError):
    """An argument is of a kind that cannot be used."""


def unknown_keyword(call: str, name: str, things: str, known: Iterable[str]) -> ArgumentError:
    """Return the error for a keyword that a function does not have, with the nearest one of those that it has."""
    from difflib import get_close_matches  # late: importing the package loads as little as it can

    near = get_close_matches(name, list(known), 1)
    return ArgumentError(
        f"{call}() has no keyword {name!r} for {things}", hint=f"did you mean {near[0]!r}?" if near else ""
    )


class SkippedNodeWarning(UserWarning):
    """A member of a group was skipped because its metadata cannot be read."""


@contextmanager
def not_too_deep(where: str) -> Iterator[None]:
    """Turn the end of Python's stack, which documents nested some hundred deep lead to, into a `MetadataError`."""
    try:
        yield
    except RecursionError as error:
        raise MetadataError("the metadata are nested too deeply", where=where) from error
