"""Reading a selection: plan it, allocate the result once, fill it from chunks or shards.

Imports the rows below and the modules that read chunks, runs, shards and single chunks. Invariant: what this returns
holds the stored values or the fill value of chunks that are not stored; every other case is an error, text with numbers
that are no characters among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .chunk_reading import Source, Target, allocate, chunk_error, read_chunks
from .code_points import no_character, wrong_character
from .codecs.sizes import at_most
from .errors import ChunkError
from .plan import plan
from .run_reading import read_in_runs
from .selection import Selection
from .shard_reading import read_shards
from .single_reading import read_single


def read(source: Source, selection: Selection) -> Any:
    """Return the planned result of ``selection`` (see `Selection.finish`); raise `ChunkError`."""
    if source.layout.pipeline.nbytes is None:  # only the encoded chunks tell how much they decode to
        with at_most(source.limit):
            target = _read_planned(source, selection)
    else:
        target = read_single(source, selection) or _read_planned(source, selection)
    target.report_missing(source)
    if source.layout.text and wrong_character(target.array) is not None:
        raise _not_text(source, selection, target.array)
    return target.array


def _read_planned(source: Source, selection: Selection) -> Target:
    layout = source.layout
    # In the order of the stored elements, so that chunks are copied as they lie, or decoded in place. Allocated before
    # it is planned: what no memory can hold may lie in so many chunks that their plan fills it.
    target = allocate(selection.planned_shape, layout, None if selection.points else layout.order)
    planned = plan(selection, layout.grid)
    if planned.nparts:
        if layout.shards is not None:
            read_shards(source, planned, target)
        elif not read_in_runs(source, planned, target):
            read_chunks(source, planned, target)
    return target


def _not_text(source: Source, selection: Selection, result: Any) -> ChunkError:
    """Return the error for the first chunk of which there is something in ``result`` that is no character."""
    layout = source.layout
    found = (
        (coords, wrong_character(result[np.newaxis][(slice(None), *place)]))  # of an array even of one element
        for coords, _, place, _ in plan(selection, layout.grid).parts()
    )
    coords, number = next((coords, number) for coords, number in found if number is not None)
    return chunk_error(no_character(number), source, coords, layout.key(coords))
