"""Real stores, opened with xarray's built-in engine and with this one: both must show the same.

The built-in engine opens none of the zips by their path, and none of the groups in `DIFFERENT`; why is said there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from tests.xarray_parity import ENGINE, assert_same_dataset
from xzarr_backend import SkippedNodeWarning

zarr = pytest.importorskip("zarr")

# Groups with chunks of a wrong size, whose arrays neither engine reads.
DAMAGED = {"field/tskit-dev+tsinfer/example_data.vcz"}

# Groups that the built-in engine opens but shows less of.
LESS_THERE = {
    "exzarr/group_v3_arrays/sub": "a v3 array below a v2 group: there, members have the group's format",
}

# Groups that the built-in engine refuses because arrays have no dimension names, or null for some: the numbers of the
# dimensions that one variable gets (phony_dim_N), the variable, and the group (one line each; paths may hold spaces).
MISSING = """
0,1 temperature exzarr/group_v2
0 counts exzarr/group_v2/sub
0,1 temperature exzarr/group_v2_readme/data
0,1,2 0 field/HelenaLC+SpatialData/blobs.zarr/images/blobs_image
0,1,2 0 field/HelenaLC+SpatialData/blobs.zarr/images/blobs_multiscale_image
0,1 0 field/HelenaLC+SpatialData/blobs.zarr/labels/blobs_labels
0,1 0 field/HelenaLC+SpatialData/blobs.zarr/labels/blobs_multiscale_labels
0 data field/HelenaLC+SpatialData/blobs.zarr/tables/table/X
0 _index field/HelenaLC+SpatialData/blobs.zarr/tables/table/obs
0 categories field/HelenaLC+SpatialData/blobs.zarr/tables/table/obs/region
0 _index field/HelenaLC+SpatialData/blobs.zarr/tables/table/var
0,1,2 0 field/HelenaLC+SpatialData/blobs_v3.zarr/images/blobs_multiscale_image
0,1 0 field/HelenaLC+SpatialData/blobs_v3.zarr/labels/blobs_multiscale_labels
0 data field/HelenaLC+SpatialData/blobs_v3.zarr/tables/table/X
0 _index field/HelenaLC+SpatialData/blobs_v3.zarr/tables/table/obs
0 categories field/HelenaLC+SpatialData/blobs_v3.zarr/tables/table/obs/region
0 _index field/HelenaLC+SpatialData/blobs_v3.zarr/tables/table/var
0 float1d field/R-CF+zarr/tests/testthat/testdata/sharded_test.zarr
0,1 F_order_array field/Unidata+netcdf-java/group_with_attrs
0 var1D field/Unidata+netcdf-java/group_with_dims
0,1 double_data field/Unidata+netcdf-java/test_dtypes.zarr/byte_ordered_group/big_endian
0,1 double_data field/Unidata+netcdf-java/test_dtypes.zarr/byte_ordered_group/little_endian
0,1 char_data field/Unidata+netcdf-java/test_dtypes.zarr/string_types
0,1 boolean_data field/Unidata+netcdf-java/test_dtypes.zarr/unordered_group
0,1 null_compressor field/Unidata+netcdf-java/zarr_compressed_data.zarr
0,1 Adler_shuffle_deflate field/Unidata+netcdf-java/zarr_compressed_data.zarr/comp_filt
0,1 adler32 field/Unidata+netcdf-java/zarr_compressed_data.zarr/compressed
0,1 adler32 field/Unidata+netcdf-java/zarr_compressed_data.zarr/filtered
0,1 F_order_array field/Unidata+netcdf-java/zarr_test_data.zarr/group_with_attrs
0 var1D field/Unidata+netcdf-java/zarr_test_data.zarr/group_with_dims
0,1 baz field/bcdev+jzarr/example_5.zarr/foo/bar
0,1 array field/bogovicj+ngff-rfc5-coordinate-transformation-examples/2d/axis_dependent/mapAxis.zarr
0,1 s0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/2d/basic/scale_multiscale.zarr
0,1 affineParams field/bogovicj+ngff-rfc5-coordinate-transformation-examples/2d/simple/affineParams.zarr
0,1,2 lensCorrection field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/lens_correction.zarr/coordinateTransformations
0,1,2 0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/lens_correction.zarr/image
0,1 0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/stitched_tiles_2d.zarr/tile_0
0,1 0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/stitched_tiles_2d.zarr/tile_1
0,1 0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/stitched_tiles_2d.zarr/tile_2
0,1 0 field/bogovicj+ngff-rfc5-coordinate-transformation-examples/user_stories/stitched_tiles_2d.zarr/tile_3
0,1 z field/dandi+dandi-cli/invalid_stores/arrays_in_groups_missing_zarr_json.zarr/foo/bar
0,1 z1 field/dandi+dandi-cli/invalid_stores/arrays_in_groups_missing_zarr_json.zarr/foo1/bar1
0,1 z field/dandi+dandi-cli/invalid_stores/arrays_in_groups_node_type_problem.zarr/foo/bar
0,1 z field/dandi+dandi-cli/valid_stores/arrays_in_groups.zarr/foo/bar
0,1 z1 field/dandi+dandi-cli/valid_stores/arrays_in_groups.zarr/foo1/bar1
0 a field/freeman-lab+zarr-js/V2/1d.contiguous.compressed.i2.group.zarr
0 v field/generated+zarr-python-2.18.3/consolidated.zarr/g
0,1,2,3,4 0 field/hms-dbmi+viv/bioformats-zarr/data.zarr/0
0,1,2 0 field/hms-dbmi+viv/ome-zarr/blobs_image_v04.ome.zarr
0,1,2 humidity field/jayendra13+zarr-datafusion/synthetic_v2.zarr
0,1,2 humidity field/jayendra13+zarr-datafusion/synthetic_v2_blosc.zarr
0,1,2 humidity field/jayendra13+zarr-datafusion/synthetic_v3.zarr
0,1,2 humidity field/jayendra13+zarr-datafusion/synthetic_v3_blosc.zarr
0 1d.chunked.compressed.sharded.i2 field/manzt+zarrita.js/v3/data.zarr
0 1d.chunked.i2 field/manzt+zarrita.js/v3/data.zarr/consolidated
0 1d.i2 field/manzt+zarrita.js/v3/data.zarr/consolidated/nested
0,1,2,3,4 0 field/ome+ome-zarr-py/v1
0,1,2,3,4 0 field/ome+ome-zarr-py/v2
0,1,2,3 0 field/ome-zarr-models+ome-zarr-models-py/v04/hcs_example.ome.zarr/B/03/0
0,1 0 field/ome-zarr-models+ome-zarr-models-py/v06/stitched_tiles_2d.zarr/tile_0
0,1 0 field/ome-zarr-models+ome-zarr-models-py/v06/stitched_tiles_2d.zarr/tile_1
0,1,2 c-order field/saalfeldlab+n5-zarr/examples/dimensionOrder.zarr
0,1,2,3,4 0 field/visgl+loaders.gl/multiscale.zarr
0,1,2,3,4 0 field/visgl+loaders.gl/ome.zarr
0 0 field/zarr-developers+zarr-python-v2-fixture/fixture/0
0 1 field/zarr-developers+zarr-python-v2-fixture/fixture/1
0 3 field/zarr-developers+zarr-python-v2-fixture/fixture/10
0 0 field/zarr-developers+zarr-python-v2-fixture/fixture/11
0 1 field/zarr-developers+zarr-python-v2-fixture/fixture/12
0 2 field/zarr-developers+zarr-python-v2-fixture/fixture/13
0 2 field/zarr-developers+zarr-python-v2-fixture/fixture/16
0 3 field/zarr-developers+zarr-python-v2-fixture/fixture/17
0,1 0 field/zarr-developers+zarr-python-v2-fixture/fixture/18
0,1 1 field/zarr-developers+zarr-python-v2-fixture/fixture/19
0 2 field/zarr-developers+zarr-python-v2-fixture/fixture/2
0,1,2 2 field/zarr-developers+zarr-python-v2-fixture/fixture/20
0,1,2 0 field/zarr-developers+zarr-python-v2-fixture/fixture/21
0,1,2,3 1 field/zarr-developers+zarr-python-v2-fixture/fixture/22
0,1,2,3 2 field/zarr-developers+zarr-python-v2-fixture/fixture/23
0 3 field/zarr-developers+zarr-python-v2-fixture/fixture/3
0 0 field/zarr-developers+zarr-python-v2-fixture/fixture/4
0 1 field/zarr-developers+zarr-python-v2-fixture/fixture/5
0 2 field/zarr-developers+zarr-python-v2-fixture/fixture/6
0 0 field/zarr-developers+zarr-python-v2-fixture/fixture/7
0 1 field/zarr-developers+zarr-python-v2-fixture/fixture/8
0 2 field/zarr-developers+zarr-python-v2-fixture/fixture/9
0,1,2 blosc field/zarr-developers+zarr_implementations/zarr.zr
0,1 a zarr2/group
0 b zarr2/group/deep/er
0,1 a zarr3/group_v2
0 b zarr3/group_v2/deep/er
0,1 a zarr3/group_v3
0 b zarr3/group_v3/deep/er
"""  # noqa: E501 - paths

# Other groups that it refuses for their dimensions: the dimensions of one variable here, and the reason.
DIFFERENT = {
    "exzarr/group_v3_arrays": ("temperature", ("y", "x"), "a v3 array in a v2 group, whose format decides there"),
    "field/HelenaLC+SpatialData/blobs.zarr/tables/table/uns/spatialdata_attrs": ("region", (), "scalars without names"),
}


def open_theirs(place: Any, **keywords: Any) -> xr.Dataset:
    """Open with the built-in engine; its warnings about what others wrote are not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_dataset(place, engine="zarr", **keywords)


