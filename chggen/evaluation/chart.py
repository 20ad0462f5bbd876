"""Success against CPU seconds, all generators on one axis, as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chggen.errors import ChggenError
from chggen.evaluation.figures import of_generator
from chggen.run import atomic

#: Formats of the picture.
SUFFIXES: Final = (".svg", ".png", ".pdf")
_PANELS: Final = (
    ("found", "the known crystal is among the samples"),
    ("lowest", "the lowest energy is the known crystal"),
)


def check(path: Path) -> None:
    """Refuse a name of another format, or a folder, before a run."""
    if path.suffix.lower() not in SUFFIXES:
        raise ChggenError(f"--figure '{path}': must end in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise ChggenError(f"--figure '{path}': is a folder")


def write(result: Mapping[str, Any], path: Path) -> None:
    """Draw success against CPU seconds per structure, with 95 % intervals.

    Lines are dotted where a generator has no more samples for some of the structures: there
    it is the success of stopping after the samples there are.

    Args:
        result: content of the JSON file.
        path: of the picture.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "chggen", "font.size": 9}):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (key, title) in zip(panels, _PANELS, strict=True):
            for place, name in enumerate(result["generators"]):
                curve = of_generator(result, name)["success_by_cpu_seconds"]
                _line(axes, curve, key, f"C{place}", name)
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_xscale("log")
            axes.set_xlim(curve["cpu_seconds"][0], curve["cpu_seconds"][-1])
            axes.set_xticks(ticks := [1, 2, 5, 10, 20, 50, 100], [str(t) for t in ticks])
            axes.minorticks_off()
            axes.set_ylim(0, 100)
            axes.set_xlabel("CPU s per structure, generation + relaxation")
            axes.grid(color="0.9", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(f"% of {result['n_structures']} known crystals")
        panels[0].legend(frameon=False)
        with atomic.replacing(path) as partial:
            kind = path.suffix[1:].lower()
            # without the date: same figures, same bytes
            metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
            figure.savefig(partial, format=kind, dpi=160, metadata=metadata)


def _line(axes: Any, curve: Mapping[str, Any], key: str, colour: str, name: str) -> None:  # noqa: ANN401
    """One generator: its line, and its interval as a band."""
    budgets = curve["cpu_seconds"]
    stopped, low, high = (
        [100 * value for value in curve[f"{key}_stopped{end}"]] for end in ("", "_low", "_high")
    )
    whole = [i for i, n in enumerate(curve["n_beyond"]) if not n]
    axes.plot(budgets, stopped, color=colour, linewidth=1.2, linestyle=":")
    axes.plot(
        [budgets[i] for i in whole],
        [stopped[i] for i in whole],
        color=colour,
        linewidth=1.6,
        label=name,
    )
    axes.fill_between(budgets, low, high, color=colour, alpha=0.12, linewidth=0)
