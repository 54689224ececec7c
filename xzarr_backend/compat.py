"""What other writers do differently, one row each.

Imports errors. Invariant: a quirk that metadata or bytes decide is read without being asked for; one that they cannot
decide needs ``quirks=`` with the name of the writer.
"""

from __future__ import annotations

from .errors import XzarrError

WRITERS = ("exzarr",)


def check_quirks(quirks: str | None) -> None:
    """Raise unless ``quirks`` is None or the name of a writer whose ways are known."""
    if quirks is not None and quirks not in WRITERS:
        raise XzarrError(f"quirks={quirks!r} is not known", hint=f"known are: {', '.join(map(repr, WRITERS))}")
