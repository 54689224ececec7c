"""Codecs as people write and see them: names, dicts, numcodecs and zarr-python objects, one vocabulary for both formats.

Imports codecs and formats; numcodecs only when a v2 codec is shown. Invariant: what is reported is plain enough for
xarray's built-in writer to take: numcodecs objects for v2, dicts with name and configuration for v3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .codecs.pipeline import split_chain
from .errors import MetadataError
from .formats.v2 import split_v2
from .formats.v3 import format_named
from .spec import JSON, ArraySpec, Named

_OWN = "numcodecs."  # the prefix that ids of numcodecs carry in a v3 chain

class Reported(NamedTuple):
    """The codecs of an array as `Array` and ``encoding`` show them; ``chain`` is always in v3 dicts."""

    chain: tuple[Any, ...]
    filters: tuple[Any, ...]
    serializer: Any
    compressors: tuple[Any, ...]


def report_codecs(spec: ArraySpec) -> Reported:
    """Return the codecs of ``spec`` in the vocabulary of its format."""
    chain = tuple(format_named(codec) for codec in spec.codecs)
    if spec.zarr_format == 2:
        _, filters, compressor = split_v2(spec)
        return Reported(
            chain, _numcodecs(filters), None, _numcodecs([] if compressor is None else [compressor])
        )
    arrays, serializer, compressors = _split_v3(spec.codecs)
    return Reported(
        chain, tuple(map(format_named, arrays)), format_named(serializer), tuple(map(format_named, compressors))
    )


def _split_v3(codecs: Sequence[Named]) -> tuple[Sequence[Named], Named, Sequence[Named]]:
    """Split a v3 chain by kind; of shards, the chain of the inner chunks, which is what a user chose."""
    chain = split_chain(codecs)
    if chain.serializer.name == "sharding_indexed" and not chain.bytes and not chain.arrays:
        inner = chain.serializer.configuration.get("codecs") or ()
        return _split_v3([named_of(codec) for codec in inner])
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
            return Named(codec["name"], codec.get("configuration") or {})
        if isinstance(codec.get("id"), str):
            return Named(_OWN + codec["id"], {name: value for name, value in codec.items() if name != "id"})
    raise MetadataError(
        f"{codec!r:.80} is no codec", hint='give a name ("zstd"), a dict with name and configuration, or a codec object'
    )
