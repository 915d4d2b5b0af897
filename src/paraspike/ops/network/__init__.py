"""A whole network at once, where a backend has no use for one layer after another."""
