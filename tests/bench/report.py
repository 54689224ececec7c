"""From measurements to ratios and tables. Imports rows. Pure: no clock, no processes.

A document of a run: ``{"machine", "scale", "rounds", "rows": {row: {contestant: [measurement]}}}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from .bounds import BOUNDS
from .rows import ROWS

Results = dict[str, list[dict[str, Any]]]
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one contestant: seconds (or bytes), megabytes, checksums."""

    least: float
    middle: float
    peak: float
    above: float
    checksums: tuple[str, ...]


def figures(results: Results) -> dict[str, Figures]:
    """Sum up the rounds of each contestant that gave a figure in every one."""
    return {
        name: Figures(
            min(one["figure"] for one in rounds),
            median(one["figure"] for one in rounds),
            median(one["peak"] for one in rounds),
            median(one["above"] for one in rounds),
            tuple(str(one["checksum"]) for one in rounds),
        )
        for name, rounds in results.items()
        if rounds and all("figure" in one for one in rounds)
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a row says: ours against the best peer, the leanest peer and the bounds; None where there is none."""

    figures: dict[str, Figures]
    ratio: float | None  # of the least figures
    ratio_median: float | None
    memory: float | None  # ours / leanest peer, of the peaks
    bounds: dict[str, float]  # ours / bound, of the least figures
    bounds_median: dict[str, float]
    agree: bool
    problems: dict[str, str]  # contestant -> why it has no figure


def judge(results: Results) -> Verdict:
    """Compare the contestants of a row."""
    known = figures(results)
    ours = known.get(OURS)
    peers = [one for name, one in known.items() if name != OURS and name not in BOUNDS]
    checksums = {text for name, one in known.items() if name not in BOUNDS for text in one.checksums}
    against = bool(ours and peers)
    bounds = [name for name in known if name in BOUNDS]
    return Verdict(
        known,
        ours.least / min(one.least for one in peers) if ours and against else None,
        ours.middle / min(one.middle for one in peers) if ours and against else None,
        ours.peak / min(one.peak for one in peers) if ours and against else None,
        {name: ours.least / known[name].least for name in bounds} if ours else {},
        {name: ours.middle / known[name].middle for name in bounds} if ours else {},
        len(checksums) <= 1,
        {name: _problem(rounds) for name, rounds in results.items() if name not in known},
    )


def _problem(rounds: list[dict[str, Any]]) -> str:
    for one in rounds:
        for key in ("gap", "failed"):
            if key in one:
                return f"{key}: {one[key]}"
    return "failed: not measured"


def shown(figure: float, unit: str) -> str:
    """Return a figure with three digits or more: milliseconds, or bytes."""
    number = figure if unit == "bytes" else figure * 1e3
    return f"{number:.0f}" if number >= 100 or unit == "bytes" else f"{number:.3g}"


def line(name: str, results: Results) -> str:
    """Return a row as a line of text: least (median) figures and peaks, ratios, checksums."""
    verdict, unit = judge(results), ROWS[name].unit
    parts = [f"{name:20s}"]
    for contestant, one in verdict.figures.items():
        numbers = f"{shown(one.least, unit)} ({shown(one.middle, unit)}) {unit}"
        parts.append(f"{contestant}={numbers} {one.peak:.0f}MB(+{one.above:.0f})")
    if verdict.ratio is not None:
        parts.append(f"ours/best={verdict.ratio:.2f} (median {verdict.ratio_median:.2f}) memory={verdict.memory:.2f}")
    middle = verdict.bounds_median
    parts += [f"ours/{bound}={ratio:.2f} (median {middle[bound]:.2f})" for bound, ratio in verdict.bounds.items()]
    parts.append("CHK" if verdict.agree else f"CHECKSUMS DIFFER {_checksums(verdict)}")
    parts += [f"[{contestant} {problem}]" for contestant, problem in verdict.problems.items()]
    return "  ".join(parts)


def _checksums(verdict: Verdict) -> dict[str, str]:
    return {name: one.checksums[0][:60] for name, one in verdict.figures.items() if name not in BOUNDS}


def summary(document: dict[str, Any]) -> str:
    """Return how many rows are ahead, level, behind, and which have problems: by the least figures, and by the median.

    The least says what a system can do, the median what it does; they differ where the machine has fast moments.
    """
    verdicts = {name: judge(results) for name, results in document["rows"].items()}
    ratios = {name: one.ratio for name, one in verdicts.items() if one.ratio is not None}
    medians = {name: one.ratio_median for name, one in verdicts.items() if one.ratio_median is not None}
    bounds = {f"{name} {bound}": ratio for name, one in verdicts.items() for bound, ratio in one.bounds.items()}
    middles = {f"{name} {bound}": ratio for name, one in verdicts.items() for bound, ratio in one.bounds_median.items()}
    heavy = [f"{n} {v.memory:.2f}" for n, v in verdicts.items() if v.memory is not None and v.memory > 1.1]
    lines = [
        f"{len(ratios)} rows against peers: {_counted(ratios)}",
        f"behind the best peer: {_over(1, ratios)}",
        f"by the median: {_counted(medians)}; behind: {_over(1, medians)}",
        f"memory over the leanest peer + 10 %: {', '.join(heavy) or 'none'}",
        f"over 1.5 of a bound: {_over(1.5, bounds)}",
        f"by the median: {_over(1.5, middles)}",
        f"checksums differ: {', '.join(name for name, one in verdicts.items() if not one.agree) or 'none'}",
        f"ours failed: {', '.join(name for name, one in verdicts.items() if OURS in one.problems) or 'none'}",
    ]
    return "\n".join(lines)


def _counted(ratios: dict[str, float]) -> str:
    clear, level = (sum(ratio <= most for ratio in ratios.values()) for most in (0.8, 1))
    return f"{clear} at 0.8 or less, {level} at 1.0 or less"


def _over(most: float, ratios: dict[str, float]) -> str:
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio > most) or "none"


def markdown(document: dict[str, Any]) -> str:
    """Return the tables for docs/performance.md, one per group of rows."""
    rows = {name: judge(results) for name, results in document["rows"].items()}
    systems = [name for name in document["systems"] if any(name in one.figures for one in rows.values())]
    return "\n\n".join(
        _table(group, {name: one for name, one in rows.items() if ROWS[name].group == group}, systems)
        for group in dict.fromkeys(ROWS[name].group for name in rows)
    )


def _table(group: str, rows: dict[str, Verdict], systems: list[str]) -> str:
    head = ["row", "what", *systems, "ours / best peer (median)", "bound", "ours / bound (median)"]
    head += ["peak MB: ours", "leanest peer"]
    lines = [f"### {group}", "", _cells(head), "|" + "---|" * len(head)]
    lines += [_cells(_row(name, one, systems)) for name, one in rows.items()]
    return "\n".join(lines)


def _row(name: str, verdict: Verdict, systems: list[str]) -> list[str]:
    known, row = verdict.figures, ROWS[name]
    least = [shown(known[system].least, row.unit) if system in known else "–" for system in systems]
    bounds = [f"{shown(known[bound].least, row.unit)} {bound}" for bound in row.bounds if bound in known]
    peers = [one.peak for system, one in known.items() if system != OURS and system not in BOUNDS]
    return [
        name,
        row.shows + (" (bytes)" if row.unit == "bytes" else ""),
        *least,
        "–" if verdict.ratio is None else f"{verdict.ratio:.2f} ({verdict.ratio_median:.2f})",
        "; ".join(bounds) or "–",
        "; ".join(f"{ratio:.2f} ({verdict.bounds_median[name]:.2f})" for name, ratio in verdict.bounds.items()) or "–",
        f"{known[OURS].peak:.0f}" if OURS in known else "–",
        f"{min(peers):.0f}" if peers else "–",
    ]


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
