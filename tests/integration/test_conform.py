"""What many other implementations wrote is read right: the shared fixtures, and what each family must reach."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

LEAST = {"zarr2": 64, "zarr3": 82, "field": 1000, "exzarr": 93}


@pytest.fixture(scope="module")
def check(shared: Path) -> ModuleType:
    """The judge that the fixtures come with."""
    if sys.platform == "win32":
        pytest.skip("the judge stops hangs with an alarm signal")
    path = shared / "conform" / "check.py"
    specification = importlib.util.spec_from_file_location("conform_check", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    before = list(sys.path)
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def verdicts(check: ModuleType, shared: Path) -> dict[str, list[tuple[str, str, str]]]:
    """(result, id, reason) of every fixture, by family."""
    root = shared / "fixtures"
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in json.loads((root / "manifest.json").read_text("utf-8"))["arrays"]:
            result, why = check.judge("xzarr", root, case)
            found[case["family"]].append((result, case["id"], why))
    return found


@pytest.mark.parametrize("family", LEAST)
def test_family(family: str, verdicts: dict[str, list[tuple[str, str, str]]]) -> None:
    """Enough arrays of the family give exactly the recorded values, or are refused where they must be."""
    counts = Counter(result for result, _, _ in verdicts[family])
    print(f"{family}: {counts['ok']} of {counts.total()} right")
    wrong = [entry for entry in verdicts[family] if entry[0] != "ok"]
    assert counts["ok"] >= LEAST[family], "\n".join(map(str, wrong[:20]))


def test_refusals_are_ours(verdicts: dict[str, list[tuple[str, str, str]]]) -> None:
    """Nothing hangs, and nothing is refused with an exception of another package."""
    results = [entry for family in verdicts.values() for entry in family]
    bad = [entry for entry in results if entry[0] == "HANG" or "foreign" in entry[0]]
    assert not bad, "\n".join(map(str, bad[:20]))
