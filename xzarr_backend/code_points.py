"""Characters of fixed-length text, which a damaged chunk may hold as numbers that are none.

Imports errors and NumPy. Invariant: no element is looked at, as NumPy raises `SystemError` for one that
holds such a number.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .errors import ChunkError


def holds_text(dtype: np.dtype[Any]) -> bool:
    """Return whether the elements are fixed-length text, or records that hold some."""
    base = dtype.base
    return base.kind == "U" or any(holds_text(base[name]) for name in base.names or ())


def wrong_character(array: Any) -> int | None:
    """Return a number within the text of ``array`` that is no code point, if there is one."""
    dtype = array.dtype
    if dtype.names:
        found = (wrong_character(array[name]) for name in dtype.names if holds_text(dtype[name]))
        return next((number for number in found if number is not None), None)
    numbers = array[..., np.newaxis].view(f"{dtype.str[0]}u4")
    highest = int(numbers.max(initial=0))
    return highest if highest > sys.maxunicode else None


def no_character(number: int) -> ChunkError:
    """Return the error for a chunk with text that holds ``number`` as a character."""
    return ChunkError(f"the text of the chunk holds {number:#x} as a character: the last one is {sys.maxunicode:#x}")
