"""What `verify` returns: problems, what was checked, and which arrays cannot be checked for changed bits.

Imports doctor_report (its table). Invariant: text from a store is made printable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .display_text import plain
from .doctor_report import table

MOST_PROBLEMS = 60  # that the text lists

# kind: what it means, whether it counts as a problem
KINDS: dict[str, tuple[str, bool]] = {
    "metadata": ("a document cannot be read, or the array not be opened", True),
    "unreadable": ("an object cannot be fetched", True),
    "truncated": ("an object has fewer bytes than its chunk needs", True),
    "damaged": ("an object does not decode, or its checksum does not match", True),
    "bad-index": ("the index of a shard is wrong", True),
    "odd-header": ("the data decode, but a header holds what no writer sets", True),
    "missing": ("a chunk of an array that is otherwise full is not stored", True),
    "orphan": ("an object lies where no chunk of the grid has its place", True),
    "stale": ("consolidated metadata differ from the members' own documents", True),
    "leftover": ("a lock, temporary file or record of a writer that did not finish", True),
    "unlisted": ("the place cannot be listed, so missing and foreign objects are not known", False),
}


class Problem(NamedTuple):
    """What is wrong. ``array``: the path of the array, or of the group; ``key``: the object, "" where it is none."""

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
    """What `verify` found. ``repaired``: what ``repair`` changed; ``resumed``: objects that an earlier run checked."""

    store: str
    arrays: list[ArrayResult] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    sample: int | None = None
    resumed: int = 0

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not any(KINDS[problem.kind][1] for problem in self.problems)

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
            "unverifiable": self.unverifiable,
            "arrays": [asdict(array) for array in self.arrays],
            "repaired": self.repaired,
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
        lines = [f"  {p.kind:10s} {p.key or p.array}: {p.what}" for p in self.problems[:MOST_PROBLEMS]]
        if len(self.problems) > MOST_PROBLEMS:
            lines.append(f"  ... and {len(self.problems) - MOST_PROBLEMS} more (--json lists all)")
        counts = Counter(problem.kind for problem in self.problems)
        found = ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) or "no problems"
        lines.insert(0, found)
        if self.unverifiable:
            lines.append(
                f"unverifiable: {', '.join(self.unverifiable)} (no checksum: sizes and decoding were checked, "
                "changed bits can go unnoticed)"
            )
        if self.sample is not None:
            lines.append(f"a sample: at most {self.sample} objects of each array were decoded")
        if self.resumed:
            lines.append(f"resumed: {self.resumed:,} objects were checked by an earlier run")
        return [*lines, f"repaired: {', '.join(self.repaired)}"] if self.repaired else lines
