"""Leaky integration: two first-order filters in series over time."""
