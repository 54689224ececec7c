"""What the readers that one writes for can read: one row per profile, and what a new array becomes by it.

Imports profile_rules, codec_objects and the rows below. Invariant: what a profile has chosen breaks none of its rules;
what was asked for and breaks one is refused before anything is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .chunk_keys import ChunkKeyEncoding
from .codec_objects import spelled
from .dtypes import DataType, as_dtype
from .errors import MetadataError, UnsupportedError
from .paths import join
from .profile_rules import Profile as Profile
from .profile_rules import Subject, broken_rules, lacks_chunks
from .spec import JSON, ArraySpec

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NUMBERS = frozenset([*_INTEGERS, "float32", "float64"])


_ALL_KINDS = "bfciumMSUTOV"  # of NumPy
_OBJECTS = ("vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2")
_CHECKSUMS = ("crc32", "adler32", "fletcher32")
_ZARR2_FILTERS = frozenset(
    ["delta", "shuffle", "astype", "quantize", "fixedscaleoffset", "bitround", "packbits", "categorize"]
).union(_OBJECTS, _CHECKSUMS)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "exzarr",
            "ExZarr",
            formats=(2, 3),
            numbers=_NUMBERS | {"bool", "complex64", "complex128"},
            conventions=_ALL_KINDS,
            finite=True,
            compressor="zlib",
            compressors={2: frozenset({"zlib", "zstd", "blosc"}), 3: frozenset({"gzip", "zstd", "blosc", "crc32c"})},
            filters=frozenset({"delta", "shuffle", "astype", "quantize"}),
            notes={
                2: "ExZarr never reads the attributes of Zarr v2: use zarr_format=3 where Elixir has to see them",
                3: "ExZarr knows groups by their .zgroup only, which is stored beside each zarr.json",
            },
        ),
        Profile(
            "portable",
            "zarr-python 2 and 3, tensorstore and ExZarr",
            formats=(2,),
            numbers=_NUMBERS,
            conventions=_ALL_KINDS,
            finite=True,
            compressor="zlib",
            compressors={2: frozenset({"zlib"})},
            filters=frozenset(),
            notes={2: "ExZarr never reads the attributes of Zarr v2; the other readers of this profile do"},
        ),
        Profile(
            "zarr-python-2",
            "zarr-python 2",
            formats=(2,),
            numbers=None,
            conventions="mM",
            finite=False,
            compressor="zlib",
            compressors={2: frozenset({"zlib", "blosc", "zstd", "lz4", "gzip", "bz2"})},
            filters=_ZARR2_FILTERS,
            notes={},
        ),
    )
}


OF_DATA = ("data-type", "rank")  # rules about what the data are, which cannot be left out


def find_profile(name: Any) -> Profile:
    """Return the row of ``name``; raise `MetadataError` that lists those that exist."""
    if isinstance(name, Profile):
        return name
    found = PROFILES.get(name) if isinstance(name, str) else None
    if found is None:
        raise MetadataError(f"profile={name!r:.80} is not known", hint=f"there are {', '.join(map(repr, PROFILES))}")
    return found


def choose_format(profile: Profile, zarr_format: int | None) -> int:
    """Return the format to write: that of the profile unless one is asked for; raise `UnsupportedError`."""
    if zarr_format is None:
        return profile.formats[0]
    if zarr_format not in profile.formats:
        raise UnsupportedError(
            f"the profile {profile.name!r} cannot be written in Zarr v{zarr_format}: {profile.readers} "
            f"would not read it",
            hint=f"leave zarr_format out, or use zarr_format={profile.formats[0]}",
        )
    return zarr_format


def refuse_broken(profile: Profile, spec: ArraySpec, hint: str = "") -> None:
    """Raise `UnsupportedError` where a new array would break a rule of ``profile``; all its chunks will be stored.

    ``hint``: the way out, by default for what the caller has asked for.
    """
    broken = broken_rules(profile, Subject(spec.document))
    if broken:
        first = broken[0]
        chosen = f"leave it out, and the profile chooses (compressor {profile.compressor}, format {profile.formats[0]})"
        raise UnsupportedError(
            f"the profile {profile.name!r} cannot hold {first.what}: {first.reason}",
            hint=hint or f"{first.fix if first.rule in OF_DATA else chosen}; or write without a profile",
        )


def extra_documents(profile: Profile | None, path: str, zarr_format: int) -> dict[str, JSON]:
    """Return the documents, by key, that a group at ``path`` needs beside its own: ExZarr looks for .zgroup only."""
    if profile is None or profile.name != "exzarr" or zarr_format != 3:
        return {}
    return {join(path, ".zgroup"): {"zarr_format": 2}}


def needs_every_chunk(profile: Profile, spec: ArraySpec) -> bool:
    """Return whether chunks of nothing but fill values must be stored too, for the readers to see what they hold."""
    return bool(lacks_chunks(profile, Subject(spec.document, 1)))


# --- choosing --------------------------------------------------------------------------------------------------------


def apply_profile(profile: Profile, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of `creation.build_spec` with what was left open chosen for the readers of ``profile``.

    Big-endian numbers become little-endian ones. What was asked for and does not conform is found by `refuse_broken`.
    """
    found = dict(keywords)
    dtype: DataType = found["dtype"]
    found["zarr_format"] = choose_format(profile, found.get("zarr_format"))
    if profile.numbers is not None and dtype.numpy.byteorder == ">":
        found["dtype"] = as_dtype(dtype.numpy.newbyteorder("<"))
    if _is_auto(found["compressors"]):
        found["compressors"] = default_compressors(profile, found["zarr_format"], dtype)
    if found["chunk_key_encoding"] is None:
        separator = "." if found["zarr_format"] == 2 else "/"
        found["chunk_key_encoding"] = ChunkKeyEncoding("v2" if found["zarr_format"] == 2 else "default", separator)
    return found


def default_compressors(profile: Profile, zarr_format: int, dtype: DataType) -> Sequence[Any]:
    """Return the compressors that every reader of ``profile`` has."""
    name = "gzip" if zarr_format == 3 and profile.compressor == "zlib" else profile.compressor
    return [spelled(name, zarr_format, dtype.itemsize or 1)]


def _is_auto(given: Any) -> bool:
    return isinstance(given, str) and given == "auto"
