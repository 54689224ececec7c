"""How a node is opened, as everything that reads or writes it needs to know.

Imports compat. Invariant: options pickle, compare and hash by their values.
"""

from __future__ import annotations

from typing import NamedTuple

from .compat import Reading

MAX_CHUNK_NBYTES = 4 * 2**30


class Options(NamedTuple):
    """How a node was opened.

    ``missing``: what chunks that are not stored are: "fill", "warn" or "raise". ``max_chunk_bytes``: the most memory
    that one decoded chunk may take. ``quirks``: whose ways of writing are assumed where metadata cannot tell.
    ``allow_codecs``: names of codecs that are refused otherwise because they execute code. ``writable``: whether the
    mode allows writing. ``write_empty_chunks``: chunks of nothing but the fill value are stored too; None: only where
    the fill value is the null of v2, as readers may see anything where such a chunk is missing. ``consolidated``: False
    where consolidated metadata are ignored, for members too.
    """

    missing: str = "fill"
    max_chunk_bytes: int = MAX_CHUNK_NBYTES
    quirks: str | None = None
    strict: bool = False
    allow_codecs: frozenset[str] = frozenset()
    writable: bool = False
    write_empty_chunks: bool | None = None
    consolidated: bool | None = None

    @property
    def reading(self) -> Reading:
        """Which quirks of writers are assumed or refused."""
        return Reading(self.quirks, self.strict)
