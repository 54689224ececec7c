"""How numbers, names and documents are written for people.

Imports spec only. Invariant: text that comes from a store is made printable, so that no name or attribute of a stranger
can move the cursor of a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .spec import JSON, Named

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def plain(text: str, keep: str = "") -> str:
    """Return ``text`` with everything that is not printable written as an escape, but for the characters ``keep``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def bytes_text(nbytes: int) -> str:
    """Return a number of bytes: ``12,345,678 bytes (11.8 MiB)``."""
    exact = f"{nbytes:,} byte{'' if nbytes == 1 else 's'}"
    if nbytes < 10_000 or nbytes.bit_length() > 1000:  # the latter has no unit, and is no float
        return exact
    place = min((nbytes.bit_length() - 1) // 10, len(_UNITS))
    return f"{exact} ({nbytes / 1024**place:.4g} {_UNITS[place - 1]})"


def shape_text(shape: Sequence[Any], names: Sequence[str | None] | None = None) -> str:
    """Return a shape, with the names of its dimensions where it has them: ``(time 365, lat 90)``."""
    lengths = [str(n) if isinstance(n, int) else _edges_text(n) for n in shape]
    if names is not None:
        lengths = [length if name is None else f"{name} {length}" for name, length in zip(names, lengths, strict=True)]
    return f"({', '.join(lengths)})"


def _edges_text(edges: Sequence[int]) -> str:
    return short("+".join(map(str, edges[:50])), 60)


def codec_text(codec: Named) -> str:
    """Return a codec with its configuration: ``zstd(level=3)``; of shards, with the codecs of their inner chunks."""
    inside = ", ".join(_member_text(name, value) for name, value in codec.configuration.items())
    return f"{codec.name}({inside})" if inside else codec.name


def _member_text(name: str, value: JSON) -> str:
    if name.endswith("codecs") and isinstance(value, list):
        return f"{name}=[{', '.join(map(_inner_codec_text, value))}]"
    return f"{name}={value_text(value)}"


def _inner_codec_text(codec: JSON) -> str:
    if isinstance(codec, Named):
        return codec_text(codec)
    if isinstance(codec, Mapping) and isinstance(codec.get("name"), str):
        configuration = codec.get("configuration")
        return codec_text(Named(codec["name"], configuration if isinstance(configuration, dict) else {}))
    return value_text(codec)


def value_text(value: JSON) -> str:
    """Return a JSON value on one line, cut off after 200 characters."""
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 200)


def short(text: str, limit: int) -> str:
    """Return ``text`` cut off after ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
