"""Potentials by name: from the wheels that carry them, or what the config defines.

CHGNet weights are tensors and plain values only. No code in a file can run: safetensors
have none, and torch's restricted unpickler (``weights_only``) refuses it.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from chggen.compute.devices import chosen
from chggen.config.contracts import NOT_IN_MPTRJ, POTENTIALS, SEVENNETS
from chggen.config.dispersion import split
from chggen.config.energies import (
    PotentialConfig,
    Potentials,
    check_potential,
    missing_named,
    model_args,
)
from chggen.errors import CheckpointError, ConfigError
from chggen.potential.chgnet.model import CHGNetModel
from chggen.potential.dispersion import Dispersed
from chggen.potential.foreign import ForeignModel, load_foreign
from chggen.potential.interface import NamedPotential
from chggen.potential.sevennet import load_from_wheel
from chggen.provenance import digest
from chggen.structure.composition import ATOMIC_NUMBERS

#: File of each checkpoint, below ``chgnet/pretrained``.
FILES: Final = {
    "chgnet-0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "chgnet-r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}


#: No potentials but those in the wheel.
NONE_OWN: Final[Potentials] = MappingProxyType({})
_UNREADABLE = (OSError, RuntimeError, LookupError, TypeError, UnpicklingError, SafetensorError)


def load_named(
    name: str,
    potentials: Potentials = NONE_OWN,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> NamedPotential:
    """Load any potential that a config can name.

    Args:
        name: a key of :data:`chggen.config.contracts.POTENTIALS` or of ``potentials``; with
            ``+d3bj`` at its end D3(BJ) is added.
        potentials: section ``potentials`` of the config.
        device: where to compute; None for :func:`chggen.compute.devices.chosen`.
        precision: ``float32`` or ``float64``, of CHGNets; others have an option of their own,
            SevenNets float32 only.

    Raises:
        CheckpointError: for an unknown name, a missing package or an unfit file.
        ConfigError: dispersion is asked for, and the functional has no parameters.
    """
    device = chosen() if device is None else device
    name, dispersion = split(name)
    if dispersion != "none":
        return Dispersed(load_named(name, potentials, device, precision))
    if name in SEVENNETS:
        missing = missing_named(name)
        if missing:
            raise CheckpointError(f"potential '{name}': {missing}")
        model, found, elements = load_from_wheel(name, torch.device(device))
        return ForeignModel(name, model, SEVENNETS[name], found, elements)
    if name in FILES or name not in potentials:
        return load_potential(name, device, precision, known=(*POTENTIALS, *potentials))
    definition = potentials[name]
    try:
        check_potential(definition)
    except ConfigError as error:
        raise CheckpointError(f"potential '{name}': {error}") from error
    if definition.kind == "chgnet":
        return _own_chgnet(name, definition, torch.device(device), precision)
    return load_foreign(name, definition, torch.device(device))


def load_potential(
    name: str,
    device: str | torch.device | None = None,
    precision: str = "float32",
    known: tuple[str, ...] = tuple(FILES),
) -> CHGNetModel:
    """Load a CHGNet of the wheel.

    Args:
        name: a key of :data:`chggen.config.contracts.POTENTIALS`.
        device: where to compute; None for :func:`chggen.compute.devices.chosen`.
        precision: ``float32``, in which the weights were trained, or ``float64``.
        known: names to tell who asks for another.

    Raises:
        CheckpointError: for an unknown name or a file that cannot be read.
    """
    if name not in FILES:
        raise CheckpointError(f"unknown potential '{name}', known: {', '.join(known)}")
    args, weights = read_checkpoint(name)
    return CHGNetModel(
        name,
        args,
        weights,
        contract=POTENTIALS[name],
        digest=weights_digest(weights),
        device=chosen() if device is None else torch.device(device),
        dtype=getattr(torch, precision),
        elements=trained_elements(weights),
    )


def _own_chgnet(
    name: str, definition: PotentialConfig, device: torch.device, precision: str
) -> CHGNetModel:
    """A user's checkpoint; its hash covers the arguments too, which set the cutoffs."""
    path = definition.path or Path()
    try:
        if path.suffix == ".safetensors":
            args, weights = model_args(path), load_tensors(path.read_bytes())
        else:
            args, weights = _read_saved(path)
        return CHGNetModel(
            name,
            args,
            weights,
            contract=definition.contract,
            digest=digest({"weights": weights_digest(weights), "model_args": args}),
            device=device,
            dtype=getattr(torch, precision),
            elements=trained_elements(weights),
        )
    except _UNREADABLE as error:
        line = str(error).partition("\n")[0]
        raise CheckpointError(
            f"potential '{name}': '{path}' is not a usable CHGNet checkpoint ({line})"
        ) from error


_NO_ENERGY: Final = 1e-6  # eV/atom; that of an element of the data is of the order of 1
_EMBEDDING: Final = "atom_embedding.embedding.weight"


def trained_elements(weights: Mapping[str, Tensor]) -> frozenset[int]:
    """Atomic numbers that a CHGNet was trained on.

    The embedding has a row for each of 94 elements. An element is left out if its row is still
    that of a checkpoint of the wheel which was not trained on it, or if the sum over elements
    that the network adds to (``composition_model``) gives it no energy at all.

    Args:
        weights: tensors of any CHGNet checkpoint.
    """
    rows = weights[_EMBEDDING]
    known = set(range(1, len(rows) + 1))
    for name in FILES:
        base = read_checkpoint(name)[1][_EMBEDDING]
        known -= {
            z
            for z in map(ATOMIC_NUMBERS.__getitem__, NOT_IN_MPTRJ)
            if z <= len(rows) and torch.equal(rows[z - 1], base[z - 1])
        }
    energies = weights.get("composition_model.fc.weight")
    if energies is not None:
        known -= {z for z, e in enumerate(energies.flatten().tolist(), 1) if abs(e) < _NO_ENERGY}
    return frozenset(known)


def read_checkpoint(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Model arguments and tensors of a checkpoint.

    The files hold tensors and plain values only, so that torch's restricted unpickler
    (``weights_only``) reads them and no code in them could run.

    Raises:
        CheckpointError: if the file is missing or holds anything else.
    """
    try:
        with as_file(files("chgnet") / "pretrained" / FILES[name]) as path:
            return _read_saved(path)
    except (OSError, RuntimeError, KeyError, ModuleNotFoundError, UnpicklingError) as error:
        raise CheckpointError(f"cannot read the weights of {name}: {error}") from error


def _read_saved(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and tensors of a file that chgnet's ``save`` or trainer wrote."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    saved = saved.get("model", saved)
    return dict(saved["model_args"]), dict(saved["state_dict"])


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over names and values in the order of the names, first 16 hex digits."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
