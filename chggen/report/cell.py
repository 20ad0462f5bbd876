"""Ball-and-stick drawing of a unit cell as a small SVG.

The drawing is a projection made here; the page's script turns it when it is dragged,
from the coordinates that each element carries.
"""

from itertools import product
from typing import Final

import numpy as np
from markupsafe import Markup, escape

from chggen.report.scene import Scene, scene_of
from chggen.structure.composition import SYMBOLS
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

WIDTH: Final = 340
HEIGHT: Final = 260
_MARGIN: Final = 14.0
#: Drawn radius over covalent radius.
_BALL: Final = 0.42
_TILT: Final = np.radians([-11.0, 17.0])
_AXES: Final = ("a", "b", "c")


def picture(crystal: Crystal, label: str) -> Markup:
    """SVG of a crystal's cell with its atoms, those on faces repeated, and bonds.

    Args:
        crystal: the cell as it should be shown.
        label: what the picture shows, for those who do not see it.
    """
    scene = scene_of(crystal)
    turn = view(crystal.cell)
    corners = np.array(list(product((0.0, 1.0), repeat=3))) @ scene.cell - scene.middle
    flat = np.abs(np.vstack([scene.points, corners]) @ turn.T)
    room = np.array([WIDTH, HEIGHT]) / 2 - _MARGIN
    scale = float(np.min(room / (flat[:, :2].max(axis=0) + 0.5)))
    parts = [_edge(a, b, turn, scale) for a, b in _edges(scene)]
    solids = [_ball(scene, atom, turn, scale) for atom in range(len(scene.numbers))]
    for pair in scene.bonds:
        solids += _sticks(scene, pair, turn, scale)
    parts += [text for _, text in sorted(solids, key=lambda s: s[0])]
    matrix = " ".join(f"{x:.5f}" for x in turn.ravel())
    return Markup(  # noqa: S704 - numbers and element symbols only, the label is escaped
        f'<svg class="cell" role="img" aria-label="{escape(label)}" data-turn="{matrix}"'
        f' data-scale="{scale:.4f}" viewBox="{-WIDTH / 2:g} {-HEIGHT / 2:g} {WIDTH} {HEIGHT}">'
        f"<g>{''.join(parts)}</g>{_triad(scene.cell, turn)}</svg>"
    )


def palette(symbols: set[str]) -> Markup:
    """Shading and colours of elements, once per page."""
    gradients, rules = [], []
    for symbol in sorted(symbols):
        base = _colour(symbol)
        stops = (("0%", 0.75), ("38%", 0.0), ("100%", -0.42))
        inner = "".join(
            f'<stop offset="{at}" stop-color="{_hex(_shade(base, by))}"/>' for at, by in stops
        )
        gradients.append(
            f'<radialGradient id="el-{symbol}" cx="36%" cy="32%" r="72%">{inner}</radialGradient>'
        )
        dark = _hex(_shade(base, -0.5))
        rules.append(
            f".cell circle.{symbol}{{fill:url(#el-{symbol});stroke:{dark}}}"
            f".cell .s.{symbol}{{stroke:{_hex(_shade(base, -0.12))}}}"
            f".dot.{symbol}{{background:{_hex(base)};border-color:{dark}}}"
        )
    return Markup(  # noqa: S704 - element symbols and numbers only
        f'<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
        f"{''.join(gradients)}</defs></svg><style>{''.join(rules)}</style>"
    )


def view(cell: Floats) -> Floats:
    """Rotation of the viewer: along the shortest axis, a little from the side and above."""
    short, middle, long = np.argsort(np.linalg.norm(cell, axis=1))
    depth = cell[short] / np.linalg.norm(cell[short])
    across = cell[long] - (cell[long] @ depth) * depth
    across /= np.linalg.norm(across)
    up = np.cross(depth, across)
    if up @ cell[middle] < 0:
        across, up = -across, -up
    (cx, cy), (sx, sy) = np.cos(_TILT), np.sin(_TILT)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn: Floats = about_x @ about_y @ np.array([across, up, depth])
    return turn


