"""A sparse array of 10 TB: it opens, a few elements anywhere are right, in the memory of a few chunks."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz

SHAPE = (1_250_000, 1_000_000)  # of float64: 10 TB
CHUNK = 512  # a chunk is 2 MiB
KINDS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (CHUNK, CHUNK)},
    "v3": {"chunks": (CHUNK, CHUNK)},
    "sharded": {"chunks": (CHUNK, CHUNK), "shards": (CHUNK * 8, CHUNK * 8)},
}
CORNERS = [(0, 0), (SHAPE[0] - 1, SHAPE[1] - 1), (777_777, 123_456), (1_000_000, 999_999), (5, 600_000)]
MIB = 2**20


@pytest.fixture(params=KINDS)
def sparse(request: pytest.FixtureRequest, tmp_path: Path) -> xz.Array:
    """The array, with a value at each corner and the fill value everywhere else."""
    array = xz.create_array(tmp_path / "a", shape=SHAPE, dtype="f8", fill_value=-1.0, **KINDS[request.param])
    for number, place in enumerate(CORNERS):
        array[place] = number
    return xz.open_array(tmp_path / "a")


def read_a_few(array: xz.Array) -> None:
    """Read single elements, points, rows of few elements and strided slices from all over the array."""
    assert array.nbytes == 10**13
    for number, place in enumerate(CORNERS):
        assert array[place] == number
    assert array[600_000, 600_000] == -1
    rows, columns = np.array(CORNERS).T
    np.testing.assert_array_equal(array.vindex[rows, columns], range(len(CORNERS)))
    np.testing.assert_array_equal(array[:: SHAPE[0] - 1, :: SHAPE[1] - 1], [[0, -1], [-1, 1]])
    np.testing.assert_array_equal(array[-1, -3:], [-1, -1, 1])
    np.testing.assert_array_equal(array.oindex[[5, 0], [600_000, 0]], [[4, -1], [-1, 0]])


def test_a_few_elements(sparse: xz.Array) -> None:
    """They are right, and the peak of memory is that of a few chunks."""
    read_a_few(sparse)  # modules that are loaded at their first use are no part of it
    tracemalloc.start()
    try:
        read_a_few(sparse)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK**2 * 8


def test_a_process_needs_little(sparse: xz.Array) -> None:
    """The address space of a whole process grows by a few chunks only, from before opening to after reading."""
    resource = pytest.importorskip("resource", reason="this system does not count memory so")
    assert resource
    program = f"""
import resource, sys
sys.path[:0] = {sys.path!r}
import numpy as np
import xzarr_backend as xz
from pathlib import Path
import tempfile
small = xz.create_array(Path(tempfile.mkdtemp()) / "s", data=np.zeros(9) + 1)[...]  # loads the codecs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
array = xz.open_array({sparse.store.url!r})
for number, place in enumerate({CORNERS!r}):
    assert array[place] == number, (place, array[place])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 24 * MIB


def test_facts_and_iteration_cost_nothing(sparse: xz.Array) -> None:
    """Facts about billions of chunks are arithmetic."""
    assert sparse.nchunks == -(-SHAPE[0] // CHUNK) * -(-SHAPE[1] // CHUNK)
    assert sparse.chunks == (CHUNK, CHUNK)
    assert str(sparse.info)
    rows = iter(sparse.oindex[np.arange(3), [0]])
    assert next(rows)[0] == 0
