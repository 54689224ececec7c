"""Indexes of shards that are kept between reads: never used for another version of their shard, never too many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.stores_fakes import CountingStore
from tests.strategies import RemoteStore
from xzarr_backend.executor import inline
from xzarr_backend.index_cache import IndexCache
from xzarr_backend.stores.base import Buffer, Request, Store
from xzarr_backend.stores.memory import MemoryStore

CODECS: dict[str, Any] = {"raw": None, "zstd": "zstd", "checked": ["zstd", "crc32c"]}
CHUNK, SHARD, LENGTH = 4, 64, 128


class Remote(CountingStore):
    """Asked for many objects at once, and nothing tells the version of one."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.concurrent = True

    get_ranges = Store.get_ranges


def made(codec: str = "raw", **options: Any) -> MemoryStore:
    """Return a store with an array of two shards, of which a part of the first one is stored."""
    store = MemoryStore()
    keywords = {"chunks": (CHUNK,), "shards": (SHARD,), "compressors": CODECS[codec], **options}
    array = xz.create_array(store, shape=(LENGTH,), dtype="i4", fill_value=-1, **keywords)
    array[40:44] = [40, 41, 42, 43]
    return store


def rewrite(store: Store) -> None:
    """Be another writer: the inner chunks move, and those that were not stored are."""
    xz.open_array(store, mode="r+")[...] = np.arange(LENGTH)


def empty(store: Store) -> None:
    """Be another writer: the shard is gone."""
    store.delete("c/0")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("change", [rewrite, empty])
def test_shards_that_another_writer_replaced(codec: str, change: Callable[[Store], None]) -> None:
    """A reader of a remote store that knows the index of a shard gives the values of the shard that is there now."""
    store = made(codec)
    reader = xz.open_array(Remote(store))
    assert reader[40:44].tolist() == [40, 41, 42, 43]
    assert reader[0:4].tolist() == [-1] * 4
    change(store)
    now = np.arange(LENGTH) if change is rewrite else np.full(LENGTH, -1)
    np.testing.assert_array_equal(reader[40:44], now[40:44])
    np.testing.assert_array_equal(reader[0:4], now[0:4])
    np.testing.assert_array_equal(reader[2:LENGTH:32], now[2:LENGTH:32])


@pytest.mark.parametrize("codec", CODECS)
def test_a_shard_in_a_mapping_that_is_replaced_with_every_look(codec: str) -> None:
    """What is read of a shard in a plain mapping is read of one value: index and inner chunks go together."""
    versions = [dict(made(codec).inner) for _ in range(2)]
    xz.open_array(versions[1], mode="r+")[...] = np.arange(LENGTH)

    class Changing(dict[str, Any]):
        looks = 0

        def __getitem__(self, key: str) -> Any:
            if key != "c/0":
                return super().__getitem__(key)
            self.looks += 1
            return versions[self.looks % 2][key]

    store = Changing(versions[0])
    array = xz.open_array(store)
    for _ in range(2):
        assert array[36:44].tolist() in ([-1] * 4 + [40, 41, 42, 43], list(range(36, 44)))
        assert array[41] == 41
    assert store.looks == 4


@pytest.mark.parametrize("codec", CODECS)
def test_missing_inner_chunks_that_another_writer_stored(codec: str) -> None:
    """That an inner chunk is missing is asked again, too."""
    store = made(codec)
    reader = xz.open_array(Remote(store))
    assert reader[0] == -1
    rewrite(store)
    assert reader[0] == 0


def test_an_index_that_is_known_costs_no_second_wave() -> None:
    """The first read of a shard takes two waves; the next one a single wave, in which the index comes last."""
    store = Remote(made())
    reader = xz.open_array(store)
    for waves in ([1, 1], [2]):
        store.reset()
        assert reader[41] == 41
        assert store.waves == waves
    assert [call.byte_range.start < 0 for call in store.requests if call.byte_range] == [False, True]


def test_objects_that_never_change_are_not_asked_again() -> None:
    """In a snapshot the index that is known is used as it is."""
    store = Remote(made())
    store.frozen = True
    reader = xz.open_array(store)
    reader[41]
    store.reset()
    assert reader[41] == 41
    assert store.waves == [1]


