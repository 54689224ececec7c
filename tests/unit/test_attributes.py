"""Attributes: stored at once, as JSON that every parser takes, and read back as what was given."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores_fakes import CountingStore

import xzarr_backend as xz
from xzarr_backend.attribute_values import TYPES, decode_attributes, encode_attributes
from xzarr_backend.stores import MemoryStore

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
KINDS = pytest.mark.parametrize("kind", ["array", "group"])


def create(kind: str, zarr_format: int, store: Any, **keywords: Any) -> Any:
    """A node of either kind at the root of ``store``."""
    if kind == "group":
        return xz.create_group(store, zarr_format=zarr_format, **keywords)
    return xz.create_array(store, data=[1, 2], zarr_format=zarr_format, **keywords)


def strict(raw: Any) -> Any:
    """JSON as a strict parser takes it: no bare NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(bytes(raw), parse_constant=refuse)


def same(a: Any, b: Any) -> bool:
    """Equality in value and type, NaN being equal to itself, and arrays by their elements."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and bool(np.array_equal(a.astype("U"), b.astype("U")))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[n], b[n]) for n in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float | complex | np.generic):
        return type(a) is type(b) and repr(a) == repr(b)
    return type(a) is type(b) and bool(a == b)


# --- the mapping ---------------------------------------------------------------------------------------------------


@KINDS
@FORMATS
def test_changes_are_stored_at_once(kind: str, zarr_format: int) -> None:
    """Setting, updating, deleting and replacing are seen by whoever opens the node next, and by the object itself."""
    store = MemoryStore()
    node = create(kind, zarr_format, store, attributes={"old": 1})
    node.attrs["x"] = [1, {"y": None}]
    node.attrs.update({"z": "text"}, w=True)
    del node.attrs["old"]
    expected = {"x": [1, {"y": None}], "z": "text", "w": True}
    assert node.attrs == expected == xz.open(store).attrs
    assert node.attrs.asdict() == expected
    assert node.attrs.pop("w") is True
    assert node.attrs.setdefault("z", "other") == "text"
    node.attrs.put({"only": 1})
    assert dict(xz.open(store).attrs) == {"only": 1}
    node.attrs.clear()
    assert len(xz.open(store).attrs) == 0
    assert "only" in repr(
        pickle.loads(pickle.dumps(create(kind, zarr_format, MemoryStore(), attributes={"only": 1}))).attrs
    )


@KINDS
@FORMATS
def test_an_update_is_one_write(kind: str, zarr_format: int) -> None:
    """Any number of changes in one call is one document stored, once."""
    store = CountingStore(MemoryStore())
    node = create(kind, zarr_format, store, attributes={"a": 0})
    store.requests.clear()
    node.attrs.update(a=1, b=2, c=3)
    assert [call.key for call in store.requests if call.operation == "set"] == [
        "zarr.json" if zarr_format == 3 else ".zattrs"
    ]


@KINDS
@FORMATS
def test_read_only_nodes_refuse_changes(kind: str, zarr_format: int) -> None:
    """A node opened with mode "r" raises `ReadOnlyError` for every kind of change."""
    store = MemoryStore()
    create(kind, zarr_format, store, attributes={"a": 1})
    node = xz.open(store)
    for change in (
        lambda: node.attrs.update(a=2),
        lambda: node.attrs.put({}),
        lambda: node.attrs.__setitem__("a", 2),
        lambda: node.attrs.__delitem__("a"),
        lambda: node.attrs.clear(),
    ):
        with pytest.raises(xz.ReadOnlyError, match=f"the {kind} was opened for reading"):
            change()
    assert dict(xz.open(store).attrs) == {"a": 1}


def test_a_change_fetches_no_document_twice() -> None:
    """The node's own document is fetched once, to be changed, and those of the groups above once each."""
    store = CountingStore(MemoryStore())
    xz.create_group(store).create_group("g").create_array("a", data=[1])
    array = xz.open_array(store, "g/a", mode="r+")
    store.reset()
    array.attrs["units"] = "m"
    fetched = [
        call.key for call in store.requests if call.operation.startswith("get") and call.key.endswith("zarr.json")
    ]
    assert sorted(fetched) == ["g/a/zarr.json", "g/zarr.json", "zarr.json"]


def test_missing_attributes_are_key_errors() -> None:
    """Reading or deleting what is not there raises `KeyError`, and stores nothing."""
    group = xz.create_group({})
    with pytest.raises(KeyError):
        group.attrs["x"]
    with pytest.raises(KeyError):
        del group.attrs["x"]


