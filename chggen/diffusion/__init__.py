"""Score-based diffusion of atomic positions at fixed lattice (variance exploding SDE)."""
