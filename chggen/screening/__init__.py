"""What happens to a structure between relaxation and DFT."""
