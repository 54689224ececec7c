"""The doctor: what it finds first in stores that are broken in one way, and what its fixes do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xzarr_backend as xz
from tests.broken_stores import CASES, DATA, Broken, edit, v2, v3
from tests.stores_fakes import CountingStore, FailingStore
from xzarr_backend.cli import main
from xzarr_backend.doctor_findings import CASES as TROUBLES
from xzarr_backend.doctor_findings import FINDINGS
from xzarr_backend.doctor_readers import OBSERVED, READERS, STATED
from xzarr_backend.doctor_rules import ALL, MISREADS, READS, REFUSES, RULES
from xzarr_backend.inventory import COPY
from xzarr_backend.stores import MemoryStore
from xzarr_backend.stores.local import LocalStore


@pytest.mark.parametrize("broken", CASES, ids=[case.name for case in CASES])
def test_the_right_finding_comes_first(broken: Broken, tmp_path: Path) -> None:
    """For each broken store the doctor names the cause before anything that follows from it."""
    broken.make(tmp_path / "s")
    report = xz.doctor(tmp_path / "s", quirks=broken.quirks)
    assert [one.id for one in report.findings][:1] == [broken.first], report
    assert report.findings[0].kind.case == broken.case
    assert report.status == 1
    assert bool(report.findings[0].mends) == broken.fixed


@pytest.mark.parametrize("broken", [c for c in CASES if c.fixed], ids=[c.name for c in CASES if c.fixed])
def test_fixes_work(broken: Broken, tmp_path: Path) -> None:
    """After the fix, the finding is gone, strict reading gives the data, and no chunk has changed."""
    broken.make(tmp_path / "s")
    before = _chunks(tmp_path / "s")
    report = xz.doctor(tmp_path / "s", quirks=broken.quirks, fix=True)
    assert report.mended
    assert broken.first not in [one.id for one in report.findings]
    assert _chunks(tmp_path / "s") == before
    values = xz.open_array(tmp_path / "s", broken.path, strict=True)[...]
    np.testing.assert_array_equal(values, DATA if broken.values is None else broken.values)


def _chunks(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".z") and "zarr.json" not in path.name
    }


def test_every_case_of_the_guide_has_its_stores() -> None:
    """There are at least 25 broken stores, and several for each of the five cases."""
    counts = Counter(case.case for case in CASES)
    assert len(CASES) >= 25 and set(counts) == set(TROUBLES) and min(counts.values()) >= 5


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
def test_nothing_is_wrong_with_what_this_package_writes(zarr_format: int, consolidated: bool, tmp_path: Path) -> None:
    """A store of ours has no findings, consolidated or not, with many data types."""
    xz.create_group(tmp_path, zarr_format=zarr_format)
    xz.create_group(tmp_path, "deep", zarr_format=zarr_format, attributes={"title": "Trial"})
    for name, data in {
        "deep/f": np.linspace(250, 310, 60).reshape(6, 10),
        "i": np.arange(100),
        "b": np.array([True, False]),
        "t": np.array(["2020-01-01", "NaT"], "M8[s]"),
        "s": np.array(["a", "bc"]),
        "c": np.array([1j, 2.0]),
    }.items():
        xz.create_array(tmp_path, name, data=data, zarr_format=zarr_format, attributes={"units": "m", "n": None})
    if consolidated:
        xz.consolidate_metadata(tmp_path)
    report = xz.doctor(tmp_path)
    assert report.findings == [] and report.status == 0


@pytest.mark.parametrize(("profile", "zarr_format"), [("exzarr", 3), ("exzarr", 2), ("portable", 2)])
def test_nothing_is_wrong_with_what_is_written_for_others(profile: str, zarr_format: int, tmp_path: Path) -> None:
    """The .zgroup that ExZarr needs beside a zarr.json is no finding, until arrays of v2 lie below it."""
    xz.create_group(tmp_path, "deep", profile=profile, zarr_format=zarr_format, attributes={"title": "t"})
    xz.create_array(tmp_path, "deep/a", data=DATA, profile=profile, zarr_format=zarr_format)
    assert xz.doctor(tmp_path).findings == []
    if zarr_format == 3:
        xz.create_array(tmp_path / "deep" / "b", data=DATA, zarr_format=2)
        assert "two-documents" in [one.id for one in xz.doctor(tmp_path).findings]


def test_a_mended_scale_stays_mended(tmp_path: Path) -> None:
    """The inverse of ExZarr's scale looks like a scale of ExZarr: the next fix does not turn it back."""
    next(case for case in CASES if case.name == "scale of ExZarr").make(tmp_path / "s")
    assert xz.doctor(tmp_path / "s", quirks="exzarr", fix=True).mended == ["a/.zarray"]
    mended = (tmp_path / "s" / "a" / ".zarray").read_bytes()
    assert xz.doctor(tmp_path / "s", quirks="exzarr", fix=True).mended == []
    assert (tmp_path / "s" / "a" / ".zarray").read_bytes() == mended


