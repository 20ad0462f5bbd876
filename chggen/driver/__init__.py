"""What drives a campaign, seen from outside: the Snakemake process, its jobs, its end."""
