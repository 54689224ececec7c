"""The rules by which readers refuse or misread arrays: one table, a row for each observation.

Imports doctor_questions and doctor_facts. Invariant: a row asks about documents and bytes, never for a single array; whether
it was observed or stated by documentation, and for which version, is told by its readers (doctor_readers.READERS).
"""
# ruff: noqa: E501 (a table: one rule, one line)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import doctor_questions as ask
from . import doctor_questions_v3 as ask3
from .doctor_facts import Facts

READS, MISREADS, REFUSES = "reads", "misreads", "refuses"

Z2, Z31, Z34, XARRAY, TS = "zarr-python-2", "zarr-python-3.1", "zarr-python-3.4", "xarray", "tensorstore"
EXZARR, ZARRS, GDAL = "exzarr", "zarrs", "gdal"
Z3 = (Z31, Z34)
PYTHON = (Z2, *Z3)
ALL = (Z2, Z31, Z34, XARRAY, TS, EXZARR, ZARRS, GDAL)
OTHERS = tuple(reader for reader in ALL if reader != EXZARR)
STRICT = (*Z3, TS)


class Rule(NamedTuple):
    """Why ``readers`` do not read what ``question`` answers to. ``reason`` is a sentence; the answer is put behind it."""

    readers: tuple[str, ...]
    verdict: str
    reason: str
    question: Callable[[Facts], str]


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# --- what readers know -----------------------------------------------------------------------------------------------

NUMCODECS: dict[str, frozenset[str] | None] = {
    "zlib": _set("level"), "gzip": _set("level"), "bz2": _set("level"), "zstd": _set("level checksum"),
    "lz4": _set("acceleration"), "lzma": _set("format check preset filters"), "crc32c": _set("location"),
    "blosc": _set("cname clevel shuffle blocksize typesize"), "crc32": _set("location"), "adler32": _set("location"),
    "fletcher32": _set(""), "jenkins_lookup3": _set("initval prefix"), "shuffle": _set("elementsize"),
    "delta": _set("dtype astype"), "quantize": _set("digits dtype astype"), "bitround": _set("keepbits"),
    "fixedscaleoffset": _set("offset scale dtype astype"), "astype": _set("encode_dtype decode_dtype"),
    "packbits": _set(""), "categorize": None, "vlen-utf8": _set(""), "vlen-bytes": _set(""), "vlen-array": _set("dtype"),
    "json2": None, "msgpack2": None, "pickle": _set("protocol"), "zfpy": None, "pcodec": None, "base64": _set(""),
}  # fmt: skip
Z3_CODECS = _set(
    "bytes gzip zstd blosc crc32c transpose sharding_indexed vlen-utf8 vlen-bytes "
    + " ".join(
        f"numcodecs.{name}"
        for name in [
            "bz2",
            "crc32",
            "crc32c",
            "adler32",
            "fletcher32",
            "jenkins_lookup3",
            "lz4",
            "lzma",
            "zlib",
            "zstd",
            "blosc",
            "gzip",
            "pcodec",
            "zfpy",
            "delta",
            "shuffle",
            "quantize",
            "bitround",
            "packbits",
            "fixedscaleoffset",
            "astype",
        ]
    )
)
Z3_SERIALIZERS = _set("bytes sharding_indexed vlen-utf8 vlen-bytes numcodecs.pcodec numcodecs.zfpy")
CODEC_OPTIONS = {
    "bytes": _set("endian"), "gzip": _set("level"), "zstd": _set("level checksum"), "crc32c": _set(""),
    "blosc": _set("cname clevel shuffle typesize blocksize"), "transpose": _set("order"),
    "sharding_indexed": _set("chunk_shape codecs index_codecs index_location"), "vlen-utf8": _set(""),
}  # fmt: skip
CORE_TYPES = _set("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128")
Z3_TYPES = CORE_TYPES | _set(
    "string bytes variable_length_bytes fixed_length_utf32 null_terminated_bytes raw_bytes numpy.datetime64 "
    "numpy.timedelta64 structured"
)
TS_TYPES = CORE_TYPES | _set(
    "int2 int4 bfloat16 float4_e2m1fn float8_e3m4 float8_e4m3 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz "
    "float8_e5m2 float8_e5m2fnuz raw_bytes " + " ".join(f"r{bits}" for bits in range(8, 1025, 8))
)
TS_V2_OPTIONS: dict[str, frozenset[str] | None] = {
    "zlib": _set("level"), "gzip": _set("level"), "bz2": _set("level"), "zstd": _set("level"),
    "blosc": _set("cname clevel shuffle blocksize"),
}  # fmt: skip
TS_NEEDS = {
    "gzip": _set("level"), "zstd": _set("level"), "blosc": _set("cname clevel shuffle typesize blocksize"),
    "sharding_indexed": _set("chunk_shape codecs index_codecs"),
}  # fmt: skip
NUMBERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]
V2_MEMBERS = ["shape", "chunks", "dtype", "compressor", "filters", "fill_value", "order"]
V3_NEEDED = ["shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"]