def test_a_fix_keeps_what_was_there(tmp_path: Path) -> None:
    """The document before the first fix stays beside it, and is no finding and no node of its own."""
    v2(tmp_path / "s")
    document = tmp_path / "s" / "a" / ".zarray"
    edit(document, fill_value="0")
    before = document.read_bytes()
    assert xz.doctor(tmp_path / "s", fix=True).mended == ["a/.zarray"]
    assert Path(f"{document}{COPY}").read_bytes() == before
    edit(document, fill_value="00")
    assert xz.doctor(tmp_path / "s", fix=True).ok
    assert Path(f"{document}{COPY}").read_bytes() == before
    assert list(xz.open_group(tmp_path / "s")) == ["a"]


def test_a_fix_keeps_consolidated_metadata_true(tmp_path: Path) -> None:
    """Mending a member writes the consolidated metadata of its group anew."""
    v2(tmp_path / "s")
    edit(tmp_path / "s" / "a" / ".zarray", fill_value="0")
    xz.consolidate_metadata(tmp_path / "s")
    report = xz.doctor(tmp_path / "s", fix=True)
    assert report.mended == ["a/.zarray", ".zmetadata"] and report.ok


def test_nothing_is_written_without_fix(tmp_path: Path) -> None:
    """Examining a store only reads, and at most one chunk of an array."""
    v3(tmp_path / "s")
    edit(tmp_path / "s" / "a" / "zarr.json", fill_value=None)
    store = CountingStore(LocalStore(tmp_path / "s"))
    assert not xz.doctor(store).ok
    assert store.count("set", "set_if_absent", "delete", "delete_prefix") == 0
    assert sum(1 for call in store.requests if call.operation == "get" and "/c/" in call.key) == 1


@pytest.mark.parametrize(("keys", "first"), [("zarr.json", "access-denied"), ("a/c/", "chunks-denied")])
def test_permissions_are_told(keys: str, first: str, tmp_path: Path) -> None:
    """Documents and chunks that the system refuses are told as such, not as damaged ones."""
    v3(tmp_path / "s")

    def fail(operation: str, key: str) -> BaseException | None:
        denied = operation == "get" and key.startswith(("a/", "zarr.json")) and keys in key
        return PermissionError(13, "Permission denied") if denied else None

    report = xz.doctor(FailingStore(LocalStore(tmp_path / "s"), fail))
    assert report.findings[0].id == first and "Permission denied" in report.findings[0].what


