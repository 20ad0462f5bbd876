"""Programs and files that stand in for what the tests cannot have."""