def _is_text(value: Any, f: Facts) -> bool:
    return isinstance(value, str)


def _any(value: Any, f: Facts) -> bool:
    return True


def _width(f: Facts) -> int:
    return 0 if f.numpy is None else f.numpy.itemsize


def _objects(value: Any, f: Facts) -> bool:
    """zarr-python 3 makes text of numbers, too."""
    text = not ask.object_codec(("vlen-utf8",))(f)
    return isinstance(value, str | bool | int | float) if text else ask.lenient_base64(value) is not None


def _whole(value: Any, f: Facts) -> bool:
    if isinstance(value, str):
        return value.lstrip("+-").isdigit()
    return isinstance(value, bool) or (ask.is_integer(value) and ask.in_range(value, f))


def _float_text(value: Any, f: Facts) -> bool:
    return isinstance(value, bool) or ask.is_number(value) or ask.is_number_text(value)


def _bits(value: Any, f: Facts) -> bool:
    """Whether a value is the bits of a float as tensorstore takes them: leading zeros may be left out."""
    name = str(f.dtype)
    digits = int("".join(c for c in name if c.isdigit()) or 0) // (4 if not f.v2 else 1) * (1 if not f.v2 else 2)
    if ask.fill_kind(f) == "c":
        digits //= 2
    text = value[2:] if isinstance(value, str) and value.startswith("0x") else ""
    return 0 < len(text) <= digits and all(c in "0123456789abcdefABCDEF" for c in text)


def _real(value: Any, f: Facts) -> bool:
    return ask.is_number(value) or value in ("NaN", "Infinity", "-Infinity")


def _pair(test: Callable[[Any, Facts], bool]) -> Callable[[Any, Facts], bool]:
    return lambda v, f: ask.is_pair(v) and all(test(part, f) for part in v)


def _time(value: Any, f: Facts) -> bool:
    return value == "NaT" or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _whole_records(value: Any, f: Facts) -> bool:
    nbytes = ask.lenient_base64(value)
    return bool(nbytes) and not (nbytes or 0) % (_width(f) or 1)


def _truth(value: Any, f: Facts) -> bool:
    return not isinstance(value, list) or len(value) == 1


def _base64(value: Any, f: Facts) -> bool:
    return ask.lenient_base64(value) is not None


def _hex(value: Any, f: Facts) -> bool:
    return isinstance(value, str) and value.startswith("0x") and not len(value) % 2


