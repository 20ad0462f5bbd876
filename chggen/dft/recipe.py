"""The steps of a VASP calculation, and the input set of each.

r²SCAN follows atomate2: a relaxation with PBEsol (cheap, and closer to the volumes of r²SCAN
than PBE), a relaxation with r²SCAN, then a static calculation; wave functions are passed on.
GGA/GGA+U is the older scheme of the Materials Project, a relaxation and a static calculation,
whose energies are corrected with MP2020.
"""

from typing import TYPE_CHECKING, Any, Final

from chggen.config.contracts import R2SCAN
from chggen.config.dft import DftConfig

if TYPE_CHECKING:
    from pymatgen.core import Structure

PRE_RELAX, RELAX, STATIC = "pre_relax", "relax", "static"
#: ``Vasprun.run_type`` of each functional. Without a GGA tag it is "GGA".
_GGA: Final = frozenset({"GGA", "GGA+U", "PBE", "PBE+U"})
_RUN_TYPES: Final = {PRE_RELAX: frozenset({"PBEsol"}), R2SCAN: frozenset({"R2SCAN"})}
#: Files that no later step needs, and wave functions that the next step starts from.
_RELAXING: Final = {"LWAVE": True, "LCHARG": False, "LAECHG": False, "LVTOT": False}


def steps(settings: DftConfig) -> tuple[str, ...]:
    """Names of the steps, in order."""
    if settings.functional == R2SCAN and settings.pre_relax:
        return PRE_RELAX, RELAX, STATIC
    return RELAX, STATIC


def run_types(step: str, settings: DftConfig) -> frozenset[str]:
    """Run types that the output of a step may have."""
    if step == PRE_RELAX:
        return _RUN_TYPES[PRE_RELAX]
    return _RUN_TYPES.get(settings.functional, _GGA)


def input_set(
    step: str,
    structure: "Structure",
    settings: DftConfig,
    *,
    gap: float | None = None,
    kspacing: float | None = None,
) -> Any:  # noqa: ANN401 - pymatgen's VaspInputSet
    """Input set of a step.

    Args:
        step: name of the step, from :func:`steps`.
        structure: initial structure.
        settings: section ``dft``.
        gap: band gap of the previous step, eV: insulators need fewer k-points.
        kspacing: KSPACING to keep instead (Å⁻¹).

    Raises:
        ValueError, KeyError: an element without a potential.
    """
    from pymatgen.io.vasp import sets

    changes: dict[str, Any] = {"LWAVE": True} if step == STATIC else dict(_RELAXING)
    if settings.functional != R2SCAN:
        maker = sets.MPStaticSet if step == STATIC else sets.MPRelaxSet
        return maker(structure, user_incar_settings=changes)
    if kspacing is not None:
        changes["KSPACING"] = kspacing
    if settings.input_set == "MP24RelaxSet":
        maker = sets.MP24StaticSet if step == STATIC else sets.MP24RelaxSet
        functional = "PBEsol" if step == PRE_RELAX else "r2SCAN"
        return maker(structure, xc_functional=functional, bandgap=gap, user_incar_settings=changes)
    if step == PRE_RELAX:
        changes |= {"METAGGA": None, "GGA": "PS"}
    maker = sets.MPScanStaticSet if step == STATIC else sets.MPScanRelaxSet
    return maker(structure, bandgap=gap, user_incar_settings=changes)
