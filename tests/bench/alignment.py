"""How fast a cached file is read into memory, by where the memory begins: ``python -m tests.bench.alignment``.

Imports NumPy only. Why memory of reads is aligned: docs/adr/0005-memory-of-a-read.md.
"""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np

PAGE = 4096
NBYTES = 4 << 20
FILES = 16


def milliseconds(offset: int, descriptor: int) -> float:
    """Return the least CPU time of `FILES` reads of `NBYTES` into memory that begins ``offset`` bytes into a page."""
    memory = np.zeros(NBYTES + 2 * PAGE, "u1")
    start = -memory.ctypes.data % PAGE + offset
    view = memoryview(memory)[start : start + NBYTES]
    found = []
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(FILES):
            os.preadv(descriptor, [view], 0)
        found.append(time.thread_time() - begun)
    return min(found) * 1e3


def main() -> None:
    """Print one line per offset."""
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(NBYTES))
        file.flush()
        for offset in (0, 16, 32, 64, 128, 2048):
            print(f"{offset:5d} bytes into a page: {milliseconds(offset, file.fileno()):6.1f} ms")


if __name__ == "__main__":
    main()
