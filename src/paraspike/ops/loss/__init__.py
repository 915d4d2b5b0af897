"""Cross entropy of a readout over time, of many seeds."""
