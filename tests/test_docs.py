"""The README, the pages under docs and the notebooks: every Python block runs, and prints what the page says.

A block of text that follows a Python block is what that block prints.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A Python block: its code with the line it begins at, and what it prints, None where the page does not say."""

    line: int
    code: str
    printed: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the Python blocks of a page."""
    return [Block(text.count("\n", 0, match.start()) + 2, match[1], match[2]) for match in _BLOCK.finditer(text)]


def run_blocks(page: Path) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page one after the other, in the current folder; yield each with what it printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    here = f"{os.getcwd()}{os.sep}"
    for block in blocks_of(page.read_text(encoding="utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        yield block, printed.getvalue().replace(here, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run_and_print_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of a page runs, in order, in an empty folder, and prints the text block that follows it."""
    monkeypatch.chdir(tmp_path)
    for block, printed in run_blocks(page):
        if block.printed is not None:
            assert _lines(printed) == _lines(block.printed), f"{page.name}, line {block.line}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_pages_have_blocks() -> None:
    """The README and the pages that explain hold code, so that the test above tests something."""
    counts = {page.relative_to(ROOT).as_posix(): len(blocks_of(page.read_text(encoding="utf-8"))) for page in PAGES}
    explaining = "index opening-data writing appending converting checking how-it-works extending errors-and-bad-input"
    across = "index patterns data-types codecs metadata boundaries troubleshooting"
    needed = ["README.md", *(f"docs/{name}.md" for name in explaining.split())]
    needed += [f"docs/interop/{name}.md" for name in across.split()]
    assert [name for name in needed if not counts.get(name)] == []


def test_every_page_is_in_the_menu() -> None:
    """A page that mkdocs.yml does not list cannot be found by reading on."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"]
    assert [page for page in pages if page not in menu] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
@pytest.mark.filterwarnings("default")  # those of Jupyter; inside the notebook warnings are errors
def test_notebooks_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook runs from top to bottom in an empty folder, in a fresh kernel, without a warning."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    document = nbformat.read(notebook, as_version=4)
    nbformat.validate(document)
    client = nbclient.NotebookClient(document, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in document.cells for output in cell.get("outputs", [])]
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []


def test_notebooks_are_stored_without_outputs() -> None:
    """Notebooks are stored without outputs and counters, so that changes to them can be read."""
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code), notebook.name


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of the README and of the pages names a file that exists."""
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_has_two_commands_that_the_checks_run() -> None:
    """The README has one command for the main job and one for the tests, and .ci/run takes both from it."""
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("xzarr demo") and commands[1].endswith("-m pytest")
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("the folder .ci is not part of this distribution")
    taken = re.findall(r"grep -m 1 '\^(.*?)\$'", script.read_text(encoding="utf-8"))
    assert len(taken) == 2
    assert all(re.fullmatch(pattern, command) for pattern, command in zip(taken, commands, strict=True))


def test_the_readme_names_commands_that_exist() -> None:
    """Every ``xzarr`` command of the README is one that the command line has."""
    from xzarr_backend.cli import main

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bxzarr (\w+)", text)) <= set(main.commands)
