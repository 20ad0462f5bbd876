"""Rule ``report``: see chggen.stages.report."""

from chggen.config.model import Config
from chggen.run.job import job
from chggen.stages.report import report

others = {"screened", "referenced", "collected"}
tables = {name: list(paths) for name, paths in snakemake.input.items() if name not in others}
with job(f"report {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    report(
        snakemake.wildcards.system,
        tables,
        snakemake.input.screened,
        snakemake.output.table,
        snakemake.output.page,
        Config(**snakemake.params.given["config"]),
        progress,
        referenced=next(iter(snakemake.input.referenced), None),
        collected=next(iter(snakemake.input.collected), None),
    )
