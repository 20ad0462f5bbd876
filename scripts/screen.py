"""Rule ``screen``: see chggen.stages.screen."""

from chggen.config.energies import ReferenceConfig, potentials_of
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.run.job import job
from chggen.screening.second import SecondLevel
from chggen.stages.screen import screen

given = snakemake.params.given
other = given.get("second_reference")
relax = RelaxConfig(**given["relax"]) if "relax" in given else RelaxConfig(final=None)
with job(f"screen {snakemake.wildcards.system}", snakemake.log[0], snakemake.threads) as progress:
    screen(
        [*snakemake.input.relaxed, *snakemake.input.rerelaxed],
        snakemake.output.table,
        ReferenceConfig(**given["reference"]),
        ScreenConfig(**given["settings"]),
        snakemake.input.inpainted,
        progress,
        second=SecondLevel(
            potentials_of(given["potentials"]),
            ReferenceConfig(**other) if other else None,
            relax,
        ),
        relax=relax,
        referenced=next(iter(snakemake.input.referenced), None),
    )
