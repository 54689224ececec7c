"""Stores in ExZarr's own form, made fresh by a script: read as they were meant, with and without being told."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.golden.make_exzarr import LITTLE, Made, crc32c_of, lz4, make, snappy, v2_document, v3_document, zstd
from tests.golden.test_field import ROWS as FIELD_ROWS
from xzarr_backend.compat import QUIRKS, WRITERS, found_quirks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all stores."""
    return tmp_path_factory.mktemp("exzarr")


@pytest.fixture(scope="module")
def made(folder: Path) -> list[Made]:
    """What the script made there."""
    return make(folder)


def opened(folder: Path, made: Made, **keywords: Any) -> Any:
    """Return the array."""
    return xz.open_array(folder / made.store, made.path, **keywords)


def assert_meant(found: Any, values: Any) -> None:
    """The values, their data type and their shape are those that were meant."""
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def readable(made: list[Made]) -> list[Made]:
    """Return the arrays that the option reads."""
    return [array for array in made if array.readable]


def by_rows(made: list[Made], *rows: str) -> Iterator[Made]:
    """Yield the arrays that show one of the rows."""
    return (array for array in made if set(rows) & set(array.rows))


# --- values ----------------------------------------------------------------------------------------------------------


def test_with_the_option_everything_reads_as_meant(folder: Path, made: list[Made]) -> None:
    """Who says that ExZarr wrote the stores gets exactly the values that were meant, from every one of them."""
    assert len(made) >= 45
    for array in readable(made):
        assert_meant(opened(folder, array, quirks="exzarr")[...], array.values)


def test_without_the_option_what_can_be_told_is_told(folder: Path, made: list[Made]) -> None:
    """Where metadata or bytes decide, no option is needed; where they cannot, there is an error, or other values."""
    for array in made:
        if array.otherwise == "error":
            with pytest.raises(xz.XzarrError):
                opened(folder, array)[...]
        elif array.otherwise == "other":
            assert not np.array_equal(opened(folder, array)[...], array.values), array.store
        else:
            assert_meant(opened(folder, array)[...], array.values)


def test_parts_are_read_alike(folder: Path, made: list[Made]) -> None:
    """A selection of parts gives what the same selection of the whole gives, also out of ExZarr's shards."""
    for array in readable(made):
        where = tuple(slice(1, None, 2) for _ in array.values.shape)
        assert_meant(opened(folder, array, quirks="exzarr")[where], array.values[where])


@pytest.mark.parametrize("store", ["v3_shards_end", "v3_shards_start", "v3_shards_zstd"])
def test_errors_of_shards_name_the_option(folder: Path, made: list[Made], store: str) -> None:
    """Whoever reads ExZarr's shards without the option is told of it; nothing reads as fill values."""
    with pytest.raises(xz.ChunkError, match='quirks="exzarr"'):
        xz.open_array(folder / store)[...]


def test_the_error_of_delta_names_both_readings(folder: Path, made: list[Made]) -> None:
    """In v3, nobody but its writer knows what "delta" holds: the error says both, and how to get each."""
    with pytest.raises(xz.UnsupportedError) as caught:
        xz.open_array(folder / "v3_delta")
    assert "quirks='exzarr'" in str(caught.value)
    assert "numcodecs.delta" in str(caught.value)


def test_what_exzarr_destroyed_is_refused(folder: Path, made: list[Made]) -> None:
    """With the option, bitround of v2 is refused: what, where, and that the data have to come from elsewhere."""
    assert [array.store for array in made if not array.readable] == ["v2_bitround"]
    with pytest.raises(xz.UnsupportedError, match="destroys the data") as caught:
        xz.open_array(folder / "v2_bitround", quirks="exzarr")
    assert caught.value.where.endswith("filters[0]") and "source" in caught.value.hint
    (first, *_) = xz.doctor(folder / "v2_bitround", quirks="exzarr").findings
    assert (first.id, first.severity) == ("exzarr-bitround", "error")


# --- rows ------------------------------------------------------------------------------------------------------------


def document_of(folder: Path, made: Made) -> tuple[dict[str, Any], int]:
    """Return the document of an array, and the format whose name it has."""
    spec = opened(folder, made, quirks="exzarr" if made.readable else None).spec
    archived = (folder / made.store / "array.zip").exists()
    return dict(spec.document), 2 if archived else spec.zarr_format


