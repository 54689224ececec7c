"""What `verify` returns: problems, what was checked, and which arrays cannot be checked for changed bits.

Imports doctor_report (its table). Invariant: text from a store is made printable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .display_text import plain
from .doctor_report import table

MOST_PROBLEMS, MOST_NOTES = 60, 5  # that the text lists

# kind: what it means
KINDS = {
    "metadata": "a document cannot be read, or the array not be opened",
    "unreadable": "an object cannot be fetched, or a folder not be listed",
    "truncated": "an object has fewer bytes than its chunk needs",
    "damaged": "an object does not decode, or its checksum does not match",
    "bad-index": "the index of a shard is wrong",
    "odd-header": "the data decode, but a header holds what no writer sets",
    "missing": "a chunk of an array that is otherwise full is not stored",
    "orphan": "an object lies where no chunk of the grid has its place",
    "stale": "consolidated metadata differ from the members' own documents",
    "leftover": "a lock, temporary file or record of a writer that did not finish",
}
# what a whole store may have too
NOTES = {
    "unlisted": "the kind of store cannot be listed, so foreign objects are not known",
    "lock": "an empty lock file, as ExZarr leaves them beside every chunk that it read or wrote",
    "empty": "no chunk of the array is stored, so that all of it reads as the fill value",
}


class Problem(NamedTuple):
    """What is wrong, or noted. ``array``: the path of the array or group; ``key``: the object, "" where it is none."""

    kind: str
    array: str
    key: str
    what: str


@dataclass
class ArrayResult:
    """What was checked of one array. ``stored`` counts objects; ``missing`` those of the grid that are not stored.

    ``unverifiable``: why changed bits can go unnoticed, "" where a checksum covers all.
    """

    path: str
    stored: int = 0
    checked: int = 0
    missing: int = 0
    nbytes: int = 0
    problems: int = 0
    unverifiable: str = ""


@dataclass
class VerifyReport:
    """What `verify` found.

    ``notes``: what a whole store may have too. ``repaired``: what ``repair`` changed, ``unrepaired``: what it could
    not, and why. ``resumed``: objects that an earlier run checked.
    """

    store: str
    arrays: list[ArrayResult] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    unrepaired: list[str] = field(default_factory=list)
    sample: int | None = None
    resumed: int = 0

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def add(self, found: Iterable[Problem]) -> None:
        """Take up what was found, as problems or as notes."""
        for problem in found:
            (self.notes if problem.kind in NOTES else self.problems).append(problem)

    @property
    def status(self) -> int:
        """The exit status for scripts: 0 nothing wrong, 1 problems."""
        return 0 if self.ok else 1

    @property
    def unverifiable(self) -> list[str]:
        """The paths of the arrays in which changed bits can go unnoticed."""
        return [array.path for array in self.arrays if array.unverifiable]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
        return {
            "store": self.store,
            "ok": self.ok,
            "sample": self.sample,
            "resumed": self.resumed,
            "problems": [problem._asdict() for problem in self.problems],
            "notes": [note._asdict() for note in self.notes],
            "unverifiable": self.unverifiable,
            "arrays": [asdict(array) for array in self.arrays],
            "repaired": self.repaired,
            "unrepaired": self.unrepaired,
        }

    def __repr__(self) -> str:
        return plain("\n".join([self.store, "", *self._arrays(), *self._problems()]), keep="\n")

    def _arrays(self) -> list[str]:
        rows = [
            [
                a.path,
                f"{a.stored:,}",
                f"{a.checked:,}",
                f"{a.missing:,}",
                f"{a.problems:,}",
                "no: " + a.unverifiable.partition(":")[0] if a.unverifiable else "yes",
            ]
            for a in self.arrays
        ]
        if not rows:
            return ["no array"]
        return [*table([["array", "stored", "checked", "missing", "problems", "checksums"], *rows]), ""]

    def _problems(self) -> list[str]:
        lines = _listed(self.problems, MOST_PROBLEMS) or ["no problems"]
        if self.notes:
            first, *others = _listed(self.notes, MOST_NOTES)
            lines += [f"noted: {first}", *others]
        if self.unverifiable:
            lines.append(
                f"unverifiable: {', '.join(self.unverifiable)} (no checksum: sizes and decoding were checked, "
                "changed bits can go unnoticed)"
            )
        if self.sample is not None:
            lines.append(f"a sample: at most {self.sample} objects of each array were decoded")
        if self.resumed:
            lines.append(f"resumed: {self.resumed:,} objects were checked by an earlier run")
        lines += [f"repaired: {', '.join(self.repaired)}"] if self.repaired else []
        return [*lines, *(f"not repaired: {what}" for what in self.unrepaired)]


def _listed(problems: list[Problem], most: int) -> list[str]:
    """Return how many of each kind there are, and the first of them, one a line; nothing for none."""
    if not problems:
        return []
    kinds = Counter(problem.kind for problem in problems)
    lines = [f"  {p.kind:10s} {p.key or p.array}: {p.what}" for p in problems[:most]]
    more = [f"  ... and {len(problems) - most} more (--json lists all)"] if len(problems) > most else []
    return [", ".join(f"{count} {kind}" for kind, count in kinds.most_common()), *lines, *more]
