"""Rule ``train``: see chggen.stages.train."""

from chggen.config.stages import TrainConfig
from chggen.run.job import LOGGER, job
from chggen.stages.train import train

with job("train", snakemake.log[0], snakemake.threads) as progress:
    train(TrainConfig(**snakemake.params.given["settings"]), LOGGER.info, progress)
