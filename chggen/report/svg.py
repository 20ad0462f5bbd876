"""Matplotlib figures as inline SVG that follows the page's colours and fonts.

Figures are drawn in placeholder colours, which become CSS variables afterwards: one
drawing serves light, dark and print. Text stays text, in the page's font.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

#: Placeholder → CSS variable. Values are near black and occur nowhere else.
_THEME: Final = {
    "ink": "#010203",
    "muted": "#020304",
    "line": "#030405",
    "paper": "#040506",
    "unconditional": "#050607",
    "inpainting": "#060708",
    "prototypes": "#0a0b0c",
    "reference": "#070809",
    "good": "#08090a",
    "faint": "#090a0b",
}
#: Colour of each route in figures.
ROUTE_COLOUR: Final = {r: _THEME[r] for r in ("unconditional", "prototypes", "inpainting")}
INK, MUTED, LINE, PAPER = (_THEME[c] for c in ("ink", "muted", "line", "paper"))
REFERENCE, GOOD, FAINT = _THEME["reference"], _THEME["good"], _THEME["faint"]

_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "chggen",  # same tables, same bytes
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "axes.unicode_minus": True,
}
#: A subscript as SVG has it; the empty last part brings the baseline back.
_E_D: Final = 'E<tspan dy="2.2" font-size="78%">d</tspan><tspan dy="-2.2">&#8203;</tspan>'
_UNUSED_ID: Final = re.compile(r' id="([^"]+)"')
_POINTS_PER_INCH: Final = 72.0


@contextmanager
def drawing(width: float, height: float, **grid: Any) -> Iterator[tuple[Figure, Any]]:  # noqa: ANN401
    """A figure of this many points and its axes, in the page's style.

    ``grid`` goes to ``Figure.subplots``. Nothing global is touched outside the block;
    draw *and* call :func:`inline` inside it.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained"
        )
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(**grid)


def inline(figure: Figure, name: str, label: str) -> Markup:
    """SVG element of a figure.

    Args:
        figure: drawn inside :func:`drawing`.
        name: unique in the page; keeps ids of two figures apart.
        label: what the picture shows, for those who do not see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("E_d", _E_D)
    for variable, colour in _THEME.items():
        text = text.replace(colour, f"var(--{variable})")
    width, height = figure.get_size_inches() * _POINTS_PER_INCH
    head = (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}"'
        f' style="max-width:{width * 1.45:.0f}px"'
    )
    text = re.sub(r"<svg[^>]*?>", f"{head}>", text, count=1, flags=re.DOTALL)
    return Markup(_own_ids(text, name))  # noqa: S704 - matplotlib escapes what it writes


def _own_ids(text: str, name: str) -> str:
    """Prefix ids that are referred to, drop all others: a page has one id once."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = _UNUSED_ID.sub(lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)


def clean(axes: Axes) -> None:
    """Light horizontal grid behind the data, no tick marks."""
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
