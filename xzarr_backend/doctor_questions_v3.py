"""The questions that the rules of readers ask about arrays of v3, and about the bytes of chunks.

Each answers with the place that decides, or "". Imports compat, doctor_facts and doctor_questions. Invariant: that of
doctor_questions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from .chunk_keys import ChunkKeyEncoding
from .compat import QUIRKS
from .doctor_facts import Facts
from .doctor_questions import Question, is_base64
from .formats.v3 import ARRAY_MEMBERS
from .spec import NUMCODECS

# --- v3 --------------------------------------------------------------------------------------------------------------


def data_type_outside(names: Collection[str]) -> Question:
    """A v3 data type that is none of ``names``."""

    def ask(f: Facts) -> str:
        name = f.dtype.get("name") if isinstance(f.dtype, dict) else f.dtype
        return "" if name is None or name in names else f"data_type {name!r:.60}"

    return ask


def plain_type_as_object(f: Facts) -> str:
    """A core data type that is given as an object."""
    core = ("bool", "int", "uint", "float", "complex", "string")
    return (
        f"data_type {f.dtype!r:.60}" if isinstance(f.dtype, dict) and str(f.dtype.get("name")).startswith(core) else ""
    )


def codec_is(*names: str) -> Question:
    """A codec of one of these names, in shards too."""
    return lambda f: next((f"{c.place}: {c.name!r}" for chain in f.chains for c in chain.codecs if c.name in names), "")


def codec_outside(names: Collection[str]) -> Question:
    """A codec whose name is none of ``names``, in shards too."""
    return lambda f: next(
        (f"{c.place}: {c.name!r}" for chain in f.chains for c in chain.codecs if c.name not in names), ""
    )


def codec_option_outside(options: Mapping[str, Collection[str]]) -> Question:
    """A codec with a member in its configuration that its reader does not take."""

    def ask(f: Facts) -> str:
        for chain in f.chains:
            for c in chain.codecs:
                extra = sorted(set(c.configuration or ()) - set(options.get(c.name, c.configuration or ())))
                if extra:
                    return f"{c.place}: {c.name} with {', '.join(extra)}"
        return ""

    return ask


def codec_option_missing(options: Mapping[str, Collection[str]]) -> Question:
    """A codec without a member of its configuration that its reader needs."""

    def ask(f: Facts) -> str:
        for chain in f.chains:
            for c in chain.codecs:
                missing = sorted(set(options.get(c.name, ())) - set(c.configuration or ()))
                if missing:
                    return f"{c.place}: {c.name} without {', '.join(missing)}"
        return ""

    return ask


def codec_option_is(codec: str, member: str, test: Callable[[Any], bool]) -> Question:
    """A codec with a member in its configuration whose value passes ``test``."""

    def ask(f: Facts) -> str:
        for chain in f.chains:
            for c in chain.codecs:
                if c.name == codec and member in (c.configuration or {}) and test((c.configuration or {})[member]):
                    return f"{c.place}.{member}: {(c.configuration or {})[member]!r}"
        return ""

    return ask


def no_configuration(*names: str) -> Question:
    """One of these codecs without the member configuration."""
    return lambda f: next(
        (
            f"{c.place}: {c.name}"
            for chain in f.chains
            for c in chain.codecs
            if c.name in names and c.configuration is None
        ),
        "",
    )


def bare_name(f: Facts) -> str:
    """A codec, grid or key encoding given as a string."""
    found = [c.place for chain in f.chains for c in chain.codecs if c.bare]
    found += [name for name in ("chunk_grid", "chunk_key_encoding") if isinstance(f.document.get(name), str)]
    return found[0] if found else ""


def no_serializer(serializers: Collection[str]) -> Question:
    """A chain without an array->bytes codec."""
    return lambda f: next(
        (
            f"codecs {', '.join(c.name for c in chain.codecs) or 'empty'}"
            for chain in f.chains
            if not any(c.name in serializers for c in chain.codecs)
        ),
        "",
    )


ONE_BYTE_TYPES = ("bool", "int8", "uint8", "int2", "int4", "uint2", "uint4", "float8_", "float4_")


def no_endian(f: Facts) -> str:
    """The codec bytes without a byte order, for elements of several bytes."""
    for chain in f.chains:
        several = chain.role == "index" or (isinstance(f.dtype, str) and not f.dtype.startswith(ONE_BYTE_TYPES))
        for c in chain.codecs:
            if c.name == "bytes" and several and (c.configuration or {}).get("endian") is None:
                return f"{c.place}: bytes without endian"
    return ""


def bytes_first(f: Facts) -> str:
    """A codec of bytes in front of the array->bytes codec, or one of arrays behind it."""
    for chain in f.chains:
        rank = [_POSITIONS.get(c.name, 2 if c.name.removeprefix(NUMCODECS) in _OF_BYTES else 0) for c in chain.codecs]
        wrong = next((at for at in range(1, len(rank)) if rank[at] < rank[at - 1] and 1 in rank), None)
        if wrong is not None:
            return f"{chain.codecs[wrong].place}: {chain.codecs[wrong].name!r} behind {chain.codecs[wrong - 1].name!r}"
    return ""


_POSITIONS = {"bytes": 1, "sharding_indexed": 1, "vlen-utf8": 1, "vlen-bytes": 1, "crc32c": 2}
_OF_BYTES = frozenset(
    "gzip zstd blosc zlib bz2 lz4 lzma crc32 crc32c adler32 fletcher32 jenkins_lookup3 shuffle".split()  # noqa: SIM905
)


def extra_in_codec(f: Facts) -> str:
    """A codec that is given with another member than its name and its configuration."""
    codecs = f.document.get("codecs")
    for at, codec in enumerate(codecs if isinstance(codecs, list) else ()):
        extra = sorted(set(codec) - {"name", "configuration"}) if isinstance(codec, dict) else []
        if extra:
            return f"codecs[{at}] with {', '.join(extra)}"
    return ""


def extra_in(name: str, known: Collection[str], *, beside: bool = False) -> Question:
    """A member in the configuration of the grid or the key encoding that is none of ``known``, or null for it.

    ``beside``: look beside the configuration instead.
    """

    def ask(f: Facts) -> str:
        value = f.document.get(name)
        if not isinstance(value, dict):
            return ""
        if beside:
            extra = sorted(set(value) - {"name", "configuration"})
        elif value.get("configuration", {}) is None:
            return f"{name} with the configuration null"
        else:
            configuration = value.get("configuration")
            extra = sorted(set(configuration) - set(known)) if isinstance(configuration, dict) else []
        return f"{name} with {', '.join(extra)}" if extra else ""

    return ask


def raw_fill(f: Facts) -> str:
    """A fill value of raw bits (r8, r16, ...) that is not base64."""
    name = f.dtype if isinstance(f.dtype, str) else ""
    raw = name[:1] == "r" and name[1:].isdigit()
    return f"fill_value {f.fill!r:.60}" if raw and not is_base64(f.fill, int(name[1:]) // 8) else ""


def transposed_shards(f: Facts) -> str:
    """Inner chunks behind a transpose, which would not divide the shards if these were not transposed."""
    names = [c.name for c in f.outer]
    if "transpose" not in names or names[-1:] != ["sharding_indexed"]:
        return ""
    inner: Any = (f.outer[-1].configuration or {}).get("chunk_shape")
    shape = f.document["chunk_grid"]["configuration"]["chunk_shape"]
    wrong = any(size % part for size, part in zip(shape, inner, strict=True))
    return f"{inner} in {shape}" if wrong else ""


def behind_sharding(f: Facts) -> str:
    """A codec behind sharding_indexed."""
    names = [c.name for c in f.outer]
    at = names.index("sharding_indexed") if "sharding_indexed" in names else len(names)
    return ", ".join(names[at + 1 :])


def grid_is_not(*names: str) -> Question:
    """A chunk grid of another name."""

    def ask(f: Facts) -> str:
        grid = f.document.get("chunk_grid")
        name = grid.get("name") if isinstance(grid, dict) else grid
        return f"chunk_grid {name!r}" if name is not None and name not in names else ""

    return ask


def key_encoding_is_not(*encodings: tuple[str, str]) -> Question:
    """Chunk keys encoded otherwise than as (name, separator)."""

    def ask(f: Facts) -> str:
        if f.array is None:
            return ""
        found: ChunkKeyEncoding = f.array.spec.chunk_key_encoding
        return f"keys {found.name} with {found.separator!r}" if tuple(found) not in encodings else ""

    return ask


def unknown_keys(f: Facts) -> str:
    """A chunk key encoding that the specification does not have."""
    found = f.document.get("chunk_key_encoding")
    name = found.get("name") if isinstance(found, dict) else found
    return f"chunk_key_encoding {name!r:.60}" if name is not None and name not in ("default", "v2") else ""


def extra_member(f: Facts) -> str:
    """A member that the specification does not know and that may not be ignored."""
    return ", ".join(
        name
        for name, value in f.document.items()
        if name not in ARRAY_MEMBERS and not (isinstance(value, dict) and value.get("must_understand") is False)
    )


def duplicate_names(f: Facts) -> str:
    """A dimension name that is used twice."""
    names = f.document.get("dimension_names")
    named = [name for name in names if name] if isinstance(names, list) else []
    return next((repr(name) for name in named if named.count(name) > 1), "")


def names_of_other_rank(f: Facts) -> str:
    """More or fewer dimension names than dimensions."""
    names = f.document.get("dimension_names")
    return f"{len(names)} names" if isinstance(names, list) and len(names) != f.rank else ""


def no_names(f: Facts) -> str:
    """A dimension without a name."""
    names = f.array.spec.dimension_names if f.array is not None else None
    if f.rank == 0 and (not f.v2 or "_ARRAY_DIMENSIONS" in f.attributes):
        return ""
    return "dimensions without names" if names is None or None in names else ""


# --- the bytes -------------------------------------------------------------------------------------------------------

_MAGIC = {"gzip": b"\x1f\x8b", "zlib": b"\x78", "zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh"}


def last_codec(f: Facts) -> str:
    """Return the name of the codec that was applied last, without its prefix; "" where there is none or in shards."""
    if f.v2:
        return f.v2_codecs[-1][1] if f.v2_codecs else ""
    return f.outer[-1].name.removeprefix(NUMCODECS) if f.outer else ""


def mislabelled(f: Facts) -> str:
    """The name of the codec that wrote the sample, where the metadata name another one of those with a magic number."""
    said = last_codec(f)
    if said not in _MAGIC or not f.sample or f.sample.startswith(_MAGIC[said]):
        return ""
    return next((name for name, magic in _MAGIC.items() if name != said and f.sample.startswith(magic)), "")


def long_size(f: Facts) -> str:
    """A chunk of lz4 or bz2 that begins with a size of eight bytes, as ExZarr writes it."""
    name, sample = last_codec(f), f.sample or b""
    if name in ("bz2", "bzip2") and sample[8:11] == b"BZh" and sample[4:8] == bytes(4):
        return "chunks begin with a size of eight bytes"
    if name == "lz4" and len(sample) > 8 and sample[4:8] == bytes(4) and sample[:4] != bytes(4):
        return "chunks begin with a size of eight bytes"
    return ""


def shards_of_exzarr(f: Facts) -> str:
    """Shards in the format of ExZarr."""
    return "the stored shards" if f.exzarr_shards else ""


def undecodable(f: Facts) -> str:
    """A chunk that does not decode as the metadata say."""
    error = f.decoded[1]
    return f"chunk {f.sample_coords}" if error is not None and not shards_of_exzarr(f) else ""


def damaged_without_quirks(f: Facts) -> str:
    """A chunk that only decodes because the writer is known: without, it fails."""
    if f.quirks is None or f.sample is None:
        return ""
    plain = Facts(f.store, f.path, f.documents, zarr_format=2 if f.v2 else 3, keys=f.keys)
    return undecodable(plain)


def not_meant(f: Facts) -> str:
    """What the known writer means otherwise than the metadata say."""
    for quirk in QUIRKS:
        if f.quirks and quirk.writer == f.quirks and quirk.zarr_format == (2 if f.v2 else 3):
            places = quirk.places(f.document)
            trivial = quirk.id == "exzarr-order" and f.rank < 2
            if places and not trivial:
                return f"{places[0]}: {quirk.means}"
    return ""
