"""How large the data of a run are. Imports nothing; every size of the benchmark is derived from a `Scale`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run: ``edge`` of the cube (values), ``variables`` of the wide dataset, and so on."""

    name: str
    edge: int  # of the cube of uint16; chunks and shards are a quarter of it
    parts: int  # inner chunks along an edge of the cube
    sheet: int  # edge of the sheet of float32 in chunks of 64 x 64
    points: int  # single elements read
    strings: int
    era: tuple[int, int, int]  # steps, rows and columns of each variable of the dataset
    era_chunks: tuple[int, int, int]
    variables: int  # of the wide dataset
    side: int  # the arrays of many chunks have side**3 of them
    blocks: int  # small blocks appended
    warmed: int  # bytes of memory that are filled and given back before each measurement

    @property
    def chunk(self) -> int:
        """The edge of a chunk (or shard) of the cube."""
        return self.edge // 4

    @property
    def inner(self) -> int:
        """The edge of an inner chunk of the cube."""
        return self.edge // self.parts


SCALES = {
    "full": Scale("full", 512, 16, 4096, 1000, 1_000_000, (400, 180, 360), (20, 90, 180), 500, 100, 64, 1 << 30),
    "small": Scale("small", 32, 8, 256, 20, 500, (8, 6, 10), (2, 3, 5), 6, 4, 4, 1 << 20),
}
