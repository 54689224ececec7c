"""The layers hold: a module imports only what lies below it, and heavy libraries stay in their place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import xzarr_backend

ROOT = Path(xzarr_backend.__file__).parent

# From the bottom row to the top one. In each row a module may import those of the same row that are named behind it;
# "*" stands for everything in its row that does not import it in turn.
ROWS: tuple[dict[str, str], ...] = (
    {
        "errors": "",
        "code_points": "errors",
        "memory": "",
        "paths": "",
        "pieces": "",
        "spec": "",
        "numpy_types": "errors spec",
        "fill_values": "errors spec",
        "dtypes": "errors spec numpy_types fill_values",
        "chunk_grids": "errors spec",
        "chunk_choice": "errors spec chunk_grids",
        "chunk_keys": "errors spec",
        "display_text": "errors spec",
        "attribute_values": "errors spec",
        "casting": "dtypes errors fill_values",
        "semantics": "errors spec",
        "semantic_parts": "errors spec semantics",
        "profile_rules": "errors spec",
    },
    {"stores": "*"},
    {
        "formats": "compat quirk_documents",
        "compat": "quirk_documents",
        "quirk_documents": "",
        "selection": "",
        "plan": "selection",
        "write_planning": "",
        "codecs": "",
    },
    {"layout": "", "codec_objects": "", "spec_building": "codec_objects"},
    {
        "executor": "",
        "index_cache": "",
        "decoding": "",
        "chunk_reading": "decoding executor index_cache",
        "runs": "",
        "run_decoding": "runs",
        "run_encoding": "runs",
        "shard_cutting": "executor runs",
        "shard_fetching": "chunk_reading shard_cutting executor index_cache",
        "shard_reading": "shard_fetching shard_cutting run_decoding runs chunk_reading decoding executor index_cache",
        "run_reading": "run_decoding runs chunk_reading executor",
        "single_reading": "chunk_reading index_cache",
        "reading": "single_reading run_reading shard_reading shard_fetching chunk_reading executor index_cache",
        "writing": "reading run_reading shard_reading shard_fetching chunk_reading executor run_encoding runs",
    },
    {
        "options": "",
        "fetching": "",
        "stored_documents": "",
        "pending": "fetching stored_documents",
        "nodes": "fetching pending",
        "stored": "nodes",
        "display": "nodes",
        "explain": "nodes",
        "consolidating": "fetching nodes stored_documents",
        "changing": "nodes consolidating stored_documents",
        "clearing": "stored",
        "resizing": "changing clearing consolidating fetching pending",
        "attributes": "changing",
        "indexer": "",
        "placing": "fetching nodes stored_documents",
        "compiled": "options nodes",
        "array": "options compiled stored display explain attributes changing resizing indexer",
        "profiles": "",
        "profile_creation": "options nodes placing profiles stored_documents",
        "creation": "options array nodes placing profile_creation profiles transactions",
        "group": "options array nodes display attributes changing consolidating creation placing",
        "group_creation": "options group array nodes creation placing profile_creation profiles",
        "consolidation": "options group array nodes consolidating",
        "opening": "options group array nodes",
        "journal": "pending",
        "appending": "options array clearing nodes pending journal stored_documents",
        "transactions": "options array clearing resizing appending nodes pending placing journal stored_documents",
    },
    # the adapters: all that is named nowhere above. They may use each other, as long as there is no cycle
    {},
)
ADAPTERS = len(ROWS) - 1

# within the packages, in the same way
INSIDE: dict[str, dict[str, str]] = {
    "formats": {
        "__init__": "",
        "documents": "",
        "alike": "",
        "consolidated": "documents",
        "v3": "documents alike",
        "v2": "documents alike v3",
    },
}

FSSPEC = {"stores.fsspec", "stores.concurrency"}  # the second one for its event loop
ADAPTED = {"stores.foreign": {"zarr"}}  # whose store is adapted, it must already be loaded
HEAVY = {"xarray", "dask", "distributed", "click", "zarr", "tensorstore", "pandas"}


def modules() -> dict[str, Path]:
    """All modules by their dotted name below the package."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts)] = path
    return found


