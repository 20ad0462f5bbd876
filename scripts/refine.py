"""Rule ``refine``: see chggen.stages.refine."""

from chggen.config.stages import RefineConfig
from chggen.run.job import job
from chggen.stages.refine import refine

given = snakemake.params.given
label = f"refine {'/'.join(snakemake.wildcards)}"
with job(label, snakemake.log[0], snakemake.threads) as progress:
    refine(
        snakemake.input.table,
        snakemake.output.table,
        given["guests"],
        RefineConfig(**given["settings"]),
        progress,
        chosen=next(iter(snakemake.input.chosen), None),
    )
