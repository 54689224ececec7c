"""Objects in memory: a dictionary of our own, or any mapping of names to bytes that a caller has.

Imports errors, base and files (locks). Invariant: what is stored is a copy, so that no later change of the caller's
buffer reaches it; what is returned is not.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast
from weakref import WeakValueDictionary

from ..errors import ReadOnlyError, XzarrError
from .base import Buffer, ByteRange, Store, names_below, slice_buffer, view_of
from .files import thread_lock


class MappingStore(Store):
    """A mapping of keys to bytes (or arrays of bytes): ``dict``, ``zict``, stores of zarr-python 2.

    It pickles with the mapping inside. Another process then has a copy or the same place, as the mapping decides;
    writers from several processes are therefore not to rely on it.
    """

    shared_between_processes = False
    whole_objects = True  # nothing tells the version of a value: what is read of it is read of one and the same

    def __init__(self, inner: Mapping[str, Any], *, read_only: bool = False) -> None:
        self.inner = inner
        self.read_only = read_only or not isinstance(inner, MutableMapping)
        self._token = os.urandom(16).hex()
        self.url = f"{type(inner).__name__} of {type(inner).__module__}"

    @property
    def identity(self) -> Hashable:
        """One of its own for every store: a mapping has no name, and its address may be used again."""
        return self._token

    def name_of(self, key: str) -> tuple[Hashable, str]:
        """The mapping itself, whichever store holds it."""
        return id(self.inner), key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MappingStore) and self.inner is other.inner

    def __hash__(self) -> int:
        return id(self.inner)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the value or a view of its range."""
        try:
            value = self.inner[key]
        except KeyError:
            return None
        if not isinstance(value, bytes | bytearray | memoryview):
            value = self._viewed(key, value)
        return slice_buffer(value, byte_range)

    def _viewed(self, key: str, value: Any) -> memoryview:
        try:
            return view_of(value)
        except TypeError as error:
            by_zarr_python = type(value).__module__.startswith("zarr.")
            raise XzarrError(
                f"the value of {key!r} is a {type(value).__name__}, not bytes",
                where=self.url,
                hint="zarr-python has filled this mapping: give zarr.storage.MemoryStore(mapping) instead"
                if by_zarr_python
                else "give a mapping from keys to bytes",
            ) from error

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        """Return views of the ranges of one value. There is no stamp: a mapping may make its values anew."""
        value = self.get(key)
        return None, None if value is None else [slice_buffer(value, wanted) for wanted in ranges]

    def set(self, key: str, value: Buffer) -> None:
        """Store a copy of ``value``."""
        self._writable()[key] = self._copied(value)

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store a copy of ``value`` unless there is one; threads exclude each other."""
        inner = self._writable()
        with thread_lock(("absent", id(inner)), ""):
            if key in inner:
                return False
            inner[key] = self._copied(value)
            return True

    def delete(self, key: str) -> None:
        """Remove the key."""
        try:
            del self._writable()[key]
        except KeyError:
            pass

    def delete_prefix(self, prefix: str) -> None:
        """Remove all keys below ``prefix``."""
        self.check_writable()
        for key in self._keys(prefix):
            self.delete(key)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``, from all keys of the mapping."""
        return names_below(self._keys(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield key and size of every value below ``prefix``."""
        for key in self._keys(prefix):
            size = self.size(key)
            if size is not None:
                yield key, size

    def size(self, key: str) -> int | None:
        """Return the size of the value in bytes."""
        value = self.get(key)
        return None if value is None else memoryview(value).nbytes

    def lock(self, key: str) -> AbstractContextManager[object]:
        """Return a lock that excludes other threads."""
        self.check_writable()
        return thread_lock(*self.name_of(key))

    def _copied(self, value: Buffer) -> bytes:
        return bytes(view_of(value))

    def _keys(self, prefix: str) -> list[str]:
        return [key for key in list(self.inner) if isinstance(key, str) and key.startswith(prefix)]

    def _writable(self) -> MutableMapping[str, Any]:
        if not isinstance(self.inner, MutableMapping):
            raise ReadOnlyError("the mapping cannot be changed", where=self.url)
        self.check_writable()
        return cast("MutableMapping[str, Any]", self.inner)


class _Object(bytes):
    """Bytes that know which version of an object they are."""

    stamp: object


def _stamped(value: Buffer) -> _Object:
    made = _Object(view_of(value))
    made.stamp = object()
    return made


class _Objects(dict[str, _Object]):
    """A dictionary that a weak table may hold."""


_alive: WeakValueDictionary[str, _Objects] = WeakValueDictionary()


class MemoryStore(MappingStore):
    """Objects in a dictionary of this process.

    Unpickled in the same process it is the same place; in another process it is a copy of what it held when it was
    pickled, which is why ``shared_between_processes`` is False.
    """

    whole_objects = False

    def __init__(self, objects: Mapping[str, Buffer] | None = None, *, read_only: bool = False) -> None:
        copied = _Objects((key, _stamped(value)) for key, value in (objects or {}).items())
        super().__init__(copied, read_only=read_only)
        self.url = f"memory of this process, {self._token[:8]}"
        _alive[self._token] = copied

    def __reduce__(self) -> Any:
        return reopen_copy, (self._token, {k: bytes(v) for k, v in list(self.inner.items())}, self.read_only)

    def _copied(self, value: Buffer) -> bytes:
        return _stamped(value)

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], stamp: Hashable = None
    ) -> tuple[Hashable, list[Buffer] | None]:
        """Return views of the ranges of one value, all of one version."""
        value = self.inner.get(key)
        if value is None:
            return None, None
        now = value.stamp
        if stamp is not None and stamp != now:
            return now, None
        return now, [slice_buffer(value, wanted) for wanted in ranges]


def reopen_copy(token: str, objects: dict[str, bytes], read_only: bool) -> MemoryStore:
    """Return the store that ``token`` stands for in this process, one of ``objects`` where there is none yet."""
    store = MemoryStore(read_only=read_only)
    alive = _alive.get(token)
    if alive is None:
        alive = _alive[token] = _Objects((key, _stamped(value)) for key, value in objects.items())
    store.inner = alive
    store._token = token
    store.url = f"memory of this process, {token[:8]}"
    return store
