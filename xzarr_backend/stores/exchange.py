"""Replacing a whole folder in one step: build a sibling, then exchange the two.

Imports files. Invariant: at every moment the folder's name leads to the old tree or to the new one, complete
(where the system cannot exchange two names, a note lies beside them from which the next opener finishes the exchange);
what a killed writer leaves behind has a name that no listing shows and that the next writer of the same folder removes.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import time
from functools import cache
from typing import Any

from .files import EXCHANGE, OURS, host_mark, lives, remove_tree, sync_folder, unlink, write_all

STAGED = re.compile(r"\.xzarr-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}-([0-9a-f]{16})\.(new|old|tmp)")
WEEK = 7 * 86_400.0  # seconds without a change after which another host's folder is nobody's

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}

_ours: set[str] = set()  # the folders that this process is building


def is_exchangeable(target: str) -> bool:
    """Return whether a folder beside ``target`` can be made and take its name: no mount point, no foreign parent."""
    if os.path.ismount(target):
        return False
    parent = os.path.dirname(target)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    return os.access(parent, os.W_OK | os.X_OK)


def stage(target: str) -> str:
    """Make and return an empty hidden folder beside ``target``."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    staged = _new_name(target)
    os.mkdir(staged)
    return staged


def adopt(target: str, staged: str) -> str:
    """Take over a folder that a killed writer was building; return its new name."""
    fresh = _new_name(target)
    os.rename(staged, fresh)
    return fresh


def _new_name(target: str) -> str:
    """Return a name beside ``target`` for a folder of this process, noted before a thread can find it."""
    name = f"{os.path.dirname(target)}/{OURS}{host_mark()}-{os.getpid()}-{secrets.token_hex(6)}-{_mark(target)}.new"
    _ours.add(name)
    return name


def release(staged: str) -> None:
    """Leave a folder for a later writer to adopt or to remove."""
    _ours.discard(staged)


def discard(staged: str) -> None:
    """Remove a folder that is not wanted; what cannot be removed is left for later writers."""
    try:
        remove_tree(staged)
    finally:
        _ours.discard(staged)


def leftovers(target: str) -> list[str]:
    """Return the folders that ended writers of ``target`` were building or removing, the youngest first."""
    parent, mark = os.path.dirname(target), _mark(target)
    try:
        names = os.listdir(parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    named = [(name, found) for name in names if (found := STAGED.fullmatch(name)) and found[3] == mark]
    paths = [f"{parent}/{name}" for name, found in named if _ended(f"{parent}/{name}", found)]
    return sorted(paths, key=_modified, reverse=True)


def sweep(target: str) -> int:
    """Finish what was interrupted, and remove what ended writers of ``target`` left; return how many folders."""
    settle(target)
    found = leftovers(target)
    for path in found:
        _remove(path)
    record = _record_path(target)
    noted = _load(record)
    if noted is not None and os.path.lexists(target) and not _waiting(target, noted):
        unlink(record)
    return len(found)


def is_abandoned(path: str) -> bool:
    """Return whether ``path`` is a folder that an ended writer was building."""
    found = STAGED.fullmatch(os.path.basename(path))
    return found is not None and _ended(path, found)


def exchange(staged: str, target: str, *, durable: bool) -> None:
    """Let ``staged`` take the name ``target``, and remove what bore it; after an error, remove ``staged``."""
    old: str | None = staged
    try:
        old = _swap(staged, target)
        if durable:
            sync_folder(os.path.dirname(target))
    finally:
        if old is not None and os.path.lexists(target):  # else it may be all that there is
            _remove(old)
        _ours.discard(staged)


def settle_all(folder: str) -> None:
    """Finish every interrupted exchange in ``folder``."""
    for name in os.listdir(folder):
        noted = _load(f"{folder}/{name}") if name.startswith(OURS) and name.endswith(EXCHANGE) else None
        if noted is not None:
            settle(f"{folder}/{noted[0]}")


def settle(target: str) -> bool:
    """Finish an exchange that ended between its two renames; return whether there was one.

    Nothing happens while something bears the name ``target``.
    """
    if os.path.lexists(target):
        return False
    noted = _load(_record_path(target))
    if noted is None:
        return False
    parent = os.path.dirname(target)
    for name in noted[1:]:  # the new folder, which is complete; else back to the old one
        try:
            os.rename(f"{parent}/{name}", target)
            break
        except OSError:
            pass  # somebody else was faster, or we may not write here
    return os.path.lexists(target)


def _swap(staged: str, target: str) -> str | None:
    """Exchange the names; return where what bore the name ``target`` is now, None if nothing did."""
    if not os.path.lexists(target):
        try:
            os.rename(staged, target)
            return None
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    try:
        return staged if _exchange_names(staged, target) else _rename_twice(staged, target)
    except FileNotFoundError:
        if os.path.lexists(target) or not os.path.lexists(staged):
            raise
    os.rename(staged, target)  # others have deleted what bore the name meanwhile
    unlink(_record_path(target))
    return None


def _exchange_names(first: str, second: str) -> bool:
    """Exchange two names in one step; return False where the system cannot."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), second)


@cache
def _renameat2() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call


def _rename_twice(staged: str, target: str) -> str:
    parent, record = os.path.dirname(target), _record_path(target)
    old = f"{staged.removesuffix('.new')}.old"
    temporary = f"{staged.removesuffix('.new')}.tmp"
    _ours.update((old, temporary))
    _note(record, temporary, [os.path.basename(path) for path in (target, staged, old)])
    try:
        os.rename(target, old)
        try:
            os.rename(staged, target)
        except FileNotFoundError:
            if not os.path.lexists(target):  # else a reader has finished the exchange for us
                raise
        except BaseException:
            os.rename(old, target)
            raise
    finally:
        if os.path.lexists(target):
            unlink(record)
        _ours.difference_update((old, temporary))
    sync_folder(parent)
    return old


def _mark(target: str) -> str:
    return hashlib.blake2b(os.fsencode(os.path.basename(target)), digest_size=8).hexdigest()


def _record_path(target: str) -> str:
    return f"{os.path.dirname(target)}/{OURS}{_mark(target)}{EXCHANGE}"


def _note(record: str, temporary: str, names: list[str]) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        write_all(descriptor, [memoryview(json.dumps(names).encode())])
        os.fsync(descriptor)  # the renames that follow must not reach the disk before it
    finally:
        os.close(descriptor)
    os.replace(temporary, record)


def _load(record: str) -> list[str] | None:
    try:
        with open(record, "rb") as file:
            names = json.loads(file.read(8192))
    except (OSError, ValueError):
        return None
    if not isinstance(names, list) or len(names) != 3 or not all(isinstance(name, str) for name in names):
        return None
    known: list[str] = names
    return known if "/" not in known[0] and all(STAGED.fullmatch(name) for name in known[1:]) else None


def _waiting(target: str, noted: list[str]) -> bool:
    """Return whether the writer that noted an exchange still lives."""
    parent = os.path.dirname(target)
    return any(os.path.lexists(f"{parent}/{name}") and not is_abandoned(f"{parent}/{name}") for name in noted[1:])


def _ended(path: str, found: re.Match[str]) -> bool:
    if found[1] != host_mark():
        return time.time() - max((_modified(folder) for folder, _, _ in os.walk(path)), default=0.0) > WEEK
    pid = int(found[2])
    return path not in _ours if pid == os.getpid() else not lives(pid)


def _modified(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(path: str) -> None:
    try:
        remove_tree(path)
    except OSError:
        pass  # it is hidden, and no reason to fail; the next writer tries again
