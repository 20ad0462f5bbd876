"""What is to be made: no torch and no pymatgen, as every cluster job parses the Snakefile."""
