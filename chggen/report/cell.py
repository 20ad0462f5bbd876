"""Ball-and-stick drawing of a unit cell as a small SVG.

The drawing is a projection made here; the page's script turns it when it is dragged,
from the coordinates that each element carries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

import numpy as np
from markupsafe import Markup, escape

from chggen.composition import SYMBOLS
from chggen.crystal import Crystal, Floats

WIDTH: Final = 340
HEIGHT: Final = 260
_MARGIN: Final = 14.0
#: Drawn radius over covalent radius.
_BALL: Final = 0.42
#: Longest bond over the sum of covalent radii.
_BOND: Final = 1.2
#: Atoms this near (Å) to a face of the cell are repeated on the opposite one.
_ON_FACE: Final = 0.05
#: With more atoms than this nothing is repeated on opposite faces.
_MOST_REPEATED: Final = 60
_TILT: Final = np.radians([-11.0, 17.0])
_AXES: Final = ("a", "b", "c")


@dataclass(frozen=True)
class _Scene:
    """What is drawn, in Å around the middle of the cell.

    Args:
        points: [n, 3] atoms.
        numbers: [n] atomic numbers.
        bonds: pairs of places in ``points``.
        cell: row vectors.
        middle: what was subtracted.
    """

    points: Floats
    numbers: list[int]
    bonds: list[tuple[int, int]]
    cell: Floats
    middle: Floats


def picture(crystal: Crystal, label: str) -> Markup:
    """SVG of a crystal's cell with its atoms, those on faces repeated, and bonds.

    Args:
        crystal: the cell as it should be shown.
        label: what the picture shows, for those who do not see it.
    """
    scene = _scene(crystal)
    turn = _view(crystal.cell)
    corners = np.array(list(product((0.0, 1.0), repeat=3))) @ scene.cell - scene.middle
    flat = np.abs(np.vstack([scene.points, corners]) @ turn.T)
    room = np.array([WIDTH, HEIGHT]) / 2 - _MARGIN
    scale = float(np.min(room / (flat[:, :2].max(axis=0) + 0.5)))
    parts = [_edge(a, b, turn, scale) for a, b in _edges(scene)]
    solids = [_ball(p, z, turn, scale) for p, z in zip(scene.points, scene.numbers, strict=True)]
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


def _scene(crystal: Crystal) -> _Scene:
    near = _ON_FACE * np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)
    frac = crystal.frac_coords - np.floor(crystal.frac_coords + near / 2)
    units = [
        (unit, whole, _on_faces(whole.mean(axis=0), near)) for unit, whole in _units(crystal, frac)
    ]
    if sum(len(unit) * len(shifts) for unit, _, shifts in units) > _MOST_REPEATED:
        # copies on faces and corners would hide what is inside: one cell's content only
        units = [(unit, whole, shifts[:1]) for unit, whole, shifts in units]
    repeated = [
        (atom, place)
        for unit, whole, shifts in units
        for shift in shifts
        for atom, place in zip(unit, whole + shift, strict=True)
    ]
    atoms = [atom for atom, _ in repeated]
    places = [place for _, place in repeated]
    numbers = [int(crystal.atomic_numbers[a]) for a in atoms]
    points = np.array(places) @ crystal.cell
    points, numbers = _complete(points, numbers, crystal, frac)
    middle = crystal.cell.sum(axis=0) / 2
    return _Scene(points - middle, numbers, _bonds(points, numbers), crystal.cell, middle)


def _on_faces(middle: Floats, near: Floats) -> list[Floats]:
    """Lattice translations that bring a point into the cell and, on a face, across."""
    home = -np.floor(middle + near / 2)
    steps = [
        (0, 1) if x < e else (0, -1) if x > 1 - e else (0,)
        for x, e in zip(middle + home, near, strict=True)
    ]
    return [home + shift for shift in product(*steps)]


def _units(crystal: Crystal, frac: Floats) -> Iterator[tuple[list[int], Floats]]:
    """Atoms that belong together, with coordinates that keep them together.

    A finite covalent group (PS4, P2S6, P2S7) is one unit and is not cut by the cell;
    every other atom, also in a network without end, is a unit of its own.
    """
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    z = crystal.atomic_numbers
    reach = np.array(
        [[_reach(int(a), int(b)) * _is_covalent(int(a), int(b)) for b in z] for a in z]
    )
    delta = (frac[None, None] + images[:, None, None] - frac[None, :, None]) @ crystal.cell
    bonded = np.linalg.norm(delta, axis=-1) < reach
    bonded[len(images) // 2, np.arange(len(z)), np.arange(len(z))] = False
    left = set(range(len(z)))
    while left:
        start = min(left)
        offsets = {start: np.zeros(3)}
        todo, endless = [start], False
        while todo:
            atom = todo.pop()
            for image, other in zip(*np.nonzero(bonded[:, atom]), strict=True):
                there = offsets[atom] + images[image]
                if int(other) not in offsets:
                    offsets[int(other)] = there
                    todo.append(int(other))
                endless |= bool((offsets[int(other)] != there).any())
        left -= set(offsets)
        if endless:
            yield from (([atom], frac[[atom]]) for atom in offsets)
        else:
            yield list(offsets), np.array([frac[a] + o for a, o in offsets.items()])


def _complete(
    points: Floats, numbers: list[int], crystal: Crystal, frac: Floats
) -> tuple[Floats, list[int]]:
    """Ligands of covalent centres beyond the faces too: no PS4 is cut in half."""
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    around = (frac[None] + images[:, None]).reshape(-1, 3) @ crystal.cell
    kinds = np.tile(crystal.atomic_numbers, len(images))
    extra: list[Floats] = []
    extra_numbers: list[int] = []
    for point, z in zip(points, numbers, strict=True):
        reach = np.array([_reach(z, int(k)) if _is_centre(z, int(k)) else 0.0 for k in kinds])
        for j in np.flatnonzero(np.linalg.norm(around - point, axis=1) < reach):
            known = np.vstack([points, *extra])
            if np.linalg.norm(known - around[j], axis=1).min() > _ON_FACE:
                extra.append(around[j][None])
                extra_numbers.append(int(kinds[j]))
    return np.vstack([points, *extra]), numbers + extra_numbers


def _bonds(points: Floats, numbers: list[int]) -> list[tuple[int, int]]:
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return [
        (i, j)
        for i in range(len(points))
        for j in range(i)
        if distance[i, j] < _reach(numbers[i], numbers[j])
    ]


@cache
def _reach(first: int, second: int) -> float:
    """Longest bond (Å) drawn between two elements; 0 where chemists draw none."""
    from ase.data import covalent_radii
    from pymatgen.core import Element

    a, b = Element.from_Z(first), Element.from_Z(second)
    ionic = any(e.is_alkali or e.is_alkaline for e in (a, b))
    if ionic or (a.is_metal and b.is_metal):
        return 0.0
    return float(_BOND * (covalent_radii[first] + covalent_radii[second]))


@cache
def _is_covalent(first: int, second: int) -> bool:
    """True if neither element is a metal."""
    from pymatgen.core import Element

    return not any(Element.from_Z(z).is_metal for z in (first, second))


@cache
def _is_centre(centre: int, ligand: int) -> bool:
    """True for a covalent centre and its ligand, the more electronegative one."""
    from pymatgen.core import Element

    return _is_covalent(centre, ligand) and Element.from_Z(centre).X < Element.from_Z(ligand).X


def _view(cell: Floats) -> Floats:
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


def _edges(scene: _Scene) -> list[tuple[Floats, Floats]]:
    found = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for start in product((0, 1), repeat=2):
            corner = sum(
                (s * scene.cell[k] for s, k in zip(start, others, strict=True)), np.zeros(3)
            )
            found.append((corner - scene.middle, corner + scene.cell[axis] - scene.middle))
    return found


def _ball(point: Floats, z: int, turn: Floats, scale: float) -> tuple[float, str]:
    from ase.data import covalent_radii

    x, y, depth = turn @ point
    radius = _BALL * covalent_radii[z] * scale
    return float(depth), (
        f'<circle class="{SYMBOLS[z]}" cx="{x * scale:.1f}" cy="{-y * scale:.1f}"'
        f' r="{radius:.1f}" data-p="{_numbers(point)}"/>'
    )


def _sticks(
    scene: _Scene, pair: tuple[int, int], turn: Floats, scale: float
) -> list[tuple[float, str]]:
    """Two halves of a bond, each in the colour of its atom, starting at its surface."""
    from ase.data import covalent_radii

    out = []
    for i, j in (pair, pair[::-1]):
        start, end = scene.points[i], (scene.points[i] + scene.points[j]) / 2
        along = (end - start) / np.linalg.norm(end - start)
        start = start + 0.85 * _BALL * covalent_radii[scene.numbers[i]] * along
        symbol = SYMBOLS[scene.numbers[i]]
        depth = float((turn @ (start + end) / 2)[2])
        out.append((depth, _line(f"s {symbol}", start, end, turn, scale)))
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
