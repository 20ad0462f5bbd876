"""Rules ``relax`` and ``rerelax``: see chggen.stages.relax."""

from chggen.config.energies import potentials_of
from chggen.config.stages import RelaxConfig
from chggen.run.job import job
from chggen.stages.relax import relax

given = snakemake.params.given
label = f"{snakemake.rule} {'/'.join(snakemake.wildcards)}"
with job(label, snakemake.log[0], snakemake.threads) as progress:
    relax(
        snakemake.input.table,
        snakemake.output.table,
        RelaxConfig(**given["settings"]),
        progress,
        potentials=potentials_of(given["potentials"]),
    )
