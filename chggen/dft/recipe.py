"""The steps of a VASP calculation, and the input set of each.

r²SCAN is done as atomate2 does it: relaxed with PBEsol (cheap, and closer to r²SCAN's
volumes than PBE), relaxed with r²SCAN, then one static calculation, the wave functions
passed on. GGA/GGA+U is the Materials Project's older pair of a relaxation and a static
calculation, whose energies MP2020 corrects.
"""

from typing import TYPE_CHECKING, Any, Final

from chggen.config.contracts import R2SCAN
from chggen.config.dft import DftConfig

if TYPE_CHECKING:
    from pymatgen.core import Structure

PRE_RELAX, RELAX, STATIC = "pre_relax", "relax", "static"
#: What ``Vasprun.run_type`` says of each functional. Without a GGA tag it is "GGA".
_GGA: Final = frozenset({"GGA", "GGA+U", "PBE", "PBE+U"})
_RUN_TYPES: Final = {PRE_RELAX: frozenset({"PBEsol"}), R2SCAN: frozenset({"R2SCAN"})}
#: Files that no later step needs, and wave functions that it starts from.
_RELAXING: Final = {"LWAVE": True, "LCHARG": False, "LAECHG": False, "LVTOT": False}


def steps(settings: DftConfig) -> tuple[str, ...]:
    """Names of the steps, in order."""
    if settings.functional == R2SCAN and settings.pre_relax:
        return PRE_RELAX, RELAX, STATIC
    return RELAX, STATIC


def run_types(step: str, settings: DftConfig) -> frozenset[str]:
    """What the output of a step may say of its functional."""
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
        step: of :func:`steps`.
        structure: to start from.
        settings: section ``dft``.
        gap: band gap of the step before, eV: insulators need fewer k-points.
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
