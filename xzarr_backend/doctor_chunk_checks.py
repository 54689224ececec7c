"""What the stored objects show: chunks under other names, damaged, missing or foreign ones, and slow layouts.

Imports doctor_facts, doctor_findings, doctor_mending and the rows below. Invariant: one chunk of an array is fetched at
most; everything else is told by names and sizes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from .chunk_keys import KEY_ENCODINGS, ChunkKeyEncoding, compile_key
from .doctor_facts import Facts
from .doctor_findings import Finding, Mend, found
from .doctor_mending import array_mend, member, relabelled
from .doctor_questions_v3 import mislabelled
from .errors import reason
from .inventory import Stored
from .layout import Layout
from .paths import prefix_of
from .stored import parse_key

LOCK = re.compile(r"\.lock(\.read|\.write)?$")
MIB = 2**20
SMALL_NBYTES, SMALL_COUNT = 64 * 1024, 1000
LARGE_NBYTES = 512 * MIB
MANY_OBJECTS = 100_000
MANY_INNER = 100_000
SLOW_LEVELS = {"zlib": 8, "gzip": 8, "zstd": 15, "blosc": 9}  # from this level on
SLOW_CODECS = ("lzma", "bz2", "bzip2")
NEARLY_FULL = 0.5  # from this share on, an array is meant to be full
SHOWN = 3


def check_chunks(facts: Facts) -> Iterator[Finding]:
    """Yield what the objects below an array show."""
    if facts.array is None:
        return
    others = [stored for stored in facts.keys if stored.key not in {s.key for s in facts.chunks.values()}]
    locks = [stored for stored in others if LOCK.search(stored.key)]
    if locks:
        yield found("lock-files", facts.where, f"{len(locks)} lock file(s), such as {locks[0].key}")
    others = [stored for stored in others if not LOCK.search(stored.key)]
    moved = _other_encoding(facts, others) if not facts.chunks or len(others) >= len(facts.chunks) else None
    if moved is not None:
        yield moved
        return
    yield from _others(facts, others)
    yield from _sizes(facts)
    yield from _sample(facts)
    yield from _missing(facts, bool(others))


def _listed(keys: Sequence[Any]) -> str:
    return ", ".join(str(key) for key in keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")


# --- names -----------------------------------------------------------------------------------------------------------


def _other_encoding(facts: Facts, others: list[Stored]) -> Finding | None:
    """Return the finding that the chunks lie under the keys of another encoding, where most other objects do."""
    assert facts.array is not None
    spec = facts.array.spec
    names = ["v2"] if facts.v2 else list(KEY_ENCODINGS)
    encodings = [ChunkKeyEncoding(name, separator) for name in names for separator in "/."]
    counted = Counter(
        encoding
        for encoding in encodings
        if encoding != spec.chunk_key_encoding
        for stored in others
        if _coords(facts, stored.key, encoding) is not None
    )
    if not counted or counted.most_common(1)[0][1] <= max(len(facts.chunks), len(others) // 2):
        return None
    encoding, count = counted.most_common(1)[0]
    if facts.v2:
        change = member("dimension_separator", encoding.separator)
    else:
        configuration = {"separator": encoding.separator}
        change = member("chunk_key_encoding", {"name": encoding.name, "configuration": configuration})
    expected = facts.array.layout.key((0,) * facts.rank)
    what = f"{count} chunk(s) lie under names like {others[0].key}; the metadata say {expected}"
    mends: tuple[Mend, ...] = (array_mend(facts, change),) if facts.own else ()
    return found("chunk-keys-differ", facts.where, what, mends=mends)


def _coords(facts: Facts, key: str, encoding: ChunkKeyEncoding) -> tuple[int, ...] | None:
    assert facts.array is not None
    counts = facts.array.spec.chunk_grid.counts
    numbers = re.findall(r"[0-9]+", key[len(facts.path) :])
    if len(numbers) < len(counts) or any(len(number) > 18 for number in numbers):
        return None
    coords = tuple(int(number) for number in numbers[len(numbers) - len(counts) :])
    prefix = prefix_of(facts.path)
    inside = all(coord < count for coord, count in zip(coords, counts, strict=True))
    return coords if inside and compile_key(encoding, prefix, len(counts))(coords) == key else None


def _others(facts: Facts, others: list[Stored]) -> Iterator[Finding]:
    outside = [stored for stored in others if is_outside(facts, stored.key)]
    if outside:
        counts = facts.array.spec.chunk_grid.counts if facts.array is not None else ()
        what = f"{len(outside)} chunk(s) outside of the grid of {counts}: {_listed([s.key for s in outside])}"
        yield found("chunks-outside-grid", facts.where, what)
    foreign = [stored for stored in others if stored not in outside]
    if foreign:
        yield found("foreign-objects", facts.where, f"{len(foreign)} object(s): {_listed([s.key for s in foreign])}")


def is_outside(facts: Facts, key: str) -> bool:
    """Return whether ``key`` would be the key of a chunk, if the grid were larger."""
    if facts.array is None:
        return False
    numbers = re.findall(r"[0-9]+", key[len(facts.path) :])
    if len(numbers) < facts.rank or not facts.rank or any(len(number) > 18 for number in numbers):
        return False
    coords = tuple(int(number) for number in numbers[len(numbers) - facts.rank :])
    return facts.array.layout.key(coords) == key and parse_key(facts.array, key) is None


# --- sizes and bytes -------------------------------------------------------------------------------------------------


def _sizes(facts: Facts) -> Iterator[Finding]:
    assert facts.array is not None
    layout = facts.array.layout
    empty = [stored.key for stored in facts.chunks.values() if stored.nbytes == 0]
    if empty and layout.chunk_nbytes:
        yield found("empty-objects", facts.where, f"{len(empty)} object(s) without a byte: {_listed(empty)}")
    wrong = [
        (stored.key, stored.nbytes, expected)
        for coords, stored in facts.chunks.items()
        if (expected := _expected(layout, coords)) is not None and stored.nbytes not in (None, 0, expected)
    ]
    if wrong:
        key, nbytes, expected = wrong[0]
        what = f"{len(wrong)} of {len(facts.chunks)} chunk(s); {key} has {nbytes} bytes instead of {expected}"
        yield found("chunks-of-wrong-size", facts.where, what)


def _expected(layout: Layout, coords: tuple[int, ...]) -> int | None:
    return layout.pipeline_for(layout.grid.chunk_shape(coords)).encoded_size


def _sample(facts: Facts) -> Iterator[Finding]:
    if facts.sample_coords is None:
        return
    stored = facts.chunks[facts.sample_coords]
    if facts.sample is None:
        try:
            facts.store.size(stored.key)
            facts.store.get(stored.key)
        except Exception as error:
            yield found("chunks-denied", f"/{stored.key}", f"the chunk could not be fetched: {reason(error)}")
        return
    if facts.exzarr_shards and not facts.quirks:
        yield found("exzarr-shards-found", facts.where, f"the shard {stored.key} ends in an index of ExZarr")
        return
    name = mislabelled(facts)
    if name and facts.own:
        change = array_mend(facts, relabelled(facts, name))
        yield found("codec-mislabelled", facts.where, f"{stored.key} begins as {name} does", mends=(change,))
        return
    failure = facts.decoded[1]
    if failure is not None and stored.nbytes != 0:
        expected = facts.array is not None and _expected(facts.array.layout, facts.sample_coords)
        if not expected or len(facts.sample) == expected:
            yield found("chunk-undecodable", f"/{stored.key}", f"{type(failure).__name__}: {failure}".split("\n")[0])


def _missing(facts: Facts, others: bool) -> Iterator[Finding]:
    assert facts.array is not None
    count = facts.array.spec.chunk_grid.nchunks
    if not count or not facts.missing:
        return
    if not facts.chunks:
        yield found("no-chunks", facts.where, f"none of {count} chunk(s) is stored")
    elif len(facts.chunks) >= NEARLY_FULL * count:
        yield found("missing-chunks", facts.where, f"{facts.missing} of {count} chunk(s) are not stored")


# --- speed -----------------------------------------------------------------------------------------------------------


def check_speed(facts: Facts) -> Iterator[Finding]:
    """Yield what of an array's layout makes it slow."""
    if facts.array is None:
        return
    layout = facts.array.layout
    inner = layout.innermost
    count = layout.grid.nchunks
    sharded = any(codec.name == "sharding_indexed" for codec in layout.codecs)
    if not sharded and layout.chunk_nbytes < SMALL_NBYTES and count >= SMALL_COUNT:
        yield found("small-chunks", facts.where, f"{count:,} chunks of {layout.chunk_nbytes:,} bytes")
    if inner.chunk_nbytes > LARGE_NBYTES:
        yield found("large-chunks", facts.where, f"one chunk takes {inner.chunk_nbytes // MIB:,} MiB of memory")
    if count >= MANY_OBJECTS:
        yield found("many-objects", facts.where, f"the grid has {count:,} objects")
    if sharded and layout.shards is None:
        yield found("shards-decode-whole", facts.where, "no inner chunk can be read on its own")
    if layout.shards is not None:
        within = math.prod(layout.shards.sharding.grid.counts)
        if within >= MANY_INNER:
            yield found("small-inner-chunks", facts.where, f"{within:,} inner chunks in one shard")
    slow = _slow_codec(inner)
    if slow:
        yield found("slow-compression", facts.where, slow)


def _slow_codec(layout: Layout) -> str:
    for codec in layout.codecs:
        name = codec.short_name
        level = codec.configuration.get("clevel" if name == "blosc" else "level")
        if name in SLOW_CODECS:
            return f"{name} is slow to write and to read"
        if isinstance(level, int) and level >= SLOW_LEVELS.get(name, 1000):
            return f"{name} with level {level}"
    return ""
