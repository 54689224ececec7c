"""Run rows in fresh processes, the contestants in turn round by round, so that a drifting machine hits all alike.

Imports case, rows and systems by name only. Invariant: this process stays small (the peak of a parent counts for its
children), so that data are prepared in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .case import Row

ROOT = Path(__file__).resolve().parents[2]
MARK = "RESULT "
TIMEOUT = 900  # seconds, for one measurement


def spawn(arguments: list[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tests.bench`` with the arguments in a fresh process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the peers are compiled where they are installed, so are we
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)


def measure_fresh(row: Row, contestant: str, folder: Path, scale: str) -> dict[str, Any]:
    """Measure in a fresh process; the answer has the key ``gap`` or ``failed`` where there is no figure."""
    arguments = ["measure", row.name, contestant, "--data", str(folder), "--scale", scale]
    try:
        done = spawn(arguments, TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {TIMEOUT} seconds"}
    results = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if results:
        answer: dict[str, Any] = json.loads(results[-1][len(MARK) :])
        return answer
    return {"failed": (done.stderr.strip().splitlines() or ["the process ended without a word"])[-1][:200]}


def run_row(row: Row, systems: list[str], rounds: int, folder: Path, scale: str) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of one row: contestant -> one per round; one that fails is not asked again.

    Each round begins with another contestant.
    """
    contestants = [*(systems if row.setup else []), *row.bounds]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for turn in range(rounds):
        first = turn % len(contestants)
        for name in contestants[first:] + contestants[:first]:
            if not any("figure" not in one for one in results[name]):
                results[name].append(measure_fresh(row, name, folder, scale))
    return results
