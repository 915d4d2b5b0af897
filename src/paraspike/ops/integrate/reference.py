"""Leaky integration as its recurrence, and as a convolution by FFT, parallel over time."""

import torch

from paraspike.neurons import LeakyIntegrator


def sequential(x: torch.Tensor, neuron: LeakyIntegrator) -> torch.Tensor:
    """u [T, B, N] of input x [T, B, N], step by step (SPSN paper, equations 5 and 7)."""
    i = u = x.new_zeros(x.shape[1:])
    out = []
    for x_t in x.unbind(0):
        i = neuron.a_ii * i + x_t
        u = neuron.a_uu * u + neuron.a_ui * i
        out.append(u)
    return torch.stack(out) if out else x.clone()


def kernel(steps: int, neuron: LeakyIntegrator, dtype=torch.float64, device=None) -> torch.Tensor:
    """Impulse response h[m], m = 0 .. steps-1, in closed form:
    a_ui (m+1) alpha^m if alpha = beta, else a_ui (alpha^(m+1) - beta^(m+1)) / (alpha - beta)."""
    alpha, beta = neuron.a_ii, neuron.a_uu
    m = torch.arange(steps, dtype=torch.float64)
    if abs(alpha - beta) < 1e-8:
        # The quotient cancels here; its limit is off by (m (alpha - beta))^2 / 24 of itself.
        h = (m + 1) * ((alpha + beta) / 2) ** m
    else:
        h = (alpha ** (m + 1) - beta ** (m + 1)) / (alpha - beta)
    return (neuron.a_ui * h).to(dtype=dtype, device=device)


def parallel(x: torch.Tensor, neuron: LeakyIntegrator) -> torch.Tensor:
    """u [T, B, N] by FFT over time (SPSN paper, equation 15), padded so that nothing wraps round.

    The closed-form kernel has T taps, so 2 T - 1 points suffice; the next 2^a 3^b 5^c is used.
    """
    steps = x.shape[0]
    if steps == 0:
        return x.clone()
    size = fast_length(2 * steps - 1)
    response = torch.fft.rfft(kernel(steps, neuron, x.dtype, x.device), size)
    spectrum = torch.fft.rfft(x, size, dim=0) * response.reshape(-1, *[1] * (x.dim() - 1))
    return torch.fft.irfft(spectrum, size, dim=0)[:steps].contiguous()


def fast_length(n: int) -> int:
    """The smallest even 2^a 3^b 5^c that is at least n."""
    best = 1 << max(1, (n - 1).bit_length())
    power5 = 1
    while power5 < best:
        power3 = power5
        while power3 < best:
            size = 2 * power3
            while size < n:
                size *= 2
            best = min(best, size)
            power3 *= 3
        power5 *= 5
    return best
