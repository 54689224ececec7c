"""The codec ``blosc``, over numcodecs, whose own choice of threads is left alone; many small chunks with one call.

Imports base, libraries, sizes and NumPy. Invariant: the sizes in the header of a chunk are compared with the chunk
and with the data before the library, which does not check them, sees either.
Why not blosc2: docs/adr/0001-codec-libraries.md. Source: Zarr v3, "Blosc codec"; the header of c-blosc 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np

from ..errors import ChunkError
from ..pieces import join_behind
from ..spec import JSON
from .base import Buffer, BytesSpec, Codec, wrong_configuration
from .libraries import required
from .sizes import Bytes1D, bytes_spec, check_decoded, integer

SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
NAMES = ("lz4", "lz4hc", "blosclz", "snappy", "zlib", "zstd")
SMALL = 128 * 1024  # bytes: up to here, what the library does to look at memory given to it costs more than a copy
# Bytes: of larger chunks, joining them takes longer than a call for each; pieces of one memory are joined without
# holding the interpreter (row ``all_shard_blosc`` of the benchmark).
LARGEST_OF_RUN, LARGEST_OF_PIECES = 16 * 1024, 128 * 1024
HEAD = 16  # bytes, of four numbers: format, flags and item size; then sizes: decoded, of a block, encoded
BLOCK = HEAD + 4  # behind them stands where the first block begins; in a chunk of one block it is the next byte
COPIED, UNSPLIT = 0x2 << 16, 0x10 << 16  # flags: stored as it is; one stream instead of one for each byte of an item
NOT_COPIED = 0xFFFFFFFF ^ COPIED
MOST_STREAMS, LEAST_STREAM = 16, 128  # larger items, or shorter streams: one stream in any case
_pack_head = Struct("<5I").pack
_header = Struct("<4xI4xI").unpack_from  # decoded size, encoded size
_block_size = Struct("<8xI").unpack_from


def blosc(configuration: Mapping[str, JSON], spec: BytesSpec) -> Codec:
    """Build ``blosc``; ``cname``, ``clevel``, ``shuffle`` (v3 names or v2 numbers), ``typesize``, ``blocksize``."""
    spec = bytes_spec("blosc", spec)
    library = required("blosc", "numcodecs", "numcodecs.blosc")
    compress, decompress = library.compress, library.decompress
    arguments = _arguments(configuration, spec)
    expected = spec.nbytes

    def encode(data: Buffer) -> Any:
        return compress(data, *arguments)

    def decode(data: Buffer) -> Any:
        decoded, encoded = _header(data)
        if encoded != len(data) or decoded != expected:
            _check(decoded, encoded, len(data), expected)
        return decompress(data) if decoded else b""  # the library refuses frames of nothing

    def decode_into(data: Buffer, out: Bytes1D) -> None:
        decoded, encoded = _header(data)
        if encoded != len(data) or decoded != out.nbytes:
            _check(decoded, encoded, len(data), out.nbytes)
        decompress(data, out)

    small = expected is not None and expected <= SMALL
    return Codec(
        encode,
        decode,
        BytesSpec(None, 1),
        decode_into=None if small else decode_into,
        decode_run=_decode_run(decompress, expected) if expected and expected <= LARGEST_OF_RUN else None,
        decode_pieces=_decode_run(decompress, expected) if expected and expected <= LARGEST_OF_PIECES else None,
    )


def _check(decoded: int, encoded: int, length: int, expected: int | None) -> None:
    if encoded != length:
        raise ChunkError(f"the blosc data have {length} bytes, but their header says {encoded}")
    check_decoded("blosc", decoded, expected)


def _decode_run(
    decompress: Callable[[Buffer, Bytes1D], object], nbytes: int
) -> Callable[[Sequence[Buffer], Bytes1D], bool]:
    """Return what decodes many chunks with one call (row ``small_all`` of the benchmark).

    Chunks of one block, with equal headers, are made the blocks of one chunk: its header lists where each begins.
    """

    def decode_run(chunks: Sequence[Buffer], out: Bytes1D) -> bool:
        count, first = len(chunks), chunks[0]
        if len(first) < BLOCK or _block_size(first)[0] != nbytes:
            return False
        frame, starts, sizes = join_behind(HEAD + 4 * count, chunks)
        if sizes.min() < BLOCK:
            return False
        # every so many bytes of the frame, wherever they begin: as the head of a chunk, or as a number
        records = np.ndarray((len(frame) - BLOCK + 1,), f"V{BLOCK}", frame, strides=(1,))
        words = np.ndarray((len(frame) - 3,), "<u4", frame, strides=(1,))
        heads = records[starts].view("<u4").reshape(count, 5)
        heads[:, 3] -= sizes.astype("<u4")
        kind = int(heads[0, 0]) & NOT_COPIED
        alike = _pack_head(kind, nbytes, nbytes, 0, BLOCK) * count
        blocks, ends = starts + BLOCK, starts + sizes
        packed: Any = slice(None)
        copied: Any = ()
        if heads.tobytes() != alike:
            copied = np.flatnonzero(heads[:, 0] & COPIED)
            heads[copied, 0] &= NOT_COPIED
            heads[copied, 4] = BLOCK  # where there are no blocks there are elements
            if heads.tobytes() != alike or (sizes[copied] != HEAD + nbytes).any():
                return False
            packed = np.setdiff1d(np.arange(count), copied)
            blocks[copied] = blocks[packed[0]] if len(packed) else 0  # any other block is decoded in their place
        if not _end_there(words, blocks[packed], ends[packed], kind, nbytes):
            return False
        if len(copied) < count:
            words[:HEAD:4] = kind, count * nbytes, nbytes, len(frame)
            words[HEAD : HEAD + 4 * count : 4] = blocks
            decompress(frame, out)
        for at in copied:
            out[at * nbytes : (at + 1) * nbytes] = frame[starts[at] + HEAD : ends[at]]
        return True

    return decode_run


def _end_there(words: Any, at: Any, ends: Any, kind: int, nbytes: int) -> bool:
    """Tell whether the streams of blocks of ``nbytes``, from ``at`` on, fill the chunks up to their ``ends``.

    The library would notice only that a stream goes beyond the end of all chunks.
    """
    itemsize = kind >> 24
    if not itemsize:
        return False
    split = not kind & UNSPLIT and itemsize <= MOST_STREAMS and nbytes // itemsize >= LEAST_STREAM
    streams = itemsize if split else 1
    for before in range(streams):
        at = at + words[4 * before :][at]  # the number of bytes of a stream, behind those of the streams before it
    return nbytes % streams == 0 and bool((at == ends - 4 * streams).all())


def _arguments(configuration: Mapping[str, JSON], spec: BytesSpec) -> tuple[bytes, int, int, int, int]:
    """Return what numcodecs wants: name, level, shuffle, block size, type size."""
    name = configuration.get("cname") or "lz4"
    if name not in NAMES:
        raise wrong_configuration("blosc", "cname", f"must be one of {', '.join(NAMES)}, not {name!r}")
    typesize = integer("blosc", configuration, "typesize", spec.itemsize)
    shuffle = configuration.get("shuffle")
    if shuffle is None:
        shuffle = 2 if typesize == 1 else 1
    elif isinstance(shuffle, str):
        if shuffle not in SHUFFLES:
            raise wrong_configuration("blosc", "shuffle", f"must be one of {', '.join(SHUFFLES)}, not {shuffle!r}")
        shuffle = SHUFFLES[shuffle]
    else:
        shuffle = integer("blosc", configuration, "shuffle", 1)
    level = integer("blosc", configuration, "clevel", 5)
    return name.encode(), level, shuffle, integer("blosc", configuration, "blocksize", 0), typesize
