"""What a peer does not read or write of the matrix, each with the reason; everything else is tested.

A row names what it excludes; what it leaves open (None) it excludes throughout. ``before``: the version of the peer
that is expected to have it; the row counts for older ones only. ``without``: the module that the peer needs for it; the
row counts where that is not installed. A test tries every row, so that one that has become
untrue fails and is taken out.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from tests.interop.matrix import Combination
from xzarr_backend.dtypes import ROWS


class Gap(NamedTuple):
    """Combinations that a peer lacks; ``fatal``: trying them ends the process."""

    peer: str
    reason: str
    way: str | None = None  # "read" or "write"
    zarr_format: int | None = None
    rows: Collection[str] | None = None  # of data types
    codecs: Collection[str] | None = None
    layouts: Collection[str] | None = None
    before: tuple[int, ...] | None = None
    without: str | None = None
    fatal: bool = False

    def excludes(self, one: Combination, peer: str, way: str) -> bool:
        """Return whether the peer cannot ``way`` this combination for this reason."""
        return (
            self.peer == peer
            and self.way in (None, way)
            and self.zarr_format in (None, one.way.zarr_format)
            and (self.rows is None or one.kind.row in self.rows or one.kind.name in self.rows)
            and (self.codecs is None or one.way.name in self.codecs)
            and (self.layouts is None or one.layout in self.layouts)
        )


ML_DTYPES = frozenset(name for name, row in ROWS.items() if row.from_ml_dtypes)
SHARDS = ("v3 shards", "v3 shards F")
TRANSPOSED_V3 = ("v3 F",)
TRANSPOSED_V2 = ("v2 F", "v2 F /")
NUMCODECS_IN_ORDER = (
    "vlen-utf8",
    "vlen-bytes",
    "numcodecs.delta",
    "numcodecs.fixedscaleoffset",
    "numcodecs.packbits",
    "numcodecs.pcodec",
)
_FILTERS_OF_V2 = "astype bitround categorize delta fixedscaleoffset json2 msgpack2 packbits quantize shuffle"
_OTHERS_OF_V2 = "adler32 base64 crc32 crc32c fletcher32 jenkins_lookup3 lz4 lzma pcodec snappy zfpy"
_EXTENSIONS = ("bitround", "packbits", "reshape", "cast_value", "scale_offset", "conditional", "zfp")
_NUMCODECS = (
    "adler32 astype base64 bitround bz2 categorize crc32 delta fixedscaleoffset fletcher32 jenkins_lookup3 lz4 lzma "
    "packbits pcodec quantize shuffle snappy zfpy zlib"
)

GAPS: tuple[Gap, ...] = (
    # zarr-python 3
    Gap("zarr", "data types of ml_dtypes are not known", rows=ML_DTYPES),
    Gap("zarr", "the data type r* of the core specification is not known", "read", 3, rows=("r*",)),
    Gap("zarr", "3.1 knows the old name 'structured' only", "read", 3, rows=("struct",), before=(3, 2)),
    Gap(
        "zarr",
        "shards hash the fill value, which NumPy's void scalars refuse",
        zarr_format=3,
        rows=("raw_bytes", "r*", "struct"),
        layouts=SHARDS,
        before=(3, 2),
    ),
    Gap(
        "zarr",
        "codecs of zarr-extensions that are not known",
        zarr_format=3,
        codecs=("bitround", "packbits", "reshape", "conditional", "zfp"),
    ),
    Gap("zarr", "new in 3.2", zarr_format=3, codecs=("scale_offset",), before=(3, 2)),
    Gap("zarr", "new in 3.2, with cast-value-rs", zarr_format=3, codecs=("cast_value",), without="cast_value_rs"),
    Gap(
        "zarr",
        "numcodecs registers none for v3",
        zarr_format=3,
        codecs=("numcodecs.base64", "numcodecs.categorize", "numcodecs.snappy"),
    ),
    Gap("zarr", "numcodecs has no snappy", zarr_format=2, codecs=("snappy",)),
    Gap("zarr", "objects are strings or bytes only", zarr_format=2, rows=("object",), codecs=("json2", "msgpack2")),
    Gap(
        "zarr",
        "bytes is bound to the data type before astype, which has no byte order",
        "read",
        3,
        rows=("int8", "uint8"),
        codecs=("numcodecs.astype",),
        before=(3, 4),
    ),
    Gap(
        "zarr",
        "numcodecs takes elements in the order of memory, so that a transposed chunk is stored wrongly",
        "write",
        3,
        codecs=NUMCODECS_IN_ORDER,
        layouts=TRANSPOSED_V3,
        before=(3, 4),
    ),
    Gap(
        "zarr",
        "strings and bytes are taken in the order of memory, so that a transposed chunk is stored wrongly",
        "write",
        3,
        rows=("string", "bytes"),
        layouts=TRANSPOSED_V3,
        before=(3, 4),
    ),
    Gap(
        "zarr",
        "zfp refuses transposed chunks",
        "write",
        3,
        codecs=("numcodecs.zfpy",),
        layouts=TRANSPOSED_V3,
        before=(3, 4),
    ),
    Gap("zarr", "zfp refuses order F", "write", 2, codecs=("zfpy",), layouts=TRANSPOSED_V2),
    Gap(
        "zarr",
        "bitround knows no big-endian values",
        "write",
        2,
        rows=("float16-big", "float32-big", "float64-big"),
        codecs=("bitround",),
    ),
    Gap("zarr", "bitround gives C order, whatever it got", "write", 2, codecs=("bitround",), layouts=TRANSPOSED_V2),
    Gap(
        "zarr",
        "compressors cannot take records with times",
        "write",
        2,
        rows=("struct-2",),
        codecs=("blosc", "default", "lz4", "zstd"),
    ),
    Gap("zarr", "gzip cannot take records with times", "write", 2, rows=("struct-2",), codecs=("gzip",), before=(3, 4)),
    # tensorstore
    Gap(
        "tensorstore",
        "data types that are not known",
        rows=("float6_e2m3fn", "float6_e3m2fn", "float8_e4m3", "uint2", "uint4", "bytes", "string", "object"),
    ),
    Gap(
        "tensorstore",
        "text and times are not known",
        rows=("fixed_length_utf32", "numpy.datetime64", "numpy.timedelta64"),
    ),
    Gap("tensorstore", "bytes of fixed length are known in v2 only", zarr_format=3, rows=("null_terminated_bytes",)),
    Gap("tensorstore", "records with text, bytes or times are not known", rows=("struct", "struct-2")),
    Gap("tensorstore", "its fill value is expected in base64", zarr_format=2, rows=("float4_e2m1fn",)),
    Gap("tensorstore", "a fill value of 1.0 is read as 2**-64", rows=("float8_e8m0fnu",)),
    Gap("tensorstore", "the fill value is expected in base64, not in a list as specified", "read", 3, rows=("r*",)),
    Gap(
        "tensorstore",
        "dimension names end the process",
        "write",
        3,
        rows=("r*", "raw_bytes"),
        fatal=True,
    ),
    Gap("tensorstore", "v2 filters are not supported", zarr_format=2, codecs=_FILTERS_OF_V2.split()),
    Gap("tensorstore", "compressors that are not known", zarr_format=2, codecs=_OTHERS_OF_V2.split()),
    Gap("tensorstore", "codecs that are not known", zarr_format=3, codecs=_EXTENSIONS),
    Gap(
        "tensorstore",
        "numcodecs is not known",
        zarr_format=3,
        codecs=tuple(f"numcodecs.{name}" for name in _NUMCODECS.split()),
    ),
    # zarr-python 2.18
    Gap("zarr2", "data types of ml_dtypes are not known", rows=ML_DTYPES),
    Gap("zarr2", "a fill value of bytes is not taken out of base64", rows=("bytes",)),
    Gap("zarr2", "numcodecs has no snappy", codecs=("snappy",)),
    Gap(
        "zarr2",
        "bitround knows no big-endian values",
        "write",
        codecs=("bitround",),
        rows=("float16-big", "float32-big", "float64-big"),
    ),
    Gap("zarr2", "bitround gives C order, whatever it got", "write", codecs=("bitround",), layouts=TRANSPOSED_V2),
    Gap("zarr2", "zfp refuses order F", "write", codecs=("zfpy",), layouts=TRANSPOSED_V2),
    Gap("zarr2", "gzip cannot take records with times", "write", rows=("struct-2",), codecs=("gzip",)),
    Gap(
        "zarr2",
        "objects are written in C order whatever the order; it reads its own wrongly too",
        "write",
        codecs=("json2", "msgpack2"),
        layouts=TRANSPOSED_V2,
    ),
)


def counts(gap: Gap) -> bool:
    """Return whether a row holds for the peer as it is installed."""
    if gap.without is not None and find_spec(gap.without) is not None:
        return False
    return gap.before is None or tuple(int(part) for part in version(gap.peer).split(".")[:2]) < gap.before


def gap_of(one: Combination, peer: str, way: str) -> Gap | None:
    """Return why the peer cannot read ("read") or write ("write") a combination; None where it can."""
    return next((gap for gap in GAPS if gap.excludes(one, peer, way) and counts(gap)), None)
