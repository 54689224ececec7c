"""What we write is read equal by others, and what they write by us: every data type x codec x layout.

The tests run by data type and loop over codecs and layouts; what fails is listed with its combination.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from tests.interop.gaps import GAPS, Gap, counts, gap_of
from tests.interop.make_zarr2_environment import environment, python_of
from tests.interop.matrix import (
    ATTRIBUTES,
    CHUNKS,
    KINDS,
    LAYOUTS,
    NAMES,
    TAKES,
    Combination,
    Kind,
    array_of,
    combinations,
    everything,
    keywords_of,
    same,
)
from tests.interop.peers import READERS, WRITERS, ZARR_WARNINGS, spec_of
from xzarr_backend.dtypes import as_dtype

pytestmark = [pytest.mark.filterwarnings(line) for line in ZARR_WARNINGS]

PEERS = ("zarr", "tensorstore")
XARRAY_NAMES = {**ATTRIBUTES, "_ARRAY_DIMENSIONS": list(NAMES)}
# layouts that change keys or combine others: no codec sees them, so others write them with the default codecs only
OF_KEYS = {"v2 /", "v2 F /", "v3 .", "v3 v2 keys .", "v3 v2 keys /", "v3 shards F"}
LEAST = {  # combinations; the matrix may grow, and must not shrink without anybody noticing
    ("zarr", "read"): 6600,
    ("zarr", "write"): 3300,
    ("tensorstore", "read"): 2500,
    ("tensorstore", "write"): 1300,
    ("zarr2", "read"): 3100,
    ("zarr2", "write"): 1600,
}


def possible(peer: str, way: str, zarr_format: int, kinds: tuple[Kind, ...] = KINDS) -> Iterator[Combination]:
    """Yield the combinations that a peer can read, or write."""
    for kind in kinds:
        for one in combinations(kind, zarr_format):
            repeated = way == "write" and one.layout in OF_KEYS and one.way.name not in ("none", "default")
            if not repeated and gap_of(one, peer, way) is None:
                yield one


def fill_array(one: Combination, fill: Any) -> Any:
    """Return the fill value as an array of rank 0."""
    if one.kind.row in ("bytes", "object"):
        return np.asarray(fill, object)
    return np.asarray(as_dtype(one.kind.dtype).cast_fill(fill), one.kind.numpy)


def write_ours(folder: Path, one: Combination) -> tuple[Any, Any]:
    """Write a combination with this package; return its values and fill value."""
    values, fill = array_of(one.kind, one.way)
    xz.create_array(folder, one.path, data=values, fill_value=fill, **keywords_of(one))
    return values, fill


def problem_of_reading(folder: Path, one: Combination, peer: str, values: Any, fill: Any) -> str:
    """Return what a peer reads differently; "" if nothing."""
    try:
        found = READERS[peer](folder, one)
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.400}"
    if found.attributes not in (None, ATTRIBUTES):
        return f"attributes {found.attributes}"
    if found.names not in (None, NAMES):
        return f"dimension names {found.names}"
    problem = found.fill is not None and same(np.asarray(found.fill), fill_array(one, fill))
    return f"fill value: {problem}" if problem else same(found.values, values)


def problem_of_ours(folder: Path, one: Combination, peer: str) -> str:
    """Return what we read differently of an array that a peer wrote; "" if nothing."""
    values, fill = array_of(one.kind, one.way)
    try:
        array = xz.open_array(folder, one.path)
        found = array[...]
        found_fill = np.asarray(array.fill_value, array.dtype)
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.400}"
    layout = LAYOUTS[one.way.zarr_format][one.layout]
    if array.chunks != layout.get("chunks", CHUNKS) or array.shards != layout.get("shards"):
        return f"chunks {array.chunks}, shards {array.shards}"
    if array.dimension_names != NAMES and not (peer == "tensorstore" and one.way.zarr_format == 2):
        return f"dimension names {array.dimension_names}"
    if peer != "tensorstore" and {**array.attrs, "_ARRAY_DIMENSIONS": list(NAMES)} != XARRAY_NAMES:
        return f"attributes {dict(array.attrs)}"
    problem = same(found_fill, fill_array(one, fill))
    return f"fill value: {problem}" if problem else same(found, values)


def report(problems: list[str], tried: int) -> None:
    """Fail with the list of what went wrong."""
    assert not problems, f"{len(problems)} of {tried} combinations:\n" + "\n".join(problems[:40])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_others_read_what_we_write(kind: Kind, folder: Path) -> None:
    """Every codec and layout of a data type, by the installed zarr-python and tensorstore."""
    for peer in PEERS:
        pytest.importorskip(peer)
    problems, tried = [], 0
    for zarr_format in kind.formats:
        for one in combinations(kind, zarr_format):
            peers = [peer for peer in PEERS if gap_of(one, peer, "read") is None]
            if not peers:
                continue
            values, fill = write_ours(folder, one)
            tried += len(peers)
            found = ((peer, problem_of_reading(folder, one, peer, values, fill)) for peer in peers)
            problems += [f"{peer}: {one}: {problem}" for peer, problem in found if problem]
    report(problems, tried)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_we_read_what_others_write(kind: Kind, peer: str, folder: Path) -> None:
    """Every codec and layout of a data type, written by the installed zarr-python and tensorstore."""
    pytest.importorskip(peer)
    problems, tried = [], 0
    for zarr_format in kind.formats:
        for one in possible(peer, "write", zarr_format, (kind,)):
            tried += 1
            try:
                WRITERS[peer](folder, one)
                problem = problem_of_ours(folder, one, peer)
            except Exception as error:
                problem = f"{peer} cannot write it: {type(error).__name__}: {error!s:.400}"
            if problem:
                problems.append(f"{peer}: {one}: {problem}")
    report(problems, tried)


# --- zarr-python 2.18, in an environment and a process of its own ----------------------------------------------------


def run_zarr2(way: str, folder: Path, jobs: list[dict[str, Any]]) -> dict[str, str]:
    """Let zarr-python 2.18 do all jobs; return the problems by path."""
    python = python_of(environment())
    if not python.exists():
        pytest.skip(f"no zarr-python 2.18 at {environment()}: run python -m tests.interop.make_zarr2_environment")
    (folder / "jobs.json").write_text(json.dumps(jobs), "utf-8")
    subprocess.run([python, Path(__file__).with_name("zarr2_peer.py"), way, folder], check=True)
    found: dict[str, str] = json.loads((folder / "found.json").read_text("utf-8"))
    return found


def job_of(folder: Path, one: Combination) -> dict[str, Any]:
    """Return what zarr-python 2.18 has to know of a combination."""
    values, fill = array_of(one.kind, one.way)
    name = f"{one.kind.name}-{one.way.name in TAKES}"
    target = folder / "values" / f"{name}.npy"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        np.save(target, values.astype(object) if values.dtype.kind == "T" else values, allow_pickle=True)
    document = dict(spec_of(one, fill).document)
    return {"path": one.path, "values": name, "document": document, "attributes": XARRAY_NAMES, "missing": [2, 4]}


def test_zarr2_reads_what_we_write(folder: Path) -> None:
    """Every data type, codec and layout of v2, in one process."""
    every = list(possible("zarr2", "read", 2))
    for one in every:
        write_ours(folder, one)
    problems = run_zarr2("read", folder, [job_of(folder, one) for one in every])
    report([f"{one}: {problems[one.path]}" for one in every if one.path in problems], len(every))


def test_we_read_what_zarr2_writes(folder: Path) -> None:
    """Every data type, codec and layout of v2, in one process."""
    every = list(possible("zarr2", "write", 2))
    problems = run_zarr2("write", folder, [job_of(folder, one) for one in every])
    found = [(one, problems.get(one.path) or problem_of_ours(folder, one, "zarr2")) for one in every]
    report([f"{one}: {problem}" for one, problem in found if problem], len(every))


# --- the matrix itself -----------------------------------------------------------------------------------------------


def test_the_matrix_does_not_shrink(record_property: Any) -> None:
    """The number of combinations for each peer and direction, which is recorded, stays above a bound."""
    numbers: Counter[tuple[str, str]] = Counter()
    for (peer, way), least in LEAST.items():
        for zarr_format in (2,) if peer == "zarr2" else (2, 3):
            numbers[peer, way] += sum(1 for _ in possible(peer, way, zarr_format))
        record_property(f"{peer} {way}", numbers[peer, way])
        print(f"{peer}: {way} {numbers[peer, way]} combinations")
        assert numbers[peer, way] >= least


def attempts(gap: Gap) -> Iterator[tuple[Combination, str]]:
    """Yield combinations that only this row excludes, one for each of its data types, codecs and directions."""
    others = [other for other in GAPS if other is not gap and other.peer == gap.peer and counts(other)]
    seen = set()
    for zarr_format in (gap.zarr_format,) if gap.zarr_format else (2, 3):
        for one in everything(zarr_format):
            for way in (gap.way,) if gap.way else ("read", "write"):
                what = (*cell_of(gap, one), way)
                if what in seen or not gap.excludes(one, gap.peer, way):
                    continue
                if not any(other.excludes(one, gap.peer, way) for other in others):
                    seen.add(what)
                    yield one, way


def cell_of(gap: Gap, one: Combination) -> tuple[str, str]:
    """Return what a row says of a combination: its data type, its codec, or both."""
    return one.kind.row if gap.rows else "", one.way.name if gap.codecs else ""


@pytest.mark.parametrize("gap", [gap for gap in GAPS if gap.peer in PEERS], ids=lambda gap: f"{gap.peer}: {gap.reason}")
def test_no_gap_is_out_of_date(gap: Gap, folder: Path) -> None:
    """What a row of the table excludes does fail, for each of its data types and codecs, in one direction at least."""
    pytest.importorskip(gap.peer)
    if not counts(gap) or gap.fatal:
        pytest.skip("the peer is newer" if not gap.fatal else "trying it ends the process")
    works: Counter[Any] = Counter()
    for one, way in attempts(gap):
        try:
            if way == "read":
                problem = problem_of_reading(folder, one, gap.peer, *write_ours(folder, one))
            else:
                WRITERS[gap.peer](folder / "w", one)
                problem = problem_of_ours(folder / "w", one, gap.peer)
        except Exception as error:
            problem = str(error) or type(error).__name__
        works[cell_of(gap, one)] += 1 if problem else 0
    assert works, "excludes nothing"
    untrue = [what for what, failures in works.items() if not failures]
    assert not untrue, f"can be taken out of the table: {untrue}"
