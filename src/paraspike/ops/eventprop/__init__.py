"""EventProp: exact gradients of event-driven spiking networks in continuous time."""
