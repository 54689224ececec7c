"""`plan_writes`: what a write would share, before anything is written.

Imports dask_writer, parallel_writing, saving and write_report; xarray_writer at its first use. Invariant: nothing is
stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .dask_writer import Request, open_target
from .parallel_writing import ArrayWrite, plan_all
from .saving import check_storable, is_of_xarray
from .write_report import WriteReport, report_of


def plan_writes(obj: Any, store: Any, *args: Any, **keywords: Any) -> WriteReport:
    """Return what `to_zarr` with these arguments would share and how, without writing; raise as it would.

    ``obj`` is a dask or NumPy array, or a Dataset, DataArray or DataTree of xarray.
    """
    check_storable(obj)
    checks: dict[str, Any] = {
        name: keywords[name] for name in ("safe_chunks", "lock_factory", "align_chunks") if name in keywords
    }
    writes: Sequence[ArrayWrite]
    if not is_of_xarray(obj):
        for elsewhere in ("safe_chunks", "lock_factory", "compute", "return_stored"):
            keywords.pop(elsewhere, None)
        writes = [_planned(obj, store, *args, **keywords)]
    else:
        from .xarray_writer import planned_writes

        writes = planned_writes(obj, store, *args, **keywords)
        checks["partial_edges"] = keywords.get("mode") != "r+"
    plans = plan_all(writes, **checks)
    return report_of([(write.array.path, plan) for write, plan in zip(writes, plans, strict=True)])


def _planned(
    arr: Any,
    store: Any,
    component: str | None = None,
    storage_options: dict[str, Any] | None = None,
    region: Any = None,
    mode: str = "a",
    *,
    overwrite: bool = False,
    **creation: Any,
) -> ArrayWrite:
    opened = open_target(store, storage_options)
    return Request(arr, opened, component, region, mode, overwrite, creation).write(arr, None, dry=True)
