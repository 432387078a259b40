"""The comparison as a picture: how latency is distributed, and how it grows with the candidates. SVG, by matplotlib.

It does not know where its numbers come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

BINS = 8
COLOURS = ("#0072b2", "#56b4e9", "#d55e00")  # Okabe and Ito: told apart by colour-blind readers too
STYLES = ("-", "--", "-")
SETTINGS: Any = {
    "svg.hashsalt": "rankonce",  # equal numbers give equal files
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


class Curve(NamedTuple):
    """milliseconds[i] is the latency of a request with sizes[i] candidates."""

    name: str
    milliseconds: Sequence[float]
    sizes: Sequence[int]


def draw_comparison(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Write an SVG with one line for each curve in both panels."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        figure.suptitle(title)
        spread, growth = figure.subplots(1, 2)
        for curve, colour, style in zip(curves, COLOURS, STYLES, strict=False):
            ordered = np.sort(np.asarray(curve.milliseconds, dtype=np.float64))
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            spread.plot(ordered, share, color=colour, linestyle=style, label=curve.name)
            middle, low, median, high = medians(curve)
            growth.plot(middle, median, color=colour, linestyle=style, marker="o", markersize=4, label=curve.name)
            growth.fill_between(middle, low, high, color=colour, alpha=0.15, linewidth=0)
        spread.set(xscale="log", xlabel="latency, ms", ylabel="share of requests at most so slow", ylim=(0, 1))
        spread.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        spread.xaxis.set_major_formatter("{x:g}")
        spread.xaxis.set_minor_formatter(NullFormatter())
        growth.set(xlabel="candidates in the request", ylabel="latency, ms (median and quartiles)")
        growth.set_ylim(bottom=0)
        spread.legend(loc="lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def medians(curve: Curve) -> tuple[list[float], list[float], list[float], list[float]]:
    """(mean size, lower quartile, median, upper quartile) over equally large groups of requests of similar size."""
    sizes = np.asarray(curve.sizes)
    latencies = np.asarray(curve.milliseconds, dtype=np.float64)
    edges = np.unique(np.quantile(sizes, np.linspace(0.0, 1.0, BINS + 1)))
    group = np.clip(np.searchsorted(edges, sizes, side="right") - 1, 0, max(0, len(edges) - 2))
    found: list[tuple[float, float, float, float]] = []
    for number in np.unique(group):
        here = latencies[group == number]
        low, median, high = np.quantile(here, [0.25, 0.5, 0.75])
        found.append((float(sizes[group == number].mean()), float(low), float(median), float(high)))
    middle, low_, median_, high_ = (list(column) for column in zip(*found, strict=True))
    return middle, low_, median_, high_
