"""Entries of the Materials Project, asked for before the first job.

The node that drives a campaign has a network, the nodes that compute often have none.
"""

from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.reference.project import Client, materials_project
from chggen.reference.reference import project_entries


def needed(config: Config, name: str) -> list[ReferenceConfig]:
    """References of a system that rest on the Materials Project's entries."""
    system = config.systems[name]
    given = [system.reference, system.dft_reference]
    if config.screen.second_potential is not None:
        given.append(system.second_reference)
    return [
        reference
        for reference in given
        if reference is not None
        and (
            reference.source == "materials-project"
            or (reference.source == "potential" and system.phases is None)
        )
    ]


def fetch(config: Config, client: Client = materials_project) -> None:
    """Fetch and cache every set of entries that is needed and not cached yet.

    Args:
        config: of the campaign.
        client: makes an MPRester from a key.

    Raises:
        ReferenceCoverageError, ContractError: an answer cannot be had or used.
    """
    for name, system in config.systems.items():
        for reference in needed(config, name):
            project_entries(reference, system.elements, client)
