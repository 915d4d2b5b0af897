"""Noise for stochastic neurons: the same Philox numbers on every backend."""
