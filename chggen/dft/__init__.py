"""Hand-off to density functional theory: input files, never a run."""
