"""The xarray datasets of the rows. Imports scale and NumPy; xarray at its first use."""

from __future__ import annotations

from typing import Any

import numpy as np

from .scale import Scale

NAMES = ("t2m", "u10", "v10", "tp")


def era(scale: Scale) -> Any:
    """Return four variables over time, latitude and longitude, and three coordinates: seven arrays."""
    import xarray as xr

    steps, rows, columns = scale.era
    return xr.Dataset(
        {
            name: (
                ("time", "lat", "lon"),
                np.random.default_rng(k).normal(280, 5, size=scale.era).astype("f4").round(1),
                {"units": "K", "long_name": f"variable {k}"},
            )
            for k, name in enumerate(NAMES)
        },
        coords={
            "time": np.datetime64("2020-01-01", "ns") + np.arange(steps).astype("m8[D]"),
            "lat": np.linspace(-90, 90, rows),
            "lon": np.linspace(0, 359, columns),
        },
    )


def era_encoding(scale: Scale) -> dict[str, Any]:
    """Return the ``encoding`` that stores `era` in its chunks."""
    return {name: {"chunks": scale.era_chunks} for name in NAMES}


def wide(variables: int) -> Any:
    """Return a dataset of many short variables."""
    import xarray as xr

    return xr.Dataset(
        {
            f"v{k:04d}": (("x",), np.arange(10.0) + k, {"units": "m", "long_name": f"variable {k}"})
            for k in range(variables)
        },
        coords={"x": np.arange(10)},
    )


KINDS = ("f4", "f8", "i2", "i4", "u1", "i8", "c8")


def varied(variables: int) -> Any:
    """Return a dataset of many short variables that differ in their shapes, types and attributes."""
    import xarray as xr

    def one(k: int) -> Any:
        sizes = {f"d{number}": 3 + number for number in (k % 10, (k // 10) % 10) if k % 3 or number == k % 10}
        attributes = {"units": "m", "long_name": f"variable {k}", "valid_range": [0, k], "number": k}
        if k % 5 == 0:
            attributes["standard_name"] = f"name_{k % 17}"
        return tuple(sizes), np.full(tuple(sizes.values()), k % 100, KINDS[k % len(KINDS)]), attributes

    return xr.Dataset({f"v{k:04d}": one(k) for k in range(variables)})
