"""Section "DFT": what became of the calculations, and the potential against them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from chggen.report import svg
from chggen.tables import parquet

_NAMES: Final = {
    "decomposition_energy": "E_d",
    "formation_energy_per_atom": Markup("E<sub>f</sub>"),
}
_SECONDS_PER_HOUR: Final = 3600.0


def section(collected: str | Path | None) -> dict[str, Any] | None:
    """Values of the section; None if DFT was not run."""
    if collected is None:
        return None
    rows = [_row(row) for row in parquet.read(collected, "collected")]
    header = parquet.read_header(collected)
    parities = [
        {"name": _NAMES[quantity], **found}
        for quantity, found in header["parity"].items()
        if found is not None
    ]
    first = header["parity"]["decomposition_energy"]
    return {
        "rows": sorted(rows, key=_order),
        "total": len(rows),
        "done": sum(bool(row["converged"]) for row in rows),
        "engine": header["settings"]["engine"],
        "functional": header["dft_functional"],
        "corrections": header["dft_corrections"],
        "reference": header["dft_reference"],
        "warning": header["warning"],
        "parity": first,
        "parities": parities,
        "threshold": header["threshold"],
        "plot": plot(rows, first),
    }


def _row(row: parquet.Row) -> parquet.Row:
    seconds = row["wall_time"]
    return row | {"hours": None if seconds is None else seconds / _SECONDS_PER_HOUR}


def _order(row: parquet.Row) -> tuple[Any, ...]:
    """Candidates first, lowest E_d by DFT first, those without one last."""
    energy = row["dft_decomposition_energy"]
    return row["role"] != "candidate", energy is None, energy or 0.0, row["id"]


def plot(rows: Sequence[parquet.Row], parity: Mapping[str, Any] | None) -> Markup | None:
    """E_d by the potential over E_d by DFT, candidates only; None without any."""
    pairs = [
        (row["dft_decomposition_energy"], row["decomposition_energy"])
        for row in rows
        if row["role"] == "candidate" and row["dft_decomposition_energy"] is not None
    ]
    if not pairs or parity is None:
        return None
    x, y = np.array(pairs, dtype=float).T
    low, high = min(x.min(), y.min(), 0.0), max(x.max(), y.max(), 0.0)
    pad = 0.06 * (high - low) or 0.05
    ends = np.array([low - pad, high + pad])
    with svg.drawing(260, 240) as (figure, axes):
        axes.plot(ends, ends, color=svg.MUTED, lw=0.8, ls=(0, (3, 2)))
        if parity["slope"] is not None:
            line = parity["slope"] * ends + parity["intercept"]
            axes.plot(ends, line, color=svg.REFERENCE, lw=1.2)
        axes.scatter(x, y, s=16, color=svg.ROUTE_COLOUR["inpainting"], lw=0, alpha=0.8)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        svg.clean(axes)
        axes.set_xlabel("E_d from DFT, eV/atom")
        axes.set_ylabel("E_d from the potential, eV/atom")
        return svg.inline(figure, "parity", "E_d from the potential against E_d from DFT")
