"""Runs xarray's own Zarr tests through this package: `python -m tests.integration.run_xarray_suite [-k ...]`.

The plugin that sends them here lies in ``../shared/xarray_suite``; tests that are excluded are listed, with reasons, in
``xarray_suite_exclusions.txt``. Prints passed, failed, skipped and excluded per class; the exit status is that of
pytest.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SUITE = HERE.parents[2] / "shared" / "xarray_suite"
EXCLUSIONS = HERE / "xarray_suite_exclusions.txt"
CHOSEN = "TestZarr or DataArrayToZarr or zarr or TestNCZarr or TestInstrumentedZarrStore"
LOOSE = "(functions)"


def read_exclusions() -> dict[str, str]:
    """Return the reasons by test id (``Class::test[parameters]``, ``Class::test`` or ``test``)."""
    found = {}
    for line in EXCLUSIONS.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, reason = re.split(r"\s{2,}", line, maxsplit=1)
            found[name] = reason
    return found


class Results:
    """A plugin for pytest: leaves excluded tests out, and counts by class."""

    def __init__(self, exclusions: dict[str, str]) -> None:
        self.exclusions = exclusions
        self.used: set[str] = set()
        self.counts: dict[str, Counter[str]] = {}

    def count(self, name: str, outcome: str) -> None:
        """Add one test with the id ``Class::test`` or ``test``."""
        group = name.rpartition("::")[0] or LOOSE
        self.counts.setdefault(group, Counter())[outcome] += 1

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is on the list."""
        kept = []
        for item in items:
            name = _short(item.nodeid)
            entry = next((e for e in (name, name.partition("[")[0]) if e in self.exclusions), None)
            if entry is None:
                kept.append(item)
            else:
                self.used.add(entry)
                self.count(name, "excluded")
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the outcome of a test: that of its call, or of what failed before or after it."""
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
            self.count(_short(report.nodeid), outcome)

    def table(self) -> str:
        """Return the counts as text, with the share of excluded ids."""
        columns = ("passed", "failed", "skipped", "xfailed", "excluded")
        lines = [f"{'class':40}" + "".join(f"{column:>9}" for column in columns) + "  excluded of all"]
        for name, counts in sorted(self.counts.items()):
            share = 100 * counts["excluded"] / sum(counts.values())
            lines.append(f"{name:40}" + "".join(f"{counts[column]:9}" for column in columns) + f"  {share:.1f}%")
        return "\n".join(lines)


def _short(nodeid: str) -> str:
    return nodeid.partition("::")[2]


def main(arguments: list[str]) -> int:
    """Run the suite, or the part of it that ``arguments`` of pytest choose."""
    if not SUITE.is_dir():
        print(f"{SUITE} is missing: the suite cannot be run")
        return 1
    sys.path.insert(0, str(SUITE))
    spec: Any = importlib.util.find_spec("xarray.tests")
    folder = Path(spec.origin).parent
    results = Results(read_exclusions())
    chosen = arguments if "-k" in arguments else ["-k", CHOSEN, *arguments]
    options = ["-p", "xzarr_redirect", "-p", "no:cacheprovider", "-q", "-W", "ignore", "--tb=short", "-c", "/dev/null"]
    files = [str(folder / "test_backends.py"), str(folder / "test_backends_datatree.py")]
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # one of the tests writes where it stands
        status = pytest.main([*options, *files, *chosen], plugins=[results])
    print(results.table())
    unused = sorted(set(results.exclusions) - results.used)
    if unused and "-k" not in arguments:
        print("on the list, but not in the suite:", ", ".join(unused))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
