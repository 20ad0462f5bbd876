"""Output of one VASP run: energies, forces, structure, and whether the run is valid.

Exit codes are not used: a stopped run returns success, and a good run can return an error.
pymatgen's ``Vasprun.converged`` is not sufficient either: it reports a stopped relaxation as
converged, because it made fewer steps than allowed.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

import numpy as np

from chggen.structure.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Lines of OUTCAR: end of the run, converged relaxation, stopped run.
_END: Final = "General timing and accounting"
_RELAXED: Final = "reached required accuracy"
_STOPPED: Final = ("soft stop encountered", "hard stop encountered", "hard stop was set")
#: File that records the request to stop; VASP deletes STOPCAR itself.
STOP_ASKED: Final = "stop_asked"
_GPA: Final = 0.1  # per kbar
#: Errors of pymatgen on an incomplete vasprun.xml; that of lxml is a SyntaxError.
DAMAGE: Final = (
    OSError, ValueError, LookupError, AttributeError, TypeError, SyntaxError, ParseError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Output:
    """One VASP run.

    Args:
        structure: final structure.
        energy: energy of the cell (σ → 0), eV.
        run_type: functional as stated in vasprun.xml.
        fmax: largest force, eV/Å.
        smax: largest absolute stress component, GPa.
        gap: band gap, eV; None if unknown.
        hubbards: U by element, eV.
        electronic: the last electronic loop converged.
        ionic: no relaxation, or a converged one.
        stopped: the run was asked to stop.
    """

    structure: "Structure"
    energy: float
    run_type: str
    fmax: float
    smax: float
    gap: float | None
    hubbards: dict[str, float]
    electronic: bool
    ionic: bool
    stopped: bool

    @property
    def crystal(self) -> Crystal:
        """Final structure."""
        return Crystal.from_structure(self.structure)

    @property
    def problem(self) -> str:
        """Why the run is not converged; empty if it is."""
        if self.stopped:
            return "stopped before the end"
        if not self.electronic:
            return "electronic steps did not converge"
        return "" if self.ionic else "ionic steps did not converge"


def read(folder: Path) -> Output | None:
    """Output of the run in a folder; None if it is missing or incomplete."""
    from pymatgen.io.vasp.outputs import Vasprun

    try:
        text = (folder / "OUTCAR").read_text(encoding="utf-8", errors="replace")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(str(folder / "vasprun.xml"), parse_dos=False, parse_potcar_file=False)
            last = run.ionic_steps[-1]
            forces, stress = np.array(last["forces"]), np.array(last.get("stress", np.nan))
            relaxes = run.parameters.get("NSW", 0) > 1 and run.parameters.get("IBRION", -1) >= 0
            # a stopped relaxation still reports if it met its criterion, a static run does not
            asked = not relaxes and (folder / STOP_ASKED).is_file()
            stopped = asked or any(line in text for line in _STOPPED)
            output = Output(
                structure=run.final_structure,
                energy=float(run.final_energy),
                run_type=run.run_type,
                fmax=float(np.linalg.norm(forces, axis=1).max()),
                smax=float(np.abs(stress).max()) * _GPA,
                gap=_gap(run),
                hubbards=dict(run.hubbards),
                electronic=run.converged_electronic,
                ionic=run.converged_ionic and (not relaxes or _RELAXED in text),
                stopped=stopped or _END not in text,
            )
    except DAMAGE:
        return None
    return output if np.isfinite([output.energy, output.fmax]).all() else None


def _gap(run: Any) -> float | None:  # noqa: ANN401 - pymatgen's Vasprun
    try:
        return float(run.eigenvalue_band_properties[0])
    except DAMAGE:
        return None


def mp2020_correction(output: Output) -> float:
    """Correction of a GGA or GGA+U energy by MaterialsProject2020Compatibility, eV per cell.

    Raises:
        ValueError: the scheme rejects the calculation.
    """
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    hubbard = any(output.hubbards.values())
    entry = ComputedStructureEntry(
        output.structure,
        output.energy,
        parameters={
            # the scheme silently drops entries with the run type "PBE"
            "run_type": "GGA+U" if hubbard else "GGA",
            "is_hubbard": hubbard,
            "hubbards": output.hubbards if hubbard else {},
        },
    )
    # the POTCARs are those of MPRelaxSet, so no check is needed
    scheme = MaterialsProject2020Compatibility(check_potcar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = scheme.process_entry(entry)
    if done is None:
        raise ValueError("MP2020 corrections do not apply (U values or oxidation states)")
    return float(done.correction)
