"""Back-propagation through time: the loss, its regulariser and one optimiser step."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.network import Activity, Network, reduce_time


@dataclass(frozen=True)
class Objective:
    """What is minimised: cross entropy of the readout over time, plus a budget on firing.

    readout: mean, max, sum or last over time (SPSN paper, equation 20 for mean).
    rate_budget: theta of equation 21, in spikes per neuron and step; 0 switches it off.
    """

    readout: str = "mean"
    rate_budget: float = 0.0


@dataclass(frozen=True)
class Metrics:
    """Per seed, each [S]: mean loss, correct predictions, spikes per step; `rates` is [L, S]."""

    loss: torch.Tensor
    correct: torch.Tensor
    spikes_per_step: torch.Tensor
    rates: torch.Tensor


def evaluate_batch(activity: Activity, labels: torch.Tensor, seeds: int, objective: Objective):
    """Loss to be minimised (sum over seeds) and its metrics.

    Args:
        activity: of a network with `seeds` seeds.
        labels: int64 [S*B].

    The regulariser is relu(sum over hidden neurons of mean spikes - theta N)^2, one budget for the
    whole network, averaged over time and batch as the authors' code has it (equation 21: time only).
    """
    logits = reduce_time(activity.readout, objective.readout)
    losses = cross_entropy(logits, labels, reduction="none").reshape(seeds, -1).mean(1)
    # Time first, then samples: one order of summation, however many seeds share the tensor.
    rates = [h.mean(0).reshape(seeds, -1, h.shape[2]).mean(1) for h in activity.hidden]
    neurons = sum(r.shape[1] for r in rates)
    fired = sum((r.sum(1) for r in rates), start=torch.zeros_like(losses))
    total = losses
    if objective.rate_budget > 0:
        total = total + torch.relu(fired - objective.rate_budget * neurons) ** 2
    hits = (logits.argmax(1) == labels).reshape(seeds, -1).sum(1)
    means = [r.detach().mean(1) for r in rates]
    stacked = torch.stack(means) if means else losses.new_zeros(0, seeds)
    return total.sum(), Metrics(losses.detach(), hits, fired.detach(), stacked)


def step(network: Network, optimizer, x, labels, draws, objective: Objective) -> Metrics:
    """One forward pass, backward pass and update.

    Raises:
        ReaderError: the loss is not finite; weights are left as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    total, metrics = evaluate_batch(network(x, draws), labels, len(network.seeds), objective)
    if not torch.isfinite(total):
        bad = [s for s, v in zip(network.seeds, metrics.loss.tolist(), strict=True) if v - v != 0]
        raise ReaderError(
            f"the loss is {total.item()}", f"seeds {bad or list(network.seeds)}", "lower the learning rate"
        )
    total.backward()
    optimizer.step()
    return metrics
