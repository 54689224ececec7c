"""Measure the libraries that could decode and encode zlib, gzip, zstd, blosc and crc32c.

Run by hand: ``python -m tests.bench.codec_candidates``, or a part, ``... --codec zstd --kib 8 64``; the tables in
docs/adr/0001-codec-libraries.md came from it.
Imports whatever is installed of the candidates. Prints GB/s of decoded bytes (best of several rounds) on one thread
and on two: a library that keeps the GIL shows the same figure, or a smaller one, on two.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

SIZES = (4, 16, 4096)  # KiB
Run = Callable[[], object]


def sample(nbytes: int) -> bytes:
    """Return smooth 16-bit values with a little noise: what gridded data look like to a codec."""
    n = nbytes // 2
    noise = np.random.default_rng(1).integers(0, 8, n)
    return (1000 * np.sin(np.arange(n) / 500) + noise).astype("<i2").tobytes()


class _Memory(threading.local):
    """Memory of each thread's own, to decode into."""

    def __init__(self, nbytes: int) -> None:
        self.own = np.empty(nbytes, "u1")


def seconds(run: Run, threads: int, budget: float = 0.12) -> float:
    """Return the best time of one call when ``threads`` threads call ``run`` at once (all threads counted)."""
    run()
    started = time.perf_counter()
    run()
    count = max(1, int(budget / 4 / max(time.perf_counter() - started, 1e-7)))
    best = float("inf")
    for _ in range(4):
        best = min(best, _round(run, threads, count) / (count * threads))
    return best


def _round(run: Run, threads: int, count: int) -> float:
    def many() -> None:
        for _ in range(count):
            run()

    workers = [threading.Thread(target=many) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def module(name: str) -> Any:
    """Return the module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def deflate_runs(raw: bytes, wrapper: str) -> Iterator[tuple[str, str, Run]]:
    """Yield (direction, library, call) for zlib streams or gzip members at level 1."""
    bits = 31 if wrapper == "gzip" else 15
    data = gzip.compress(raw, 1) if wrapper == "gzip" else zlib.compress(raw, 1)
    size = len(raw)
    for label, name in (("stdlib", "zlib"), ("isal", "isal.isal_zlib"), ("zlib-ng", "zlib_ng.zlib_ng")):
        if (lib := module(name)) is not None:
            yield "decode", label, lambda lib=lib: lib.decompress(data, bits, size)
            yield "encode", label, lambda lib=lib: lib.compress(raw, 1, bits)
    if (lib := module("deflate")) is not None:
        decode, encode = getattr(lib, f"{wrapper}_decompress"), getattr(lib, f"{wrapper}_compress")
        yield "decode", "deflate", lambda: decode(data, size)
        yield "encode", "deflate", lambda: encode(raw, 1)


def zstd_runs(raw: bytes) -> Iterator[tuple[str, str, Run]]:
    """Yield the calls for zstd frames at level 3; contexts that can be reused live one per thread."""
    numcodecs = importlib.import_module("numcodecs.zstd")
    data, out, local = numcodecs.compress(raw, 3), _Memory(len(raw)), threading.local()
    yield "decode", "numcodecs", lambda: numcodecs.decompress(data)
    yield "decode into", "numcodecs", lambda: numcodecs.decompress(data, out.own)
    yield "encode", "numcodecs", lambda: numcodecs.compress(raw, 3)
    if (lib := module("zstandard")) is not None:

        def contexts() -> Any:
            if not hasattr(local, "pair"):
                local.pair = lib.ZstdDecompressor(), lib.ZstdCompressor(level=3)
            return local.pair

        yield "decode", "zstandard", lambda: contexts()[0].decompress(data)
        yield "decode into", "zstandard", lambda: contexts()[0].stream_reader(data).readinto(out.own)
        yield "encode", "zstandard", lambda: contexts()[1].compress(raw)
    if (other := module("backports.zstd")) is not None:
        yield "decode", "backports.zstd", lambda: other.ZstdDecompressor().decompress(data, len(raw))
        yield "encode", "backports.zstd", lambda: other.compress(raw, 3)


def blosc_runs(raw: bytes, cname: str) -> Iterator[tuple[str, str, Run]]:
    """Yield the calls for blosc frames (byte shuffle, level 5)."""
    numcodecs = importlib.import_module("numcodecs.blosc")
    data, out = numcodecs.compress(raw, cname.encode(), 5, 1, 0, 2), _Memory(len(raw))
    yield "decode", "numcodecs", lambda: numcodecs.decompress(data)
    yield "decode into", "numcodecs", lambda: numcodecs.decompress(data, out.own)
    yield "encode", "numcodecs", lambda: numcodecs.compress(raw, cname.encode(), 5, 1, 0, 2)
    if (lib := module("blosc2")) is not None:
        yield "decode", "blosc2", lambda: lib.decompress(data)
        yield "decode into", "blosc2", lambda: lib.decompress(data, out.own)


def crc32c_runs(raw: bytes) -> Iterator[tuple[str, str, Run]]:
    """Yield the calls that compute one checksum."""
    if (lib := module("google_crc32c")) is not None:
        yield "checksum", "google-crc32c", lambda: lib.value(raw)
    if (other := module("crc32c")) is not None:
        yield "checksum", "crc32c", lambda: other.crc32c(raw)


def main() -> None:
    """Print one line per codec, chunk size, direction and library."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.codec_candidates")
    parser.add_argument("--codec", default="", help="how the names of the codecs begin (default: all)")
    parser.add_argument("--kib", type=int, nargs="+", default=SIZES, help="sizes of the decoded chunks in KiB")
    options = parser.parse_args()
    print(f"{'codec':12}{'KiB':>6}  {'direction':13}{'library':16}{'1 thread':>10}{'2 threads':>11}   GB/s")
    for size in options.kib:
        nbytes = size << 10
        raw = sample(nbytes)
        codecs = {
            "zlib": deflate_runs(raw, "zlib"),
            "gzip": deflate_runs(raw, "gzip"),
            "zstd": zstd_runs(raw),
            "blosc lz4": blosc_runs(raw, "lz4"),
            "blosc zstd": blosc_runs(raw, "zstd"),
            "crc32c": crc32c_runs(raw),
        }
        for codec, runs in codecs.items():
            if not codec.startswith(options.codec):
                continue
            for direction, library, run in runs:
                rates = [nbytes / seconds(run, threads) / 1e9 for threads in (1, 2)]
                print(f"{codec:12}{size:6}  {direction:13}{library:16}{rates[0]:10.3f}{rates[1]:11.3f}", flush=True)


if __name__ == "__main__":
    main()
