"""``python -m tests.crash_steps SCENARIO``: end a writer before every one of its changes to the file system, in turn.

A writer runs in a forked process, whose audit hook sees each creation, renaming and removal and ends it there: as a
kill does ("kill"), with an error once ("fail"), or with an error from there on ("full", a disk without space). After
each the store is read, then the next writer runs, and the store is read again. Prints the number of runs as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash_scenarios import SCENARIOS, Scenario, check, check_finished
from xzarr_backend.errors import XzarrError
from xzarr_backend.stores import exchange

CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate", "exchange"}
KILLED, FAILED, DONE = 77, 1, 0
SIZE = 18


def is_creation(arguments: Any) -> bool:
    """Return whether the audit event "open" with these arguments creates a file."""
    return isinstance(arguments[2], int) and bool(arguments[2] & os.O_CREAT)


class Ending:
    """An audit hook that lets the change number ``step`` (from 1) not happen; ``seen`` counts them."""

    def __init__(self, step: int, how: str) -> None:
        self.step, self.how, self.seen = step, how, 0

    def __call__(self, event: str, arguments: Any) -> None:
        creates = event == "open" and is_creation(arguments)
        if not creates and event not in CHANGES:
            return
        self.seen += 1
        if self.how == "kill" and self.seen == self.step:
            os._exit(KILLED)
        if self.how == "fail" and self.seen == self.step:
            raise OSError(errno.EIO, "this step was made to fail")
        if self.how == "full" and self.seen >= self.step and (creates or event == "os.mkdir"):
            raise OSError(errno.ENOSPC, "no space left on this device")


def run_until(step: int, how: str, write: Callable[[], None], twice: bool) -> tuple[bool, int]:
    """Run ``write`` in a forked process that ends at ``step``; return whether it got so far, and its exit code."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            reached = pipe.read() != b"n"
        return reached, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        plain = exchange._exchange_names

        def traced(first: str, second: str) -> bool:
            sys.audit("exchange", first, second)
            return not twice and plain(first, second)

        exchange._exchange_names = traced
        ending = Ending(step, how)
        sys.addaudithook(ending)
        try:
            write()
            code = DONE
        except (OSError, XzarrError):
            pass
        if ending.seen < step:
            os.write(writer, b"n")
    except BaseException:
        traceback.print_exc()
        code = 2
    os._exit(code)


def run_scenario(scenario: Scenario, zarr_format: int, how: str, twice: bool = False) -> int:
    """End the writer of ``scenario`` at each of its steps; return how many those are."""
    with tempfile.TemporaryDirectory() as folder:
        origin, place = Path(folder, "origin"), Path(folder, "work", "data.zarr")
        scenario.prepare(origin, zarr_format, SIZE)
        for step in range(1, 10_000):
            shutil.rmtree(place.parent, ignore_errors=True)
            place.parent.mkdir()
            if origin.exists():
                shutil.copytree(origin, place)
            reached, code = run_until(step, how, lambda: scenario.write(place, zarr_format, SIZE), twice)
            assert code in ((KILLED,) if how == "kill" and reached else (DONE, FAILED)), (
                f"step {step}: exit code {code}"
            )
            try:
                check(scenario, place, SIZE)
                scenario.write(place, zarr_format, SIZE)
                check_finished(scenario, place, SIZE)
            except BaseException as error:
                error.add_note(f"zarr_format {zarr_format}, {how} at step {step}")
                raise
            if not reached:
                return step - 1
    raise AssertionError("the writer never ends")


def main(name: str) -> None:
    """Print, as JSON, the number of steps by format and way of ending."""
    scenario, counts = SCENARIOS[name], {}
    for zarr_format, how in ((2, "kill"), (2, "fail"), (3, "kill"), (3, "full")):
        counts[f"v{zarr_format} {how}"] = run_scenario(scenario, zarr_format, how)
    if name.startswith("overwrite"):
        counts["v3 kill, two renames"] = run_scenario(scenario, 3, "kill", twice=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1])
