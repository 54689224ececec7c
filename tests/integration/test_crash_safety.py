"""A writer that ends at any of its steps leaves the old state or the new one, and the next writer mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash_scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_writer_may_end_at_any_step(name: str) -> None:
    """Killed, failing once, or without space from there on, before each change to the file system in turn."""
    command = [sys.executable, "-m", "tests.crash_steps", name]
    # a process of its own, because forking needs one without threads
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    counts = json.loads(run.stdout)
    assert {"v2 kill", "v2 fail", "v3 kill", "v3 full"} <= counts.keys()
    # to replace one object: a temporary file, its bytes, its name
    assert all(count >= 3 for count in counts.values()), counts
