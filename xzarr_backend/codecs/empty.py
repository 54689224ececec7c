"""Whether a chunk holds nothing but the fill value, and so need not be stored.

Imports NumPy only. Invariant: a chunk is empty only if reading the fill value back gives the same bytes: -0.0 is not
0.0, and one NaN is not another.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def is_empty(chunk: Any, fill_value: Any) -> bool:
    """Return whether every element of ``chunk`` is, to the bit, ``fill_value``."""
    if chunk.size == 0:
        return True
    if chunk.dtype.kind == "T":
        return bool(np.all(chunk == fill_value))
    if chunk.dtype.hasobject:
        if isinstance(fill_value, np.ndarray):
            return False
        return all(type(x) is type(fill_value) and x == fill_value for x in chunk.flat)
    fill = np.asarray(fill_value).astype(chunk.dtype, copy=False)
    first = chunk[(slice(1),) * chunk.ndim]
    if first.tobytes() != fill.tobytes():  # as an array: a scalar string leaves out the zeros behind it
        return False
    bits = _BITS.get(chunk.dtype.itemsize)
    if bits is None or chunk.dtype.names or chunk.dtype.subdtype:
        elements = np.ascontiguousarray(chunk).reshape(-1, 1).view("V1")  # each as a row of its bytes
        return bool((elements == fill.reshape(1).view("V1")).all())
    while chunk.ndim and len(chunk) == 1:
        chunk = chunk[0]
    if not chunk.ndim:
        return True  # it was the first element
    return _all_equal(chunk.view(bits), fill.view(bits))


def _all_equal(chunk: Any, value: Any) -> bool:
    """Compare slab by slab: most chunks differ early, and one answer per element of a large chunk is much memory."""
    rows = max(1, SLAB * len(chunk) // chunk.size)
    return all(bool((chunk[at : at + rows] == value).all()) for at in range(0, len(chunk), rows))


SLAB = 1 << 18  # elements


_BITS: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}
