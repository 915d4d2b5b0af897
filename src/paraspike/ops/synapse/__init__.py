"""Synapses: spikes times weights, densely or by gathering the rows of arriving spikes."""
