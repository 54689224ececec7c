"""References of strangers (kerchunk): what is wrong about them ends in one of our errors, never in one of fsspec's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz

pytest.importorskip("fsspec")

VALUES = np.arange(6.0)


def references(tmp_path: Path, key: str, reference: Any) -> str:
    """Store a group with an array as references, of which the one of ``key`` is another; return its URL."""
    stored: dict[str, Any] = {}
    xz.create_group(stored)
    xz.create_array(stored, "a", data=VALUES, compressors=None, chunks=(3,))
    (tmp_path / "chunk").write_bytes(stored["a/c/0"])
    found = {name: bytes(value).decode() for name, value in stored.items() if name.endswith("zarr.json")}
    found["a/c/0"] = [f"{tmp_path}/chunk", 0, 24]  # type: ignore[assignment]
    found["a/c/1"] = [f"{tmp_path}/chunk"]  # type: ignore[assignment]
    return written(tmp_path, {"version": 1, "refs": found | {key: reference}})


def written(tmp_path: Path, document: Any) -> str:
    """Store a document of references; return its URL."""
    (tmp_path / "references.json").write_text(json.dumps(document))
    return f"reference::{tmp_path}/references.json"


def test_sound_references(tmp_path: Path) -> None:
    """What these tests damage is read where it is whole."""
    array = xz.open_array(references(tmp_path, "b", "text"), "a")
    assert array[...].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    "document",
    [
        3,
        {"version": [1], "refs": {}},
        {"version": 1, "refs": "text"},
        {"version": 1, "refs": {"zarr.json": "base64:AAA"}},
        {"version": 1, "refs": {"zarr.json": []}},
        {"version": 1, "refs": {"zarr.json": [None, 0, 1]}},
    ],
)
def test_documents_that_hold_no_references(document: Any, tmp_path: Path) -> None:
    """What fsspec cannot even begin with names the document."""
    url = written(tmp_path, document)
    with pytest.raises(xz.XzarrError, match=r"(?s)cannot be (opened|followed): .*  at reference::.*references.json"):
        xz.open(url)


WRONG = [3, True, None, {"a": 1}, [1, 0, 10], ["chunk", 1], ["chunk", 1, 2, 3], ["chunk", None, None]]


@pytest.mark.parametrize("wrong", WRONG)
def test_references_that_are_none(wrong: Any, tmp_path: Path) -> None:
    """Such a reference is our error where it is needed, and by the chunk that it stands for."""
    url = references(tmp_path, "a/c/1", wrong)
    try:
        array = xz.open_array(url, "a")
    except xz.XzarrError as error:  # of those that fsspec looks at when it begins
        assert "references.json" in error.where
        return
    assert array[:3].tolist() == [0, 1, 2]
    with pytest.raises(xz.ChunkError, match=r"(key|the reference at) 'a/c/1'"):
        array[3:]


@pytest.mark.parametrize("wrong", WRONG)
def test_names_listed_by_wrong_references(wrong: Any, tmp_path: Path) -> None:
    """Who lists names, or asks for sizes, gets the names or our error."""
    url = references(tmp_path, "a/c/1", wrong)
    try:
        array = xz.open_array(url, "a")
        assert array.nchunks_stored() in (1, 2)
    except xz.MetadataError as error:
        assert "cannot be followed: " in str(error)
    except xz.XzarrError as error:
        assert "references.json" in error.where
