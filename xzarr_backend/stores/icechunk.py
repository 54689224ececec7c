"""Sessions of icechunk: Zarr v3 nodes with their chunks, and nothing else.

Imports errors, base, concurrency and foreign; icechunk itself is never imported. Invariant: a key that a session cannot
hold is missing, and is not asked for, as its error for one cannot be told from others. A chunk of an array that is not
there is an error, not the fill value: a repository in memory that was pickled holds nothing.
"""

from __future__ import annotations

import json
import re
import uuid
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..errors import NodeNotFoundError, UnsupportedError
from ..paths import join
from .base import Buffer, ByteRange, Request
from .concurrency import Gate, check_not_forked, on_loop
from .files import thread_lock
from .foreign import AsyncStore, collected

_DOCUMENT = re.compile(r"(?:(.*)/)?zarr\.json")
_CHUNK = re.compile(r"(?:(.*)/)?c(?:/\d+)*")  # of the array that the group names


# What icechunk does at once (listings, comparisons) waits for the session and holds the interpreter's lock meanwhile,
# which a request that has the session may need to end. So it runs alone, where a session is written.
_gate = Gate()


_handles: list[tuple[weakref.ref[Any], str]] = []  # of sessions that are written, each with its session's token


def _token_of(handle: Any) -> str:
    """Return what stands for the session, of which each ``session.store`` is another handle. It is called alone."""
    known = [(found, token) for reference, token in _handles if (found := reference()) is not None]
    token = next((token for found, token in known if found == handle), None) or uuid.uuid4().hex
    _handles[:] = [*((weakref.ref(found), token) for found, token in known), (weakref.ref(handle), token)]
    return token


class IcechunkStore(AsyncStore):
    """The store of a session. What is written becomes a snapshot when whoever has the session commits it."""

    transactional = True

    def __init__(self, inner: Any, *, read_only: bool = False) -> None:
        check_not_forked("icechunk", "a session")
        with _gate.alone():
            session = inner.session
            self._snapshot, self._branch, changes = session.snapshot_id, session.branch, not session.read_only
            super().__init__(inner, read_only=read_only)
            self._token = _token_of(inner) if changes else self._snapshot
        self.frozen = not changes  # a snapshot
        self.shared_between_processes = not changes  # what others write has to be merged by its owner
        self._arrays: set[str] = set()  # paths of arrays that were there when they were asked for first

    def _named(self) -> str:
        return f"icechunk:{self._snapshot if self._branch is None else f'{self._branch}, from {self._snapshot}'}"

    def _beside_others(self) -> AbstractContextManager[None]:
        check_not_forked("icechunk", self.url)
        return nullcontext() if self.shared_between_processes else _gate.beside_others()

    @property
    def identity(self) -> Hashable:
        """The snapshot; of a session that is written something of its own, for all of its handles."""
        return self._token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IcechunkStore) and self._token == other._token

    def __hash__(self) -> int:
        return hash(self._token)

    def get(self, key: str, byte_range: ByteRange | None = None, scratch: memoryview | None = None) -> Buffer | None:
        """Return the object or its range."""
        with self._beside_others():
            return super().get(key, byte_range, scratch)

    def get_many(self, requests: Sequence[Request]) -> list[Buffer | None]:
        """Return what `get` returns for all requests, concurrently."""
        with self._beside_others():
            return super().get_many(requests)

    def set(self, key: str, value: Buffer) -> None:
        """Store a document or a chunk; raise `UnsupportedError` for anything else."""
        self._check_key(key)
        with self._beside_others():
            super().set(key, value)

    def set_if_absent(self, key: str, value: Buffer) -> bool:
        """Store a document or a chunk unless there is one."""
        self._check_key(key)
        with thread_lock(("absent", self._token), ""):  # the session would tell nobody that he came second
            if self.size(key) is not None:
                return False
            self.set(key, value)
            return True

    def delete(self, key: str) -> None:
        """Delete the object."""
        with self._beside_others():
            super().delete(key)

    def delete_prefix(self, prefix: str) -> None:
        """Delete the node with all that it holds, or a part of its chunks."""
        self.check_writable()
        self._arrays.clear()
        with self._beside_others():
            on_loop(self.inner.delete_dir(prefix[:-1]))

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes."""
        with self._beside_others():
            return super().size(key)

    def list_dir(self, prefix: str) -> list[str]:
        """Return the names below ``prefix``."""
        names = {name.strip("/") for name in self._listed(self.inner.list_dir, prefix[:-1])}
        with self._beside_others():
            return on_loop(self._marked(prefix, names))

    def walk(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Yield every key below ``prefix``; the sizes are not known."""
        place = prefix[:-1]
        within = _CHUNK.fullmatch(place)
        with self._beside_others():
            if place and on_loop(self._kind(place)) is None:
                place = (within[1] or "") if within else place
                if not within or on_loop(self._kind(place)) != "array":
                    return
        for key in self._listed(self.inner.list_prefix, place):
            if key.startswith(prefix):
                yield key, None

    def _listed(self, listing: Callable[[str], Any], place: str) -> list[str]:
        check_not_forked("icechunk", self.url)
        with nullcontext() if self.shared_between_processes else _gate.alone():
            return on_loop(collected(listing(place)))

    async def _marked(self, prefix: str, names: Collection[str]) -> list[str]:
        chunks = "zarr.json" not in names or await self._kind(prefix[:-1]) == "array"
        found = []
        for name in sorted(names):  # members of groups are never objects, not even one that is named as a chunk
            is_object = name == "zarr.json" or (chunks and await self._exists(prefix + name))
            found.append(name if is_object else f"{name}/")
        return found

    async def _exists(self, key: str) -> bool:
        if _DOCUMENT.fullmatch(key):
            return await super()._exists(key)
        return await self._is_chunk(key) and await super()._exists(key)

    async def _fetch_once(self, key: str, wanted: ByteRange | None) -> Buffer | None:
        if _DOCUMENT.fullmatch(key):
            return await super()._fetch_once(key, wanted)
        if await self._is_chunk(key):
            return await super()._fetch_once(key, wanted)
        if _CHUNK.fullmatch(key):
            raise NodeNotFoundError(f"there is no array that {key!r} could be a chunk of", where=self.url)
        return None

    async def _is_chunk(self, key: str) -> bool:
        """Return whether the key is one of a chunk, stored or not, of an array that is there."""
        within = _CHUNK.fullmatch(key)
        path = within and (within[1] or "")
        if path is None or path in self._arrays:
            return path is not None
        if await self._kind(path) != "array":
            return False
        self._arrays.add(path)
        return True

    async def _kind(self, path: str) -> Any:
        """Return the type of a node, None where there is none."""
        found = await super()._fetch_once(join(path, "zarr.json"), None)
        return None if found is None else json.loads(bytes(found)).get("node_type")

    def _check_key(self, key: str) -> None:
        self.check_writable()
        if not _may_hold(key):
            raise UnsupportedError(
                f"icechunk cannot keep {key!r}: it holds nodes of Zarr v3, with chunks under keys such as 'c/0/1'",
                where=self.url,
                hint='write with zarr_format=3 and the chunk keys "default" with "/"; it resumes nothing',
            )


def _may_hold(key: str) -> bool:
    return bool(_DOCUMENT.fullmatch(key) or _CHUNK.fullmatch(key))
