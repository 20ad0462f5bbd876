"""Rule ``reference``: see chggen.stages.reference."""

from pathlib import Path

from chggen.config.energies import ReferenceConfig, potentials_of
from chggen.config.stages import RelaxConfig
from chggen.run.job import job
from chggen.stages.reference import reference

system, given = snakemake.wildcards.system, snakemake.params.given
with job(f"reference {system}", snakemake.log[0], snakemake.threads) as progress:
    reference(
        system,
        given["elements"],
        snakemake.output.table,
        ReferenceConfig(**given["reference"]),
        RelaxConfig(**given["settings"]),
        progress,
        phases=Path(given["phases"]) if given["phases"] else None,
        potentials=potentials_of(given["potentials"]),
    )
