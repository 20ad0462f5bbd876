"""Batched relaxation with a verdict per structure."""
