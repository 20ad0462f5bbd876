"""Section ``systems``: compositions to search, and their competing phases."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from chggen.config.base import (
    TRUTH,
    CompositionSpec,
    Count,
    Place,
    Positive,
    Strict,
    as_list,
    as_value_error,
)
from chggen.config.energies import ReferenceConfig, as_reference
from chggen.errors import CompositionError
from chggen.structure import composition as comp

SpaceGroup = Annotated[int, Field(ge=1, le=230)]
Symmetry = Literal["none", "auto"] | SpaceGroup | tuple[SpaceGroup, SpaceGroup]


class SystemConfig(Strict):
    """One chemical system."""

    compositions: Annotated[list[CompositionSpec], BeforeValidator(as_list), Field(min_length=1)]
    """Formulas, lines (``{line: [ZnS, P2S5], max_atoms: 20}``) or element ranges
    (``{range: Li_x Si_y, where: x > y, max_atoms: 25}``)."""
    formula_units: Annotated[list[Count], BeforeValidator(as_list), Field(min_length=1)] = [1]
    """Formula units per cell; the lattices of a seed are divided among them."""
    guests: Literal["auto"] | list[str] = "auto"
    """Elements that are removed and inpainted; ``auto``: the element with the broadest
    distribution of coordination numbers in all relaxed structures of the system (table
    ``chosen``); compositions without it choose among their own elements."""
    lattice_seeds: Count = 2
    """Shards per composition: independent sets of lattices."""
    lattices_per_seed: Count = 50
    """Structures per shard; each candidate of a structure has its own lattice."""
    volume_per_atom: Literal["auto"] | Positive = "auto"
    """Volume of sampled cells, Å³ per atom; ``auto``: predicted from the composition."""
    symmetry: Symmetry = "auto"
    """Space groups imposed while sampling (only with generator ``diffusion``): ``none``;
    ``auto``: on every second draw, one that fits the cell, or that of the framework for
    guests; a number or a range ``[195, 230]``: on all draws of whole crystals, guests as
    with ``auto``."""
    reference: Annotated[ReferenceConfig, BeforeValidator(as_reference)] = ReferenceConfig()
    """Competing phases for E_d."""
    second_reference: Annotated[ReferenceConfig | None, BeforeValidator(as_reference)] = None
    """Competing phases for E_d from ``screen.second_potential``, with its functional and
    corrections."""
    dft_reference: Annotated[ReferenceConfig | None, BeforeValidator(as_reference)] = None
    """Competing phases for E_d from DFT, with its functional and corrections (r²SCAN)."""
    phases: Place | None = None
    """Structures of the competing phases (folder of CIFs, extxyz, Parquet or CSV), for
    reference ``potential`` and for ``dft.competing_phases: calculate``."""

    @field_validator("symmetry")
    @classmethod
    def _rising(cls, value: Symmetry) -> Symmetry:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"{list(value)}: the first space group number must be the lower one")
        return value

    @field_validator("compositions", mode="before")
    @classmethod
    def _formulas(cls, value: Any) -> Any:  # noqa: ANN401
        for item in as_list(value):
            if isinstance(item, bool):
                raise ValueError(TRUTH)  # noqa: TRY004 - pydantic collects ValueErrors
            with as_value_error():
                if isinstance(item, str):
                    comp.parse_formula(item)
                elif not isinstance(item, dict | BaseModel):
                    raise CompositionError(f"'{item}' is not a chemical formula")
        return value

    @field_validator("second_reference", "dft_reference")
    @classmethod
    def _has_entries(cls, value: ReferenceConfig | None) -> ReferenceConfig | None:
        if value is not None and value.source == "potential":
            raise ValueError("source 'potential' is allowed for 'reference' only")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        with as_value_error("compositions: "):
            formulas = self.formulas()
        if not formulas:
            raise ValueError("compositions: no formula has at most max_atoms atoms")
        for guest in [] if self.guests == "auto" else self.guests:
            if guest not in comp.ATOMIC_NUMBERS:
                raise ValueError(f"guests: unknown element '{guest}'")
        for formula in formulas:
            elements = set(comp.parse_formula(formula))
            if self.guests == "auto":
                if len(elements) == 1:
                    raise ValueError(f"guests: 'auto' leaves no framework in '{formula}'")
                continue
            missing = [g for g in self.guests if g not in elements]
            if missing:
                raise ValueError(f"guests: '{missing[0]}' is not in '{formula}'")
            if elements <= set(self.guests):
                raise ValueError(f"guests: {self.guests} leave no framework in '{formula}'")
        return self

    def formulas(self) -> list[str]:
        """Canonical reduced compositions, in order, without repeats."""
        return list(self._formulas_and_elements[0])

    @property
    def elements(self) -> set[str]:
        """All elements of all compositions."""
        return set(self._formulas_and_elements[1])

    @cached_property
    def _formulas_and_elements(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Worked out once: every job asks, for each system more than once."""
        found: dict[str, None] = {}
        for item in self.compositions:
            formulas = [item] if isinstance(item, str) else item.expand()
            found.update({comp.canonical_formula(f): None for f in formulas})
        symbols = {symbol for f in found for symbol in comp.parse_formula(f)}
        return tuple(found), frozenset(symbols)
