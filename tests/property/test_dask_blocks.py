"""Blocks of `from_zarr`: those that dask chooses, without its looking at each stored chunk."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from xzarr_backend import dask_array
from xzarr_backend.dask_lazy import equal_lengths


@settings(max_examples=400)
@given(
    size=st.one_of(st.integers(1, 12), st.integers(1, 400)),
    count=st.one_of(st.integers(1, 20), st.integers(20, 900)),
    short=st.integers(0, 399),
    limit=st.integers(1, 20_000),
    dtype=st.sampled_from(["u1", "i2", "f8"]),
)
@example(size=4, count=1025, short=2, limit=10, dtype="u1")  # dask adds what is left to the last block
@example(size=7, count=7, short=33, limit=352, dtype="f8")  # which may be the only one
@example(size=1, count=5000, short=0, limit=7, dtype="u1")
@example(size=300, count=300, short=0, limit=10, dtype="f8")  # blocks shorter than the chunks
@example(size=49, count=400, short=0, limit=49 * 49, dtype="u1")  # dask is one chunk short: it divides floats
def test_many_chunks_are_fused_as_dask_fuses_them(size: int, count: int, short: int, limit: int, dtype: str) -> None:
    """For any chunks, length and limit of a task, blocks are as long as those of dask, and no longer than the limit."""
    length = max(1, size * count - short % size)
    array = xz.create_array({}, shape=(length,), chunks=(size,), dtype=dtype)
    itemsize = np.dtype(dtype).itemsize
    with dask.config.set({"array.chunk-size": limit}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_array, "LONG", 5)
        stored = (min(size, length),)
        (theirs,) = da.core.normalize_chunks("auto", (length,), dtype=np.dtype(dtype), previous_chunks=stored)
        (ours,) = dask_array.block_sizes(array, "auto")
    if size * itemsize > limit or length <= 5 * size:
        assert (ours if isinstance(ours, tuple) else equal_lengths(length, ours)) == theirs
        return
    assert isinstance(ours, int)
    assert ours * itemsize <= limit
    if theirs == (length,) and length - ours < size:
        return  # what is left was added to the only block
    one_short = limit % (size * itemsize) == 0
    assert theirs[0] in ((ours, ours - size) if one_short else (ours,))


@pytest.mark.parametrize("chunks", ["auto", ("auto",)])
def test_dask_looks_at_none_of_a_million_chunks(chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of "auto" are made of as many chunks as a task may hold, without dask's looking at each chunk."""
    array = xz.create_array({}, shape=(100_000_037,), chunks=(100,), dtype="f4")
    with monkeypatch.context() as patch, dask.config.set({"array.chunk-size": "1MiB"}):
        patch.delattr(da.core, "auto_chunks")
        (size,) = dask_array.block_sizes(array, chunks)
        assert size == 2**20 // 400 * 100
        lazy = xz.from_zarr(array, chunks=chunks)
    assert sum(lazy.chunks[0]) == array.shape[0]
    assert set(lazy.chunks[0][:-1]) == {size}


def test_sizes_in_bytes_are_left_to_dask() -> None:
    """A size in bytes is no less dask's business than ``auto``, with a limit of its own."""
    array = xz.create_array({}, shape=(2_000_000,), chunks=(100,), dtype="f4")
    theirs = da.core.normalize_chunks("4kB", array.shape, dtype=array.dtype, previous_chunks=(100,))
    assert dask_array.block_sizes(array, "4kB") == (theirs[0][0],)
