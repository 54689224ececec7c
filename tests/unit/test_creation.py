"""Creating arrays: what keywords mean, which documents they make, and what is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray as xr

import xzarr_backend as xz
from xzarr_backend.chunk_choice import choose_grid
from xzarr_backend.errors import MetadataError, UnsupportedError

ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
BLOSC = {"cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}


def document(zarr_format: int = 3, **keywords: Any) -> dict[str, Any]:
    """Return the document that is stored for an array of twelve numbers."""
    store: dict[str, bytes] = {}
    xz.create_array(store, **{"shape": (3, 4), "dtype": "i4", "zarr_format": zarr_format, **keywords})
    found: dict[str, Any] = json.loads(store["zarr.json" if zarr_format == 3 else ".zarray"])
    return found


def codecs(**keywords: Any) -> list[Any]:
    """Return the codecs of a v3 document."""
    found: list[Any] = document(**keywords)["codecs"]
    return found


# --- documents -----------------------------------------------------------------------------------------------------


def test_v3_document() -> None:
    """All members that the specification demands, with zstd as zarr-python has it by default."""
    assert document(dimension_names=("y", None), attributes={"a": 1}) == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [3, 4],
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, ZSTD],
        "attributes": {"a": 1},
        "storage_transformers": [],
        "dimension_names": ["y", None],
    }


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["i4", str])
def test_filters_may_be_left_to_the_data_type(zarr_format: int, dtype: Any) -> None:
    """The word by which zarr-python leaves them open means the same, for arrays and in the encoding of xarray."""
    assert document(zarr_format, dtype=dtype, filters="auto") == document(zarr_format, dtype=dtype)
    store: dict[str, bytes] = {}
    dataset = xr.Dataset({"a": ("x", np.array([1, 2]).astype(dtype))})
    xz.to_zarr(dataset, store, zarr_format=zarr_format, encoding={"a": {"filters": "auto", "serializer": "auto"}})
    assert xr.open_dataset(store, engine="xzarr").identical(dataset)


def test_v2_document() -> None:
    """All members, ``filters`` null where there are none; what tensorstore refuses of zstd is left out."""
    assert document(2) == {
        "zarr_format": 2,
        "shape": [3, 4],
        "chunks": [3, 4],
        "dtype": "<i4",
        "compressor": {"id": "zstd", "level": 0},
        "fill_value": None,
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
    }


def test_dimension_names_of_v2_are_attributes() -> None:
    """As xarray writes and reads them."""
    store: dict[str, bytes] = {}
    xz.create_array(store, shape=(3,), dtype="i4", zarr_format=2, dimension_names=["x"])
    assert json.loads(store[".zattrs"]) == {"_ARRAY_DIMENSIONS": ["x"]}


# --- codecs --------------------------------------------------------------------------------------------------------

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("zstd", ZSTD),
        ({"name": "zstd"}, ZSTD),
        ({"name": "zstd", "configuration": {"level": 7, "checksum": True}}, None),
        (numcodecs.Zstd(level=3), {"name": "zstd", "configuration": {"level": 3, "checksum": False}}),
        ({"id": "zstd", "level": 4}, {"name": "zstd", "configuration": {"level": 4, "checksum": False}}),
        ("gzip", {"name": "gzip", "configuration": {"level": 5}}),
        ("blosc", {"name": "blosc", "configuration": {**BLOSC, "typesize": 4}}),
        (
            numcodecs.Blosc("lz4", 7, numcodecs.Blosc.BITSHUFFLE),
            {
                "name": "blosc",
                "configuration": {**BLOSC, "cname": "lz4", "clevel": 7, "shuffle": "bitshuffle", "typesize": 4},
            },
        ),
        (
            {"id": "blosc", "shuffle": -1, "cname": "lz4", "clevel": 5, "blocksize": 0},
            {"name": "blosc", "configuration": {**BLOSC, "cname": "lz4", "typesize": 4}},
        ),
        ("zlib", {"name": "numcodecs.zlib", "configuration": {"level": 1}}),
        (numcodecs.LZ4(), {"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}),
        ("crc32c", {"name": "crc32c"}),
        ({"id": "crc32c", "location": "end"}, {"name": "crc32c"}),
        ({"id": "crc32c", "location": "start"}, {"name": "numcodecs.crc32c", "configuration": {"location": "start"}}),
        ("numcodecs.adler32", {"name": "numcodecs.adler32", "configuration": {}}),
    ],
    ids=str,
)
def test_compressors_of_v3_in_every_vocabulary(given: Any, stored: Any) -> None:
    """Registered names where v3 has them, ``numcodecs.*`` elsewhere, and every member that readers demand."""
    assert codecs(compressors=given) == [BYTES, given if stored is None else stored]
    assert codecs(compressors=[given], chunks=(1, 2), shards=(3, 4))[0]["configuration"]["codecs"][1] == (
        stored or given
    )


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("zstd", {"id": "zstd", "level": 0}),
        (
            {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
            {"id": "zstd", "level": 3, "checksum": True},
        ),
        ("zlib", {"id": "zlib", "level": 1}),
        ({"name": "numcodecs.zlib", "configuration": {"level": 9}}, {"id": "zlib", "level": 9}),
        (numcodecs.GZip(level=2), {"id": "gzip", "level": 2}),
        (
            {"name": "blosc", "configuration": {**BLOSC, "typesize": 4}},
            {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0},
        ),
        (None, None),
        ([], None),
    ],
    ids=str,
)
def test_compressors_of_v2_in_every_vocabulary(given: Any, stored: Any) -> None:
    """Ids and members of numcodecs, whatever the caller speaks."""
    assert document(2, compressors=given)["compressor"] == stored


def test_objects_of_zarr_python() -> None:
    """zarr-python's codec objects are taken; a blosc of typesize 1, its default, gets the element's size."""
    zarr_codecs = pytest.importorskip("zarr.codecs")
    found = codecs(
        filters=zarr_codecs.TransposeCodec(order=(1, 0)),
        serializer=zarr_codecs.BytesCodec(endian="big"),
        compressors=[zarr_codecs.BloscCodec(cname="lz4", shuffle="shuffle"), zarr_codecs.Crc32cCodec()],
    )
    assert found == [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "bytes", "configuration": {"endian": "big"}},
        {"name": "blosc", "configuration": {**BLOSC, "cname": "lz4", "typesize": 4}},
        {"name": "crc32c"},
    ]


def test_filters_of_v2_names_in_v3() -> None:
    """Filters of arrays stand before the serializer, those of bytes behind it, where zarr-python looks for them."""
    assert codecs(filters=[numcodecs.Delta("<i4"), numcodecs.Shuffle(4)], compressors=None) == [
        {"name": "numcodecs.delta", "configuration": {"dtype": "<i4", "astype": "<i4"}},
        BYTES,
        {"name": "numcodecs.shuffle", "configuration": {"elementsize": 4}},
    ]


def test_serializers_know_the_byte_order_behind_filters() -> None:
    """One byte has no byte order, but what a filter makes of it may have one."""
    assert codecs(dtype="i1", compressors=None) == [{"name": "bytes"}]
    filters = {"id": "astype", "encode_dtype": "<f8", "decode_dtype": "|i1"}
    assert codecs(dtype="i1", filters=filters, compressors=None)[1] == BYTES


def test_strings_get_their_codec() -> None:
    """Variable-length data are encoded without being told how, in both formats, also behind given compressors."""
    assert codecs(dtype=str)[0] == {"name": "vlen-utf8"}
    assert codecs(dtype=bytes)[0] == {"name": "vlen-bytes"}
    assert document(2, dtype=str)["filters"] == [{"id": "vlen-utf8"}]
    assert document(2, dtype=str, filters="vlen-utf8")["filters"] == [{"id": "vlen-utf8"}]
    assert document(2, dtype=str, filters={"id": "categorize", "labels": ["a"], "dtype": "|O"})["filters"] == [
        {"id": "categorize", "labels": ["a"], "dtype": "|O"}
    ]


@pytest.mark.parametrize("order", [">", "<"])
def test_bitround_of_v2_rounds_values_of_either_byte_order(order: str) -> None:
    """The filter receives bytes, whose order its document does not tell."""
    values = np.linspace(1, 2, 12).astype(f"{order}f4")
    array = xz.create_array({}, data=values, zarr_format=2, filters=numcodecs.BitRound(10))
    np.testing.assert_allclose(array[...], values, rtol=2**-11)
    assert array.filters == (numcodecs.BitRound(10),)


@pytest.mark.parametrize("codec", ["pcodec", "zfpy"])
def test_codecs_without_a_byte_order_refuse_big_endian_in_v2(codec: str) -> None:
    """zarr-python would read the values with swapped bytes."""
    with pytest.raises(UnsupportedError, match="swapped bytes"):
        document(2, dtype=">f4", compressors=codec)


# --- data types ----------------------------------------------------------------------------------------------------


def test_v3_has_no_byte_order() -> None:
    """Big-endian data become little-endian, which every reader has; the array says so from the start."""
    values = np.array([1, 2, 3], ">i4")
    array = xz.create_array({}, data=values)
    assert array.dtype == np.dtype("<i4") and array[...].tolist() == [1, 2, 3]
    assert xz.create_array({}, data=values, zarr_format=2).dtype == np.dtype(">i4")


def test_records_are_spelled_as_specified() -> None:
    """``struct`` with named fields: writing the old name ``structured`` is forbidden by the specification."""
    assert document(dtype=[("a", "i4"), ("b", ">f8")])["data_type"] == {
        "name": "struct",
        "configuration": {"fields": [{"name": "a", "data_type": "int32"}, {"name": "b", "data_type": "float64"}]},
    }


def test_objects_are_looked_into() -> None:
    """Python objects are strings or bytes; anything else has to be named."""
    assert xz.create_array({}, data=np.array(["a", "bc"], object)).dtype.kind == "T"
    assert xz.create_array({}, data=np.array([b"a", b"bc"], object))[...].tolist() == [b"a", b"bc"]
    with pytest.raises(MetadataError, match=r"int, str"):
        xz.create_array({}, data=np.array([1, "a"], object))


def test_bytes_of_v2_fill_values_are_padded() -> None:
    """tensorstore demands as many bytes as an element has."""
    assert document(2, dtype="S5", fill_value=b"f")["fill_value"] == "ZgAAAAA="
    assert document(2, dtype="S5", fill_value=b"")["fill_value"] == "AAAAAAA="


# --- grids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (5, (5, 5)),
        (np.int64(5), (5, 5)),
        ((5, 7), (5, 7)),
        ([5, -1], (5, 200)),
        ((None, 7), (100, 7)),
        (-1, (100, 200)),
        (None, (100, 200)),
        ("auto", (100, 200)),
        ("40 kB", (50, 100)),
        ("40kB", (50, 100)),
        ("40 KiB", (50, 100)),
        ("39 KiB", (50, 50)),
        ("0.04 MB", (50, 100)),
        (("auto", -1), (100, 200)),
        (("40 kB", -1), (25, 200)),
        (((50, 50), (80, 80, 40)), (50, 80)),
        (np.array([5, 7]), (5, 7)),
    ],
    ids=str,
)
def test_chunks_may_be_said_in_many_ways(chunks: Any, expected: tuple[int, ...]) -> None:
    """Lengths, all of a dimension, bytes, and the tuples that dask has for regular chunks."""
    array = xz.create_array({}, shape=(100, 200), dtype="f8", chunks=chunks)
    assert array.chunks == expected
    assert xz.create_array({}, shape=(100, 200), dtype="f8", chunks=chunks, zarr_format=2).chunks == expected


def test_rectilinear_chunks() -> None:
    """Lengths that differ make a rectilinear grid, also with a plain length beside them, and for shards."""
    found = document(chunks=((1, 2), 3))["chunk_grid"]
    assert found == {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[1, 2], 3]}}
    sharded = xz.create_array({}, data=np.arange(10), chunks=2, shards=((4, 6),))
    assert sharded[...].tolist() == list(range(10)) and sharded.chunks == ((2, 2, 2, 2, 2),)
    with pytest.raises(UnsupportedError, match="regular"):
        document(2, chunks=((1, 2), 3))


@pytest.mark.parametrize(
    ("shape", "itemsize", "low", "high"),
    [((10**9,), 8, 4, 16), ((40000, 40000), 4, 4, 16), ((365, 721, 1440), 4, 4, 16), ((10**5, 3), 8, 0, 16)],
)
def test_chosen_chunks_have_a_sensible_size(shape: tuple[int, ...], itemsize: int, low: int, high: int) -> None:
    """Between 4 and 16 MiB, or all of a small array."""
    nbytes = np.prod(choose_grid(shape, itemsize, "auto", None).grid.largest_chunk, dtype=int) * itemsize
    assert low * 2**20 <= nbytes <= high * 2**20


@pytest.mark.parametrize("shards", ["auto", "30 MiB", (512, 768), (500, 700), -1])
def test_chosen_chunks_divide_the_shards(shards: Any) -> None:
    """Within given shards and within chosen ones, of about a MiB."""
    chosen = choose_grid((7000, 5000), 8, "auto", shards)
    outer = chosen.grid.largest_chunk
    assert chosen.inner is not None and all(o % i == 0 for o, i in zip(outer, chosen.inner, strict=True))
    assert np.prod(chosen.inner) * 8 <= 2**20
    if shards == "auto":
        assert 2**24 <= np.prod(outer) * 8 <= 2**26


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"chunks": 0}, "no positive length"),
        ({"chunks": (1,)}, "2 items"),
        ({"chunks": (1, 2, 3)}, "2 items"),
        ({"chunks": 1.5}, "neither a number"),
        ({"chunks": True}, "neither a number"),
        ({"chunks": ("auto", ())}, "no positive length"),
        ({"chunks": (1, -2)}, "no positive length"),
        ({"chunks": "many"}, "number of bytes"),
        ({"chunks": "0 MB"}, "number of bytes"),
        ({"chunks": ((1, 1), 4)}, "add up to 2"),
        ({"chunks": (2, 3), "shards": (3, 3)}, "do not divide"),
        ({"chunks": ((1, 2), 2), "shards": (3, 4)}, "different lengths"),
        ({"chunks": (1, 2), "shards": ("auto", 4)}, "leaves lengths open"),
        ({"order": "K"}, "order"),
        ({"dimension_names": ["x"]}, "1 dimension names"),
        ({"shape": (3, -1)}, "negative"),
        ({"shape": (3, 4), "data": np.zeros((2, 2)), "dtype": None}, "not that of the data"),
        ({"fill_value": 1.5}, "fill value"),
        ({"fill_value": 2**31}, "fill value"),
        ({"compressors": 7}, "is no codec"),
        ({"compressors": [{"configuration": {}}]}, "is no codec"),
        ({"chunk_key_encoding": "|"}, "key encoding"),
    ],
    ids=str,
)
def test_bad_keywords_are_refused_before_anything_is_written(keywords: dict[str, Any], message: str) -> None:
    """Each error says what is wrong, and the store stays empty."""
    store: dict[str, bytes] = {}
    with pytest.raises((MetadataError, UnsupportedError), match=message):
        xz.create_array(store, **{"shape": (3, 4), "dtype": "i4", **keywords})
    assert not store


def test_unknown_keywords_are_type_errors() -> None:
    """As for every Python function: a misspelled keyword is not ignored."""
    with pytest.raises(TypeError, match="compressor"):
        xz.create_array({}, shape=3, dtype="i4", compressor="zstd")  # type: ignore[call-arg]


@pytest.mark.parametrize("keywords", [{"shards": (3, 4)}, {"serializer": "bytes"}, {"filters": "transpose"}])
def test_what_v2_lacks_is_refused(keywords: dict[str, Any]) -> None:
    """Shards, serializers and codecs of v3 only."""
    with pytest.raises((MetadataError, UnsupportedError)):
        document(2, **keywords)


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "separator"),
    [
        (None, "default", "/"),
        (".", "default", "."),
        ("default", "default", "/"),
        ("v2", "v2", "."),
        ({"name": "v2", "separator": "/"}, "v2", "/"),
        ({"name": "default", "configuration": {"separator": "."}}, "default", "."),
        ({"separator": "."}, "default", "."),
    ],
    ids=str,
)
def test_key_encodings_in_every_spelling(given: Any, name: str, separator: str) -> None:
    """The spellings of zarr-python, and the bare separator."""
    found = document(chunk_key_encoding=given)["chunk_key_encoding"]
    assert found == {"name": name, "configuration": {"separator": separator}}


@pytest.mark.parametrize(("given", "separator"), [("/", "/"), ({"name": "v2", "separator": "/"}, "/"), (None, ".")])
def test_separators_of_v2(given: Any, separator: str) -> None:
    """Both separators; the keys of v3 are refused."""
    assert document(2, chunk_key_encoding=given)["dimension_separator"] == separator
    with pytest.raises(UnsupportedError, match="v2 chunk keys"):
        document(2, chunk_key_encoding="default")


@pytest.mark.parametrize(("fill", "stored"), [(None, 2), (0, 0)])
def test_a_null_fill_value_of_v2_stores_every_chunk(fill: int | None, stored: int) -> None:
    """Where no chunk is, readers of a null fill value may see anything; where it is 0, zeros need not be stored."""
    array = xz.create_array({}, data=np.zeros(4), chunks=2, zarr_format=2, fill_value=fill)
    assert array.nchunks_stored() == stored
    reopened = xz.open_array(array.store, mode="r+")
    reopened[:2] = 0
    assert reopened.nchunks_stored() == stored


@pytest.mark.parametrize(
    "keywords",
    [
        {"shape": (2, 2), "dimension_names": (1, "a")},
        {"shape": True},
        {"shape": (2.7,)},
        {"shape": "33"},
        {"shape": (1,) * 65},
        {"shape": (2**63,), "chunks": (10,)},
        {"shape": (2,), "serializer": "gzip"},
        {"shape": (2,), "compressors": {"name": "gzip", "configuration": {"level": 99}}},
        {"shape": (2,), "compressors": {"name": "zstd", "configuration": {"lvl": 3}}},
        {"shape": (2,), "compressors": {"id": "blosc", "clevel": 50}, "zarr_format": 2},
        {"shape": (2,), "attributes": [1]},
        {"shape": (2, 3), "chunks": {"z": 1}, "dimension_names": ("x", "y")},
        {"shape": (2, 3), "chunks": {"x": 1}},
    ],
)
def test_what_nobody_could_open_or_write_is_not_created(keywords: dict[str, Any]) -> None:
    store: dict[str, bytes] = {}
    with pytest.raises(xz.MetadataError):
        xz.create_array(store, dtype="i4", **keywords)
    assert store == {}


def test_lengths_by_the_names_of_dimensions() -> None:
    array = xz.create_array({}, shape=(4, 6), dtype="i4", chunks={"y": 3}, dimension_names=("x", "y"))
    assert array.chunks == (4, 3)
    assert xz.create_array({}, shape=np.int64(5), dtype="i4").shape == (5,)


def test_an_array_stays_until_the_one_that_replaces_it_is_stored(tmp_path: Path) -> None:
    """Whatever goes wrong while the data are encoded."""
    xz.create_array(tmp_path / "a", data=np.arange(5))
    narrow = [{"name": "cast_value", "configuration": {"data_type": "uint8"}}]
    with pytest.raises(xz.ChunkError):
        xz.create_array(tmp_path / "a", data=np.array([1, 300]), chunks=1, filters=narrow, overwrite=True)
    assert xz.open_array(tmp_path / "a")[...].tolist() == [0, 1, 2, 3, 4]
    assert xz.create_array(tmp_path / "a", data=["text"], overwrite=True)[...].tolist() == ["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_of_others_are_not_replaced(tmp_path: Path) -> None:
    """A folder of stores, or of anything else, is no node; what a killed writer left of one may go."""
    xz.create_array(tmp_path / "stores" / "one", data=[1])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "thesis.txt").write_text("all of it")
    for folder in ("stores", "texts"):
        with pytest.raises(xz.NodeExistsError, match="not deleted"):
            xz.create_array(tmp_path / folder, shape=(1,), dtype="i4", overwrite=True)
        with pytest.raises(xz.NodeExistsError, match="not deleted"):
            xz.create_array(tmp_path / folder, data=[1], overwrite=True)
        with pytest.raises(xz.NodeExistsError, match="not deleted"):
            xz.create_group(tmp_path / folder, overwrite=True)
    assert (tmp_path / "texts" / "thesis.txt").read_text() == "all of it"
    (tmp_path / "stores" / "one" / "zarr.json").unlink()
    assert xz.create_array(tmp_path / "stores" / "one", data=[2], overwrite=True)[0] == 2


def test_64_dimensions_are_written() -> None:
    """NumPy's iterators know 32."""
    array = xz.create_array({}, shape=(1,) * 63 + (4,), dtype="i4")
    array[...] = np.arange(4)
    assert array[...].ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_nodes_have_the_format_of_the_groups_above(tmp_path: Path, zarr_format: int) -> None:
    """Unless another one is asked for."""
    xz.create_group(tmp_path / "s", zarr_format=zarr_format)
    place = tmp_path / "s"
    assert xz.create_group(place, "g").zarr_format == zarr_format
    assert xz.create_array(place, "h/a", data=[1]).zarr_format == zarr_format
    for _ in range(2):  # the second is built beside the first
        xz.to_zarr(np.arange(3), place, component="g/b", overwrite=True)
        assert xz.open_array(place, "g/b").zarr_format == zarr_format
    assert xz.create_array(place, "i", data=[1], zarr_format=5 - zarr_format).zarr_format == 5 - zarr_format
    assert xz.create_array({}, data=[1]).zarr_format == xz.create_group({}).zarr_format == 3


