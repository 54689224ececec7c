"""Memory that is used again: blocks that are lent, and what the C library keeps of freed memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.memory import (
    ALIGNMENT,
    HUGE_PAGE,
    SCRATCH_NBYTES,
    Blocks,
    decoded_buffer,
    encoded_buffer,
    new_array,
)


def address(memory: memoryview | None) -> int:
    """Return where the memory begins."""
    assert memory is not None
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


def test_what_is_looked_at_is_not_lent_again() -> None:
    """A block comes back with the last view of it, however that was made."""
    blocks = Blocks()
    first = blocks.lend(100_000)
    assert first is not None and len(first) == 100_000
    place = address(first)
    assert place % ALIGNMENT == 0
    views: list[Any] = [first[10:20], np.frombuffer(first, "u1")[::2]]
    del first
    assert address(blocks.lend(100_000)) != place
    del views[0]
    assert address(blocks.lend(100_000)) != place
    views.clear()
    assert address(blocks.lend(100_000)) == place


def test_larger_and_smaller_objects() -> None:
    """A block serves smaller objects; a larger one gets a larger block, a far too large or an unknown one none."""
    blocks = Blocks()
    place = address(blocks.lend(200_000))
    small = blocks.lend(70_000)
    assert small is not None and len(small) == 70_000 and address(small) == place
    del small
    large = blocks.lend(300_000)
    assert large is not None and len(large) == 300_000
    assert blocks.lend(None) is None
    assert blocks.lend(SCRATCH_NBYTES + 1) is None


def test_much_memory_begins_on_a_huge_page() -> None:
    """Large results and large scratch memory begin where huge pages do, whatever the C library gives."""
    held = [np.empty(5 * 2**20, "u1") for _ in range(3)]
    large = new_array((40, 2**20), np.dtype("u1"), None)
    assert large.ctypes.data % HUGE_PAGE == 0 and large.shape == (40, 2**20) and large.flags.c_contiguous
    assert new_array((2**20, 40), np.dtype("u1"), (1, 0), zeros=True).ctypes.data % HUGE_PAGE == 0
    assert decoded_buffer(4 * 2**20).ctypes.data % HUGE_PAGE == 0
    assert address(encoded_buffer(4 * 2**20)) % HUGE_PAGE == 0
    assert address(Blocks().lend(4 * 2**20)) % HUGE_PAGE == 0
    assert len(held) == 3


def test_threads_never_share_what_they_are_lent() -> None:
    """Threads that take, fill, hand on and drop memory never see each other's bytes."""
    blocks = Blocks()
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(300):
            memory = blocks.lend(1000 + turn)
            assert memory is not None
            mine = np.frombuffer(memory, np.uint8)
            mine[...] = number
            check: Callable[[], bool] = partial(np.array_equal, mine, np.full(1000 + turn, number))
            del memory, mine
            if not check():
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


ADVISED = """
import threading, numpy as np
from xzarr_backend.memory import decoded_buffer
def flags():
    place, found = np.empty(2**20, "u1")[2**19 :].ctypes.data, False  # not what was free before it
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if line.startswith("VmFlags:"):
            if found:
                return line.split()[1:]
        elif not first.endswith(":"):
            start, stop = (int(number, 16) for number in first.split("-"))
            found = start <= place < stop
def look():
    before = flags()
    decoded_buffer(1)
    print("hg" in before, "hg" in flags())
look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="needs the GNU C library, and a system that has huge pages",
)
def test_what_a_thread_takes_comes_in_huge_pages() -> None:
    """Memory of the C library's heap is asked for in huge pages, in the first thread and in others."""
    kept = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    done = subprocess.run([sys.executable, "-c", ADVISED], env=environment, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["True", "True"]


FAULTS = """
import resource, sys, numpy as np
import xzarr_backend as xz
array = xz.open_array(sys.argv[1], mode="r+")
def faults(work):
    work(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for at in range(20):
        work(at)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
values = np.random.default_rng(1).integers(0, 256, (1, 2**20), "u1")
print(faults(lambda at: array[at : at + 1]), faults(lambda at: array.__setitem__(slice(at, at + 1), values)))
"""


def faults(folder: Path, **environment: str) -> list[float]:
    """Return how many pages are taken from the system for a chunk of 1 MiB (256 pages) that is read, and written."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=others | environment,
    )
    return [float(number) for number in ran.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways")
def test_freed_memory_is_used_again(tmp_path: Path) -> None:
    """A result that is dropped leaves its memory to the next one, and so do encoded chunks; the user's wish counts."""
    zstd = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
    noise = np.random.default_rng(0).integers(0, 256, (20, 2**20), "u1")
    xz.create_array(tmp_path, data=noise, chunks=(1, 2**20), compressors=zstd)
    assert max(faults(tmp_path)) < 64
    assert min(faults(tmp_path, MALLOC_TRIM_THRESHOLD_="65536")) > 192
