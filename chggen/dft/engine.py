"""Interface of a DFT code, and its result for one structure.

An engine writes inputs, runs the unfinished steps in a directory, and reads the results.
The directory contains the whole state: a new run continues where the last one stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chggen.config.contracts import Contract
from chggen.errors import Status
from chggen.structure.crystal import Crystal


@dataclass(frozen=True)
class Result:
    """Result of one structure; names and units as in ``schema.CALCULATION``.

    Args:
        status: ``ok`` only if every step of the recipe finished and converged;
            ``out_of_time`` and ``interrupted`` (killed, or out of memory) if another
            attempt with more time and memory may succeed.
        reason: one line if the status is not ``ok``.
        crystal: final structure, or None.
        dft_energy_per_atom: energy of the last finished step, including the corrections of
            the contract, eV/atom; None if that step is not converged.
        correction_per_atom: correction contained in it, eV/atom.
        run_type: functional as stated in the output files.
        fmax: largest force, eV/Å.
        smax: largest stress component, GPa.
        finished: steps of the recipe that finished successfully, in order.
        corrected_errors: errors that were recognised and corrected, in order.
        wall_time: seconds over all attempts.
    """

    status: Status
    reason: str = ""
    crystal: Crystal | None = None
    dft_energy_per_atom: float | None = None
    correction_per_atom: float | None = None
    run_type: str | None = None
    fmax: float | None = None
    smax: float | None = None
    finished: tuple[str, ...] = ()
    corrected_errors: tuple[str, ...] = ()
    wall_time: float = 0.0


class Engine(Protocol):
    """A DFT code."""

    @property
    def name(self) -> str:
        """As in ``dft.engine``."""

    @property
    def contract(self) -> Contract:
        """Contract of the energies of the last step."""

    @property
    def recipe(self) -> tuple[str, ...]:
        """Names of its steps, in order; each has a folder of that name."""

    def problem(self) -> str | None:
        """Why nothing can be run here, in one line; None if everything is available."""

    def prepare(self, crystal: Crystal, directory: Path) -> dict[str, str]:
        """Write the inputs; returns the columns ``input_set`` and ``potcar`` of ``submitted``.

        Raises:
            OSError, ValueError: see :func:`chggen.dft.inputs.prepare`.
        """

    def run(self, directory: Path, *, seconds: float | None) -> Result:
        """Run every unfinished step; never raises an exception for a failing structure.

        Args:
            directory: directory made by :meth:`prepare`.
            seconds: time limit before which the run stops cleanly, so that the next attempt
                continues from there (status ``out_of_time``). With 0 nothing is started and
                the existing results are read.
        """
