"""A LIF layer that continues from the state it stopped in, and tells its pseudo-derivative."""
