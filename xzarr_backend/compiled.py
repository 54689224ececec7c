"""What one spec of an array means for reading and writing.

Imports layout, writing and the rows below. Invariant: one of these never changes; an array that gets another shape gets
another one.
"""

from __future__ import annotations

from functools import cached_property

from .chunk_grids import ChunkGrid
from .chunk_reading import Source
from .errors import MetadataError, UnsupportedError
from .index_cache import IndexCache
from .layout import Layout, compile_layout, inner_grid
from .nodes import place_of
from .options import Options
from .spec import ArraySpec
from .stores.base import Store
from .writing import Destination, LockOf


class Compiled:
    """What one spec of an array means for reading and writing, made when it is first needed.

    Whoever reads or writes holds on to one of these: meanwhile another thread may give the array another shape.
    """

    def __init__(self, store: Store, path: str, spec: ArraySpec, options: Options) -> None:
        self.store, self.path, self.spec, self.options = store, path, spec, options

    @property
    def where(self) -> str:
        """How errors name the array."""
        return f"{self.store.url}, array {self.path!r}" if self.path else self.store.url

    @cached_property
    def layout(self) -> Layout:
        """The compiled codecs; raise `MetadataError` or `UnsupportedError` where they cannot be."""
        try:
            return compile_layout(self.spec, self.path, self.options.allow_codecs)
        except (MetadataError, UnsupportedError) as error:
            raise error.within(place_of(self.store, self.path))  # noqa: B904
        except RecursionError as error:
            raise MetadataError("the codecs are nested too deeply", where=place_of(self.store, self.path)) from error

    @cached_property
    def chunk_grid(self) -> ChunkGrid:
        """The grid of the smallest chunks that can be read on their own."""
        return inner_grid(self.layout) if self.spec.sharded else self.spec.chunk_grid

    @cached_property
    def source(self) -> Source:
        """Where the chunks come from."""
        options = self.options
        return Source(self.store, self.layout, self.where, options.missing, options.max_chunk_bytes, IndexCache())

    def destination(self, lock: LockOf) -> Destination:
        """Return where chunks go."""
        options = self.options
        every = self.spec.fill_value is None if options.write_empty_chunks is None else options.write_empty_chunks
        return Destination(self.store, self.layout, self.spec.shape, self.where, options.max_chunk_bytes, every, lock)
