"""The figure of docs/performance.md: ours / best peer for every row, on a logarithmic axis.

Imports report and rows; matplotlib when a figure is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .report import judge
from .rows import ROWS

COLOURS = {"read": "#2b6cb0", "open": "#2f855a", "start": "#6b46c1", "dask": "#b7791f", "write": "#9b2c2c"}


def plot(document: dict[str, Any], file: Path) -> None:
    """Write the figure; the ending of the file chooses the format."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("--plot needs the package matplotlib: pip install matplotlib") from None
    ratios = _ratios(document)
    if not ratios:
        raise SystemExit("there is nothing to plot: no row has both ours and a peer")
    figure = Figure(figsize=(8, 1.4 + 0.2 * len(ratios)), layout="constrained")
    _draw(figure.subplots(), ratios)
    figure.savefig(file)


LEAST_SHOWN = 0.05


def _ratios(document: dict[str, Any]) -> dict[str, float]:
    verdicts = {name: judge(results) for name, results in document["rows"].items()}
    return {name: one.ratio for name, one in verdicts.items() if one.ratio}


def _draw(axes: Any, ratios: dict[str, float]) -> None:
    names = list(ratios)
    places = range(len(names))
    colours = [COLOURS[ROWS[name].group] for name in names]
    # bars grow from 1, the best peer: to the left where ours is faster
    axes.barh(places, [ratio - 1 for ratio in ratios.values()], left=1, color=colours)
    axes.set_xscale("log")
    least = max(LEAST_SHOWN, min(0.1, *ratios.values()))  # a row far ahead would squeeze all others
    low, high = least / 1.5, max(2.0, *ratios.values()) * 1.3
    axes.set_xlim(low, high)
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(places, names, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(0.8, color="grey", linewidth=0.8, linestyle=":")
    for place, ratio in zip(places, ratios.values(), strict=True):
        left = ratio < 1
        axes.annotate(
            f"{ratio:.2g}", (max(ratio, least), place), (-3 if left else 3, 0), textcoords="offset points",
            ha="right" if left else "left", va="center", fontsize=6,
        )  # fmt: skip
    axes.set_xlabel("time of xzarr_backend / time of the fastest peer (left of 1: faster)")
    groups = dict.fromkeys(ROWS[name].group for name in names)
    axes.legend(handles=[_patch(COLOURS[group], group) for group in groups], loc="lower left", fontsize=7)


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)
