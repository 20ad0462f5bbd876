"""What surrounds a stage: its job, progress bars, and the Snakemake driver seen from outside."""