# zarr-python 3 takes whatever Python takes for true or false
Z3_V2_FILLS = {
    "i": _whole, "u": _whole, "f": _float_text, "b": _any, "S": _base64, "V": _base64, "U": _is_text,
    "c": lambda v, f: ask.is_pair(v), "record": lambda v, f: v == {} or _whole_records(v, f),
    "O": _objects, "M": _time, "m": _time,
}  # fmt: skip
Z3_V3_FILLS = {
    "i": _whole, "u": _whole, "b": _truth, "f": lambda v, f: _float_text(v, f) or _hex(v, f),
    "c": _pair(lambda v, f: _real(v, f) or _hex(v, f)), "string": lambda v, f: isinstance(v, str | int | float), "bytes": _is_text,
    "variable_length_bytes": _is_text, "numpy.datetime64": _time, "numpy.timedelta64": _time,
    "fixed_length_utf32": _is_text, "null_terminated_bytes": _base64, "raw_bytes": _base64,
}  # fmt: skip
TS_V2_FILLS = {
    "i": lambda v, f: ask.is_integer(v) and ask.in_range(v, f), "u": lambda v, f: ask.is_integer(v) and ask.in_range(v, f),
    "f": lambda v, f: _real(v, f) or _bits(v, f) or (ask.is_number_text(v) and v.strip("+-")[:1] in "0123456789."),
    "b": lambda v, f: isinstance(v, bool),
    "S": lambda v, f: ask.is_base64(v, _width(f)), "V": lambda v, f: ask.is_base64(v, _width(f)),
    "c": lambda v, f: ask.is_pair(v) or ask.is_base64(v, _width(f)), "record": lambda v, f: ask.is_base64(v, _width(f)),
}  # fmt: skip
TS_V3_FILLS = {
    "i": lambda v, f: ask.is_integer(v) and ask.in_range(v, f), "u": lambda v, f: ask.is_integer(v) and ask.in_range(v, f),
    "f": lambda v, f: _real(v, f) or _bits(v, f), "b": lambda v, f: isinstance(v, bool),
    "c": _pair(lambda v, f: _real(v, f) or _bits(v, f)),
}  # fmt: skip
Z2_FILLS = {
    "c": lambda v, f: ask.is_pair(v), "V": lambda v, f: isinstance(v, str), "record": lambda v, f: isinstance(v, str),
    "f": lambda v, f: not isinstance(v, str) or ask.is_number_text(v),
    "i": lambda v, f: not ask.is_integer(v) or ask.in_range(v, f),
    "u": lambda v, f: not ask.is_integer(v) or ask.in_range(v, f),
}  # fmt: skip


def _not_finite(f: Facts) -> str:
    finite = isinstance(f.fill, bool | int | float) and f.fill == f.fill and abs(f.fill) != float("inf")
    return f"fill_value {f.fill!r:.40} and {f.missing} chunk(s) missing" if not finite and f.missing > 0 else ""


def _big_v3(f: Facts) -> str:
    return ask3.codec_option_is("bytes", "endian", lambda value: value == "big")(f)


# --- the rules -------------------------------------------------------------------------------------------------------

