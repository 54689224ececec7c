"""How names become codecs: the table, packages that are missing, names of others, what is unsafe."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import xzarr_backend as xz
from xzarr_backend.codecs import (
    ARRAY_ARRAY,
    ARRAY_BYTES,
    BYTES_BYTES,
    CODECS,
    EITHER,
    BytesSpec,
    ChunkSpec,
    Codec,
    Row,
    available_codecs,
    codec_available,
    lookup,
    register_codec,
)
from xzarr_backend.codecs import registry as registry_module
from xzarr_backend.dtypes import as_dtype
from xzarr_backend.errors import MetadataError, UnsupportedError


@pytest.fixture(autouse=True)
def _forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_registered", {})


def test_importing_the_table_loads_no_library() -> None:
    """Reading the table costs nothing: libraries and our own codec modules load with their row."""
    code = (
        "import sys, xzarr_backend.codecs as codecs; "
        "print([m for m in ('numcodecs', 'zarr', 'deflate', 'zstandard', 'blosc2',"
        " 'xzarr_backend.codecs.zstd') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_row_resolves(name: str) -> None:
    """The target of every row exists, and the kind is one of the four."""
    row = lookup(name, {"pickle"})
    assert row.kind in {ARRAY_ARRAY, ARRAY_BYTES, BYTES_BYTES, EITHER}
    assert callable(row.factory)


def test_unknown_codec_is_named() -> None:
    """The error of a name that nobody knows says the name."""
    with pytest.raises(UnsupportedError, match="no_such_codec"):
        lookup("no_such_codec")


@pytest.mark.parametrize(("name", "meant"), [("zsdt", "zstd"), ("detla", "delta"), ("numcodecs.blsoc", "blosc")])
def test_a_misspelt_codec_is_met_with_the_nearest(name: str, meant: str) -> None:
    """The error of a misspelt name has the name that was meant, as callers write it."""
    for zarr_format in (2, 3):
        with pytest.raises(UnsupportedError, match=f"the nearest name is '{meant}'; available_codecs"):
            xz.create_array({}, data=[1, 2], filters=name, zarr_format=zarr_format)


@pytest.mark.parametrize(("name", "package"), [("imagecodecs_nothing", "imagecodecs")])
def test_foreign_codecs_name_a_package(name: str, package: str) -> None:
    """For well-known codecs of others, the hint says where they are."""
    with pytest.raises(UnsupportedError) as caught:
        lookup(name)
    assert package in caught.value.hint


def test_bare_delta_is_ambiguous() -> None:
    """ExZarr stores two different things under this name, so it is refused with both readings."""
    with pytest.raises(UnsupportedError) as caught:
        lookup("delta")
    assert "quirks" in caught.value.hint
    assert "numcodecs.delta" in caught.value.hint


def test_short_names_of_v2_are_not_guessed_in_v3() -> None:
    """fixedscaleoffset means the inverse in ExZarr: only the prefixed name is unambiguous."""
    with pytest.raises(UnsupportedError) as caught:
        lookup("fixedscaleoffset")
    assert "numcodecs.fixedscaleoffset" in caught.value.hint


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose library is not installed says which package to install."""
    monkeypatch.setitem(CODECS, "fancy", Row(BYTES_BYTES, ".fancy:fancy", "package_that_is_not_there"))
    with pytest.raises(UnsupportedError, match="package_that_is_not_there") as caught:
        lookup("fancy")
    assert caught.value.hint == "try: pip install package_that_is_not_there"
    assert not codec_available("fancy")
    assert "fancy" not in available_codecs()


def test_broken_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is installed but fails to load is an error of ours, with its reason."""
    from xzarr_backend.codecs import libraries

    def broken(name: str) -> Any:
        raise ValueError("invalid literal for int() with base 10: 'post0'")

    monkeypatch.setattr(libraries.importlib, "import_module", broken)
    with pytest.raises(UnsupportedError, match=r"does not load.*post0"):
        libraries.required("zstd", "numcodecs", "numcodecs.zstd")


@pytest.mark.parametrize("name", ["pickle", "numcodecs.pickle"])
def test_pickle_is_refused_unless_named(name: str) -> None:
    """Codecs that execute code need to be asked for, and are not listed as usable."""
    with pytest.raises(UnsupportedError, match="executes code"):
        lookup(name)
    assert not codec_available(name)
    assert lookup("numcodecs.pickle", {"pickle"}).kind == ARRAY_BYTES


def test_pickle_keeps_the_switch_of_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numcodecs has a switch of its own against unpickling, our permission does not turn it."""
    pickles = pytest.importorskip("numcodecs.pickles")
    if not hasattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE"):
        pytest.skip("this numcodecs has no such switch")
    spec = ChunkSpec((3,), as_dtype("string"), "")
    codec = lookup("numcodecs.pickle", {"pickle"}).factory({}, spec)
    encoded = codec.encode(np.array(["a", "b", "c"], object))
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", False)
    with pytest.raises(Exception, match="disabled"):
        codec.decode(encoded)
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    assert codec.decode(encoded).tolist() == ["a", "b", "c"]


