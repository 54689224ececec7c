"""One array, as the doctor looks at it: its documents taken apart, its objects, one chunk decoded.

Imports array, nodes, inventory and the rows below. Invariant: facts never raise for what a stranger stored; what cannot
be known is None. Facts are found when they are asked for, and once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np

from .array import Array
from .codecs.exzarr import looks_like_exzarr
from .codecs.sizes import at_most
from .compat import Reading
from .errors import MetadataError, UnsupportedError, XzarrError
from .formats.v2 import parse_array_v2
from .formats.v3 import parse_array_v3
from .inventory import (
    MAX_OBJECTS,
    ZARR_JSON,
    ZARRAY,
    ZATTRS,
    Documents,
    Stored,
    load_documents,
    only_archive,
    take_inventory,
)
from .nodes import find_in_parents
from .options import Options
from .paths import prefix_of
from .spec import JSON, ArraySpec
from .stored import parse_key
from .stores.base import Store
from .stores.zip import ZipStore

MAX_SAMPLE_NBYTES = 64 * 2**20  # a larger chunk is not decoded to look at it


class CodecAt(NamedTuple):
    """A codec of a v3 chain. ``bare``: given as a string; ``configuration``: None where the member is missing."""

    place: str
    name: str
    configuration: Mapping[str, JSON] | None
    bare: bool


class ChainAt(NamedTuple):
    """A codec chain of a v3 document. ``role``: "array", "inner" or "index" (of shards)."""

    role: str
    codecs: tuple[CodecAt, ...]


class Facts:
    """What is known of the array at ``path``.

    ``document``: its metadata; ``own``: whether they lie beside the array, and not only in the consolidated metadata of
    a parent; ``broken``: why its own document cannot be read. ``archive``: its place in an archive that a folder holds.
    ``quirks``: the writer that is known to have written it. ``keys``: the objects below it.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        documents: Documents,
        *,
        zarr_format: int | None = None,
        quirks: str | None = None,
        keys: list[Stored] | None = None,
        archive: bool = False,
        listed: bool = True,
    ) -> None:
        self.store, self.path, self.documents, self.quirks, self.archive = store, path, documents, quirks, archive
        self._keys, self._listed = keys, listed
        self.conflict = ""  # sizes of dimensions that do not fit those of the neighbours
        name = ZARR_JSON if zarr_format != 2 and ZARR_JSON in documents else ZARRAY
        self.name = self.stored_name = name
        document = documents.get(name)
        self.broken = document.problem if document is not None else ""
        self.denied = document is not None and document.denied
        self.raw = document.raw if document is not None else b""
        self.own = document is not None and document.content is not None
        attributes = documents.get(ZATTRS)
        self.attributes: Mapping[str, JSON] = (attributes.content if attributes is not None else None) or {}
        self.document: Mapping[str, JSON] = (document.content if document is not None else None) or {}
        self.known: ArraySpec | None = None  # from the consolidated metadata of a parent
        if not self.own and path:
            self._ask_parents()

    def _ask_parents(self) -> None:
        try:
            found = find_in_parents(self.store, self.path, self.reading)
        except (MetadataError, UnsupportedError):
            return
        if found is not None and isinstance(found.spec, ArraySpec):
            self.known = found.spec
            self.document, self.attributes = found.spec.document, found.spec.attributes
            self.name = ZARR_JSON if found.spec.document.get("zarr_format") == 3 else ZARRAY

    # --- documents

    @property
    def reading(self) -> Reading:
        """How its documents are read here."""
        return Reading(self.quirks)

    @property
    def v2(self) -> bool:
        """Whether its metadata are those of v2."""
        return self.name == ZARRAY

    @property
    def where(self) -> str:
        """How reports name the array."""
        return f"/{self.path}"

    @cached_property
    def parsed(self) -> tuple[Array | None, XzarrError | None]:
        """The array as it is opened here, or the error."""
        try:
            spec = self.known
            if spec is None:
                parse = parse_array_v2(self.document, self.attributes, self.reading) if self.v2 else None
                spec = parse or parse_array_v3(self.document, self.reading)
            array = Array(self.store, self.path, spec, Options(quirks=self.quirks))
            array.layout  # noqa: B018 (compile now)
        except XzarrError as error:
            return None, error
        except RecursionError:
            return None, MetadataError("the metadata are nested too deeply")
        return array, None

    @property
    def array(self) -> Array | None:
        """The array, None where it cannot be opened here."""
        return self.parsed[0]

    @property
    def error(self) -> XzarrError | None:
        """Why it cannot be opened here."""
        return self.parsed[1]

    @property
    def unsupported(self) -> bool:
        """Whether the metadata are valid, but name what is not known here."""
        return isinstance(self.error, UnsupportedError)

    @cached_property
    def bare_numbers(self) -> bool:
        """Whether the document holds NaN or Infinity as they are, which is no JSON."""
        try:
            json.loads(self.raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return self.own
        return False

    @property
    def dtype(self) -> JSON:
        """The data type as the document has it."""
        return self.document.get("dtype" if self.v2 else "data_type")

    @cached_property
    def numpy(self) -> np.dtype[Any] | None:
        """What NumPy takes the ``dtype`` of v2 for."""
        try:
            found: np.dtype[Any] | None = np.dtype(_as_numpy(self.dtype)) if self.v2 else None
        except (TypeError, ValueError):
            return None
        # ml_dtypes, once loaded, adds its own to NumPy
        return found if found is not None and found.type.__module__ == "numpy" else None

    @property
    def kind(self) -> str:
        """The letter of a v2 data type ("i", "S", ...); "" for records and what has none."""
        return self.dtype[1:2] if isinstance(self.dtype, str) and self.dtype[:1] in "<>|" else ""

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        shape = self.document.get("shape")
        return len(shape) if isinstance(shape, list) else 0

    @property
    def fill(self) -> JSON:
        """The fill value as the document has it."""
        return self.document.get("fill_value")

    @cached_property
    def v2_codecs(self) -> list[tuple[str, str, Mapping[str, JSON]]]:
        """(place, id, configuration) of filters and compressor."""
        filters = self.document.get("filters")
        listed = [(f"filters[{at}]", codec) for at, codec in enumerate(filters if isinstance(filters, list) else ())]
        listed.append(("compressor", self.document.get("compressor")))
        return [
            (place, str(codec.get("id")), {k: v for k, v in codec.items() if k != "id"})
            for place, codec in listed
            if isinstance(codec, dict)
        ]

    @cached_property
    def chains(self) -> list[ChainAt]:
        """The codec chain of a v3 document, and those within its shards."""
        return list(_chains(self.document.get("codecs"), "codecs", "array"))

    # --- objects

    @cached_property
    def keys(self) -> list[Stored]:
        """The objects below the array."""
        if self._keys is None:
            return take_inventory(self.store, self.path).below(self.path) if not self.archive else []
        return self._keys

    def expect_every_chunk(self) -> None:
        """Take every chunk of the grid for stored, as far as they are looked at: where nothing can be listed."""
        if self.array is not None:
            self._keys = every_chunk(self.array)

    @cached_property
    def chunks(self) -> dict[tuple[int, ...], Stored]:
        """The stored chunks (or shards) by their coords."""
        if self.array is None:
            return {}
        placed = ((parse_key(self.array, stored.key), stored) for stored in self.keys)
        return {coords: stored for coords, stored in placed if coords is not None}

    @property
    def missing(self) -> int:
        """How many chunks (or shards) of the grid are not stored; 0 where that is not known."""
        return 0 if self.array is None or not self._listed else self.array.spec.chunk_grid.nchunks - len(self.chunks)

    @cached_property
    def sample_coords(self) -> tuple[int, ...] | None:
        """The coords of the chunk that is looked into: the largest of the first stored ones."""
        first = list(self.chunks.items())[:50]
        return max(first, key=lambda item: item[1].nbytes or 0)[0] if first else None

    @cached_property
    def sample(self) -> bytes | None:
        """The bytes of one stored chunk; None where there is none, it is too large, or it cannot be fetched."""
        if self.sample_coords is None or (self.chunks[self.sample_coords].nbytes or 0) > MAX_SAMPLE_NBYTES:
            return None
        try:
            raw = self.store.get(self.chunks[self.sample_coords].key)
        except Exception:
            return None
        return None if raw is None else bytes(raw)

    @cached_property
    def decoded(self) -> tuple[Any, Exception | None]:
        """The decoded sample, or why it cannot be decoded; (None, None) where there is none to decode."""
        if self.array is None or self.sample is None or self.sample_coords is None:
            return None, None
        layout = self.array.layout
        if layout.chunk_nbytes > MAX_SAMPLE_NBYTES:
            return None, None
        try:
            pipeline = layout.pipeline_for(layout.grid.chunk_shape(self.sample_coords))
            with at_most(self.array.options.max_chunk_bytes):
                return pipeline.decode(np.frombuffer(self.sample, "u1")), None
        except Exception as error:
            return None, error

    @property
    def exzarr_shards(self) -> bool:
        """Whether the stored shards are laid out as ExZarr does it."""
        if self.v2 or not self.sample or not any(c.name == "sharding_indexed" for c in self.outer):
            return False
        return looks_like_exzarr(memoryview(self.sample), self.rank)

    @property
    def outer(self) -> tuple[CodecAt, ...]:
        """The codecs of the array's own chain (v3)."""
        return self.chains[0].codecs if self.chains else ()

    @property
    def zip_features(self) -> set[str]:
        """What of the archive that holds the array some readers cannot read: "descriptors", "duplicates"."""
        if not isinstance(self.store, ZipStore) or self.archive:
            return set()
        return _zip_features(self.store)


def every_chunk(array: Array) -> list[Stored]:
    """Return the chunks (or shards) of the grid as if all were stored, the first million."""
    every = product(*(range(count) for count in array.spec.chunk_grid.counts))
    return [Stored(array.layout.key(coords), None) for coords in islice(every, MAX_OBJECTS)]


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _as_numpy(dtype: JSON) -> Any:
    """Turn a v2 data type into what NumPy takes: records as tuples."""
    if not isinstance(dtype, list):
        return dtype
    return [
        (str(field[0]), _as_numpy(field[1]), *(tuple(size) if isinstance(size, list) else size for size in field[2:]))
        for field in dtype
        if isinstance(field, list) and len(field) > 1
    ]


def _chains(codecs: JSON, place: str, role: str) -> Iterator[ChainAt]:
    found = []
    for at, codec in enumerate(codecs if isinstance(codecs, list) else ()):
        if isinstance(codec, str):
            found.append(CodecAt(f"{place}[{at}]", codec, None, True))
        elif isinstance(codec, dict) and isinstance(codec.get("name"), str):
            configuration = codec.get("configuration")
            found.append(
                CodecAt(
                    f"{place}[{at}]", codec["name"], configuration if isinstance(configuration, dict) else None, False
                )
            )
    yield ChainAt(role, tuple(found))
    for one in found:
        if one.name == "sharding_indexed" and one.configuration is not None:
            below = f"{one.place}.configuration"
            if "codecs" in one.configuration:
                yield from _chains(one.configuration["codecs"], f"{below}.codecs", "inner")
            if one.configuration.get("index_codecs") is not None:
                yield from _chains(one.configuration.get("index_codecs"), f"{below}.index_codecs", "index")


def _zip_features(store: ZipStore) -> set[str]:
    import zipfile

    found: set[str] = set()
    try:
        with zipfile.ZipFile(store.path) as archive:
            infos = archive.infolist()
    except (OSError, zipfile.BadZipFile):
        return found
    if any(info.flag_bits & 8 for info in infos):
        found.add("descriptors")
    if len({info.filename for info in infos}) < len(infos):
        found.add("duplicates")
    return found


def load_facts(store: Store, path: str = "", *, zarr_format: int | None = None, quirks: str | None = None) -> Facts:
    """Return the facts of the array at ``path``; of an archive, where a folder holds nothing else."""
    prefix = prefix_of(path)
    names = (ZARR_JSON, ZARRAY, ZATTRS)

    def documents(source: Store) -> Documents:
        loaded = load_documents(source, [f"{prefix}{name}" for name in names])
        return {name: found for name, found in zip(names, loaded, strict=True) if found is not None}

    found = documents(store)
    archive = only_archive(store) if not found else None
    if archive is not None:
        return Facts(archive, path, documents(archive), zarr_format=zarr_format, quirks=quirks, archive=True)
    return Facts(store, path, found, zarr_format=zarr_format, quirks=quirks)
