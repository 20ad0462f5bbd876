"""Potentials of other packages, through the models that torch-sim has for them.

Imports are made where a model is built: none of these packages is a dependency. Their
weight files are read by their own loaders, which (unlike ours, and unlike ours for
SevenNet) may unpickle; the config therefore names a local file, and nothing is ever
downloaded.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch_sim.state import SimState

from chggen.compute.neighbours import neighbour_list, overflow_error, torch_sim_list
from chggen.config.contracts import Contract
from chggen.config.energies import PotentialConfig
from chggen.errors import CheckpointError
from chggen.potential.interface import CUTOFF
from chggen.provenance import digest, file_digest

_NEEDED = ("energy", "forces", "stress")
#: What models raise for a structure they cannot take, as with an element they do not know.
_REFUSALS = (ArithmeticError, AssertionError, LookupError, ValueError)
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)


class ForeignModel:
    """Another package's torch-sim model, made to behave like those of this one.

    It adds what torch-sim models do not tell (shortest distances, isolated atoms), and
    turns what they raise for a structure into the ``RuntimeError`` that fails one row.

    Args:
        name: in the config.
        model: torch-sim's ModelInterface.
        contract: what its energies may be compared with, as the config says.
        digest: hash of its weights or settings.
        elements: atomic numbers that it knows; None if it refuses by itself what it does not.
    """

    def __init__(
        self,
        name: str,
        model: Any,  # noqa: ANN401
        contract: Contract,
        digest: str,
        elements: frozenset[int] | None = None,
    ) -> None:
        self.name = name
        self.contract = contract
        self.hash = digest
        self.elements = elements
        self._model = model

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the states it takes."""
        return self._model.dtype

    def __call__(self, state: SimState) -> Mapping[str, Tensor]:
        """Evaluate a batch.

        Returns:
            energy [S] eV, forces [N, 3] eV/Å, stress [S, 3, 3] eV/Å³ (positive =
            tension), min_distance [S] Å (the cutoff where no pair is closer), isolated
            [S] (an atom has no neighbour within :data:`~chggen.potential.interface.CUTOFF`).

        Raises:
            CheckpointError: the model gives no forces or no stress at all.
        """
        output = self._evaluate(state)
        lacking = [key for key in _NEEDED if key not in output]
        if lacking:
            raise CheckpointError(f"potential '{self.name}' returns no {lacking[0]}")
        kept = {key: output[key].detach() for key in _NEEDED}
        return kept | _distances(state)

    def energies(self, state: SimState) -> Tensor:
        """Energies [S] in eV; torch-sim models compute forces with them."""
        return self._evaluate(state)["energy"].detach()

    def _evaluate(self, state: SimState) -> Mapping[str, Tensor]:
        try:
            with torch.enable_grad():  # for forces by autograd
                return self._model(state)
        # models that bring a neighbour list of their own may overflow it
        except (*_REFUSALS, overflow_error()) as error:
            raise RuntimeError(_line(error)) from error


def _distances(state: SimState) -> dict[str, Tensor]:
    """Shortest distance and presence of isolated atoms, per system."""
    cells, system = state.row_vector_cell.detach(), state.system_idx
    centre, _, vectors = neighbour_list(state.positions.detach(), cells, system, CUTOFF)
    shortest = cells.new_full((len(cells),), CUTOFF)
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    shortest.scatter_reduce_(0, system[centre], lengths, "amin")
    lonely = torch.ones(len(system), dtype=torch.bool, device=system.device)
    lonely[centre] = False
    isolated = torch.zeros(len(cells), dtype=torch.bool, device=system.device)
    isolated[system[lonely]] = True
    return {"min_distance": shortest, "isolated": isolated}


def load_foreign(name: str, definition: PotentialConfig, device: torch.device) -> ForeignModel:
    """Model of a definition in the config.

    Args:
        name: under which the config defines it.
        definition: kind, file and options.
        device: where it computes.


    Raises:
        CheckpointError: package or file cannot be used, in one line.
    """
    try:
        model = _build(definition, device)
        facts: dict[str, Any] = {"kind": definition.kind, "options": definition.options}
        if definition.path is not None:
            facts["weights"] = file_digest(definition.path)
    except _UNREADABLE as error:
        source = f"'{definition.path}'" if definition.path else "its options"
        raise CheckpointError(
            f"potential '{name}': {definition.kind} cannot use {source}: {_line(error)}"
        ) from error
    return ForeignModel(name, model, definition.contract, digest(facts))


def _build(definition: PotentialConfig, device: torch.device) -> Any:  # noqa: ANN401
    """torch-sim's model of a kind, on the signatures of its version 0.6."""
    options, path = dict(definition.options), str(definition.path)
    dtype = getattr(torch, options.pop("precision", "float32"))
    match definition.kind:
        case "lennard-jones":
            from torch_sim.models.lennard_jones import LennardJonesModel

            return LennardJonesModel(
                **options,
                device=device,
                dtype=torch.float64,
                compute_stress=True,
                neighbor_list_fn=torch_sim_list,
            )
        case "mace":
            from mace.calculators.mace_torchsim import MaceTorchSimModel

            return MaceTorchSimModel(path, device=device, dtype=dtype, **options)
        case "sevennet":
            from chggen.potential.sevennet import build, read

            return build(read(definition.path or Path()), options.get("modal"), device)
        case "orb":
            from orb_models.forcefield import pretrained
            from torch_sim.models.orb import OrbModel

            make = getattr(pretrained, options["architecture"])
            precision = "float64" if dtype is torch.float64 else "float32-high"
            model, adapter = make(
                weights_path=path, device=device, precision=precision, compile=False
            )
            return OrbModel(model, adapter, device=device, dtype=dtype)
        case "mattersim":
            from mattersim.forcefield import Potential
            from mattersim.torchsim import TorchSimWrapper

            model = Potential.from_checkpoint(path, device=str(device))
            return TorchSimWrapper(model, device=device)
        case _:
            return _build_untested(definition.kind, path, options, device, dtype)


def _build_untested(
    kind: str,
    path: str,
    options: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
) -> Any:  # noqa: ANN401
    """Models that were never run here.

    Written against the signatures of nequix 0.4, nequip 0.19, metatomic-torchsim 0.1,
    fairchem-core 2.24 and matris 1.0.
    """
    match kind:
        case "nequix":
            from nequix.torch_sim import NequixTorchSimModel

            # its kernels are for CUDA
            return NequixTorchSimModel(path, device.type == "cuda", device=device, dtype=dtype)
        case "nequip":
            from nequip.integrations.torchsim import NequIPTorchSimCalc

            return NequIPTorchSimCalc.from_compiled_model(path, device=device)
        case "metatomic":
            from metatomic_torchsim import MetatomicModel

            return MetatomicModel(path, device=device)
        case "fairchem":
            from fairchem.core.calculate.torchsim_interface import FairChemModel

            return FairChemModel(
                path, device=device, compute_stress=True, task_name=options.get("task")
            )
        case "matris":
            from matris.applications.torchsim import MatRISTorchSimModel

            return MatRISTorchSimModel(path, device=device)
    raise ValueError(f"kind '{kind}' is not a torch-sim potential")


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