def test_register_a_factory() -> None:
    """A codec of one's own is found under its name, and listed."""

    def invert(configuration: Any, spec: Any) -> Codec:
        return Codec(lambda data: data[::-1], lambda data: data[::-1], BytesSpec(spec.nbytes, 1))

    register_codec("mirror", invert, kind=BYTES_BYTES)
    codec = lookup("mirror").factory({}, BytesSpec(3, 1))
    assert codec.decode(codec.encode(b"abc")) == b"abc"
    assert codec_available("mirror")
    assert "mirror" in available_codecs()


@pytest.mark.parametrize(
    ("name", "factory", "kind"),
    [("", print, BYTES_BYTES), ("zstd", print, BYTES_BYTES), ("own", 5, BYTES_BYTES), ("own", print, "bytes")],
)
def test_register_refuses_nonsense(name: str, factory: Any, kind: str) -> None:
    """Names that are taken, kinds that do not exist and factories that cannot be called are refused."""
    with pytest.raises(MetadataError):
        register_codec(name, factory, kind=kind)


def test_register_needs_its_package() -> None:
    """A codec whose package is missing cannot be registered by mistake."""
    with pytest.raises(UnsupportedError, match="nowhere_to_be_found"):
        register_codec("own", print, kind=BYTES_BYTES, package="nowhere_to_be_found")


def test_register_a_numcodecs_class() -> None:
    """A class of numcodecs serves among bytes and among arrays, with the prefix and without."""
    abc = pytest.importorskip("numcodecs.abc")

    class Negate(abc.Codec):  # type: ignore[misc, name-defined]
        codec_id = "xzarr_test_negate"

        def encode(self, buf: Any) -> Any:
            return np.invert(np.asarray(buf))

        decode = encode

    register_codec(Negate)
    for name in ("xzarr_test_negate", "numcodecs.xzarr_test_negate"):
        among_bytes = lookup(name).factory({}, BytesSpec(4, 4))
        assert bytes(among_bytes.encode(b"\0\1\2\3")) == b"\xff\xfe\xfd\xfc"
        assert bytes(among_bytes.decode(b"\xff\xfe\xfd\xfc")) == b"\0\1\2\3"
        among_arrays = lookup(name).factory({}, ChunkSpec((2, 2), as_dtype("int16"), np.int16(5)))
        assert among_arrays.output.fill_value == ~5  # type: ignore[union-attr]
        array = np.array([[1, 2], [3, 4]], "i2")
        assert among_arrays.decode(among_arrays.encode(array)).tolist() == array.tolist()


def test_codecs_registered_with_numcodecs_are_found() -> None:
    """A v2 id that only the registry of numcodecs knows works without registering it here."""
    registry = pytest.importorskip("numcodecs.registry")
    zlib = registry.codec_registry["zlib"]
    registry.codec_registry["xzarr_test_private"] = type("Private", (zlib,), {"codec_id": "xzarr_test_private"})
    try:
        row = lookup("numcodecs.xzarr_test_private")
        codec = row.factory({"level": 2}, BytesSpec(300, 1))
        assert row.kind == BYTES_BYTES
        assert bytes(codec.decode(codec.encode(bytes(300)))) == bytes(300)
    finally:
        del registry.codec_registry["xzarr_test_private"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_imagecodecs_serve_arrays() -> None:
    """Codecs of images receive the array; those of bytes receive bytes."""
    numcodecs = pytest.importorskip("imagecodecs.numcodecs")
    registry = pytest.importorskip("numcodecs.registry")
    before = dict(registry.codec_registry)
    try:
        numcodecs.register_codecs(verbose=False)
        array = np.arange(64 * 48, dtype="u2").reshape(64, 48)
        spec = ChunkSpec(array.shape, as_dtype("uint16"), np.uint16(0))
        png = lookup("numcodecs.imagecodecs_png")
        codec = png.factory({}, spec)
        assert png.kind == ARRAY_BYTES
        assert codec.decode(codec.encode(array)).tolist() == array.tolist()
        assert lookup("numcodecs.imagecodecs_lzw").kind == BYTES_BYTES
    finally:
        registry.codec_registry.clear()
        registry.codec_registry.update(before)
