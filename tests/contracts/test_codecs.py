"""The contract of every row of the table of codecs.

Each name in CODECS has at least one case below (a test holds that). A case is built the way a chain builds it, and must
give back what it was given, describe what it encodes to, and refuse data that are damaged or of the wrong size.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from xzarr_backend.codecs import CODECS, BytesSpec, ChunkSpec, Codec, lookup
from xzarr_backend.dtypes import as_dtype, parse_dtype_v3
from xzarr_backend.errors import UnsupportedError, XzarrError
from xzarr_backend.pieces import Pieces

numcodecs_registry = pytest.importorskip("numcodecs.registry")

SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (3, 4), (2, 3, 5), (64, 65))


class Case(NamedTuple):
    """One codec with a configuration; ``dtypes`` only for those that receive arrays; ``exact``: lossless."""

    name: str
    configuration: Mapping[str, Any] = {}
    dtypes: tuple[Any, ...] = ()
    exact: bool = True
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    def __str__(self) -> str:
        return f"{self.name}{dict(self.configuration) or ''}"


NUMBERS = ("bool", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64", "complex64", "complex128")
FIXED = (*NUMBERS, ">i4", ">f8", "<M8[ns]", ">m8[s]", "S5", "<U3", ">U3", "V6")
RECORD = np.dtype([("a", "<i2"), ("b", ">f4"), ("c", "u1", (2,))])
SMALL = ("bfloat16", "float8_e4m3fn", "int4", "uint2", "float4_e2m1fn")
FLOATS = ("float16", "float32", ">f4", "float64")
INTEGERS = ("int8", "uint16", ">i4", "int64", "uint64")
RANKED = tuple(shape for shape in SHAPES if shape)

N5 = {
    "codecs": [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "bytes", "configuration": {"endian": "big"}},
        {"name": "gzip"},
    ]
}

ARRAY_TO_BYTES = [
    Case("bytes", {"endian": "little"}, (*FIXED, RECORD, *SMALL)),
    Case("bytes", {"endian": "big"}, (*FIXED, RECORD, *SMALL)),
    Case("bytes", {}, (*FIXED, RECORD, *SMALL)),
    Case("endian", {"endian": "little"}, NUMBERS),
    Case("sharding_indexed", {"chunk_shape": [1, 2], "codecs": [{"name": "bytes"}]}, ("int32",), shapes=((3, 4),)),
    Case("n5_default", N5, ("uint8", "int16", "float32", "float64"), shapes=((3, 4),)),
    Case("packbits", {}, (*NUMBERS, ">i4", "bfloat16", "int4", "uint2", "float4_e2m1fn", "float6_e2m3fn")),
    Case("packbits", {"padding_encoding": "first_byte"}, ("bool", "int4", "uint2")),
    Case("packbits", {"padding_encoding": "last_byte"}, ("bool", "int4", "uint2")),
    Case("packbits", {"first_bit": 0, "last_bit": 4}, ("int8", "uint16", ">i4", "int64")),
    Case("pcodec", {}, ("float16", "float32", "int16", ">i4", "uint64", "float64"), shapes=RANKED),
    Case("pcodec", {"level": 3}, ("float32", "int64"), shapes=RANKED),
    Case("zfpy", {"mode": 4, "tolerance": 0.001}, ("float32", "float64"), exact=False, shapes=RANKED),
    Case("zfpy", {}, ("int32", "int64", ">f8"), shapes=RANKED),
    Case("zfp", {"mode": "reversible"}, ("int32", "int64", "float32", ">f8")),
    Case("zfp", {"mode": "fixed_accuracy", "tolerance": 0.001}, ("float32", "float64"), exact=False),
    Case("zfp", {"mode": "fixed_precision", "precision": 30}, ("float32", ">f8"), exact=False),
    Case("zfp", {"mode": "fixed_rate", "rate": 32}, ("float32", "float64"), exact=False),
]
STRINGS = [
    Case("vlen-utf8", {}, ("string",)),
    Case("vlen_utf8", {}, ("string",)),
    Case("vlen-bytes", {}, ("bytes",)),
    Case("vlen_bytes", {}, ("bytes",)),
    Case("numcodecs.json2", {}, ("string",)),
    Case("numcodecs.json2", {"encoding": "utf-16"}, ("string",)),
    Case("numcodecs.msgpack2", {}, ("string", "bytes"), shapes=RANKED),
    Case("numcodecs.categorize", {"labels": ["", "a", "bé", "日本", "x" * 40], "dtype": "|O"}, ("string",)),
]
ARRAY_TO_ARRAY = [
    Case("transpose", {"order": "F"}, (*FIXED, RECORD)),
    Case("transpose", {"order": "C"}, NUMBERS),
    Case("transpose", {"order": [2, 0, 1]}, FIXED, shapes=((2, 3, 5),)),
    Case("reshape", {"shape": [-1]}, FIXED),
    Case("reshape", {"shape": [[0, 1], 5]}, FIXED, shapes=((2, 3, 5),)),
    Case("reshape", {"shape": [2, -1, [2]]}, FIXED, shapes=((2, 3, 5),)),
    Case("cast_value", {"data_type": "float64"}, ("int8", "uint16", ">i4", "float16", "float32", ">f4")),
    Case("cast_value", {"data_type": "int16"}, ("int8", "int16")),
    Case("cast_value", {"data_type": "uint8", "out_of_range": "wrap"}, ("uint8", "int8")),
    Case("cast_value", {"data_type": "float16"}, FLOATS, exact=False),
    Case("scale_offset", {}, (*INTEGERS, *FLOATS)),
    Case("scale_offset", {"offset": 1.5, "scale": 0.25}, ("float32", ">f4", "float64"), exact=False),
    Case("bitround", {"keepbits": 6}, (*FLOATS, "complex64"), exact=False),
    Case("bitround", {"keepbits": 60}, (*FLOATS, *INTEGERS, "complex64")),
]
# array->array in a v3 chain, bytes->bytes in a v2 chain
FILTERS = [
    Case("numcodecs.delta", {}, INTEGERS),
    Case("numcodecs.delta", {"dtype": "<i4", "astype": "<i8"}, ("int32",)),
    Case("numcodecs.astype", {"encode_dtype": "<f8"}, ("float32", "int16", "float16")),
    Case("astype", {"encode_dtype": "float64", "decode_dtype": "float32"}, ("float32",)),
    Case("numcodecs.fixedscaleoffset", {"offset": 3, "scale": 64, "astype": "<i8"}, ("float32", ">f8"), exact=False),
    Case("numcodecs.quantize", {"digits": 2}, ("float32", "float64"), exact=False),
    Case("quantize", {"digits": 2}, ("float64",), exact=False),
    Case("numcodecs.bitround", {"keepbits": 8}, ("float16", "float32", "float64"), exact=False),
    Case("numcodecs.packbits", {}, ("bool",)),
    Case("shuffle", {"elementsize": 4}, ("int32", ">i4", "float32", "complex64")),
    Case("numcodecs.shuffle", {}, FIXED),
    Case("numcodecs.categorize", {"labels": ["", "ab", "é"], "dtype": "<U3"}, ("<U3",)),
]
BYTES_TO_BYTES = [
    *(Case(name, {"level": 3}) for name in ("gzip", "zlib", "zstd", "bz2", "bzip2")),
    *(Case(name) for name in ("gzip", "zlib", "zstd", "bz2", "blosc", "lz4", "lzma", "snappy", "base64")),
    *(
        Case("blosc", {"cname": c, "clevel": 5, "shuffle": "bitshuffle", "typesize": 4})
        for c in ("lz4", "zstd", "zlib")
    ),
    *(Case("blosc", {"cname": "blosclz", "shuffle": s, "level": 9, "typesize": None}) for s in (0, 1, 2)),
    Case("gzip", {"level": 0}),
    Case("zlib", {"level": -1}),
    Case("zstd", {"level": -5, "checksum": True}),
    Case("lz4", {"acceleration": 10, "level": 5}),
    Case("lzma", {"preset": 1}),
    Case("lzma", {"format": 3, "filters": [{"id": 0x21, "preset": 1}]}),
    Case("lzma", {"format": 1, "filters": [{"id": 0x03, "dist": 4}, {"id": 0x21, "preset": 1}]}),
    *(Case(name) for name in ("crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3")),
    *(Case(name, {"location": "start"}) for name in ("crc32c", "crc32", "adler32")),
    *(Case(name, {"location": "end"}) for name in ("crc32c", "crc32", "adler32")),
    Case("jenkins_lookup3", {"initval": 7, "prefix": "ab"}),
    Case("conditional", {"codecs": [{"name": "zstd", "configuration": {"level": 1}}]}),
    Case("conditional", {"codecs": ["gzip", "crc32c"], "header_bits": 24}),
]
OBJECTS = [Case("numcodecs.vlen-array", {"dtype": "<i4"})]
UNSAFE = [Case("numcodecs.pickle")]
CHECKED = ("crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "gzip", "zlib", "bz2", "bzip2", "lzma")
NOISE = np.random.default_rng(5).bytes(1 << 20)
SIZES = (0, 1, 24, 4096, 1 << 19)
LEAST_OF_RUN = 4096  # bytes: runs of smaller chunks may be left to decoding one by one


def values(dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of well-behaved but varied elements."""
    numpy = dtype.numpy
    count = int(np.prod(shape))
    rng = np.random.default_rng(count)
    if dtype.name == "string":
        pool = ["", "a", "bé", "日本", "x" * 40]
        return np.array([pool[i % 5] for i in range(count)], numpy).reshape(shape)
    if dtype.name == "bytes":
        array = np.empty(count, object)
        array[:] = [bytes([i % 256]) * (i % 5) for i in range(count)]
        return array.reshape(shape)
    if numpy.isbuiltin == 2:
        return rng.integers(0, 2, count).astype(numpy).reshape(shape)
    if numpy.kind == "U":
        return np.array([["", "ab", "é"][i % 3] for i in range(count)], numpy).reshape(shape)
    if numpy.kind == "b":
        return rng.integers(0, 2, count).astype(bool).reshape(shape)
    if numpy.kind == "V" or numpy.kind == "S":
        return np.frombuffer(rng.bytes(count * numpy.itemsize), numpy).reshape(shape)
    whole = rng.integers(0, 16, count)
    return (whole / 8 if numpy.kind in "fc" else whole).astype(numpy).reshape(shape)


