"""The folder that thousands of small files are written to and removed from again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = "/dev/shm"  # where there is one, files cost nothing to remove


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty local folder, in memory where the system has such folders; pytest's own are kept for a while."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="xzarr-interop-", dir=place) as name:
        yield Path(name)
