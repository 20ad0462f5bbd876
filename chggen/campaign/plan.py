"""What is to be made: systems, compositions, shards, seeds, settings per stage.

Used at parse time by the Snakefile and by every cluster job, so nothing here imports
torch or pymatgen.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from chggen.campaign import checks
from chggen.campaign import dft_checks as verification
from chggen.campaign.leftover import leftover
from chggen.campaign.seeds import Shard
from chggen.config import load as configfile
from chggen.config.dispersion import split
from chggen.config.energies import ReferenceConfig, potential_contract, untrained_elements
from chggen.config.model import Config
from chggen.config.stages import GENERATORS, generator_plugins
from chggen.config.text import read_yaml
from chggen.diffusion import card as checkpoints
from chggen.errors import CheckpointError, ChggenError, ConfigError
from chggen.provenance import code_digest, file_digest
from chggen.reference.reference import coverage_problem
from chggen.structure import files as structurefiles

#: The stages of one shard, and of one system, in order.
SHARD_STAGES = ("generate", "relax", "refine", "inpaint", "rerelax")
SYSTEM_STAGES = ("choose", "reference", "screen", "submit", "calculate", "collect", "report")

#: What a shard has only where guests are placed again.
_FRAMEWORK_TABLES = ("refined", "inpainted", "rerelaxed")

#: Sections of the config behind stages that have none of their own name.
SECTIONS = {
    "rerelax": "relax",
    "reference": "relax",
    "submit": "dft",
    "calculate": "dft",
    "collect": "dft",
}

#: Generators that fill cells which the campaign draws, each shard for itself.
CELL_FILLERS = ("diffusion", "prototypes", "random", "pyxtal")


@dataclass(frozen=True)
class Campaign:
    """A checked configuration and what follows from it."""

    config: Config

    @classmethod
    def load(
        cls,
        given: Mapping[str, Any] | None,
        default: str | Path,
        files: Sequence[str | Path] = (),
    ) -> Self:
        """Campaign of a mapping (Snakemake's ``config``) or of the default file.

        A mapping without ``systems`` is laid over the default file, so that
        ``--config screen='{threshold: 0.03}'`` changes the demo; one with ``systems``
        stands alone.

        Args:
            given: mapping, as Snakemake or :func:`chggen.config.text.read_yaml` read it.
            default: file that holds what is not given.
            files: where ``given`` comes from, if Snakemake read it: they are looked through
                for what its reader passes over, such as a key that is given twice.

        Raises:
            ConfigError: with one line.
        """
        for file in files:
            read_yaml(file)
        content = dict(given or {})
        if "systems" not in content:
            content = configfile.override(read_yaml(default), content)
        campaign = cls(configfile.parse(content))
        campaign.check()
        return campaign

    @property
    def results(self) -> str:
        """Directory for all results."""
        return str(self.config.results)

    @cached_property
    def shards(self) -> list[Shard]:
        """Every shard of the campaign."""
        return [
            Shard(name, formula, seed)
            for name, system in self.config.systems.items()
            for formula in system.formulas()
            for seed in range(system.lattice_seeds)
        ]

    def tables(self, system: str, table: str) -> list[str]:
        """Paths of one table of every shard of a system; none of a stage that is not run."""
        if table in _FRAMEWORK_TABLES and not self.config.inpaint.draws:
            return []
        return [
            f"{self.results}/{s.folder}/{table}.parquet" for s in self.shards if s.system == system
        ]

    def referenced(self, system: str) -> list[str]:
        """Path of a system's relaxed competing phases, where its reference is made of them."""
        chosen = self.config.systems[system]
        if chosen.reference.source != "potential" or chosen.phases is None:
            return []
        return [f"{self.results}/{system}/referenced.parquet"]

    def competing(self, system: str) -> list[str]:
        """Same, where these phases are calculated with DFT."""
        return self.referenced(system) if self.config.dft.calculates_phases else []

    def chosen(self, system: str) -> list[str]:
        """Path of a system's table ``chosen``, where guests are chosen by the campaign."""
        if self.config.systems[system].guests != "auto":
            return []
        return [f"{self.results}/{system}/chosen.parquet"]

    def fetch(self) -> None:
        """Read the references, and fetch them, before any job; ends with one line if it cannot.

        Says on stderr what their users should know.
        """
        from chggen.campaign.fetching import fetch

        try:
            for warning in fetch(self.config):
                sys.stderr.write(f"chggen: {warning}\n")
        except ChggenError as error:
            raise SystemExit(f"chggen: {error}") from None

    def targets(self) -> list[str]:
        """What the whole campaign ends with."""
        names = ("report.html", "report.parquet", "submitted.parquet")
        made = [f"{self.results}/{s}/{name}" for s in self.config.systems for name in names]
        return [*made, *(path for s in self.config.systems for path in self.collected(s))]

    def collected(self, system: str) -> list[str]:
        """Path of a system's table ``collected``, if calculations are made."""
        if not self.config.dft.run or self.notice is not None:
            return []
        return [f"{self.results}/{system}/collected.parquet"]

    @cached_property
    def notice(self) -> str | None:
        """Why calculations that were asked for will not be made, in one line."""
        return verification.notice(self.config)

    def leftover(self) -> str | None:
        """Structures of the generator's file that are never used, in one line."""
        return leftover(self.config)

    def code(self, stage: str) -> str:
        """Digest of the package code behind a stage."""
        return code_digest(f"chggen.stages.{'relax' if stage == 'rerelax' else stage}")

    def settings(self, stage: str, system: str) -> dict[str, Any]:
        """What a stage depends on, as plain values: a change reruns the stage.

        One mapping for all jobs of a stage: tens of thousands of them hold it.
        """
        known = self._known_settings
        if (stage, system) not in known:
            # what is chosen hangs on the tables alone
            known[stage, system] = self._settings(stage, system) if stage != "choose" else {}
        return known[stage, system]

    @cached_property
    def _known_settings(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {}

    def _settings(self, stage: str, system: str) -> dict[str, Any]:
        chosen = self.config.systems[system]
        section = SECTIONS.get(stage, stage)
        settings: dict[str, Any] = {
            # the final relaxation is no part of the first: changing it repeats none of them
            "settings": getattr(self.config, section).model_dump(
                mode="json", exclude={"final"} if stage in {"relax", "rerelax"} else None
            )
        }
        settings |= self._potential_facts(stage)
        settings |= verification.facts(stage, self.config, system)
        if stage in {"generate", "inpaint"}:
            settings["campaign_seed"] = self.config.seed
            settings |= self._network_facts(stage)
        if stage == "generate":
            settings["cells"] = {
                "formula_units": chosen.formula_units,
                "lattices": chosen.lattices_per_seed,
                "volume_per_atom": chosen.volume_per_atom,
            }
            if self.config.generate.generator not in CELL_FILLERS:
                # structures of a file are dealt out to all seeds
                settings["cells"]["lattice_seeds"] = chosen.lattice_seeds
            settings |= self._generator_facts | self._library_facts
        if stage in {"generate", "inpaint"}:
            settings["symmetry"] = chosen.symmetry
        if stage == "refine":
            settings["guests"] = chosen.guests
        if stage == "reference":
            settings |= self._phase_facts(system)
        if stage == "screen":
            settings["reference"] = chosen.reference.model_dump(mode="json")
            if chosen.reference.path is not None:
                settings["reference_digest"] = file_digest(chosen.reference.path)
            settings |= self._again_facts | self._second_facts(chosen.second_reference)
        if stage == "report":
            settings["config"] = self.config.model_dump(mode="json")
        return settings

    def _phase_facts(self, system: str) -> dict[str, Any]:
        """Which competing phases the potential relaxes."""
        chosen = self.config.systems[system]
        facts: dict[str, Any] = {
            "elements": sorted(chosen.elements),
            "reference": chosen.reference.model_dump(mode="json"),
            "phases": None,
        }
        if chosen.phases is not None:
            facts["phases"] = str(chosen.phases)
            facts["phases_digest"] = structurefiles.structures_digest(chosen.phases)
        return facts

    @cached_property
    def _generator_facts(self) -> dict[str, str]:
        """What a generator depends on outside the config and the package."""
        generate = self.config.generate
        if generate.path is not None:
            return {"structures_digest": structurefiles.structures_digest(generate.path)}
        if generate.generator in GENERATORS:
            library = generate.prototypes.library
            return {"prototypes_digest": file_digest(library)} if library else {}
        point = generator_plugins()[generate.generator]
        if point.dist is None:
            return {"plugin": point.value}
        return {"plugin": f"{point.value} of {point.dist.name} {point.dist.version}"}

    @cached_property
    def _library_facts(self) -> dict[str, str]:
        """The user's known cells, if there are any."""
        library = self.config.generate.lattice.library
        return {} if library is None else {"library_digest": file_digest(library)}

    @property
    def _named_potentials(self) -> dict[str, str]:
        """Every key that names a potential, with the name."""
        config = self.config
        named = {
            "generate.ranking_potential": config.generate.ranking_potential,
            "inpaint.ranking_potential": config.inpaint.ranking_potential,
            "relax.potential": config.relax.tight.potential_name,
        }
        if config.screen.second_potential is not None:
            named["screen.second_potential"] = config.screen.second_potential
        return named

    def _potential_facts(self, stage: str) -> dict[str, Any]:
        """Definitions and files of the potentials that a stage uses."""
        section = SECTIONS.get(stage, stage)
        again = {"screen"} if self.config.relax.final is not None else set()
        own = sorted(
            split(name)[0]
            for key, name in self._named_potentials.items()
            if (key.startswith(f"{section}.") or (key == "relax.potential" and stage in again))
            and split(name)[0] in self.config.potentials
        )
        facts: dict[str, Any] = {
            "potentials": {n: self.config.potentials[n].model_dump(mode="json") for n in own}
        }
        if own:
            facts["potential_digests"] = {n: self._potential_digests[n] for n in own}
        return facts

    @cached_property
    def _potential_digests(self) -> dict[str, list[str]]:
        """Of the files behind each potential; weights can be large, so read once."""
        return {
            name: [file_digest(path) for path in definition.files]
            for name, definition in self.config.potentials.items()
            if name in {split(used)[0] for used in self._named_potentials.values()}
        }

    @property
    def _again_facts(self) -> dict[str, Any]:
        """Criteria of what the screen itself relaxes, if it does."""
        if self.config.relax.final is None and not self.config.screen.second_relax:
            return {}
        return {"relax": self.config.relax.model_dump(mode="json")}

    def _second_facts(self, reference: ReferenceConfig | None) -> dict[str, Any]:
        """What the second level of the screen depends on, if there is one."""
        screen = self.config.screen
        if screen.second_potential is None:
            return {}
        facts: dict[str, Any] = {"second_reference": None}
        if reference is not None:
            facts["second_reference"] = reference.model_dump(mode="json")
            if reference.path is not None:
                facts["second_reference_digest"] = file_digest(reference.path)
        return facts

    def training(self) -> dict[str, Any]:
        """What rule ``train`` depends on."""
        return {"settings": self.config.train.model_dump(mode="json")}

    def _network_facts(self, stage: str) -> dict[str, str]:
        """The score network that ``generate`` or ``inpaint`` uses, if it does.

        By the hash in its card, which the weights must fit when they are loaded: where the
        file lies and when it was written says nothing, so that results copied to another
        checkout stay as they are.
        """
        checkpoint = self._checkpoint(stage)
        return {"network": checkpoints.read_card(checkpoint)["hash"]} if checkpoint else {}

    def _checkpoint(self, stage: str) -> str | None:
        if stage == "generate" and self.config.generate.generator != "diffusion":
            return None
        return str(getattr(self.config, stage).checkpoint)

    def check(self) -> None:
        """Raise :class:`ConfigError` for everything that can be checked before a job starts."""
        checks.size(self.config)
        checks.training(self.config)
        checks.known_cells(self.config)
        checks.known_crystals(self.config)
        named = self._named_potentials
        checks.potentials(self.config, named)
        for name, system in self.config.systems.items():
            where = f"config: systems.{name}"
            elements = system.elements
            for key, potential in named.items():
                unknown = untrained_elements(potential, elements, self.config.potentials)
                if unknown:
                    raise ConfigError(
                        f"{where}.compositions: {key} = '{potential}' was not trained on"
                        f" {', '.join(unknown)}"
                    )
            contract = potential_contract(named["relax.potential"], self.config.potentials)
            problem = coverage_problem(
                system.reference, elements, system.phases, self.config.relax, contract
            )
            if problem:
                raise ConfigError(f"{where}.reference: {problem}")
            checks.contracts(self.config, name)
            verification.check(self.config, name)
            unseen = sorted(elements - checkpoints.volume_elements())
            draws = self.config.generate.draws_cells
            if draws and system.volume_per_atom == "auto" and unseen:
                raise ConfigError(
                    f"{where}.volume_per_atom = 'auto': the regression has no data on {unseen[0]}"
                )
            self._check_checkpoints(elements)
            generator = self.config.generate.generator
            able = generator in {"diffusion", "prototypes"}
            if not able and system.symmetry not in {"none", "auto"}:
                raise ConfigError(
                    f"{where}.symmetry = '{system.symmetry}': generate.generator = '{generator}'"
                    " cannot impose a space group"
                )
        checks.generation(self.config.generate)

    def _check_checkpoints(self, elements: set[str]) -> None:
        for stage in ("generate", "inpaint"):
            checkpoint = self._checkpoint(stage)
            if checkpoint is None:
                continue
            where = f"config: {stage}.checkpoint = '{checkpoint}'"
            try:
                card = checkpoints.check(checkpoint)
            except CheckpointError as error:
                raise ConfigError(f"{where}: {error}") from error
            joint = stage == "generate" and bool(self.config.generate.lattice.joint)
            checks.network(card, where, elements, joint=joint)
