"""Rule ``calculate``: see chggen.stages.calculate."""

from chggen.config.dft import DftConfig
from chggen.run.job import job, working_time
from chggen.stages.calculate import calculate

label = f"calculate {snakemake.wildcards.system}/{snakemake.wildcards.id}"
with job(label, snakemake.log[0], snakemake.threads) as progress:
    calculate(
        snakemake.input.table,
        snakemake.wildcards.id,
        snakemake.output.table,
        DftConfig(**snakemake.params.given["settings"]),
        progress,
        attempt=snakemake.resources.attempt,
        seconds=working_time(snakemake.resources.runtime),
    )
