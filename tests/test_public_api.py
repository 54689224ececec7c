"""The public names and their keywords: a contract with notebooks, fixtures and users."""

from __future__ import annotations

import inspect
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import pytest

import xzarr_backend as xz

OPENING = {
    "mode": "r",
    "zarr_format": None,
    "consolidated": None,
    "storage_options": None,
    "quirks": None,
    "missing": "fill",
    "strict": False,
}

CREATING = {
    "name": None,
    "shape": None,
    "dtype": None,
    "data": None,
    "chunks": "auto",
    "shards": None,
    "filters": None,
    "compressors": "auto",
    "serializer": "auto",
    "fill_value": None,
    "order": "C",
    "dimension_names": None,
    "attributes": None,
    "chunk_key_encoding": None,
    "zarr_format": 3,
    "profile": None,
    "write_empty_chunks": False,
    "durable": False,
    "overwrite": False,
    "storage_options": None,
}

# function: (positional arguments with their defaults, keywords that must be there with their defaults)
SIGNATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open": ({"store": ..., "path": ""}, OPENING),
    "create_array": ({"store": ..., "path": ""}, CREATING),
    "create_group": (
        {"store": ..., "path": ""},
        {"attributes": None, "zarr_format": 3, "profile": None, "overwrite": False, "storage_options": None},
    ),
    "consolidate_metadata": ({"store": ..., "path": ""}, {}),
    "from_zarr": (
        {"store": ..., "component": None},
        {"chunks": None, "storage_options": None, "name": None, "inline_array": True},
    ),
    "open_dataset": ({"store": ...}, {"chunks": None}),
    "open_zarr": ({"store": ...}, {"chunks": {}}),
    "open_datatree": ({"store": ...}, {"chunks": None}),
    "open_mfdataset": ({"paths": ...}, {}),
    "available_codecs": ({}, {}),
    "codec_available": ({"name": ...}, {}),
}

# names one after the other, as they read best
ARRAY, ARRAY_METHODS, GROUP, GROUP_METHODS = (
    names.split()
    for names in (
        "shape dtype ndim size nbytes chunks shards fill_value attrs dimension_names zarr_format order codecs filters "
        "compressors serializer nchunks info store path name oindex vindex blocks",
        "nchunks_stored nbytes_stored explain resize append close __array__ __len__ __getitem__ __setitem__ "
        "__dask_tokenize__",
        "attrs store path name zarr_format info",
        "arrays groups members tree create_array create_group require_group consolidate keys values items get "
        "__getitem__ __delitem__ __contains__ __iter__ __len__",
    )
)

ERRORS = {
    "NodeNotFoundError": FileNotFoundError,
    "NodeExistsError": FileExistsError,
    "MetadataError": ValueError,
    "UnsupportedError": NotImplementedError,
    "SelectionError": IndexError,
    "RegionError": ValueError,
    "ChunkError": OSError,
    "ReadOnlyError": PermissionError,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_functions_take_the_agreed_arguments(name: str) -> None:
    """Positional arguments come in the agreed order; every agreed keyword is there with its default."""
    positional, keywords = SIGNATURES[name]
    parameters = inspect.signature(getattr(xz, name)).parameters
    first = list(parameters.values())[: len(positional)]
    assert {p.name: _default(p) for p in first} == positional
    assert [p.name for p in first] == list(positional)
    assert {key: _default(parameters[key]) for key in keywords} == keywords
    assert all(parameters[key].kind is inspect.Parameter.KEYWORD_ONLY for key in keywords)


def _default(parameter: inspect.Parameter) -> Any:
    return ... if parameter.default is inspect.Parameter.empty else parameter.default


@pytest.mark.parametrize("name", ["open_array", "open_group"])
def test_open_array_and_open_group_take_what_open_takes(name: str) -> None:
    """They take a store, a path, and the keywords of `open`."""
    array = xz.create_array({}, data=[1])
    group = xz.create_group({})
    opened = getattr(xz, name)((array if name == "open_array" else group).store, "", **OPENING)
    assert type(opened).__name__.lower() == name.removeprefix("open_")


def test_every_public_name_exists() -> None:
    """What ``__all__`` lists can be had, and is listed by ``dir``."""
    assert [name for name in xz.__all__ if not hasattr(xz, name)] == []
    assert {name for name in dir(xz) if not name.startswith("__")} == set(xz.__all__)  # what completion shows


def test_unknown_names_are_attribute_errors() -> None:
    """A name that the package lacks raises what Python expects."""
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = xz.no_such_thing


def test_arrays_have_the_agreed_members() -> None:
    """Every fact and method of an array is there, facts as attributes."""
    array = xz.create_array({}, data=[[1, 2], [3, 4]])
    assert [name for name in ARRAY if not hasattr(array, name) or inspect.ismethod(getattr(array, name))] == []
    assert [name for name in ARRAY_METHODS if not callable(getattr(array, name, None))] == []


def test_groups_have_the_agreed_members() -> None:
    """Every fact and method of a group is there."""
    group = xz.create_group({})
    assert [name for name in GROUP if not hasattr(group, name)] == []
    assert [name for name in GROUP_METHODS if not callable(getattr(group, name, None))] == []


@pytest.mark.parametrize(("name", "builtin"), ERRORS.items())
def test_errors_are_the_built_in_ones_too(name: str, builtin: type[Exception]) -> None:
    """Each error is an `XzarrError` and the built-in exception that one would expect."""
    assert issubclass(getattr(xz, name), xz.XzarrError)
    assert issubclass(getattr(xz, name), builtin)


def test_public_functions_and_classes_are_documented() -> None:
    """Everything public has a docstring of its own."""
    undocumented = [name for name in xz.__all__ if not (getattr(xz, name).__doc__ or "").strip()]
    assert undocumented == []


def test_the_package_is_registered() -> None:
    """The installed package has the version of the code, the engine of xarray and the command."""
    try:
        installed = version("xzarr-backend")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert installed == xz.__version__
    assert [point.value for point in entry_points(group="xarray.backends", name="xzarr")] == [
        "xzarr_backend.xarray_backend:XzarrBackendEntrypoint"
    ]
    assert [point.value for point in entry_points(group="console_scripts", name="xzarr")] == ["xzarr_backend.cli:main"]
