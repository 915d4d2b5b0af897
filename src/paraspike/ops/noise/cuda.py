"""Noise drawn where the activity lies: Philox4x32-10 in torch integers, on any device."""

import torch

from paraspike.randomness import keys

_LOW = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def noise(like: torch.Tensor, seeds, stream: str, samples, trial: int) -> torch.Tensor:
    """As `reference.noise`, same bits, without a copy from the host."""
    steps, batch, n = like.shape
    device = like.device
    samples, trial, seeds, stream = keys(seeds, stream, trial, samples)
    blocks = (n + 3) // 4

    def column(values):
        return torch.as_tensor(values.astype("int64"), device=device).reshape(1, batch, 1)

    shape = (steps, batch, blocks)
    c0 = torch.arange(blocks, device=device).expand(shape)
    c1 = torch.arange(steps, device=device).reshape(-1, 1, 1).expand(shape)
    c2 = column(samples).expand(shape)
    c3 = torch.full((1, 1, 1), int(trial), device=device).expand(shape)
    k0, k1 = column(seeds), int(stream)
    for _ in range(10):
        # Products wrap round in signed 64 bits, but their bits are those of the unsigned ones.
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c2 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, ((p0 >> 32) & _LOW) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    words = torch.stack([c0, c1, c2, c3], dim=-1).reshape(steps, batch, 4 * blocks)[:, :, :n]
    return ((words >> 9).to(like.dtype) * 2.0**-23 + 2.0**-24).contiguous()
