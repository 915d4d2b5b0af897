"""Leaky integrate-and-fire in normal form, from input currents to spikes."""
