"""What can be checked of a whole configuration before any job starts.

Used at parse time: no torch, no pymatgen.
"""

from collections.abc import Collection, Mapping
from typing import Any

from chggen.config.base import paths_of
from chggen.config.contracts import comparable, require_comparable
from chggen.config.dispersion import split
from chggen.config.energies import (
    check_potential,
    check_precision,
    missing_named,
    potential_contract,
)
from chggen.config.model import Config
from chggen.config.stages import GenerateConfig
from chggen.diffusion.card import require_cell_head, unknown_elements
from chggen.errors import ConfigError, ContractError, TableError
from chggen.provenance import PACKAGE
from chggen.reference.reference import contract_of, coverage_problem
from chggen.structure import files as structurefiles

#: Shards have five jobs each, all of which Snakemake holds in memory.
_MOST_SHARDS = 1_000_000


def size(config: Config) -> None:
    """Results have a place, and the jobs a number that a workflow can plan."""
    results = config.results
    taken = next((p for p in (results, *results.parents) if p.exists()), None)
    if taken is not None and not taken.is_dir():
        raise ConfigError(f"config: results = '{results}': '{taken}' is a file")
    shards = sum(len(s.formulas()) * s.lattice_seeds for s in config.systems.values())
    if shards > _MOST_SHARDS:
        raise ConfigError(
            f"config: systems: {shards:,} shards (compositions x lattice_seeds); a workflow"
            f" takes at most {_MOST_SHARDS:,}: more structures go into lattices_per_seed"
        )


def potentials(config: Config, named: Mapping[str, str]) -> None:
    """Potentials that are named exist, and their files are there.

    Args:
        config: of the campaign.
        named: name of a potential by the key that names it.

    Raises:
        ConfigError: names the key.
    """
    own = config.potentials
    for key, name in named.items():
        try:
            potential_contract(name, own)
        except ConfigError as error:
            raise ConfigError(f"config: {key} = '{name}': {error}") from error
        missing = missing_named(name)
        if missing:
            raise ConfigError(f"config: {key} = '{name}': {missing}")
    for name in sorted({split(name)[0] for name in named.values()} & set(own)):
        try:
            check_potential(own[name])
        except ConfigError as error:
            raise ConfigError(f"config: potentials.{name}.{error}") from error
    try:
        check_precision(config.relax.potential, config.relax.precision, own)
    except ConfigError as error:
        raise ConfigError(f"config: {error}") from error


def training(config: Config) -> None:
    """What a training would read is there, of a known kind, and has the columns and rows.

    Nothing is read to its end: the training itself does that before it starts.
    """
    for key in ("data", "validation", "exclude"):
        for path in paths_of(getattr(config.train, key)):
            try:
                structurefiles.check(path, through=False)
            except ConfigError as error:
                raise ConfigError(f"config: train.{key} = '{path}': {error}") from error


def generation(settings: GenerateConfig) -> None:
    """Files that ``generate`` reads are there and hold what they should.

    Raises:
        ConfigError: names the key.
    """
    if settings.path is not None:
        try:
            structurefiles.check(settings.path)
        except ConfigError as error:
            raise ConfigError(f"config: generate.path = '{settings.path}': {error}") from error
    library = settings.prototypes.library
    if library is not None:
        from chggen.tables import parquet

        key = "config: generate.prototypes.library"
        try:
            rows = parquet.read_table(library, "prototypes", ["name"]).num_rows
        except TableError as error:
            raise ConfigError(f"{key}: {error}") from error
        if not rows:
            raise ConfigError(f"{key}: {library}: holds no prototype")


def network(card: Mapping[str, Any], where: str, elements: Collection[str], *, joint: bool) -> None:
    """A score network knows all elements, and cells where they are drawn with the positions.

    Args:
        card: of the checkpoint.
        where: key and value that name it.
        elements: of all systems.
        joint: whether ``generate.lattice.joint`` asks for cells.
    """
    if joint:
        require_cell_head(card, where)
    unknown = unknown_elements(card, elements)
    if unknown:
        raise ConfigError(f"{where}: was not trained on {', '.join(unknown)}")


def contracts(config: Config, name: str) -> None:
    """Each reference of a system can judge its potential: the same contract, or MP2020 is added."""
    system, screen = config.systems[name], config.screen
    pairs = []
    if system.reference.source != "potential":  # whose energies are its own
        pairs.append(("reference", config.relax.tight.potential_name, system.reference))
    if screen.second_potential is not None and system.second_reference is not None:
        second = system.second_reference
        pairs.append(("second_reference", screen.second_potential, second))
        problem = coverage_problem(second, system.elements)
        if problem:
            raise ConfigError(f"config: systems.{name}.second_reference: {problem}")
    for key, potential, reference in pairs:
        contract = potential_contract(potential, config.potentials)
        try:
            require_comparable(contract, potential, contract_of(reference), "the reference")
        except ContractError as error:
            raise ConfigError(f"config: systems.{name}.{key}: {error}") from error
    _second_threshold(config, name)


def _second_threshold(config: Config, name: str) -> None:
    """A threshold on an E_d that no structure could ever get is a mistake."""
    system, screen = config.systems[name], config.screen
    second = screen.second_potential
    if second is None or screen.second_threshold is None or system.second_reference:
        return
    contract = potential_contract(second, config.potentials)
    same = comparable(contract, contract_of(system.reference))
    if system.reference.source == "potential":
        same = second == config.relax.tight.potential_name
    if not same:
        raise ConfigError(
            f"config: screen.second_threshold = {screen.second_threshold:g}:"
            f" systems.{name} has no second_reference for {second}"
        )


def known_cells(config: Config) -> None:
    """The user's table of known cells can be read."""
    library = config.generate.lattice.library
    if library is None:
        return
    # scipy and ASE behind it take longer to load than most Snakefiles
    from chggen.cells.library import read

    try:
        read(library)
    except ConfigError as error:
        raise ConfigError(f"config: generate.lattice.library = '{library}': {error}") from error


def known_crystals(config: Config) -> None:
    """The package's table of known crystals can be read, where the screen needs it."""
    if config.screen.known != "label":
        return
    from chggen.tables import parquet

    try:
        parquet.require(PACKAGE / "data/known_crystals.parquet", "known")
    except TableError as error:
        raise ConfigError(f"config: screen.known = 'label': {error}") from error
