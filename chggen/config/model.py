"""The typed configuration: one documented key for every choice.

Pydantic models hold keys, types, limits and meanings; the JSON schema and
``config/README.md`` are generated from them (a test fails on drift). Nothing here
imports torch or pymatgen: every cluster job parses the Snakefile again.

A bad value ends as one :class:`~chggen.errors.ConfigError` line that names key and
value, before any job starts.
"""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from chggen.config.base import Place, Strict
from chggen.config.contracts import POTENTIALS
from chggen.config.dft import DftConfig
from chggen.config.energies import PotentialConfig
from chggen.config.screening import ReportConfig, ScreenConfig
from chggen.config.stages import (
    GenerateConfig,
    InpaintConfig,
    RefineConfig,
    RelaxConfig,
    TrainConfig,
)
from chggen.config.systems import SystemConfig


class Config(Strict):
    """A campaign."""

    seed: Annotated[int, Field(ge=0)] = 2025
    """Random seed of the campaign; determines every random number."""
    results: Place = Path("results")
    """Directory for all results."""
    systems: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], SystemConfig],
        Field(min_length=1),
    ]
    """Chemical systems by name; the name is used as a folder (letters, digits, ``-_.``)."""
    potentials: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], PotentialConfig
    ] = {}
    """User-defined potentials by name, in addition to the CHGNet models in the package."""
    generate: GenerateConfig = GenerateConfig()
    """Unconditional generation."""
    relax: RelaxConfig = RelaxConfig()
    """Relaxation before and after inpainting."""
    refine: RefineConfig = RefineConfig()
    """Symmetrised frameworks."""
    inpaint: InpaintConfig = InpaintConfig()
    """Inpainting."""
    screen: ScreenConfig = ScreenConfig()
    """Screening by symmetry, E_d, duplicates and novelty."""
    dft: DftConfig = DftConfig()
    """DFT calculations."""
    report: ReportConfig = ReportConfig()
    """Report."""
    train: TrainConfig = TrainConfig()
    """Training of a score network."""

    @field_validator("potentials")
    @classmethod
    def _names_are_free(cls, value: dict[str, PotentialConfig]) -> dict[str, PotentialConfig]:
        taken = sorted(set(value) & set(POTENTIALS))
        if taken:
            raise ValueError(f"'{taken[0]}' is already the name of a potential in the package")
        return value
