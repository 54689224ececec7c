"""Whether a target may be written at all: where it lies, what lies there, and whether it has room.

Imports stores, journal and the rows below. Invariant: nothing is written here but the deletion that ``overwrite`` asks
for; a place that holds anything but a Zarr node or an unfinished conversion is never deleted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping

from .chunk_choice import parse_nbytes
from .consolidating import INLINE
from .display_text import bytes_text
from .errors import MetadataError, NodeExistsError, UnsupportedError, XzarrError
from .formats.documents import DOCUMENTS, format_json, parse_json
from .journal import has_journal
from .pending import FOLDER
from .spec import JSON
from .stores.base import Request, Store
from .stores.local import LocalStore
from .stores.zip import ZipStore


def parse_memory(given: int | str) -> int:
    """Return a number of bytes given as one, or as text such as "256 MiB"; raise `MetadataError`."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    nbytes = parse_nbytes(given) if isinstance(given, str) else None
    if nbytes is None:
        raise MetadataError(f"memory={given!r:.80} is no number of bytes", hint='give it as 268435456 or "256 MiB"')
    return nbytes


def local_path(store: Store) -> str | None:
    """Return where a store lies on the local file system, links followed; None for all others."""
    if isinstance(store, LocalStore):
        return os.path.realpath(store.root)
    if isinstance(store, ZipStore):
        return os.path.realpath(store.path)
    chain, _, last = store.url.rpartition("::")  # such as zip://::/data/a.zip: what it is made of may be local
    scheme, separator, path = last.rpartition("://")
    return os.path.realpath(path) if chain and (not separator or scheme in ("file", "local")) else None


def check_apart(source: Store, target: Store) -> None:
    """Raise `NodeExistsError` where the two stores are one place, or one lies within the other."""
    a, b = local_path(source), local_path(target)
    if source == target or (a is not None and b is not None and _same_file(a, b)):
        raise NodeExistsError("source and target are the same place", where=target.url, hint="give another target")
    if a is None or b is None:
        a, b = source.url.rstrip("/").rpartition("::")[2], target.url.rstrip("/").rpartition("::")[2]
        if type(source) is not type(target) or source.url != source.url.strip() or "://" not in a:
            return
    if f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/"):
        raise NodeExistsError(
            "source and target lie within each other", where=f"{a} and {b}", hint="give a target beside the source"
        )


def _same_file(a: str, b: str) -> bool:
    try:
        return a == b or os.path.samefile(a, b)
    except OSError:
        return False  # one of them does not exist yet


def make_place(target: Store, *, resume: bool, overwrite: bool, check_only: bool = False) -> None:
    """Make sure that the target is empty, or holds the conversion to be resumed; raise `NodeExistsError` otherwise.

    ``overwrite`` deletes a Zarr node or an unfinished conversion. ``check_only``: raise, but delete nothing yet.
    """
    unfinished = has_journal(target, "")
    if unfinished and resume:
        return
    names = _names(target)
    if not names and not unfinished:
        return
    if resume and check_only:
        return  # whether it is what a resumed conversion made can be told when that is planned
    if not unfinished and not any(name in DOCUMENTS for name in names):
        raise NodeExistsError(
            f"the target is not empty, and holds no Zarr node: {', '.join(names[:5])}",
            where=target.url,
            hint="give a new folder: files of others are never deleted here",
        )
    if not overwrite:
        what = "an unfinished conversion lies here" if unfinished else "a node is stored here already"
        if resume:
            what = "a node is stored here already, which is not what was to be resumed: its metadata are others"
        hint = "use resume=True to go on with it, or overwrite=True to replace it" if unfinished else ""
        raise NodeExistsError(
            what, where=target.url, hint=hint or "use overwrite=True to replace it, or another target"
        )
    if not check_only:
        target.delete_prefix("")


def is_finished(target: Store, documents: Iterable[Mapping[str, JSON]]) -> bool:
    """Return whether the target holds these documents, consolidated metadata aside, and no unfinished conversion."""
    wanted = {key: document for node in documents for key, document in node.items()}
    found = target.get_many([Request(key) for key in wanted])
    return (
        all(raw is not None for raw in found)
        and not has_journal(target, "")
        and all(
            _plain(parse_json(raw, key)) == _plain(parse_json(format_json(wanted[key]), key))
            for key, raw in zip(wanted, found, strict=True)
        )
    )


def _plain(document: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in document.items() if name != INLINE}


def _names(target: Store) -> list[str]:
    try:
        names = target.list_dir("")
        if FOLDER in names and not any(target.walk(FOLDER)):
            names.remove(FOLDER)  # empty: whoever was to write a journal there was interrupted before
        return names
    except UnsupportedError:
        found = target.get_many([Request(name) for name in DOCUMENTS])
        return [name for name, raw in zip(DOCUMENTS, found, strict=True) if raw is not None]


def check_room(target: Store, nbytes: int) -> None:
    """Raise `XzarrError` where ``nbytes`` are more than the disk of a local target has free."""
    free = free_space(target)
    if free is not None and nbytes > free:
        raise XzarrError(
            f"the target needs about {bytes_text(nbytes)}, but its disk has only {bytes_text(free)} free",
            where=target.url,
            hint="make room, give a target on another disk, or compress more (compressors=)",
        )


def free_space(target: Store) -> int | None:
    """Return the free bytes of the disk that a local target lies on, or will lie on; None for other places."""
    path = local_path(target)
    while path is not None and not os.path.exists(path):
        path = os.path.dirname(path)
    return None if path is None else shutil.disk_usage(path).free
