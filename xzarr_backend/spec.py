"""The one model of an array that the whole package works with, whichever document it came from.

Imports dtypes and chunk_grids, chunk_keys of the same row for types only. Invariant: nothing behind an `ArraySpec`
asks which Zarr format it was parsed from, except the writers of metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .chunk_grids import ChunkGrid
    from .chunk_keys import ChunkKeyEncoding
    from .dtypes import DataType

JSON = Any  # a parsed JSON value: dict, list, str, int, float, bool or None

NUMCODECS = "numcodecs."  # what stands in a v3 chain before the ids that numcodecs has, and v2 documents, for codecs


class Named(NamedTuple):
    """A name with its configuration: how v3 spells codecs, grids and key encodings (core v3, "Extension points")."""

    name: str
    configuration: Mapping[str, JSON]

    @property
    def short_name(self) -> str:
        """The name without the prefix of numcodecs."""
        return self.name.removeprefix(NUMCODECS)

    @classmethod
    def parse(cls, value: JSON) -> Named | None:
        """Return what a document spells: a bare name, or an object with name and configuration; None for all else."""
        if isinstance(value, str):
            return cls(value, {})
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            configuration = value.get("configuration")
            if configuration is None or isinstance(configuration, Mapping):
                return cls(value["name"], configuration or {})
        return None


class ArraySpec(NamedTuple):
    """Everything that is known about an array before a byte of its data is read; written with keywords.

    ``codecs`` is always a v3 chain: array->array codecs, one array->bytes codec, bytes->bytes codecs, in the order of
    encoding. ``fill_value`` is a value of the data type, or None for the v2 null, which reads as zero.
    ``document`` and ``attributes`` keep what was stored, so that rewriting loses nothing that was not understood.
    """

    shape: tuple[int, ...]
    dtype: DataType
    chunk_grid: ChunkGrid
    chunk_key_encoding: ChunkKeyEncoding
    codecs: tuple[Named, ...]
    fill_value: Any
    dimension_names: tuple[str | None, ...] | None
    attributes: Mapping[str, JSON]
    zarr_format: int
    document: Mapping[str, JSON]

    @property
    def sharded(self) -> bool:
        """Whether stored objects are shards."""
        return "sharding_indexed" in [codec.name for codec in self.codecs]


class GroupSpec(NamedTuple):
    """What a group's own documents say. ``members`` maps relative paths to specs or documents when consolidated."""

    attributes: Mapping[str, JSON]
    zarr_format: int
    document: Mapping[str, JSON]
    consolidated: Mapping[str, JSON] | None = None
