"""Rule ``generate``: see chggen.stages.generate."""

from chggen.campaign.plan import Shard
from chggen.config.energies import potentials_of
from chggen.config.stages import GenerateConfig
from chggen.run.job import job
from chggen.stages.generate import generate

wildcards, given = snakemake.wildcards, snakemake.params.given
shard = Shard(wildcards.system, wildcards.composition, int(wildcards.seed))
with job(f"generate {shard.folder}", snakemake.log[0], snakemake.threads) as progress:
    generate(
        snakemake.output.table,
        shard,
        given["cells"],
        GenerateConfig(**given["settings"]),
        given["campaign_seed"],
        progress,
        symmetry=given["symmetry"],
        potentials=potentials_of(given["potentials"]),
    )
