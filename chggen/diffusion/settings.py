"""Settings of score network and training, as stored in the card of a checkpoint."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSettings(_Settings):
    """Architecture of a :class:`~chggen.diffusion.network.ScoreNetwork`."""

    channels: tuple[int, ...] = (64, 32, 16)  # multiplicity of l = 0, 1, 2, … (parity (-1)^l)
    layers: int = 3
    cutoff: float = 5.0  # Å
    neighbours: int = 24  # nearest neighbours kept; the envelope ends smoothly at the next
    radial_basis: int = 12
    radial_hidden: int = 64
    embedding: int = 32  # width of element and of noise-level embedding
    condition: int = 64  # width of the per-atom state that conditions the radial weights
    sigma_conditioning: bool = True  # False: the paper's s = f(x) / σ
    cell: bool = False  # also predicts the noise of the cell (joint diffusion)
    reciprocal: int = 0  # learned scalars per layer in reciprocal space; 0: none


class TrainingSettings(_Settings):
    """Denoising score matching: noise levels, optimiser, schedule."""

    sigma_range: tuple[float, float] = (0.004, 5.0)  # Å, log-uniform …
    sigma_core: tuple[float, float] = (0.02, 2.5)  # … with most of the weight in here
    core_share: float = 0.75
    mask_share: float = 0.25  # structures trained with clean hosts (conditional inpainting)
    # noise of the cell (log strain), for networks with a head for it:
    cell_share: float = 0.6  # of the structures without clean hosts
    cell_ratio: tuple[float, float] = (0.08, 0.5)  # σ_L = σ (in Å) times this, log-uniform …
    cell_most: float = 0.35  # … and at most this
    cell_apart: float = 0.25  # share of them whose σ_L does not depend on σ
    cell_weight: float = 0.5  # of the loss of the cell
    learning_rate: float = 3e-3
    optimiser: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 100
    decay_share: float = 0.4  # last part of training, in which the rate decays to zero
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    batch_atoms: int = 384
    bfloat16: bool = False  # products in bfloat16, weights and geometry in single precision
    seed: int = 0


class Preset(_Settings):
    """Settings of a network and of its training."""

    network: NetworkSettings = Field(default_factory=NetworkSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)


#: ``default``: the packaged network; ``small``: half its cost per call, a start for other data;
#: ``paper``: the network of the original work (method.md §2);
#: ``tiny``: trains in seconds on a laptop, for tests and first steps.
PRESETS: Final[dict[str, Preset]] = {
    "default": Preset(
        network=NetworkSettings(channels=(96, 48, 24), layers=4, cell=True, reciprocal=32),
        training=TrainingSettings(
            sigma_range=(0.005, 5.0),
            sigma_core=(0.03, 1.6),
            core_share=0.9,
            learning_rate=2e-3,
            bfloat16=True,
        ),
    ),
    "small": Preset(),
    "paper": Preset(
        network=NetworkSettings(
            cutoff=7.0,
            neighbours=60,
            radial_basis=8,
            radial_hidden=64,
            sigma_conditioning=False,
        ),
        training=TrainingSettings(
            sigma_range=(0.001, 10.0),
            core_share=0.0,
            mask_share=0.0,
            learning_rate=1e-3,
            optimiser="adam",
            weight_decay=0.0,
            betas=(0.9, 0.999),
            gradient_clip=0.1,
        ),
    ),
    "tiny": Preset(
        network=NetworkSettings(
            channels=(16, 8), layers=2, neighbours=12, radial_hidden=16, condition=16, embedding=8
        ),
        training=TrainingSettings(batch_atoms=128),
    ),
}
