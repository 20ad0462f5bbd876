"""Generator ``diffusion``: reverse diffusion with a score network."""

from collections.abc import Sequence

from chggen.compute.devices import chosen
from chggen.config.stages import GenerateConfig, InpaintConfig
from chggen.diffusion.card import require_cell_head
from chggen.diffusion.checkpoint import load_network
from chggen.diffusion.generation import sample
from chggen.diffusion.sampler import make_sampler
from chggen.structure.task import Placed, Progress, Task


class DiffusionGenerator:
    """Places atoms with the network and sampler of section ``generate`` or ``inpaint``.

    Attributes:
        inputs: hash of the network's weights, with the key ``checkpoint``.
    """

    name = "diffusion"

    def __init__(self, settings: GenerateConfig | InpaintConfig) -> None:
        network, card = load_network(settings.checkpoint)
        if isinstance(settings, GenerateConfig) and settings.lattice.joint:
            require_cell_head(card, f"generate.checkpoint = '{settings.checkpoint}'")
        self._network = network.to(chosen())
        self._sampler = make_sampler(settings.sampler, getattr(settings, "resampling", 3))
        self._batch_atoms = settings.batch_atoms
        self.inputs = {"checkpoint": str(card["hash"])}

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Sample every task, in order."""
        return sample(tasks, self._network, self._sampler, self._batch_atoms, progress)
