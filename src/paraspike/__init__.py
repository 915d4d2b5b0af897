"""paraspike: five ways to train spiking neural networks faster, on one engine."""

__version__ = "0.1.0"
