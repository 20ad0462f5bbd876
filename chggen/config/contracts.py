"""Which energies may be compared: one contract per potential and per reference.

CHGNet 0.2.0 and 0.3.0 were trained on energies with the MP2020 corrections already
applied (Deng et al., doi:10.1038/s42256-023-00716-3), so the corrections must never be
applied to them again. The r2scan weights give uncorrected r²SCAN energies.
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


#: Contracts of the potentials that the config can name.
POTENTIALS: Final[dict[str, Contract]] = {
    "chgnet-0.3.0": Contract(GGA, MP2020),
    "chgnet-0.2.0": Contract(GGA, MP2020),
    "chgnet-r2scan": Contract(R2SCAN, NONE),
}

#: Elements that a CHGNet has an embedding for: H to Pu.
CHGNET_ROWS: Final = 94

#: Elements that each of them was never trained on, of the 94 rows of its embedding. MPtrj has
#: 89 elements (Deng et al. 2023), without Po to Ra: their rows in the weights of 0.3.0 still
#: have the size that they were initialised with, and 0.2.0 comes from the same data. Training
#: on r2SCAN left just these rows and Yb's as they were (tests/unit/test_potential.py).
NOT_IN_MPTRJ: Final = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
UNTRAINED: Final[dict[str, frozenset[str]]] = {
    "chgnet-0.3.0": NOT_IN_MPTRJ,
    "chgnet-0.2.0": NOT_IN_MPTRJ,
    "chgnet-r2scan": NOT_IN_MPTRJ | {"Yb"},
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