def spec_of(dtype: Any, shape: tuple[int, ...]) -> ChunkSpec:
    """Return the spec of a chunk; names of v3, NumPy's own spellings and NumPy data types are taken."""
    parsed = parse_dtype_v3(dtype) if dtype in ("string", "bytes", *SMALL, "float6_e2m3fn") else as_dtype(dtype)
    return ChunkSpec(shape, parsed, parsed.zero)


def build(case: Case, spec: Any) -> Codec:
    """Return the codec of a case, as a chain would build it."""
    return lookup(case.name).factory(case.configuration, spec)


def raw_bytes(nbytes: int) -> bytes:
    """Return data that compress, but not to nothing."""
    return (np.arange(nbytes, dtype="u4") // 7 % 251).astype("u1").tobytes()


def length(data: Any) -> int:
    """Return the number of bytes of a buffer."""
    return memoryview(data).nbytes


def with_dtypes(cases: list[Case]) -> list[Any]:
    """Return one pytest parameter for each case and data type."""
    return [pytest.param(case, dtype, id=f"{case}-{dtype}") for case in cases for dtype in case.dtypes]


def assert_same(found: Any, expected: Any, *, exact: bool = True) -> None:
    """Compare shape, data type but for its byte order, and elements; elements of variable length may be objects."""
    assert found.shape == expected.shape
    if expected.dtype.kind == "T" and found.dtype.kind == "O":
        placed = np.empty_like(expected)
        placed[...] = found
        found = placed
    assert native(found.dtype) == native(expected.dtype)
    if expected.dtype.kind == "V":
        assert found.astype(expected.dtype).tobytes() == expected.tobytes()
    elif exact:
        assert found.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(found.astype("c16"), expected.astype("c16"), atol=0.02)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type without its byte order."""
    return dtype if dtype.kind in "TO" else dtype.newbyteorder("=")


def needs(dtype: Any) -> None:
    """Skip data types of ml_dtypes where it is not installed."""
    if dtype in (*SMALL, "float6_e2m3fn"):
        pytest.importorskip("ml_dtypes")


# Rows that no case can hold: ExZarr's forms are read and never written, so there is nothing to bring back. Their test
# is tests/golden/test_exzarr.py, on bytes that a script puts together.
READ_ONLY_ROWS: list[tuple[str, Mapping[str, Any]]] = [
    ("exzarr.shards", {"chunk_shape": [1, 2], "codecs": [{"name": "bytes"}]}),
    ("numcodecs.exzarr.scale", {"dtype": "<f8", "astype": "<i4", "offset": 1, "scale": 2}),
]
READ_ONLY = {name.removeprefix("numcodecs.") for name, _ in READ_ONLY_ROWS}


def test_every_row_has_a_case() -> None:
    """A row that is added without a case here is not tested, so it fails."""
    groups = (ARRAY_TO_BYTES, STRINGS, ARRAY_TO_ARRAY, FILTERS, BYTES_TO_BYTES, OBJECTS, UNSAFE)
    tested = {case.name.removeprefix("numcodecs.") for group in groups for case in group}
    assert {name.removeprefix("numcodecs.") for name in CODECS} - READ_ONLY == tested


@pytest.mark.parametrize(("name", "configuration"), READ_ONLY_ROWS)
def test_read_only_rows_refuse_to_write(name: str, configuration: Mapping[str, Any]) -> None:
    """What cannot be written raises; nothing is stored in a form that only its own writer could read."""
    spec: Any = spec_of("int32", (2, 2)) if name == "exzarr.shards" else BytesSpec(16, 4)
    with pytest.raises(UnsupportedError, match="only be read"):
        lookup(name).factory(configuration, spec).encode(values(as_dtype("int32"), (2, 2)))


def test_every_codec_of_numcodecs_has_a_row() -> None:
    """Whatever v2 stores name through numcodecs itself is in the table."""
    assert {f"numcodecs.{name}" for name in numcodecs_registry.codec_registry} <= CODECS.keys() | {
        f"numcodecs.{name}"
        for name in numcodecs_registry.codec_registry
        if name.startswith("imagecodecs_") or "xzarr" in name
    }


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(ARRAY_TO_BYTES + STRINGS[:-1]))
def test_arrays_to_bytes_round_trip(case: Case, dtype: Any) -> None:
    """Decoding gives the array back from bytes, a memoryview and a uint8 array alike."""
    needs(dtype)
    for shape in case.shapes:
        spec = spec_of(dtype, shape)
        array, codec = values(spec.dtype, shape), build(case, spec)
        encoded = codec.encode(array)
        assert isinstance(codec.output, BytesSpec)
        assert codec.output.nbytes in (None, length(encoded))
        raw = bytes(memoryview(encoded))
        for data in (raw, memoryview(raw), np.frombuffer(raw, "u1")):
            assert_same(codec.decode(data), array, exact=case.exact)


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(ARRAY_TO_BYTES + STRINGS[:-1]))
def test_arrays_refuse_wrong_sizes(case: Case, dtype: Any) -> None:
    """Cut, empty and longer data raise; they never decode to something."""
    needs(dtype)
    spec = spec_of(dtype, case.shapes[-1])
    codec = build(case, spec)
    raw = bytes(memoryview(codec.encode(values(spec.dtype, spec.shape))))
    damaged = [raw[:-1], raw[: len(raw) // 2], b""]
    if case.name not in ("pcodec", "zfpy", "zfp"):  # these know where they end, and ignore what follows
        damaged.append(raw + b"\1")
    for data in damaged:
        if case.name in ("zfpy", "zfp") and data:
            continue  # zfp fills what is missing with zeros
        with pytest.raises(Exception):  # noqa: B017 (the reader wraps whatever a library raises)
            codec.decode(data)


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(ARRAY_TO_ARRAY + FILTERS + STRINGS[-1:]))
def test_arrays_to_arrays_round_trip(case: Case, dtype: Any) -> None:
    """Decoding gives the array back, and the output spec is what encoding returns."""
    for shape in case.shapes:
        spec = spec_of(dtype, shape)
        array, codec = values(spec.dtype, shape), build(case, spec)
        encoded = codec.encode(array)
        assert isinstance(codec.output, ChunkSpec)
        assert encoded.shape == codec.output.shape
        assert native(encoded.dtype) == native(codec.output.dtype.numpy)
        assert np.asarray(codec.output.fill_value).astype(encoded.dtype).shape == ()
        assert_same(codec.decode(encoded), array, exact=case.exact)


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(ARRAY_TO_ARRAY + FILTERS))
def test_arrays_may_have_any_layout(case: Case, dtype: Any) -> None:
    """Encoding reads elements in C order, wherever they lie in memory."""
    spec = spec_of(dtype, case.shapes[-1])
    array, codec = values(spec.dtype, spec.shape), build(case, spec)
    fortran = np.asfortranarray(array)
    assert np.asarray(codec.encode(fortran)).tobytes() == np.asarray(codec.encode(array)).tobytes()


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(FILTERS))
def test_filters_round_trip_among_bytes(case: Case, dtype: Any) -> None:
    """In a v2 chain the same filters receive bytes; the sizes they announce hold, and wrong sizes raise."""
    spec = spec_of(dtype, (6, 8))
    array = values(spec.dtype, spec.shape)
    configuration = dict(case.configuration)
    if case.name != "numcodecs.bitround":
        configuration.setdefault("dtype", np.dtype(spec.dtype.numpy).str)
    configuration.setdefault("decode_dtype", np.dtype(spec.dtype.numpy).str)
    raw = array.tobytes()
    codec = lookup(case.name).factory(configuration, BytesSpec(len(raw), array.itemsize))
    encoded = codec.encode(raw)
    assert isinstance(codec.output, BytesSpec)
    assert codec.output.nbytes == length(encoded)
    decoded = bytes(memoryview(codec.decode(bytes(memoryview(encoded)))))
    assert_same(np.frombuffer(decoded, array.dtype).reshape(array.shape), array, exact=case.exact)
    for data in (bytes(memoryview(encoded))[:-1], bytes(memoryview(encoded)) + b"\0" * 8, b""):
        with pytest.raises(XzarrError):
            codec.decode(data)


@pytest.mark.parametrize("prefix", ["", "numcodecs."])
@pytest.mark.parametrize("case", BYTES_TO_BYTES, ids=str)
def test_bytes_round_trip(case: Case, prefix: str) -> None:
    """With the size known or not, from every kind of buffer, by `decode` and by `decode_into`."""
    if prefix + case.name not in CODECS:
        pytest.skip("numcodecs has no such codec")
    for size in SIZES:
        raw = raw_bytes(size)
        for known in (size, None):
            codec = lookup(prefix + case.name).factory(case.configuration, BytesSpec(known, 4))
            for given in (raw, memoryview(raw), np.frombuffer(raw, "u1")):
                encoded = bytes(memoryview(codec.encode(given)))
            assert isinstance(codec.output, BytesSpec)
            assert codec.output.nbytes in (None, len(encoded))
            for data in (encoded, memoryview(encoded), np.frombuffer(encoded, "u1")):
                assert bytes(memoryview(codec.decode(data))) == raw
                if codec.decode_into is not None and size:
                    out = np.full(size, 77, "u1")
                    codec.decode_into(data, out)
                    assert out.tobytes() == raw
            if codec.decode_run is not None:
                run = np.full(3 * size, 77, "u1")
                done = codec.decode_run([encoded, memoryview(encoded), np.frombuffer(encoded, "u1")], run)
                assert run.tobytes() == 3 * raw if done else size < LEAST_OF_RUN
            if codec.decode_pieces is not None:
                run = np.full(2 * size, 77, "u1")
                spans = np.array([(len(encoded), len(encoded)), (0, len(encoded))])
                done = codec.decode_pieces(Pieces(memoryview(encoded * 2), spans), run)
                assert run.tobytes() == 2 * raw if done else size < LEAST_OF_RUN
            if codec.encode_run is not None:
                assert [bytes(codec.decode(bytes(chunk))) for chunk in codec.encode_run([raw, raw])] == [raw, raw]


@pytest.mark.parametrize("case", BYTES_TO_BYTES, ids=str)
@pytest.mark.parametrize("size", [24, 4096, 1 << 16, 1 << 19])
def test_bytes_refuse_damage(case: Case, size: int) -> None:
    """Cut, empty, longer, or foreign data raise, with the size known; so does a chunk of another size."""
    codec = build(case, BytesSpec(size, 4))
    encoded = bytes(memoryview(codec.encode(raw_bytes(size))))
    bad = [encoded[:-1], encoded[: len(encoded) // 2], encoded[:3], b"", encoded + b"\1\2\3", NOISE[: len(encoded)]]
    for other in (size - 1, size + 1, 2 * size):
        bad.append(bytes(memoryview(build(case, BytesSpec(other, 1)).encode(raw_bytes(other)))))
    for data in bad:
        with pytest.raises(Exception):  # noqa: B017 (the reader wraps whatever a library raises)
            codec.decode(data)
        if codec.decode_into is not None:
            with pytest.raises(Exception):  # noqa: B017
                codec.decode_into(data, np.empty(size, "u1"))
        if codec.decode_run is not None:
            try:
                done = codec.decode_run([encoded, data], np.empty(2 * size, "u1"))
            except Exception:
                done = False
            assert not done
        if codec.decode_pieces is not None and len(data):
            both = memoryview(encoded + data)
            spans = np.array([(0, len(encoded)), (len(encoded), len(data))])
            try:
                done = codec.decode_pieces(Pieces(both, spans), np.empty(2 * size, "u1"))
            except Exception:
                done = False
            assert not done


@pytest.mark.parametrize("case", [case for case in BYTES_TO_BYTES if case.name in CHECKED], ids=str)
def test_checksums_find_a_flipped_bit(case: Case) -> None:
    """Codecs that carry a checksum notice any changed byte of their data."""
    raw = raw_bytes(600)
    codec = build(case, BytesSpec(len(raw), 1))
    encoded = bytearray(memoryview(codec.encode(raw)))
    for place in range(0, len(encoded), 7):
        changed = bytearray(encoded)
        changed[place] ^= 0x10
        try:
            decoded = bytes(memoryview(codec.decode(bytes(changed))))
        except Exception:
            continue
        assert decoded == raw  # a byte that carries nothing, such as the time in a gzip header


BOMBS = [case for case in BYTES_TO_BYTES if case.name in ("gzip", "zlib", "zstd", "bz2", "lzma", "blosc", "lz4")]


@pytest.mark.parametrize("case", BOMBS, ids=str)
@pytest.mark.parametrize("name", ["", "numcodecs."])
def test_bombs_are_not_unpacked(case: Case, name: str) -> None:
    """Data that would decode to 64 MiB raise without making them, whether the chunk's size is known or not."""
    import tracemalloc

    from xzarr_backend.codecs.sizes import at_most

    bomb = bytes(memoryview(build(case, BytesSpec(1 << 26, 1)).encode(bytes(1 << 26))))
    for known in (1024, None):
        codec = lookup(name + case.name).factory(case.configuration, BytesSpec(known, 1))
        tracemalloc.start()
        try:
            with at_most(1 << 16), pytest.raises(XzarrError):
                codec.decode(bomb)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16 << 20


THEIRS = [
    case
    for case in BYTES_TO_BYTES
    if case.name not in ("snappy", "bzip2", "conditional") and "prefix" not in case.configuration
]


@pytest.mark.parametrize("case", THEIRS, ids=str)
def test_bytes_agree_with_numcodecs(case: Case) -> None:
    """numcodecs decodes what we encode, and we decode what it encodes."""
    known = {k: v for k, v in case.configuration.items() if not (k == "level" and case.name in ("blosc", "lz4"))}
    if isinstance(known.get("shuffle"), str):
        known["shuffle"] = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}[known["shuffle"]]
    theirs = numcodecs_registry.get_codec({"id": case.name, **known})
    for size in (1, 24, 4096):
        raw = raw_bytes(size)
        ours = build(case, BytesSpec(size, 4))
        assert bytes(memoryview(ours.decode(bytes(memoryview(theirs.encode(raw)))))) == raw
        if case.configuration.get("filters") is None or case.configuration.get("format") == 3:
            assert bytes(memoryview(theirs.decode(bytes(memoryview(ours.encode(raw)))))) == raw


