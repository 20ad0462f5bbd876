"""Rule ``choose``: see chggen.stages.choose."""

from chggen.run.job import job
from chggen.stages.choose import choose

with job(f"choose {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    choose(snakemake.input.relaxed, snakemake.output.table, progress)
