"""The filters of the screen, in order: what a structure must pass to go on to DFT."""

from enum import StrEnum
from typing import Final


class Filter(StrEnum):
    """Where the screen stopped a structure (column ``filter``), in the order they are asked."""

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
    #: a better one goes on that differs by the stacking of the same layers (or chains, molecules)
    SAME_FAMILY = "same_family"
    #: ``screen.max_swollen`` better ones of its composition are swollen and not 3D as well
    SWOLLEN = "swollen"
    #: ``screen.max_per_space_group`` better ones have its composition and space group
    SPACE_GROUP_FULL = "space_group_full"
    #: ``screen.max_selected`` better ones have its composition
    OVER_LIMIT = "over_limit"
    #: E_d by the second potential not under ``screen.second_threshold``
    SECOND_THRESHOLD = "second_threshold"
    #: passed all
    SELECTED = "selected"


#: What failing each filter means, for reports and docs.
FILTER_TEXT: Final[dict[Filter, str]] = {
    Filter.FAILED: "no relaxed structure",
    Filter.NOT_CONVERGED: "relaxation did not converge",
    Filter.TOO_CLOSE: "two atoms too close together",
    Filter.ABOVE_THRESHOLD: "E_d at or above the threshold",
    Filter.DUPLICATE: "duplicate of a better structure",
    Filter.KNOWN_PHASE: "known phase",
    Filter.NOT_SYMMETRIC: "no space group above P-1",
    Filter.SAME_FAMILY: "another stacking of a better structure",
    Filter.SWOLLEN: "limit of swollen structures reached",
    Filter.SPACE_GROUP_FULL: "limit per space group reached",
    Filter.OVER_LIMIT: "limit per composition reached",
    Filter.SECOND_THRESHOLD: "E_d from the second potential at or above its threshold",
    Filter.SELECTED: "selected for DFT",
}
