"""Zarr v3 documents: `zarr.json` of arrays and groups.

Imports documents, compat and row 0. Invariant: an extension that must be understood and is not makes the node
unreadable; everything else that is not understood is kept as it was. Source: Zarr v3 core, "Metadata".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..attribute_values import decode_attributes, encode_attributes
from ..chunk_grids import ChunkGrid, format_chunk_grid, parse_chunk_grid
from ..chunk_keys import ChunkKeyEncoding, format_chunk_key_encoding, parse_chunk_key_encoding
from ..compat import TOLERANT, Reading, read_as_meant
from ..dtypes import DataType, parse_dtype_v3
from ..errors import MetadataError, UnsupportedError
from ..spec import JSON, NUMCODECS, ArraySpec, GroupSpec, Named
from .alike import Alike, fingerprint
from .documents import DIMENSIONS, Checks, expect_format

ARRAY_MEMBERS = frozenset(
    [
        "zarr_format",
        "node_type",
        "shape",
        "data_type",
        "chunk_grid",
        "chunk_key_encoding",
        "fill_value",
        "codecs",
        "attributes",
        "storage_transformers",
        "dimension_names",
    ]
)
GROUP_MEMBERS = frozenset({"zarr_format", "node_type", "attributes"})
# members that some writers add although they mean nothing there
_HARMLESS = frozenset({"consolidated_metadata"})


def parse_array_v3(stored: Mapping[str, JSON], reading: Reading = TOLERANT) -> ArraySpec:
    """Return the spec of the array that ``stored`` describes; raise `MetadataError` or `UnsupportedError`.

    ``reading`` says which quirks of writers are assumed or refused.
    """
    rest = dict(stored)
    attributes = rest.pop("attributes", None)
    if reading != TOLERANT or not isinstance(attributes, dict | None):
        return _parse_array(stored, reading)
    same_key = fingerprint(rest)
    same = _same.find(same_key)
    if same is None:
        form = rest.pop("shape", None), rest.pop("chunk_grid", None), rest.pop("dimension_names", None)
        kind_key, form_key = fingerprint(rest), fingerprint(form)
        known, formed = _kinds.find(kind_key), _forms.find(form_key)
        if known is None or formed is None:
            spec = _parse_array(stored, reading, known)
            _same.keep(same_key, spec)
            _kinds.keep(kind_key, spec)
            _forms.keep(form_key, spec)
            return spec
        same = known._replace(shape=formed.shape, chunk_grid=formed.chunk_grid, dimension_names=formed.dimension_names)
        _same.keep(same_key, same)
    attributes = decode_attributes(attributes or {})
    names = same.dimension_names
    if stored.get("dimension_names") is None:
        names = _names_in_attributes(attributes, len(same.shape))
    return ArraySpec(*same[:6], names, attributes, 3, stored)  # `_replace` takes three times as long


_same: Alike[ArraySpec] = Alike()  # by all members but the attributes
_kinds: Alike[ArraySpec] = Alike()  # by those of them that are not the form
_forms: Alike[ArraySpec] = Alike()  # by the form, which is shape, grid and names


def _parse_array(stored: Mapping[str, JSON], reading: Reading, alike: ArraySpec | None = None) -> ArraySpec:
    """Parse a document; ``alike`` is the spec of one that differs in its attributes, shape, grid and names only."""
    document = read_as_meant(stored, 3, reading)
    expect_format(document, 3, "zarr.json")
    checks = Checks(document)
    shape = checks.shape()
    dtype = alike.dtype if alike else _data_type(checks)
    grid = _grid(checks, shape)
    fill = alike.fill_value if alike else _fill_value(checks, dtype)
    keys = alike.chunk_key_encoding if alike else _key_encoding(checks)
    codecs = alike.codecs if alike else _codecs(checks)
    names = _dimension_names(checks, len(shape))
    attributes = checks.attributes(document.get("attributes"))
    if not alike:
        _check_extensions(checks)
    checks.finish("zarr.json")
    assert dtype is not None and grid is not None and keys is not None
    return ArraySpec(
        shape=shape,
        dtype=dtype,
        chunk_grid=grid,
        chunk_key_encoding=keys,
        codecs=codecs,
        fill_value=fill,
        dimension_names=_names_in_attributes(attributes, len(shape)) if names is None else names,
        attributes=attributes,
        zarr_format=3,
        document=stored,
    )


def _data_type(checks: Checks) -> DataType | None:
    data_type = checks.needed("data_type")
    return checks.attempt("data_type", lambda: parse_dtype_v3(data_type)) if data_type is not None else None


def _grid(checks: Checks, shape: tuple[int, ...]) -> ChunkGrid | None:
    document = checks.needed("chunk_grid")
    named = checks.named(document, "chunk_grid") if document is not None else None
    return checks.attempt("chunk_grid", lambda: parse_chunk_grid(shape, named)) if named else None


def _fill_value(checks: Checks, dtype: DataType | None) -> Any:
    if dtype is None:
        return None
    value = checks.required("fill_value")
    if dtype.fields and isinstance(value, str) and _is_big_endian(checks.document.get("codecs")):
        # the older spelling of a record: its bytes, in the order of the chunks (zarr-extensions, "structured")
        stored = replace(dtype, numpy=dtype.numpy.newbyteorder(">"))
        return checks.attempt("fill_value", lambda: dtype.cast_fill(stored.parse_fill(value, 3)))
    return checks.attempt("fill_value", lambda: dtype.parse_fill(value, 3))


def _is_big_endian(codecs: JSON) -> bool:
    """Return whether the elements in the chunks are big-endian, also where the chunks lie in shards."""
    for codec in map(Named.parse, codecs if isinstance(codecs, list) else ()):
        if codec and codec.name == "sharding_indexed":
            return _is_big_endian(codec.configuration.get("codecs"))
        if codec and codec.name == "bytes":
            return codec.configuration.get("endian") == "big"
    return False


def _key_encoding(checks: Checks) -> ChunkKeyEncoding | None:
    document = checks.needed("chunk_key_encoding")
    if document is None:
        return None
    named = checks.named(document, "chunk_key_encoding")
    return checks.attempt("chunk_key_encoding", lambda: parse_chunk_key_encoding(named))


def _codecs(checks: Checks) -> tuple[Named, ...]:
    value = checks.document.get("codecs")
    if value is None:  # 2022 writers: raw little-endian elements
        return (Named("bytes", {"endian": "little"}),)
    if not isinstance(value, list):
        checks.problem("codecs", f"must be a list, not {value!r:.80}")
        return ()
    return tuple(checks.named(item, f"codecs[{place}]") for place, item in enumerate(value))


def _dimension_names(checks: Checks, rank: int) -> tuple[str | None, ...] | None:
    names: Any = checks.document.get("dimension_names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str | None) for name in names):
        checks.problem("dimension_names", f"must be a list of names and nulls, not {names!r:.80}")
        return None
    if len(names) != rank:
        checks.problem("dimension_names", f"has {len(names)} names for {rank} dimensions")
        return None
    return tuple(names)


def _names_in_attributes(attributes: Mapping[str, JSON], rank: int) -> tuple[str | None, ...] | None:
    names: Any = attributes.get(DIMENSIONS)
    if isinstance(names, list) and len(names) == rank and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _check_extensions(checks: Checks) -> None:
    transformers = checks.document.get("storage_transformers") or []
    if not isinstance(transformers, list):
        checks.problem("storage_transformers", f"must be a list, not {transformers!r:.80}")
        return
    for place, transformer in enumerate(transformers):
        if must_understand(transformer):
            name = checks.named(transformer, f"storage_transformers[{place}]").name
            checks.unsupported = checks.unsupported or UnsupportedError(
                f"storage transformer {name!r} is not known", where=f"storage_transformers[{place}]"
            )
    checks.unsupported = checks.unsupported or _unknown_member(checks.document, ARRAY_MEMBERS)


def _unknown_member(document: Mapping[str, JSON], known: Collection[str]) -> UnsupportedError | None:
    """Return the error for a member that must be understood and is not (v3 core, "Extension points")."""
    for member, value in document.items():
        if member not in known and member not in _HARMLESS and must_understand(value):
            return UnsupportedError(
                f"the member {member!r} is not known, and the document does not say that it may be ignored",
                where=member,
            )
    return None


def must_understand(value: JSON) -> bool:
    """Return whether an extension must be understood to read the node: yes, unless it says no (v3 core)."""
    return not (isinstance(value, dict) and value.get("must_understand") is False)


def parse_group_v3(document: Mapping[str, JSON]) -> GroupSpec:
    """Return the spec of the group that ``document`` describes, with what it says of its members."""
    expect_format(document, 3, "zarr.json")
    checks = Checks(document)
    attributes = checks.attributes(document.get("attributes"))
    checks.unsupported = _unknown_member(document, GROUP_MEMBERS)
    checks.finish("zarr.json")
    consolidated = document.get("consolidated_metadata")
    members = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return GroupSpec(
        attributes=attributes,
        zarr_format=3,
        document=document,
        consolidated=members if isinstance(members, dict) else None,
    )


def node_type(document: Mapping[str, JSON]) -> str:
    """Return "array" or "group"; raise `MetadataError` for anything else."""
    found = document.get("node_type")
    if found in ("array", "group"):
        return str(found)
    if found is None and "shape" in document:  # left out by some writers
        return "array"
    raise MetadataError(
        f"zarr.json says node_type {found!r:.80}",
        problems=[("node_type", f'must be "array" or "group", not {found!r:.80}')],
    )


def format_array_v3(spec: ArraySpec) -> dict[str, JSON]:
    """Return the `zarr.json` document of ``spec``; raise `UnsupportedError` for what v3 cannot say."""
    document: dict[str, JSON] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(spec.shape),
        "data_type": spec.dtype.format_v3(),
        "chunk_grid": format_chunk_grid(spec.chunk_grid),
        "chunk_key_encoding": format_chunk_key_encoding(spec.chunk_key_encoding),
        "fill_value": spec.dtype.format_fill(spec.fill_value, 3),
        "codecs": [format_named(codec) for codec in spec.codecs],
        "attributes": encode_attributes(spec.attributes),
        "storage_transformers": [],
    }
    if spec.dimension_names is not None:
        document["dimension_names"] = list(spec.dimension_names)
    return document


_LISTS = (list, tuple)


def format_named(codec: Named) -> dict[str, JSON]:
    """Return the v3 dict of a codec; chains inside its configuration are spelled out too."""
    configuration = {
        name: [format_named(item) if isinstance(item, Named) else item for item in value]
        if isinstance(value, _LISTS)
        else value
        for name, value in codec.configuration.items()
    }
    if not configuration and not codec.name.startswith(NUMCODECS):  # for these zarr-python demands one
        return {"name": codec.name}
    return {"name": codec.name, "configuration": configuration}
