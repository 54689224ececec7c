"""Writers to be killed, each with what a reader may find afterwards; used step by step and at random moments.

A scenario prepares a store, writes to it, and says what the store holds before and after. A reader has to find all of
the one or all of the other (``whole``), or, where single objects change, each element as it was or as it is to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import xzarr_backend as xz
from xzarr_backend.array import Array
from xzarr_backend.clearing import resized_spec
from xzarr_backend.errors import NodeNotFoundError
from xzarr_backend.options import Options
from xzarr_backend.stores import open_store
from xzarr_backend.transactions import Append, recover, replaced_node

Content = Mapping[str, Any]  # arrays by path; "@" holds the attributes of the root

CHUNK = 7
FILL = -1


class Scenario(NamedTuple):
    """``write`` may be repeated after a kill: it is the next writer, too."""

    prepare: Callable[[Path, int, int], None]  # (folder, zarr_format, size)
    write: Callable[[Path, int, int], None]
    before: Callable[[int], Content | None]  # None: there is no store yet
    after: Callable[[int], Content]
    whole: bool


def ramp(size: int, start: int = 0) -> Any:
    """Return values that no two places share and no fill value equals."""
    return np.arange(start, start + size, dtype="i4")


def square(size: int, start: int = 0) -> Any:
    """Return a matrix that grows along its first dimension."""
    return ramp(size * 3, start).reshape(size, 3)


def _arrays(folder: Path | Any, path: str, zarr_format: int, arrays: Content) -> None:
    for name, values in arrays.items():
        if name == "@":
            continue
        shards = (2 * CHUNK, *values.shape[1:]) if name == "matrix" and zarr_format == 3 else None
        xz.create_array(
            folder,
            f"{path}/{name}" if path else name,
            data=values,
            chunks=(CHUNK, *values.shape[1:]),
            shards=shards,
            fill_value=FILL,
            zarr_format=zarr_format,
        )


def _store(folder: Path | Any, path: str, zarr_format: int, content: Content, consolidated: bool) -> None:
    xz.create_group(folder, path, attributes=dict(content.get("@", {})), zarr_format=zarr_format)
    _arrays(folder, path, zarr_format, content)
    if consolidated:
        xz.consolidate_metadata(folder, path)


def _base(size: int) -> Content:
    return {"line": ramp(size), "matrix": square(size), "@": {"version": 1}}


def _prepared(consolidated: bool, path: str = "") -> Callable[[Path, int, int], None]:
    def prepare(folder: Path, zarr_format: int, size: int) -> None:
        if path:
            _store(folder, "", zarr_format, {"kept": ramp(size), "@": {"version": 1}}, False)
        _store(folder, path, zarr_format, _base(size), consolidated)

    return prepare


def _nothing(folder: Path, zarr_format: int, size: int) -> None:
    """There is no store before."""


# --- single arrays ---------------------------------------------------------------------------------------------------


def _create(folder: Path, zarr_format: int, size: int) -> None:
    if folder.exists():
        recover(open_store(folder, mode="a"), "")
    store = open_store(folder, mode="a")
    xz.create_group(store, overwrite=True, zarr_format=zarr_format)
    _arrays(store, "", zarr_format, _base(size))
    xz.consolidate_metadata(store)


def _changed(size: int) -> Content:
    line, matrix = ramp(size), square(size)
    line[2 : size - 2] = ramp(size - 4, 1000)
    matrix[3 : size - 3] = square(size - 6, 5000)
    return {"line": line, "matrix": matrix, "@": {"version": 1}}


def _assign(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    group = xz.open_group(store, mode="r+")
    group["line"][2 : size - 2] = ramp(size - 4, 1000)
    group["matrix"][3 : size - 3] = square(size - 6, 5000)


def _attributes(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    for _ in range(max(1, size // 40)):
        xz.open_group(store, mode="r+").attrs.update(version=2, names=["a", "b"])


def _consolidate(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    for _ in range(max(1, size // 40)):
        xz.consolidate_metadata(store)


def _resize(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    xz.open_array(store, "line", mode="r+").resize((2 * size,))


def _append_one(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    line = xz.open_array(store, "line", mode="r+")
    if line.shape == (size,):
        line.append(ramp(size, 9000))
    else:
        xz.consolidate_metadata(store)  # the one before came no further than the array's own document


# --- several arrays --------------------------------------------------------------------------------------------------


def _grown(size: int) -> Content:
    return {
        "line": np.concatenate([ramp(size), ramp(size + 1, 9000)]),
        "matrix": np.concatenate([square(size), square(size + 1, 7000)]),
        "more": ramp(2 * size + 1, 500),
        "@": {"version": 1},
    }


def _append(folder: Path, zarr_format: int, size: int) -> None:
    store = open_store(folder, mode="r+")
    recover(store, "")
    group = xz.open_group(store, mode="r+")
    after = _grown(size)
    if "more" in group:
        return  # the one before had stored everything
    names = ("line", "matrix")
    new = {name: after[name].shape for name in (*names, "more")}
    append = Append.begin(store, "", {name: group[name].shape for name in names}, new)
    try:
        _arrays(store, "", zarr_format, {"more": after["more"]})
        for name in names:
            spec = resized_spec(group[name].spec, after[name].shape)
            Array(store, name, spec, Options(writable=True))[size:] = after[name][size:]
    except BaseException:
        append.rollback()
        raise
    append.commit()


# --- replacing -------------------------------------------------------------------------------------------------------


def _replacing(path: str) -> Callable[[Path, int, int], None]:
    def write(folder: Path, zarr_format: int, size: int) -> None:
        store = open_store(folder, mode="a")
        with replaced_node(store, path) as (staged, place):
            _store(staged, place, zarr_format, {"line": ramp(size + 2, 3000), "@": {"version": 3}}, True)

    return write


def _replaced(size: int) -> Content:
    return {"line": ramp(size + 2, 3000), "@": {"version": 3}}


def _below(path: str, content: Callable[[int], Content]) -> Callable[[int], Content]:
    def found(size: int) -> Content:
        inner = {f"{path}/{name}": values for name, values in content(size).items() if name != "@"}
        return {**inner, "kept": ramp(size), "@": {"version": 1}}

    return found


def _same(change: Callable[[int], Content], **attributes: Any) -> Callable[[int], Content]:
    return lambda size: {**change(size), "@": attributes}


SCENARIOS: dict[str, Scenario] = {
    "create": Scenario(_nothing, _create, lambda size: None, _same(_base), False),
    "assign": Scenario(_prepared(True), _assign, _base, _changed, False),
    "attributes": Scenario(_prepared(False), _attributes, _base, _same(_base, version=2, names=["a", "b"]), True),
    "attributes, consolidated": Scenario(
        _prepared(True), _attributes, _base, _same(_base, version=2, names=["a", "b"]), True
    ),
    "consolidate": Scenario(_prepared(False), _consolidate, _base, _base, True),
    "resize": Scenario(
        _prepared(False),
        _resize,
        _base,
        lambda size: {**_base(size), "line": np.concatenate([ramp(size), np.full(size, FILL, "i4")])},
        True,
    ),
    "append one": Scenario(
        _prepared(True),
        _append_one,
        _base,
        lambda size: {**_base(size), "line": np.concatenate([ramp(size), ramp(size, 9000)])},
        True,
    ),
    "append": Scenario(_prepared(False), _append, _base, _grown, True),
    "append, consolidated": Scenario(_prepared(True), _append, _base, _grown, True),
    "overwrite": Scenario(_prepared(True), _replacing(""), _base, _replaced, True),
    "overwrite group": Scenario(
        _prepared(True, "deep/down"),
        _replacing("deep/down"),
        _below("deep/down", _base),
        _below("deep/down", _replaced),
        True,
    ),
}


# --- what a reader finds ---------------------------------------------------------------------------------------------


def content_of(folder: Path, consolidated: bool | None) -> Content | None:
    """Return everything that the store holds, every chunk decoded; None where nothing is stored."""
    try:
        root = xz.open_group(folder, consolidated=consolidated)
    except NodeNotFoundError:
        return None
    nodes = dict(root.members(depth=None))
    arrays = {path: node[...] for path, node in nodes.items() if isinstance(node, Array)}
    return {**arrays, "@": dict(root.attrs)}


def check(scenario: Scenario, folder: Path, size: int) -> None:
    """Raise `AssertionError` unless readers of both kinds find what the scenario allows."""
    for consolidated in (None, False):
        found = content_of(folder, consolidated)
        before, after = scenario.before(size), scenario.after(size)
        if same(found, before) or same(found, after):
            continue
        assert not scenario.whole, f"neither the old nor the new content (consolidated={consolidated}): {shown(found)}"
        _check_elements(found or {}, before, after)


def same(found: Content | None, expected: Content | None) -> bool:
    """Return whether two contents are equal."""
    if found is None or expected is None:
        return found is expected
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


def shown(content: Content | None) -> str:
    """Return a content for messages."""
    return str({name: getattr(values, "shape", values) for name, values in (content or {}).items()})


def _check_elements(found: Content, before: Content | None, after: Content) -> None:
    for name, values in found.items():
        if name == "@":
            assert values in ((before or {"@": {}})["@"], after["@"])
            continue
        old = np.full_like(after[name], FILL) if before is None else before[name]
        assert values.shape == after[name].shape, name
        assert np.all((values == old) | (values == after[name])), f"{name} holds values that nobody wrote"


def check_finished(scenario: Scenario, folder: Path, size: int) -> None:
    """Raise `AssertionError` unless the store holds what was to be written, and nothing else lies about."""
    for consolidated in (None, False):
        found = content_of(folder, consolidated)
        assert same(found, scenario.after(size)), f"the next writer did not complete it: {shown(found)}"
    left = [
        entry.path for place in (folder, folder.parent) for entry in os.scandir(place) if entry.name[:6] == ".xzarr"
    ]
    left += [os.path.join(top, name) for top, *names in os.walk(folder) for name in chain(*names) if ".xzarr" in name]
    assert not left, f"left behind: {left}"
