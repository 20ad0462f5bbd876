"""CHGGen: crystal structure prediction by host-guided diffusion, as a campaign."""
