"""Rules ``relax`` and ``rerelax``: see chggen.stages.relax."""

from chggen.config import RelaxConfig
from chggen.energyspecs import potentials_of
from chggen.job import job
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
