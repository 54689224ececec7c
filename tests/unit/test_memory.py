"""Memory that is lent: distinct while somebody looks at it, the same again when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xzarr_backend.memory import ALIGNMENT, SCRATCH_NBYTES, Blocks


def address(memory: memoryview | None) -> int:
    """Return where the memory begins."""
    assert memory is not None
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


def test_what_is_looked_at_is_not_lent_again() -> None:
    """A block comes back with the last view of it, however that was made."""
    blocks = Blocks()
    first = blocks.lend(100_000)
    assert first is not None and len(first) == 100_000
    place = address(first)
    assert place % ALIGNMENT == 0
    views: list[Any] = [first[10:20], np.frombuffer(first, "u1")[::2]]
    del first
    assert address(blocks.lend(100_000)) != place
    del views[0]
    assert address(blocks.lend(100_000)) != place
    views.clear()
    assert address(blocks.lend(100_000)) == place


def test_larger_and_smaller_objects() -> None:
    """A block serves smaller objects; a larger one gets a larger block, a far too large or an unknown one none."""
    blocks = Blocks()
    place = address(blocks.lend(200_000))
    small = blocks.lend(70_000)
    assert small is not None and len(small) == 70_000 and address(small) == place
    del small
    large = blocks.lend(300_000)
    assert large is not None and len(large) == 300_000
    assert blocks.lend(None) is None
    assert blocks.lend(SCRATCH_NBYTES + 1) is None


def test_threads_never_share_what_they_are_lent() -> None:
    """Threads that take, fill, hand on and drop memory never see each other's bytes."""
    blocks = Blocks()
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(300):
            memory = blocks.lend(1000 + turn)
            assert memory is not None
            mine = np.frombuffer(memory, np.uint8)
            mine[...] = number
            check: Callable[[], bool] = partial(np.array_equal, mine, np.full(1000 + turn, number))
            del memory, mine
            if not check():
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
