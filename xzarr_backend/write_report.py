"""What a write did, or will do, with stored objects that blocks share.

Imports write_planning (types). Invariant: a report holds numbers and names only, so that it pickles and prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .write_planning import WritePlan


class ArrayReport(NamedTuple):
    """The stored objects (chunks, or shards) that the write of one array touches.

    ``blocks``: in how many tasks they are written. ``shared``: how many objects the given blocks share with each other
    or with writers beside the region; of these ``fused`` are written by one task after all, ``locked`` under a lock.
    """

    objects: int
    blocks: int
    shared: int
    fused: int
    locked: int

    @property
    def how(self) -> str:
        """How shared objects are dealt with, in a few words."""
        if not self.shared:
            return "aligned, no locks"
        ways = [f"{self.fused} fused into one task each"] * bool(self.fused)
        return ", ".join(ways + [f"{self.locked} written under a lock"] * bool(self.locked))


class WriteReport(Mapping[str, ArrayReport]):
    """For each array, by its path, the `ArrayReport` of a write; prints as text, ``dict(report)`` gives the numbers."""

    def __init__(self, arrays: Mapping[str, ArrayReport], notes: Sequence[str] = ()) -> None:
        self._arrays, self.notes = dict(arrays), tuple(notes)

    def with_notes(self, notes: Sequence[str]) -> WriteReport:
        """Return the same report with what the writer should know beside the numbers."""
        return WriteReport(self._arrays, (*self.notes, *notes))

    def __getitem__(self, path: str) -> ArrayReport:
        return self._arrays[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def objects(self) -> int:
        """The number of stored objects touched, in all arrays."""
        return sum(array.objects for array in self._arrays.values())

    @property
    def shared(self) -> int:
        """The number of objects that the given blocks share, in all arrays."""
        return sum(array.shared for array in self._arrays.values())

    @property
    def fused(self) -> int:
        """The number of shared objects that fused blocks write, in all arrays."""
        return sum(array.fused for array in self._arrays.values())

    @property
    def locked(self) -> int:
        """The number of objects written under a lock, in all arrays."""
        return sum(array.locked for array in self._arrays.values())

    def __str__(self) -> str:
        lines = [f"{self.objects} objects in {len(self)} arrays, {self.shared} of them shared"]
        for path, array in self._arrays.items():
            lines.append(f"  {path or '/'}: {array.objects} objects in {array.blocks} tasks: {array.how}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<WriteReport: {self}>"


def report_of(plans: Sequence[tuple[str, WritePlan]]) -> WriteReport:
    """Return the report of planned writes, each with the path of its array; writes of one array add up."""
    found: dict[str, ArrayReport] = {}
    for path, plan in plans:
        blocks = 1
        for sizes in plan.blocks:
            blocks *= len(sizes)
        here = ArrayReport(plan.objects, blocks, plan.shared, plan.fused, plan.locked)
        before = found.get(path)
        found[path] = here if before is None else ArrayReport(*(a + b for a, b in zip(before, here, strict=True)))
    return WriteReport(found)