def test_every_array_shows_the_rows_it_stands_for(folder: Path, made: list[Made]) -> None:
    """The rows that an array is said to show are found in its document, and those of ExZarr in no other."""
    for array in made:
        document, zarr_format = document_of(folder, array)
        found = {quirk.id for quirk, _ in found_quirks(document, zarr_format, "exzarr")}
        assert set(array.rows) <= found, array.store
        assert {row for row in found if row.startswith("exzarr-")} <= set(array.rows), array.store


def test_every_row_has_a_case(made: list[Made]) -> None:
    """A row added to compat.py without a store here, or a document in test_field.py, is not tested, so it fails."""
    assert {row for array in made for row in array.rows} | FIELD_ROWS == {quirk.id for quirk in QUIRKS}


SHARDED = {"name": "sharding_indexed", "configuration": {"chunk_shape": [2], "codecs": [{"name": "bytes"}]}}
IRREGULAR = {"name": "irregular", "configuration": {"chunk_sizes": [[4]]}}


@pytest.mark.parametrize(
    ("name", "changed", "rows"),
    [
        ("zarr.json", {"codecs": [SHARDED], "chunk_grid": IRREGULAR}, ("v3-irregular", "exzarr-shards")),
        (".zarray", {"order": "F"}, ("v2-v3-document", "exzarr-order")),
        (".zarray", {"dtype": "<u1"}, ("v2-v3-document", "v2-byte-order-of-one-byte")),
    ],
)
def test_rows_that_contradict_each_other_are_both_named(name: str, changed: Any, rows: tuple[str, str]) -> None:
    """A document that cannot mean both of what its rows say is refused, naming both; the doctor names them too."""
    store = {name: json.dumps({**v3_document(np.zeros(4, "<i4"), (4,), [LITTLE]), **changed}).encode()}
    with pytest.raises(xz.MetadataError, match="contradict") as caught:
        xz.open_array(store, quirks="exzarr")
    assert all(row in str(caught.value) for row in rows)
    assert len(caught.value.problems) == 2
    (wrong,) = [one for one in xz.doctor(store, quirks="exzarr").findings if one.id == "document-wrong"]
    assert all(row in wrong.what for row in rows)


def test_codecs_beside_shards_are_refused() -> None:
    """Nobody has seen what ExZarr does with them, so they are neither ignored nor guessed."""
    codecs = [SHARDED, {"name": "gzip", "configuration": {"level": 1}}]
    store = {"zarr.json": json.dumps(v3_document(np.zeros(4, "<i4"), (2,), []) | {"codecs": codecs}).encode()}
    with pytest.raises(xz.UnsupportedError, match="not known how ExZarr stores shards"):
        xz.open_array(store, quirks="exzarr")


V2_BASES = [
    {"filters": [{"id": name, "dtype": "<i4", "scale": 2, "offset": 1, "keepbits": 3}], "compressor": None}
    for name in ("packbits", "categorize", "fixedscaleoffset", "bitround")
]
BASES = [
    *((".zarray", v2_document(np.zeros((4, 6), "<i4"), (2, 3), **base)) for base in V2_BASES),
    *((".zarray", v2_document(np.zeros((4, 6), "<i4"), (2, 3), base["filters"][0]["id"])) for base in V2_BASES),
    ("zarr.json", {**v3_document(np.zeros((4, 6), "<i4"), (2, 3), []), "codecs": [SHARDED]}),
    ("zarr.json", {**v3_document(np.zeros((4, 6), "<i4"), (2, 3), ["delta", ("bytes", {"endian": "big"})])}),
    ("zarr.json", {**v3_document(np.zeros(4, "<i4"), (4,), []), "codecs": [SHARDED], "chunk_grid": IRREGULAR}),
]
JUNK = [None, 0, -1, 2**70, 1.5, "", "F", "<i4", [], {}, [1], ["a"], [2, 2], {"name": "x"}, "sharding_indexed", True]


