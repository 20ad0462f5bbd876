"""Volume per atom of a composition: a small ensemble of networks, evaluated with numpy.

A composition is a set of elements with fractions. The initial state of an element is an
embedding plus a linear map of its tabulated properties. Three rounds of pair messages,
weighted by the fractions (after Goodall & Lee, Nat. Commun. 11, 6280 (2020)), update it with
the states of the other elements. The output is the logarithm of the atomic volume of the
element in this composition. The prediction is the mean over elements, weighted by fraction,
and over the ensemble; a formula and its multiples have the same value. The model is trained
by :func:`chggen.cells.volume_training.train` on the structure nearest to the hull per formula
of the Materials Project (CC BY 4.0, Jain et al., APL Materials 1, 011002 (2013));
``pretrained/volume.json`` is its card.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chggen.errors import CheckpointError, CompositionError
from chggen.provenance import PACKAGE
from chggen.structure.composition import ATOMIC_NUMBERS, canonical_formula, parse_formula

#: The packaged model; its card is ``volume.json`` in the same folder.
PRETRAINED: Final = PACKAGE / "pretrained" / "volume.safetensors"
#: Elements in fewer training formulas than this are reported as unknown.
MIN_FORMULAS: Final = 20
#: Rounds of pair messages.
LAYERS: Final = 3
#: Compositions per batch, so that the pair array stays below about 50 MB.
_CHUNK: Final = 256

#: Tensors of a model file. The first axis of weights is the member of the ensemble.
TENSORS: Final = (
    "element.properties",  # [103 + 1, properties], standardised; row = atomic number
    "element.formulas",  # [103 + 1] training formulas with the element
    "element.volume",  # [members, 103 + 1] log volume, additive part
    "element.embedding",  # [members, 103 + 1, width]
    "properties.weight",  # [members, properties, width]
    *(f"message.{i}.{part}" for i in range(LAYERS) for part in ("in", "bias", "out", "shift")),
    "head.in",
    "head.bias",
    "head.out",
)


@dataclass(frozen=True)
class VolumeEstimate:
    """Expected volume of a composition in its ground state.

    Args:
        volume_per_atom: Å³.
        spread: relative standard deviation over the ensemble. It indicates uncertainty but
            is not an error bar: the card has the errors on held-out formulas.
        elements_unknown: elements with fewer than ``MIN_FORMULAS`` formulas in the training
            data.
    """

    volume_per_atom: float
    spread: float
    elements_unknown: tuple[str, ...]


def predict_volume_per_atom(composition: str, model: Path = PRETRAINED) -> VolumeEstimate:
    """Volume per atom of a formula (any multiple, any order, brackets allowed).

    Raises:
        CompositionError: it is not a formula, or has an element that is not in the data.
        CheckpointError: the model file is missing or damaged.
    """
    return predict_volumes([composition], model)[0]


def predict_volumes(compositions: Sequence[str], model: Path = PRETRAINED) -> list[VolumeEstimate]:
    """Volume per atom of many formulas; as :func:`predict_volume_per_atom`, faster."""
    weights = load_model(model)
    formulas = [canonical_formula(c) for c in compositions]
    counts = weights["element.formulas"]
    for formula in formulas:
        missing = [s for s in parse_formula(formula) if not counts[ATOMIC_NUMBERS[s]]]
        if missing:
            raise CompositionError(
                f"the volume model was not trained on {', '.join(missing)} (in {formula}):"
                " set volume_per_atom"
            )
    logs = np.zeros((len(weights["head.out"]), len(formulas)))
    for index, z, fractions in batches(formulas, _CHUNK):
        logs[:, index] = log_volumes(weights, z, fractions, np)
    return [
        VolumeEstimate(
            volume_per_atom=float(np.exp(log.mean())),
            spread=float(log.std()),
            elements_unknown=tuple(
                s for s in parse_formula(f) if counts[ATOMIC_NUMBERS[s]] < MIN_FORMULAS
            ),
        )
        for f, log in zip(formulas, logs.T, strict=True)
    ]


@cache
def load_model(path: Path) -> Mapping[str, NDArray[Any]]:
    """Tensors of a model file; raises :class:`CheckpointError` if it is not a model file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable volume model ({error})") from error
    if set(weights) != set(TENSORS):
        raise CheckpointError(f"{path}: not a volume model of this version")
    return weights


def batches(
    formulas: Sequence[str], most: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Reduced formulas, grouped by their number of elements, so that none needs padding.

    Returns:
        (places in ``formulas`` [b], atomic numbers [b, k], fractions [b, k]) with b at
        most ``most``.
    """
    groups: dict[int, list[int]] = {}
    parsed = [parse_formula(f) for f in formulas]
    for i, counts in enumerate(parsed):
        groups.setdefault(len(counts), []).append(i)
    result = []
    for group in groups.values():
        for start in range(0, len(group), most):
            index = group[start : start + most]
            z = np.array([[ATOMIC_NUMBERS[s] for s in parsed[i]] for i in index])
            n = np.array([list(parsed[i].values()) for i in index], dtype=np.float64)
            fractions = (n / n.sum(1, keepdims=True)).astype(np.float32)
            result.append((np.array(index), z, fractions))
    return result


def log_volumes(weights: Mapping[str, Any], z: Any, fractions: Any, lib: Any) -> Any:  # noqa: ANN401
    """Log volume per atom, [members, b]: the network, for numpy and torch alike.

    Args:
        weights: the tensors of :data:`TENSORS`.
        z: atomic numbers [b, k], no repeats in a row.
        fractions: atomic fractions [b, k].
        lib: the library of the arrays, ``numpy`` or ``torch``.
    """
    w = fractions[None, :, :, None]
    state = (
        weights["element.embedding"][:, z]
        + weights["element.properties"][z] @ weights["properties.weight"][:, None]
    )
    width = state.shape[-1]
    for i in range(LAYERS):
        into = weights[f"message.{i}.in"][:, None]
        # the first layer of the pair network is linear in receiver and sender, so that
        # their sum, and not their concatenation, is computed for every pair
        receiver = state @ into[:, :, :width] + w * into[:, :, -2:-1]
        sender = state @ into[:, :, width : 2 * width] + w * into[:, :, -1:]
        pairs = receiver[:, :, :, None] + sender[:, :, None]
        hidden = silu(pairs + weights[f"message.{i}.bias"][:, None, None, None], lib)
        message = (hidden * fractions[None, :, None, :, None]).sum(3)
        shift = weights[f"message.{i}.shift"][:, None, None]
        state = state + message @ weights[f"message.{i}.out"][:, None] + shift
    into = weights["head.in"][:, None]
    hidden = state @ into[:, :, :-1] + w * into[:, :, -1:]
    hidden = silu(hidden + weights["head.bias"][:, None, None], lib)
    log = (hidden @ weights["head.out"][:, None])[..., 0] + weights["element.volume"][:, z]
    return (log * fractions[None]).sum(2)


def silu(x: Any, lib: Any) -> Any:  # noqa: ANN401
    """Return x · sigmoid(x), computed with tanh, which does not overflow."""
    return 0.5 * x * (1.0 + lib.tanh(0.5 * x))
