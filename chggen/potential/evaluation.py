"""A potential called on batches: in smaller ones if memory ends, one by one if it refuses."""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch_sim.state import SimState

from chggen.compute.packing import fitting

_LOGGER = logging.getLogger("chggen.potential")

#: What errors of other libraries say when memory has ended, in lower case.
MEMORY_WORDS = ("out of memory", "can't allocate memory", "failed to allocate")

Output = Mapping[str, Tensor]


class Potential(Protocol):
    """What a potential must do here; torch-sim's ModelInterface does."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the states it takes."""

    def __call__(self, state: SimState) -> Output:
        """Energy [S], forces [N, 3], stress [S, 3, 3] of a batch.

        Optional: ``min_distance`` [S], Å, and ``isolated`` [S] (an atom has no neighbour).
        """


class Evaluator:
    """Calls of a potential that survive what goes wrong in some of them.

    Args:
        potential: what to call.
        limit: most weight (atoms) in a call; halves whenever memory ends.
        warn: called with a line when it halves, which is also logged.
    """

    def __init__(
        self, potential: Potential, limit: float, warn: Callable[[str], None] | None = None
    ) -> None:
        self.potential = potential
        self.limit = limit
        self._warn = warn

    def __call__(self, state: SimState, weights: Sequence[float]) -> tuple[Output, dict[int, str]]:
        """Evaluate a batch.

        Args:
            state: the batch.
            weights: what each structure counts for against the limit.

        Returns:
            The output, NaN for structures that the potential refused; and what it said of
            those. A structure too large for the memory all by itself is one of them.
        """
        parts: list[Output] = []
        errors: dict[int, str] = {}
        first, alone = 0, 0  # up to row ``alone`` structures go one by one
        while first < len(weights):
            last = first + 1 if first < alone else fitting(weights, self.limit, first)
            whole = last - first == len(weights)
            batch = state if whole else state[list(range(first, last))]
            message, memory = "", False
            try:
                parts.append(self.potential(batch))
            except (RuntimeError, MemoryError) as error:
                message = str(error).partition("\n")[0] or type(error).__name__
                memory = memory_ended(error)
            # outside of the handler: the error's traceback holds the failed call's tensors
            if memory:
                _free()
            if message and last - first > 1:
                if memory:
                    self._halve(sum(weights[first:last]))
                else:
                    alone = last
                continue
            if message:
                parts.append(_nothing(batch))
                errors[first] = message
            first = last
        keys = [key for key in _KEYS if all(key in part for part in parts)]
        return {key: torch.cat([part[key] for part in parts]) for key in keys}, errors

    def _halve(self, load: float) -> None:
        self.limit = load / 2
        text = f"out of memory with {load:.0f} atoms; at most {self.limit:.0f} at once from here on"
        _LOGGER.warning(text)
        if self._warn is not None:
            self._warn(text)


_KEYS = ("energy", "forces", "stress", "min_distance", "isolated")


def memory_ended(error: Exception) -> bool:
    """Whether an error says that there is no memory left."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error).lower() for words in MEMORY_WORDS)


def _free() -> None:
    """Give back what the failed call has left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _nothing(state: SimState) -> Output:
    """Output of structures without one."""
    nan = torch.full_like(state.cell, torch.nan)
    return {
        "energy": nan[:, 0, 0],
        "forces": torch.full_like(state.positions, torch.nan),
        "stress": nan,
        "min_distance": nan[:, 0, 0],
        "isolated": torch.zeros_like(nan[:, 0, 0], dtype=torch.bool),
    }