@given(base=st.sampled_from(BASES), choices=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(JUNK)), max_size=3))
def test_whatever_a_document_holds_only_our_errors_are_raised(
    base: tuple[str, Any], choices: list[tuple[int, Any]]
) -> None:
    """Members replaced at random are refused, or read, with and without the option; so say the doctor and the check."""
    name, document = base[0], copy.deepcopy(base[1])
    for number, junk in choices:
        places = list(_places(document))
        holder, key = places[number % len(places)]
        holder[key] = copy.deepcopy(junk)
    store = {name: json.dumps(document).encode(), "0.0": bytes(24), "c/0/0": bytes(24)}
    for keywords in ({}, {"quirks": "exzarr"}, {"strict": True}):
        with contextlib.suppress(xz.XzarrError):
            array = xz.open_array(store, **keywords)
            assert array.size > 100 or array[...] is not None
    xz.doctor(store, quirks="exzarr")
    xz.check_profile(store, "exzarr")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all places of a document, as what holds a member and its key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def test_rows_of_a_writer_need_its_name(folder: Path, made: list[Made]) -> None:
    """An array shows a row of a writer exactly when it needs the option."""
    needed = {quirk.id for quirk in QUIRKS if quirk.writer is not None}
    assert WRITERS == ("exzarr",)
    for array in made:
        assert bool(needed & set(array.rows)) == (array.quirks is not None), array.store


def test_strict_refuses_with_the_place(folder: Path, made: list[Made]) -> None:
    """What is read although the specification refuses it is refused on demand, each place with what was meant."""
    always = {quirk.id: quirk for quirk in QUIRKS if quirk.writer is None}
    for array in made:
        document, zarr_format = document_of(folder, array)
        places = {place for row in array.rows if row in always for place in always[row].places(document)}
        if not places:
            continue
        assert zarr_format in (2, 3)
        with pytest.raises(xz.MetadataError, match="strict=True") as caught:
            opened(folder, array, strict=True)
        assert places <= {place for place, _ in caught.value.problems}, array.store


def test_strict_reads_what_is_right(folder: Path, made: list[Made]) -> None:
    """ExZarr's default in v2 is nothing that a specification refuses."""
    for store in ("v2_zlib", "v2_zstd", "zip_v2"):
        array = next(array for array in made if array.store == store)
        assert_meant(opened(folder, array, strict=True)[...], array.values)


# --- what lies around ------------------------------------------------------------------------------------------------


def test_lock_files_are_nothing(folder: Path, made: list[Made]) -> None:
    """Empty lock files beside the chunks count neither as chunks nor as members."""
    for store, stored in (("v2_zlib", 9), ("v3_gzip", 9), ("v2_nan", 1)):
        array = xz.open_array(folder / store)
        assert list((folder / store).rglob("*.lock.read"))
        assert (array.nchunks, array.nchunks_stored()) == (9 if stored == 9 else 3, stored)
    group = xz.open_group(folder / "group")
    assert [name for name, _ in group.members(depth=None)] == ["sub", "sub/counts", "temperature"]


@pytest.mark.parametrize("consolidated", [None, True, False])
def test_v3_arrays_below_v2_groups(folder: Path, made: list[Made], consolidated: bool | None) -> None:
    """Groups are marked as v2 whatever lies in them; with and without their consolidated metadata all is found."""
    group = xz.open_group(folder / "group", consolidated=consolidated)
    arrays = [array for array in made if array.store == "group"]
    assert len(arrays) == 2
    for array in arrays:
        assert_meant(group[array.path][...], array.values)
    assert group["temperature"].attrs["units"] == "K"
    assert group["temperature"].dimension_names == ("y", "x")


def test_archives_are_opened_by_their_folder_or_themselves(folder: Path, made: list[Made]) -> None:
    """ExZarr puts an archive into a folder of its own; both names lead to the array."""
    for array in made:
        if array.store.startswith("zip"):
            assert_meant(xz.open_array(folder / array.store / "array.zip")[...], array.values)


def test_documents_have_the_members_that_exzarr_writes(folder: Path, made: list[Made]) -> None:
    """A v2 document has eight members, no more; a v3 document says null for names that nobody gave."""
    document = json.loads((folder / "v2_zlib" / ".zarray").read_text("utf-8"))
    assert sorted(document) == sorted(
        ["chunks", "compressor", "dtype", "fill_value", "filters", "order", "shape", "zarr_format"]
    )
    assert json.loads((folder / "v3_default" / "zarr.json").read_text("utf-8"))["dimension_names"] is None


def test_the_codecs_by_hand_are_right() -> None:
    """The bytes that the script makes are those of the formats, as others read them."""
    numcodecs = pytest.importorskip("numcodecs")
    data = bytes(range(256)) * 3
    assert crc32c_of(b"123456789") == 0xE3069283
    assert numcodecs.LZ4().decode(lz4(data)[:4] + lz4(data)[8:]) == data
    assert numcodecs.Zstd().decode(zstd(data)) == data
    assert snappy(b"abc") == b"\x03\x08abc"
