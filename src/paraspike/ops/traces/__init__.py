"""Eligibility traces of e-prop, one a synapse and sample, carried forward in time."""
