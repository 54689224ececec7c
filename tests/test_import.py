"""Importing the package stays cheap: what it must not load, seen from a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import xzarr_backend as xz

ROOT = Path(__file__).parents[1]
HEAVY = ("xarray", "dask", "distributed", "fsspec", "click", "numcodecs", "zarr", "asyncio", "multiprocessing")


def modules_loaded_by(code: str) -> set[str]:
    """Return the names of all modules that ``code`` loads in a fresh interpreter, beyond those that NumPy loads.

    ``code`` may set ``before`` to what it does not want to count.
    """
    start, report = "import sys, numpy; before = set(sys.modules)\n", "\nprint(*sorted(set(sys.modules) - before))"
    ran = subprocess.run(
        [sys.executable, "-c", start + code + report], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(ran.stdout.split())


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that ``code`` loads in a fresh interpreter, beyond those that NumPy loads."""
    report = "\nimport sys; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules} - before)))"
    before = "import sys, numpy; before = {name.partition('.')[0] for name in sys.modules}\n"
    ran = subprocess.run(
        [sys.executable, "-c", before + code + report], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(ran.stdout.split())


def test_importing_loads_the_errors_alone() -> None:
    """``import xzarr_backend`` loads no other module of the package, nor NumPy; all names are listed all the same."""
    start = "import contextlib, sys, typing; before = set(sys.modules)\n"
    code = start + "import xzarr_backend as xz; assert 'open_array' in dir(xz)\n"
    report = "print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(ran.stdout.split()) <= {"__future__", "typing", "xzarr_backend", "xzarr_backend.errors"}


@pytest.mark.parametrize("name", xz._LAZY)
def test_every_late_name_is_found_where_it_lives(name: str) -> None:
    """It is what its own module calls by that name, and asked for once."""
    found = getattr(xz, name)
    assert found is getattr(import_module(xz._LAZY[name], xz.__name__), name)
    assert vars(xz)[name] is found


def test_public_names_are_those_that_type_checkers_see() -> None:
    """What is exported, what checkers import, and the errors with what loads at its first use are the same names."""
    tree = ast.parse(Path(xz.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level and node.module]
    checked = {alias.name for node in imports for alias in node.names}
    late = {alias.name for node in imports for alias in node.names if node.module != "errors"}
    assert checked == set(xz.__all__)
    assert late == set(xz._LAZY)


def test_opening_and_reading_an_array_loads_nothing_heavy(tmp_path: Path) -> None:
    """It loads none of xarray, dask, fsspec, click, numcodecs, asyncio, multiprocessing."""
    assert loaded_by(opened_array(tmp_path)).isdisjoint(HEAVY)


def test_opening_and_reading_an_array_loads_no_conventions(tmp_path: Path) -> None:
    """What few stores need loads with the first of them: conventions of data types, displays, remote stores."""
    late = ("semantics", "semantic_parts", "display", "explain", "journal", "stores.fsspec", "stores.zip")
    late += ("creation", "group_creation", "profiles", "profile_rules", "chunk_choice")  # who reads creates nothing
    assert modules_loaded_by(opened_array(tmp_path)).isdisjoint(f"xzarr_backend.{name}" for name in late)


def opened_array(folder: Path) -> str:
    """Return code that opens and reads a new array in ``folder``."""
    path = folder / "a.zarr"
    xz.create_array(path, data=[1, 2, 3], compressors=None)
    return f"import xzarr_backend as xz\nassert xz.open_array({str(path)!r})[...].tolist() == [1, 2, 3]"


def test_the_engine_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """Opening a dataset loads neither what writes nor what displays, no conventions, no remote stores and no dask."""
    code = f"""
import xarray, xzarr_backend as xz
group = xz.create_group({str(tmp_path / "a.zarr")!r})
for name in "vx":
    group.create_array(name, data=[1, 2, 3], compressors=None, dimension_names=["x"])
before = set(sys.modules)
assert xarray.open_dataset({str(tmp_path / "a.zarr")!r}, engine="xzarr", consolidated=False).v.shape == (3,)
"""
    loaded = modules_loaded_by(code)
    late = "semantics semantic_parts xarray_semantics xarray_expression xarray_writer dask_array stores.fsspec display"
    assert loaded.isdisjoint(f"xzarr_backend.{name}" for name in late.split())
    assert {name.partition(".")[0] for name in loaded}.isdisjoint({"zarr", "fsspec", "click", "numcodecs", "dask"})


def test_the_check_sees_what_is_loaded() -> None:
    """The check above would notice a heavy import."""
    assert "click" in loaded_by("import xzarr_backend.cli")


def test_listing_and_reading_local_data_loads_no_xarray_or_dask(tmp_path: Path) -> None:
    """Names of adapters are listed without loading them; NumPy users never load xarray, dask or fsspec."""
    code = f"""
import xzarr_backend as xz
assert "open_dataset" in dir(xz)
array = xz.create_array({str(tmp_path / "a.zarr")!r}, data=[1, 2, 3], compressors=None)
assert array[:].tolist() == [1, 2, 3] and array.info and array.explain(0) and array.nchunks_stored() == 1
"""
    assert loaded_by(code).isdisjoint({"xarray", "dask", "distributed", "fsspec", "click", "asyncio"})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_opening_an_array_loads_no_library_of_a_large_codec(zarr_format: int, tmp_path: Path) -> None:
    """numcodecs takes as long to import as opening a hundred arrays, and as reading some: whole chunks do without."""
    pytest.importorskip("zstandard")
    path = tmp_path / "a.zarr"
    values = np.arange(50_000).reshape(2, -1)
    xz.create_array(path, data=values, chunks=(1, 50_000 // 2), compressors=["zstd"], zarr_format=zarr_format)
    opening = f"import xzarr_backend as xz\narray = xz.open_array({str(path)!r})\nassert array.shape == (2, 25_000)\n"
    assert loaded_by(opening).isdisjoint({"numcodecs", "zstandard"})
    assert "numcodecs" not in loaded_by(opening + "assert array[...].sum() == 49_999 * 25_000")
    # a small read out of a large chunk loads it, for the larger ones that often follow
    assert "numcodecs" in loaded_by(opening + "assert array[0, 0] == 0")


@pytest.mark.parametrize("name", ["open_dataset", "open_zarr", "open_datatree", "open_mfdataset", "from_zarr"])
def test_adapters_load_at_their_first_use(name: str) -> None:
    """An adapter's name loads xarray or dask, and only then."""
    loaded = loaded_by(f"import xzarr_backend as xz\nassert callable(xz.{name})")
    assert loaded & {"xarray", "dask"}
