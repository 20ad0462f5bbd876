"""Hull plots: a cut along a line of compositions, and the ternary triangle."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from chggen.analysis.rows import ROUTES
from chggen.report import svg
from chggen.report.phases import Phases, Section, hull_on, share_of
from chggen.report.text import milli, plain_formula

Curve = tuple[np.ndarray, np.ndarray]

_HEIGHT: Final = float(np.sqrt(3) / 2)
#: Labels closer than this (fraction of the side) are pushed apart.
_LINE: Final = 0.046
#: How far above the hull structures are drawn, eV/atom, unless the threshold is higher.
_ABOVE: Final = 0.25
#: E_d (eV/atom) at the far end of the colour scale.
_SCALE: Final = 0.1
_MOST_LABELS: Final = 8
#: Room for a formula, flat and upright, as a fraction of the plot.
_LABEL_WIDTH: Final = 0.12
_LABEL_HEIGHT: Final = 0.032


def room(threshold: float) -> float:
    """How far above the hull structures are drawn, eV/atom."""
    return max(_ABOVE, 2 * threshold)


def section_plot(
    phases: Phases, section: Section, attempts: pd.DataFrame, threshold: float
) -> Markup:
    """Energy against composition along a line, with the hull of the competing phases.

    Structures stand at hull energy plus E_d, so the distance to the line is E_d.

    Args:
        phases: competing phases.
        section: the line.
        attempts: relaxed attempts with ``composition``, ``route`` and
            ``decomposition_energy``.
        threshold: of the screen, eV/atom.
    """
    hull = hull_on(phases, section)
    above = room(threshold)
    left, right = (plain_formula(end) for end in section.ends)
    binary = len(section.elements) == 2  # noqa: PLR2004
    with svg.drawing(400, 290) as (figure, axes):
        axes.fill_between(hull[0], hull[1], hull[1] + threshold, color=svg.FAINT, alpha=0.7, lw=0)
        axes.plot(*hull, color=svg.INK, lw=1.3)
        low = min(float(hull[1].min()), _structures(axes, section, attempts, hull, above))
        _phases(axes, phases, section, hull, above)
        axes.set_ylim(low - 0.14 * (above - low), float(hull[1].max()) + above)
        axes.set_xlim(-0.01, 1.01)
        _ticks(axes, section, attempts)
        svg.clean(axes)
        axes.set_ylabel(
            "formation energy, eV/atom" if binary else f"energy from {left} + {right}, eV/atom"
        )
        axes.set_xlabel(f"{left} to {right}: share of atoms from {right}")
        label = f"Energy along {section.ends[0]} to {section.ends[1]} with the convex hull"
        return svg.inline(figure, "section", label)


def _phases(axes: Axes, phases: Phases, section: Section, hull: Curve, above: float) -> None:
    """Competing phases on the section: stable ones named, others hollow."""
    ends = [phases.hull_energy(section.mixture(x)) for x in (0.0, 1.0)]
    edge: dict[str, Any] = {"mec": svg.PAPER, "mew": 0.8, "zorder": 4, "clip_on": False}
    for phase in phases.found:
        x = section.place(phase.formula)
        if x is None:
            continue
        y = phase.formation_energy - (1 - x) * ends[0] - x * ends[1]
        if phase.stable:
            inner = 0 < x < 1
            axes.plot(x, y, "s", color=svg.REFERENCE, ms=6, **edge)
            axes.annotate(
                plain_formula(phase.formula),
                (x, y),
                (0, -8 if inner else 8),
                textcoords="offset points",
                ha="center" if inner else "left" if x == 0 else "right",
                va="top" if inner else "bottom",
                fontsize=9,
            )
        elif y - np.interp(x, *hull) < above:
            axes.plot(x, y, "s", mfc="none", mec=svg.REFERENCE, ms=4.5, mew=0.9)


def _structures(
    axes: Axes,
    section: Section,
    attempts: pd.DataFrame,
    hull: Curve,
    above: float,
) -> float:
    """Points of the relaxed structures; returns the lowest energy drawn."""
    low = 0.0
    random = np.random.default_rng(0)  # spreads points sideways only
    for offset, (route, marker) in zip((-1, 0, 1), zip(ROUTES, "osD", strict=True), strict=True):
        rows = attempts[attempts["route"] == route]
        places = {c: section.place(c) for c in rows["composition"].unique()}
        rows = rows[rows["composition"].map(lambda c, at=places: at[c] is not None)]
        if rows.empty:
            continue
        x = rows["composition"].map(places).to_numpy(dtype=float)
        ed = rows["decomposition_energy"].to_numpy(dtype=float)
        y = np.interp(x, *hull) + ed
        low = min(low, float(y.min()))
        shift = offset * 0.008 + random.uniform(-0.005, 0.005, len(x))
        axes.scatter(
            (x + shift)[ed < above],
            y[ed < above],
            s=10,
            marker=marker,
            lw=0,
            alpha=0.55,
            color=svg.ROUTE_COLOUR[route],
            zorder=3,
        )
    return low


def _ticks(axes: Axes, section: Section, attempts: pd.DataFrame) -> None:
    """Searched compositions are named along the top, lowest E_d first, as room allows."""
    best = attempts.groupby("composition")["decomposition_energy"].min().sort_values()
    places = {str(c): section.place(str(c)) for c in best.index}
    found = {c: x for c, x in places.items() if x is not None}
    gaps = np.diff(sorted(found.values()))
    crowded = len(gaps) > 0 and float(gaps.min()) < _LABEL_WIDTH
    named: dict[str, float] = {}
    for name, x in found.items():
        if not crowded or all(abs(x - other) > _LABEL_HEIGHT for other in named.values()):
            named[name] = x
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(named.values()), [plain_formula(c) for c in named])
    top.tick_params(
        length=0, labelcolor=svg.INK, labelsize=8 if crowded else 9, rotation=90 if crowded else 0
    )
    top.spines["top"].set_visible(False)
    for x in found.values():
        axes.axvline(x, color=svg.FAINT, lw=0.6, zorder=0)


def ternary_plot(phases: Phases, best: dict[str, float]) -> Markup:
    """Composition triangle: tie lines, stable phases, searched compositions by E_d.

    Args:
        phases: competing phases of three elements.
        best: lowest E_d (eV/atom) of each searched composition.
    """
    with svg.drawing(400, 300) as (figure, axes):
        axes.set_aspect("equal")
        axes.axis("off")
        corners = _xy(phases.elements, phases.elements)
        axes.fill(*corners.T, facecolor="none", edgecolor=svg.MUTED, lw=1.0)
        for pair in phases.ties:
            axes.plot(*_xy(pair, phases.elements).T, color=svg.LINE, lw=0.9, zorder=1)
        stable = [p.formula for p in phases.found if p.stable]
        places = _xy(stable, phases.elements)
        axes.plot(*places.T, "s", color=svg.REFERENCE, ms=5.5, mec=svg.PAPER, mew=0.8, zorder=3)
        _label_edges(axes, stable, places, phases.elements)
        _searched(axes, best, phases.elements)
        axes.set_xlim(-0.12, 1.3)
        axes.set_ylim(-0.1, _HEIGHT + 0.05)
        return svg.inline(figure, "ternary", "Composition triangle with stable phases")


def _searched(axes: Axes, best: dict[str, float], elements: Sequence[str]) -> None:
    if not best:
        return
    order = sorted(best, key=lambda c: -best[c])  # the best are drawn last, on top
    places = _xy(order, elements)
    colours = colormaps["plasma"](Normalize(0, _SCALE)([best[c] for c in order]))
    axes.scatter(
        places[:, 0], places[:, 1], s=58, c=colours, edgecolors=svg.INK, linewidths=0.8, zorder=5
    )
    named = sorted(best, key=lambda c: best[c])[:_MOST_LABELS]
    spots = _xy(named, elements)
    for name, (x, y), level in zip(named, spots, _apart(spots[:, 1]), strict=True):
        axes.annotate(
            f"{plain_formula(name)}  {milli(best[name])} meV",
            (x, y),
            (0.92, level + 0.14),
            fontsize=9,
            fontweight="bold",
            va="center",
            ha="left",
            zorder=6,
            arrowprops={
                "arrowstyle": "-",
                "color": svg.MUTED,
                "lw": 0.7,
                "shrinkB": 5,
                "relpos": (0, 0.5),
            },
        )


def _label_edges(
    axes: Axes, formulas: Sequence[str], places: np.ndarray, elements: Sequence[str]
) -> None:
    """Names of stable phases outside the triangle, pushed apart along its sides."""
    sides: dict[str, list[int]] = {"left": [], "right": [], "below": [], "inside": []}
    left, right, top = elements[0], elements[1], elements[2]
    for i, formula in enumerate(formulas):
        share = set(share_of(formula))
        side = (
            "below"
            if share <= {left, right}
            else "left"
            if share <= {left, top}
            else "right"
            if share <= {right, top}
            else "inside"
        )
        sides[side].append(i)
    for side, sign in (("left", -1), ("right", 1)):
        chosen = sides[side]
        for i, y in zip(chosen, _apart(places[chosen, 1]), strict=True):
            axes.text(
                places[i, 0] + sign * 0.035,
                y,
                plain_formula(formulas[i]),
                fontsize=9,
                ha="left" if sign > 0 else "right",
                va="center",
            )
    for i in sides["below"]:
        axes.text(
            places[i, 0], -0.035, plain_formula(formulas[i]), fontsize=9, ha="center", va="top"
        )
    inside = sides["inside"]
    for i, y in zip(inside, _apart(places[inside, 1]), strict=True):
        axes.text(
            places[i, 0] - 0.03,
            y,
            plain_formula(formulas[i]),
            fontsize=9,
            ha="right",
            va="center",
        )


def _apart(levels: np.ndarray) -> np.ndarray:
    """Heights near the wanted ones with at least a line between any two."""
    out = np.array(levels, dtype=float)
    order = np.argsort(out)
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + _LINE)
    return out


def _xy(formulas: Sequence[str], elements: Sequence[str]) -> np.ndarray:
    """Places [n, 2] in a triangle of side 1: first element left, second right, third top."""
    shares = [share_of(f) for f in formulas]
    table = np.array([[float(s.get(e, 0)) for e in elements] for s in shares]).reshape(-1, 3)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, _HEIGHT]])
    return table @ corners
