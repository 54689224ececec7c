"""Codecs as people write and see them: names, dicts, numcodecs and zarr-python objects, one vocabulary for all.

Imports codecs and formats; numcodecs only when a v2 codec is shown. Invariant: what is reported is plain enough for
xarray's built-in writer to take: numcodecs objects for v2, dicts with name and configuration for v3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .codecs import CODECS
from .codecs.pipeline import split_chain
from .codecs.sharding import chains_of
from .errors import MetadataError
from .formats.v2 import split_v2
from .formats.v3 import format_named
from .spec import JSON, NUMCODECS, ArraySpec, Named

# names registered for v3; whatever else numcodecs has is written with the prefix
_SAME_IN_V3 = frozenset({"gzip", "zstd", "blosc", "crc32c", "vlen-utf8", "vlen-bytes"})  # with and without the prefix
_OTHERS_IN_V3 = (
    "bytes transpose reshape sharding_indexed n5_default packbits cast_value scale_offset bitround conditional zfp"
)
V3_CODECS = _SAME_IN_V3.union(_OTHERS_IN_V3.split())
_OLD_NAMES = {"endian": "bytes", "vlen_utf8": "vlen-utf8", "vlen_bytes": "vlen-bytes", "bzip2": "bz2"}

# what is meant by a codec whose configuration leaves members out; the specifications demand them in documents
_DEFAULTS: dict[str, dict[str, JSON]] = {
    "gzip": {"level": 5},
    "zstd": {"level": 0, "checksum": False},
    "blosc": {"cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0},
    "zlib": {"level": 1},
    "bz2": {"level": 1},
}
# what encoders would refuse with the first chunk, when the array stands there already
_LEVELS = {"gzip": (0, 9), "zlib": (-1, 9), "bz2": (1, 9), "blosc": (0, 9), "zstd": (-131072, 22)}
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")  # by the numbers that numcodecs has for them


class Reported(NamedTuple):
    """The codecs of an array by their roles, as `Array` and ``encoding`` show them."""

    filters: tuple[Any, ...]
    serializer: Any
    compressors: tuple[Any, ...]


def report_codecs(spec: ArraySpec) -> Reported:
    """Return the codecs of ``spec`` in the vocabulary of its format."""
    if spec.zarr_format == 2:
        _, filters, compressor = split_v2(spec)
        return Reported(_numcodecs(filters), None, _numcodecs([] if compressor is None else [compressor]))
    arrays, serializer, compressors = _split_v3(spec.codecs)
    return Reported(tuple(map(format_named, arrays)), format_named(serializer), tuple(map(format_named, compressors)))


def _split_v3(codecs: Sequence[Named]) -> tuple[Sequence[Named], Named, Sequence[Named]]:
    """Split a v3 chain by kind; of shards, the chain of the inner chunks, which is what a user chose."""
    chain = split_chain(codecs)
    if chain.serializer.name == "sharding_indexed" and not chain.bytes and not chain.arrays:
        return _split_v3(chains_of(chain.serializer.configuration)[0])
    return chain.arrays, chain.serializer, chain.bytes


def _numcodecs(configurations: Sequence[Mapping[str, JSON]]) -> tuple[Any, ...]:
    import numcodecs

    found = []
    for configuration in configurations:
        try:
            found.append(numcodecs.get_codec(dict(configuration)))
        except Exception:  # a codec that numcodecs lacks, or members it does not take: show what is stored
            found.append(dict(configuration))
    return tuple(found)


def named_of(codec: Any) -> Named:
    """Return the codec that a caller means.

    ``codec`` is a name, a v3 dict, a numcodecs config (with ``id``) or object, or an object with ``to_dict()`` as
    zarr-python's. Raises `MetadataError` for anything else.
    """
    if isinstance(codec, Named):
        return codec
    if isinstance(codec, str):
        return Named(codec, {})
    if hasattr(codec, "get_config") and hasattr(codec, "codec_id"):
        codec = codec.get_config()
    elif hasattr(codec, "to_dict"):
        codec = codec.to_dict()
    if isinstance(codec, Mapping):
        if isinstance(codec.get("name"), str):
            return Named(codec["name"], _jsonable(codec.get("configuration") or {}))
        if isinstance(codec.get("id"), str):
            configuration = {name: item for name, item in codec.items() if name != "id"}
            return Named(NUMCODECS + codec["id"], _jsonable(configuration))
    raise MetadataError(
        f"{codec!r:.80} is no codec", hint='give a name ("zstd"), a dict with name and configuration, or a codec object'
    )


def _jsonable(value: Any) -> Any:
    """Codec objects give tuples and NumPy's numbers where documents have lists and plain ones."""
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, Named):
        return [_jsonable(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def spelled(codec: Any, zarr_format: int, itemsize: int) -> Named:
    """Return the codec that a caller means under the name and with the members that the format demands.

    In v2 ids of numcodecs; in v3 registered names, and ``numcodecs.*`` for what has none. ``itemsize``: the bytes of
    an element, which blosc wants to know. Raises `MetadataError` as `named_of` does, and for levels and members that
    the common compressors do not have.
    """
    named = named_of(codec)
    if isinstance(codec, Mapping) and "name" in codec:
        _check_placed(codec)
    prefixed = named.name.startswith(NUMCODECS)
    short = named.short_name
    short = _OLD_NAMES.get(short, short)
    configuration = {**_DEFAULTS.get(short, {}), **named.configuration}
    if not isinstance(codec, Named):  # one of a stored document is as its writer made it
        _check_members(short, configuration)
    if short == "blosc":
        known = (
            itemsize if not isinstance(codec, str | Mapping | Named) else 0
        )  # a zarr-python object may say 1 for all
        configuration = _blosc(configuration, zarr_format, itemsize, known)
    if short == "shuffle":
        configuration.setdefault("elementsize", itemsize)  # numcodecs would assume 4
    if short == "zstd" and zarr_format == 2 and not configuration["checksum"]:
        del configuration["checksum"]  # tensorstore refuses it there
    if zarr_format == 2:
        return Named(NUMCODECS + short, configuration)
    if short == "crc32c" and configuration == {"location": "end"}:
        configuration = {}  # where v3 always has it
    if short == "crc32c" and configuration:
        return Named(NUMCODECS + short, configuration)
    if short in _SAME_IN_V3 or (short in V3_CODECS and not prefixed):
        return Named(short, configuration)
    return Named(NUMCODECS + short if prefixed or NUMCODECS + short in CODECS else short, configuration)


def _check_placed(codec: Mapping[str, Any]) -> None:
    """Refuse members beside ``configuration``: they would be ignored, and another level stored than was meant."""
    beside = {name: item for name, item in codec.items() if name not in ("name", "configuration", "must_understand")}
    if beside:
        raise MetadataError(
            f"codec {codec['name']!r} has {next(iter(beside))!r} beside its name, where only its configuration belongs",
            hint=f'give {{"name": {codec["name"]!r}, "configuration": {beside!r:.80}}}',
        )


def _check_members(name: str, configuration: Mapping[str, JSON]) -> None:
    if name not in _LEVELS:
        return
    known = {*_DEFAULTS[name], "typesize"} if name == "blosc" else {*_DEFAULTS[name]}
    for member in configuration.keys() - known:
        from difflib import get_close_matches  # late: a new process that only reads does without it

        nearest = get_close_matches(member, known, 1, 0.4)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(known))}"
        raise MetadataError(f"codec {name!r} has no member {member!r}", hint=hint)
    member, (least, most) = ("clevel" if name == "blosc" else "level"), _LEVELS[name]
    level = configuration[member]
    if not isinstance(level, int) or not least <= level <= most:
        raise MetadataError(f"codec {name!r}: {member} {level!r} is not from {least} to {most}")


def _blosc(configuration: dict[str, JSON], zarr_format: int, itemsize: int, least: int) -> dict[str, JSON]:
    """Return the configuration of blosc as the format has it: v2 numbers the shuffles, v3 names them."""
    shuffle = configuration["shuffle"]
    if shuffle in (-1, None):
        shuffle = "bitshuffle" if itemsize == 1 else "shuffle"
    if zarr_format == 2:
        shuffle = _SHUFFLES.index(shuffle) if shuffle in _SHUFFLES else shuffle
        members = {name: value for name, value in configuration.items() if name != "typesize"}
        return {**members, "shuffle": shuffle}
    if isinstance(shuffle, int) and 0 <= shuffle < len(_SHUFFLES):
        shuffle = _SHUFFLES[shuffle]
    return {**configuration, "shuffle": shuffle, "typesize": max(configuration.get("typesize") or itemsize, least)}
