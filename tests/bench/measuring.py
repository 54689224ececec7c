"""One measurement in one process: import, set up, call once by the clock, read the peak of memory, check.

Imports case, rows, bounds, systems. Invariant: nothing but ``Case.call`` is timed, and the peak is read before the
result is checked. What the imports and the set-up left to Python's collector is collected before: with so many objects
a collection takes longer than opening an array does, and would fall on whoever makes the next one too many. A virtual
machine gives free memory back to its host within seconds, and huge pages of it come again twenty times as slowly:
without more, whoever runs right after a process that needed as much has it easy. So another process fills memory and
gives it back before the clock starts.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import time
import warnings
from typing import Any

from .bounds import BOUNDS
from .case import Case, Data, Measured, Row
from .systems import SYSTEMS

MEGABYTE = 1024  # ru_maxrss counts kilobytes on Linux

FILL_MEMORY = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if hasattr(mmap, "MADV_HUGEPAGE"):  # as NumPy asks for them
    memory.madvise(mmap.MADV_HUGEPAGE)
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page] = 1
"""


def peak(workers: bool = False) -> float:
    """Return the peak of this process so far, in MB; of its largest child where that is more and ``workers``."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers else 0
    return max(own, children) / MEGABYTE


def measure(row: Row, contestant: str, data: Data) -> dict[str, Any]:
    """Measure a system, or a bound, on a row; return figure (seconds or bytes), peak, above (MB) and checksum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = contestant in BOUNDS
        if not bound:
            SYSTEMS[contestant].load()
        for module in row.uses:
            importlib.import_module(module)
        imported = peak()
        case = BOUNDS[contestant](data) if bound else _set_up(row, contestant, data)
        if not row.workers:  # whose memory is that of children
            warm_memory(data.scale.warmed)
        return _run(case, row, imported)


def warm_memory(nbytes: int) -> None:
    """Fill ``nbytes`` of memory in a process that ends at once."""
    arguments = [sys.executable, "-I", "-S", "-c", FILL_MEMORY, str(nbytes)]
    os.waitpid(os.posix_spawn(sys.executable, arguments, os.environ), 0)


def _set_up(row: Row, contestant: str, data: Data) -> Case:
    if row.setup is None:
        raise ValueError(f"row {row.name} has bounds only")
    return row.setup(SYSTEMS[contestant], data)


def _run(case: Case, row: Row, imported: float) -> dict[str, Any]:
    closed = False
    try:
        figure, value = _timed(case)
        if row.workers:  # children count when they have ended
            case.close()
            closed = True
        highest = peak(row.workers)
        return {
            "figure": figure,
            "peak": round(highest, 1),
            "above": round(highest - imported, 1),
            "checksum": case.check(value),
        }
    finally:
        if not closed:
            case.close()


def _timed(case: Case) -> tuple[float, Any]:
    gc.collect()
    start = time.perf_counter()
    for _ in range(case.repeat):
        value = case.call()
    seconds = (time.perf_counter() - start) / case.repeat
    return (value.figure, value.value) if isinstance(value, Measured) else (seconds, value)
