"""Rule ``submit``: see chggen.stages.submit."""

from chggen.config import DftConfig
from chggen.job import job
from chggen.stages.submit import submit

with job(f"submit {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    submit(
        snakemake.input.table,
        snakemake.output.table,
        snakemake.output.inputs,
        DftConfig(**snakemake.params.given["settings"]),
        progress,
    )
