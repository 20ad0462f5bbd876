"""Rule ``inpaint``: see chggen.stages.inpaint."""

from chggen.config.energies import potentials_of
from chggen.config.stages import InpaintConfig
from chggen.run.job import job
from chggen.stages.inpaint import inpaint

given = snakemake.params.given
label = f"inpaint {'/'.join(snakemake.wildcards)}"
with job(label, snakemake.log[0], snakemake.threads) as progress:
    inpaint(
        snakemake.input.table,
        snakemake.output.table,
        InpaintConfig(**given["settings"]),
        given["campaign_seed"],
        progress,
        symmetry=given["symmetry"],
        potentials=potentials_of(given["potentials"]),
    )
