"""The codec ``zstd``: numcodecs; for small chunks and parts of chunks one reused context per thread (`zstandard`).

That context decodes all other chunks, too, until numcodecs is loaded: its import takes as long as many reads.
Imports base, libraries, sizes and NumPy. Invariant: the size that a frame states is compared with the chunk's before
memory is allocated; a frame that states none is bounded by its number of blocks.
Which library, and why: docs/adr/0001-codec-libraries.md. Source: zarr-extensions, "zstd"; RFC 8878.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec
from .libraries import installed, optional, required
from .sizes import Bytes1D, as_memory, bytes_spec, check_decoded, integer, most_decoded, wrong_size

NUMCODECS = "numcodecs.zstd"
SMALL = 1 << 15  # bytes: up to here a context that is kept saves more time than a faster decoder
WORTH_IMPORT = 1 << 30  # bytes: so many decoded, numcodecs may have saved the 20 to 130 ms that it takes to be imported
LARGEST_OF_RUN = 1 << 18  # bytes: above, a call for each chunk costs little beside the decoding
LEAST_JOB = 1 << 19  # bytes: the library gives none of its threads less
MOST_LEVEL_WIDE = 9  # above, each thread would take much memory
OVERLAP = 3  # how much of the job before it a job sees, as the library counts it: 1/64 of the window
MAGIC, SKIPPABLE = 0xFD2FB528, 0x184D2A50
BLOCK = 1 << 17  # the most that one block decodes to
CHECKSUM = 4  # the bit of a frame's descriptor
LONGEST_HEAD = 18  # bytes of a frame's header
_HEAD = Struct("<IB").unpack_from
_DICTIONARY_ID = (0, 1, 2, 4)
_SIZE_FIELD = (0, 2, 4, 8)

_Reused = tuple[Callable[[Buffer], int], Any, type[Exception]]
_contexts = threading.local()  # a decompressor may serve one thread at a time
_decoded = 0  # bytes that this process decoded without numcodecs; threads may lose some of each other's


def zstd(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``zstd``; ``level`` -131072 to 22 (0: the library's own), ``checksum`` (default: no)."""
    spec = bytes_spec("zstd", spec)
    level, checksum = integer("zstd", configuration, "level", 0), bool(configuration.get("checksum"))
    output = BytesSpec(None, 1)

    if not spec.nbytes:
        return Codec(_encode(level, checksum), lambda data: _decode_any(data, spec.nbytes), output)
    fast, small, in_runs = _has_zstandard(), spec.nbytes <= SMALL, spec.nbytes <= LARGEST_OF_RUN
    if not fast:
        _numcodecs()  # a library that is missing is reported when the codec is built
    encode = _encode(level, checksum)
    if fast and in_runs:
        encode = _encode_small(encode, level, checksum, always=small)
    decode_run = _decode_run(spec.nbytes) if in_runs else None
    encode_run = _encode_run(encode, level, checksum) if fast and in_runs else None
    if fast and small:
        return Codec(encode, _decode_small(spec.nbytes), output, decode_run=decode_run, encode_run=encode_run)
    decode, decode_into = _in_place(spec.nbytes)
    wide = fast and spec.nbytes >= 2 * LEAST_JOB and level <= MOST_LEVEL_WIDE
    return Codec(
        encode,
        decode,
        output,
        decode_into,
        decode_until=_decode_until(decode_into) if fast else None,
        decode_run=decode_run,
        encode_run=encode_run,
        encode_on=_encode_on(encode, level, checksum, spec.nbytes) if wide else None,
    )


# --- the libraries, which take a while to import: opening does without ----------------------------------------------


@cache
def _has_zstandard() -> bool:
    return installed("zstandard")


@cache
def _numcodecs() -> Any:
    """Return the module of numcodecs, which takes a while to be imported the first time."""
    return required("zstd", "numcodecs", NUMCODECS)


