"""The table of all rows. A new row is one entry in the module of its group; names are unique."""

from __future__ import annotations

from . import rows_dask, rows_open, rows_read, rows_write
from .case import Row

ROWS: dict[str, Row] = {
    row.name: row for module in (rows_read, rows_open, rows_dask, rows_write) for row in module.ROWS
}


def chosen(names: str | None) -> list[Row]:
    """Return the rows of a comma-separated list of names, groups and beginnings (``all_*``); None: all quick ones."""
    if not names:
        return [row for row in ROWS.values() if not row.slow]
    rows = [row for name in names.split(",") for row in _matching(name.strip())]
    return list(dict.fromkeys(rows))


def _matching(name: str) -> list[Row]:
    if name in ROWS:
        return [ROWS[name]]
    found = [
        row
        for row in ROWS.values()
        if not row.slow and (row.group == name or (name.endswith("*") and row.name.startswith(name[:-1])))
    ]
    if not found:
        raise SystemExit(f"there is no row or group {name!r}; python -m tests.bench rows lists them")
    return found
