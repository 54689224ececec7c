"""Closing files on a thread of its own, so that nobody waits while the system frees their blocks.

Imports the standard library only. Invariant: few files wait, and no large ones, so that the disk is not kept full.
The last close of a file that has lost its name frees it, which takes as long as writing a small one (row
``append_series`` of the benchmark; docs/adr/0004-commit-protocol.md).
"""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue

MOST_WAITING = 4
LARGEST_NBYTES = 16 * 2**20  # larger files are closed at once: their space may be needed for the next ones


class _Closer:
    """A thread that closes what is handed to it; it is started when it is first needed."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[int] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def take(self, descriptor: int) -> bool:
        """Return whether the thread will close the descriptor."""
        if self._waiting.qsize() >= MOST_WAITING or not self._runs():
            return False
        self._waiting.put(descriptor)
        return True

    def drop(self) -> None:
        """Close all that wait, where the thread that would have done so does not exist (a forked child)."""
        try:
            while True:
                os.close(self._waiting.get_nowait())
        except Empty:
            pass

    def _runs(self) -> bool:
        with self._lock:
            if not self._started:
                try:
                    threading.Thread(target=self._serve, name="xzarr-closing", daemon=True).start()
                except RuntimeError:  # too many threads, or Python is about to end
                    return False
                self._started = True
        return True

    def _serve(self) -> None:
        while True:
            os.close(self._waiting.get())


_closer = _Closer()


def close_soon(descriptor: int) -> None:
    """Close a file that was opened for reading, soon, or now where it is large or others wait already."""
    if os.fstat(descriptor).st_size > LARGEST_NBYTES or not _closer.take(descriptor):
        os.close(descriptor)


def _start_over() -> None:
    global _closer
    before, _closer = _closer, _Closer()
    before.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
