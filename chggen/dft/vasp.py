"""Engine ``vasp``: the steps of the recipe through custodian, in folders of one directory.

Finished steps are recognised by their output files alone, so that a job that was killed at
any moment can be restarted: finished steps are skipped, and the interrupted step continues
from its last geometry and wave functions.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chggen.config.contracts import GGA, Contract
from chggen.config.dft import DftConfig, cannot_run, vasp_contract
from chggen.dft import inputs, outputs, recipe
from chggen.dft.attempts import read_json, write_json
from chggen.dft.engine import Result
from chggen.errors import Status
from chggen.structure.crystal import Crystal

if TYPE_CHECKING:
    from chggen.dft.custody import Deadline, Ended

_WAVE_FUNCTIONS: Final = "WAVECAR"
#: File with the total seconds of all jobs.
_SPENT: Final = "wall_time.json"
#: Ranges of a geometry to continue from (volume over the initial volume; distance, Å).
_VOLUMES: Final = (0.3, 3.0)
_LEAST_DISTANCE: Final = 0.5


class Vasp:
    """VASP through custodian.

    Args:
        settings: section ``dft``.
    """

    name = "vasp"

    def __init__(self, settings: DftConfig) -> None:
        self.settings = settings

    @property
    def contract(self) -> Contract:
        """r²SCAN uncorrected, or GGA/GGA+U corrected with MP2020."""
        return vasp_contract(self.settings)

    @property
    def recipe(self) -> tuple[str, ...]:
        """Names of the steps."""
        return recipe.steps(self.settings)

    def problem(self) -> str | None:
        """Why nothing can be run here."""
        return cannot_run(self.settings)

    def prepare(self, crystal: Crystal, directory: Path) -> dict[str, str]:
        """Write the inputs of all steps; see :func:`chggen.dft.inputs.prepare`."""
        potcar = inputs.prepare(crystal, directory, self.settings)
        own = self.settings.functional != GGA
        return {"input_set": self.settings.input_set if own else "MPRelaxSet", "potcar": potcar}

    def run(self, directory: Path, *, seconds: float | None) -> Result:
        """Run the unfinished steps; see :class:`chggen.dft.engine.Engine`."""
        from chggen.dft.custody import Deadline, corrected_errors

        began = time.monotonic()
        before = _spent(directory)
        calculation = _Calculation(self.settings, directory, Deadline(seconds))
        status, reason = calculation.go_on()
        last = calculation.last
        final = status == Status.OK and last is not None
        energy = correction = None
        if final and last is not None:
            status, reason, correction = self._correction(last)
            if correction is not None:
                energy = (last.energy + correction) / len(last.structure)
                correction /= len(last.structure)
        spent = before + time.monotonic() - began
        write_json(directory / _SPENT, spent)
        return Result(
            status,
            reason,
            crystal=last.crystal if last else None,
            dft_energy_per_atom=energy,
            correction_per_atom=correction,
            run_type=last.run_type if last else None,
            fmax=last.fmax if final and last else None,
            smax=last.smax if final and last else None,
            finished=tuple(calculation.finished),
            corrected_errors=tuple(
                m for step in self.recipe for m in corrected_errors(directory / step)
            ),
            wall_time=spent,
        )

    def _correction(self, last: outputs.Output) -> tuple[Status, str, float | None]:
        """Correction by the scheme of the contract, eV per cell."""
        if self.settings.functional != GGA:
            return Status.OK, "", 0.0
        try:
            return Status.OK, "", outputs.mp2020_correction(last)
        except ValueError as error:
            return Status.FAILED, str(error), None


class _Calculation:
    """The steps of one structure.

    Attributes:
        finished: steps that finished successfully.
        last: output of the last of them.
    """

    def __init__(self, settings: DftConfig, directory: Path, deadline: "Deadline") -> None:
        self.settings, self.directory, self.deadline = settings, directory, deadline
        self.finished: list[str] = []
        self.last: outputs.Output | None = None

    def go_on(self) -> tuple[Status, str]:
        """Run every unfinished step; returns status and reason."""
        if inputs.potcar_of(self.directory, self.settings) != "full":
            return Status.FAILED, "the inputs have no POTCAR, only POTCAR.spec"
        for step in recipe.steps(self.settings):
            output = outputs.read(self.directory / step)
            if output is None or output.problem:
                if self.deadline.passed:
                    return Status.OUT_OF_TIME, f"{step}: not started or not finished"
                status, reason = self._run(step)
                if status != Status.OK:
                    return status, f"{step}: {reason}"
                output = outputs.read(self.directory / step)
            if output is None:
                return Status.FAILED, f"{step}: output files are missing"
            expected = recipe.run_types(step, self.settings)
            if output.run_type not in expected:
                wanted = " or ".join(sorted(expected))
                return Status.FAILED, f"{step}: run type {output.run_type}, not {wanted}"
            self.finished.append(step)
            self.last = output
        for step in self.finished:
            (self.directory / step / _WAVE_FUNCTIONS).unlink(missing_ok=True)
        return Status.OK, ""

    def _run(self, step: str) -> tuple[Status, str]:
        """Run one step; returns status and reason."""
        from chggen.dft import custody

        folder = self.directory / step
        try:
            self._set_up(step, folder)
        except (OSError, ValueError, KeyError) as error:
            return Status.FAILED, f"inputs: {str(error).splitlines()[0] if str(error) else error!r}"
        ended = custody.run(folder, _absolute(self.settings.command), self.deadline)
        return self._verdict(ended, outputs.read(folder))

    def _verdict(self, ended: "Ended", output: outputs.Output | None) -> tuple[Status, str]:
        """Status and reason of a run, from its files and then from how it ended."""
        if output is not None and not output.problem:
            return Status.OK, ""
        if self.deadline.passed:
            return Status.OUT_OF_TIME, "stopped at the walltime limit"
        if ended.killed:
            return Status.INTERRUPTED, "killed or out of memory"
        more = f" ({ended.reason})" if ended.reason else ""
        if output is None:
            return Status.FAILED, f"no complete vasprun.xml and OUTCAR{more}"
        return Status.NOT_CONVERGED, output.problem + more

    def _set_up(self, step: str, folder: Path) -> None:
        """Inputs of a step, from the previous step or from where this one stopped."""
        for name in ("STOPCAR", outputs.STOP_ASKED):
            (folder / name).unlink(missing_ok=True)
        if self._goes_on(folder):
            (folder / "CONTCAR").replace(folder / "POSCAR")
            return
        if self.last is None:
            return  # the first step uses the prepared inputs
        before = self.directory / self.finished[-1]
        kspacing = _kspacing(before) if self.finished[-1] == recipe.RELAX else None
        made = recipe.input_set(
            step, self.last.structure, self.settings, gap=self.last.gap, kspacing=kspacing
        )
        inputs.write(made, folder, spec=False)
        known = before / _WAVE_FUNCTIONS
        # wave functions on other k-points cannot be used
        if known.is_file() and _kspacing_kept(before, folder):
            known.replace(folder / _WAVE_FUNCTIONS)
        known.unlink(missing_ok=True)

    def _goes_on(self, folder: Path) -> bool:
        """True if a run was started in the folder and left a geometry to continue from."""
        try:
            start = inputs.structure_in(folder / "POSCAR")
            found = inputs.structure_in(folder / "CONTCAR")
        except (OSError, ValueError):
            return False
        if [site.species for site in start] != [site.species for site in found]:
            return False
        crystal = Crystal.from_structure(found)
        if not crystal.is_finite or not start.volume:
            return False
        share = crystal.volume / start.volume
        return _VOLUMES[0] < share < _VOLUMES[1] and crystal.min_distance > _LEAST_DISTANCE


def _absolute(command: Sequence[str]) -> list[str]:
    """The command with absolute paths, because VASP is started in another directory."""
    return [str(Path(w).absolute()) if "/" in w and Path(w).exists() else w for w in command]


def _spent(directory: Path) -> float:
    """Seconds of earlier jobs that were not killed."""
    found = read_json(directory / _SPENT)
    return found if isinstance(found, float) else 0.0


def _kspacing(folder: Path) -> float | None:
    """KSPACING of the inputs in a folder, after corrections; None without one."""
    from pymatgen.io.vasp.inputs import Incar

    value = Incar.from_file(str(folder / "INCAR")).get("KSPACING")
    return None if value is None else float(value)


def _kspacing_kept(before: Path, after: Path) -> bool:
    """True if two folders have the same KSPACING."""
    value = _kspacing(before)
    return value is not None and value == _kspacing(after)
