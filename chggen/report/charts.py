"""Charts of rates and distributions (Figs. 4a-c, 4f and 6 of the paper)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from chggen.analysis.rows import ROUTES
from chggen.report import svg
from chggen.report.text import plain_formula, significant
from chggen.tables.parquet import Row

#: Most compositions in one chart; the table below it has them all.
MOST_COMPOSITIONS: Final = 40
#: Structures drawn in one scatter plot.
MOST_POINTS: Final = 3000
_MARKERS: Final = {"unconditional": "o", "prototypes": "s", "inpainting": "D"}
#: Vertical room of the rates of one composition.
_SPREAD: Final = 0.26
#: Share of the values that an axis must show; the rest is counted in its last bin.
_SHOWN: Final = 0.98
_FEW: Final = 2


def success_rates(
    rates: Mapping[tuple[str, str, str], Row], compositions: Sequence[str]
) -> Markup | None:
    """Symmetry success rate with its interval, by composition, route and kind of draw.

    Args:
        rates: row ``symmetric`` of table ``report`` by (composition, route, kind of draw).
        compositions: from top to bottom.
    """
    shown = compositions[:MOST_COMPOSITIONS]
    found = [r["high"] for (c, *_), r in rates.items() if c in shown and r["high"] is not None]
    if not found:
        return None
    draws = list(dict.fromkeys((route, kind) for _, route, kind in rates))
    offsets = np.linspace(-_SPREAD, _SPREAD, len(draws)) if len(draws) > 1 else [0.0]
    with svg.drawing(380, 52 + (12 + 9 * len(draws)) * max(len(shown), 1)) as (figure, axes):
        for row, composition in enumerate(shown):
            for offset, (route, kind) in zip(offsets, draws, strict=True):
                _whisker(axes, rates[composition, route, kind], row + offset, route, kind)
        axes.set_yticks(range(len(shown)), [plain_formula(c) for c in shown])
        axes.tick_params(axis="y", labelsize=9.5, labelcolor=svg.INK)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(0, min(1.0, 1.08 * max(found)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        svg.clean(axes)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=svg.FAINT, linewidth=0.6)
        axes.set_xlabel("symmetric, % of draws")
        axes.spines["left"].set_visible(False)
        return svg.inline(
            figure, "rates", "Symmetry success rate by composition, route and kind of draw"
        )


def _whisker(axes: Axes, rate: Row, y: float, route: str, kind: str) -> None:
    if rate["value"] is None:
        return
    colour = svg.ROUTE_COLOUR[route]
    axes.plot([rate["low"], rate["high"]], [y, y], color=colour, lw=1.6, solid_capstyle="round")
    axes.plot(
        rate["value"],
        y,
        _MARKERS[route],
        color=colour,
        ms=5.5,
        mfc=svg.PAPER if kind == "imposed" else colour,
        mec=colour if kind == "imposed" else svg.PAPER,
        mew=1.2 if kind == "imposed" else 0.8,
        clip_on=False,
    )


def distribution(
    attempts: pd.DataFrame, column: str, label: str, marks: Mapping[str, float] | None = None
) -> Markup | None:
    """Histogram of a measured column by route, as a share of each route's structures.

    Values beyond the axis are counted in its outermost bins, and said to be.

    Args:
        attempts: relaxed attempts.
        column: what to show.
        label: axis label with unit.
        marks: vertical lines, label → place.
    """
    values = {
        route: attempts.loc[attempts["route"] == route, column].dropna().to_numpy(dtype=float)
        for route in ROUTES
    }
    values = {route: found for route, found in values.items() if len(found)}
    if not values:
        return None
    marks = marks or {}
    edges = _edges(np.concatenate(list(values.values())), list(marks.values()))
    with svg.drawing(255, 180) as (figure, axes):
        for route, found in values.items():
            _histogram(axes, found, edges, route)
        for text, place in marks.items():
            axes.axvline(place, color=svg.MUTED, lw=0.8, ls=(0, (3, 2)))
            axes.text(
                place,
                1.0,
                f" {text}",
                transform=axes.get_xaxis_transform(),
                fontsize=7.5,
                color=svg.MUTED,
                va="top",
            )
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        svg.clean(axes)
        axes.set_ylabel("% of relaxed")
        axes.set_xlabel(label)
        names = ", ".join(f"{r} median {significant(np.median(v))}" for r, v in values.items())
        return svg.inline(figure, f"hist-{column}", f"Distribution of {label}: {names}")


def _edges(values: np.ndarray, marks: Sequence[float]) -> np.ndarray:
    low, high = np.quantile(values, [(1 - _SHOWN) / 2, (1 + _SHOWN) / 2])
    low, high = min([low, *marks]), max([high, *marks])
    if values.min() >= 0:
        low = 0.0
    if high - low < 1e-9:  # noqa: PLR2004 - all the same
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2 * np.sqrt(len(values)), 8, 32))
    return np.linspace(low, high, bins + 1)


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray, route: str) -> None:
    colour = svg.ROUTE_COLOUR[route]
    clipped = np.clip(values, edges[0], edges[-1])
    shares = np.histogram(clipped, edges)[0] / len(values)
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22, lw=0)
    axes.stairs(shares, edges, color=colour, lw=1.3)
    if len(values) > _FEW:
        median = float(np.median(values))
        axes.axvline(median, color=colour, lw=1.4, ls=(0, (1, 1.2)))


def thinned(rows: pd.DataFrame, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most ``most`` rows: the lowest E_d of each composition, and some of the others.

    A campaign has 100,000 structures; a page that draws each would not open.
    """
    if len(rows) <= most:
        return rows
    place = rows.groupby("composition")["decomposition_energy"].rank(method="first")
    lowest = rows[place <= max(1, most // (2 * rows["composition"].nunique()))].head(most)
    others = rows.drop(lowest.index)
    return pd.concat([lowest, others.sample(most - len(lowest), random_state=0)])


def energies_by_composition(
    attempts: pd.DataFrame, compositions: Sequence[str], threshold: float
) -> Markup | None:
    """E_d of every relaxed structure by composition; the hull is the line at zero.

    Args:
        attempts: relaxed attempts.
        compositions: from left to right.
        threshold: drawn as a line, eV/atom.
    """
    shown = list(compositions[:MOST_COMPOSITIONS])
    rows = attempts[attempts["decomposition_energy"].notna()]
    rows = rows[rows["composition"].isin(shown)]
    if rows.empty:
        return None
    energies = rows["decomposition_energy"].to_numpy(dtype=float)
    top = max(float(np.quantile(energies, 0.95)), 1.5 * threshold)
    bottom = min(0.0, float(energies.min()))
    pad = 0.06 * (top - bottom)
    random = np.random.default_rng(0)  # only spreads points sideways
    with svg.drawing(max(330, 40 + 30 * len(shown)), 250) as (figure, axes):
        for offset, route in zip((-0.23, 0.0, 0.23), ROUTES, strict=True):
            part = rows[rows["route"] == route]
            x = part["composition"].map(shown.index).to_numpy(dtype=float) + offset
            axes.scatter(
                x + random.uniform(-0.08, 0.08, len(part)),
                np.minimum(part["decomposition_energy"].to_numpy(dtype=float), top),
                s=9,
                marker=_MARKERS[route],
                color=svg.ROUTE_COLOUR[route],
                alpha=0.5,
                lw=0,
            )
        axes.axhline(0, color=svg.INK, lw=1.1)
        axes.axhline(threshold, color=svg.MUTED, lw=0.8, ls=(0, (3, 2)))
        axes.set_xticks(range(len(shown)), [plain_formula(c) for c in shown])
        if len(shown) > 6:  # noqa: PLR2004
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="x", labelcolor=svg.INK)
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_ylim(bottom - pad, top + pad)
        svg.clean(axes)
        axes.set_ylabel("E$_d$, eV/atom".replace("$_d$", "_d"))
        return svg.inline(figure, "strip", "E_d of every relaxed structure by composition")
