"""Which energies may be compared: one contract per potential and per reference.

CHGNet 0.2.0 and 0.3.0 were trained on energies with the MP2020 corrections already
applied (Deng et al., doi:10.1038/s42256-023-00716-3), so the corrections must never be
applied to them again. The r2scan weights give uncorrected r²SCAN energies.

SevenNet-0, SevenNet-l3i5 and the PBE task of SevenNet-MF-0 were trained on the uncorrected
GGA/GGA+U energies of the same structures (Park et al., doi:10.1021/acs.jctc.4c00190; the
checkpoints name a dataset "uncorrected"). What MP2020 adds to a calculation is known for a
structure (:mod:`chggen.reference.mp2020`), so such energies meet a corrected reference:
:func:`added_corrections`.
"""

from dataclasses import dataclass
from typing import Final

from chggen.errors import ContractError

GGA: Final = "GGA/GGA+U"
R2SCAN: Final = "r2SCAN"
MP2020: Final = "MP2020"
NONE: Final = "none"
#: What the functional of energies with D3(BJ) ends with.
D3BJ: Final = " + D3(BJ)"


@dataclass(frozen=True)
class Contract:
    """What makes energies comparable.

    Args:
        functional: functional of the energies (:data:`GGA` or :data:`R2SCAN`).
        corrections: correction scheme they include (:data:`MP2020` or :data:`NONE`).
    """

    functional: str
    corrections: str

    def __str__(self) -> str:
        """Short form for messages."""
        if self.corrections == NONE:
            return f"{self.functional} without corrections"
        return f"{self.functional} with {self.corrections} corrections"


#: Contracts of the CHGNets in the wheel of chgnet.
CHGNETS: Final[dict[str, Contract]] = {
    "chgnet-0.3.0": Contract(GGA, MP2020),
    "chgnet-0.2.0": Contract(GGA, MP2020),
    "chgnet-r2scan": Contract(R2SCAN, NONE),
}

#: Contracts of the SevenNets in the wheel of sevenn, which is an extra.
SEVENNETS: Final[dict[str, Contract]] = {
    "sevennet-0": Contract(GGA, NONE),
    "sevennet-l3i5": Contract(GGA, NONE),
    "sevennet-mf-0-pbe": Contract(GGA, NONE),
    "sevennet-mf-0-r2scan": Contract(R2SCAN, NONE),
}

#: Contracts of the potentials that the config can name without defining them.
POTENTIALS: Final[dict[str, Contract]] = CHGNETS | SEVENNETS

#: Elements that a CHGNet has an embedding for: H to Pu.
CHGNET_ROWS: Final = 94

#: Elements that each of them was never trained on, of the 94 rows of its embedding. MPtrj has
#: 89 elements (Deng et al. 2023), without Po to Ra: their rows in the weights of 0.3.0 still
#: have the size that they were initialised with, and 0.2.0 comes from the same data. Training
#: on r2SCAN left just these rows and Yb's as they were (tests/unit/test_potential.py). The
#: SevenNets list the same 89 elements.
NOT_IN_MPTRJ: Final = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
UNTRAINED: Final[dict[str, frozenset[str]]] = {
    "chgnet-0.3.0": NOT_IN_MPTRJ,
    "chgnet-0.2.0": NOT_IN_MPTRJ,
    "chgnet-r2scan": NOT_IN_MPTRJ | {"Yb"},
    **dict.fromkeys(SEVENNETS, NOT_IN_MPTRJ),
}


def require_same(first: Contract, first_name: str, second: Contract, second_name: str) -> None:
    """Raise :class:`ContractError` unless the two may be compared.

    Args:
        first: one contract.
        first_name: whose it is, for the message.
        second: the other contract.
        second_name: whose that is.
    """
    if first != second:
        hint = ""
        if first.functional.endswith(D3BJ) != second.functional.endswith(D3BJ):
            hint = (
                "; dispersion must be in both or in none: take reference 'potential', whose phases"
                " are relaxed with it, or relax.dispersion: none"
            )
        raise ContractError(
            f"{first_name} energies ({first}) cannot be compared with {second_name} ({second})"
            + hint
        )


def added_corrections(contract: Contract, reference: Contract) -> str | None:
    """Corrections that energies need to be compared with a reference.

    Uncorrected GGA/GGA+U energies are those of the Materials Project's input sets, which is
    what MP2020 was fitted to. No other scheme can be added afterwards. Dispersion on both
    sides changes nothing: corrected potentials have it on top of MP2020 too.

    Args:
        contract: of the energies.
        reference: of what they are to be compared with.

    Returns:
        Name of the scheme (:data:`MP2020`); None if nothing is to be added, be it that the
        contracts are the same or that they do not fit.
    """
    same = contract.functional == reference.functional
    known = contract.functional == GGA or contract.functional.startswith(f"{GGA} + ")
    addable = (contract.corrections, reference.corrections) == (NONE, MP2020)
    return MP2020 if same and known and addable else None


def comparable(contract: Contract, reference: Contract) -> bool:
    """Whether energies may be compared with a reference, with corrections added or as they are."""
    return contract == reference or added_corrections(contract, reference) is not None


def require_comparable(
    first: Contract, first_name: str, second: Contract, second_name: str
) -> None:
    """Raise :class:`ContractError` unless energies can be made comparable with a reference.

    Args:
        first: contract of the energies.
        first_name: whose it is, for the message.
        second: contract of the reference.
        second_name: whose that is.
    """
    if not comparable(first, second):
        require_same(first, first_name, second, second_name)
