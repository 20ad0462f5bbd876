"""What a crystal is, how it is read, and when two are the same."""
