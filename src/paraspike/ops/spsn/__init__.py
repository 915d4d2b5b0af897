"""SPSN's spike functions: from potentials to spikes, independent at each step."""
