"""What sparse lists cost: accuracy, what overflows, and how far the gradient turns away from the dense one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from paraspike import training
from paraspike.errors import ReaderError
from paraspike.evaluation import Arm, evaluate
from paraspike.layer import Draws
from paraspike.learning.bptt import Objective, evaluate_batch
from paraspike.network import Network
from paraspike.ops.compact.reference import lists
from paraspike.papers.ipu import POSTER, SECOND, THRESHOLD
from paraspike.papers.ipu_ways import DENSE, Annealing, Sparse, network, settings


@contextmanager
def overflow(net: Network) -> Iterator[dict]:
    """Adds up over passes what lists could not take: filled at the end with `lost` and `listed`,
    each [layer, seed, 2] (spikes, neurons near threshold), for layers that have a capacity."""
    seeds = len(net.seeds)
    lost, listed = (np.zeros((len(net.layers), seeds, 2)) for _ in range(2))

    def note(*_):
        for index, layer in enumerate(net.layers):
            if layer.lost is None:
                continue
            entries = layer.counts.clone()
            entries[..., 1] -= entries[..., 0]
            for total, value in ((lost, layer.lost), (listed, entries)):
                total[index] += np.stack(
                    [v.sum((0, 1)).numpy() for v in value.cpu().chunk(seeds, 1)]
                )

    hook = net.register_forward_hook(note)
    found = {"lost": lost, "listed": listed}
    try:
        yield found
    finally:
        hook.remove()


def fit(
    arms: Mapping[str, Sparse],
    train,
    test,
    *,
    hidden,
    dt,
    epochs,
    batch_size,
    learning_rate,
    seeds,
    backend="auto",
    checkpoints: Path | None = None,
) -> dict[str, xr.Dataset]:
    """Train arms on the same batches, test each once; what their lists lost is counted on the test set.

    Returns:
        by arm: train accuracy, loss, test accuracy, firing (`evaluation.Arm.dataset`), and per layer
        `spikes_lost` and `near_lost`, percent of the spikes and of the neurons near threshold.

    Raises:
        ReaderError: no hidden layer.
    """
    if not hidden:
        raise ReaderError("a network without hidden layers", "ipu_experiments.fit")
    sizes = [train.n_units, *hidden, train.n_classes]
    how = settings(dt, epochs, batch_size, learning_rate)
    pending: dict[Sparse, training.Trainee] = {}
    for name, sparse in arms.items():
        # Two names for one way to train are one network.
        if sparse in pending:
            continue
        made = network(sizes, sparse, seeds, backend=backend)
        file = checkpoints / f"{name.replace('/', '-')}.pt" if checkpoints else None
        pending[sparse] = training.Trainee(made, how, file, name)
        if sparse.anneal:
            pending[sparse].attach(Annealing(made, sparse.second))
    histories = training.train_together(list(pending.values()), train)
    found = {}
    for (sparse, arm), history in zip(pending.items(), histories, strict=True):
        with overflow(arm.network) as sums:
            tested = Arm(arm.network, history, evaluate(arm.network, test, how))
        found[sparse] = tested.dataset().merge(_losses(sums, sparse, seeds))
    return {name: found[sparse] for name, sparse in arms.items()}


def _losses(sums, sparse, seeds) -> xr.Dataset:
    whole = sums["lost"] + sums["listed"]
    share = np.where(whole > 0, 100 * sums["lost"] / np.maximum(whole, 1), 0.0)
    if sparse.activity is None:
        share[:] = 0
    words = {"spikes_lost": "spikes", "near_lost": "neurons near threshold"}
    return xr.Dataset(
        {
            name: (
                ("layer", "seed"),
                share[..., k],
                {"units": "percent", "long_name": f"{text} that did not fit their list"},
            )
            for k, (name, text) in enumerate(words.items())
        },
        coords={
            "layer": (
                "layer",
                np.arange(1, len(share) + 1),
                {"units": "1", "long_name": "layer, output last"},
            ),
            "seed": ("seed", list(seeds), {"units": "1", "long_name": "random seed"}),
        },
    )


def cosines(arms: Mapping[str, Sparse], data, *, hidden, dt, repeats=5, samples=32, backend="auto"):
    """How well every arm's gradient points where dense BPTT's does, before training.

    Returns:
        by arm: cosine of the two gradients of all weights, one [repeat] for each of as many seeds.
    """
    seeds = tuple(range(repeats))
    sizes = [data.n_units, *hidden, data.n_classes]
    index, owners = np.arange(min(samples, len(data))), np.asarray(seeds)
    flat, owner = np.tile(index, len(seeds)), np.repeat(owners, len(index))
    x = training.make_batch(data, flat, owner, dt)
    labels = torch.from_numpy(data.labels[flat])

    def gradient(sparse):
        made = network(sizes, sparse, seeds, backend=backend)
        device = made.layers[0].weight.device
        activity = made(x, Draws(flat, owner, 0, "train"))
        evaluate_batch(activity, labels.to(device), len(seeds), Objective("sum"))[0].backward()
        return torch.cat([layer.weight.grad.flatten(1) for layer in made.layers], 1).double()

    whole = gradient(DENSE)
    attrs = {"units": "1", "long_name": "cosine of the gradient with dense BPTT's, first weights"}
    drawn = {"repeat": ("repeat", list(seeds), {"units": "1", "long_name": "seed of the weights"})}
    angles = {arm: torch.cosine_similarity(gradient(arm), whole) for arm in {*arms.values()}}
    return {
        name: xr.Dataset({"cosine": ("repeat", angles[arm].cpu().numpy(), attrs)}, drawn)
        for name, arm in arms.items()
    }


def poster_list(slots: int = 4) -> xr.Dataset:
    """The sparse spike tensor of the poster's seven potentials, thresholds 1 and 0.9."""
    u = torch.tensor(POSTER).reshape(1, 1, -1)
    ids, counts, _ = lists(u > THRESHOLD, u > SECOND, slots)
    return xr.Dataset(
        {
            "poster_ids": (
                "slot",
                ids.flatten().numpy(),
                {"units": "1", "long_name": "ids of the poster's example, -1 past the last"},
            ),
            "poster_counts": (
                "entry",
                counts.flatten().numpy(),
                {"units": "1", "long_name": "counts of the poster's example"},
            ),
        },
        coords={
            "slot": ("slot", np.arange(slots), {"units": "1", "long_name": "slot of the list"}),
            "entry": (
                "entry",
                ["spikes", "all entries"],
                {"units": "1", "long_name": "what is counted"},
            ),
        },
    )
