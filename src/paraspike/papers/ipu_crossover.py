"""The same network event-driven and dense, timed on this machine: where is the crossover?"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.layer import Layer
from paraspike.measure import load_of_others, measure
from paraspike.neurons import Surrogate
from paraspike.ops.lif.reference import lif as looped
from paraspike.papers.ipu import SLOPE, layer_sizes, neuron
from paraspike.spikes import Spikes

ARMS = ("event-driven", "event-driven, all gradients", "dense, fused", "dense, unbind")
# Share of the bound of the first weights by which they are shifted up: without it no more than two neurons
# in five ever fire at a step, for the others' input is negative.
SHIFT = 0.15
_UNBIND_ROUNDS = 2


def runnable(arms, backend: str) -> list[str]:
    """The arms a backend has; names those it lacks."""
    lacking = [
        arm for arm in arms if arm.startswith("event") and backend not in backends.TABLE["layer"]
    ]
    for arm in lacking:
        print(f"not on backend {backend}, left out: {arm}")
    return [arm for arm in arms if arm not in lacking]


def stack(hidden: int, depth: int, window: bool, backend) -> torch.nn.Sequential:
    """`depth` layers of `hidden` x `hidden` neurons of the paper.

    Args:
        window: only neurons above the second threshold get a gradient; otherwise all do.
        backend: a backend's name or `Operators`.
    """
    lif = neuron()
    if not window:
        lif = replace(lif, surrogate=Surrogate("fast_sigmoid", SLOPE))
    return torch.nn.Sequential(
        *(
            Layer(hidden, hidden, lif, bias=False, name=str(k), backend=backend)
            for k in range(depth)
        )
    )


def dense_operators(backend: str):
    """The backend's operators without its event-driven ones: one product over all steps, then the LIF
    scan over time, both with their dense gradients."""
    own, plain = backends.operators(backend), backends.operators("reference")
    return replace(own, layer=None, synapse=plain.synapse)


def raster(steps: int, batch: int, n: int, activity: float, seed: int = 0) -> torch.Tensor:
    """Spikes at random, float32 [T, B, N], a share `activity` of them set."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, n, generator=generator) < activity).float()


def calibrate(net, x, activity: float, rounds: int = 18) -> list[float]:
    """Scale each layer's weights until it fires as much as asked; returns the shares that fire.

    Raises:
        ReaderError: a layer does not come within a tenth of it.
    """
    reached = []
    with torch.no_grad():
        for layer in net:
            weight = layer.weight + SHIFT * layer.weight.abs().max()
            low, high = 0.0, 64.0
            for _ in range(rounds):
                middle = (low + high) / 2
                layer.weight.copy_(weight * middle)
                out = layer(x)
                share = float(out.totals.sum()) / np.prod(out.shape)
                low, high = (middle, high) if share < activity else (low, middle)
            if abs(share - activity) > 0.1 * activity + 2 / np.prod(out.shape):
                raise ReaderError(
                    f"{share:.3g} of the neurons fire, {activity:g} were asked", "ipu crossover"
                )
            reached.append(share)
            x = out
    return reached


def steps_of(hidden: int, activity: float, steps: int, batch: int, depth: int, backend: str, arms):
    """A training step (forward and backward, no update) of every arm on one network and one input.

    Returns:
        {arm: function}, the share of neurons that fire in each layer, and the share that get a gradient.
    """
    x = raster(steps, batch, hidden, activity)
    device = backends.device(backend)
    given = Spikes.from_lists(*Spikes.from_dense(x).lists, x.shape)
    sparse = stack(hidden, depth, True, backend).to(device)
    few = Spikes.from_dense(x[:, : max(1, batch // 4)].contiguous().to(device))
    fired = calibrate(sparse, few, activity)
    near = _near(sparse, given)
    whole = stack(hidden, depth, False, backend).to(device)
    dense = stack(hidden, depth, False, dense_operators(backend)).to(device)
    for net in (whole, dense):
        net.load_state_dict(sparse.state_dict())
    wide = x.to(device)

    def event_driven(net):
        net.zero_grad()
        net(given).totals.sum().backward()

    def fused():
        dense.zero_grad()
        dense(Spikes.from_dense(wide)).totals.sum().backward()

    def unbind():
        dense.zero_grad()
        y = wide
        for layer in dense:
            y = looped(y @ layer.weight, layer.neuron)
        y.sum().backward()

    made = (partial(event_driven, sparse), partial(event_driven, whole), fused, unbind)
    made = dict(zip(ARMS, made, strict=True))
    return {arm: made[arm] for arm in arms}, fired, near


def _near(net, x):
    """Share of neurons above the second threshold, all layers."""
    shares = []
    for layer in net:
        x = layer(x)
        if x.near is None:
            shares.append(np.nan)
            continue
        shares.append(np.unpackbits(x.near.view(np.uint8)).sum() / np.prod(x.shape))
    return shares


def side_by_side(hiddens, activities, repeats, steps, batch, depth, backend, arms=ARMS):
    """Seconds [arm, hidden, activity, repeat] in rounds, arms in turn; shares of neurons that fire, and of
    those that get a gradient [hidden, activity]; share of the cores others used [hidden, activity].

    Raises:
        ReaderError: a simulated backend.

    The unbind loop, which takes 1.2 to 2.4 times the fused arm's time, is timed in the first rounds only.
    """
    if backend == "ipu":
        raise ReaderError(
            "backend ipu (simulated) gives no measured times", "ipu crossover", "cpu does"
        )
    there = runnable(arms, backend)
    shape = len(hiddens), len(activities)
    seconds = np.full((len(arms), *shape, repeats), np.nan)
    fired, near, others = (np.full(shape, np.nan) for _ in range(3))
    for h, hidden in enumerate(hiddens):
        for a, activity in enumerate(activities):
            made, firing, listed = steps_of(hidden, activity, steps, batch, depth, backend, there)
            fired[h, a], near[h, a] = np.mean(firing), np.mean(listed)
            for arm in there:
                made[arm]()
            load = load_of_others()
            for r in range(repeats):
                for arm in there:
                    if arm != "dense, unbind" or r < _UNBIND_ROUNDS:
                        time = measure(made[arm], 1, warmup=0).seconds[0]
                        seconds[list(arms).index(arm), h, a, r] = time
            others[h, a] = load()
    return seconds, fired, near, others


def published_dense(networks, repeats, backend, steps: int, batch: int) -> np.ndarray:
    """Seconds [network, repeat] of a dense training step, forward and backward, of published SHD networks:
    what the modelled IPU is compared with.

    Args:
        networks: (neurons per tile, hidden layers) of each (`papers.ipu.layer_sizes`).
    """
    ops, seconds = dense_operators(backend), np.empty((len(networks), repeats))
    lif = replace(neuron(), surrogate=Surrogate("fast_sigmoid", SLOPE))
    device = backends.device(backend)
    for k, network in enumerate(networks):
        sizes = layer_sizes(*network)
        net = torch.nn.Sequential(
            *(
                Layer(a, b, lif, bias=False, delay=1, name=str(k), backend=ops)
                for k, (a, b) in enumerate(pairwise(sizes))
            )
        ).to(device)
        x = raster(steps, batch, sizes[0], 0.015).to(device)

        def step(net=net, x=x):
            net.zero_grad()
            net(Spikes.from_dense(x)).totals.sum().backward()

        seconds[k] = measure(step, repeats).seconds
    return seconds