def _edges(scene: Scene) -> list[tuple[Floats, Floats]]:
    found = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for start in product((0, 1), repeat=2):
            corner = sum(
                (s * scene.cell[k] for s, k in zip(start, others, strict=True)), np.zeros(3)
            )
            found.append((corner - scene.middle, corner + scene.cell[axis] - scene.middle))
    return found


def _ball(scene: Scene, atom: int, turn: Floats, scale: float) -> tuple[float, str]:
    from ase.data import covalent_radii

    point, z = scene.points[atom], scene.numbers[atom]
    x, y, depth = turn @ point
    radius = _BALL * covalent_radii[z] * scale
    return float(depth), (
        f'<circle class="{_kind(scene, atom)}" cx="{x * scale:.1f}" cy="{-y * scale:.1f}"'
        f' r="{radius:.1f}" data-p="{_numbers(point)}"/>'
    )


def _kind(scene: Scene, atom: int) -> str:
    """Classes of an atom: its element, and g (ghost) if it only completes a neighbour."""
    return SYMBOLS[scene.numbers[atom]] + (" g" if atom >= scene.inside else "")


def _sticks(
    scene: Scene, pair: tuple[int, int], turn: Floats, scale: float
) -> list[tuple[float, str]]:
    """Two halves of a bond, each in the colour of its atom, starting at its surface."""
    from ase.data import covalent_radii

    out = []
    for i, j in (pair, pair[::-1]):
        start, end = scene.points[i], (scene.points[i] + scene.points[j]) / 2
        along = (end - start) / np.linalg.norm(end - start)
        start = start + 0.85 * _BALL * covalent_radii[scene.numbers[i]] * along
        depth = float((turn @ (start + end) / 2)[2])
        out.append((depth, _line(f"s {_kind(scene, i)}", start, end, turn, scale)))
    return out


def _edge(start: Floats, end: Floats, turn: Floats, scale: float) -> str:
    return _line("e", start, end, turn, scale)


def _line(kind: str, start: Floats, end: Floats, turn: Floats, scale: float) -> str:
    (x1, y1, _), (x2, y2, _) = turn @ start * scale, turn @ end * scale
    return (
        f'<line class="{kind}" x1="{x1:.1f}" y1="{-y1:.1f}" x2="{x2:.1f}" y2="{-y2:.1f}"'
        f' data-p="{_numbers(start)} {_numbers(end)}"/>'
    )


def _triad(cell: Floats, turn: Floats) -> str:
    """The directions of a, b and c in the corner."""
    parts = []
    for name, vector in zip(_AXES, cell / np.linalg.norm(cell, axis=1)[:, None], strict=True):
        x, y, _ = turn @ vector
        parts.append(
            f'<line class="x{name}" x2="{20 * x:.1f}" y2="{-20 * y:.1f}"'
            f' data-p="{_numbers(vector)}"/>'
            f'<text class="x{name}" x="{28 * x:.1f}" y="{-28 * y:.1f}">{name}</text>'
        )
    corner = f"translate({-WIDTH / 2 + 34:g} {HEIGHT / 2 - 34:g})"
    return f'<g class="triad" transform="{corner}">{"".join(parts)}</g>'


def _numbers(point: Floats) -> str:
    return " ".join(f"{x:.2f}" for x in point)


def _colour(symbol: str) -> Floats:
    from ase.data import atomic_numbers
    from ase.data.colors import jmol_colors

    return np.asarray(jmol_colors[atomic_numbers[symbol]], dtype=np.float64)


def _shade(colour: Floats, by: float) -> Floats:
    """Lighter (by > 0) or darker (by < 0)."""
    return colour + (1 - colour) * by if by > 0 else colour * (1 + by)


def _hex(colour: Floats) -> str:
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in np.clip(colour, 0, 1))