def test_changing_attributes_keeps_what_is_not_understood() -> None:
    """Members of a document that mean nothing here, and changes of other writers, survive."""
    store = MemoryStore()
    array = xz.create_array(store, data=[1, 2])
    document = json.loads(store.inner["zarr.json"])
    document["extension"] = {"must_understand": False, "x": [1]}
    document["attributes"] = {"theirs": 1}
    store.set("zarr.json", json.dumps(document).encode())
    array.attrs["mine"] = 2
    stored = json.loads(store.inner["zarr.json"])
    assert stored["extension"] == document["extension"]
    assert stored["attributes"] == {"theirs": 1, "mine": 2}
    assert array.attrs == {"theirs": 1, "mine": 2}


def test_a_stale_object_does_not_take_back_a_resize() -> None:
    """Attributes changed through an object that was opened before a resize leave the new shape alone."""
    store = MemoryStore()
    array = xz.create_array(store, data=[1, 2])
    stale = xz.open(store, mode="r+")
    array.resize((5,))
    stale.attrs["x"] = 1
    assert xz.open(store).shape == (5,)
    assert stale.shape == (2,)


def test_dimension_names_of_v2_are_an_attribute() -> None:
    """xarray's attribute is shown, and changing it changes the names."""
    store = MemoryStore()
    array = xz.create_array(store, data=[1, 2], dimension_names=["x"], zarr_format=2)
    assert array.attrs["_ARRAY_DIMENSIONS"] == ["x"]
    array.attrs["_ARRAY_DIMENSIONS"] = ["time"]
    assert array.dimension_names == ("time",) == xz.open(store).dimension_names


def test_the_group_of_old_writers_gets_its_document() -> None:
    """A v2 group that nobody declared is one for all readers after its attributes were set."""
    store = MemoryStore()
    xz.create_array(store, "a", data=[1], zarr_format=2)
    store.delete(".zgroup")
    group = xz.open_group(store, mode="r+")
    group.attrs["x"] = 1
    assert json.loads(store.inner[".zgroup"]) == {"zarr_format": 2}


# --- values ----------------------------------------------------------------------------------------------------------

ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))


class Level(enum.IntEnum):
    """A whole number with a name."""

    LOW = 1


REVERSIBLE = {
    "nan": math.nan,
    "infinities": [math.inf, -math.inf, 1.5],
    "bytes": b"\x00\xff\x80",
    "datetime": dt.datetime(2020, 2, 29, 12, 30, 15, 123456),
    "aware": dt.datetime(2020, 2, 29, 12, 30, tzinfo=ZONE),
    "date": dt.date(1582, 10, 15),
    "timedelta": dt.timedelta(days=-3, microseconds=7),
    "datetime64": np.datetime64("2020-01-01T00:00:00.123456789", "ns"),
    "nat": np.datetime64("NaT", "s"),
    "timedelta64": np.timedelta64(-5, "m"),
    "times": np.array([["2020-01-01", "NaT"]], "M8[D]"),
    "complex": complex(1.5, -2),
    "complex nan": [complex(math.nan, math.inf), 1],
    "words": ["NaN", "Infinity", "AAAA", "2020-01-01"],
    "a/b~c": {"d/~": [[math.nan, "NaN"], {"e": b""}]},
    "": {"": b"empty names"},
    "unicode é": "naïve ☃ \U0001f600",
    "big": 2**70,
    "nothing": None,
}


@pytest.mark.parametrize("name", REVERSIBLE)
@FORMATS
def test_values_read_back_as_they_were(name: str, zarr_format: int) -> None:
    """What JSON has no word for is stored as strict JSON and read back equal, of the same type."""
    store = MemoryStore()
    xz.create_group(store, attributes={name: REVERSIBLE[name]}, zarr_format=zarr_format)
    strict(store.inner["zarr.json" if zarr_format == 3 else ".zattrs"])
    assert same(REVERSIBLE[name], xz.open(store).attrs[name])
    array = xz.create_array(store, "a", data=[1], zarr_format=zarr_format)
    array.attrs[name] = REVERSIBLE[name]
    assert same(REVERSIBLE[name], xz.open(store)["a"].attrs[name])
    assert same(REVERSIBLE[name], pickle.loads(pickle.dumps(xz.open(store)["a"])).attrs[name])


PLAIN = {
    "np.float32(0.5)": (np.float32(0.5), 0.5),
    "np.int16": (np.int16(3), 3),
    "np.bool": (np.bool_(True), True),
    "np.str": (np.str_("a"), "a"),
    "array": (np.array([[1, 2]], ">i2"), [[1, 2]]),
    "floats": (np.array([0.5, 1]), [0.5, 1.0]),
    "nans": (np.array([1, np.nan], "f4"), [1.0, math.nan]),
    "zero-dimensional": (np.array(3), 3),
    "texts": (np.array(["a", "bc"]), ["a", "bc"]),
    "many bytes": (np.array([b"a"]), [b"a"]),
    "complex array": (np.array([[1j, complex(1, math.nan)]]), [[1j, complex(1, math.nan)]]),
    "empty": (np.zeros((0, 2)), []),
    "longdouble": (np.longdouble(0.25), 0.25),
    "tuple": ((1, (2,)), [1, [2]]),
    "bytearray": (bytearray(b"a"), b"a"),
    "enum": (Level.LOW, 1),
}


