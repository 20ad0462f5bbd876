"""Which structures of a composition come from known prototypes, and which from the network."""

import math


def prototype_rows(share: float, first: int, count: int) -> list[int]:
    """Of ``count`` rows of a composition, those that come from known prototypes.

    Spread evenly over all rows of the composition, so that the share also holds for a few.

    Args:
        share: of all rows.
        first: number of the first of these rows among all rows of the composition.
        count: rows.

    Returns:
        Indices from 0 to ``count`` - 1.
    """

    def before(row: int) -> int:
        return math.ceil(round(row * share, 9))

    return [i for i in range(count) if before(first + i + 1) > before(first + i)]
