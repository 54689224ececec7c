"""What a long verification has finished, in a file beside the work, so that a second run can go on.

Imports verify_report and errors. Invariant: an object is listed only after it was checked, with the problems it had; a
line that a kill cut short is not believed.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Hashable
from typing import Any

from .errors import RegionError, XzarrError
from .verify_report import Problem

BATCH = 64  # objects per line


class Progress:
    """The objects of one run that are checked, in memory and, with a ``path``, in a file of JSON lines."""

    def __init__(self, path: str | os.PathLike[str] | None, token: Hashable) -> None:
        self.path = None if path is None else os.fspath(path)
        self.done: dict[str, bool] = {}  # by key; whether its frames lack a checksum
        self.problems: list[Problem] = []
        self._waiting: dict[str, bool] = {}
        self._found: list[Problem] = []
        self._lock = threading.Lock()
        self._token = str(token)
        if self.path is not None:
            self._load(self.path)

    def _load(self, path: str) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().split("\n")[:-1]
        except FileNotFoundError:
            self._append({"verify": self._token})
            return
        except (OSError, UnicodeDecodeError) as error:
            raise XzarrError(f"the state file cannot be read: {error}", where=path, hint="give another file") from error
        try:
            found = [json.loads(line) for line in lines]
            head = found[0]["verify"]
            for line in found[1:]:
                self.done.update(line["done"])
                self.problems += [Problem(*problem) for problem in line["problems"]]
        except (ValueError, LookupError, TypeError) as error:
            raise XzarrError("this is no state file of verify", where=path, hint="give another file") from error
        if head != self._token:
            raise RegionError(
                "the state file was written for another store, or with other options",
                where=path,
                hint="repeat the call that was interrupted, or give another file",
            )

    def mark(self, key: str, unchecked: bool, problems: list[Problem]) -> None:
        """Note that an object was checked, and what was wrong with it."""
        with self._lock:
            self._waiting[key] = unchecked
            self._found += problems
            if len(self._waiting) >= BATCH:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._append({"done": self._waiting, "problems": self._found})
            self.done.update(self._waiting)
            self.problems += self._found
            self._waiting, self._found = {}, []

    def flush(self) -> None:
        """Write what was noted so far."""
        with self._lock:
            self._flush()

    def finish(self) -> None:
        """Remove the file: the run is complete."""
        if self.path is not None and os.path.exists(self.path):
            os.unlink(self.path)

    def _append(self, line: dict[str, Any]) -> None:
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
