"""Rule ``screen``: see chggen.stages.screen."""

from chggen.config import ReferenceConfig, ScreenConfig
from chggen.job import job
from chggen.stages.screen import screen

given = snakemake.params.given
with job(f"screen {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    screen(
        [*snakemake.input.relaxed, *snakemake.input.rerelaxed],
        snakemake.output.table,
        ReferenceConfig(**given["reference"]),
        ScreenConfig(**given["settings"]),
        snakemake.input.inpainted,
        progress,
    )
