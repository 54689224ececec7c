"""What the engine spares xarray looking at: the dataset is the one that xarray makes of the same store by itself."""

from __future__ import annotations

import base64
import struct
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xzarr_backend as xz
from tests.xarray_parity import ENGINE, assert_same_encoding
from xzarr_backend import xarray_decoding
from xzarr_backend.xarray_decoding import concerned_variables

NAMES = ("x", "y", "a", "b", "lat", "time", "crs")
SIZES = {"x": 2, "y": 3, "time": 2}
NAN = base64.b64encode(struct.pack("<d", np.nan)).decode()

REFERENCES = ("x", "a lat", "lat: a time: b", "b missing", "y: x")
ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "units": ("m", "days since 2000-01-01", "days", "Hours", "second", "s since launch", 1, ["m"]),
    "long_name": ("a name",),
    "history": ("lat time crs",),
    "_FillValue": (NAN, [NAN, NAN], 0, 2, "NaN", [0.0, 1.0]),
    "missing_value": (0, 1.5),
    "scale_factor": (0.5,),
    "add_offset": (3,),
    "_Unsigned": ("true", "false"),
    "dtype": ("bool", "timedelta64[s]"),
    "calendar": ("standard", "noleap"),
    "coordinates": REFERENCES,
    "bounds": REFERENCES,
    "grid_mapping": REFERENCES,
    "ancillary_variables": REFERENCES,
}

needs_new_xarray = pytest.mark.skipif(
    not xarray_decoding._INDEXES_COME_LATER, reason="this xarray makes indexes within its own entry point"
)

attribute = st.one_of(*(st.tuples(st.just(name), st.sampled_from(values)) for name, values in ATTRIBUTES.items()))
few_attributes = st.lists(attribute, max_size=3).map(dict)
dtypes = st.sampled_from(["f4", "f8", "i2", "u1", "i8", "c8", "b1", ">f4", ">i2", "S1", "S3", "U2", "M8[s]", "m8[s]"])
dims = st.sampled_from([(), ("x",), ("y",), ("x", "y"), ("time",), ("time", "y")])
variable = st.tuples(dims, dtypes, few_attributes, st.booleans())
keywords = st.fixed_dictionaries(
    {},
    optional={
        "drop_variables": st.one_of(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3)),
        "decode_times": st.booleans(),
        "decode_coords": st.sampled_from([True, False, "coordinates", "all"]),
        "decode_timedelta": st.booleans(),
        "mask_and_scale": st.sampled_from([True, False, {"a": False, "b": True}]),
        "concat_characters": st.booleans(),
        "use_cftime": st.sampled_from([True, False, None, {"a": True}]),
        "use_zarr_fill_value_as_mask": st.booleans(),
    },
)


def store_of(variables: dict[str, Any], zarr_format: int) -> dict[str, bytes]:
    """Return a group of small arrays; ``with_fill``: floats have NaN as their fill value, integers 1."""
    store: dict[str, bytes] = {}
    xz.create_group(store, zarr_format=zarr_format, attributes={"coordinates": "lat crs"})
    for name, (dims, dtype, attributes, with_fill) in variables.items():
        kind = np.dtype(dtype).kind
        fill: Any = (np.nan if kind == "f" else 1) if with_fill and kind in "fiu" else None
        xz.create_array(
            store,
            name,
            data=np.ones([SIZES[dim] for dim in dims], "i8").astype(dtype),
            **({"fill_value": fill} if fill is not None or zarr_format == 2 else {}),
            attributes=attributes,
            zarr_format=zarr_format,
            dimension_names=dims,
        )
    return store


def opened(store: dict[str, bytes], **keywords: Any) -> tuple[Any, list[str]]:
    """Return the dataset or the error, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            dataset = xr.open_dataset(store, engine=ENGINE, consolidated=False, **keywords)
        except Exception as error:  # whatever xarray raises
            return f"{type(error).__name__}: {error}", []
    return dataset, sorted(str(each.message) for each in said)


def assert_same(theirs: xr.Dataset, ours: xr.Dataset) -> None:
    assert list(theirs.variables) == list(ours.variables)
    assert list(theirs.coords) == list(ours.coords)
    assert theirs.encoding == ours.encoding
    assert list(theirs.xindexes) == list(ours.xindexes)
    np.testing.assert_equal(ours.attrs, theirs.attrs)
    for name in theirs.variables:
        left, right = theirs.variables[name], ours.variables[name]
        assert (left.dims, left.dtype, type(left)) == (right.dims, right.dtype, type(right)), name
        np.testing.assert_equal(right.attrs, left.attrs, err_msg=str(name))
        assert list(left.attrs) == list(right.attrs), name
        assert_same_encoding(name, left.encoding, right.encoding)
        try:
            left.load()
        except Exception as error:
            with pytest.raises(type(error)):
                right.values  # noqa: B018
        else:
            assert right.equals(left), name


def assert_as_xarray(variables: dict[str, Any], zarr_format: int, keywords: dict[str, Any]) -> None:
    """Fail unless the engine gives what it gives where everything is taken through xarray."""
    store = store_of(variables, zarr_format)
    ours, our_warnings = opened(store, **keywords)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xarray_decoding, "_INDEXES_COME_LATER", False)  # then everything goes through xarray
        theirs, their_warnings = opened(store, **keywords)
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert_same(theirs, ours)
        assert our_warnings == their_warnings


@needs_new_xarray
@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), variable, max_size=6), st.sampled_from([2, 3]), keywords)
def test_datasets_are_those_of_xarray(variables: dict[str, Any], zarr_format: int, keywords: dict[str, Any]) -> None:
    """With any attributes, types and decoders, the engine agrees with xarray's own entry point."""
    assert_as_xarray(variables, zarr_format, keywords)


