"""Generator ``file``: loads structures from CIFs, extxyz or a table.

Each structure is assigned to its composition; the structures of one composition are
distributed over its lattice seeds in turn. A structure that cannot be read keeps a row, with
the reason, in the composition that it states (the formula line of a CIF, the column
``composition`` of a table). Files that do not state a composition belong to no shard: they
are listed in the header of every table, and named if a composition has no structures.
"""

import logging
from pathlib import Path

from chggen.errors import ConfigError
from chggen.generators.base import Loaded, Order
from chggen.structure import composition as comp
from chggen.structure.files import check, structures_digest
from chggen.structure.outcome import Outcome
from chggen.structure.readers import entries, load
from chggen.structure.task import Placed, Progress

LOGGER = logging.getLogger(__name__)


class FileSource:
    """Structures of one file or folder.

    Attributes:
        inputs: digest of the content, with the key ``structures``.
        unreadable: entries that could not be read and do not state a composition, with the
            reason; known after the first call of :meth:`structures`.
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        try:
            check(path)
        except ConfigError as error:
            raise ConfigError(f"config: generate.path = '{path}': {error}") from error
        self.path = path
        self.inputs = {"structures": structures_digest(path)}
        self.unreadable: list[str] = []

    def structures(self, order: Order, progress: Progress | None = None) -> list[Loaded]:
        """Structures of the composition and lattice seed of the order.

        Seed s of S gets the s-th, (s+S)-th, … of them, in the order of the file (CIFs:
        by name), at most as many as the order requests.
        """
        self.unreadable = []
        mine = []
        for entry in entries(self.path):
            # entries that state another composition need not be read
            known = None if entry.composition else load(entry)
            if known is not None and known.crystal is None:
                self.unreadable.append(f"{entry.origin}: {known.reason}")
                LOGGER.warning("%s: %s", entry.origin, known.reason)
                continue
            found = entry.composition or _composition(known)
            if found == order.composition:
                mine.append((entry, known))
        room = order.seeds * len(order.random_seeds)
        if len(mine) > room:
            LOGGER.warning(
                "%s holds %d structures of %s; the campaign uses %d of them (lattice_seeds x"
                " lattices_per_seed)",
                self.path.name,
                len(mine),
                order.composition,
                room,
            )
        dealt = mine[order.seed % order.seeds :: order.seeds][: len(order.random_seeds)]
        out = []
        for done, (entry, known) in enumerate(dealt, 1):
            read = known or load(entry)
            reason = f"{entry.origin}: {read.reason}" if read.crystal is None else ""
            out.append(Loaded(Placed(read.crystal, reason), entry.origin))
            if progress:
                progress(done, len(dealt))
        return out or [Loaded(Placed(None, self._nothing(order, len(mine)), 0))]

    def _nothing(self, order: Order, found: int) -> str:
        where = f"'{self.path.name}'"
        if found:
            return f"{where} holds {found} structures of {order.composition}, for other seeds"
        reason = f"{where} holds no structure of {order.composition}"
        if self.unreadable:
            reason += f" ({len(self.unreadable)} unreadable, first {self.unreadable[0]})"
        return reason


def _composition(placed: Outcome | None) -> str | None:
    if placed is None or placed.crystal is None:
        return None
    return comp.formula_of(placed.crystal.atomic_numbers)
