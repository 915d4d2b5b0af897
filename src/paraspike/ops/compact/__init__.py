"""Spike lists of fixed capacity: what fits goes on, what does not is counted and lost."""
