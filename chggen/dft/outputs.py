"""What one VASP run left: energies, forces, structure, and whether it may be believed.

Exit codes are not asked: a run that was stopped ends well, and a good one can end badly.
Nor is pymatgen's ``Vasprun.converged`` enough, which takes a relaxation that was stopped
for a converged one, as it made fewer steps than it was allowed.
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

#: Lines of OUTCAR: the end, a relaxation that met its criterion, a run that was stopped.
_END: Final = "General timing and accounting"
_RELAXED: Final = "reached required accuracy"
_STOPPED: Final = ("soft stop encountered", "hard stop encountered", "hard stop was set")
#: File that says that VASP was asked to stop; it deletes STOPCAR itself.
STOP_ASKED: Final = "stop_asked"
_GPA: Final = 0.1  # per kbar
#: What pymatgen raises on a vasprun.xml that is not whole; lxml's error is a SyntaxError.
DAMAGE: Final = (
    OSError, ValueError, LookupError, AttributeError, TypeError, SyntaxError, ParseError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Output:
    """One VASP run.

    Args:
        structure: at its end.
        energy: of the cell (σ → 0), eV.
        run_type: functional as vasprun.xml says it.
        fmax: largest force, eV/Å.
        smax: largest absolute stress component, GPa.
        gap: band gap, eV; None if not known.
        hubbards: U by element, eV.
        electronic: the last electronic loop converged.
        ionic: no relaxation, or one that met its criterion.
        stopped: it was told to stop.
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
        """Structure at the end."""
        return Crystal.from_structure(self.structure)

    @property
    def problem(self) -> str:
        """Why it is not converged; empty if it is."""
        if self.stopped:
            return "stopped before the end"
        if not self.electronic:
            return "electronic steps did not converge"
        return "" if self.ionic else "ionic steps did not converge"


def read(folder: Path) -> Output | None:
    """Output of the run in a folder; None if it is missing or not whole."""
    from pymatgen.io.vasp.outputs import Vasprun

    try:
        text = (folder / "OUTCAR").read_text(encoding="utf-8", errors="replace")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(str(folder / "vasprun.xml"), parse_dos=False, parse_potcar_file=False)
            last = run.ionic_steps[-1]
            forces, stress = np.array(last["forces"]), np.array(last.get("stress", np.nan))
            relaxes = run.parameters.get("NSW", 0) > 1 and run.parameters.get("IBRION", -1) >= 0
            # a relaxation says if it met its criterion all the same, a static run does not
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
        ValueError: the scheme does not take the calculation.
    """
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    hubbard = any(output.hubbards.values())
    entry = ComputedStructureEntry(
        output.structure,
        output.energy,
        parameters={
            # the scheme drops entries that say "PBE" without a word
            "run_type": "GGA+U" if hubbard else "GGA",
            "is_hubbard": hubbard,
            "hubbards": output.hubbards if hubbard else {},
        },
    )
    # the POTCARs are MPRelaxSet's own, so there is nothing to check
    scheme = MaterialsProject2020Compatibility(check_potcar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = scheme.process_entry(entry)
    if done is None:
        raise ValueError("MP2020 corrections do not apply (U values or oxidation states)")
    return float(done.correction)
