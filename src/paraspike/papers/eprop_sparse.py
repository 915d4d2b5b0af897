"""Sparse LSNNs: connections drawn once, or rewired by Deep-R while e-prop trains them (sheet, 1.6)."""

import torch

from paraspike import training
from paraspike.errors import ReaderError
from paraspike.evaluation import Arm, evaluate
from paraspike.learning.rewiring import DeepR, sparse_mask
from paraspike.papers.eprop import network
from paraspike.papers.eprop_experiments import settings
from paraspike.recurrent import RecurrentNetwork

KINDS = ("fixed", "Deep-R 50/50", "Deep-R 80/20")


def sparse_network(
    kind: str, n_in, hidden, n_out, dt, density, recurrent_density, seeds, backend="auto"
) -> RecurrentNetwork:
    """An LSNN of ALIF neurons with these shares of its input and recurrent connections; readout dense.

    Weights are drawn for the connections that there are, as many times larger as keeps the variance of
    their sum; whether the published program does so is not known.

    Raises:
        ReaderError: no such kind (`KINDS`), densities out of range.
    """
    if kind not in KINDS:
        raise ReaderError(
            f"kind {kind!r} is unknown", "papers.eprop_sparse", f"one of {', '.join(KINDS)}"
        )
    masks = (
        sparse_mask(n_in, hidden, density, seeds, "mask/input"),
        sparse_mask(hidden, hidden, recurrent_density, seeds, "mask/recurrent"),
    )
    made = network(
        "eProp ALIF",
        "recurrent",
        hidden,
        n_in,
        n_out,
        dt,
        seeds=seeds,
        backend=backend,
        masks=masks,
    )
    with torch.no_grad():
        made.layers[0].weight.mul_(density**-0.5)
        made.layers[0].recurrent_weight.mul_(recurrent_density**-0.5)
    return made


def rewiring(kind: str, made: RecurrentNetwork, optimizer) -> DeepR | None:
    """What moves connections after each update; None for fixed ones. Without the L1 pull that mlGeNN
    offers: its strength belongs to gradients of that program's scale."""
    if kind == "fixed":
        return None
    return DeepR(made.layers[: made.depth], optimizer, signs=kind.removeprefix("Deep-R "))


def fit_sparse(
    keys,
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
    checkpoints=None,
) -> dict[tuple, Arm]:
    """Train and test sparse networks.

    Args:
        keys: (kind, input density, recurrent density) of each.
        checkpoints: a folder, one file an arm, or None.
    """
    how = settings("eProp ALIF", dt, epochs, batch_size, learning_rate, learning_rate)
    pending = {}
    for kind, density, recurrent_density in keys:
        made = sparse_network(
            kind,
            train.n_units,
            hidden,
            train.n_classes,
            dt,
            density,
            recurrent_density,
            seeds,
            backend,
        )
        label = f"{kind} {density:g} {recurrent_density:g}"
        file = checkpoints / f"{label.replace('/', '-')}.pt" if checkpoints else None
        arm = training.Trainee(made, how, file, label)
        if (moves := rewiring(kind, made, arm.optimizer)) is not None:
            arm.attach(moves)
        pending[kind, density, recurrent_density] = arm
    histories = training.train_together(list(pending.values()), train)
    return {
        key: Arm(arm.network, history, evaluate(arm.network, test, how))
        for (key, arm), history in zip(pending.items(), histories, strict=True)
    }
