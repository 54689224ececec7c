"""Codecs that move elements and never change them: ``transpose`` and ``reshape``.

Imports base, sizes and the standard library. Invariant: both are single NumPy calls that give views where they can.
Source: Zarr v3, "Transpose codec"; zarr-extensions, "reshape".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import methodcaller
from typing import Any

from ..spec import JSON
from .base import ChunkSpec, Codec, wrong_configuration
from .sizes import chunk_spec


def transpose(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``transpose``: dimension ``i`` of the output is dimension ``order[i]`` of the input."""
    spec = chunk_spec("transpose", spec)
    order = parse_order(configuration.get("order"), len(spec.shape))
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    output = spec._replace(shape=tuple(spec.shape[axis] for axis in order))
    encode, decode = methodcaller("transpose", order), methodcaller("transpose", inverse)
    return Codec(encode, decode, output, is_view=True, order=order)


def parse_order(order: JSON, ndim: int) -> tuple[int, ...]:
    """Return a permutation of ``ndim`` dimensions; writers of 2022 gave "C" or "F" for it."""
    if order == "C":
        return tuple(range(ndim))
    if order == "F":
        return tuple(reversed(range(ndim)))
    if not isinstance(order, list | tuple) or not all(type(axis) is int for axis in order):
        raise wrong_configuration("transpose", "order", f"must be a list of dimensions, not {order!r}")
    if sorted(order) != list(range(ndim)):
        raise wrong_configuration("transpose", "order", f"{order!r} is not a permutation of {ndim} dimensions")
    return tuple(order)


def reshape(configuration: Mapping[str, JSON], spec: ChunkSpec) -> Codec:
    """Build ``reshape``: the same elements in the same (C) order in another shape."""
    spec = chunk_spec("reshape", spec)
    shape = parse_shape(configuration.get("shape"), spec.shape)
    return Codec(methodcaller("reshape", shape), methodcaller("reshape", spec.shape), spec._replace(shape=shape))


def parse_shape(given: JSON, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the output shape: sizes, lists of input dimensions to merge, and at most one -1 for what remains."""
    if not isinstance(given, list | tuple):
        raise _wrong_shape(f"must be a list, not {given!r}")
    _check_dimensions([axis for item in given if isinstance(item, list | tuple) for axis in item], len(shape))
    sizes = [_size(item, shape) for item in given]
    if sizes.count(-1) > 1:
        raise _wrong_shape("-1 may occur only once")
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(shape) // known if known else 0
    if math.prod(sizes) != math.prod(shape):
        raise _wrong_shape(f"{sizes} does not hold the elements of {list(shape)}")
    _check_products(given, sizes, shape)
    return tuple(sizes)


def _size(item: Any, shape: Sequence[int]) -> int:
    if isinstance(item, list | tuple):
        return math.prod(shape[axis] for axis in item)
    if type(item) is int and (item > 0 or item == -1):
        return item
    raise _wrong_shape(f"holds {item!r}, which is no positive size, no list of dimensions and not -1")


def _check_dimensions(axes: Sequence[Any], ndim: int) -> None:
    if not all(type(axis) is int and 0 <= axis < ndim for axis in axes):
        raise _wrong_shape(f"names dimensions that an array of {ndim} dimensions does not have")
    if any(later <= earlier for earlier, later in pairwise(axes)):
        raise _wrong_shape("lists dimensions out of order: reshape never transposes")


def _check_products(given: Sequence[Any], sizes: Sequence[int], shape: Sequence[int]) -> None:
    """Merged dimensions must begin and end where the output dimension does, or the name would be misleading."""
    for place, axes in enumerate(given):
        if not isinstance(axes, list | tuple) or not axes:
            continue
        before = math.prod(sizes[:place]) == math.prod(shape[: axes[0]])
        after = math.prod(sizes[place + 1 :]) == math.prod(shape[axes[-1] + 1 :])
        if not (before and after):
            raise _wrong_shape(f"dimension {place} of the output does not line up with dimensions {list(axes)}")


def _wrong_shape(problem: str) -> Exception:
    return wrong_configuration("reshape", "shape", problem)
