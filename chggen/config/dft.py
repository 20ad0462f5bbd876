"""Section ``dft``: which code computes the survivors, and with what."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from chggen.specs import Count, Positive, Strict, as_list

Word = Annotated[str, Field(min_length=1)]


class GpawConfig(Strict):
    """The free engine's own settings."""

    cutoff: Positive = 500.0
    """Plane-wave cutoff, eV."""
    kpoint_density: Positive = 4.0
    """k-points along each reciprocal vector per Å⁻¹ (2π included), at least one."""
    smearing: Positive = 0.05
    """Fermi-Dirac width, eV."""
    relax: Literal["none", "positions", "cell"] = "none"
    """Relaxation with PBE before the last single point; ``none``: at the geometry of the
    potential."""
    fmax: Positive = 0.05
    """Force criterion of that relaxation, eV/Å."""
    max_steps: Count = 60
    """Its step limit."""
    ranks: Count = 1
    """MPI processes (``dft.command`` starts them); 1: none."""


class DftConfig(Strict):
    """Hand-off to DFT."""

    engine: Literal["vasp", "gpaw"] = "vasp"
    """Code that computes: ``vasp`` (your licence) or ``gpaw`` (free; docs/dft.md)."""
    run: bool = False
    """Run the calculations, one job per structure; otherwise only inputs are written."""
    functional: Literal["r2SCAN", "GGA/GGA+U", "PBE"] = "r2SCAN"
    """Functional of the last step; ``GGA/GGA+U`` (VASP, corrected with MP2020), ``PBE``
    (GPAW)."""
    input_set: Literal["MP24RelaxSet", "MPScanRelaxSet"] = "MP24RelaxSet"
    """For ``vasp`` with r²SCAN: pymatgen input set."""
    pre_relax: bool = True
    """For ``vasp`` with r²SCAN: relax with PBEsol first."""
    potcar: Literal["auto", "spec"] = "auto"
    """``auto``: full POTCARs if PMG_VASP_PSP_DIR is set, otherwise POTCAR.spec."""
    command: Annotated[list[Word], BeforeValidator(as_list)] = []
    """Words that start the code: ``[srun, vasp_std]``; for ``gpaw`` what stands before
    Python (``[mpiexec, -n, "4"]``), or nothing."""
    competing_phases: Literal["reference", "calculate"] = "reference"
    """Where DFT's E_d gets its hull: entries of ``systems.NAME.dft_reference``, or every
    phase of ``systems.NAME.phases`` calculated the same way (always so with ``gpaw``)."""
    attempts: Count = 3
    """Jobs that a structure may use up, each with more time and memory than the last."""
    tasks: Count = 1
    """MPI ranks of a job (``srun`` starts them)."""
    mem_mb: Count = 8000
    """Memory of the first attempt, MB."""
    runtime: Count = 1440
    """Time limit of the first attempt, minutes."""
    gpaw: GpawConfig = GpawConfig()
    """The free engine's own settings."""

    @model_validator(mode="after")
    def _engine_has_functional(self) -> Self:
        known = {"vasp": ("r2SCAN", "GGA/GGA+U"), "gpaw": ("r2SCAN", "PBE")}[self.engine]
        if self.functional not in known:
            raise ValueError(
                f"functional '{self.functional}': engine '{self.engine}' has {' and '.join(known)}"
            )
        return self
