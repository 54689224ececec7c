"""What a conversion did: numbers that print and become JSON.

Imports display_text. Invariant: a report holds numbers and text only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .display_text import bytes_text


@dataclass
class Report:
    """What `convert` and `copy` did.

    ``objects``: chunks or shards stored; of these ``copied`` were taken over as the bytes they are. ``bytes_copied``
    counts stored bytes, ``bytes_recoded`` decoded ones. ``resumed``: tasks that an earlier run had finished.
    ``passes``: by array, how it was rechunked. ``notes``: what differs from the source, and why.
    """

    source: str
    target: str
    arrays: int = 0
    groups: int = 0
    objects: int = 0
    copied: int = 0
    bytes_copied: int = 0
    bytes_recoded: int = 0
    tasks: int = 0
    resumed: int = 0
    seconds: float = 0.0
    verified: bool = False
    consolidated: bool = False
    passes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return asdict(self)

    def __str__(self) -> str:
        nodes = f"{self.arrays} array(s) in {self.groups} group(s), " if self.arrays or self.groups else ""
        lines = [
            f"{self.source} -> {self.target}",
            f"  {nodes}{self.objects} objects in {self.seconds:.1f} s",
            f"  {self.copied} copied as they are ({bytes_text(self.bytes_copied)}), "
            f"{self.objects - self.copied} encoded anew ({bytes_text(self.bytes_recoded)} decoded)",
        ]
        if self.resumed:
            lines.append(f"  {self.resumed} of {self.tasks} tasks were finished by an earlier run")
        done = [*["verified"] * self.verified, *["metadata consolidated"] * self.consolidated]
        lines += [f"  {', '.join(done)}"] if done else []
        lines += [f"  {path or '/'}: {text}" for path, text in self.passes.items()]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
