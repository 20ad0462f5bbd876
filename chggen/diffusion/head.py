"""Prediction of the noise of a cell from the features of its atoms."""

import torch
from torch import Tensor, nn

from chggen.diffusion.batch import Batch
from chggen.diffusion.convolution import Linear
from chggen.diffusion.settings import NetworkSettings


class CellHead(nn.Module):
    """Noise of the cell from the features of its atoms: [s, 6].

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        scalars, tensors, width = settings.channels[0], settings.channels[2], settings.reciprocal
        self.gate = nn.Sequential(
            Linear(scalars + 2 * settings.embedding, 64), nn.SiLU(), Linear(64, tensors + width)
        )
        self.out = Linear(tensors + width, 1, bias=False)
        self.volume = nn.Sequential(
            Linear(scalars + 2 * settings.embedding, 64), nn.SiLU(), Linear(64, 1)
        )

    def forward(
        self, features: list[Tensor], state: Tensor, shape: Tensor | None, batch: Batch
    ) -> Tensor:
        """Traceless log strain (5) and log volume (1), unit noise.

        Args:
            features: per degree [n, 2l+1, channels].
            state: [s, 2 · embedding] of each crystal.
            shape: [s, 5, width] tensors of the lattice, or None.
            batch: the crystals.
        """
        tensors = features[2]
        if shape is not None:
            tensors = torch.cat([tensors, shape[batch.system]], -1)
        scalars = torch.cat([features[0][:, 0], state[batch.system]], -1)
        strain = batch.mean(tensors * self.gate(scalars)[:, None])
        volume = self.volume(torch.cat([batch.mean(features[0][:, 0]), state], -1))
        return torch.cat([self.out(strain).squeeze(-1), volume], -1)