@pytest.mark.parametrize(("case", "dtype"), with_dtypes(FILTERS))
def test_filters_agree_with_numcodecs(case: Case, dtype: Any) -> None:
    """The encoded elements are those of numcodecs."""
    spec = spec_of(dtype, (40,))
    array = values(spec.dtype, spec.shape)
    name = np.dtype(spec.dtype.numpy).str
    extra = {
        "delta": {"dtype": name},
        "fixedscaleoffset": {"dtype": name},
        "quantize": {"dtype": name},
        "astype": {"decode_dtype": name},
        "shuffle": {"elementsize": array.itemsize},
    }.get(case.name.removeprefix("numcodecs."), {})
    theirs = numcodecs_registry.get_codec(
        {"id": case.name.removeprefix("numcodecs."), **extra, **dict(case.configuration)}
    )
    if array.dtype.byteorder == ">" and "shuffle" in case.name:
        array = array.astype(array.dtype.newbyteorder("<"))  # in a v3 chain the elements are little-endian
    found, expected = np.asarray(build(case, spec).encode(array)), np.asarray(theirs.encode(array))
    assert found.reshape(-1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("case", STRINGS, ids=str)
def test_strings_agree_with_numcodecs(case: Case) -> None:
    """Strings and bytes are exchanged with numcodecs in both directions."""
    name = case.name.removeprefix("numcodecs.").replace("_", "-")
    theirs = numcodecs_registry.get_codec({"id": name, **case.configuration})
    spec = spec_of(case.dtypes[0], (11,))
    array = values(spec.dtype, spec.shape)
    ours = build(case, spec)
    encoded = theirs.encode(array.astype(object))
    assert ours.decode(encoded if name != "categorize" else np.asarray(encoded)).tolist() == array.tolist()
    assert theirs.decode(ours.encode(array)).tolist() == array.tolist()


@pytest.mark.parametrize(("case", "dtype"), with_dtypes([c for c in ARRAY_TO_BYTES if c.name in ("pcodec", "zfpy")]))
def test_floating_codecs_agree_with_numcodecs(case: Case, dtype: Any) -> None:
    """pcodec and zfpy are exchanged with numcodecs in both directions."""
    spec = spec_of(dtype, (12, 9))
    array = values(spec.dtype, spec.shape)
    native = array.astype(array.dtype.newbyteorder("="))
    theirs = numcodecs_registry.get_codec({"id": case.name, **case.configuration})
    ours = build(case, spec)
    assert_same(ours.decode(theirs.encode(native)), array, exact=case.exact)
    assert_same(theirs.decode(bytes(memoryview(ours.encode(array)))).reshape(12, 9), array, exact=case.exact)


def test_gzip_and_zlib_use_the_standard_wrappers() -> None:
    """The standard library reads both, so everybody does."""
    raw = raw_bytes(5000)
    for name, wrapper in (("gzip", 31), ("zlib", 15)):
        for level in range(10):
            encoded = lookup(name).factory({"level": level}, BytesSpec(5000, 1)).encode(raw)
            assert zlib.decompress(bytes(encoded), wrapper) == raw
