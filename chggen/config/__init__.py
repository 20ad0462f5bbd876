"""The typed configuration: one documented key for every choice."""
