"""What `doctor` returns: the forecast for every reader and the findings, as text and as plain data.

Imports doctor_findings and doctor_readers. Invariant: the most important finding comes first; text from a store is made
printable.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from .display_text import plain
from .doctor_findings import NOTE, Finding
from .doctor_readers import READERS, STATED, Forecast
from .doctor_rules import MISREADS, READS, REFUSES

MOST_ARRAYS = 40  # that the text lists
MOST_FINDINGS = 60
WIDTH = 110
_SIGNS = {READS: "reads", MISREADS: "MISREADS", REFUSES: "refuses"}


class ArrayReport(NamedTuple):
    """What each reader makes of one array. ``opens``: whether this package opens it."""

    path: str
    what: str
    opens: bool
    forecasts: list[Forecast]


class Report(NamedTuple):
    """What the doctor found in a store. ``mended``: the keys of documents that ``fix`` changed.

    ``complete``: whether everything in the store could be listed.
    """

    store: str
    path: str
    findings: list[Finding]
    arrays: list[ArrayReport]
    mended: list[str]
    complete: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return all(one.severity == NOTE for one in self.findings)

    @property
    def status(self) -> int:
        """The exit status for scripts: 0 nothing wrong, 1 findings."""
        return 0 if self.ok else 1

    def forecast(self, array: str, reader: str) -> Forecast:
        """Return what the reader of this id makes of the array at a path; raise KeyError for what is not there."""
        for one in self.arrays:
            if one.path == f"/{array.strip('/')}":
                return {found.reader.id: found for found in one.forecasts}[reader]
        raise KeyError(array)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
        return {
            "store": self.store,
            "path": self.path,
            "ok": self.ok,
            "complete": self.complete,
            "findings": [one.as_dict() for one in self.findings],
            "mended": self.mended,
            "readers": {
                reader.id: {
                    "name": reader.name,
                    "version": reader.version,
                    "rules": reader.seen,
                    "source": reader.source,
                }
                for reader in READERS
            },
            "arrays": [
                {
                    "path": one.path,
                    "what": one.what,
                    "xzarr": READS if one.opens else REFUSES,
                    "readers": {f.reader.id: {"verdict": f.verdict, "reasons": list(f.reasons)} for f in one.forecasts},
                }
                for one in self.arrays
            ],
        }

    def __repr__(self) -> str:
        lines = [f"{self.store}{'' if self.path == '/' else self.path}", ""]
        if self.arrays:
            lines += [*self._table(), "", *self._reasons()]
        lines += self._findings()
        if self.mended:
            lines += ["", f"mended (the documents as they were are kept as *.xzarr-copy): {', '.join(self.mended)}"]
        return plain("\n".join(lines), keep="\n")

    def _table(self) -> list[str]:
        head = ["array", "xzarr", *(f"{r.id}{'*' if r.seen == STATED else ''}" for r in READERS)]
        rows = [
            [one.path, _SIGNS[READS if one.opens else REFUSES], *(_SIGNS[f.verdict] for f in one.forecasts)]
            for one in self.arrays[:MOST_ARRAYS]
        ]
        lines = table([head, *rows])
        more = len(self.arrays) - MOST_ARRAYS
        lines += [f"... and {more} more arrays"] if more > 0 else []
        return [*lines, "* stated by its documentation, not observed"]

    def _reasons(self) -> list[str]:
        """Return why readers refuse or misread, each reason once."""
        why: dict[tuple[str, str], list[str]] = {}
        for one in self.arrays:
            for f in one.forecasts:
                for text in f.reasons:
                    names = why.setdefault((one.path, text), [])
                    names.append(f.reader.id)
        grouped: dict[tuple[str, str], list[str]] = {}
        for (path, text), readers in why.items():
            grouped.setdefault((", ".join(readers), text), []).append(path)
        lines = []
        for (names_text, text), paths in list(grouped.items())[:MOST_FINDINGS]:
            where = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
            lines += wrap(f"{names_text}: {text}  [{where}]", WIDTH, initial_indent="  ", subsequent_indent="      ")
        return [*lines, ""] if lines else []

    def _findings(self) -> list[str]:
        if not self.findings:
            return ["nothing wrong found"]
        lines = [f"{len(self.findings)} finding{'' if len(self.findings) == 1 else 's'}, the most important first"]
        for one in self.findings[:MOST_FINDINGS]:
            lines.append("")
            lines += wrap(f"{one.severity} {one.id} at {one.place}", WIDTH, subsequent_indent="    ")
            mends = "  (--fix does it)" if one.mends else ""
            for name, text in (("what", one.what), ("why", one.kind.why), ("fix", f"{one.fix}{mends}")):
                lines += wrap(f"{name:5s}{text}", WIDTH, initial_indent="  ", subsequent_indent="       ")
        more = len(self.findings) - MOST_FINDINGS
        return [*lines, f"... and {more} more (--json lists all)"] if more > 0 else lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with the cells of ``rows`` below each other; the first row is the head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