@pytest.mark.parametrize("frozen", [False, True])
def test_nested_shards(frozen: bool) -> None:
    """The index around an index is known from the same read, unless nothing can change."""
    inner = {"chunk_shape": [2], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
    serializer = {"name": "sharding_indexed", "configuration": inner}
    store = made(chunks=(16,), serializer=serializer)
    remote = Remote(store)
    remote.frozen = frozen
    reader = xz.open_array(remote)
    assert reader[40:42].tolist() == [40, 41]
    remote.reset()
    assert reader[42:44].tolist() == [42, 43]
    assert remote.waves == ([1] if frozen else [1, 1, 1])
    if not frozen:
        rewrite(store)
        assert reader[38:42].tolist() == [38, 39, 40, 41]


# --- the own writes --------------------------------------------------------------------------------------------------


class Failing(RemoteStore):
    """Does not take the object ``fails``."""

    fails = ""

    def set(self, key: str, value: Buffer) -> None:
        if key == self.fails:
            raise OSError(28, "No space left on device")
        super().set(key, value)


@pytest.mark.parametrize("codec", CODECS)
def test_a_write_that_fails(codec: str) -> None:
    """The shards that it did replace are read as they are now."""
    store = Failing(made(codec))
    array = xz.open_array(store, mode="r+")
    array[40:44]
    store.fails = "c/1"
    with inline(), pytest.raises(OSError, match="No space left"):
        array[...] = np.arange(LENGTH) * 1000
    assert array[40:44].tolist() == [40000, 41000, 42000, 43000]
    np.testing.assert_array_equal(array[::32], xz.open_array(store)[::32])


def test_a_read_that_learns_an_index_during_a_write() -> None:
    """An index that was on its way while another thread wrote is not used for what that one wrote."""
    asked, written = threading.Event(), threading.Event()

    class Slow(RemoteStore):
        holds = False

        def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
            found = super().get_many(requests)
            if self.holds:
                self.holds = False
                asked.set()
                assert written.wait(60)
            return found

    store = Slow(made())
    array = xz.open_array(store, mode="r+")
    store.holds = True
    reading = threading.Thread(target=lambda: array[40:44])
    reading.start()
    assert asked.wait(60)
    array[...] = np.arange(LENGTH) * 1000
    written.set()
    reading.join()
    assert array[40:44].tolist() == [40000, 41000, 42000, 43000]


def test_missing_chunks_count_once_however_often_the_shard_is_read() -> None:
    """What an attempt found missing, before the shard turned out to have changed, is forgotten with it."""
    store = made()
    remote = RemoteStore(store)
    reader = xz.open_array(remote, missing="warn")
    with pytest.warns(UserWarning, match=r"^1 chunk\(s\) are not stored"):
        reader[36:44]
    array = xz.open_array(store, mode="r+")
    array[44:48] = 0
    with pytest.warns(UserWarning, match=r"^1 chunk\(s\) are not stored, the first is inner chunk \(9,\)"):
        assert reader[36:44].tolist() == [-1] * 4 + [40, 41, 42, 43]


# --- how many are kept -----------------------------------------------------------------------------------------------


def index(entries: int) -> Any:
    """Return an index of 16 bytes for each of ``entries``."""
    return np.zeros((entries, 2), "u8")


def test_the_index_used_longest_ago_gives_way() -> None:
    """No more bytes than the limit are kept; what was looked at stays."""
    cache = IndexCache(limit=64)
    for name in "abcd":
        cache.put((name, 0, 1), name, index(1))
    assert cache.get(("a", 0, 1)) is not None
    cache.put(("e", 0, 1), "e", index(2))
    kept = [name for name in "abcde" if cache.get((name, 0, 1)) is not None]
    assert kept == ["a", "d", "e"]


def test_an_index_larger_than_the_limit_is_not_kept() -> None:
    """It takes nobody else's place either; an older one of the same shard is forgotten."""
    cache = IndexCache(limit=64)
    cache.put(("a", 0, 1), "old", index(1))
    cache.put(("b", 0, 1), "b", index(1))
    cache.put(("a", 0, 1), "new", index(5))
    assert cache.get(("a", 0, 1)) is None
    assert cache.get(("b", 0, 1)) is not None


def test_the_indexes_of_an_object_are_forgotten_together() -> None:
    """Those of its nested shards too; their bytes count no longer."""
    cache = IndexCache(limit=48)
    for start in (0, 100):
        cache.put(("a", start, 1), "a", index(1))
    cache.put(("b", 0, 1), "b", index(1))
    cache.drop("a")
    cache.put(("c", 0, 1), "c", index(2))
    assert [cache.get((name, 0, 1)) is not None for name in "abc"] == [False, True, True]
