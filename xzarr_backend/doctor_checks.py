"""What documents show: arrays that cannot be opened, unsupported types and codecs, values that may differ.

Imports doctor_facts, doctor_findings, doctor_mending, doctor_readers and the rows below. Invariant: a check looks at
one node, answers with findings and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .compat import QUIRKS, Quirk, found_quirks
from .consolidated_state import restorable
from .doctor_facts import Facts
from .doctor_findings import Finding, Mend, found
from .doctor_mending import array_mend, member, mended_before, quirk_mend, restored, written_fill
from .doctor_questions import fill_is_wrong
from .doctor_readers import Forecast
from .doctor_rules import READS, REFUSES, TS_V2_FILLS, TS_V3_FILLS
from .errors import MetadataError, XzarrError
from .inventory import ZARR_JSON, ZARRAY, ZATTRS, ZGROUP, Document, Documents, Inventory
from .paths import join, prefix_of

V2_MEMBERS = frozenset(["zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"])


def check_array(facts: Facts, inventory: Inventory) -> Iterator[Finding]:
    """Yield what the documents of an array show."""
    if facts.broken:
        yield from _broken(facts, inventory)
        return
    yield from check_attributes(facts.path, facts.documents, inventory)
    if ZARR_JSON in facts.documents and (ZARRAY in facts.documents or ZGROUP in facts.documents):
        second = ZARRAY if ZARRAY in facts.documents else ZGROUP
        yield found("two-documents", facts.where, f"{ZARR_JSON} and {second} lie in one folder; {ZARR_JSON} is read")
    if facts.own and not facts.v2 and facts.document.get("node_type") != "array":
        said = facts.document.get("node_type")
        change = array_mend(facts, member("node_type", "array"))
        yield found("other-kind", facts.where, f"node_type is {said!r:.80}", mends=(change,))
        if isinstance(facts.error, MetadataError):
            return
    if facts.error is not None:
        yield from _refused(facts, facts.error)
        return
    fills = list(_fill_values(facts))
    yield from _quirks(facts, {"v3-missing-node-type", *(f"v{n}-fill-value-spelling" for n in (2, 3) if fills)})
    yield from fills
    yield from _byte_order(facts)
    if facts.conflict:
        yield found("dimensions-conflict", facts.where, facts.conflict)


def check_attributes(path: str, documents: Documents, inventory: Inventory) -> Iterator[Finding]:
    """Yield a finding where the attributes of a v2 node cannot be read."""
    document = documents.get(ZATTRS)
    if document is None or document.content is not None:
        return
    yield _unreadable("attributes-not-json", path, document, inventory)


def _broken(facts: Facts, inventory: Inventory) -> Iterator[Finding]:
    yield _unreadable("document-not-json", facts.path, facts.documents[facts.stored_name], inventory)


def _unreadable(name: str, path: str, document: Document, inventory: Inventory) -> Finding:
    prefix = prefix_of(path)
    if document.denied:
        return found("access-denied", f"/{prefix}{document.name}", document.problem)
    change = restored(restorable(inventory, path), document.name)
    mends = () if change is None else (Mend(path, f"{prefix}{document.name}", change),)
    return found(name, f"/{prefix}{document.name}", document.problem, mends=mends)


def check_group(path: str, documents: Documents, inventory: Inventory) -> Iterator[Finding]:
    """Yield what the documents of a group show."""
    prefix = prefix_of(path)
    for name, document in documents.items():
        if document.content is None:
            kind = "attributes-not-json" if name == ZATTRS else "document-not-json"
            yield _unreadable(kind, path, document, inventory)
    own = documents.get(ZARR_JSON)
    if own is not None and own.content is not None:
        if own.content.get("node_type") != "group":
            said = own.content.get("node_type")
            mends = (Mend(path, f"{prefix}{ZARR_JSON}", member("node_type", "group")),) if said is None else ()
            yield found("other-kind", f"/{path}", f"node_type is {said!r:.80}", mends=mends)
        yield from _format_number(f"/{path}", path, own, 3)
    if ZGROUP in documents and documents[ZGROUP].content is not None:
        yield from _format_number(f"/{path}", path, documents[ZGROUP], 2)
    if ZGROUP in documents and own is not None and _differ(path, documents, inventory):
        yield found("two-documents", f"/{path}", f"{ZARR_JSON} and {ZGROUP} lie in one folder; {ZARR_JSON} is read")
    elif ZGROUP in documents and own is None:
        below = [p for p, d in inventory.nodes.items() if p != path and p.startswith(prefix) and ZARR_JSON in d]
        if below:
            yield found("group-of-other-version", f"/{path}", f"{len(below)} v3 member(s), the first is /{below[0]}")


def _differ(path: str, documents: Documents, inventory: Inventory) -> bool:
    """Return whether readers of one version see another group than those of the other: a bare .zgroup is for ExZarr."""
    prefix = prefix_of(path)
    bare = documents[ZGROUP].content == {"zarr_format": 2} and ZATTRS not in documents
    members = [d for p, d in inventory.nodes.items() if p != path and p.startswith(prefix)]
    return not bare or any(ZARR_JSON not in member for member in members)


def _format_number(place: str, path: str, document: Document, expected: int) -> Iterator[Finding]:
    assert document.content is not None
    said = document.content.get("zarr_format")
    if said != expected:
        key = join(path, document.name)
        change = Mend(path, key, member("zarr_format", expected))
        yield found("wrong-format-number", place, f"{document.name} says zarr_format {said!r}", mends=(change,))


def check_undeclared(inventory: Inventory) -> Iterator[Finding]:
    """Yield the folders above v2 nodes that no document declares a group."""
    seen = set()
    for path, documents in sorted(inventory.nodes.items()):
        parent = path
        while parent and not (ZARR_JSON in documents and ZARRAY not in documents):
            parent = parent.rpartition("/")[0]
            above = inventory.nodes.get(parent, {})
            if parent in seen or any(name in above for name in (ZGROUP, ZARR_JSON, ZARRAY)):
                break
            seen.add(parent)
            key = join(parent, ZGROUP)
            change = Mend(parent, key, lambda _: {"zarr_format": 2})
            yield found("group-undeclared", f"/{parent}", f"no {ZGROUP} lies above /{path}", mends=(change,))


# --- arrays that cannot be opened here -------------------------------------------------------------------------------


def _refused(facts: Facts, error: XzarrError) -> Iterator[Finding]:
    if isinstance(error, MetadataError):
        yield from _wrong(facts, error)
        return
    unreadable = [(q, places) for q, places in _shown(facts) if not q.readable]
    for quirk, places in unreadable:
        yield found(quirk.id, facts.where, f"{', '.join(places)}: {quirk.means}")
    if unreadable:
        return
    what = error.what
    hint = error.hint
    if "needs the package" in what:
        yield found("codec-needs-package", facts.where, what, fix=hint)
    elif "executes code" in what:
        yield found("codec-unsafe", facts.where, what)
    elif what.startswith("codec"):
        yield found("codec-unknown", facts.where, what, fix=hint)
    elif "dtype" in error.where or "data_type" in error.where or "data type" in what:
        yield found("dtype-unsupported", facts.where, what, fix=hint)
    else:
        yield found("extension-unknown", facts.where, what, fix=hint)


def _wrong(facts: Facts, error: MetadataError) -> Iterator[Finding]:
    expected = 2 if facts.v2 else 3
    if facts.document.get("zarr_format") != expected and not (facts.v2 and "data_type" in facts.document):
        yield from _format_number(facts.where, facts.path, facts.documents[facts.name], expected)
        return
    what = "; ".join([error.what, *(f"{place} {problem}" for place, problem in error.problems)])
    yield found("document-wrong", facts.where, what)


# --- values ----------------------------------------------------------------------------------------------------------


def _shown(facts: Facts) -> list[tuple[Quirk, list[str]]]:
    return found_quirks(facts.document, 2 if facts.v2 else 3, facts.quirks)


def _quirks(facts: Facts, told: set[str]) -> Iterator[Finding]:
    """Yield the rows that the document shows, but for those that other findings tell of."""
    zarr_format = 2 if facts.v2 else 3
    for quirk, places in _shown(facts):
        if quirk.id in told or mended_before(facts, quirk.id):
            continue
        if quirk.id.startswith("v2-missing") and "data_type" in facts.document:
            continue  # a v3 document under the v2 name
        if quirk.writer is None or _matters(facts, quirk.id):
            yield found(
                quirk.id,
                facts.where,
                f"{', '.join(places)}: {quirk.means}",
                mends=quirk_mend(facts, quirk.id),
            )
    if facts.quirks is None and written_by_exzarr(facts):
        for quirk in QUIRKS:
            if quirk.writer == "exzarr" and quirk.zarr_format == zarr_format and _matters(facts, quirk.id):
                places = quirk.places(facts.document)
                if places:
                    what = f"{', '.join(places)}: ExZarr seems to have written this, and means: {quirk.means}"
                    fix = 'open with quirks="exzarr" (here: --quirks exzarr)' if quirk.readable else ""
                    yield found(quirk.id, facts.where, what, fix=fix)


def _matters(facts: Facts, quirk: str) -> bool:
    if quirk == "exzarr-order":
        return facts.rank > 1
    return quirk != "exzarr-shards" or facts.exzarr_shards


def written_by_exzarr(facts: Facts) -> bool:
    """Return whether the document has the marks of ExZarr: its eight members and ``level: 5``, or null names in v3."""
    if not facts.v2:
        return "dimension_names" in facts.document and facts.document["dimension_names"] is None
    compressor = facts.document.get("compressor")
    leveled = isinstance(compressor, dict) and set(compressor) == {"id", "level"} and compressor["level"] == 5
    return leveled and set(facts.document) == V2_MEMBERS and ZATTRS not in facts.documents


def _fill_values(facts: Facts) -> Iterator[Finding]:
    wrong = fill_is_wrong(TS_V2_FILLS)(facts) if facts.v2 else fill_is_wrong(TS_V3_FILLS, null=True)(facts)
    change = written_fill(facts)
    mends = () if change is None or not facts.own else (array_mend(facts, change),)
    if wrong and change is not None and change({})["fill_value"] != facts.fill:
        yield found("fill-value-spelling", facts.where, f"{wrong} for {facts.dtype!r:.60}", mends=mends)
    if facts.v2 and facts.fill is None and facts.missing > 0 and facts.chunks and "fill_value" in facts.document:
        what = f"fill_value is null, and {facts.missing} chunk(s) of {facts.missing + len(facts.chunks)} are missing"
        yield found("fill-value-null", facts.where, what, mends=mends)


def _byte_order(facts: Facts) -> Iterator[Finding]:
    values = facts.decoded[0]
    if values is None or facts.error is not None or facts.quirks:
        return
    array = np.asarray(values).ravel()[:10_000]
    if array.dtype.kind not in "iuf" or array.dtype.itemsize < 2 or array.size < 8:
        return
    said, other = wildness(array), wildness(array.astype(array.dtype, copy=True).byteswap())
    if other < 0.25 * said and said > 0.5:
        order = "big" if array.dtype.str[0] == ">" else "little"
        yield found("byte-order-suspect", facts.where, f"read as {order}-endian, the numbers are wild")


def wildness(values: Any) -> float:
    """Return how much of the range of their type numbers take: 0 for close ones, about 1 for random bytes.

    The spread of exponents for floats; the mean leading bit of whole numbers.
    """
    with np.errstate(all="ignore"):
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                return 1.0
            exponents = np.frexp(values[values != 0])[1]
            if exponents.size < 4:
                return 0.0
            spread = np.percentile(exponents, 90) - np.percentile(exponents, 10)
            return float(spread / (np.finfo(values.dtype).maxexp / 2) * 2 + abs(np.median(exponents)) / 100)
        magnitudes = np.abs(values[values != 0].astype("f8"))
        if magnitudes.size < 4:
            return 0.0
        return float(np.median(np.log2(magnitudes)) / (8 * values.dtype.itemsize - 1))


# --- a reader that was asked for -------------------------------------------------------------------------------------


def check_reader(facts: Facts, forecast: Forecast) -> Iterator[Finding]:
    """Yield a finding unless the reader that the caller asked for reads the array."""
    if forecast.verdict == READS:
        return
    name = "reader-refuses" if forecast.verdict == REFUSES else "reader-misreads"
    reader = forecast.reader
    what = f"{reader.name} ({reader.seen}, {reader.version}): {'; '.join(forecast.reasons)}"
    yield found(name, facts.where, what)
