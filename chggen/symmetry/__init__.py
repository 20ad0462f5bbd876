"""Space groups: found, imposed, and of frameworks."""
