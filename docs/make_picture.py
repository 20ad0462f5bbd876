"""Draw docs/picture.png, an overview of the results, from the tables of the demo."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from chggen.report.cell import view
from chggen.report.scene import scene_of
from chggen.structure.composition import SYMBOLS
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import symmetrise
from chggen.tables import parquet

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = {"unconditional": "#2f6fb3", "inpainting": "#c8630f"}


def best_symmetric(rows: list[parquet.Row], composition: str) -> parquet.Row:
    """Symmetric structure of a composition with the lowest E_d."""
    found = [r for r in rows if r["symmetric"] and r["composition"] == composition]
    return min(found, key=lambda r: r["decomposition_energy"])


def draw_cell(axes: plt.Axes, row: parquet.Row) -> None:
    """Ball-and-stick picture of the symmetrised conventional cell."""
    crystal = symmetrise(
        Crystal.from_row(row), row["symprec"], row["angle_tolerance"], "conventional"
    ).crystal
    scene, turn = scene_of(crystal), view(crystal.cell)
    points = scene.points @ turn.T
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    for a in corners:
        for b in corners:
            if abs(a - b).sum() == 1:
                edge = (np.array([a, b]) @ scene.cell - scene.middle) @ turn.T
                axes.plot(edge[:, 0], edge[:, 1], color="#b9c0ca", lw=0.7, zorder=-100)
    for i, j in scene.bonds:
        middle = (points[i] + points[j]) / 2
        for k in (i, j):
            colour = jmol_colors[scene.numbers[k]] * 0.8
            axes.plot(
                *np.array([points[k], middle])[:, :2].T,
                color=colour,
                lw=2.2,
                zorder=points[k, 2],
                solid_capstyle="butt",
            )
    for point, z in zip(points, scene.numbers, strict=True):
        axes.add_patch(
            plt.Circle(
                point[:2],
                0.42 * covalent_radii[z],
                fc=jmol_colors[z],
                ec="#333333",
                lw=0.5,
                zorder=point[2] + 0.01,
            )
        )
    axes.set_aspect("equal")
    axes.axis("off")
    meV = 1000 * row["decomposition_energy"]
    box = (corners @ scene.cell - scene.middle) @ turn.T
    spread = np.vstack([points, box])[:, :2]
    low, high = spread.min(axis=0) - 1.2, spread.max(axis=0) + 1.2
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_title(
        f"{subscripts(row['composition'])}   {row['space_group_symbol']}   "
        f"$E_d$ = {meV:.0f} meV/atom",
        fontsize=9,
    )


def subscripts(formula: str) -> str:
    """Formula with subscripts, for matplotlib."""
    return "".join(f"$_{c}$" if c.isdigit() else c for c in formula)


def draw_rates(axes: plt.Axes, report: list[parquet.Row], compositions: list[str]) -> None:
    """Symmetry success rates of free draws, with their intervals."""
    for row in report:
        # imposed space groups are not evidence about the model
        if (row["quantity"], row["draw_kind"]) != ("symmetric", "free"):
            continue
        if row["composition"] not in compositions or row["route"] not in COLOURS or not row["n"]:
            continue
        y = compositions.index(row["composition"]) + (
            0.13 if row["route"] == "inpainting" else -0.13
        )
        colour = COLOURS[row["route"]]
        axes.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, lw=2)
        axes.plot(100 * row["value"], y, "o", color=colour, ms=6)
        label = f"{row['k']} of {row['n']} {row['route']}"
        axes.text(0.4, y + 0.13, label, va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(compositions)), [subscripts(c) for c in compositions])
    axes.set_ylim(len(compositions) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.margins(x=0.25)
    axes.set_xlabel("symmetric, % of free draws")
    axes.set_title("Guests into a framework make crystals", fontsize=9, loc="left")


def draw_energies(axes: plt.Axes, rows: list[parquet.Row]) -> None:
    """Distribution of E_d by route."""
    edges = np.linspace(-50, 250, 41)
    for route, colour in COLOURS.items():
        energies = [
            1000 * r["decomposition_energy"]
            for r in rows
            if r["route"] == route and r["decomposition_energy"] is not None
        ]
        axes.hist(
            np.clip(energies, -50, 250),
            edges,
            color=colour,
            alpha=0.35,
            label=route,
            weights=np.full(len(energies), 100 / len(energies)),
        )
    axes.axvline(0, color="#333333", lw=0.8)
    axes.set_xlabel("$E_d$, meV/atom")
    axes.set_ylabel("% of relaxed")
    axes.set_title("E$_d$ of what relaxed, by route", fontsize=9, loc="left")


def main(folder: Path) -> None:
    """Draw the picture from the tables of one system."""
    rows = parquet.read(folder / "screened.parquet", "screened")
    report = parquet.read(folder / "report.parquet", "report")
    compositions = list(dict.fromkeys(r["composition"] for r in rows))
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(1, 4, figsize=(13, 3.1), width_ratios=[1.35, 1.35, 1, 1])
        for place, composition in zip(axes, compositions[:2], strict=False):
            draw_cell(place, best_symmetric(rows, composition))
        draw_rates(axes[2], report, compositions)
        draw_energies(axes[3], rows)
        elements = sorted({z for r in rows for z in r["atomic_numbers"] or ()})
        handles = [
            plt.Line2D(
                [], [], marker="o", ls="", color=jmol_colors[z], mec="#333333", label=SYMBOLS[z]
            )
            for z in elements
        ]
        figure.legend(handles=handles, loc="lower left", ncols=3, frameon=False, fontsize=8)
        figure.tight_layout()
        figure.savefig(HERE / "picture.png", dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/Zn-P-S"))
