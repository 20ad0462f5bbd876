"""VASP inputs of a structure, at the levels of the Materials Project.

``MP24RelaxSet`` is the current set of the Materials Project (PBE_64 potentials, ENCUT 680,
k-points by KSPACING, so no KPOINTS file); ``MPScanRelaxSet`` (PBE_54) is that of its older
r²SCAN entries (Kingsbury et al., doi:10.1103/PhysRevMaterials.6.013801).

POTCARs are licensed: they are taken from the user's own collection (``PMG_VASP_PSP_DIR``).
Without one, POTCAR.spec names the potentials instead.
"""

import filecmp
import secrets
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chggen.config.dft import DftConfig
from chggen.dft import recipe
from chggen.structure.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Every file that an input set writes.
INPUTS: Final = frozenset({"INCAR", "POSCAR", "KPOINTS", "POTCAR", "POTCAR.spec"})


def prepare(crystal: Crystal, directory: Path, settings: DftConfig) -> str:
    """Write the VASP inputs of every step into a directory, atomically.

    Each step has a folder, and its input is the initial structure until the previous step has
    run. Sites are sorted by element (electronegativity), as POSCAR requires. A calculation
    that was started in the directory is left unchanged: it has the same structure and
    method, because another one would have another directory.

    Args:
        crystal: structure to compute.
        directory: created here, with its parents.
        settings: input set, and whether to write POTCARs.

    Returns:
        'full' with POTCARs, 'spec' with POTCAR.spec.

    Raises:
        OSError: not writable, or a POTCAR is missing in the user's collection.
        ValueError: the input set rejects the structure (an element without a potential).
    """
    if begun(directory):
        return potcar_of(directory, settings)
    spec = settings.potcar == "spec" or not _has_potcars()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}")
    temporary.mkdir()  # a unique name, with the mode of the umask
    structure = crystal.to_structure()
    try:
        for step in recipe.steps(settings):
            write(recipe.input_set(step, structure, settings), temporary / step, spec=spec)
        _place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return "spec" if spec else "full"


def begun(directory: Path) -> bool:
    """True if the folder of a step has files other than inputs: VASP was started there."""
    return any(p.is_file() and p.name not in INPUTS for p in directory.glob("*/**/*"))


def potcar_of(directory: Path, settings: DftConfig) -> str:
    """'full' if every step has its POTCAR, 'spec' otherwise."""
    full = all((directory / step / "POTCAR").is_file() for step in recipe.steps(settings))
    return "full" if full else "spec"


def write(made: Any, folder: Path, *, spec: bool) -> None:  # noqa: ANN401
    """Write the inputs of one step.

    Args:
        made: input set of pymatgen.
        folder: folder of the step.
        spec: write only the symbols of the POTCARs (POTCAR.spec).
    """
    with warnings.catch_warnings():
        # warnings about POTCAR hashes, missing band gaps and default moments, once per
        # structure, on which the user cannot act
        warnings.simplefilter("ignore")
        made.write_input(str(folder), potcar_spec=spec)


def structure_in(path: Path) -> "Structure":
    """Structure of a POSCAR or CONTCAR; raises ``OSError`` or ``ValueError``."""
    from pymatgen.io.vasp.inputs import Poscar

    try:
        # the POTCAR in the same folder adds no information
        return Poscar.from_str(path.read_text(encoding="utf-8")).structure
    except (IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path.name} is incomplete") from error


def _has_potcars() -> bool:
    """True if pymatgen knows a collection of POTCARs (environment or .pmgrc.yaml)."""
    from pymatgen.core import SETTINGS

    return bool(SETTINGS.get("PMG_VASP_PSP_DIR"))


def _place(temporary: Path, directory: Path) -> None:
    """Move finished inputs to their directory, unless the same are already there."""
    if directory.exists():
        new = {p.relative_to(temporary).as_posix() for p in temporary.rglob("*") if p.is_file()}
        old = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
        _, differ, failed = filecmp.cmpfiles(temporary, directory, new, shallow=False)
        if new == old and not differ and not failed:
            return
        shutil.rmtree(directory)
    temporary.rename(directory)
