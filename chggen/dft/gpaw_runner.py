"""The process that computes with GPAW: ``python -m chggen.dft.gpaw_runner DIRECTORY``.

The engine starts it, with ``mpiexec`` or another launcher if ``dft.command`` names one; then
every rank runs this module and the first one writes. It runs each step of the recipe that has
not finished successfully; the first failure ends the run. GPAW is imported only here.
"""

import os
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chggen.dft.gpaw_job import (
    LATEST,
    RELAX,
    RESULT,
    SINGLE_POINT,
    XC,
    Job,
    StepResult,
    initial_moments,
    kpoint_mesh,
    read_result,
)
from chggen.errors import Status
from chggen.units import GPA_PER_EV_PER_A3

if TYPE_CHECKING:
    from ase import Atoms

#: Self-consistency steps after which a calculation has not converged.
MAX_ITERATIONS: Final = 200
#: Energy convergence of these steps, eV per valence electron.
ENERGY_CRITERION: Final = 1e-5


class Run:
    """The steps of one job.

    Args:
        directory: directory of the job.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.job = Job.read(directory)
        self.began = time.monotonic()

    def all(self) -> None:
        """Run every step that has not finished successfully, until one fails."""
        for step in self.job.recipe:
            before = read_result(self.directory, step)
            if before is not None and before.status == Status.OK:
                continue
            self.began = time.monotonic()
            result = self.attempt(step)
            self.write(result, step, RESULT)
            if result.status != Status.OK:
                return

    def attempt(self, step: str) -> StepResult:
        """Run a step; known failures become its status and reason."""
        from gpaw import ConvergenceError

        try:
            return self.relax() if step == RELAX else self.single_point()
        except ConvergenceError:
            reason = f"{step}: not self-consistent after {MAX_ITERATIONS} iterations"
            return StepResult(Status.NOT_CONVERGED.value, reason)
        except MemoryError:
            return StepResult(Status.INTERRUPTED.value, f"{step}: out of memory")

    def atoms(self, last: StepResult | None, functional: str, step: str) -> "Atoms":
        """Structure of the job, or that of ``last``, with its calculator.

        Args:
            last: result of the previous step, or None.
            functional: PBE or r2SCAN.
            step: name of the step; its folder gets the output.
        """
        from ase import Atoms
        from gpaw import GPAW, PW, FermiDirac

        job = self.job
        crystal = (last.crystal(job.atomic_numbers) if last else None) or job.crystal
        atoms = Atoms(
            numbers=crystal.atomic_numbers,
            cell=crystal.cell,
            scaled_positions=crystal.frac_coords,
            magmoms=initial_moments(job.atomic_numbers),
            pbc=True,
        )
        atoms.calc = GPAW(
            mode=PW(job.cutoff),
            xc=XC[functional],
            kpts={"size": kpoint_mesh(crystal.cell, job.kpoint_density), "gamma": True},
            occupations=FermiDirac(job.smearing),
            convergence={"energy": ENERGY_CRITERION},
            maxiter=MAX_ITERATIONS,
            txt=str(self.directory / step / "gpaw.txt"),
        )
        return atoms

    def single_point(self) -> StepResult:
        """Energy, forces and stress of the initial or, if any, the relaxed structure."""
        relaxed = read_result(self.directory, RELAX)
        atoms = self.atoms(relaxed, self.job.functional, SINGLE_POINT)
        return self.state(atoms)

    def relax(self) -> StepResult:
        """Relax with PBE, from the last geometry written if there is one."""
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS

        last = StepResult.read(self.directory / RELAX / LATEST)
        done = last.steps if last else 0
        atoms = self.atoms(last, "PBE", RELAX)
        target = FrechetCellFilter(atoms) if self.job.relax == "cell" else atoms
        optimizer = BFGS(target, logfile=str(self.directory / RELAX / "bfgs.log"))

        def keep() -> None:
            self.write(self.state(atoms, done + optimizer.nsteps), RELAX, LATEST)

        optimizer.attach(keep)
        limit = self.job.max_steps
        converged = optimizer.run(fmax=self.job.fmax, steps=max(0, limit - done))
        result = self.state(atoms, done + optimizer.nsteps)
        if converged:
            return result
        reason = f"relax: above {self.job.fmax} eV/Å after {limit} steps"
        return replace(result, status=Status.NOT_CONVERGED.value, reason=reason)

    def state(self, atoms: "Atoms", steps: int = 0) -> StepResult:
        """Result of the calculation at the current structure."""
        spin = atoms.get_initial_magnetic_moments().any()
        # energy at zero smearing; forces are derivatives of the free energy
        energy = float(atoms.get_potential_energy(force_consistent=False))
        result = StepResult(
            run_type=_functional(atoms.calc),
            energy_per_atom=energy / len(atoms),
            fmax=float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
            smax=float(np.abs(atoms.get_stress()).max()) * GPA_PER_EV_PER_A3,
            cell=atoms.cell.array.tolist(),
            frac_coords=atoms.get_scaled_positions().tolist(),
            steps=steps,
            magnetic_moment=float(atoms.get_magnetic_moment()) if spin else 0.0,
            wall_time=time.monotonic() - self.began,
        )
        values = (result.energy_per_atom, result.fmax, result.smax)
        if not np.isfinite([v for v in values if v is not None]).all():
            return StepResult(Status.NOT_FINITE.value, "energy, forces or stress not finite")
        return result

    def write(self, result: StepResult, step: str, name: str) -> None:
        """Write a file of a step, once for all ranks.

        Args:
            result: result of the step.
            step: name of the step.
            name: name of the file.
        """
        from gpaw.mpi import world

        if world.rank == 0:
            result.write(self.directory / step / name)
        world.barrier()  # every rank reads it in the next step


def _functional(calculator: Any) -> str:  # noqa: ANN401 - GPAW has no stubs
    """Functional as stated by the calculation."""
    name = str(calculator.dft.pot_calc.xc.name)
    return {xc: known for known, xc in XC.items()}.get(name, name)


def _end_with_parent() -> None:
    """End this process when its parent ends, which closes the pipe.

    Otherwise the calculation of a killed job would run in parallel with its next attempt.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the job of the directory given as the only argument."""
    from gpaw.mpi import world

    warnings.simplefilter("ignore")
    if world.rank == 0:
        _end_with_parent()
    run = Run(Path(sys.argv[1]))
    for step in run.job.recipe:
        (run.directory / step).mkdir(exist_ok=True)
    run.all()


if __name__ == "__main__":
    main()
