"""Rule ``collect``: see chggen.stages.collect."""

from chggen.config.dft import DftConfig
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.run.job import job
from chggen.stages.collect import collect

given = snakemake.params.given
reference = given["dft_reference"]
with job(f"collect {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    collect(
        list(snakemake.input.calculated),
        snakemake.input.submitted,
        snakemake.input.screened,
        snakemake.output.table,
        DftConfig(**given["settings"]),
        ScreenConfig(**given["screen"]),
        ReferenceConfig(**reference) if reference else None,
        progress,
    )
