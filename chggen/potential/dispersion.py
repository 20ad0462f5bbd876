"""D3(BJ) dispersion for batches of crystals, and potentials with it added.

Two-body D3 with Becke-Johnson damping (Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456
(2011), doi:10.1002/jcc.21759)::

    E = -sum over pairs of C6_ij g_ij(r),   g = 1/(r^6 + R^6) + s8 Q/(r^8 + R^8)

with Q_ij = C8/C6, R_ij = a1 sqrt(Q) + a2 from the elements alone. C6 depends on the
coordination numbers of both atoms, interpolated between reference states (J. Chem. Phys. 132,
154104 (2010), doi:10.1063/1.3382344). As the weights of the states are a product of one factor
per atom, C6 is computed per pair of atoms, not per pair of images, and all derivatives are
written out: a call costs little more than the neighbour list.

The sum over pairs is switched off smoothly before the cutoff, so that energy, forces and
stress are continuous in a relaxation; what lies beyond is added as an integral over a
uniform density, as is usual in simulations of liquids (Allen, Tildesley, Computer Simulation
of Liquids, section 2.8), with its stress.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from torch import Tensor
from torch_sim.state import SimState

from chggen.compute.neighbours import neighbour_list
from chggen.config.dispersion import D3_ROWS, Damping, damping, dispersed, joined
from chggen.potential.interface import NamedPotential
from chggen.provenance import digest

#: Å and eV in atomic units (CODATA 2018).
BOHR: Final = 0.529177210903
HARTREE: Final = 27.211386245988
#: Radius of the sum over pairs, Å, and where it begins to be switched off.
CUTOFF: Final = 12.0
SWITCH: Final = 8.0
_K1: Final = 16.0  # steepness of the counting function
_K3: Final = 4.0  # sharpness of the interpolation between states
_TABLE: Final = "d3_reference.safetensors"


@dataclass(frozen=True)
class Table:
    """Reference values by atomic number (row 0 is empty), in atomic units, float64.

    Args:
        c6: [95, 95, 5, 5] C6 of each pair of states; 0 where there is none.
        cn: [95, 5] coordination number of each state; infinite where there is none.
        radius: [95] covalent radius, times 4/3.
        r2r4: [95] sqrt(Q).
        digest: of the file.
    """

    c6: Tensor
    cn: Tensor
    radius: Tensor
    r2r4: Tensor
    digest: str


@cache
def reference_table() -> Table:
    """D3's reference values in the package; chggen/data/SOURCES.md says where they are from."""
    content = (files("chggen") / "data" / _TABLE).read_bytes()
    data = load_tensors(content)
    elements = data["state_element"].long()
    size = len(elements)
    full = torch.zeros(size, size, dtype=torch.float64)
    upper = torch.triu_indices(size, size)
    full[upper[0], upper[1]] = data["c6"]
    full[upper[1], upper[0]] = data["c6"]
    places = torch.zeros_like(elements)
    for z in range(1, D3_ROWS + 1):
        of_z = elements == z
        places[of_z] = torch.arange(int(of_z.sum()))
    most = int(places.max()) + 1
    cn = torch.full((D3_ROWS + 1, most), torch.inf, dtype=torch.float64)
    cn[elements, places] = data["state_cn"]
    c6 = torch.zeros(D3_ROWS + 1, D3_ROWS + 1, most, most, dtype=torch.float64)
    c6[elements[:, None], elements, places[:, None], places] = full
    hashed = digest({key: value.numpy().tobytes().hex() for key, value in data.items()})
    return Table(c6, cn, data["covalent_radius"], data["r2r4"], hashed)


