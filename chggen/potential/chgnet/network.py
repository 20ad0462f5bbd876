"""CHGNet's message passing, reformulated for whole batches.

Same function as ``chgnet.model.CHGNet`` (Deng et al., doi:10.1038/s42256-023-00716-3) with
its weights, arranged so that work per directed edge and per angle is least: see
:mod:`chggen.potential.chgnet.ops`. Further, a bond longer than the bond-graph cutoff keeps its
initial features, so that all it sends to every layer is one linear map of its radial basis.

In CHGNet 0.2.0 the output maps have a bias. The reference adds it to all bonds of a batch as
soon as one structure of the batch has an angle; here it goes to the bonds of those
structures that have an angle themselves, which is what the reference does one by one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from chggen.potential.chgnet.graph import Graph
from chggen.potential.chgnet.layout import Layout
from chggen.potential.chgnet.ops import Branch, Gate, Linear

_STABLE = 1 - 1e-6  # CHGNet shrinks cosines by this before acos


@dataclass(frozen=True)
class GatedMLP:
    """One gated MLP: its first linear map by input block, then the two branches.

    Args:
        blocks: one [d, 2d] per block of the concatenated input; columns core, gate.
        bias: [2d] of the first map.
        core: the core branch.
        gate: the gate branch.
    """

    blocks: tuple[Tensor, ...]
    bias: Tensor
    core: Branch
    gate: Branch

    @classmethod
    def load(cls, state: Mapping[str, Tensor], prefix: str, n_blocks: int) -> "GatedMLP":
        """Pick the weights of ``prefix``, centred where a layer norm follows."""
        names = [f"{prefix}.mlp_{part}.layers" for part in ("core", "gate")]
        has_hidden = f"{names[0]}.3.weight" in state
        has_norm = f"{prefix}.bn1.weight" in state
        weights, biases, branches = [], [], []
        for name, norm in zip(names, ("bn1", "bn2"), strict=True):
            key, last = (f"{name}.0", False) if has_hidden else (f"{name}.1", True)
            first = _linear(state, key, centre=has_norm and last)
            hidden = _linear(state, f"{name}.3", centre=has_norm) if has_hidden else (None, None)
            affine = [state.get(f"{prefix}.{norm}.{kind}") for kind in ("weight", "bias")]
            weights.append(first[0])
            biases.append(first[1])
            branches.append(Branch(*hidden, *affine))
        weight = torch.cat(weights).T
        blocks = tuple(b.contiguous() for b in weight.chunk(n_blocks))
        return cls(blocks, torch.cat(biases), *branches)

    def __call__(self, pre: Tensor, weight: Tensor | None = None) -> Tensor:
        """Gated rows [R, d] of first-layer outputs [2, R, d], weighted if asked."""
        return Gate.apply(pre, weight, self.core, self.gate)


def _linear(state: Mapping[str, Tensor], key: str, *, centre: bool) -> tuple[Tensor, Tensor]:
    """Weight [out, in] and bias [out]; if asked, less the mean over outputs."""
    weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
    if centre:
        weight, bias = weight - weight.mean(0), bias - bias.mean()
    return weight.contiguous(), bias


def _rows(block: Tensor) -> tuple[Tensor, ...]:
    """A block [in, 2d] as two weights [d, in], core and gate."""
    return tuple(half.contiguous() for half in block.T.chunk(2))


class _Bonds(NamedTuple):
    """Features of the short bonds [K, d], and what output biases added to all bonds [d]."""

    short: Tensor
    drift: Tensor | None


class _Angles(NamedTuple):
    """Features and message weights of the angles, both [A, d]."""

    features: Tensor
    weights: Tensor


class Network:
    """Energies and magnetic moments per atom.

    Args:
        args: ``model_args`` of the checkpoint.
        state: its tensors, on the device and in the precision to compute in.
    """

    def __init__(self, args: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.atom_cutoff = float(args["atom_graph_cutoff"])
        self.bond_cutoff = float(args["bond_graph_cutoff"])
        self.exponent = int(args["cutoff_coeff"])
        self.n_conv = n = int(args["n_conv"])
        self.width = int(args["atom_fea_dim"])
        self.atom_mlps = [
            GatedMLP.load(state, f"atom_conv_layers.{i}.twoBody_atom", 3) for i in range(n)
        ]
        self.bond_mlps = [
            GatedMLP.load(state, f"bond_conv_layers.{i}.twoBody_bond", 4) for i in range(n - 1)
        ]
        # the angles of the last update are never looked at again
        self.angle_mlps = [
            GatedMLP.load(state, f"angle_layers.{i}.twoBody_bond", 4) for i in range(n - 2)
        ]
        self.bond_embedding = state["bond_embedding.weight"].T.contiguous()
        #: what each atom convolution asks of a long bond, from its radial basis
        self.from_basis = [_rows(self.bond_embedding @ mlp.blocks[1]) for mlp in self.atom_mlps]
        self.readout = [
            (state[f"{key}.weight"], state[f"{key}.bias"])
            for key in sorted({k.rsplit(".", 1)[0] for k in state if k.startswith("mlp.layers.")})
        ]

    def __call__(
        self, graph: Graph, layout: Layout, vectors: Tensor, atomic_numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate.

        Args:
            graph: the batch's graph.
            layout: its layout.
            vectors: [U, 3] its bond vectors, Å; energies are differentiable in them.
            atomic_numbers: [N].

        Returns:
            Energy per atom [N], eV, the elemental reference included, and magnetic moment
            per atom [N], Bohr magnetons.
        """
        state = self.state
        species = atomic_numbers.long() - 1
        length = torch.linalg.vector_norm(vectors, dim=1)
        padding = length.new_full((layout.n_bonds - len(length),), self.atom_cutoff)
        basis = self._radial(torch.cat([length, padding]), "ag", self.atom_cutoff)
        weights = Linear.apply(basis, state["bond_weights_ag.weight"])
        atoms = state["atom_embedding.embedding.weight"][species]
        start = basis[graph.short] @ self.bond_embedding
        bonds = _Bonds(start, None)
        angles = None
        if len(graph.left):
            angles = self._angles(graph, layout, vectors, length)
        moments = atoms.new_zeros(len(atoms))
        for i in range(self.n_conv):
            pre = self._edge_terms(
                i, layout, atoms, basis, _Bonds(bonds.short - start, bonds.drift)
            )
            atoms = atoms + self._out("atom", i, layout.to_atoms(self.atom_mlps[i](pre, weights)))
            if i == self.n_conv - 2:
                moments = F.linear(atoms, state["site_wise.weight"], state["site_wise.bias"]).abs()[
                    :, 0
                ]
            if angles is not None and i < self.n_conv - 1:
                bonds = self._update_bonds(i, layout, atoms, bonds, angles)
                if i < self.n_conv - 2:
                    mlp = self.angle_mlps[i]
                    update = mlp(self._angle_terms(mlp, layout, atoms, bonds, angles))
                    angles = _Angles(angles.features + update, angles.weights)
        return self._read_out(atoms) + state["composition_model.fc.weight"][0][species], moments

    def _edge_terms(
        self, i: int, layout: Layout, atoms: Tensor, basis: Tensor, change: _Bonds
    ) -> Tensor:
        """First-layer outputs [2, 2U, d] of atom convolution i over (centre, bond, neighbour).

        ``change`` is by how much the bonds have moved from their initial features.
        """
        d = self.width
        centre, bond, neighbour = self.atom_mlps[i].blocks
        centres = atoms @ centre + self.atom_mlps[i].bias
        if change.drift is not None:
            centres = centres + layout.has_angle * (change.drift @ bond)
        table = torch.cat([centres, atoms @ neighbour, change.short @ bond])
        initial = (Linear.apply(basis, weight) for weight in self.from_basis[i])
        return layout.edges(table.view(-1, d), *initial).view(2, -1, d)

    def _update_bonds(
        self, i: int, layout: Layout, atoms: Tensor, bonds: _Bonds, angles: _Angles
    ) -> _Bonds:
        """Bond convolution i."""
        pre = self._angle_terms(self.bond_mlps[i], layout, atoms, bonds, angles)
        total = layout.to_bonds(self.bond_mlps[i](pre, angles.weights))
        key = f"bond_conv_layers.{i}.mlp_out.layers.1"
        drift, bias = bonds.drift, self.state.get(f"{key}.bias")
        if bias is not None:
            drift = bias if drift is None else drift + bias
        return _Bonds(bonds.short + total @ self.state[f"{key}.weight"].T, drift)

    def _radial(self, length: Tensor, which: str, cutoff: float) -> Tensor:
        """Smoothed Bessel basis [U, n_radial] of bond lengths [U] up to the cutoff."""
        x = (length / cutoff)[:, None]
        p = self.exponent
        power = x**p
        envelope = 1 + power * (-(p + 1) * (p + 2) / 2 + x * (p * (p + 2) - x * (p * (p + 1) / 2)))
        frequencies = self.state[f"bond_basis_expansion.rbf_expansion_{which}.frequencies"]
        return torch.sin(frequencies * x) * (envelope * (math.sqrt(2 / cutoff) / length[:, None]))

    def _angles(self, graph: Graph, layout: Layout, vectors: Tensor, length: Tensor) -> _Angles:
        """Initial features of angles, and the weights of their messages."""
        state, length = self.state, length[graph.short]
        unit = vectors[graph.short] / length[:, None]
        unit = torch.cat([unit, -unit])
        cosine = (unit[graph.left] * unit[graph.right]).sum(1) * _STABLE
        cosine = F.pad(cosine, (0, layout.n_angles - len(cosine)))
        frequencies = state["angle_basis_expansion.fourier_expansion.frequencies"]
        phase = torch.outer(torch.acos(cosine), frequencies)
        constant = torch.full_like(phase[:, :1], math.sqrt(0.5))
        basis = torch.cat([constant, phase.sin(), phase.cos()], 1) / math.sqrt(math.pi)
        features = Linear.apply(basis, state["angle_embedding.weight"])
        weight = self._radial(length, "bg", self.bond_cutoff) @ state["bond_weights_bg.weight"].T
        return _Angles(features, layout.to_bonds.mT(weight) * layout.right_bond(weight))

    def _angle_terms(
        self, mlp: GatedMLP, layout: Layout, atoms: Tensor, bonds: _Bonds, angles: _Angles
    ) -> Tensor:
        """First-layer outputs [2, A, d] of an MLP over (left, right, angle, corner)."""
        short = bonds.short if bonds.drift is None else bonds.short + bonds.drift
        left, right, angle, corner = mlp.blocks
        table = torch.cat([short @ left, short @ right, atoms @ corner + mlp.bias])
        own = (Linear.apply(angles.features, weight) for weight in _rows(angle))
        return layout.angles(table.view(-1, self.width), *own).view(2, -1, self.width)

    def _out(self, kind: str, i: int, total: Tensor) -> Tensor:
        """Output map of a convolution."""
        key = f"{kind}_conv_layers.{i}.mlp_out.layers.1"
        return F.linear(total, self.state[f"{key}.weight"], self.state.get(f"{key}.bias"))

    def _read_out(self, atoms: Tensor) -> Tensor:
        """Energies [N] from the last atom features [N, d]."""
        state = self.state
        if "readout_norm.weight" in state:
            atoms = F.layer_norm(
                atoms, (self.width,), state["readout_norm.weight"], state["readout_norm.bias"]
            )
        for weight, bias in self.readout[:-1]:
            atoms = F.silu(F.linear(atoms, weight, bias))
        return F.linear(atoms, *self.readout[-1])[:, 0]
