"""Section ``dft``: DFT code and its settings."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from chggen.config.base import Count, Positive, Strict, as_list
from chggen.config.contracts import GGA, MP2020, NONE, Contract
from chggen.config.potcars import POTCARS, potcar_directory

Word = Annotated[str, Field(min_length=1)]


class GpawConfig(Strict):
    """Settings of GPAW."""

    cutoff: Positive = 500.0
    """Plane-wave cutoff, eV."""
    kpoint_density: Positive = 4.0
    """Γ-centred k-points per Å⁻¹ (2π included) along each reciprocal vector, at least one."""
    smearing: Positive = 0.05
    """Fermi-Dirac width, eV."""
    relax: Literal["none", "positions", "cell"] = "none"
    """Relaxation with PBE before the final single point; ``none``: use the geometry from the
    potential."""
    fmax: Positive = 0.05
    """Force criterion of that relaxation, eV/Å."""
    max_steps: Count = 60
    """Step limit of that relaxation."""
    ranks: Count = 1
    """MPI processes (started by ``dft.command``); 1: no MPI."""


class DftConfig(Strict):
    """DFT calculations."""

    engine: Literal["vasp", "gpaw"] = "vasp"
    """DFT code: ``vasp`` (needs a licence) or ``gpaw`` (free; docs/dft.md)."""
    run: bool = False
    """Run the calculations, one job per structure; otherwise only write the inputs."""
    functional: Literal["r2SCAN", "GGA/GGA+U", "PBE"] = "r2SCAN"
    """Functional of the final step; ``GGA/GGA+U`` (VASP, corrected with MP2020), ``PBE``
    (GPAW)."""
    input_set: Literal["MP24RelaxSet", "MPScanRelaxSet"] = "MP24RelaxSet"
    """For ``vasp`` with r²SCAN: pymatgen input set."""
    pre_relax: bool = True
    """For ``vasp`` with r²SCAN: relax with PBEsol first."""
    potcar: Literal["auto", "spec"] = "auto"
    """``auto``: full POTCARs if PMG_VASP_PSP_DIR is set, otherwise POTCAR.spec."""
    command: Annotated[list[Word], BeforeValidator(as_list)] = []
    """Command that starts the code: ``[srun, vasp_std]``; for ``gpaw`` the MPI launcher
    (``[mpiexec, -n, "4"]``), or empty."""
    competing_phases: Literal["reference", "calculate"] = "reference"
    """Competing phases for E_d from DFT: ``reference`` takes ``systems.NAME.dft_reference``,
    ``calculate`` computes every phase of ``systems.NAME.phases`` (always with ``gpaw``)."""
    metastable: Positive = 0.1
    """E_d from DFT (eV/atom) below which a structure counts as metastable when the screening
    threshold is assessed."""
    attempts: Count = 3
    """Maximum number of jobs per structure, each with more time and memory than the last."""
    tasks: Count = 1
    """MPI ranks per job (started by ``srun``)."""
    mem_mb: Count = 8000
    """Memory of the first attempt, MB."""
    runtime: Count = 1440
    """Time limit of the first attempt, minutes."""
    gpaw: GpawConfig = GpawConfig()
    """Settings of GPAW."""

    @model_validator(mode="after")
    def _engine_has_functional(self) -> Self:
        known = {"vasp": ("r2SCAN", "GGA/GGA+U"), "gpaw": ("r2SCAN", "PBE")}[self.engine]
        if self.functional not in known:
            raise ValueError(
                f"functional '{self.functional}': '{self.engine}' supports {' and '.join(known)}"
            )
        return self

    @property
    def calculates_phases(self) -> bool:
        """Whether competing phases are calculated along with the candidates."""
        return self.engine == "gpaw" or self.competing_phases == "calculate"

    @property
    def method(self) -> dict[str, Any]:
        """Everything that an energy depends on: a change makes another calculation."""
        keys = {"engine", "functional"}
        keys |= {"gpaw"} if self.engine == "gpaw" else {"input_set", "pre_relax"}
        return self.model_dump(mode="json", include=keys, exclude={"gpaw": {"ranks"}})

    def memory(self, attempt: int) -> int:
        """MB of an attempt; the one after the last computes nothing."""
        return self.mem_mb * (attempt if attempt <= self.attempts else 1)

    def minutes(self, attempt: int) -> int:
        """Time limit of an attempt; the one after the last computes nothing."""
        return self.runtime * (attempt if attempt <= self.attempts else 1)

    @property
    def cores(self) -> int:
        """Cores that a job takes on this machine, as far as the config knows."""
        return self.gpaw.ranks if self.engine == "gpaw" and self.tasks == 1 else 1


def vasp_contract(settings: DftConfig) -> Contract:
    """What VASP's energies may be compared with: r²SCAN's uncorrected, GGA's with MP2020."""
    return Contract(settings.functional, MP2020 if settings.functional == GGA else NONE)


def cannot_run(settings: DftConfig) -> str | None:
    """Why nothing can be calculated here, in one line naming key and value; None if it can.

    Looks at the environment and at what is installed; needs neither pymatgen nor GPAW.
    """
    return _no_program(settings) or (
        _no_gpaw() if settings.engine == "gpaw" else _no_potcars(settings)
    )


def _no_gpaw() -> str | None:
    if importlib.util.find_spec("gpaw") is None:
        return "dft.engine = 'gpaw': the package 'gpaw' is not installed (docs/gpaw.md)"
    if importlib.util.find_spec("gpaw_data") is None and not os.environ.get("GPAW_SETUP_PATH"):
        return "dft.engine = 'gpaw': neither the package 'gpaw-data' nor GPAW_SETUP_PATH was found"
    return None


def _no_potcars(settings: DftConfig) -> str | None:
    if settings.potcar == "spec":
        return "dft.potcar = 'spec': a run needs full POTCARs"
    place = potcar_directory()
    if not place:
        return f"{POTCARS} is not set: a run needs POTCARs"
    return None if Path(place).is_dir() else f"{POTCARS} = '{place}': no such directory"


def _no_program(settings: DftConfig) -> str | None:
    """What is wrong with ``dft.command``: its first word and its last must be programs."""
    command = settings.command
    if settings.engine == "gpaw":
        words = command[:1]  # Python comes after it
    elif not command:
        return "dft.command = []: the command that starts VASP is missing ([srun, vasp_std])"
    else:
        words = [command[0], *[word for word in command[1:] if not word.startswith("-")][-1:]]
    for word in words:
        if shutil.which(word) is None:
            return f"dft.command = {command}: program '{word}' not found"
    return None
