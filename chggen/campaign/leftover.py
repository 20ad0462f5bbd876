"""Structures of a generator file that a campaign leaves aside, counted without reading them."""

from collections import Counter

from chggen.config.model import Config
from chggen.structure import files

#: Compositions that are named before the rest is only counted.
_NAMED = 5


def leftover(config: Config) -> str | None:
    """How many structures of ``generate.path`` no shard takes, and why, in one line.

    A structure is left over if no system asks for its composition, or if there are more of
    its composition than ``lattice_seeds x lattices_per_seed``. Counted by the formulas that
    the file states. None if there is no file or nothing is left over.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = config.generate.path
    if path is None:
        return None
    room: Counter[str] = Counter()
    for system in config.systems.values():
        places = system.lattice_seeds * system.lattices_per_seed
        for formula in system.formulas():
            room[formula] = max(room[formula], places)
    found = Counter(files.stated_formulas(path))
    unstated = found.pop(None, 0)
    left = {
        str(formula): count - room[str(formula)]
        for formula, count in sorted(found.items(), key=str)
        if count > room[str(formula)]
    }
    parts = []
    if left:
        many = {f: n for f, n in left.items() if room[f]}
        other = {f: n for f, n in left.items() if not room[f]}
        total = sum(found.values()) + unstated
        parts.append(f"{sum(left.values())} of {total} structures are never used")
        if many:
            parts.append(f"more than lattice_seeds x lattices_per_seed: {_list(many)}")
        if other:
            parts.append(f"no system asks for the composition: {_list(other)}")
    if unstated:
        parts.append(f"{unstated} structures state no formula and are not counted here")
    return f"generate.path = '{path}': {'; '.join(parts)}" if parts else None


def _list(counts: dict[str, int]) -> str:
    named = ", ".join(f"{n} of {formula}" for formula, n in list(counts.items())[:_NAMED])
    rest = len(counts) - _NAMED
    return f"{named} and {rest} other compositions" if rest > 0 else named
