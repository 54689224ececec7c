"""What decoders keep from chunk to chunk."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np

import xzarr_backend as xz
from xzarr_backend.codecs.pipeline import Pipeline
from xzarr_backend.decoding import KEPT, Decoder, decoder_for
from xzarr_backend.stores import MemoryStore


class Element:
    """An object whose life can be watched."""


def _of_objects(count: int) -> tuple[Pipeline, list[weakref.ref[Element]]]:
    """Return a pipeline that decodes any chunk to ``count`` new elements, and references to all of those."""
    store, made = MemoryStore(), []
    xz.create_array(store, shape=(count,), chunks=(count,), dtype="string")
    pipeline = xz.open_array(store).layout.pipeline

    def decode(raw: Any) -> Any:
        values = np.empty(count, object)
        for at in range(count):
            values[at] = Element()
            made.append(weakref.ref(values[at]))
        return values

    return pipeline._replace(decode=decode), made


def test_some_elements_live_until_the_next_chunk_is_decoded() -> None:
    """They hold the memory that the elements of the next chunk are made in; the decoder ends with all of it."""
    count = 2 * KEPT + 1
    pipeline, made = _of_objects(count)
    decoder: Decoder | None = decoder_for(pipeline, np.empty(count, object), fetches=False)
    assert decoder is not None
    for chunk in range(3):
        decoder.place(b"", (slice(None),), (slice(None),), True, None)
        decoder.out[...] = None
        alive = [at for at, reference in enumerate(made) if reference()]
        assert alive == [chunk * count + at * KEPT for at in range(3)]
    del decoder
    gc.collect()
    assert not any(reference() for reference in made)
