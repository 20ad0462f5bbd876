"""Checks of the DFT settings of a campaign before any job starts.

Used at parse time: imports no torch, no pymatgen and no engine.
"""

from typing import Any

from chggen.config.contracts import require_same
from chggen.config.dft import cannot_run, vasp_contract
from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.config.potcars import potcar_directory, potcar_problem
from chggen.config.systems import SystemConfig
from chggen.errors import ConfigError, ContractError
from chggen.provenance import file_digest
from chggen.reference.reference import contract_of, coverage_problem
from chggen.structure import files as structurefiles


def notice(config: Config) -> str | None:
    """Why requested calculations cannot run; None if they can, or if none are requested."""
    problem = cannot_run(config.dft) if config.dft.run else None
    if problem is None:
        return None
    return f"{problem}; dft.run = true: inputs would be written but nothing calculated"


def check(config: Config, name: str) -> None:
    """Raise :class:`ConfigError` if the DFT settings of a system are inconsistent."""
    system, dft = config.systems[name], config.dft
    where = f"config: systems.{name}"
    if dft.calculates_phases and system.phases is None:
        key = "engine = 'gpaw'" if dft.engine == "gpaw" else "competing_phases = 'calculate'"
        raise ConfigError(f"{where}.phases: dft.{key} needs structures of the competing phases")
    if dft.calculates_phases and system.phases is not None:
        try:
            structurefiles.check(system.phases)
        except ConfigError as error:
            raise ConfigError(f"{where}.phases = '{system.phases}': {error}") from error
    if dft.engine == "vasp" and dft.potcar == "auto" and potcar_directory():
        problem = potcar_problem(dft.functional, dft.input_set, system.elements)
        if problem:
            raise ConfigError(
                f"{where}: {problem}; unset it, or write only names with dft.potcar: spec"
            )
    if system.dft_reference is not None:
        _check_reference(config, system, f"{where}.dft_reference", system.dft_reference)


def _check_reference(
    config: Config, system: SystemConfig, where: str, reference: ReferenceConfig
) -> None:
    if config.dft.engine == "gpaw":
        raise ConfigError(
            f"{where}: dft.engine = 'gpaw' needs competing phases that it calculates itself"
        )
    try:
        require_same(vasp_contract(config.dft), "dft", contract_of(reference), "the reference")
    except ContractError as error:
        raise ConfigError(f"{where}: {error}") from error
    problem = coverage_problem(reference, system.elements)
    if problem:
        raise ConfigError(f"{where}: {problem}")


def facts(stage: str, config: Config, name: str) -> dict[str, Any]:
    """Dependencies of a stage other than section ``dft``; empty for stages without DFT.

    Args:
        stage: name of the stage.
        config: the whole configuration.
        name: name of the system.
    """
    match stage:
        case "submit":
            return _submit_facts(config, name)
        case "collect":
            return _collect_facts(config, name)
    return {}


def _submit_facts(config: Config, name: str) -> dict[str, Any]:
    system = config.systems[name]
    facts: dict[str, Any] = {"phases": None}
    if config.dft.engine == "vasp":
        # inputs are rewritten when POTCARs become available or unavailable
        facts["potcars"] = config.dft.potcar == "auto" and bool(potcar_directory())
    # phases relaxed by the potential are read from a table
    if config.dft.calculates_phases and system.reference.source != "potential":
        facts["phases"] = str(system.phases)
        if system.phases is not None:
            facts["phases_digest"] = structurefiles.structures_digest(system.phases)
    return facts


def _collect_facts(config: Config, name: str) -> dict[str, Any]:
    reference = config.systems[name].dft_reference
    facts: dict[str, Any] = {
        "screen": config.screen.model_dump(mode="json"),
        "dft_reference": None,
    }
    if reference is not None:
        facts["dft_reference"] = reference.model_dump(mode="json")
        if reference.path is not None:
            facts["dft_reference_digest"] = file_digest(reference.path)
    return facts
