"""E-prop: weight gradients of a recurrent spiking layer from eligibility traces."""
