"""BindsNET's encoders, with the paper's slow one as it was (sheet, section 2)."""

import torch

from paraspike.errors import ReaderError


def poisson(rates: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
    """Spikes uint8 [T, N] of one image: intervals between a pixel's spikes are Poisson-distributed numbers of
    1 ms steps (so this is no Poisson process: the coefficient of variation is 1 / sqrt(mean interval)).

    Args:
        rates: float [N], Hz, not negative.
    """
    _check(rates)
    mean = torch.zeros_like(rates)
    active = rates != 0
    mean[active] = 1000.0 / rates[active]
    intervals = torch.poisson(mean.expand(steps + 1, -1), generator=generator)
    intervals[:, active] += (intervals[:, active] == 0).float()
    times = torch.cumsum(intervals, 0).long()
    times[times > steps] = 0
    spikes = torch.zeros(steps + 1, len(rates), dtype=torch.uint8)
    spikes[times, torch.arange(len(rates))] = 1
    return spikes[1:]


def rank_order_loop(image: torch.Tensor, steps: int) -> torch.Tensor:
    """As `rank_order`, one image [N], by a Python loop over its pixels: what BindsNET did in 2020."""
    times = _times(image, steps)
    spikes = torch.zeros(steps, len(image), dtype=torch.uint8)
    for i in range(len(image)):
        if 0 < times[i] < steps:
            spikes[times[i] - 1, i] = 1
    return spikes


def rank_order(image: torch.Tensor, steps: int) -> torch.Tensor:
    """Spikes uint8 [T, N] of one image [N]: a pixel x fires once, in step ceil(T min(x) / x) - 1, min(x)
    being its
    dimmest non-zero pixel; the last step of all is left out, so the dimmest never fire."""
    times = _times(image, steps)
    fires = ((times > 0) & (times < steps)).nonzero().squeeze(1)
    spikes = torch.zeros(steps, len(image), dtype=torch.uint8)
    spikes[times[fires] - 1, fires] = 1
    return spikes


def _times(image, steps):
    _check(image)
    active = image != 0
    slowness = torch.zeros_like(image)
    slowness[active] = 1 / (image[active] / image.max())
    most = slowness.max()
    return torch.ceil(slowness * (steps / most) if most > 0 else slowness).long()


def _check(image):
    if image.dim() != 1 or not image.is_floating_point() or not bool((image >= 0).all()):
        raise ReaderError(
            f"an image {image.dtype} {list(image.shape)}, least value {float(image.min()):g}",
            "multithreading_encoders",
            "one flat image of floats that are not negative",
        )


def encode(
    images: torch.Tensor, coding: str, steps: int, generator: torch.Generator, published: bool
) -> torch.Tensor:
    """Spikes uint8 [T, B, N] of images [B, N], encoded one by one.

    Args:
        images: brightness 0 .. 1 times the highest rate, Hz.
        coding: rate or temporal.  published: temporal by the loop over pixels.
    """
    if coding not in ("rate", "temporal"):
        raise ReaderError(f"coding {coding!r} is unknown", "encode", "rate or temporal")
    if coding == "rate":
        coded = [poisson(image, steps, generator) for image in images]
    else:
        coded = [(rank_order_loop if published else rank_order)(image, steps) for image in images]
    return torch.stack(coded, 1)