def _reused() -> _Reused | None:
    """Return what this thread decodes small chunks with, and parts of chunks.

    That is: what reads the size in a frame's header, the decompressor, and the error that it raises. None where
    `zstandard` is installed, but does not load.
    """
    try:
        found: _Reused | None = _contexts.reused
    except AttributeError:
        fast = optional("zstandard")
        found = None if fast is None else (fast.frame_content_size, fast.ZstdDecompressor(), fast.ZstdError)
        _contexts.reused = found
    return found


def _without_numcodecs(nbytes: int) -> _Reused | None:
    """Return what `_reused` does until numcodecs, which is not loaded yet, is worth it; ``nbytes`` are to be decoded.

    Which of the two libraries decodes faster depends on the processor; none by more than an eighth.
    """
    global _decoded
    if _decoded > WORTH_IMPORT:
        return None
    _decoded += nbytes
    return _reused()


@cache
def _stated() -> Callable[[Buffer], int | None]:
    """Return what reads the size in a frame's header: compiled code where there is some."""
    fast = optional("zstandard")
    return stated_size if fast is None else fast.frame_content_size


# --- encoding --------------------------------------------------------------------------------------------------------


def _encode(level: int, checksum: bool) -> Callable[[Buffer], Any]:
    return lambda data: _numcodecs().compress(data, level, checksum)


def _encode_small(
    encode: Callable[[Buffer], Any], level: int, checksum: bool, *, always: bool
) -> Callable[[Buffer], Any]:
    """Return what encodes with a context that is kept: ``always``, or as long as numcodecs is not loaded."""

    def encode_small(data: Buffer) -> Any:
        compressor = _compressor(level, checksum) if always or NUMCODECS not in sys.modules else None
        return encode(data) if compressor is None else compressor.compress(data)

    return encode_small


def _encode_run(
    encode: Callable[[Buffer], Any], level: int, checksum: bool
) -> Callable[[Sequence[Buffer]], Sequence[Buffer]]:
    """Return what encodes many chunks with one call (row ``write_shard`` of the benchmark), a single one as ever."""

    def encode_run(chunks: Sequence[Buffer]) -> Sequence[Buffer]:
        compressor = _compressor(level, checksum) if len(chunks) > 1 else None
        if compressor is None or not hasattr(compressor, "multi_compress_to_buffer"):
            return [*map(encode, chunks)]
        return [memoryview(frame) for frame in compressor.multi_compress_to_buffer(list(chunks))]

    return encode_run


