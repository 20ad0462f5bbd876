"""Config sections of screening and report."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from typing import Literal, Self

from pydantic import model_validator

from chggen.config.base import Count, Positive, Strict
from chggen.config.energies import Words

#: How known crystals are recognised.
Recognition = Literal["label", "structures", "off"]


class ScreenConfig(Strict):
    """Screening by symmetry, stability and novelty."""

    symprec: Positive = 0.1
    """Distance tolerance for the space group, Å."""
    angle_tolerance: Positive = 10.0
    """Angle tolerance for the space group, degrees."""
    tolerances: list[Positive] = [0.01, 0.1, 0.3]
    """Further distance tolerances (Å) at which the space group is recorded."""
    min_distance: Literal["auto"] | Positive = "auto"
    """Shortest distance that a success may have. ``auto``: by pair of elements, 0.6 times the
    sum of their covalent radii (0.75 times with hydrogen: O-H 0.73, H-H 0.47 Å); or one
    number in Å for all pairs (1.0 in the paper)."""
    threshold: Positive = 0.1
    """Structures with E_d (eV/atom) below this are kept; the paper recommends 0.03."""
    best_per_composition: bool = True
    """If no structure of a composition is below the threshold, the best structure that passes
    all other filters is kept anyway."""
    max_selected: Count = 20
    """Maximum number of structures per composition selected for DFT, lowest E_d first."""
    max_per_space_group: Count | None = None
    """Maximum number of those with the same space group; empty: no limit."""
    swollen: Positive = 1.25
    """Volume, as a multiple of the one expected for the composition, from which the report
    calls a structure swollen."""
    max_swollen: Count | None = 5
    """Maximum number of those that are swollen and bonded in fewer than three dimensions, whose
    energies a potential without dispersion gets wrong; empty: no limit."""
    require_symmetric: bool = False
    """Select only structures with a space group above P-1."""
    known: Recognition = "label"
    """How known crystals are recognised, which the screen removes. ``label``: by the structures of
    the reference, and where it has none by formula, space group, orbits, volume and distances in
    the package's table; ``structures``: by those of the reference alone; ``off``: not at all."""
    second_potential: Words | None = None
    """Name of a second potential that re-evaluates the selected structures
    (``chgnet-r2scan``); its energies are kept in separate columns."""
    second_relax: bool = False
    """Relax with the second potential (criteria of ``relax.final``, or of ``relax`` without
    it) instead of single points."""
    second_threshold: Positive | None = None
    """Selected structures with E_d (eV/atom) from the second potential above this are
    dropped; empty: it only ranks. Needs a reference with the second potential's functional
    and corrections."""

    @property
    def distance_limit(self) -> float | None:
        """The one limit (Å) for all pairs of atoms; None if it is by pair."""
        return None if self.min_distance == "auto" else self.min_distance

    @property
    def distance_text(self) -> str:
        """The limit of distances in words."""
        if self.distance_limit is None:
            return "distances ≥ 0.6 times the covalent radii (0.75 with H)"
        return f"distance ≥ {self.distance_limit:g} Å"

    @model_validator(mode="after")
    def _second_threshold_has_a_potential(self) -> Self:
        if self.second_threshold is not None and self.second_potential is None:
            raise ValueError("second_threshold: needs 'second_potential'")
        return self


class ReportConfig(Strict):
    """Report page."""

    candidates: Count = 12
    """Structures shown with a picture, lowest E_d first."""
