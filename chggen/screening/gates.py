"""The gates of the screen, in order: what a structure must pass to go on to DFT."""

from enum import StrEnum
from typing import Final


class Gate(StrEnum):
    """Where the screen stopped a structure (column ``gate``), in the order they are asked."""

    #: no relaxed structure: the status of the row says what became of it
    FAILED = "failed"
    #: relaxed, but not to the force and stress criterion
    NOT_CONVERGED = "not_converged"
    #: two atoms nearer than ``screen.min_distance``
    TOO_CLOSE = "too_close"
    #: E_d not under ``screen.threshold``
    ABOVE_THRESHOLD = "above_threshold"
    #: matches another row that stands for both
    DUPLICATE = "duplicate"
    #: matches a structure of the reference
    KNOWN_PHASE = "known_phase"
    #: not above P-1, with ``screen.require_symmetric``
    NOT_SYMMETRIC = "not_symmetric"
    #: ``screen.max_per_space_group`` better ones have its composition and space group
    SPACE_GROUP_FULL = "space_group_full"
    #: ``screen.max_selected`` better ones have its composition
    OVER_LIMIT = "over_limit"
    #: E_d by the second potential not under ``screen.second_threshold``
    SECOND_THRESHOLD = "second_threshold"
    #: passed all
    SELECTED = "selected"


#: What failing each gate means, for reports and docs.
GATE_TEXT: Final[dict[Gate, str]] = {
    Gate.FAILED: "no relaxed structure",
    Gate.NOT_CONVERGED: "relaxation ran out of steps",
    Gate.TOO_CLOSE: "two atoms too close",
    Gate.ABOVE_THRESHOLD: "E_d at or above the threshold",
    Gate.DUPLICATE: "the same as a better one",
    Gate.KNOWN_PHASE: "a known phase",
    Gate.NOT_SYMMETRIC: "no space group above P-1",
    Gate.SPACE_GROUP_FULL: "enough better ones in its space group",
    Gate.OVER_LIMIT: "enough better ones of its composition",
    Gate.SECOND_THRESHOLD: "E_d by the second potential at or above its threshold",
    Gate.SELECTED: "goes on to DFT",
}
