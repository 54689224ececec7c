"""The benchmark: ``python -m tests.bench``, ours against whichever peers are installed, on the same data.

    python -m tests.bench                                    prepare in a temporary folder, run all rows, 3 rounds
    python -m tests.bench --data DIR -n 5 --json run.json    keep the data; write every measurement
    python -m tests.bench prepare --data DIR                 only prepare
    python -m tests.bench run --rows all_*,write --systems ours,tensorstore
    python -m tests.bench report --json run.json --markdown --plot performance.svg
    python -m tests.bench rows                               list the rows

Every (system, row) runs in a fresh process, in turn, round by round. Printed per contestant: least (median) time, peak
memory (and what of it is above the imports); then ours / best peer of the least times (of the medians), ours / leanest
peer of the peaks, ours / each bound, and CHK where all systems gave the same values.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .case import Data
from .report import OURS, judge, line, markdown, summary
from .rows import ROWS, chosen
from .running import MARK, run_row, spawn
from .scale import SCALES
from .systems import SYSTEMS, NotOffered, installed

PACKAGES = ["numpy", "numcodecs", "deflate", "zstandard", "xarray", "dask", "distributed"]
PACKAGES += ["zarr", "zarrs", "tensorstore", "xarray-tensorstore"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status: 1 where ours failed a row or checksums differ."""
    options = _parser().parse_args(arguments)
    if options.command == "rows":
        return _list_rows()
    if options.command == "report":
        return _report(json.loads(Path(_needed(options.json, "--json")).read_text()), options)
    if options.command == "measure":
        return _measure(options)
    if options.command == "prepare":
        return _prepare(Path(_needed(options.data, "--data")), options.scale)
    if options.data:
        return _run(Path(options.data), options)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return _run(Path(folder), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("command", nargs="?", default="run", choices=["run", "prepare", "report", "rows", "measure"])
    add("what", nargs="*", help="for measure: a row and a system or bound, measured in this very process")
    add("--data", help="folder of the prepared data (default: a temporary one)")
    add("--scale", choices=list(SCALES), default="full", help="full: about 2.5 GB of data; small: a trial")
    add("--rows", help="names, groups (read, open, start, dask, write) or beginnings (all_*), comma-separated")
    add("--systems", help=f"comma-separated, of {', '.join(SYSTEMS)} (default: those installed)")
    add("-n", "--rounds", type=int, default=3)
    add("--json", help="file to write (report: to read) every measurement")
    add("--markdown", action="store_true", help="print the tables for docs/performance.md")
    add("--plot", metavar="FILE", help="write the figure for docs/performance.md (needs matplotlib)")
    return parser


def _needed(value: str | None, option: str) -> str:
    if value is None:
        raise SystemExit(f"this command needs {option}")
    return value


def _list_rows() -> int:
    for row in ROWS.values():
        bounds = f" [{', '.join(row.bounds)}]" if row.bounds else ""
        print(f"{row.group:6s} {row.name:20s} {row.shows}{bounds}{' (only when named)' if row.slow else ''}")
    return 0


def _prepare(folder: Path, scale: str) -> int:
    from .prepare import prepare

    prepare(folder, SCALES[scale], lambda text: print(text, flush=True))
    return 0


def _measure(options: argparse.Namespace) -> int:
    from .measuring import measure

    row, contestant = options.what
    try:
        result = measure(ROWS[row], contestant, Data(Path(_needed(options.data, "--data")), SCALES[options.scale]))
    except NotOffered as gap:
        result = {"gap": str(gap)}
    print(MARK + json.dumps(result))
    return 0


def _run(folder: Path, options: argparse.Namespace) -> int:
    rows, systems = chosen(options.rows), _systems(options.systems)
    prepared = spawn(["prepare", "--data", str(folder), "--scale", options.scale])
    if prepared.returncode:
        raise SystemExit(f"the data could not be prepared:\n{prepared.stderr}")
    document: dict[str, Any] = {
        "machine": _machine(),
        "scale": options.scale,
        "rounds": options.rounds,
        "systems": systems,
        "rows": {},
    }
    for row in rows:
        document["rows"][row.name] = run_row(row, systems, options.rounds, folder, options.scale)
        print(line(row.name, document["rows"][row.name]), flush=True)
        if options.json:  # after every row, so that a run that is stopped leaves what it has
            Path(options.json).write_text(json.dumps(document, indent=1))
    return _report(document, options)


def _systems(names: str | None) -> list[str]:
    if not names:
        return installed()
    unknown = [name for name in names.split(",") if name not in SYSTEMS or not SYSTEMS[name].installed()]
    if unknown:
        raise SystemExit(f"not known or not installed: {', '.join(unknown)}; installed are {', '.join(installed())}")
    return names.split(",")


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _report(document: dict[str, Any], options: argparse.Namespace) -> int:
    print("\n" + summary(document))
    if options.markdown:
        print("\n" + markdown(document))
    if options.plot:
        from .plotting import plot

        plot(document, Path(options.plot))
    verdicts = [judge(results) for results in document["rows"].values()]
    return int(any(OURS in one.problems or not one.agree for one in verdicts))


if __name__ == "__main__":
    sys.exit(main())
