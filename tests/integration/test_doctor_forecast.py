"""The doctor's forecast against what readers really make of the shared fixtures."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from xzarr_backend.doctor_facts import load_facts
from xzarr_backend.doctor_readers import forecasts, installed_reader
from xzarr_backend.doctor_rules import MISREADS, READS, REFUSES
from xzarr_backend.stores import open_store

SHARE = 0.98  # of the fixtures that a forecast must be right for
RESULTS = {"refused": REFUSES, "WRONG VALUES": MISREADS, "READ, must refuse": READS}


@cache
def verdicts(shared: Path) -> dict[str, dict[str, str]]:
    """What the doctor foretells of each fixture: by id, the verdict of each reader."""
    found = {}
    for case in manifest(shared):
        store = open_store(str(shared / "fixtures" / case["store"]))
        path = case["path"].strip("/")
        facts = load_facts(store, path, zarr_format=case["zarr_format"], quirks=case["quirks"])
        found[case["id"]] = {one.reader.id: one.verdict for one in forecasts(facts)}
    return found


@cache
def manifest(shared: Path) -> list[dict[str, Any]]:
    """The fixtures."""
    arrays: list[dict[str, Any]] = json.loads((shared / "fixtures" / "manifest.json").read_text())["arrays"]
    return arrays


@pytest.mark.parametrize(("package", "reader"), [("zarr", "zarr-python"), ("tensorstore", "tensorstore")])
def test_the_forecast_is_what_the_installed_reader_does(
    package: str, reader: str, shared: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What check.py measures with the installed reader is what the doctor foretells, for nearly every fixture."""
    name = installed_reader(package)
    if name is None:
        pytest.skip(f"{package} is not installed")
    output = tmp_path / "bad.json"
    command = [sys.executable, str(shared / "conform" / "check.py"), "--reader", reader, "--json", str(output)]
    subprocess.run(command, capture_output=True, check=False, timeout=300)
    bad = {one["id"]: one["result"] for one in json.loads(output.read_text())}
    foretold = verdicts(shared)
    wrong = [
        (case["id"], foretold[case["id"]][name], bad.get(case["id"]))
        for case in manifest(shared)
        if case["expect"] != "either" and foretold[case["id"]][name] != _measured(case, bad.get(case["id"]))
    ]
    right = len(manifest(shared)) - len(wrong)
    print(f"\n{name}: {right} of {len(manifest(shared))} foretold")
    assert right >= SHARE * len(manifest(shared)), wrong


def _measured(case: dict[str, Any], result: str | None) -> str:
    if result is not None:
        return RESULTS[result]
    return READS if case["expect"] == "value" else REFUSES


@pytest.mark.parametrize(("peer", "name"), [("zarr_python", "zarr-python-3.1"), ("tensorstore", "tensorstore")])
def test_the_forecast_is_what_the_manifest_recorded(peer: str, name: str, shared: Path) -> None:
    """The outcomes in the manifest, of zarr-python 3.1.6 and tensorstore 0.1.86, are those of the rules."""
    recorded = [case for case in manifest(shared) if peer in case.get("peers", {})]
    foretold = verdicts(shared)
    wrong = [
        case["id"]
        for case in recorded
        if case["expect"] == "value" and (foretold[case["id"]][name] == READS) != case["peers"][peer]
    ]
    assert recorded and len(wrong) <= (1 - SHARE) * len(recorded), wrong