def _encode_on(
    encode: Callable[[Buffer], Any], level: int, checksum: bool, nbytes: int
) -> Callable[[Buffer, int], Any]:
    """Return what encodes a chunk of ``nbytes`` on several threads (rows ``append_field`` and ``region_chunks``).

    The context is not kept: its threads would not be there after a fork, and new ones are placed on idle cores.
    """

    def encode_on(data: Buffer, threads: int) -> Any:
        jobs = min(threads, nbytes // LEAST_JOB)
        fast = optional("zstandard") if jobs > 1 else None
        if fast is None:
            return encode(data)
        parameters = fast.ZstdCompressionParameters.from_level(
            level,
            source_size=nbytes,
            write_checksum=checksum,
            write_content_size=True,
            threads=jobs + 1,  # 5.1 ms against 5.6 with two threads for two jobs
            job_size=-(-nbytes // jobs),
            overlap_log=OVERLAP,
        )
        return fast.ZstdCompressor(compression_params=parameters).compress(data)

    return encode_on


def _compressor(level: int, checksum: bool) -> Any:
    """Return this thread's compressor of `zstandard`, None where that does not load."""
    kept: dict[Any, Any] = _contexts.__dict__
    try:
        return kept[level, checksum]
    except KeyError:
        fast = optional("zstandard")
        found = fast and fast.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=True)
        kept[level, checksum] = found
        return found


# --- decoding --------------------------------------------------------------------------------------------------------


def _decode_small(expected: int) -> Callable[[Buffer], Any]:
    def decode(data: Buffer) -> Any:
        try:  # not through `_reused`: this runs for every small chunk
            stated, decompressor, failure = _contexts.reused
        except (AttributeError, TypeError):
            reused = _reused()
            if reused is None:
                return _decode_any(data, expected)
            stated, decompressor, failure = reused
        if stated(data) != expected:
            return _decode_any(data, expected)
        try:
            return decompressor.decompress(data, allow_extra_data=False)
        except failure:  # damaged, or more frames follow, which may be empty
            return _decode_any(data, expected)

    return decode


def _decode_until(decode_into: Callable[[Buffer, Bytes1D], None]) -> Callable[[Buffer, Bytes1D, int], None]:
    def decode_until(data: Buffer, memory: Bytes1D, stop: int) -> None:
        _numcodecs()  # after a small read: larger ones, which often follow, find it loaded (row ``all_zstd``)
        # a frame with a checksum is decoded whole: only at its end can it tell that it is damaged
        early = _stated()(data) == memory.nbytes and not _HEAD(data)[1] & CHECKSUM
        reused = _reused() if early else None
        if reused is None or reused[1].stream_reader(data).readinto(memory[:stop]) != stop:
            decode_into(data, memory)

    return decode_until


def _in_place(expected: int) -> tuple[Any, Callable[[Buffer, Bytes1D], None]]:
    """Return decode and decode_into. Only memory of the chunk's size keeps numcodecs from decoding any more frames."""

    def decode(data: Buffer) -> Any:
        out = np.empty(expected, np.uint8)
        decode_into(data, out)
        return out

    def decode_into(data: Buffer, out: Bytes1D) -> None:
        reused = None if NUMCODECS in sys.modules else _without_numcodecs(out.nbytes)
        if reused is not None and _decoded_alone(reused, data, out):
            return
        # frames that are too long are refused by the library, but those that are too short are not
        if _stated()(data) != out.nbytes:
            _check_frames(data, out.nbytes)
        _numcodecs().decompress(data, out)

    return decode, decode_into


def _decoded_alone(reused: _Reused, data: Buffer, out: Bytes1D) -> bool:
    """Decode a single frame into ``out`` with what is ``reused``; return False where that does not work."""
    stated, decompressor, failure = reused
    try:  # the library would not look at what follows the frame
        alone = stated(data) == len(out) and _walk_frame(as_memory(data), 0)[2] == len(data)
        return alone and _filled(decompressor.stream_reader(data), out)
    except (ChunkError, failure):
        return False


def _filled(reader: Any, out: Bytes1D) -> bool:
    return bool(reader.readinto(out) == len(out))


def _decode_run(expected: int) -> Callable[[Sequence[Buffer], Bytes1D], bool]:
    """Return what decodes many chunks with one call (rows ``plane_shard`` and ``column_shard`` of the benchmark).

    Joined, they are one stream of several frames to the library; that it cuts them as the chunks are cut is checked.
    """

    def decode_run(chunks: Sequence[Buffer], out: Bytes1D) -> bool:
        chunks = [*chunks]
        data = b"".join(chunks)
        if not _one_frame_each(data, map(len, chunks), expected):
            return False
        reused = None if NUMCODECS in sys.modules else _without_numcodecs(out.nbytes)
        if reused is not None:
            return _filled(reused[1].stream_reader(data, read_across_frames=True), out)
        _numcodecs().decompress(data, out)
        return True

    return decode_run


def _one_frame_each(data: bytes, lengths: Iterable[int], expected: int) -> bool:
    """Tell whether ``data`` are frames of ``lengths`` bytes with equal headers that state ``expected`` bytes."""
    if len(data) < LONGEST_HEAD or _HEAD(data)[0] != MAGIC or _stated()(data) != expected:
        return False
    head = data[: _head_nbytes(data[4])]
    size, behind, end = len(head), 4 if data[4] & CHECKSUM else 0, 0
    for length in lengths:
        start, end = end, end + length
        at, last = start + size, 0
        if at > end or not data.startswith(head, start):
            return False
        while not last:
            if at + 3 > end:
                return False
            last, at = _next_block(data, at)
        if at + behind != end:
            return False
    return True


def _next_block(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return whether the block at ``at`` is the last one, and where it ends."""
    head = int.from_bytes(data[at : at + 3], "little")
    return head & 1, at + 3 + (1 if head & 6 == 2 else head >> 3)  # kind 1: one byte, repeated


def _decode_any(data: Buffer, expected: int | None) -> Any:
    """Several frames, frames that state no size, or a chunk of unknown size."""
    decompress = _numcodecs().decompress
    exact = _check_frames(data, expected)
    if expected == 0 or exact == 0:
        return b""
    if expected is None:
        return decompress(data)
    out = np.empty(expected, np.uint8)
    decompress(data, out)
    return out


def _check_frames(data: Buffer, expected: int | None) -> int | None:
    """Raise unless the frames decode to ``expected`` bytes, as far as they state it; return what they state."""
    exact, most = frame_sizes(data)
    if exact is not None:
        check_decoded("zstd", exact, expected)
    elif expected is None and most > most_decoded(None):
        raise wrong_size("zstd", f"up to {most}", None)
    elif expected is not None and most < expected:
        raise wrong_size("zstd", f"at most {most}", expected)
    elif expected == 0:
        raise ChunkError("zstd data that state no size stand for a chunk of no bytes")
    return exact


def stated_size(data: Buffer) -> int | None:
    """Return the content size in the header of the first frame, or None where it states none."""
    magic, descriptor = _HEAD(data)
    if magic != MAGIC:
        return None
    width = _size_width(descriptor)
    if not width:
        return None
    end = _head_nbytes(descriptor)
    return int.from_bytes(data[end - width : end], "little") + (256 if width == 2 else 0)


def _size_width(descriptor: int) -> int:
    """Return how many bytes of a frame's header state the content size."""
    return _SIZE_FIELD[descriptor >> 6] or (1 if descriptor & 0x20 else 0)


def _head_nbytes(descriptor: int) -> int:
    return 5 + (not descriptor & 0x20) + _DICTIONARY_ID[descriptor & 3] + _size_width(descriptor)


def frame_sizes(data: Buffer) -> tuple[int | None, int]:
    """Walk over all frames; return what they decode to (None if one does not say) and an upper bound of it."""
    view = as_memory(data)
    exact: int | None = 0
    most = at = 0
    while at < len(view):
        if len(view) - at < 8:
            raise ChunkError("the zstd data are cut short, or something else follows them")
        stated, blocks, at = _skippable(view, at) or _walk_frame(view, at)
        exact = None if exact is None or stated is None else exact + stated
        most += blocks * BLOCK if stated is None else stated
    if not len(view):
        raise ChunkError("the zstd data are empty")
    return exact, most


def _skippable(view: memoryview, at: int) -> tuple[int, int, int] | None:
    if int.from_bytes(view[at : at + 4], "little") & 0xFFFFFFF0 != SKIPPABLE:
        return None
    return 0, 0, at + 8 + int.from_bytes(view[at + 4 : at + 8], "little")


def _walk_frame(view: memoryview, at: int) -> tuple[int | None, int, int]:
    """Return what the frame states, its number of blocks, and where it ends."""
    magic, descriptor = _HEAD(view, at)
    if magic != MAGIC:
        raise ChunkError(f"these are no zstd data: they begin with {bytes(view[at : at + 4]).hex(' ')}")
    start, at = at, at + _head_nbytes(descriptor)
    blocks = last = 0
    while not last:
        if at + 3 > len(view):
            raise ChunkError("the zstd data are cut short")
        last, at = _next_block(view, at)
        blocks += 1
    return stated_size(view[start:]), blocks, at + (4 if descriptor & CHECKSUM else 0)
