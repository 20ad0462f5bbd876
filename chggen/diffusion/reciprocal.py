"""Messages in reciprocal space: what every atom knows of the whole cell, at any distance.

A local network with a few dozen neighbours does not see the shape of a cell, nor how the
cell repeats. Both are in the structure factors of learned scalars at the shortest reciprocal
lattice vectors G: ρ(G) = Σ_j v_j exp(iG·r_j) / √N (Ewald message passing; Kosmala et al.,
arXiv:2303.04791). An atom receives Σ_G w_l(|G|) Y_l(G) times the even part (l = 0, 2) or the
odd part (l = 1) of ρ(G) exp(-iG·r_i). Without the atoms the same sums describe the lattice
alone. All depends on G only through |G| and Y_l(G), and on positions only through G·r, so
it is equivariant and the same for any choice of the cell vectors; weights go smoothly to
zero at the cutoff, so it is continuous in the cell.
"""

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from chggen.diffusion.batch import Batch
from chggen.diffusion.convolution import Linear
from chggen.diffusion.waves import CUTOFF, REACH, Waves

_BASIS = 12  # Gaussians on |G|


def _window(x: Tensor) -> Tensor:
    """Smooth from 1 at 0 to 0 at 1."""
    return torch.where(x < 1, (1 - x.square()).clamp_min(0).square(), 0.0)


def _gaussians(x: Tensor, most: float) -> Tensor:
    centres = torch.linspace(0, most, _BASIS, device=x.device, dtype=x.dtype)
    return torch.exp(-(((x[..., None] - centres) * _BASIS / most) ** 2) / 2)


class Shape(nn.Module):
    """Tensors that describe the lattice alone, per degree [s, 2l+1, channels], l = 0 and 2.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.radial = nn.Sequential(Linear(2 * _BASIS, 64), nn.SiLU(), Linear(64, 2 * width))

    def forward(self, waves: Waves, harmonics: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the reciprocal lattice.

        Args:
            waves: reciprocal lattice vectors.
            harmonics: [s, g, 5] of degree 2.
        """
        scaled = waves.length * waves.volume[:, None] ** (1 / 3)
        window = _window(scaled / REACH) * waves.used
        basis = torch.cat([_gaussians(scaled, REACH), _gaussians(waves.length, CUTOFF)], -1)
        weight = self.radial(basis) * window[..., None] / 4
        even, tensor = weight.chunk(2, -1)
        return even.sum(1)[:, None], torch.bmm(harmonics.mT, tensor)


class Structure(nn.Module):
    """Structure factors and their sums at every atom.

    Args:
        channels: of the degrees 0, 1 and 2 of the features.
        width: learned scalars per atom.
        condition: width of the state of a crystal that the weights depend on.
    """

    def __init__(self, channels: tuple[int, ...], width: int, condition: int) -> None:
        super().__init__()
        self.width = width
        self.value = Linear(channels[0], width, bias=False)
        self.radial_in = Linear(_BASIS, 64)
        self.condition = Linear(condition, 64)
        self.radial_out = Linear(64, 3 * width)
        self.out = nn.ModuleList(Linear(width, c, bias=False) for c in channels[:3])
        for linear in self.out:
            assert isinstance(linear, nn.Linear)  # noqa: S101
            nn.init.zeros_(linear.weight)

    def forward(
        self,
        scalars: Tensor,
        state: Tensor,
        batch: Batch,
        waves: Waves,
        harmonics: list[Tensor],
    ) -> list[Tensor]:
        """Changes of the features per degree, [n, 2l+1, channels].

        Args:
            scalars: [n, channels].
            state: [s, condition] of each crystal.
            batch: the crystals.
            waves: their reciprocal lattice vectors.
            harmonics: per degree l [s, g, 2l+1].
        """
        cosine, sine = waves.cosine, waves.sine
        values = waves.padded(self.value(scalars)) / batch.sizes.to(scalars.dtype).sqrt().view(
            -1, 1, 1
        )
        real, imaginary = torch.bmm(cosine.mT, values), torch.bmm(sine.mT, values)
        hidden = self.radial_in(_gaussians(waves.length, CUTOFF)) + self.condition(state)[:, None]
        weight = self.radial_out(functional.silu(hidden))
        weight = weight * (_window(waves.length / CUTOFF) * waves.used)[..., None]
        # normalised by the number of waves, which is proportional to the volume
        weight = weight * (8.0 / waves.volume.view(-1, 1, 1)).sqrt()
        changes = []
        for degree, part in enumerate(weight.chunk(3, -1)):
            first, second = (real, imaginary) if degree != 1 else (imaginary, -real)
            # [s, g, (2l+1) · width]
            left = (harmonics[degree][..., None] * (part * first)[:, :, None]).flatten(2)
            right = (harmonics[degree][..., None] * (part * second)[:, :, None]).flatten(2)
            total = torch.bmm(cosine, left) + torch.bmm(sine, right)
            atoms = waves.unpadded(total).view(len(scalars), 2 * degree + 1, self.width)
            changes.append(self.out[degree](atoms))
        return changes


def harmonics(waves: Waves) -> list[Tensor]:
    """Spherical harmonics of G per degree 0, 1, 2: [s, g, 2l+1]."""
    # a padded vector has no direction; its weight is zero
    vectors = waves.vectors + (~waves.used)[..., None].to(waves.vectors.dtype)
    found = o3.spherical_harmonics([0, 1, 2], vectors, True, "component")  # noqa: FBT003
    return list(found.split([1, 3, 5], -1))
