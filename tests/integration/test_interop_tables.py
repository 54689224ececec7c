"""The tables of docs/interop are those that their script writes from the package and the fixtures as they are now."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from docs.interop import make_tables

PAGES = sorted(make_tables.FOLDER.glob("*.md"))


def test_tables_of_the_package_are_current() -> None:
    """What readers make of what is written, the rows of compat.py and the codecs are as the pages say."""
    tables = {name: make() for name, make in make_tables.TABLES.items()}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == make_tables.filled(text, tables), f"{page.name}: run python -m docs.interop.make_tables"


@pytest.mark.skipif(sys.platform == "win32", reason="the judge stops hangs with an alarm signal")
def test_tables_of_the_fixtures_are_current(shared: Path) -> None:
    """The counts of what is read of the fixtures are those of today's reader."""
    results = make_tables.results_of(shared)
    tables = {name: make(results) for name, make in make_tables.FIXTURE_TABLES.items()}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == make_tables.filled(text, tables), f"{page.name}: run python -m docs.interop.make_tables"


def test_every_table_is_shown() -> None:
    """No table is made for nothing, and none of the pages asks for one that there is not."""
    shown = {name for page in PAGES for _, name, _ in make_tables.MARKED.findall(page.read_text(encoding="utf-8"))}
    assert shown == {*make_tables.TABLES, *make_tables.FIXTURE_TABLES}


def test_filling_keeps_what_it_does_not_know() -> None:
    """Only what stands between the marks changes; tables of the fixtures stay where there are no fixtures."""
    text = "a\n<!-- table: readers -->\nold\n<!-- end of table -->\nb\n"
    assert make_tables.filled(text, {"readers": "| new |"}) == text.replace("old", "| new |")
    assert make_tables.filled(text, {}) == text
    with pytest.raises(SystemExit, match="'nothing'"):
        make_tables.filled(text.replace("readers", "nothing"), {})


def test_cells_do_not_break_tables() -> None:
    """A bar in a cell is escaped."""
    line = make_tables.table(["a"], [["|u1"]]).splitlines()[-1]
    assert re.fullmatch(r"\| \\\|u1 \|", line)
