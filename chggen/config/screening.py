"""Sections of the stages that judge structures and hand them over."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from typing import Self

from pydantic import model_validator

from chggen.config.base import Count, Positive, Strict
from chggen.config.energies import Words


class ScreenConfig(Strict):
    """Which structures count as symmetric, stable, new."""

    symprec: Positive = 0.1
    """Distance tolerance of the symmetry verdict, Å."""
    angle_tolerance: Positive = 10.0
    """Angle tolerance of the symmetry verdict, degrees."""
    tolerances: list[Positive] = [0.01, 0.1, 0.3]
    """Further distance tolerances (Å) at which the space group is recorded."""
    min_distance: Positive = 1.0
    """Shortest distance (Å) that a success may have."""
    threshold: Positive = 0.1
    """E_d (eV/atom) under which a structure goes on; the paper advises 0.03."""
    best_per_composition: bool = True
    """Where no structure of a composition is under the threshold, the best one that passes
    all other filters goes on all the same."""
    max_selected: Count = 20
    """Most structures per composition that go on to DFT, lowest E_d first."""
    max_per_space_group: Count | None = None
    """Most of them with the same space group; nothing: no limit."""
    require_symmetric: bool = False
    """Only structures above P-1 go on."""
    second_potential: Words | None = None
    """Second opinion on the selected structures, by name (``chgnet-r2scan``); its energies
    stand in columns of their own and are never mixed with the first."""
    second_relax: bool = False
    """Relax with the second potential (criteria of ``relax``) instead of single points."""
    second_threshold: Positive | None = None
    """E_d (eV/atom) by the second potential under which a selected structure stays so;
    nothing: it only ranks. Needs a reference of the second potential's contract."""

    @model_validator(mode="after")
    def _second_threshold_has_a_potential(self) -> Self:
        if self.second_threshold is not None and self.second_potential is None:
            raise ValueError("second_threshold: needs 'second_potential'")
        return self


class ReportConfig(Strict):
    """Tables and pages."""

    candidates: Count = 12
    """Structures shown with a picture, lowest E_d first."""