def open_ours(place: Any, **keywords: Any) -> xr.Dataset:
    """Open with this engine; the warning about metadata that are not consolidated is common to both engines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", FutureWarning)  # xarray's own, on decoding
        warnings.simplefilter("ignore", SkippedNodeWarning)  # the other engine skips the same members
        return xr.open_dataset(place, engine=ENGINE, **keywords)


def groups_below(root: Path) -> Iterator[str]:
    """Yield the paths, relative to ``root``, of all folders that hold a group or array document."""
    for folder, _, files in os.walk(root):
        if "zarr.json" in files or ".zgroup" in files:
            yield Path(folder).relative_to(root).as_posix()


def compare(theirs_at: Any, ours_at: Any, name: str, **keywords: Any) -> int | None:
    """Compare one group both ways; return its number of variables, None where the built-in engine cannot open it."""
    try:
        theirs = open_theirs(theirs_at, **keywords)
    except Exception:
        return None
    ours = open_ours(ours_at, **keywords)
    if name in DAMAGED:
        damaged = [variable for variable in theirs.variables if not _loads(theirs[variable])]
        assert damaged == [variable for variable in theirs.variables if not _loads(ours[variable])]
        theirs, ours = theirs.drop_vars(damaged), ours.drop_vars(damaged)
    if "source" not in theirs.encoding:  # a store object: it has no path that a dataset could tell
        ours.encoding.pop("source", None)
    assert_same_dataset(theirs, ours)
    return len(theirs.variables)


def _loads(variable: xr.DataArray) -> bool:
    try:
        variable.load()
    except Exception:
        return False
    return True


# zarr-python does not collect the errors of members that it cannot read
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_groups_look_the_same_as_with_the_built_in_engine(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every group that the built-in engine opens is identical here, decoded and raw, with equal encoding."""
    root = shared / "fixtures"
    counts = {}
    for name in groups_below(root):
        if name in LESS_THERE:
            continue
        decoded = compare(str(root / name), str(root / name), name)
        raw = compare(str(root / name), str(root / name), name, decode_cf=False)
        if decoded is not None and raw is not None:
            counts[name] = raw
    with_variables = sum(1 for count in counts.values() if count)
    with capsys.disabled():
        print(
            f"\nxarray parity: {with_variables} groups with {sum(counts.values())} variables, "
            f"{len(counts) - with_variables} groups without, zarr-python {zarr.__version__}"
        )
    assert with_variables >= 28


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_zips_look_the_same_as_with_the_built_in_engine(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A zip opened here by its path is what the built-in engine shows of it through zarr-python's own store."""
    root = shared / "fixtures"
    count = 0
    for path in sorted(root.rglob("*.zip")):
        name = path.relative_to(root).as_posix()
        try:
            store = zarr.storage.ZipStore(path, mode="r")
            variables = compare(store, str(path), name)
            compare(store, str(path), name, decode_cf=False)
        finally:
            store.close()
        count += bool(variables)
    with capsys.disabled():
        print(f"\nxarray parity: {count} zips")
    assert count >= 4


def test_groups_show_what_the_built_in_engine_leaves_out(shared: Path) -> None:
    """Members that the built-in engine does not see are there."""
    for name in LESS_THERE:
        place = str(shared / "fixtures" / name)
        assert not open_theirs(place).variables
        assert open_ours(place).variables


def _expected_names() -> Iterator[Any]:
    for line in MISSING.strip().splitlines():
        numbers, variable, group = line.split(" ", 2)
        dims = tuple(int(n) if n.isdigit() else n for n in numbers.split(","))
        named = tuple(f"phony_dim_{dim}" if isinstance(dim, int) else dim for dim in dims)
        yield pytest.param(group, variable, named, "no dimension names", id=group)
    for group, (variable, named, reason) in DIFFERENT.items():
        yield pytest.param(group, variable, named, reason, id=group)


@pytest.mark.parametrize(("group", "variable", "dims", "reason"), list(_expected_names()))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_groups_without_usable_dimension_names_open(
    shared: Path, group: str, variable: str, dims: tuple[str, ...], reason: str
) -> None:
    """What the built-in engine refuses for its dimension names opens with names that were invented."""
    place = str(shared / "fixtures" / group)
    with pytest.raises((KeyError, ValueError, TypeError)):
        open_theirs(place).load()
    assert open_ours(place)[variable].dims == dims, reason
