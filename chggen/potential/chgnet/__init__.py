"""CHGNet, batched."""
