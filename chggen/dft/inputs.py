"""VASP inputs of a candidate, at the r²SCAN level of the Materials Project.

``MP24RelaxSet`` is what the Materials Project uses now (PBE_64 potentials, ENCUT 680,
k-points by KSPACING, so no KPOINTS file), ``MPScanRelaxSet`` (PBE_54) what its older
r²SCAN entries used (Kingsbury et al., doi:10.1103/PhysRevMaterials.6.013801).

POTCARs are licensed: they come from the user's own collection (``PMG_VASP_PSP_DIR``),
and where there is none POTCAR.spec names the potentials instead.
"""

import filecmp
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Final

from chggen.config import DftConfig
from chggen.crystal import Crystal

#: Every file that an input set writes.
_INPUTS: Final = {"INCAR", "POSCAR", "KPOINTS", "POTCAR", "POTCAR.spec"}


def prepare(crystal: Crystal, directory: Path, settings: DftConfig) -> str:
    """Write the VASP inputs of a structure into a directory, whole or not at all.

    Sites are sorted by element (electronegativity), as POSCAR wants them. Asked for
    again, the same inputs are left as they are; other inputs are replaced, but never in
    a directory where something else stands as well: that may be a calculation.

    Args:
        crystal: structure to relax.
        directory: made here; its parent as well.
        settings: input set, and whether POTCARs are wanted.

    Returns:
        'full' if a POTCAR was written, 'spec' if POTCAR.spec was.

    Raises:
        OSError: not writable, a POTCAR is missing in the user's collection, or the
            directory holds files that are not ours.
        ValueError: the input set does not take the structure (an element without a
            potential).
    """
    spec = settings.potcar == "spec" or not _has_potcars()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _write(crystal, temporary, settings.input_set, spec=spec)
        temporary.chmod(0o755)  # mkdtemp makes 0700; results are meant to be shared
        _place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return "spec" if spec else "full"


def _has_potcars() -> bool:
    """True if pymatgen knows a collection of POTCARs (environment or .pmgrc.yaml)."""
    from pymatgen.core import SETTINGS

    return bool(SETTINGS.get("PMG_VASP_PSP_DIR"))


def _write(crystal: Crystal, directory: Path, input_set: str, *, spec: bool) -> None:
    from pymatgen.io.vasp import sets

    maker = {"MP24RelaxSet": sets.MP24RelaxSet, "MPScanRelaxSet": sets.MPScanRelaxSet}[input_set]
    with warnings.catch_warnings():
        # about POTCAR hashes, missing band gaps, default moments: once per structure,
        # nothing that the user can act on
        warnings.simplefilter("ignore")
        maker(crystal.to_structure()).write_input(str(directory), potcar_spec=spec)


def _place(temporary: Path, directory: Path) -> None:
    """Move finished inputs to where they belong; see :func:`prepare`."""
    if directory.exists():
        new = {path.name for path in temporary.iterdir()}
        old = {path.name for path in directory.iterdir()}
        _, differ, failed = filecmp.cmpfiles(temporary, directory, new, shallow=False)
        if not differ and not failed:
            return
        foreign = sorted(old - _INPUTS)
        if foreign:
            raise FileExistsError(f"{directory} holds {foreign[0]}: not overwritten")
        shutil.rmtree(directory)
    temporary.rename(directory)
