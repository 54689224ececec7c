"""Errors: three lines of text, built-in bases, and they survive pickling."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

import xzarr_backend as xz
from xzarr_backend import errors

CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.XzarrError)]

BASES = {
    "NodeNotFoundError": FileNotFoundError,
    "MemberNotFoundError": KeyError,
    "NodeExistsError": FileExistsError,
    "MetadataError": ValueError,
    "UnsupportedError": NotImplementedError,
    "SelectionError": IndexError,
    "RegionError": ValueError,
    "ChunkError": OSError,
    "ReadOnlyError": PermissionError,
    "ArgumentError": TypeError,
}


@pytest.mark.parametrize("cls", CLASSES)
def test_three_lines(cls: type[errors.XzarrError]) -> None:
    """What went wrong, where, and what to do: a line each."""
    error = cls("zstd could not decode 4 bytes", where="s3://bucket, array 'a'", hint="try `xzarr verify`")
    assert str(error) == "zstd could not decode 4 bytes\n  at s3://bucket, array 'a'\n  try `xzarr verify`"
    assert str(cls("only what")) == "only what"
    assert str(cls("what", hint="hint")) == "what\n  hint"


@pytest.mark.parametrize("cls", CLASSES)
def test_pickling(cls: type[errors.XzarrError]) -> None:
    """An error that comes back from another process is the same error."""
    error = cls("what", where="where", hint="hint")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls
        assert str(again) == str(error)
        assert (again.what, again.where, again.hint) == ("what", "where", "hint")


@pytest.mark.parametrize("cls", CLASSES)
def test_built_in_bases(cls: type[errors.XzarrError]) -> None:
    """Each error is also the built-in that callers expect, and ours."""
    assert issubclass(cls, errors.XzarrError)
    if cls is not errors.XzarrError:
        assert issubclass(cls, BASES[cls.__name__])
    with pytest.raises(BASES.get(cls.__name__, Exception)):
        raise cls("what")


def test_errors_are_public() -> None:
    """Every error class can be caught by a name of the package."""
    for cls in CLASSES:
        assert getattr(xz, cls.__name__) is cls


def test_problems_of_metadata() -> None:
    """All problems of a document are listed with their places, and survive pickling."""
    error = errors.MetadataError(
        "the zarr.json metadata are wrong",
        where="x.zarr",
        hint="fix it",
        problems=[("shape", "is missing"), ("a", "b")],
    )
    lines = str(error).split("\n")
    assert lines == [
        "the zarr.json metadata are wrong",
        "  - shape: is missing",
        "  - a: b",
        "  at x.zarr",
        "  fix it",
    ]
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == (("shape", "is missing"), ("a", "b"))
    assert str(again) == str(error)


def test_the_nearest_place_wins() -> None:
    """`at` fills in a place only where none is known."""
    assert errors.ChunkError("what").at("outer").where == "outer"
    assert errors.ChunkError("what", where="inner").at("outer").where == "inner"


def test_notes_and_causes_stay() -> None:
    """Notes that callers add come back from another process."""
    error = errors.ChunkError("what")
    error.add_note("while loading t2m")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while loading t2m"]


def test_real_errors_pickle() -> None:
    """The errors that reading raises travel, whatever their fields hold."""
    store = {"zarr.json": b'{"zarr_format": 3, "node_type": "array", "shape": "x"}'}
    for work in (lambda: xz.open(store), lambda: xz.open({}), lambda: xz.open(store, "../x")):
        with pytest.raises(xz.XzarrError) as caught:
            work()
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)


def test_no_credentials() -> None:
    """User names, passwords and signatures in URLs do not reach the text of errors."""
    with pytest.raises(xz.XzarrError) as caught:
        xz.open("nosuchscheme://user:secret@host/bucket?sig=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("way", ["brackets", "oindex", "vindex", "blocks", "writing"])
def test_selections_that_do_not_fit_name_the_array(way: str) -> None:
    """Whoever reads many arrays in a loop learns which one the index did not fit."""
    array = xz.create_group({}).create_array("deep/inside", shape=(4,), dtype="i4", chunks=(2,))
    with pytest.raises(xz.SelectionError) as caught:
        if way == "writing":
            array[9] = 1
        else:
            (array if way == "brackets" else getattr(array, way))[9]
    assert "deep/inside" in caught.value.where


def test_what_strangers_wrote_does_not_fill_the_screen() -> None:
    """A name of megabytes in a document is quoted in part; the place and the hint stay readable."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4],
        "data_type": "int8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "x" * 10**6},
        "fill_value": 0,
        "codecs": [{"name": "y" * 10**6}],
    }
    with pytest.raises(xz.XzarrError) as caught:
        xz.open({"zarr.json": json.dumps(document).encode()})[...]
    assert len(str(caught.value)) < 4 * errors.LONGEST
    assert "xxx" in str(caught.value)
    assert caught.value.where in str(caught.value)
    assert len(str(errors.XzarrError("a" * 10**6, where="b" * 10**6, hint="c" * 10**6))) < 4 * errors.LONGEST
