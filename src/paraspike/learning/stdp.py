"""Networks that learn by STDP: a chain of LIF layers, each with its own plastic weights."""

import math
from collections.abc import Sequence

import torch

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.neurons import LIF, decay
from paraspike.ops.stdp import PostPre
from paraspike.randomness import uniform
from paraspike.spikes import Spikes


def bindsnet(dt: float) -> LIF:
    """BindsNET's LIFNodes in mV above rest, dt in seconds: v <- exp(-dt / 0.1 s) v + x, a spike at 13 mV
    or above (from -65 to -52), reset to rest, no input while 5 ms minus dt a step are above zero."""
    return LIF(
        a_uu=decay(dt, 0.1),
        a_ui=1.0,
        threshold=13.0,
        strict=False,
        refractory="clamp_input",
        # Rounded first, or 5 ms in steps of 1 ms could come out as six.
        refractory_steps=math.ceil(round(5e-3 / dt, 6)),
    )


class STDPNetwork:
    """LIF layers in a chain, learning by `PostPre`; spikes take one step from layer to layer.

    Args:
        sizes: neurons per layer, input first, e.g. (784, 320, 50, 10).
        dt: step in seconds.
        nu: rates of depression and potentiation; BindsNET's default is (0, 0), no learning.
        wmin, wmax: bounds of the weights, None for an open side. Weights start in U(wmin, wmax), or
            where a side is open in U(0, 1) clamped (BindsNET 0.3.4, `Connection`).
        seed: of the initial weights.
        backend: a backend's name.
        neuron: LIF with potential above rest; `bindsnet(dt)` if None.
        tau_trace: time constant of the traces in seconds.  traces_additive: as `PostPre`.
        lower_bound: least potential, in the neuron's unit; None for none.

    Attributes:
        weights: list of float32 [N_in, N_out], one per layer; `run` changes them in place.

    Raises:
        ReaderError: sizes that make no network, bounds out of order, an unavailable backend.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dt: float = 1e-3,
        nu: tuple[float, float] = (1e-4, 1e-2),
        wmin: float | None = 0.0,
        wmax: float | None = 1.0,
        seed: int = 0,
        backend: str = "auto",
        *,
        neuron: LIF | None = None,
        tau_trace: float = 0.02,
        traces_additive: bool = False,
        lower_bound: float | None = None,
    ):
        if len(sizes) < 2 or min(sizes) < 1:
            raise ReaderError(
                f"sizes {list(sizes)} make no network", "STDPNetwork", "input and one layer"
            )
        self.sizes = tuple(int(n) for n in sizes)
        self.neuron = bindsnet(dt) if neuron is None else neuron
        self.rule = PostPre(
            tuple(nu),
            decay(dt, tau_trace),
            traces_additive=traces_additive,
            wmin=wmin,
            wmax=wmax,
        )
        self.lower_bound = lower_bound
        self.backend = backends.resolve(backend)
        self._stdp = backends.operator("stdp", self.backend)
        device = backends.device(self.backend)
        pairs = enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.weights = [self._drawn(seed, f"init/{i}/weight", *p).to(device) for i, p in pairs]

    def _drawn(self, seed, stream, n_in, n_out):
        least, greatest = self.rule.bounds
        w = torch.from_numpy(uniform(seed, stream, [0], n_in, n_out)[:, 0])
        if math.isinf(least) or math.isinf(greatest):
            return w.clamp(least, greatest)
        return least + w * (greatest - least)

    def run(self, spikes: Spikes, learn: bool = True) -> list[Spikes]:
        """Simulate from rest, with traces at zero.

        Args:
            spikes: [T, B, N_0].
            learn: update the weights after every step, summed over the batch.

        Returns:
            the spikes of each layer after the input, [T, B, N].

        Raises:
            ReaderError: spikes of another width.
        """
        layers = []
        for weight in self.weights:
            spikes = self._stdp(spikes, weight, self.neuron, self.rule, learn, self.lower_bound)
            layers.append(spikes)
        return layers

    def teach(self, spikes: Spikes, weight: torch.Tensor) -> Spikes:
        """One layer's neurons and rule on other weights [N_in, N], changed in place; see `run`."""
        return self._stdp(spikes, weight, self.neuron, self.rule, True, self.lower_bound)