RULES: tuple[Rule, ...] = (
    # documents
    Rule(ALL, REFUSES, "the array's own metadata document is missing or cannot be read", lambda f: "" if f.own else f.broken or "missing"),
    Rule(OTHERS, REFUSES, "the folder holds only an archive: they need the path of the archive itself", lambda f: "the archive" if f.archive else ""),
    Rule((TS, ZARRS, EXZARR, GDAL), REFUSES, "the document is not JSON as the standard has it", lambda f: "bare NaN or Infinity" if f.bare_numbers else ""),
    Rule((Z2,), REFUSES, "knows Zarr v2 only", lambda f: "" if f.v2 else "zarr.json"),
    Rule((TS,), REFUSES, "cannot read archives with data descriptors or a name twice", lambda f: ", ".join(sorted(f.zip_features))),
    Rule((Z2, TS, EXZARR), REFUSES, "demands every member of the v2 document", ask.v2(ask.lacks(*V2_MEMBERS))),
    Rule(Z3, REFUSES, "demands members of the v2 document", ask.v2(ask.lacks("shape", "chunks", "dtype", "fill_value", "order"))),
    Rule((*STRICT, ZARRS, GDAL, EXZARR), REFUSES, "demands members of the v3 document", ask.v3(ask.lacks(*V3_NEEDED, "node_type"))),
    Rule((*PYTHON, TS), REFUSES, "knows the orders C and F only", ask.v2(ask.member_is("order", lambda v: v not in ("C", "F")))),
    Rule(STRICT, REFUSES, "knows the separators . and / only", ask.v2(ask.member_is("dimension_separator", lambda v: v not in (".", "/")))),
    Rule(STRICT, REFUSES, "needs as many chunk lengths as dimensions", ask.ranks_differ),
    Rule((*PYTHON, TS, ZARRS), REFUSES, "does not know the chunk keys", ask.v3(ask3.unknown_keys)),
    Rule(STRICT, REFUSES, "refuses members that it does not know", ask.v3(ask3.extra_member)),
    Rule(STRICT, REFUSES, "knows no storage transformers", ask.v3(ask.member_is("storage_transformers", bool))),
    Rule(STRICT, REFUSES, "needs codecs, grid and key encoding as objects, not as strings", ask.v3(ask3.bare_name)),
    Rule(STRICT, REFUSES, "needs one name for each dimension", ask.v3(ask3.names_of_other_rank)),
    Rule((TS,), REFUSES, "needs dimension_names to be a list, or not there", ask.v3(ask.member_is("dimension_names", lambda v: v is None))),
    Rule((TS,), REFUSES, "needs attributes to be an object, or not there", ask.v3(ask.member_is("attributes", lambda v: v is None))),
    Rule((TS,), REFUSES, "needs different names of dimensions", ask.v3(ask3.duplicate_names)),
    Rule(ALL, REFUSES, "the metadata are wrong", ask.wrong_metadata),
    Rule((EXZARR, ZARRS, GDAL), REFUSES, "the metadata are wrong", ask.wrong_fill),
    Rule(Z3, REFUSES, "cannot read the attributes", ask.v2(ask.attributes_broken)),
    Rule((Z34,), REFUSES, "needs zarr_format as a whole number", ask.member_is_no("zarr_format", int)),
    Rule(STRICT, REFUSES, 'needs node_type "array"', ask.v3(ask.member_is("node_type", lambda v: v != "array"))),
    Rule((TS,), REFUSES, "needs storage_transformers to be a list, or not there", ask.v3(ask.member_is_no("storage_transformers", list))),
    Rule(STRICT, REFUSES, "refuses members that the key encoding does not have", ask.v3(ask3.extra_in("chunk_key_encoding", ("separator",)))),
    Rule((TS,), REFUSES, "refuses members beside the configuration", ask.v3(ask.any_of(ask3.extra_in_codec, ask3.extra_in("chunk_key_encoding", (), beside=True), ask3.extra_in("chunk_grid", (), beside=True)))),
    Rule((Z31, TS), REFUSES, "refuses members that the grid does not have", ask.v3(lambda f: "" if ask3.grid_is_not("regular")(f) else ask3.extra_in("chunk_grid", ("chunk_shape",))(f))),
    Rule((TS,), REFUSES, "knows at most 32 dimensions", lambda f: f"{f.rank} dimensions" if f.rank > 32 else ""),
    Rule((TS,), REFUSES, "needs chunk lengths from 1", ask.v2(ask.member_is("chunks", lambda v: isinstance(v, list) and 0 in v))),
    Rule(STRICT, REFUSES, "needs a byte order for numbers of several bytes", ask.v2(ask.order_of_one_byte)),
    Rule(STRICT, REFUSES, "needs filters as objects", ask.v2(ask.odd_filter)),
    # data types of v2
    Rule((*PYTHON, EXZARR, GDAL), REFUSES, "does not know the data type", ask.v2(ask.unknown_to_numpy)),
    Rule((Z31,), REFUSES, "refuses a byte order on elements of one byte", ask.v2(ask.dtype_is("<u1", ">u1", "<i1", ">i1", "<b1", ">b1"))),
    Rule(Z3, REFUSES, "needs data types with a byte order", ask.v2(lambda f: "" if isinstance(f.dtype, list) or f.kind else f"dtype {f.dtype!r:.60}")),
    Rule(Z3, REFUSES, "refuses a byte order on strings of bytes", ask.v2(ask.dtype_is("<S", ">S"))),
    Rule((Z2, Z31), REFUSES, "needs the unit of times", ask.v2(lambda f: f"dtype {f.dtype!r}" if f.dtype in ("<M8", ">M8") and f.fill is not None else "")),
    Rule(Z3, REFUSES, "does not know the data type", ask.v2(ask.dtype_is("<f16", "<c32", ">f16", ">c32"))),
    Rule(Z3, REFUSES, "knows objects as vlen-utf8 and vlen-bytes only", ask.v2(ask.object_codec(("vlen-utf8", "vlen-bytes")))),
    Rule((Z2,), REFUSES, "needs a filter that encodes objects", ask.v2(ask.object_codec(NUMCODECS))),
    Rule(Z3, REFUSES, "knows no fields that are arrays", ask.v2(ask.subarray_field)),
    Rule((Z31, TS), REFUSES, "knows no records within records", ask.v2(ask.nested_record)),
    Rule((TS,), REFUSES, "does not know the data type", ask.v2(lambda f: ask.kind_is("OUMm")(f) or ask.dtype_is("<f16", ">f16", "<c32", ">c32")(f))),
    Rule((TS,), REFUSES, "does not know the data type", ask.v2(lambda f: "" if isinstance(f.dtype, list) or (f.kind and f.numpy is not None) or f.dtype in TS_TYPES - CORE_TYPES else f"dtype {f.dtype!r:.60}")),
    Rule((TS,), REFUSES, "reads one field of a record at a time, and must be told which", ask.v2(ask.several_fields)),
    Rule((TS,), MISREADS, "returns bytes of fixed length with one dimension more", ask.v2(ask.kind_is("SV"))),
    # codecs of v2
    Rule(PYTHON, REFUSES, "does not know the codec", ask.v2(ask.unknown_id(NUMCODECS))),
    Rule(PYTHON, REFUSES, "numcodecs refuses members that the codec does not have", ask.v2(ask.unknown_option(NUMCODECS))),
    Rule((Z2,), REFUSES, "numcodecs 0.15 refuses typesize of blosc", ask.v2(ask.option_is("blosc", "typesize", lambda v: True))),
    Rule((TS,), REFUSES, "knows no filters in v2", ask.v2(ask.has_filters)),
    Rule((TS,), REFUSES, "does not know the codec", ask.v2(ask.unknown_id(TS_V2_OPTIONS))),
    Rule((TS,), REFUSES, "refuses members that the codec does not have", ask.v2(ask.unknown_option(TS_V2_OPTIONS))),
    Rule((TS,), REFUSES, "takes levels from 0 to 9 only", ask.v2(ask.option_is("zlib", "level", lambda v: v not in range(10)))),
    Rule((TS,), REFUSES, "takes levels within bounds only", ask.v2(ask.any_of(ask.level_outside("gzip", "level", 0, 9), ask.level_outside("bz2", "level", 1, 9), ask.level_outside("zstd", "level", -131072, 22), ask.level_outside("blosc", "clevel", 0, 9)))),
    Rule((TS,), REFUSES, "needs numbers and a name in blosc", ask.v2(ask.any_of(ask.option_is("blosc", "shuffle", lambda v: v not in (-1, 0, 1, 2)), ask.option_is("blosc", "blocksize", lambda v: not isinstance(v, int)), ask.option_is("blosc", "cname", lambda v: not isinstance(v, str))))),
    # fill values
    Rule((Z2,), REFUSES, "cannot decode the fill value", ask.v2(ask.fill_is_wrong(Z2_FILLS))),
    Rule(Z3, REFUSES, "refuses the way the fill value is written", ask.v2(ask.fill_is_wrong(Z3_V2_FILLS))),
    Rule((TS,), REFUSES, "refuses the way the fill value is written", ask.v2(ask.fill_is_wrong(TS_V2_FILLS))),
    Rule(Z3, REFUSES, "refuses the way the fill value is written", ask.v3(ask.fill_is_wrong(Z3_V3_FILLS, null=False))),
    Rule((TS,), REFUSES, "refuses the way the fill value is written", ask.v3(ask.fill_is_wrong(TS_V3_FILLS, null=False))),
    Rule((Z2,), MISREADS, "leaves memory as it is where a chunk is missing and the fill value is null", ask.v2(ask.null_and_missing)),
    # data types of v3
    Rule((Z31,), REFUSES, "does not know the data type", ask.v3(ask3.data_type_outside(Z3_TYPES))),
    Rule((Z34,), REFUSES, "does not know the data type", ask.v3(ask3.data_type_outside(Z3_TYPES | {"struct"}))),
    Rule(STRICT, REFUSES, "needs core data types as strings", ask.v3(ask3.plain_type_as_object)),
    Rule((TS,), REFUSES, "needs base64 as the fill value of raw bits", ask.v3(ask3.raw_fill)),
    Rule((TS,), REFUSES, "does not know the data type", ask.v3(ask3.data_type_outside(TS_TYPES))),
    Rule((TS,), MISREADS, "returns raw bytes with one dimension more", ask.v3(lambda f: ask3.data_type_outside(CORE_TYPES)(f) if "raw" in ask.fill_kind(f) or ask.fill_kind(f)[:1] == "r" else "")),
    # codecs of v3
    Rule(STRICT, REFUSES, "needs an array->bytes codec", ask.v3(ask3.no_serializer(Z3_SERIALIZERS))),
    Rule((Z31,), REFUSES, "does not know the codec", ask.v3(ask3.codec_outside(Z3_CODECS))),
    Rule((Z34,), REFUSES, "does not know the codec", ask.v3(ask3.codec_outside(Z3_CODECS | {"scale_offset", "cast_value"}))),
    Rule((Z34,), REFUSES, "needs the package cast-value-rs", ask.v3(ask3.codec_is("cast_value"))),
    Rule((TS,), REFUSES, "does not know the codec", ask.v3(ask3.codec_outside(set(CODEC_OPTIONS) - {"vlen-utf8"}))),
    Rule(Z3, REFUSES, "refuses members that the codec does not have", ask.v3(ask3.codec_option_outside({name: known for name, known in CODEC_OPTIONS.items() if name != "crc32c"}))),
    Rule((TS,), REFUSES, "refuses members that the codec does not have", ask.v3(ask3.codec_option_outside(CODEC_OPTIONS))),
    Rule(Z3, REFUSES, "numcodecs refuses members that the codec does not have", ask.v3(ask3.codec_option_outside({f"numcodecs.{name}": known for name, known in NUMCODECS.items() if known is not None}))),
    Rule(STRICT, REFUSES, "needs codecs of arrays, the array->bytes codec and codecs of bytes in this order", ask.v3(ask3.bytes_first)),
    Rule(STRICT, REFUSES, "takes levels within bounds only", ask.v3(ask.any_of(ask3.codec_option_is("gzip", "level", lambda v: v not in range(10)), ask3.codec_option_is("zstd", "level", lambda v: not isinstance(v, int) or v > 22)))),
    Rule((TS,), REFUSES, "takes levels from 0 to 9 only", ask.v3(ask3.codec_option_is("blosc", "clevel", lambda v: v not in range(10)))),
    Rule(STRICT, REFUSES, "needs sizes as numbers in blosc", ask.v3(ask.any_of(ask3.codec_option_is("blosc", "typesize", lambda v: v == 0), ask3.codec_option_is("blosc", "blocksize", lambda v: not isinstance(v, int))))),
    Rule(STRICT, REFUSES, "needs the codec's configuration", ask.v3(ask3.no_configuration("gzip", "zstd", "blosc", "transpose", "sharding_indexed"))),
    Rule(STRICT, REFUSES, "needs the name of blosc's shuffle", ask.v3(ask3.codec_option_is("blosc", "shuffle", lambda v: not isinstance(v, str)))),
    Rule((TS,), REFUSES, "needs members of the codec", ask.v3(ask3.codec_option_missing(TS_NEEDS))),
    Rule((TS,), REFUSES, "needs a number for blosc's typesize", ask.v3(ask3.codec_option_is("blosc", "typesize", lambda v: not isinstance(v, int)))),
    Rule((Z34, TS), REFUSES, "needs the byte order of elements of several bytes", ask.v3(ask3.no_endian)),
    Rule((Z31,), REFUSES, "refuses null for the byte order", ask.v3(ask3.codec_option_is("bytes", "endian", lambda v: v is None))),
    Rule(Z3, REFUSES, "needs the permutation of transpose as a list", ask.v3(ask3.codec_option_is("transpose", "order", lambda v: not isinstance(v, list)))),
    Rule(Z3, REFUSES, "compares inner chunks with shards that are not transposed", ask.v3(ask3.transposed_shards)),
    Rule((TS,), REFUSES, "allows no codec behind sharding_indexed", ask.v3(ask3.behind_sharding)),
    # grids and keys of v3
    Rule((Z31, TS, GDAL), REFUSES, "knows regular chunk grids only", ask.v3(ask3.grid_is_not("regular"))),
    Rule((Z34,), REFUSES, "knows regular chunk grids, and rectilinear ones only where they are enabled", ask.v3(ask3.grid_is_not("regular"))),
    Rule((ZARRS,), REFUSES, "does not know the chunk grid", ask.v3(ask3.grid_is_not("regular", "rectilinear", "rectangular"))),
    # bytes
    Rule(OTHERS, REFUSES, "the shards are in the format of ExZarr", ask.any_of(ask3.shards_of_exzarr)),
    Rule(OTHERS, REFUSES, "the chunks were written by another codec than the metadata name", ask3.mislabelled),
    Rule(OTHERS, REFUSES, "the size in front of the chunks is that of ExZarr", ask3.long_size),
    Rule(ALL, REFUSES, "a chunk does not decode as the metadata say", ask3.undecodable),
    Rule(OTHERS, REFUSES, "a chunk does not decode as the metadata say", ask3.damaged_without_quirks),
    Rule(OTHERS, MISREADS, "takes the metadata at their word, but the writer means something else", ask3.not_meant),
    # xarray
    Rule((XARRAY,), REFUSES, "needs the names of the dimensions", ask3.no_names),
    Rule((XARRAY,), REFUSES, "opens groups, not an array at the root of a store", lambda f: "" if f.path else "the root"),
    Rule((XARRAY,), REFUSES, "needs one size for each dimension of a group", lambda f: f.conflict),
    # ExZarr
    Rule((EXZARR,), REFUSES, "knows integers, float32, float64, bool and complex only", ask.v2(lambda f: "" if f.quirks else ask.dtype_outside((*NUMBERS, "b1", "c8", "c16"))(f) or ask.is_record(f))),
    Rule((EXZARR,), REFUSES, "knows integers, float32, float64, bool and complex only", ask.v3(lambda f: "" if f.quirks else ask3.data_type_outside(CORE_TYPES - {"float16"})(f))),
    Rule((EXZARR,), REFUSES, "needs at least one dimension", ask.v2(lambda f: "" if f.rank else "rank 0")),
    Rule((EXZARR,), REFUSES, "knows zlib, zstd and blosc, and the filters delta, shuffle, astype and quantize", ask.v2(lambda f: "" if f.quirks else ask.unknown_id(_set("zlib zstd blosc delta shuffle astype quantize fixedscaleoffset bitround packbits categorize"))(f))),
    Rule((EXZARR,), MISREADS, "ignores the separator", ask.v2(ask3.key_encoding_is_not(("v2", ".")))),
    Rule((EXZARR,), MISREADS, "looks for default keys with / only", ask.v3(ask3.key_encoding_is_not(("default", "/")))),
    Rule((EXZARR,), MISREADS, "ignores the byte order", ask.v2(lambda f: "" if f.quirks else ask.dtype_is(">")(f))),
    Rule((EXZARR,), MISREADS, "ignores the byte order", ask.v3(lambda f: "" if f.quirks else _big_v3(f))),
    Rule((EXZARR,), MISREADS, "ignores the order", ask.v2(lambda f: "" if f.quirks or f.rank < 2 else ask.member_is("order", lambda v: v == "F")(f))),
    Rule((EXZARR,), MISREADS, "has the filter in another form, or ignores it", ask.v2(lambda f: "" if f.quirks else next((f"{p}: {n!r}" for p, n, _ in f.v2_codecs if n in ("fixedscaleoffset", "bitround", "packbits", "categorize")), ""))),
    Rule((EXZARR,), REFUSES, "knows regular grids, and irregular ones of its own only", ask.v3(ask3.grid_is_not("regular", "irregular"))),
    Rule((EXZARR,), REFUSES, "knows bytes, gzip, zstd, blosc and crc32c only", ask.v3(lambda f: "" if f.quirks else ask3.codec_outside(_set("bytes gzip zstd blosc crc32c"))(f))),
    Rule((EXZARR,), REFUSES, "needs codecs as objects", ask.v3(ask3.bare_name)),
    Rule((EXZARR,), MISREADS, "needs every chunk where the fill value is no finite number", lambda f: "" if f.quirks else _not_finite(f)),
    # zarrs
    Rule((ZARRS,), REFUSES, "knows no records and no objects but strings and bytes", ask.v2(ask.any_of(ask.is_record, ask.object_codec(("vlen-utf8", "vlen-bytes"))))),
    Rule((ZARRS,), REFUSES, "does not list the codec", ask.v2(ask.unknown_id(_set("zlib gzip bz2 zstd blosc bitround fixedscaleoffset fletcher32 adler32 crc32c shuffle zfpy pcodec vlen-utf8 vlen-bytes vlen-array")))),
    Rule((ZARRS,), REFUSES, "does not list the codec", ask.v3(ask3.codec_outside(Z3_CODECS - _set("numcodecs.lz4 numcodecs.lzma numcodecs.delta numcodecs.quantize numcodecs.astype numcodecs.packbits numcodecs.jenkins_lookup3 numcodecs.crc32") | _set("zfp packbits bitround reshape")))),
    Rule((ZARRS,), REFUSES, "needs an array->bytes codec", ask.v3(ask3.no_serializer(Z3_SERIALIZERS | _set("zfp packbits pcodec")))),
    # GDAL
    Rule((GDAL,), REFUSES, "knows no times as a data type", ask.v2(ask.kind_is("Mm"))),
    Rule((GDAL,), REFUSES, "knows objects as vlen-utf8 only", ask.v2(ask.object_codec(("vlen-utf8",)))),
    Rule((GDAL,), REFUSES, "does not list the codec", ask.v2(ask.unknown_id(_set("blosc zlib gzip lzma zstd lz4 delta fixedscaleoffset quantize shuffle vlen-utf8")))),
    Rule((GDAL,), REFUSES, "lists core data types and strings only", ask.v3(ask3.data_type_outside(CORE_TYPES | _set("string fixed_length_utf32 null_terminated_bytes")))),
    Rule((GDAL,), REFUSES, "does not list the codec", ask.v3(ask3.codec_outside(_set("bytes transpose gzip blosc zstd crc32c sharding_indexed")))),
)  # fmt: skip
