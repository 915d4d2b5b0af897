"""A whole layer, synapse, delay, recurrence and neuron, in one pass over time."""
