"""Who can read an array: the readers, and the forecast of what each of them makes of it.

Imports doctor_rules and doctor_facts. Invariant: a reader is listed with the version that its rules rest on, and with
how they are known: "observed" by running it, or "stated" by its documentation.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from .doctor_facts import Facts
from .doctor_rules import ALL, MISREADS, READS, REFUSES, RULES, XARRAY, Z31, Z34, Rule

OBSERVED, STATED = "observed", "stated"
FIXTURES = "reading the shared fixtures, and documents that were varied in one place"


class Reader(NamedTuple):
    """A reader, as it was observed or as its documentation describes it. ``source`` says what the rules rest on."""

    id: str
    name: str
    version: str
    seen: str
    source: str


READERS = (
    Reader("zarr-python-2", "zarr-python 2", "2.18.7", OBSERVED, FIXTURES),
    Reader("zarr-python-3.1", "zarr-python 3.1", "3.1.6", OBSERVED, FIXTURES),
    Reader("zarr-python-3.4", "zarr-python 3.4", "3.4.2", OBSERVED, FIXTURES),
    Reader(
        "xarray",
        "xarray, built-in engine",
        "2026.9.0",
        OBSERVED,
        "opening groups of the shared fixtures on zarr 3.4.2",
    ),
    Reader("tensorstore", "tensorstore", "0.1.86", OBSERVED, FIXTURES),
    Reader("exzarr", "ExZarr", "1.0.1", OBSERVED, "its reading rules, found by running it"),
    Reader("zarrs", "zarrs", "0.23", STATED, "its tables of codecs and data types on docs.rs"),
    Reader("gdal", "GDAL", "3.13", STATED, "the page of its Zarr driver"),
)


def installed_reader(name: str) -> str | None:
    """Return the id of the reader whose rules hold for the installed ``name`` ("zarr", "tensorstore", "xarray").

    Between two observed versions those of the older one hold. None where it is not installed.
    """
    try:
        found = version(name)
    except PackageNotFoundError:
        return None
    if name != "zarr":
        return name
    major, minor = (int(part) for part in found.split(".")[:2])
    return "zarr-python-2" if major < 3 else Z34 if minor >= 4 or major > 3 else Z31


class Forecast(NamedTuple):
    """What a reader makes of an array: "reads", "misreads" or "refuses", and the reasons."""

    reader: Reader
    verdict: str
    reasons: tuple[str, ...]


def forecasts(facts: Facts) -> list[Forecast]:
    """Return what each reader of the table makes of an array; a reader that refuses cannot misread."""
    texts: dict[str, dict[str, list[str]]] = {reader: {REFUSES: [], MISREADS: []} for reader in ALL}
    for rule in RULES:
        answer = _answer(rule, facts)
        for reader in rule.readers if answer else ():
            texts[reader][rule.verdict].append(f"{rule.reason}: {answer}")
    return [_forecast(reader, texts) for reader in READERS]


def with_neighbours(arrays: dict[str, list[Forecast]]) -> dict[str, list[Forecast]]:
    """Return the forecasts of all arrays, by path, with what xarray makes of whole groups.

    It opens every member of a group at once: one that it refuses keeps the others from being read too.
    """
    culprits: dict[str, str] = {}
    for path, found in sorted(arrays.items()):
        if any(one.reader.id == XARRAY and one.verdict == REFUSES for one in found):
            culprits.setdefault(path.rpartition("/")[0], path)
    return {
        path: [_beside(one, culprits.get(path.rpartition("/")[0])) for one in found] for path, found in arrays.items()
    }


def _beside(one: Forecast, culprit: str | None) -> Forecast:
    if culprit is None or one.reader.id != XARRAY or one.verdict == REFUSES:
        return one
    return one._replace(verdict=REFUSES, reasons=(f"opens whole groups, and refuses a neighbour: {culprit}",))


def _answer(rule: Rule, facts: Facts) -> str:
    try:
        return rule.question(facts)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        return ""  # a document so odd that the question makes no sense: the rule on wrong metadata speaks


def _forecast(reader: Reader, texts: dict[str, dict[str, list[str]]]) -> Forecast:
    below = _sources(reader)
    for verdict in (REFUSES, MISREADS):
        reasons = [text for source in below for text in texts[source][verdict]]
        if reasons:
            return Forecast(reader, verdict, tuple(dict.fromkeys(reasons)))
    return Forecast(reader, READS, ())


def _sources(reader: Reader) -> tuple[str, ...]:
    return (reader.id, Z34) if reader.id == XARRAY else (reader.id,)
