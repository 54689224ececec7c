"""What counts as a chunk of the fill value alone: to the bit, whatever the data type and the layout in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from xzarr_backend.codecs.empty import is_empty
from xzarr_backend.stores import MemoryStore

# a fill value of each data type, and another value that differs from it in a bit or two
FILLS: dict[str, tuple[Any, Any]] = {
    "u1": (3, 2),
    "i8": (-1, -2),
    "f4": (-0.0, 0.0),
    "f8": (np.nan, -np.nan),
    "c8": (1j, complex(-0.0, 1)),
    "c16": (complex(0.0, -0.0), 0j),
    "S5": (b"ab", b"abc"),
    "U3": ("", "a"),
    "V6": (np.void(b"abcdef"), np.void(b"abcdeg")),
    "M8[s]": (np.datetime64("NaT", "s"), np.datetime64(0, "s")),
    "i4,S3": ((1, b"x"), (1, b"y")),
}


@pytest.mark.parametrize("dtype", FILLS)
@given(data=st.data())
def test_every_bit_counts(dtype: str, data: st.DataObject) -> None:
    """Steps, transposed and broadcast dimensions, and single elements that differ: as comparing the bytes of each."""
    fill, other = (np.array(value, dtype) for value in FILLS[dtype])
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    steps = tuple(data.draw(st.sampled_from([1, 2, -1, -3])) for _ in shape)
    base = np.empty(tuple(length * abs(step) for length, step in zip(shape, steps, strict=True)), dtype)
    base[...] = fill
    chunk = base[tuple(slice(None, None, step) for step in steps)].transpose(
        data.draw(st.permutations(range(len(shape))))
    )
    if chunk.size and data.draw(st.booleans()):
        chunk[np.unravel_index(data.draw(st.integers(0, chunk.size - 1)), chunk.shape)] = other
    flat = chunk.reshape(-1)
    expected = all(flat[at : at + 1].tobytes() == fill.tobytes() for at in range(flat.size))
    assert is_empty(chunk, fill[()]) is expected


@pytest.mark.parametrize(
    "dtype, shards",
    [*((dtype, None) for dtype in FILLS), *((dtype, (4, 4)) for dtype in FILLS if dtype not in ("V6", "i4,S3"))],
)
def test_values_of_any_layout_are_written(dtype: str, shards: Any) -> None:
    """Every second column of an array, the first of which holds the fill value: elements of a chunk lie apart."""
    fill, other = (np.array(value, dtype) for value in FILLS[dtype])
    values = np.empty((8, 8), dtype)
    values[...] = fill
    values[3:, 4] = other
    given = values[:, ::2]
    options = {"chunks": (4, 1), "shards": shards, "zarr_format": 3 if shards else 2}
    array = xz.create_array(MemoryStore(), shape=given.shape, dtype=dtype, fill_value=fill[()], **options)
    array[...] = given
    stored = sum(1 for key, _ in array.store.walk("") if key.rpartition("/")[2][:1] not in (".", "z"))
    assert stored == 2, "chunks of the fill value alone are not stored"
    found = xz.open_array(array.store)[...]
    assert found.tobytes() == np.ascontiguousarray(given).tobytes()