@needs_new_xarray
@pytest.mark.parametrize("dtype", ["f4", "i1", "u2", "b1", "c8"])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_of_each_plain_type(name: str, dtype: str) -> None:
    """What xarray does for one attribute, alone and beside the units of a time span, happens for every type."""
    others = {"a": (("x",), "f4", {}, True), "lat": (("y",), "f8", {}, True)}
    for value in ATTRIBUTES[name]:
        for beside in ({}, {"units": "seconds"}):
            each = {"b": (("x", "y"), dtype, {**beside, name: value}, False)}
            assert_as_xarray({**others, **each}, 3, {"decode_timedelta": True, "decode_coords": "all"})


@needs_new_xarray
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_looks_at_what_concerns_it(zarr_format: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many plain variables none is taken through xarray's conventions; what needs it, and what that names, is."""
    masked = {"_FillValue": NAN} if zarr_format == 3 else {}  # format 2: the fill value of the array
    plain: dict[str, Any] = {f"f{number}": (("x",), "f4", {"units": "m", **masked}, True) for number in range(10)}
    plain |= {f"i{number}": (("x",), "i2", {"units": "m"}, False) for number in range(10)}
    others = {
        "time": (("time",), "i8", {"units": "days since 2000-01-01", "bounds": "edges"}, False),
        "edges": (("time", "y"), "f8", {}, False),
        "packed": (("x",), "i2", {"scale_factor": 0.5, "coordinates": "lat"}, False),
        "lat": (("x",), "f4", {"units": "degrees_north"}, True),
    }
    decode, seen = xr.conventions.decode_cf_variables, []

    def counting(variables: Any, *arguments: Any, **keywords: Any) -> Any:
        seen.append(set(variables))
        return decode(variables, *arguments, **keywords)

    monkeypatch.setattr(xr.conventions, "decode_cf_variables", counting)
    store = store_of({**plain, **others}, zarr_format)
    dataset = xr.open_dataset(store, engine=ENGINE, consolidated=False)
    assert seen == [set(others)]
    assert dataset["edges"].dtype.kind == "M"
    assert "lat" in dataset.coords
    assert np.isnan(dataset["f0"].encoding["_FillValue"])
    assert "_FillValue" not in dataset["f0"].attrs
    xr.open_dataset(store, engine=ENGINE, consolidated=False, mask_and_scale=False)
    assert seen[1] == {*plain, *others}


@needs_new_xarray
@pytest.mark.parametrize("use_cftime", [True, False])
def test_use_cftime_is_heard_where_there_are_no_times(use_cftime: bool) -> None:
    """xarray warns of the keyword, and refuses it beside a coder, whatever there is to decode."""
    plain = {"b": (("x",), "f4", {}, False)}
    assert_as_xarray(plain, 3, {"use_cftime": use_cftime})
    coder = xr.coders.CFDatetimeCoder()
    with pytest.raises(TypeError, match="use_cftime"):
        xr.open_dataset(
            store_of(plain, 3), engine=ENGINE, consolidated=False, decode_times=coder, use_cftime=use_cftime
        )


def test_single_characters_need_all_variables() -> None:
    """xarray joins characters along a dimension that nothing else has, so it has to see what else there is."""
    characters = xr.Variable(("x",), np.array([b"a", b"b"]))
    other = xr.Variable(("x",), np.zeros(2))
    assert set(concerned_variables({"letters": characters, "other": other})) == {"letters", "other"}
    assert set(concerned_variables({"words": characters.astype("S2"), "other": other})) == {"words"}


def test_names_to_drop_may_come_one_by_one() -> None:
    """What yields the names only once drops them, too: concerned variables and others, and in every group."""
    variables = {"a": (("x",), "f4", {}, False), "b": (("x",), "i2", {"scale_factor": 0.5}, False)}
    store = store_of({**variables, "time": (("x",), "f4", {}, False)}, 3)
    store |= {f"inner/{key}": value for key, value in store.items()}
    dataset = xr.open_dataset(store, engine=ENGINE, consolidated=False, drop_variables=iter(["a", "b"]))
    assert list(dataset.variables) == ["time"]
    groups = xr.open_groups(store, engine=ENGINE, consolidated=False, drop_variables=iter(["a", "b"]))
    assert {path: list(each.variables) for path, each in groups.items()} == {"/": ["time"], "/inner": ["time"]}
