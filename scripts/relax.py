"""Rules ``relax`` and ``rerelax``: see chggen.stages.relax."""

from chggen.config import RelaxConfig
from chggen.job import job
from chggen.stages.relax import relax

label = f"{snakemake.rule} {'/'.join(snakemake.wildcards)}"
with job(label, snakemake.log[0], snakemake.threads) as progress:
    relax(
        snakemake.input.table,
        snakemake.output.table,
        RelaxConfig(**snakemake.params.given["settings"]),
        progress,
    )
