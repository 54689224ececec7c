"""The table of codecs: which name is of which kind, and where its factory is.

Imports base. Invariant: reading this table loads no codec library and no module of a codec; `registry.lookup` does that
for the one row it is asked for. One line per name: aliases are lines too.
"""

from __future__ import annotations

from typing import NamedTuple

from .base import ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, EITHER


class Row(NamedTuple):
    """``target`` is "module:attribute" within this package; ``package`` (as pip calls it) must be installed."""

    kind: str
    target: str
    package: str | None = None


# Rows named by the specifications: Zarr v3 core, zarr-extensions, and old names of theirs.
_SPECIFIED = {
    "bytes": Row(ARRAY_BYTES, ".bytes_:bytes_codec"),
    "endian": Row(ARRAY_BYTES, ".bytes_:bytes_codec"),
    "sharding_indexed": Row(ARRAY_BYTES, ".sharding:sharding_indexed"),
    "n5_default": Row(ARRAY_BYTES, ".n5:n5_default"),
    "packbits": Row(ARRAY_BYTES, ".packbits:packbits"),
    "zfp": Row(ARRAY_BYTES, ".floating:zfp", "zfpy"),
    "transpose": Row(ARRAY_ARRAY, ".arrays:transpose"),
    "reshape": Row(ARRAY_ARRAY, ".arrays:reshape"),
    "cast_value": Row(ARRAY_ARRAY, ".cast_value:cast_value"),
    "scale_offset": Row(ARRAY_ARRAY, ".scale_offset:scale_offset"),
    "bitround": Row(ARRAY_ARRAY, ".bitround:bitround"),
    "conditional": Row(BYTES_BYTES, ".conditional:conditional"),
}

# Names that numcodecs gives to v2 (as an id) and to v3 (with the prefix); without it they are in use in v3 as well.
_SHARED = {
    "vlen-utf8": Row(ARRAY_BYTES, ".vlen:vlen_utf8"),
    "vlen-bytes": Row(ARRAY_BYTES, ".vlen:vlen_bytes"),
    "pcodec": Row(ARRAY_BYTES, ".floating:pcodec", "pcodec"),
    "zfpy": Row(ARRAY_BYTES, ".floating:zfpy", "zfpy"),
    "gzip": Row(BYTES_BYTES, ".deflate_:gzip_codec"),
    "zlib": Row(BYTES_BYTES, ".deflate_:zlib_codec"),
    "zstd": Row(BYTES_BYTES, ".zstd:zstd"),
    "blosc": Row(BYTES_BYTES, ".blosc:blosc"),
    "lz4": Row(BYTES_BYTES, ".compressors:lz4"),
    "bz2": Row(BYTES_BYTES, ".compressors:bz2_codec"),
    "bzip2": Row(BYTES_BYTES, ".compressors:bz2_codec"),
    "lzma": Row(BYTES_BYTES, ".compressors:lzma_codec"),
    "snappy": Row(BYTES_BYTES, ".snappy:snappy"),
    "base64": Row(BYTES_BYTES, ".compressors:base64_codec"),
    "crc32c": Row(BYTES_BYTES, ".checksums:crc32c", "google-crc32c"),
    "crc32": Row(BYTES_BYTES, ".checksums:crc32"),
    "adler32": Row(BYTES_BYTES, ".checksums:adler32"),
    "fletcher32": Row(BYTES_BYTES, ".checksums:fletcher32"),
    "jenkins_lookup3": Row(BYTES_BYTES, ".checksums:jenkins_lookup3"),
    "shuffle": Row(EITHER, ".filters:shuffle"),
    "quantize": Row(EITHER, ".filters:quantize"),
    "astype": Row(EITHER, ".filters:astype"),
}

# Names that need the prefix: without it they mean something else, or nobody can know what.
_NUMCODECS = {
    "vlen-array": Row(ARRAY_BYTES, ".vlen:vlen_array"),
    "json2": Row(ARRAY_BYTES, ".objects:json2"),
    "msgpack2": Row(ARRAY_BYTES, ".objects:msgpack2", "msgpack"),
    "pickle": Row(ARRAY_BYTES, ".objects:pickle_codec"),
    "delta": Row(EITHER, ".filters:delta"),
    "fixedscaleoffset": Row(EITHER, ".filters:fixedscaleoffset"),
    "bitround": Row(EITHER, ".bitround:numcodecs_bitround"),
    "packbits": Row(EITHER, ".filters:packbits"),
    "categorize": Row(EITHER, ".filters:categorize"),
}

# Ways of ExZarr's own, which only compat.py puts into a chain.
_EXZARR = {
    "exzarr.shards": Row(ARRAY_BYTES, ".exzarr:exzarr_shards"),
    "numcodecs.exzarr.scale": Row(BYTES_BYTES, ".exzarr:exzarr_scale"),
}

CODECS: dict[str, Row] = {
    **_SPECIFIED,
    **_EXZARR,
    **_SHARED,
    **{f"numcodecs.{name}": row for name, row in {**_SHARED, **_NUMCODECS}.items()},
    "vlen_utf8": _SHARED["vlen-utf8"],
    "vlen_bytes": _SHARED["vlen-bytes"],
}

UNSAFE = frozenset({"pickle"})  # codecs that execute code taken from the data

# How names of codecs that are not here begin, and the package that has them.
FOREIGN = {"imagecodecs_": "imagecodecs"}

HINTS = {
    "delta": "written by ExZarr, 'delta' holds the raw data or real differences, depending on how the array was made: "
    "open with quirks='exzarr' for raw data; 'numcodecs.delta' is the name of the codec that stores differences",
}

# The module of a package, where it has another name.
MODULES = {"google-crc32c": "google_crc32c"}