def imported(path: Path, name: str, *, top_level: bool = False) -> Iterator[str]:
    """Yield the dotted names that a module imports, types aside; ours as ``xzarr_backend.x``."""
    package = ["xzarr_backend", *name.split(".")[:-1]]
    for node in _statements(ast.parse(path.read_text("utf-8")), top_level):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if node.module:
                yield origin
            else:
                yield from (f"{origin}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST, top_level: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        yield from _statements(node, top_level)


def own(path: Path, name: str, *, top_level: bool = False) -> set[str]:
    """Return the modules of this package that a module imports, as dotted names below it."""
    found = set()
    known = modules()
    for origin in imported(path, name, top_level=top_level):
        if origin == "xzarr_backend":
            found.add("__init__")
        elif origin.startswith("xzarr_backend."):
            target = origin.removeprefix("xzarr_backend.")
            name_of = target if target in known or f"{target}.__init__" in known else target.rpartition(".")[0]
            found.add(name_of or "__init__")
    return found


def place(module: str) -> tuple[int, str]:
    """Return the row of a module, and the module or package that the table names.

    What the table does not name is an adapter: a core module that imports it fails the test until it gets a row.
    """
    name = module.split(".")[0]
    for row, table in enumerate(ROWS):
        if name in table:
            return row, name
    return ADAPTERS, name


@pytest.mark.parametrize("name", modules())
def test_imports_go_down(name: str) -> None:
    """A module imports only from lower rows, and within its row only what the table shows."""
    row, top = place(name)
    for target in own(modules()[name], name):
        if target == "__init__" and row == ADAPTERS:
            continue  # adapters may use the public names
        below, other = place(target)
        if other == top:
            continue
        allowed = ROWS[row].get(top, "*").split()
        assert below < row or (below == row and (other in allowed or "*" in allowed)), f"{name} imports {target}"


@pytest.mark.parametrize("package", INSIDE)
def test_imports_go_down_inside_packages(package: str) -> None:
    """Inside a package, too, there are layers."""
    table = INSIDE[package]
    for name, path in modules().items():
        inner, _, module = name.partition(".")
        if inner != package:
            continue
        assert module in table, f"{name} stands in no row: add it to INSIDE"
        for target in own(path, name):
            if target.startswith(f"{package}."):
                assert target.removeprefix(f"{package}.") in table[module].split(), f"{name} imports {target}"


def test_no_cycles() -> None:
    """No module imports itself through others, not even inside functions (types aside)."""
    known = modules()
    graph = {
        name: {target if target in known else f"{target}.__init__" for target in own(path, name)} - {name}
        for name, path in known.items()
        if name != "__init__" and name not in LAZY
    }
    # the package itself gathers names for the public; that its adapters read them back is no cycle
    for targets in graph.values():
        targets.discard("__init__")
    assert list(TopologicalSorter(graph).static_order())


# packages whose __init__ finds its members at their first use, by name or in a function
LAZY = {"stores.__init__"}


@pytest.mark.parametrize("name", modules())
def test_heavy_libraries_stay_in_the_adapters(name: str) -> None:
    """The core knows nothing of xarray, dask or click; fsspec is imported in one module, when it is needed."""
    path = modules()[name]
    names = {origin.split(".")[0] for origin in imported(path, name)}
    if place(name)[0] < ADAPTERS:
        assert not names & HEAVY - ADAPTED.get(name, set())
    if "fsspec" in names:
        assert name in FSSPEC, "fsspec belongs to stores/fsspec.py"
    early = {origin.split(".")[0] for origin in imported(path, name, top_level=True)}
    if place(name)[0] < ADAPTERS:
        slow = {"fsspec", "numcodecs", "multiprocessing", "zarr", "obstore"}
        if name != "stores.concurrency":  # which loads with the first remote store
            slow.add("asyncio")
        assert not early & slow, "these load at their first use"
        assert not any(origin.startswith("concurrent") for origin in imported(path, name, top_level=True))


def test_the_lowest_row_needs_numpy_only() -> None:
    """Row 0 imports NumPy, the standard library and nothing else."""
    for name, path in modules().items():
        if place(name)[0] == 0:
            others = {origin.split(".")[0] for origin in imported(path, name)}
            foreign = others - set(sys.stdlib_module_names) - {"numpy", "xzarr_backend", "ml_dtypes"}
            assert not foreign, f"{name} imports {foreign}"


def test_meaning_does_no_io() -> None:
    """Formats, selection, plan, codecs and layout never see a store."""
    for name, path in modules().items():
        if place(name)[0] in (0, 2, 3):
            assert not any(target.startswith("stores") for target in own(path, name)), name


@pytest.mark.parametrize("name", modules())
def test_modules_are_small_and_say_what_they_are_for(name: str) -> None:
    """A module has less than 400 lines and a docstring; none is a drawer for everything."""
    text = modules()[name].read_text("utf-8")
    assert len(text.splitlines()) < 400
    assert ast.get_docstring(ast.parse(text))
    assert not set(name.split(".")) & {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def test_the_table_lists_what_exists() -> None:
    """Every row of the table is a module."""
    known = {name.split(".")[0] for name in modules()}
    listed = {name for table in ROWS for name in table}
    assert listed <= known, f"not there any more: {sorted(listed - known)}"
