"""D3(BJ): which functionals have damping parameters, and names of potentials with it.

D3 with Becke-Johnson damping: Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104
(2010), doi:10.1063/1.3382344; Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011),
doi:10.1002/jcc.21759. No torch: names are read while the Snakefile is parsed.
"""

from dataclasses import dataclass
from typing import Final, Literal

from chggen.config.contracts import D3BJ, GGA, R2SCAN, Contract
from chggen.errors import ConfigError

Dispersion = Literal["none", "d3bj"]

#: What a potential's name ends with, if D3(BJ) is added to it.
SUFFIX: Final = "+d3bj"
#: Elements that D3 has reference values for: H to Pu.
D3_ROWS: Final = 94


@dataclass(frozen=True)
class Damping:
    """Parameters of one functional; s6 is 1.

    Args:
        a1: damping radius per sqrt(C8/C6).
        a2: damping radius, bohr.
        s8: weight of the C8 term.
        doi: where they were fitted.
    """

    a1: float
    a2: float
    s8: float
    doi: str


_PBE: Final = Damping(0.4289, 4.4407, 0.7875, "10.1002/jcc.21759")
#: Functionals, as ``functional`` of a potential names them, that D3(BJ) was fitted to.
#: GGA/GGA+U is PBE. Values: the papers', as collected in https://github.com/dftd3/simple-dftd3.
DAMPING: Final[dict[str, Damping]] = {
    GGA: _PBE,
    "PBE": _PBE,
    R2SCAN: Damping(0.4948, 5.7308, 0.7898, "10.1063/5.0041008"),
    "PBEsol": Damping(0.4466, 6.1742, 2.9491, "10.1039/c0cp02984j"),
}


def split(name: str) -> tuple[str, Dispersion]:
    """Name of a potential without its dispersion, and the dispersion.

    Args:
        name: such as ``chgnet-0.3.0+d3bj``.
    """
    base = name.removesuffix(SUFFIX)
    return base, "none" if base == name else "d3bj"


def joined(name: str, dispersion: Dispersion) -> str:
    """Name of a potential with its dispersion; the inverse of :func:`split`."""
    return name if dispersion == "none" else name.removesuffix(SUFFIX) + SUFFIX


def damping(functional: str, name: str) -> Damping:
    """Parameters for a functional.

    Args:
        functional: of the potential without dispersion.
        name: of the potential, for the message.

    Raises:
        ConfigError: it has none.
    """
    if functional not in DAMPING:
        raise ConfigError(
            f"dispersion d3bj: the functional '{functional}' of '{name}' has no D3(BJ)"
            f" parameters here (known: {', '.join(DAMPING)})"
        )
    return DAMPING[functional]


def dispersed(contract: Contract, name: str) -> Contract:
    """Contract of a potential once D3(BJ) is added; raises :class:`ConfigError`.

    Args:
        contract: of the potential alone.
        name: of the potential, for the message.
    """
    damping(contract.functional, name)
    return Contract(contract.functional + D3BJ, contract.corrections)
