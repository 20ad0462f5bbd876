"""Checkpoint ``submit``: see chggen.stages.submit."""

from chggen.config.dft import DftConfig
from chggen.run.job import job
from chggen.stages.submit import submit

given = snakemake.params.given
with job(f"submit {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    submit(
        snakemake.input.table,
        snakemake.output.table,
        DftConfig(**given["settings"]),
        progress,
        referenced=list(snakemake.input.referenced),
        phases=given["phases"],
    )