@pytest.mark.parametrize("name", PLAIN)
def test_values_of_numpy_become_plain_ones(name: str) -> None:
    """Scalars and arrays of numbers and texts are stored as the numbers, texts and lists that xarray makes of them."""
    value, expected = PLAIN[name]
    array = xz.create_array({}, data=[1], attributes={"x": value})
    assert same(expected, array.attrs["x"])
    assert same(expected, xz.open(array.store).attrs["x"])


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"a": {"b": [1, 2, {3}]}}, "a.b[2]"),
        ({"f": print}, "f"),
        ({"a": {1: 2}}, "a[1]"),
        ({2: 1}, "2"),
        ({"o": [object()]}, "o[0]"),
        ({"v": np.void(b"ab")}, "v"),
        ({"t": "\ud800"}, "t"),
        ({TYPES: 1}, TYPES),
    ],
)
@FORMATS
def test_what_cannot_be_stored_is_named(attributes: Any, place: str, zarr_format: int) -> None:
    """The error names the key, down to the place in lists and dicts, and nothing is stored."""
    store = MemoryStore()
    for make in (xz.create_group, lambda *a, **k: xz.create_array(*a, data=[1], **k)):
        with pytest.raises(xz.MetadataError, match="cannot be stored") as caught:
            make(store, attributes=attributes, zarr_format=zarr_format)
        assert f"{place!r}".strip("'") in str(caught.value)
        assert not store.inner
    group = xz.create_group(store, attributes={"kept": 1}, zarr_format=zarr_format)
    with pytest.raises(xz.MetadataError, match="cannot be stored"):
        group.attrs.update(attributes)
    assert dict(group.attrs) == dict(xz.open(store).attrs) == {"kept": 1}


def test_attributes_that_contain_themselves_are_refused() -> None:
    """A list in itself is an error, not an endless loop."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(xz.MetadataError, match="contains itself"):
        xz.create_group({}, attributes={"x": endless})


def test_values_that_other_tools_changed_stay_what_they_are() -> None:
    """A type that does not fit its value any more, or whose attribute is gone, is ignored."""
    stored = encode_attributes({"a": math.nan, "b": b"x", "c": [1j], "d": dt.date(2020, 1, 1), "e": {"f": math.inf}})
    stored |= {"a": 3, "b": "no base64!", "c": "gone", "d": None, "e": 5}
    types = {**stored[TYPES], "/zz/1": "float", "": "bytes", "/a/b": "float", "/c/9": 7}
    assert decode_attributes({**stored, TYPES: types}) == {"a": 3, "b": "no base64!", "c": "gone", "d": None, "e": 5}
    assert decode_attributes({"a": 1, TYPES: "no types"}) == {"a": 1, TYPES: "no types"}


def test_attributes_that_went_through_another_tool_keep_their_meaning() -> None:
    """What a tool copied without knowing of the types is stored again as the values that it stands for."""
    stored = encode_attributes({"a": math.nan, "b": [b"x"], "c": "NaN"})
    copied = xz.create_group({}, attributes={**stored, "d": 1j})
    assert same({"a": math.nan, "b": [b"x"], "c": "NaN", "d": 1j}, dict(copied.attrs))


@FORMATS
def test_bare_nan_of_other_writers_becomes_json(zarr_format: int) -> None:
    """NaN that another writer left bare is read, and stored as valid JSON with the next change."""
    store = MemoryStore()
    group = xz.create_group(store, attributes={"x": 1}, zarr_format=zarr_format)
    key = "zarr.json" if zarr_format == 3 else ".zattrs"
    store.set(key, bytes(store.inner[key]).replace(b'"x": 1', b'"x": NaN, "y": [-Infinity]'))
    group.attrs["z"] = 1
    strict(store.inner[key])
    assert same({"x": math.nan, "y": [-math.inf], "z": 1}, dict(xz.open(store).attrs))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=5)
    | st.complex_numbers()
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
    | st.sampled_from(["NaN", "Infinity", TYPES, "float"])
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["~", "/", "~1", "0"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_values_survive(attributes: dict[str, Any]) -> None:
    """Whatever is nested in whatever: strict JSON comes out, and the same values of the same types come back."""
    stored = strict(json.dumps(encode_attributes(attributes), allow_nan=False).encode())
    assert same(attributes, dict(decode_attributes(stored)))
