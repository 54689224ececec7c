"""Prepare the data of a run in a folder: arrays of values, stores, datasets; what is there already is kept.

Imports case, datasets and recipes. Writes with zarr-python where it is installed, else with this project: the stores
are plain Zarr either way. Invariant: a store counts as prepared when its name is in the folder's list, which is written
after the store is complete.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .case import Data
from .datasets import era, era_encoding, varied, wide
from .recipes import Recipe, cube
from .scale import SCALES, Scale
from .systems import SYSTEMS, System

GROUPED = ("million_1d", "million_2d", "tenth_2d")  # arrays that are also prepared inside a group, for xarray


def prepare(folder: Path, scale: Scale, say: Callable[[str], None] = print) -> Data:
    """Prepare what is missing; raises `SystemExit` where the folder holds data of another scale."""
    folder.mkdir(parents=True, exist_ok=True)
    done = _Done(folder / "prepared.json", scale)
    data, writer = Data(folder, scale), _writer()
    for name, make in _steps(data, writer):
        if name not in done.names:
            say(f"preparing {name}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of formats that have no specification yet
                make()
            done.add(name)
    return data


class _Done:
    """The list of what is complete, kept in the folder."""

    def __init__(self, file: Path, scale: Scale) -> None:
        self.file, self.scale = file, scale
        document = json.loads(file.read_text()) if file.exists() else {"scale": scale.name, "names": []}
        if document["scale"] != scale.name:
            raise SystemExit(f"{file.parent} holds data of scale {document['scale']!r}: give another folder")
        self.names: list[str] = document["names"]

    def add(self, name: str) -> None:
        self.names.append(name)
        self.file.write_text(json.dumps({"scale": self.scale.name, "names": self.names}))


def _writer() -> System:
    return SYSTEMS["zarr_py"] if SYSTEMS["zarr_py"].installed() else SYSTEMS["ours"]


def _steps(data: Data, writer: System) -> list[tuple[str, Callable[[], None]]]:
    steps: list[tuple[str, Callable[[], None]]] = [("cube", lambda: _save_values(data))]
    for name in data.stores:
        steps.append((name, lambda name=name: _array(data, writer, name)))
    for name in GROUPED:
        steps.append((f"{name}_group", lambda name=name: _grouped(data, name)))
    for name, make, options in _datasets(data.scale):
        steps.append((name, lambda n=name, m=make, o=options: _dataset(data, writer, n, m(), o)))
    return steps


def _save_values(data: Data) -> None:
    np.save(data.folder / "cube.npy", cube(data.scale))


def _array(data: Data, writer: System, name: str) -> None:
    make, recipe = data.stores[name]
    array = writer.create(data.path(name), recipe)
    if make is not None:
        values = data.values("cube") if make is cube else make(data.scale)
        writer.write(array, (slice(None),) * values.ndim, _typed(values, recipe))


def _typed(values: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return strings in the type that the writer expects: objects for v2, NumPy's own strings for v3."""
    if recipe.dtype == "string" and recipe.zarr_format == 3:
        return values.astype(np.dtypes.StringDType())
    return values


def _grouped(data: Data, name: str) -> None:
    """Put a copy of an array of metadata into a group, as the variable ``v``."""
    group = Path(data.path(f"{name}_group"))
    shutil.rmtree(group, ignore_errors=True)
    shutil.copytree(data.path(name), group / "v")
    document = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (group / "zarr.json").write_text(json.dumps(document))


def _datasets(scale: Scale) -> list[tuple[str, Callable[[], Any], dict[str, Any]]]:
    chunked = {"encoding": era_encoding(scale)}
    many = scale.variables
    return [
        ("era", lambda: era(scale), {"zarr_format": 3, "consolidated": True, **chunked}),
        ("era_u", lambda: era(scale), {"zarr_format": 3, "consolidated": False, **chunked}),
        ("era2", lambda: era(scale), {"zarr_format": 2, "consolidated": True, **chunked}),
        ("warm", lambda: era(SCALES["small"]), {"zarr_format": 3, "consolidated": True}),
        ("warm_u", lambda: era(SCALES["small"]), {"zarr_format": 3, "consolidated": False}),
        ("warm2", lambda: era(SCALES["small"]), {"zarr_format": 2, "consolidated": True}),
        ("wide_1", lambda: wide(1), {"zarr_format": 3, "consolidated": True}),
        ("wide", lambda: wide(many), {"zarr_format": 3, "consolidated": False}),
        ("wide_c", lambda: wide(many), {"zarr_format": 3, "consolidated": True}),
        ("varied", lambda: varied(many), {"zarr_format": 3, "consolidated": False}),
        ("varied_c", lambda: varied(many), {"zarr_format": 3, "consolidated": True}),
        ("wide2", lambda: wide(many), {"zarr_format": 2, "consolidated": False}),
        ("warm2_u", lambda: era(SCALES["small"]), {"zarr_format": 2, "consolidated": False}),
        ("wide2_c", lambda: wide(many), {"zarr_format": 2, "consolidated": True}),
    ]


def _dataset(data: Data, writer: System, name: str, dataset: Any, options: dict[str, Any]) -> None:
    writer.save(dataset, data.path(name), mode="w", **options)
