"""CHGNet for whole batches, behind torch-sim's model interface."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from chggen.config.contracts import Contract
from chggen.potential.chgnet.graph import Graph, build_graph
from chggen.potential.chgnet.layout import Layout
from chggen.potential.chgnet.network import Network


class CHGNetModel(ModelInterface):  # type: ignore[misc]
    """A CHGNet checkpoint as a torch-sim model.

    One call evaluates a whole batch; every system's result is independent of the others.
    Weights are frozen and no autograd graph outlives a call.

    Args:
        name: name of the checkpoint (``chgnet-0.3.0``).
        args: its ``model_args``.
        weights: its tensors.
        contract: what its energies may be compared with.
        digest: hash of its weights.
        device: where to compute.
        dtype: precision of the network; states must have it too.
        elements: atomic numbers that it was trained on.
    """

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        *,
        contract: Contract,
        digest: str,
        device: torch.device,
        dtype: torch.dtype,
        elements: frozenset[int] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.contract = contract
        self.hash = digest
        self.elements = elements
        self._device = device
        self._dtype = dtype
        self._compute_stress = True
        self._compute_forces = True
        state = {k: v.detach().to(device, dtype) for k, v in weights.items()}
        self.network = Network(args, state)

    @property
    def cutoff(self) -> float:
        """Longest bond of the atom graph, Å."""
        return self.network.atom_cutoff

    def graph(self, state: SimState) -> Graph:
        """Graph of a batch."""
        return build_graph(
            state.positions.detach(),
            state.row_vector_cell.detach(),
            state.system_idx,
            atom_cutoff=self.network.atom_cutoff,
            bond_cutoff=self.network.bond_cutoff,
        )

    @torch.no_grad()
    def energies(self, state: SimState) -> Tensor:
        """Energies [S] in eV, without the cost of forces."""
        graph = self.graph(state)
        per_atom, _ = self.network(graph, Layout.of(graph), graph.vectors, state.atomic_numbers)
        return per_atom.new_zeros(graph.n_systems).index_add_(0, graph.system_idx, per_atom)

    def forward(self, state: SimState, **_kwargs: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Evaluate a batch.

        Returns:
            energy [S] eV, forces [N, 3] eV/Å, stress [S, 3, 3] eV/Å³ (positive =
            tension), magmoms [N] Bohr magnetons, min_distance [S] Å (shortest bond; the
            cutoff where there is none), isolated [S] (true where an atom has no
            neighbour within the cutoff: its energy is that of the atom with no messages).
        """
        graph = self.graph(state)
        vectors = graph.vectors.requires_grad_()
        with torch.enable_grad():
            energies, moments = self.network(graph, Layout.of(graph), vectors, state.atomic_numbers)
            gradient = torch.zeros_like(vectors)
            if len(vectors):
                (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        energies, vectors = energies.detach(), vectors.detach()
        n_systems, system = graph.n_systems, graph.system_idx
        forces = torch.zeros_like(state.positions)
        forces.index_add_(0, graph.first, gradient, alpha=-1)
        forces.index_add_(0, graph.second, gradient)
        # a strain moves every bond vector as it moves space: dE/dstrain = sum v (x) dE/dv
        products = (vectors[:, :, None] * gradient[:, None, :]).view(-1, 9)
        virial = forces.new_zeros(n_systems, 9).index_add_(0, graph.bond_system, products)
        virial = virial.view(-1, 3, 3)
        volume = torch.linalg.det(state.cell).abs()[:, None, None]
        isolated = torch.zeros(n_systems, dtype=torch.bool, device=forces.device)
        isolated[system[graph.isolated_atoms]] = True
        shortest = forces.new_full((n_systems,), self.cutoff)
        shortest.scatter_reduce_(
            0, graph.bond_system, torch.linalg.vector_norm(vectors, dim=1), "amin"
        )
        return {
            "energy": energies.new_zeros(n_systems).index_add_(0, system, energies),
            "forces": forces,
            "stress": (virial + virial.mT) / (2 * volume),
            "magmoms": moments.detach(),
            "min_distance": shortest,
            "isolated": isolated,
        }
