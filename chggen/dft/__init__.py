"""Density functional theory: inputs, calculations that go on where they stopped, verdicts."""
