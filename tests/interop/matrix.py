"""The matrix: every data type, codec and layout of our own tables, as arrays to be written and read back.

A combination is generated from the rows of ``ROWS`` and ``CODECS``, so that a new row is tested without a word here;
what a codec needs to be told, and which values it takes, is in the tables below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from xzarr_backend.codec_objects import spelled
from xzarr_backend.codecs import ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, CODECS, codec_available
from xzarr_backend.dtypes import ROWS, as_dtype

SHAPE, CHUNKS = (3, 5), (2, 3)
NAMES = ("y", "größe")
ATTRIBUTES = {"units": "m s-1", "größe": [1, 2.5, None, {"nested": True}], "empty": ""}
LAYOUTS: dict[int, dict[str, dict[str, Any]]] = {
    2: {
        "v2": {},
        "v2 /": {"chunk_key_encoding": "/"},
        "v2 F": {"order": "F"},
        "v2 F /": {"order": "F", "chunk_key_encoding": "/"},
    },
    3: {
        "v3": {},
        "v3 .": {"chunk_key_encoding": "."},
        "v3 F": {"order": "F"},
        "v3 v2 keys .": {"chunk_key_encoding": "v2"},
        "v3 v2 keys /": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        "v3 shards": {"chunks": (1, 3), "shards": (2, 6)},
        "v3 shards F": {"chunks": (1, 3), "shards": (2, 6), "order": "F"},
    },
}


@dataclass(frozen=True, eq=False)  # one object for each, so that it can be a key of caches
class Kind:
    """A data type of the matrix: the row it belongs to, and what `create_array` is given."""

    name: str
    row: str
    dtype: Any
    formats: tuple[int, ...] = (2, 3)

    @cached_property
    def numpy(self) -> Any:
        """The NumPy data type of its values."""
        return as_dtype(self.dtype).numpy


class Way(NamedTuple):
    """A codec of the matrix, under its name in documents; ``keywords`` are those of `create_array`."""

    name: str
    zarr_format: int
    keywords: dict[str, Any]


class Combination(NamedTuple):
    """One array: a data type, a codec (None: no codec but what is needed) and a layout."""

    kind: Kind
    way: Way
    layout: str

    @property
    def path(self) -> str:
        """Where it is stored below the folder of all."""
        return f"{self.kind.name}/{self.way.name}/{self.layout}".replace("/", "_").replace(" ", "-")

    def __str__(self) -> str:
        return f"{self.kind.name} x {self.way.name} x {self.layout}"


# --- data types ----------------------------------------------------------------------------------------------------

RECORD = [("i", "<i4"), ("x", "<f8"), ("s", "S3"), ("u", "<U2"), ("b", "?")]
GIVEN: dict[str, list[Any]] = {  # of rows whose name does not say all, or which have several spellings
    "numpy.datetime64": ["<M8[ns]", "<M8[D]", "<M8[25us]"],
    "numpy.timedelta64": ["<m8[ns]", "<m8[h]"],
    "fixed_length_utf32": ["<U4"],
    "null_terminated_bytes": ["S5", "S1"],
    "raw_bytes": ["V6"],
    "r*": ["r24"],
    "struct": [RECORD, [("i", "<i2"), ("x", "<f4")], [("i", "<i2"), ("t", "<M8[s]")]],
}
ONLY = {"r*": (3,), "object": (2,)}


def kinds() -> Iterator[Kind]:
    """Yield the data types: every row, and both byte orders where it has them."""
    for row in ROWS:
        for number, dtype in enumerate(GIVEN.get(row, [row])):
            name = row.replace("*", "24") + (f"-{number}" if number else "")
            kind = Kind(name, row, np.dtype(dtype) if isinstance(dtype, list) else dtype, ONLY.get(row, (2, 3)))
            yield kind
            if kind.row not in ("object", "struct", "string", "bytes") and not ROWS[row].from_ml_dtypes:
                big = kind.numpy.newbyteorder(">")
                if big != kind.numpy:
                    yield Kind(f"{name}-big", row, big)


KINDS = tuple(kinds())


def edge_values(kind: Kind) -> Any:
    """Return 15 values that are easily damaged: extremes, NaN payloads, signed zeros, NaT, NUL, text beyond the BMP."""
    dtype = kind.numpy.newbyteorder("=") if kind.numpy.kind not in "TO" else kind.numpy
    if kind.row == "string":
        return np.array((["", "a", "größer", "日本", "𝄞🎉", "a\0b", " ", "\n", "x" * 300] * 2)[:15], dtype)
    if kind.row == "bytes":
        return _objects(([b"", b"a", b"\0", b"\0a\0", bytes(range(256))] * 3)[:15])
    if kind.row == "object":
        return _objects((["", "a", "größer", "日本", "𝄞🎉"] * 3)[:15])
    if ROWS[kind.row].from_ml_dtypes:
        count = 2 ** min(16, 6 if "6" in kind.row else 4 if "4_" in kind.row else 8 * dtype.itemsize)
        if "int" in kind.row:
            return np.arange(15).astype("i1").view("u1").astype("i1").__mod__(2).astype(dtype)
        bits = np.linspace(0, count - 1, 15).astype(f"u{dtype.itemsize}")
        return bits.view(dtype)
    if dtype.kind == "b":
        return np.arange(15) % 2 == 1
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array(([info.min, info.max, 0, 1, info.max - 1, info.max // 2, info.min + 1] * 3)[:15], dtype)
    if dtype.kind == "f":
        return np.resize(_floats(dtype), 15)
    if dtype.kind == "c":
        part = np.dtype(f"f{dtype.itemsize // 2}")
        return np.resize(_floats(part), 31)[:30].copy().view(dtype)
    if dtype.kind in "mM":
        ticks = np.array([-(2**63), 0, 1, -1, 10**9, -(10**9), 12345], "i8")
        return np.resize(ticks, 15).view(dtype)
    if dtype.kind == "U":
        return np.resize(np.array(["", "a", "ß", "𝄞🎉", "abcd", "a\0b"], dtype), 15)
    if dtype.kind == "S":
        return np.resize(np.array([b"", b"a", b"\0b", b"\xff\xfe", b"abcde"], dtype), 15)
    if dtype.names:
        array = np.zeros(15, dtype)
        for name in dtype.names:
            array[name] = edge_values(Kind(name, as_dtype(dtype[name]).name, dtype[name]))
        return array
    return np.frombuffer(np.random.default_rng(1).bytes(15 * dtype.itemsize), dtype).copy()


def _floats(dtype: np.dtype[Any]) -> Any:
    info = np.finfo(dtype)
    plain = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.min, info.tiny, 1.5], dtype)
    whole = np.dtype(f"u{dtype.itemsize}")
    payload = (plain[4:5].view(whole) | whole.type(5)).view(dtype)
    return np.concatenate([plain, payload, info.smallest_subnormal.reshape(1).astype(dtype)])


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def tame_values(kind: Kind) -> Any:
    """Return 15 values that filters which round or count keep as they are."""
    dtype = kind.numpy.newbyteorder("=") if kind.numpy.kind not in "TO" else kind.numpy
    if kind.numpy.kind in "fc" and not ROWS[kind.row].from_ml_dtypes:
        return (np.arange(15) % 7 / 4).astype(dtype)
    if kind.numpy.kind in "iu":
        return (np.arange(15) % 7).astype(dtype)
    if kind.numpy.kind == "U":
        return np.resize(np.array(LABELS, dtype), 15)
    return edge_values(kind)


LABELS = ["a", "b", "fi"]
FILLS: dict[str, Any] = {
    "b": True,
    "i": -3,
    "u": 7,
    "f": -1.5,
    "c": 1.5 - 2j,
    "U": "fi",
    "S": b"f",
    "T": "größe 𝄞",
    "M": np.int64(5),
    "m": np.int64(-5),
}


def fill_of(kind: Kind, *, tame: bool = False) -> Any:
    """Return a fill value other than zero."""
    if kind.row == "bytes":
        return b"f\0\xff"
    if kind.row == "object":
        return ""
    if kind.numpy.names:
        return tame_values(kind)[8]
    if ROWS[kind.row].from_ml_dtypes:
        return kind.numpy.type(1)
    if kind.numpy.kind == "V":
        return bytes(range(1, kind.numpy.itemsize + 1))
    if tame and kind.numpy.kind in "if":
        return 1 if kind.numpy.kind == "i" else 1.5
    return FILLS[kind.numpy.kind]


def array_of(kind: Kind, way: Way) -> tuple[Any, Any]:
    """Return the values of an array and its fill value, which one chunk (and one inner chunk) is full of."""
    tame = way.name.removeprefix("numcodecs.") in TAKES
    fill = fill_of(kind, tame=tame)
    values = (tame_values(kind) if tame else edge_values(kind)).reshape(SHAPE)
    stored = as_dtype(kind.dtype).cast_fill(fill)
    for index in np.ndindex(2, 2):
        values[index[0] + 1, index[1] + 3] = stored
    return values, fill


# --- codecs --------------------------------------------------------------------------------------------------------


def _str(numpy: Any) -> str:
    return str(numpy.str)


CONFIGURATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {  # by the NumPy data type
    "delta": lambda numpy: {"dtype": _str(numpy)},
    "astype": lambda numpy: {"encode_dtype": "<f8", "decode_dtype": _str(numpy)},
    "fixedscaleoffset": lambda numpy: {"offset": 0, "scale": 4, "dtype": _str(numpy), "astype": "<i4"},
    "quantize": lambda numpy: {"digits": 3, "dtype": _str(numpy)},
    "bitround": lambda numpy: {"keepbits": 8},
    "categorize": lambda numpy: {"labels": LABELS, "dtype": _str(numpy)},
    "shuffle": lambda numpy: {"elementsize": numpy.itemsize},
    "transpose": lambda numpy: {"order": [1, 0]},
    "reshape": lambda numpy: {"shape": [-1]},
    "cast_value": lambda numpy: {"data_type": "float64"},
    "scale_offset": lambda numpy: {"offset": 0, "scale": 2},
    "lz4": lambda numpy: {"acceleration": 1},
    "lzma": lambda numpy: {"format": 1, "check": -1, "preset": None, "filters": None},
    "pcodec": lambda numpy: {"level": 3},
    "zfpy": lambda numpy: {"mode": 4, "tolerance": 1e-9},
    "zfp": lambda numpy: {"mode": "reversible"},
    "conditional": lambda numpy: {"codecs": [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}]},
    "bytes": lambda numpy: {"endian": "big"},
}


def _is(kinds: str, *sizes: int) -> Callable[[Kind], bool]:
    """Return the test for NumPy kinds of given sizes, in the byte order of the machine and in the other one."""
    return lambda kind: (
        kind.numpy.kind in kinds and not ROWS[kind.row].from_ml_dtypes and (not sizes or kind.numpy.itemsize in sizes)
    )


TAKES: dict[str, Callable[[Kind], bool]] = {  # codecs that take some data types only; by their name without prefix
    "delta": _is("iuf"),
    "astype": lambda kind: _is("iuf")(kind) and kind.row != "float64",
    "fixedscaleoffset": _is("f"),
    "quantize": _is("f"),
    "bitround": _is("f"),
    "categorize": _is("U"),
    "cast_value": lambda kind: _is("iuf", 1, 2, 4)(kind),
    "scale_offset": _is("iuf"),
    "pcodec": lambda kind: _is("iuf", 2, 4, 8)(kind) and kind.numpy.isnative,  # refused otherwise
    "zfpy": lambda kind: _is("f", 4, 8)(kind) and kind.numpy.isnative,
    "zfp": _is("f", 4, 8),
    "packbits": lambda kind: kind.row == "bool",
    "vlen-utf8": lambda kind: kind.row in ("string", "object"),
    "vlen-bytes": lambda kind: kind.row == "bytes",
    "json2": lambda kind: kind.row == "object",
    "msgpack2": lambda kind: kind.row == "object",
    "vlen-array": lambda kind: False,  # of arrays within arrays: tests/contracts/test_codecs.py
    "pickle": lambda kind: False,  # refused
    "sharding_indexed": lambda kind: False,  # a layout of the matrix
    "n5_default": lambda kind: False,  # of arrays that are stored as N5
}
READ_ONLY = ("exzarr.", "numcodecs.exzarr.")  # names of ours for what ExZarr wrote: no document holds them
NEEDS_BYTES = {"shuffle", "transpose", "bytes", "reshape"}  # elements of fixed size


def takes(name: str, kind: Kind) -> bool:
    """Return whether the codec called ``name`` stores values of ``kind``."""
    short = name.removeprefix("numcodecs.")
    if short in TAKES:
        return TAKES[short](kind)
    return short not in NEEDS_BYTES or kind.numpy.kind not in "TO"


@cache
def names(zarr_format: int) -> list[str]:
    """Return the names that codecs have in documents of a format, each once, whatever `create_array` was given."""
    given = [name for name in CODECS if codec_available(name) and not name.startswith(READ_ONLY)]
    if zarr_format == 2:
        return sorted({name.removeprefix("numcodecs.") for name in given if name.startswith("numcodecs.")} - {"bzip2"})
    return sorted({spelled({"name": name}, 3, 4).name for name in given})


def ways(kind: Kind, zarr_format: int) -> Iterator[Way]:
    """Yield every codec for arrays of ``kind``, and "none" and the default beside them."""
    if kind.row != "object":
        yield Way("none", zarr_format, {"compressors": None})
        yield Way("default", zarr_format, {})
    for name in names(zarr_format):
        if takes(name, kind):
            yield Way(name, zarr_format, _keywords(name, kind, zarr_format))


def _keywords(name: str, kind: Kind, zarr_format: int) -> dict[str, Any]:
    short = name.removeprefix("numcodecs.")
    numpy = kind.numpy if zarr_format == 2 else kind.numpy.newbyteorder("<") if kind.numpy.kind not in "TO" else None
    configuration = CONFIGURATIONS.get(short, lambda numpy: {})(numpy)
    row = CODECS[name] if zarr_format == 3 else CODECS[f"numcodecs.{name}"]
    codec = {"id": name, **configuration} if zarr_format == 2 else {"name": name, "configuration": configuration}
    if row.kind == BYTES_BYTES:
        base = {"filters": "vlen-utf8"} if kind.row == "object" else {}
        return {**base, "compressors": codec}
    if row.kind == ARRAY_BYTES and zarr_format == 3:
        return {"serializer": codec, "compressors": None}
    if short in ("pcodec", "zfpy"):
        return {"compressors": codec}
    filters = [codec]
    if kind.row == "object" and row.kind != ARRAY_BYTES:
        filters = ["vlen-utf8", codec]
    if short == "cast_value" and row.kind == ARRAY_ARRAY:
        return {"filters": filters, "compressors": None}
    return {"filters": filters}


@cache
def combinations(kind: Kind, zarr_format: int) -> tuple[Combination, ...]:
    """Return all arrays of a data type in a format."""
    return tuple(_combinations(kind, zarr_format)) if zarr_format in kind.formats else ()


def _combinations(kind: Kind, zarr_format: int) -> Iterator[Combination]:
    for way in ways(kind, zarr_format):
        if zarr_format == 3 and kind.name.endswith("-big") and way.name not in ("none", "default"):
            continue  # v3 knows no byte order: these arrays are those of the little-endian type
        for layout in LAYOUTS[zarr_format]:
            yield Combination(kind, way, layout)


def everything(zarr_format: int) -> Iterator[Combination]:
    """Yield the whole matrix of a format."""
    for kind in KINDS:
        yield from combinations(kind, zarr_format)


def keywords_of(one: Combination) -> dict[str, Any]:
    """Return the keywords of `create_array` for a combination, without its store and data."""
    return {
        "dtype": one.kind.dtype,
        "zarr_format": one.way.zarr_format,
        "chunks": CHUNKS,
        "attributes": ATTRIBUTES,
        "dimension_names": NAMES,
        **one.way.keywords,
        **LAYOUTS[one.way.zarr_format][one.layout],
    }


def same(found: Any, expected: Any) -> str:
    """Return what is different between two arrays bit by bit, byte order and kind of strings aside; "" if nothing."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.dtype.kind == expected.dtype.kind and found.dtype.kind in "US" and found.ndim == 0:
        found = found.astype(expected.dtype)  # scalars of NumPy forget the length
    if found.shape != expected.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    different = f"{found.tolist()!r:.200} instead of {expected.tolist()!r:.200}"
    if expected.dtype.kind in "TO" or found.dtype.kind in "TO":
        return "" if found.tolist() == expected.tolist() else different
    if found.dtype.newbyteorder("=") != expected.dtype.newbyteorder("="):
        return f"dtype {found.dtype} instead of {expected.dtype}"
    native = expected.dtype.newbyteorder("=") if expected.dtype.isbuiltin != 2 else expected.dtype
    if np.ascontiguousarray(found, native).tobytes() == np.ascontiguousarray(expected, native).tobytes():
        return ""
    return different
