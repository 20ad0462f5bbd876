"""What a DFT code must do here, and what comes back of one structure.

An engine writes inputs, runs what is still to be run in a directory, and reads what is
there. A directory is its own memory: whoever runs it again goes on where it stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chggen.config.contracts import Contract
from chggen.errors import Status
from chggen.structure.crystal import Crystal


@dataclass(frozen=True)
class Result:
    """What became of one structure; names and units as in ``schema.CALCULATION``.

    Args:
        status: ``ok`` only if every step of the recipe ended and converged;
            ``out_of_time`` and ``interrupted`` (killed, or no memory left) if another
            attempt with more of both may help.
        reason: one line if it is not.
        crystal: final structure, if there is one.
        dft_energy_per_atom: of the last finished step, corrections of the contract's scheme
            included, eV/atom; None if that step is not converged.
        correction_per_atom: of those, eV/atom.
        run_type: functional as the output files say it.
        fmax: largest force, eV/Å.
        smax: largest stress component, GPa.
        finished: steps of the recipe that ended well, in order.
        corrected_errors: errors that were recognised and corrected on the way, in order.
        wall_time: seconds, all attempts.
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
        """What the energies of the last step may be compared with."""

    @property
    def recipe(self) -> tuple[str, ...]:
        """Names of its steps, in order; each has a folder of that name."""

    def problem(self) -> str | None:
        """Why nothing can be run here, in one line; None if all is there."""

    def prepare(self, crystal: Crystal, directory: Path) -> dict[str, str]:
        """Write the inputs; gives columns ``input_set`` and ``potcar`` of ``submitted``.

        Raises:
            OSError, ValueError: see :func:`chggen.dft.inputs.prepare`.
        """

    def run(self, directory: Path, *, seconds: float | None) -> Result:
        """Run every step that is not finished; never raises for what one structure does.

        Args:
            directory: prepared before.
            seconds: stop cleanly before that many have passed, so that the next attempt
                goes on from there (status ``out_of_time``). With 0 nothing is started:
                what is there is read.
        """
