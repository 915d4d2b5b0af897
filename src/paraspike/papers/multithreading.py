"""The SNN of Bettendorf & Shears, layer by layer in torch, in the order in which BindsNET steps it.

Fully connected LIF layers with `PostPre` (sheet, section 2). A step has three phases of independent tasks, the
paper's Algorithm 2: the input of every connection from the spikes of the step before, every layer, the weights
of every connection. Who runs the tasks is a crew's business (`multithreading_crews`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch

from paraspike.errors import ReaderError
from paraspike.randomness import uniform

SIZES = (784, 320, 50, 10)
STEPS, DT, MOST_HZ = 10, 1e-3, 128.0
# nu is never passed in the published benchmark, so nothing is learned; the rates of BindsNET's own examples.
NU_PUBLISHED, NU = (0.0, 0.0), (1e-4, 1e-2)
PHASES = ("inputs", "layers", "weights")
# mV; steps of 1 ms.
REST, THRESHOLD, REFRACTORY = -65.0, -52.0, 5.0
TAU_MEMBRANE_MS, TAU_TRACE_MS = 100.0, 20.0


class Nodes:
    """Neurons of one layer for a batch, with their spike traces.

    Args:
        n, batch: neurons and samples.
        kind: input, lif or if (no leak).
    """

    def __init__(self, n: int, batch: int, kind: str = "lif", device="cpu"):
        if kind not in ("input", "lif", "if"):
            raise ReaderError(f"kind {kind!r} is unknown", "Nodes", "input, lif or if")
        self.n, self.kind = n, kind
        self.decay = torch.exp(torch.tensor(-1 / TAU_MEMBRANE_MS)).to(device)
        self.trace_decay = torch.exp(torch.tensor(-1 / TAU_TRACE_MS)).to(device)
        self.x = torch.zeros(batch, n, device=device)
        self.s = torch.zeros(batch, n, device=device)
        self.v, self.refractory = torch.full_like(self.x, REST), torch.zeros_like(self.x)
        self.current = torch.zeros_like(self.x)

    def forward(self, x: torch.Tensor | None = None) -> None:
        """One step; x [B, N]: the spikes of an input layer, else `current` is taken."""
        if self.kind == "input":
            self.s = x
        else:
            if self.kind == "lif":
                self.v.sub_(REST).mul_(self.decay).add_(REST)
            self.current.masked_fill_(self.refractory > 0, 0.0)
            self.refractory.sub_(1.0)
            self.v.add_(self.current)
            self.s = self.v >= THRESHOLD
            self.refractory.masked_fill_(self.s, REFRACTORY)
            self.v.masked_fill_(self.s, REST)
        self.x.mul_(self.trace_decay)
        self.x.masked_fill_(self.s.bool(), 1.0)

    def reset(self) -> None:
        for state in (self.x, self.refractory, self.current):
            state.zero_()
        # Not in place: an input layer's spikes are the caller's.
        self.s = torch.zeros_like(self.x)
        self.v.fill_(REST)


class Connection:
    """Weights w [N_source, N_target] between two layers, learning by PostPre with rates nu summed over the
    batch and clamped to `bounds` (BindsNET 0.3.4's fused form). With `of_2020` the operands are made ready
    before it is seen that nothing is to be learned, as BindsNET did then."""

    def __init__(self, source: Nodes, target: Nodes, w: torch.Tensor, nu, bounds, of_2020=False):
        self.source, self.target, self.w, self.nu, self.bounds = source, target, w, nu, bounds
        self.of_2020 = of_2020

    def get_inputs(self, columns: slice = slice(None)) -> None:
        """The target's input current from the source's last spikes, for some columns."""
        self.target.current[:, columns] = torch.matmul(self.source.s.float(), self.w[:, columns])

    def update(self) -> None:
        if self.of_2020:
            batch = len(self.source.s)
            self.source.s.view(batch, -1).unsqueeze(2).float()
            self.source.x.view(batch, -1).unsqueeze(2)
            self.target.s.view(batch, -1).unsqueeze(1).float()
            self.target.x.view(batch, -1).unsqueeze(1)
        if self.nu[0]:
            self.w.addmm_(self.source.s.float().t(), self.target.x * self.nu[0], alpha=-1.0)
        if self.nu[1]:
            self.w.addmm_(self.source.x.t(), self.target.s.float() * self.nu[1], alpha=1.0)
        if any(map(math.isfinite, self.bounds)):
            self.w.clamp_(*self.bounds)


class Network:
    """A chain of layers, stepped phase by phase.

    Args:
        sizes: neurons per layer, input first.  batch: samples.
        nu: rates of depression and potentiation.
        bounds: least and greatest weight; the published benchmark sets none.
        weights: [N_in, N_out] each; drawn from U(0, 1) by `seed` if None.
        kind: of the layers after the input: lif or if.  of_2020: as `Connection`.
    """

    def __init__(
        self,
        sizes: Sequence[int] = SIZES,
        batch: int = 32,
        nu: tuple[float, float] = NU,
        bounds: tuple[float, float] = (0.0, 1.0),
        weights: Sequence[torch.Tensor] | None = None,
        seed: int = 0,
        kind: str = "lif",
        device="cpu",
        of_2020: bool = False,
    ):
        if len(sizes) < 2 or min(sizes) < 1 or batch < 1:
            raise ReaderError(f"sizes {list(sizes)}, batch {batch} make no network", "Network")
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        if weights is None:
            weights = [
                torch.from_numpy(uniform(seed, f"init/{i}/weight", [0], a, b)[:, 0])
                for i, (a, b) in enumerate(pairs)
            ]
        self.layers = [Nodes(sizes[0], batch, "input", device)]
        self.layers += [Nodes(n, batch, kind, device) for n in sizes[1:]]
        self.connections = [
            Connection(*ends, w.clone().to(device), tuple(nu), bounds, of_2020)
            for *ends, w in zip(self.layers[:-1], self.layers[1:], weights, strict=True)
        ]

    def phases(self, x: torch.Tensor, splits: int = 1) -> list[list[Callable[[], None]]]:
        """The tasks of one step for input spikes x [B, N_0]; with `splits`, each connection's product is cut
        into so many column slices (the earlier published form; some are empty in a narrow layer)."""
        inputs = []
        for connection in self.connections:
            edges = [connection.target.n * k // splits for k in range(splits + 1)]
            inputs += [
                partial(connection.get_inputs, slice(*edge))
                for edge in zip(edges[:-1], edges[1:], strict=True)
            ]
        layers = [partial(self.layers[0].forward, x), *(n.forward for n in self.layers[1:])]
        return [inputs, layers, [connection.update for connection in self.connections]]

    def present(self, spikes: torch.Tensor, crew, watch=None) -> None:
        """Step through spikes [T, B, N_0], all tasks done by the crew.

        Args:
            watch: called after every step, with the network.
        """
        for x in spikes.unbind(0):
            crew.step(self, x)
            if watch is not None:
                watch(self)

    def reset(self) -> None:
        """Forget potentials and traces, keep weights."""
        for layer in self.layers:
            layer.reset()

    def weights(self) -> list[torch.Tensor]:
        return [connection.w for connection in self.connections]


if __name__ == "__main__":
    from paraspike.pipeline import plain

    raise SystemExit(plain.main("multithreading"))
