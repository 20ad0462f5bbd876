"""Density functional theory: inputs, restartable calculations, results."""
