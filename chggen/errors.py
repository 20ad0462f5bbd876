"""Typed exceptions, and the status codes that a table row can carry.

An exception stops a command; a status stays with one structure. One bad structure
never raises out of its batch: it keeps its row, with a status and a reason.
"""

from enum import StrEnum


class ChggenError(Exception):
    """Base of every error that a user can cause; its text is one line."""


class ConfigError(ChggenError):
    """A configuration value is missing, unknown or impossible; names key and value."""


class TableError(ChggenError):
    """A table does not hold what its schema promises, or cannot be read."""


class ContractError(ChggenError):
    """Energies that may not be compared were about to be compared."""


class CheckpointError(ChggenError):
    """A network's or potential's file is missing, damaged or not fit for its use."""


class ReferenceCoverageError(ChggenError):
    """A phase-diagram reference does not cover the chemical system asked for."""


class CompositionError(ChggenError):
    """A formula is not an integer composition of known elements."""


class UnfinishedError(ChggenError):
    """A calculation has to go on in another job, with more time or memory."""


class DriverError(ChggenError):
    """The workflow's driver is alive, hangs, or left what cannot be cleared away."""


class Status(StrEnum):
    """What became of one structure in one stage (column ``status``)."""

    OK = "ok"
    #: the parent row failed, so nothing was attempted
    PARENT_FAILED = "parent_failed"
    #: the generator or sampler returned no structure
    SAMPLING_FAILED = "sampling_failed"
    #: no arrangement has the requested space group
    SYMMETRY_IMPOSSIBLE = "symmetry_impossible"
    #: atoms closer than the limit of the stage
    TOO_CLOSE = "too_close"
    #: an atom without a neighbour within the potential's cutoff
    ISOLATED_ATOM = "isolated_atom"
    #: volume or energy diverged during relaxation
    EXPLODED = "exploded"
    #: non-finite energy, force or stress
    NOT_FINITE = "not_finite"
    #: the step limit was reached before the force criterion
    NOT_CONVERGED = "not_converged"
    #: no step of the tolerance ladder gave a space group above P-1
    NO_SYMMETRY = "no_symmetry"
    #: symmetrisation would break or form bonds between hosts
    COORDINATION_CHANGED = "coordination_changed"
    #: symmetrisation would move atoms further than the cap
    DISPLACEMENT_CAP = "displacement_cap"
    #: the framework's new cell cannot hold an integer number of guests
    COMPOSITION_DRIFT = "composition_drift"
    #: walltime limit reached; the next attempt continues from there
    OUT_OF_TIME = "out_of_time"
    #: killed by the system or the user in every attempt (memory, a lost node, cancelled)
    INTERRUPTED = "interrupted"
    #: any other failure; see the reason
    FAILED = "failed"


#: One sentence per status, for reports and docs.
STATUS_TEXT: dict[Status, str] = {
    Status.OK: "done",
    Status.PARENT_FAILED: "not attempted: the parent structure failed",
    Status.SAMPLING_FAILED: "the generator returned no structure",
    Status.SYMMETRY_IMPOSSIBLE: "no arrangement has the requested space group",
    Status.TOO_CLOSE: "two atoms closer than the limit",
    Status.ISOLATED_ATOM: "an atom has no neighbour within the cutoff",
    Status.EXPLODED: "volume or energy diverged during relaxation",
    Status.NOT_FINITE: "non-finite energy, force or stress",
    Status.NOT_CONVERGED: "step limit reached before the force criterion",
    Status.NO_SYMMETRY: "no tolerance gave a space group above P-1",
    Status.COORDINATION_CHANGED: "symmetrisation would break or form bonds between host atoms",
    Status.DISPLACEMENT_CAP: "symmetrisation would move atoms further than the cap",
    Status.COMPOSITION_DRIFT: "the new cell cannot hold an integer number of guests",
    Status.OUT_OF_TIME: "walltime limit reached",
    Status.INTERRUPTED: "killed by the system or the user in every attempt",
    Status.FAILED: "another failure; see the reason in the row",
}
