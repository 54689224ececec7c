"""Python's collector of reference cycles, paused while very many objects are made that all stay.

Imports the standard library only. Invariant: the collector is as it was before, whatever happens in between.
Benchmark: xr_open_wide_c, where the collector would go through all that the process holds in vain.
"""

from __future__ import annotations

import gc


class paused:
    """A context without automatic collections; for work that waits for nothing, as it holds for all threads."""

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._enabled:
            gc.enable()