class D3:
    """Energy, forces and stress of D3(BJ), in float64 whatever the states have.

    Args:
        parameters: of the functional.
        device: where it computes.
        cutoff: radius of the sum over pairs, Å.
        switch: where it begins to be switched off, Å; ``cutoff``: a sharp end.
        tail: add what lies beyond.
    """

    def __init__(
        self,
        parameters: Damping,
        device: torch.device | None = None,
        cutoff: float = CUTOFF,
        switch: float = SWITCH,
        *,
        tail: bool = True,
    ) -> None:
        table = reference_table()
        self.cutoff, self.switch = cutoff, switch
        ratio = 3 * table.r2r4[:, None] * table.r2r4
        inner = parameters.a1 * ratio.sqrt() + parameters.a2
        self._s8q, self._r6, self._r8 = parameters.s8 * ratio, inner**6, inner**8
        self._beyond = self._tail() if tail else torch.zeros_like(inner)
        self._radius = table.radius[:, None] + table.radius
        self._c6, self._cn = table.c6, table.cn
        for key in ("_s8q", "_r6", "_r8", "_beyond", "_radius", "_c6", "_cn"):
            setattr(self, key, getattr(self, key).to(device))
        self.facts: dict[str, Any] = {
            "method": "d3bj",
            "a1": parameters.a1,
            "a2": parameters.a2,
            "s8": parameters.s8,
            "cutoff": cutoff,
            "switch": switch,
            "tail": tail,
            "table": table.digest,
        }

    def __call__(self, state: SimState) -> dict[str, Tensor]:
        """Energy [S] eV, forces [N, 3] eV/Å and stress [S, 3, 3] eV/Å³ of a batch.

        Raises:
            RuntimeError: an element without reference values, or coordinates that are no numbers.
        """
        if bool((state.atomic_numbers > D3_ROWS).any()):
            raise RuntimeError(f"D3 has no reference values beyond element {D3_ROWS}")
        batch = _Batch(state, self.cutoff)
        species = batch.numbers[batch.centre] * (D3_ROWS + 1) + batch.numbers[batch.other]
        switching = self._switching(batch.squared)
        count, count_slope = self._count(batch, species, switching)
        cn = count.new_zeros(len(batch.numbers)).index_add_(0, batch.centre, count)
        cn.index_add_(0, batch.other, count)
        kernel, kernel_slope = self._kernel(batch, species, switching)
        sums = kernel.new_zeros(len(batch.first)).index_add_(0, batch.place, kernel)
        # the tail is shared by both orders of a pair of atoms; the sums stand at one of them
        of_species = batch.numbers[batch.first] * (D3_ROWS + 1) + batch.numbers[batch.second]
        tail = self._beyond.view(-1)[of_species] / batch.volumes[batch.pair_system] / 2
        c6, c6_slope = self._coefficients(batch, cn)
        weights = -(sums + tail)
        energy = self._per_system(batch, weights * c6)
        both = weights + weights[batch.turned]
        by_count = cn.new_zeros(len(cn)).index_add_(0, batch.first, both * c6_slope)
        slope = (by_count[batch.centre] + by_count[batch.other]) * count_slope
        slope -= c6[batch.place] * kernel_slope
        return batch.output(energy, slope, self._per_system(batch, -tail * c6))

    def _per_system(self, batch: "_Batch", values: Tensor) -> Tensor:
        """Sum of values of pairs of atoms."""
        zeros = values.new_zeros(len(batch.volumes))
        return zeros.index_add_(0, batch.pair_system, values)

    def _kernel(
        self, batch: "_Batch", species: Tensor, switching: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """[e] g S and its derivative by r^2."""
        on, on_slope = switching
        r2 = batch.squared
        r4 = r2 * r2
        r6 = r4 * r2
        six = 1 / (r6 + self._r6.view(-1)[species])
        eight = 1 / (r6 * r2 + self._r8.view(-1)[species])
        s8q = self._s8q.view(-1)[species] * eight
        g = six + s8q
        slope = -r4 * (3 * six * six + 4 * r2 * s8q * eight)
        return g * on, slope * on + g * on_slope

    def _count(
        self, batch: "_Batch", species: Tensor, switching: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """[e] what a pair adds to both coordination numbers, and its derivative by r^2."""
        on, on_slope = switching
        ratio = self._radius.view(-1)[species] * batch.squared.rsqrt()
        value = torch.sigmoid(_K1 * (ratio - 1))
        # d ratio / d r^2 = -ratio / (2 r^2)
        slope = value * (value - 1) * ratio * (_K1 / 2) / batch.squared
        return value * on, slope * on + value * on_slope

    def _coefficients(self, batch: "_Batch", cn: Tensor) -> tuple[Tensor, Tensor]:
        """[p] C6 of each ordered pair of atoms, and its derivative by the first one's CN."""
        kinds, kind = torch.unique(batch.numbers, return_inverse=True)
        there = torch.isfinite(self._cn[kinds])[kind]
        away = cn[:, None] - self._cn[kinds].nan_to_num(posinf=0.0)[kind]
        weights = torch.softmax(torch.where(there, -_K3 * away**2, -torch.inf), 1)
        pull = -2 * _K3 * away
        changes = weights * (pull - (weights * pull).sum(1, keepdim=True))
        table = self._c6[kinds[:, None], kinds]
        first, second = batch.first, batch.second
        other, place = weights[second], first * len(kinds) + kind[second]
        # [n, kinds, states]: what a pair with each kind would have, state by state of the other
        c6, slope = (
            torch.einsum("na,nkab->nkb", x, table[kind]).reshape(-1, x.shape[1])
            for x in (weights, changes)
        )
        return (c6[place] * other).sum(1), (slope[place] * other).sum(1)

    def _tail(self) -> Tensor:
        """[95, 95] integral of 4 pi r^2 (1 - S) g from the switch to infinity, bohr^-3."""
        start, end = self.switch / BOHR, self.cutoff / BOHR
        points, weights = np.polynomial.legendre.leggauss(48)
        unit, weight = torch.from_numpy((points + 1) / 2), torch.from_numpy(weights / 2)
        inner = start + (end - start) * unit
        # beyond the cutoff r = end / u, so that dr = end du / u^2
        radii = torch.cat([inner, end / unit])
        measure = torch.cat([weight * (end - start), weight * end / unit**2])
        off = torch.cat([1 - self._switching(inner**2)[0], torch.ones_like(unit)])
        total = torch.zeros_like(self._r6)
        for r, factor in zip(
            radii.tolist(), (4 * math.pi * radii**2 * off * measure).tolist(), strict=True
        ):
            total += factor / (r**6 + self._r6) + factor * self._s8q / (r**8 + self._r8)
        return total

    def _switching(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """S and dS/d(r^2) of r^2 in bohr^2; twice continuously differentiable."""
        start, end = (self.switch / BOHR) ** 2, (self.cutoff / BOHR) ** 2
        if end <= start:
            return torch.ones_like(squared), torch.zeros_like(squared)
        t = ((squared - start) / (end - start)).clamp(0, 1)
        value = 1 - t**3 * (10 - 15 * t + 6 * t**2)
        return value, -30 * (t * (1 - t)) ** 2 / (end - start)


class _Batch:
    """A batch in atomic units: its pairs of images (edges) and its ordered pairs of atoms."""

    def __init__(self, state: SimState, cutoff: float) -> None:
        positions, cells = state.positions.detach(), state.row_vector_cell.detach()
        self.numbers, self.system = state.atomic_numbers.long(), state.system_idx
        # each pair of images once; an atom and its own image too
        self.centre, self.other, vectors = neighbour_list(
            positions.double(), cells.double(), self.system, cutoff, once=True
        )
        # a row per component: sums over one index are several times faster than over rows
        self.vectors = (vectors.T / BOHR).contiguous()
        x, y, z = self.vectors
        self.squared = x * x + y * y + z * z
        self.volumes = torch.linalg.det(cells.double() / BOHR).abs()
        sizes = torch.bincount(self.system, minlength=len(cells))
        begin = (torch.cumsum(sizes, 0) - sizes)[self.system]
        rows = sizes[self.system]
        start = torch.cumsum(rows, 0) - rows
        atoms = torch.arange(len(rows), device=rows.device)
        self.first = torch.repeat_interleave(atoms, rows)
        places = torch.arange(len(self.first), device=rows.device)
        self.second = places - start[self.first] + begin[self.first]
        self.turned = start[self.second] + self.first - begin[self.first]
        self.pair_system = self.system[self.first]
        #: which pair of atoms an edge belongs to
        self.place = start[self.centre] + self.other - begin[self.centre]

    def output(self, energy: Tensor, slope: Tensor, tail: Tensor) -> dict[str, Tensor]:
        """Results in eV and Å.

        Args:
            energy: [S] hartree.
            slope: [e] derivative of the energy by r^2 of each edge.
            tail: [S] energy of what lies beyond the cutoff.
        """
        gradient = 2 * slope * self.vectors
        forces = gradient.new_zeros(3, len(self.numbers))
        virial = gradient.new_zeros(3, 3, len(self.volumes))
        system = self.system[self.centre]
        for i in range(3):
            forces[i].index_add_(0, self.centre, gradient[i])
            forces[i].index_add_(0, self.other, gradient[i], alpha=-1)
            for j in range(i + 1):
                virial[i, j].index_add_(0, system, self.vectors[i] * gradient[j])
                virial[j, i] = virial[i, j]
            # the tail goes with the density
            virial[i, i] -= tail
        return {
            "energy": energy * HARTREE,
            "forces": forces.T.contiguous() * (HARTREE / BOHR),
            "stress": (virial / self.volumes).permute(2, 0, 1) * (HARTREE / BOHR**3),
        }


class Dispersed:
    """A potential with D3(BJ) added; a :class:`~chggen.potential.interface.NamedPotential`.

    Args:
        inner: potential without dispersion.

    Raises:
        ConfigError: its functional has no parameters.
    """

    def __init__(self, inner: NamedPotential) -> None:
        self.inner = inner
        self.name = joined(inner.name, "d3bj")
        self.contract = dispersed(inner.contract, inner.name)
        self.d3 = D3(damping(inner.contract.functional, inner.name), inner.device)
        self.hash = digest({"potential": inner.hash, "dispersion": self.d3.facts})
        rows = frozenset(range(1, D3_ROWS + 1))
        self.elements: frozenset[int] | None = (
            rows if inner.elements is None else inner.elements & rows
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.inner.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the states it takes."""
        return self.inner.dtype

    def __call__(self, state: SimState) -> Mapping[str, Tensor]:
        """Output of the potential with energy, forces and stress of D3 added."""
        output = dict(self.inner(state))
        for key, value in self.d3(state).items():
            output[key] = output[key] + value.to(output[key].dtype)
        return output

    def energies(self, state: SimState) -> Tensor:
        """Energies [S] in eV alone."""
        energies = self.inner.energies(state)
        return energies + self.d3(state)["energy"].to(energies.dtype)
