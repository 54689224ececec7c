"""Names for the dimensions of a group's arrays, as xarray needs them: one per axis, none twice in one variable.

Imports errors and array (for types only). Invariant: an array that has a complete set of different names keeps exactly
those; invented names never collide with real ones; nothing here reads data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .errors import MetadataError

if TYPE_CHECKING:
    from .array import Array

Names = tuple[str, ...]


class PhonyDimensions:
    """Invents ``phony_dim_0``, ``phony_dim_1``, ...: one for each distinct size, a second one where it repeats.

    One object serves all the groups of a tree, so that a name means one size in all of them.
    """

    def __init__(self) -> None:
        self._known: list[tuple[int, str]] = []
        self._count = 0

    def name(self, size: int, taken: Iterable[str], real: frozenset[str]) -> str:
        """Return the first name for ``size`` that is neither ``taken`` in this variable nor a ``real`` one."""
        for known_size, known in self._known:
            if known_size == size and known not in taken and known not in real:
                return known
        while (name := f"phony_dim_{self._count}") in real:
            self._count += 1
        self._count += 1
        self._known.append((size, name))
        return name


def name_dimensions(arrays: Mapping[str, Array], duplicates: str, phony: PhonyDimensions) -> dict[str, Names]:
    """Return the dimension names of each array.

    ``duplicates`` "rename" makes the second ``x`` of one array ``x_1``; "keep" leaves it.
    """
    given = {name: array.dimension_names for name, array in arrays.items()}
    real: frozenset[str] | None = None
    named: dict[str, Names] = {}
    for name, dims in given.items():
        if dims is not None and None not in dims and (duplicates == "keep" or len(set(dims)) == len(dims)):
            named[name] = dims  # type: ignore[assignment]
            continue
        if real is None:
            real = frozenset(dim for dims in given.values() for dim in dims or () if dim is not None)
        named[name] = _complete(dims or (None,) * arrays[name].ndim, arrays[name].shape, real, duplicates, phony)
    return named


def _complete(
    dims: Sequence[str | None], shape: Sequence[int], real: frozenset[str], duplicates: str, phony: PhonyDimensions
) -> Names:
    names: list[str] = []
    for dim, size in zip(dims, shape, strict=True):
        if dim is None:
            names.append(phony.name(size, names, real))
        elif dim in names and duplicates == "rename":
            names.append(_numbered(dim, {*names, *(real - {dim})}))
        else:
            names.append(dim)
    return tuple(names)


def _numbered(dim: str, taken: set[str]) -> str:
    number = 1
    while f"{dim}_{number}" in taken:
        number += 1
    return f"{dim}_{number}"


def conflict_of(shapes: Mapping[str, tuple[Names, tuple[int, ...]]], where: str) -> MetadataError | None:
    """Return the error for dimensions that have different sizes in different variables, None where all fit.

    ``shapes`` maps the names of variables to their dimensions and shape.
    """
    sets: list[tuple[dict[str, int], list[str]]] = []
    for name, (dims, shape) in shapes.items():
        sizes = dict(zip(dims, shape, strict=True))
        for known, members in sets:
            if all(known.get(dim, size) == size for dim, size in sizes.items()):
                known.update(sizes)
                members.append(name)
                break
        else:
            sets.append((sizes, [name]))
    if len(sets) < 2:
        return None
    disputed = sorted(
        {dim for known, _ in sets for dim, size in known.items() for other, _ in sets if other.get(dim, size) != size}
    )
    return MetadataError(
        f"conflicting sizes of {', '.join(map(repr, disputed))}: the variables do not fit into one dataset",
        where=where,
        hint=f"open one of these sets with keep_variables={sets[0][1][:5]!r} or the like, or leave others out with "
        "drop_variables=",
        problems=[
            (", ".join(members[:20]) + (", ..." if len(members) > 20 else ""), _format_sizes(known, disputed))
            for known, members in sets
        ],
    )


def _format_sizes(sizes: Mapping[str, int], disputed: Sequence[str]) -> str:
    return ", ".join(f"{dim}={sizes[dim]}" for dim in disputed if dim in sizes)
