"""The benchmark at its smallest scale: every row runs, all systems read and write the same values.

Its figures mean nothing at that scale, and none is asserted.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.bounds import BOUNDS
from tests.bench.case import Data, Row
from tests.bench.measuring import measure
from tests.bench.prepare import prepare
from tests.bench.report import judge, line, markdown, summary
from tests.bench.rows import ROWS, chosen
from tests.bench.running import run_row
from tests.bench.scale import SCALES
from tests.bench.systems import NotOffered, installed

IN_PROCESS = [row for row in ROWS.values() if row.setup and not row.workers]
SYSTEMS = [name for name in installed() if name != "zarrs_py"]  # that one changes a setting of the process
QUIET = [name for name in BOUNDS if "blosc" not in name and "small" not in name]  # blosc's is one, too
UNKNOWN = {("strings", "tensorstore"), ("strings2", "tensorstore")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The data of the smallest scale, prepared once."""
    return prepare(tmp_path_factory.mktemp("bench"), SCALES["small"], lambda text: None)


def _measured(row: Row, name: str, data: Data) -> list[dict[str, Any]]:
    try:
        return [measure(row, name, data)]
    except NotOffered as gap:
        return [{"gap": str(gap)}]


@pytest.mark.parametrize("row", IN_PROCESS, ids=lambda row: row.name)
def test_row(row: Row, data: Data) -> None:
    """The row runs for us, and every peer that offers it has the same checksum."""
    systems = [name for name in SYSTEMS if (row.name, name) not in UNKNOWN]
    results = {name: _measured(row, name, data) for name in systems}
    verdict = judge(results)
    assert "ours" in verdict.figures
    assert verdict.figures["ours"].least > 0
    assert verdict.agree, line(row.name, results)


@pytest.mark.parametrize("name", QUIET)
def test_bound(name: str, data: Data) -> None:
    """The bound finds its chunks and decodes them."""
    assert measure(ROWS["all_plain"], name, data)["figure"] > 0


def test_prepared_data_are_kept(data: Data) -> None:
    """A second preparation makes nothing, and one of another scale is refused."""
    said: list[str] = []
    prepare(data.folder, data.scale, said.append)
    assert said == []
    with pytest.raises(SystemExit, match="scale 'small'"):
        prepare(data.folder, SCALES["full"])


def test_fresh_processes(data: Data) -> None:
    """A row runs in fresh processes for us and its bounds, with the same checksum in every round."""
    row = ROWS["all_plain"]
    results = run_row(row, ["ours"], 2, data.folder, "small")
    assert [len(rounds) for rounds in results.values()] == [2, 2, 2]
    assert judge(results).agree
    assert set(judge(results).bounds) == {"limit_plain", "copy_plain"}


def _one(figure: float, peak: float = 50.0, checksum: int = 7) -> dict[str, Any]:
    return {"figure": figure, "peak": peak, "above": 1.0, "checksum": checksum}


RUN: dict[str, Any] = {
    "systems": ["ours", "zarr_py", "tensorstore"],
    "rows": {
        "all_plain": {
            "ours": [_one(0.5), _one(0.4, 70)],
            "zarr_py": [_one(0.9, 40), _one(0.8, 40)],
            "tensorstore": [_one(1.0), _one(2.0)],
            "limit_plain": [_one(0.2, checksum=0), _one(0.2, checksum=0)],
        },
        "write_zstd": {"ours": [_one(2.0)], "zarr_py": [_one(1.0, checksum=8)], "tensorstore": [{"gap": "no"}]},
    },
}


def test_ratios() -> None:
    """Least figures are compared with the fastest peer, peaks with the leanest, bounds stand apart."""
    verdict = judge(RUN["rows"]["all_plain"])
    assert verdict.ratio == pytest.approx(0.5)
    assert verdict.ratio_median == pytest.approx(0.45 / 0.85)
    assert verdict.memory == pytest.approx(60 / 40)
    assert verdict.bounds == {"limit_plain": pytest.approx(2.0)}
    assert verdict.bounds_median == {"limit_plain": pytest.approx(0.45 / 0.2)}
    assert verdict.agree


def test_problems_are_told() -> None:
    """Checksums that differ, gaps, and rows behind a peer or far from a bound are named."""
    assert "CHECKSUMS DIFFER" in line("write_zstd", RUN["rows"]["write_zstd"])
    assert "[tensorstore gap: no]" in line("write_zstd", RUN["rows"]["write_zstd"])
    text = summary(RUN)
    assert "2 rows against peers: 1 at 0.8 or less, 1 at 1.0 or less" in text
    assert "behind the best peer: write_zstd 2.00" in text
    assert "by the median: 1 at 0.8 or less, 1 at 1.0 or less; behind: write_zstd 2.00" in text
    assert "over 1.5 of a bound: all_plain limit_plain 2.00\nby the median: all_plain limit_plain 2.25" in text
    assert "checksums differ: write_zstd" in text


def test_markdown() -> None:
    """There is one table per group, with a cell for every system that has a figure."""
    text = markdown(RUN)
    assert text.count("### ") == 2
    assert "| write_zstd | whole, zstd | 2000 | 1000 | – | 2.00 (2.00) |" in text


def test_rows_are_chosen_by_name_group_and_beginning() -> None:
    """Slow rows run only when they are named; what is unknown is an error."""
    assert "sum_stored_million" not in {row.name for row in chosen(None)}
    assert [row.name for row in chosen("sum_stored_million,all_plain")] == ["sum_stored_million", "all_plain"]
    assert {row.group for row in chosen("write,open_*")} == {"write", "open", "dask"}
    with pytest.raises(SystemExit, match="there is no row or group 'nonsense'"):
        chosen("nonsense")


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_plot(tmp_path: Path) -> None:
    """The figure is written in the format of the file's ending."""
    from tests.bench.plotting import plot

    plot(json.loads(json.dumps(RUN)), tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
