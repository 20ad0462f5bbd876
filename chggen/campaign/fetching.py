"""References looked through before the first job, and fetched where they have to be.

The node that drives a campaign has a network, the nodes that compute often have none.
pymatgen is imported when a reference is loaded: by ``chggen check`` and the driver, never
by the jobs.
"""

from collections.abc import Iterator

from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.errors import ContractError, ReferenceCoverageError
from chggen.reference.computed import load_competing
from chggen.reference.energy_table import read, require_hash
from chggen.reference.project import Client, materials_project
from chggen.reference.reference import cache_path, load_reference, project_entries


def references(config: Config, name: str) -> Iterator[tuple[str, ReferenceConfig]]:
    """References that a system uses, with their keys."""
    system = config.systems[name]
    yield "reference", system.reference
    if config.screen.second_potential is not None and system.second_reference is not None:
        yield "second_reference", system.second_reference
    if system.dft_reference is not None:
        yield "dft_reference", system.dft_reference


def fetch(config: Config, client: Client | None = materials_project) -> list[str]:
    """Read every list of entries and table of the user's; fetch and cache what is not there.

    Args:
        config: of the campaign.
        client: makes an MPRester from a key; None never goes to the network.

    Returns:
        One line for each reference with something that its user should know.

    Raises:
        ReferenceCoverageError, ContractError: an answer cannot be had or used.
    """
    warnings = []
    for name, system in config.systems.items():
        for key, reference in references(config, name):
            where = f"systems.{name}.{key}"
            fetched = reference.source == "materials-project"
            if fetched and client is None and not cache_path(reference, system.elements).is_file():
                continue
            try:
                if fetched:
                    asked = client or materials_project  # not asked: the file is there
                    warning = project_entries(reference, system.elements, asked).warning
                elif reference.source == "file":
                    warning = load_reference(reference, system.elements).partial
                elif reference.source == "potential" and system.phases is None:
                    warning = _of_table(config, reference, system.elements)
                else:
                    warning = None
            except (ReferenceCoverageError, ContractError) as error:
                raise type(error)(f"{where}: {error}") from error
            if warning:
                warnings.append(f"{where}: {warning}")
    return warnings


def _of_table(config: Config, reference: ReferenceConfig, elements: set[str]) -> str | None:
    """Check a table of energies against the weights of the potential; gives its warning.

    Raises:
        ReferenceCoverageError: it is of another potential.
    """
    from chggen.potential import load_named

    relax = config.relax.tight
    model = load_named(relax.potential_name, config.potentials, precision=relax.precision)
    if reference.path is not None:
        require_hash(read(reference.path), relax.potential_name, model.hash)
    return load_competing(reference, elements, potential=model.hash, relax=config.relax).partial
