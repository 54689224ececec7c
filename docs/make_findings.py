"""Writes docs/interop/findings.md from the tables of the doctor: ``python -m docs.make_findings``."""

from __future__ import annotations

from pathlib import Path

from xzarr_backend.doctor_findings import CASES, FINDINGS, Kind
from xzarr_backend.doctor_readers import READERS

PAGE = Path(__file__).parent / "interop" / "findings.md"

HEAD = """# What the doctor finds

`xz.doctor(store)` and `xzarr doctor STORE` examine a store: who can read each array, what is wrong, and what to do.
This page has one section for each finding, under its id. A script writes it from the tables of the package.

An **error** keeps an array from being read, or makes everybody read something else. A **warning** is something that
some readers refuse or misunderstand, or that costs time. A **note** is no fault. Findings with *mended by `--fix`* can
be mended: only metadata change, each document in one step, and the old one stays beside it as `*.xzarr-copy`.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD, _readers(), _overview(), *(_section(kind) for kind in FINDINGS.values())]
    return "\n".join(parts)


def _readers() -> str:
    rows = [f"| {r.name} | `{r.id}` | {r.version} | {r.seen} | {r.source} |" for r in READERS]
    return "\n".join(
        [
            "The forecast for each reader rests on rules that were observed by running it, or that its documentation",
            "states:",
            "",
            "| Reader | Id | Version | Rules are | From |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _overview() -> str:
    lines = ["| Case | Findings |", "|---|---|"]
    for case, title in CASES.items():
        links = ", ".join(f"[{kind.id}](#{kind.id})" for kind in FINDINGS.values() if kind.case == case)
        lines.append(f"| {title} | {links} |")
    return "\n".join([*lines, ""])


def _section(kind: Kind) -> str:
    mends = " Mended by `--fix`." if kind.mends else ""
    return "\n".join(
        [
            f"## {kind.id}",
            "",
            f"{kind.title}. ({kind.severity}; {CASES[kind.case].lower()})",
            "",
            f"**Why:** {kind.why}",
            "",
            f"**What to do:** {kind.fix}.{mends}",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