def test_a_text_is_one_dimension_name() -> None:
    """A text for the names of dimensions is one name, as xarray has it, not a name for each of its letters."""
    for name in ("time", "x"):
        array = xz.create_array({}, data=[1, 2, 3], chunks={name: 2}, dimension_names=name)
        assert (array.dimension_names, array.chunks) == ((name,), (2,))
    with pytest.raises(xz.MetadataError, match="1 dimension names do not fit an array of 4 dimensions"):
        xz.create_array({}, shape=(1, 1, 1, 1), dtype="i4", dimension_names="time")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_members_of_a_codec_beside_its_name_are_refused(zarr_format: int) -> None:
    """A level that stands beside the name, as numcodecs has it, is not lost without a word."""
    for codec in ({"name": "gzip", "level": 9}, {"name": "zstd", "configuration": {}, "level": 3}):
        with pytest.raises(xz.MetadataError, match="'level' beside its name") as caught:
            xz.create_array({}, data=[1, 2], compressors=codec, zarr_format=zarr_format)
        assert "'level'" in caught.value.hint and "configuration" in caught.value.hint
    for codec in ({"id": "gzip", "level": 9}, {"name": "gzip", "configuration": {"level": 9}, "must_understand": True}):
        array = xz.create_array({}, data=[1, 2], compressors=codec, zarr_format=zarr_format)
        assert array.spec.codecs[-1].configuration["level"] == 9


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_delta_has_the_data_type_of_the_array(zarr_format: int) -> None:
    """``delta`` without a data type gets that of the array: numcodecs, and so zarr-python, needs one."""
    for delta in ("delta", {"id": "delta"}, {"id": "delta", "astype": "<i8"}):
        store: dict[str, bytes] = {}
        xz.create_array(store, data=np.arange(5, dtype="i4"), filters=delta, zarr_format=zarr_format)
        array = xz.open_array(store)
        assert [codec.configuration["dtype"] for codec in array.spec.codecs if "delta" in codec.name] == ["<i4"]
        np.testing.assert_array_equal(array[:], np.arange(5))
