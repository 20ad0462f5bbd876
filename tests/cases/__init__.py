"""One test per case that once went wrong."""