def test_a_store_that_cannot_be_listed(tmp_path: Path) -> None:
    """Without a listing, nodes are found through consolidated metadata, and chunks are not called missing."""
    v2(tmp_path / "s")
    xz.consolidate_metadata(tmp_path / "s")

    def fail(operation: str, key: str) -> BaseException | None:
        return xz.UnsupportedError("this place cannot be listed") if operation in ("walk", "list_dir") else None

    report = xz.doctor(FailingStore(LocalStore(tmp_path / "s"), fail))
    assert [one.path for one in report.arrays] == ["/a"]
    assert [one.id for one in report.findings] == ["not-listed"] and report.ok and not report.complete


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec whose library is not installed is told with the package to install."""
    v3(tmp_path / "s")
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    edit(tmp_path / "s" / "a" / "zarr.json", codecs=codecs)
    monkeypatch.setattr("xzarr_backend.codecs.registry._installed", lambda package: False)
    monkeypatch.setattr("xzarr_backend.codecs.registry._resolve", _uncached())
    first = xz.doctor(tmp_path / "s").findings[0]
    assert first.id == "codec-needs-package" and "google-crc32c" in f"{first.what} {first.fix}"


def _uncached() -> Any:
    from xzarr_backend.codecs import registry

    return registry._resolve.__wrapped__


def test_a_reader_can_be_demanded(tmp_path: Path) -> None:
    """With ``reader``, what it refuses or misreads becomes the first finding; without, it is told but not wrong."""
    v3(tmp_path / "s", shards=(6, 8))
    assert xz.doctor(tmp_path / "s").ok
    report = xz.doctor(tmp_path / "s", reader="exzarr")
    assert report.findings[0].id == "reader-refuses" and "sharding_indexed" in report.findings[0].what
    v2(tmp_path / "t", data=DATA.astype(">i4"))
    assert xz.doctor(tmp_path / "t", reader="exzarr").findings[0].id == "reader-misreads"
    with pytest.raises(xz.XzarrError, match="zarr-python-2"):
        xz.doctor(tmp_path / "s", reader="nobody")


def test_rules_cite_where_they_are_from() -> None:
    """Every rule names readers of the table; each reader has a version, and is observed or stated."""
    assert {reader.id for reader in READERS} == set(ALL)
    assert all(reader.version and reader.source and reader.seen in (OBSERVED, STATED) for reader in READERS)
    assert all(set(rule.readers) <= set(ALL) and rule.verdict in (REFUSES, MISREADS) for rule in RULES)


def test_forecasts_of_plain_arrays(tmp_path: Path) -> None:
    """All readers but ExZarr's, which has its own conditions, read a plain v3 array; all read a plain v2 one."""
    v2(tmp_path / "s", dimension_names=("y", "x"))
    edit(tmp_path / "s" / "a" / ".zarray", lambda d: d.pop("dimension_separator"))
    forecast = xz.doctor(tmp_path / "s").arrays[0].forecasts
    assert {one.reader.id: one.verdict for one in forecast} == dict.fromkeys(ALL, READS)
    v3(tmp_path / "t")
    report = xz.doctor(tmp_path / "t")
    assert report.forecast("a", "zarr-python-2").verdict == REFUSES
    assert report.forecast("a", "xarray").verdict == REFUSES  # without names of dimensions
    assert report.forecast("a", "tensorstore").verdict == READS


@pytest.mark.parametrize(
    "document", ["[]", '{"zarr_format": 3}', '{"codecs": [[[]]], "shape": {}}', '"\\u0000"', "[" * 5000]
)
def test_odd_documents_are_findings(document: str) -> None:
    """Whatever lies under the name of a document, the doctor reports it."""
    for name in ("zarr.json", ".zarray"):
        report = xz.doctor(MemoryStore({f"a/{name}": document.encode()}))
        assert not report.ok
        assert json.dumps(report.as_dict()) and repr(report)


def test_the_command(tmp_path: Path) -> None:
    """``xzarr doctor`` prints text or JSON; its exit status is 0, 1 or 2."""
    v2(tmp_path / "s")
    store = str(tmp_path / "s")
    assert CliRunner().invoke(main, ["doctor", store]).exit_code == 0
    edit(tmp_path / "s" / "a" / ".zarray", fill_value="0")
    shown = CliRunner().invoke(main, ["doctor", store])
    assert shown.exit_code == 1 and "fill-value-spelling" in shown.stdout and "--fix does it" in shown.stdout
    facts = json.loads(CliRunner().invoke(main, ["doctor", store, "--json"]).stdout)
    assert facts["findings"][0]["id"] == "fill-value-spelling" and facts["findings"][0]["can_be_mended"]
    assert facts["readers"]["gdal"]["rules"] == "stated"
    assert CliRunner().invoke(main, ["doctor", store, "--fix"]).exit_code == 0
    failed = CliRunner().invoke(main, ["doctor", store, "--quirks", "nobody"])
    assert failed.exit_code == 2 and "Traceback" not in failed.output


def test_every_finding_has_its_page(request: pytest.FixtureRequest) -> None:
    """docs/interop/findings.md is what the script makes of the table."""
    root = request.config.rootpath
    from docs.make_findings import page

    assert (root / "docs" / "interop" / "findings.md").read_text("utf-8") == page()
    assert all(f"## {name}\n" in page() for name in FINDINGS)


def test_xarray_opens_whole_groups(tmp_path: Path) -> None:
    """An array that xarray refuses keeps it from its neighbours in the group, not from other groups."""
    xz.create_group(tmp_path / "s")
    for name in ("g/named", "g/unnamed", "h/named"):
        names = None if name == "g/unnamed" else ("y", "x")
        xz.create_array(tmp_path / "s", name, data=DATA, dimension_names=names)
    report = xz.doctor(tmp_path / "s")
    assert "/g/unnamed" in report.forecast("g/named", "xarray").reasons[0]
    assert report.forecast("h/named", "xarray").verdict == READS
