"""The codecs ``conditional`` and ``zfp`` of zarr-extensions, byte by byte and as they are refused."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.codecs import BytesSpec, Codec, lookup
from xzarr_backend.errors import ChunkError, MetadataError, UnsupportedError

RAW = bytes(range(100)) * 4
SHUFFLE = {"name": "shuffle", "configuration": {"elementsize": 4}}
CHAIN = [{"name": "zlib", "configuration": {"level": 1}}, "crc32c"]


def build(codecs: Any = CHAIN, **configuration: Any) -> Codec:
    """Return the codec for chunks of 400 bytes."""
    return lookup("conditional").factory({"codecs": codecs, **configuration}, BytesSpec(len(RAW), 4))


def test_each_chunk_says_which_codecs_it_went_through() -> None:
    """Bit 0 stands for the first codec; the header is little-endian, however long it is."""
    checked = bytes(lookup("crc32c").factory({}, BytesSpec(len(RAW), 1)).encode(RAW))
    both = bytes(lookup("crc32c").factory({}, BytesSpec(None, 1)).encode(zlib.compress(RAW)))
    for header_bits in (None, 8, 24):
        codec = build(header_bits=header_bits)
        rest = bytes((header_bits or 8) // 8 - 1)
        for mask, data in ((0, RAW), (1, zlib.compress(RAW)), (2, checked), (3, both)):
            assert bytes(codec.decode(bytes([mask]) + rest + data)) == RAW
        assert bytes(codec.encode(RAW))[: 1 + len(rest)] == b"\3" + rest
        noise = np.random.default_rng(1).bytes(len(RAW))
        assert bytes(codec.encode(noise)) == b"\0" + rest + noise
    assert bytes(build([SHUFFLE] * 9).decode(b"\0\0" + RAW)) == RAW


@pytest.mark.parametrize("data", [b"", b"\4" + RAW, b"\0" + RAW[:-1], b"\0" + RAW + b"\0", b"\2" + RAW, b"\1" + RAW])
def test_what_a_chunk_cannot_have_gone_through(data: bytes) -> None:
    """Bits of codecs that are not there, and data that are not of the chunk's size, raise."""
    with pytest.raises(Exception):  # noqa: B017 (the reader wraps whatever a library raises)
        build().decode(data)
    with pytest.raises(ChunkError, match="codec 2 of 2"):
        build().decode(b"\4" + RAW)


@pytest.mark.parametrize(
    "configuration",
    [
        {"codecs": None},
        {"codecs": ["bytes"]},
        {"header_bits": 12},
        {"header_bits": 0},
        {"codecs": [SHUFFLE] * 9, "header_bits": 8},
    ],
)
def test_conditional_refuses(configuration: dict[str, Any]) -> None:
    """The codecs are bytes->bytes, and the header has a bit for each."""
    with pytest.raises(MetadataError):
        build(**{"codecs": CHAIN, **configuration})


def test_arrays_with_conditional() -> None:
    """The way from `create_array` to the document and back, also within shards."""
    for more in ({}, {"shards": 200}):
        compressors = [{"name": "conditional", "configuration": {"codecs": CHAIN}}]
        array = xz.create_array({}, data=np.arange(400), chunks=100, compressors=compressors, **more)
        np.testing.assert_array_equal(xz.open_array(array.store)[...], np.arange(400))
        with pytest.raises(UnsupportedError, match="Zarr v2 has no codec 'conditional'"):
            xz.convert(array.store, {}, zarr_format=2)


def test_zfp_stores_no_header() -> None:
    """The streams of the library are read without one, and `numcodecs.zfpy` is another codec."""
    zfpy = pytest.importorskip("zfpy")
    data = np.linspace(0, 1, 60).reshape(3, 4, 5)
    for mode, parameter in (("reversible", {}), ("fixed_rate", {"rate": 16}), ("fixed_precision", {"precision": 20})):
        serializer = {"name": "zfp", "configuration": {"mode": mode, **parameter}}
        store: dict[str, bytes] = {}
        array = xz.create_array(store, data=data, chunks=-1, serializer=serializer, compressors=None)
        assert store["c/0/0/0"] == zfpy.compress_numpy(data, write_header=False, **parameter)
        np.testing.assert_allclose(array[...], data, atol=0 if mode == "reversible" else 1e-3)
    with pytest.raises(UnsupportedError, match="expert"):
        xz.create_array({}, data=data, serializer={"name": "zfp", "configuration": {"mode": "expert"}})
    for wrong in ({}, {"mode": "fixed_rate"}, {"mode": "fixed_precision", "precision": 1.5}):
        with pytest.raises(MetadataError):
            xz.create_array({}, data=data, serializer={"name": "zfp", "configuration": wrong})
