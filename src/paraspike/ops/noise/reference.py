"""Noise drawn by randomness.py, as a tensor."""

import torch

from paraspike.randomness import uniform


def noise(like: torch.Tensor, seeds, stream: str, samples, trial: int) -> torch.Tensor:
    """Uniform in (0, 1), of the shape [T, B, N], dtype and device of `like`; the numbers are
    `randomness.uniform(seeds, stream, samples, T, N, trial)`."""
    drawn = uniform(seeds, stream, samples, like.shape[0], like.shape[2], trial)
    return torch.from_numpy(drawn).to(device=like.device, dtype=like.dtype)
