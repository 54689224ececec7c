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
    if chunk.dtype.hasobject or chunk.dtype.kind == "T":
        return bool(np.all(chunk == fill_value))
    fill = np.asarray(fill_value).astype(chunk.dtype, copy=False)
    if chunk.flat[0].tobytes() != fill.tobytes():
        return False
    bits = _BITS.get(chunk.dtype.itemsize)
    if bits is None or chunk.dtype.names or chunk.dtype.subdtype:
        return bool(
            (chunk.reshape(-1).view("V1").reshape(-1, chunk.dtype.itemsize) == fill.reshape(1).view("V1")).all()
        )
    return bool((chunk.view(bits) == fill.view(bits)).all())


_BITS: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}
