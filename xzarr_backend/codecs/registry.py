"""From the name of a codec to its kind and the factory that builds it.

Imports base, errors, spec and the standard library; a codec's module, and any library behind it, loads when its row is
first looked up. Invariant: a name means one thing: rows of the table first, then what `register_codec` added, then
entry points (group ``xzarr_backend.codecs``), then the registry of numcodecs. Source: Zarr v3 core, "Extension points".
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, NamedTuple, cast

from ..errors import MetadataError, UnsupportedError
from ..spec import NUMCODECS
from .base import ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, EITHER, Factory, needs_package
from .libraries import installed
from .table import CODECS, FOREIGN, HINTS, MODULES, UNSAFE, Row

ENTRY_POINTS = "xzarr_backend.codecs"
KINDS = frozenset({ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, EITHER})


class ResolvedRow(NamedTuple):
    """What the name of a codec stands for."""

    kind: str
    factory: Factory


_registered: dict[str, ResolvedRow] = {}


def lookup(name: str, allow: Collection[str] = ()) -> ResolvedRow:
    """Return the kind and factory of the codec ``name``.

    Codecs that execute code taken from the data are refused unless the caller lists them in ``allow``, without their
    prefix (``{"pickle"}``). Raises `UnsupportedError`, which names the package that would add the codec where that is
    known.
    """
    short = name.removeprefix(NUMCODECS)
    if short in UNSAFE and short not in allow:
        raise UnsupportedError(
            f"codec {name!r} executes code that is stored in the data, so it is refused",
            hint=f"if you trust whoever wrote the store, allow the codec {short!r} explicitly",
        )
    row = CODECS.get(name)
    return _resolve(name, row) if row is not None else _beyond_the_table(name)


@cache
def _resolve(name: str, row: Row) -> ResolvedRow:
    if row.package is not None and not _installed(row.package):
        raise needs_package(name, row.package)
    module, _, attribute = row.target.partition(":")
    try:
        factory = getattr(importlib.import_module(module, __package__), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or row.package is None:
            raise
        raise needs_package(name, row.package) from error
    return ResolvedRow(row.kind, factory)


def _beyond_the_table(name: str) -> ResolvedRow:
    row = _registered.get(name) or _from_entry_points(name)
    if row is None and NUMCODECS + name not in CODECS:  # a short name that is not in the table is ambiguous in v3
        row = _from_numcodecs(name)
    if row is None:
        raise unknown_codec(name)
    return row


def unknown_codec(name: str) -> UnsupportedError:
    """Return the error for a codec that nobody here knows, with the package that adds it or another way out."""
    hint = HINTS.get(name, f"did you mean {NUMCODECS + name!r}?" if NUMCODECS + name in CODECS else "")
    short = name.removeprefix(NUMCODECS)
    package = next((package for start, package in FOREIGN.items() if short.startswith(start)), None)
    if not hint and package is not None:
        hint = f"the package {package!r} may have it; call its numcodecs.register_codecs() first"
    return UnsupportedError(f"codec {name!r} is not known here", hint=hint or _nearest(name))


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # late: a new process that knows its codecs does without it

    near = get_close_matches(name.removeprefix(NUMCODECS), {known.removeprefix(NUMCODECS) for known in CODECS}, 1)
    others = "available_codecs() lists the known ones; register_codec adds another"
    return f"the nearest name is {near[0]!r}; {others}" if near else others


def _from_entry_points(name: str) -> ResolvedRow | None:
    """Load the codec from an entry point: a `ResolvedRow`, a (kind, factory) pair, or a numcodecs class."""
    for point in _entry_points(name=name):
        loaded = point.load()
        if _is_numcodecs_class(loaded):
            return register_codec(name, loaded)
        kind, factory = loaded
        return register_codec(name, factory, kind=kind)
    return None


def _from_numcodecs(name: str) -> ResolvedRow | None:
    """Find what users, plugins and ``imagecodecs.numcodecs.register_codecs()`` added to the registry of numcodecs."""
    from .foreign import find_numcodecs

    short = name.removeprefix(NUMCODECS)
    found = find_numcodecs(short)
    return None if found is None else ResolvedRow(*found)


def _entry_points(name: str | None = None) -> Iterable[Any]:
    from importlib.metadata import entry_points  # half of what importing this module would cost

    points = entry_points(group=ENTRY_POINTS)
    return points if name is None else points.select(name=name)


def _is_numcodecs_class(thing: object) -> bool:
    return isinstance(thing, type) and isinstance(getattr(thing, "codec_id", None), str)


def register_codec(
    name: str | type, factory: Any = None, *, kind: str | None = None, package: str | None = None
) -> ResolvedRow:
    """Add a codec for this process, under a name that the table does not have yet.

    ``factory`` is ``(configuration, spec) -> Codec``, with its ``kind``; or a subclass of ``numcodecs.abc.Codec``,
    which may also be given alone: ``register_codec(MyCodec)`` takes its ``codec_id``, with and without ``numcodecs.``.
    ``package`` must be installed for it. Raises `MetadataError` for a name that is taken, or a wrong kind.
    """
    if isinstance(name, type):
        name, factory = getattr(name, "codec_id", ""), name
    if not name or name in CODECS:
        raise MetadataError(f"a codec cannot be registered under the name {name!r}: it is empty or means another codec")
    if package is not None and not _installed(package):
        raise needs_package(name, package)
    if _is_numcodecs_class(factory):
        return _register_numcodecs(name, factory, kind or EITHER)
    if kind not in KINDS or not callable(factory):
        raise MetadataError(f"codec {name!r} needs a callable factory, and a kind out of: {', '.join(sorted(KINDS))}")
    row = _registered[name] = ResolvedRow(kind, cast(Factory, factory))
    return row


def _register_numcodecs(name: str, codec: Any, kind: str) -> ResolvedRow:
    from .foreign import numcodecs_factory

    row = ResolvedRow(kind, numcodecs_factory(codec))
    for alias in {name, name.removeprefix(NUMCODECS), NUMCODECS + name.removeprefix(NUMCODECS)} - CODECS.keys():
        _registered[alias] = row
    return row


def codec_available(name: str) -> bool:
    """Return whether the codec can be used without further ado: known, not unsafe, its library installed.

    Never raises.
    """
    try:
        lookup(name)
    except Exception:  # a library that is installed but broken is not available either
        return False
    return True


def available_codecs() -> list[str]:
    """Return the names that can be used now, sorted."""
    known = {*CODECS, *_registered, *(point.name for point in _entry_points())}
    return sorted(name for name in known if codec_available(name))


def _installed(package: str) -> bool:
    return installed(MODULES.get(package, package))
