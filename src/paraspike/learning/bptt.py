"""Back-propagation through time: the loss, its regulariser and one optimiser step."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.network import Activity, Network, reduce_time
from paraspike.spikes import Spikes


@dataclass(frozen=True)
class Objective:
    """What is minimised: cross entropy of the readout over time, plus a budget on firing.

    readout: mean, max, sum or last over time (SPSN paper, equation 20 for mean).
    rate_budget: theta of equation 21, in spikes per neuron and step; 0 switches it off.
    rate_weight: of the budget's excess squared, against the cross entropy (published: 1).
    """

    readout: str = "mean"
    rate_budget: float = 0.0
    rate_weight: float = 1.0

    def one_seed(self, readout, hidden, labels):
        """Loss to minimise, its cross entropy, hits, spikes per step and rates [L] of one seed's samples.

        readout: [T, B, C].  hidden: spikes over time [B, N], or activity [T, B, N], a layer.
        """
        logits = reduce_time(readout, self.readout)
        loss = cross_entropy(logits, labels)
        per_step, rates = firing(readout, hidden)
        total = loss
        if self.rate_budget > 0:
            neurons = sum(h.shape[-1] for h in hidden)
            excess = torch.relu(per_step - self.rate_budget * neurons)
            total = loss + self.rate_weight * excess**2
        return total, loss, (logits.argmax(1) == labels).sum(), per_step, rates


def firing(readout, hidden):
    """Spikes per step of all hidden neurons together, mean over time and batch; rates [L] a neuron."""
    fired = [h.sum() / (readout.shape[0] * readout.shape[1]) for h in hidden]
    per_step = sum(fired, start=readout.new_zeros(()))
    rates = [f / h.shape[-1] for f, h in zip(fired, hidden, strict=True)]
    return per_step, torch.stack(rates) if rates else readout.new_zeros(0)


@dataclass(frozen=True)
class Metrics:
    """Per seed, each [S]: mean loss, correct predictions, spikes per step; `rates` is [L, S]."""

    loss: torch.Tensor
    correct: torch.Tensor
    spikes_per_step: torch.Tensor
    rates: torch.Tensor


def evaluate_batch(
    activity: Activity, labels: torch.Tensor, seeds: int, objective: Objective, ops=None
):
    """Loss to be minimised (sum over seeds) and its metrics.

    Args:
        activity: of a network with `seeds` seeds.
        labels: int64 [S*B].
        ops: the network's operators; their `loss` takes all seeds at once, for an objective of this form.

    The regulariser is relu(sum over hidden neurons of mean spikes - theta N)^2, one budget for the
    whole network, averaged over time and batch as the authors' code has it (equation 21: time only).
    """
    if ops is not None and ops.loss and type(objective).one_seed is Objective.one_seed:
        return _at_once(activity, labels, seeds, objective, ops.loss)
    # Seed by seed: torch's reductions round differently with the size of what surrounds a sample.
    readouts, targets = activity.readout.chunk(seeds, 1), labels.chunk(seeds)
    hidden = [
        h.totals.chunk(seeds) if isinstance(h, Spikes) else h.chunk(seeds, 1)
        for h in activity.hidden
    ]
    columns = [
        objective.one_seed(readouts[s], [h[s] for h in hidden], targets[s]) for s in range(seeds)
    ]
    totals, losses, hits, fired, rates = (torch.stack(c) for c in zip(*columns, strict=True))
    return totals.sum(), Metrics(losses.detach(), hits, fired.detach(), rates.detach().T)


def _at_once(activity, labels, seeds, objective, loss):
    """`evaluate_batch` by an operator that takes all seeds."""
    readout, how = activity.readout, objective.readout
    if how not in ("mean", "sum"):
        readout = reduce_time(readout, how)[None]
    losses, hits = loss(readout, labels, seeds, mean=how == "mean")
    per_seed = activity.readout.shape[0] * activity.readout.shape[1] // seeds
    fired = [_fired(h, seeds, objective.rate_budget > 0) / per_seed for h in activity.hidden]
    per_step = sum(fired, start=losses.new_zeros(seeds))
    total = losses
    if objective.rate_budget > 0:
        neurons = sum(h.shape[-1] for h in activity.hidden)
        excess = torch.relu(per_step - objective.rate_budget * neurons)
        total = losses + objective.rate_weight * excess**2
    rates = [f.detach() / h.shape[-1] for f, h in zip(fired, activity.hidden, strict=True)]
    rates = torch.stack(rates) if rates else losses.new_zeros(0, seeds)
    return total.sum(), Metrics(losses.detach(), hits, per_step.detach(), rates)


def _fired(hidden, seeds, wanted):
    """Sum of each seed's activity, [S]; of real-valued activity nan where no budget wants it."""
    if isinstance(hidden, Spikes):
        # Counts of spikes are exact in float64, in any order.
        totals = hidden.totals
        return totals.reshape(seeds, -1).sum(1, dtype=torch.float64).to(totals.dtype)
    if not wanted:
        return hidden.new_full((seeds,), torch.nan)
    return torch.stack([part.sum() for part in hidden.chunk(seeds, 1)])


def check_finite(losses: torch.Tensor, seeds) -> None:
    """Raise ReaderError where the losses [S] of some seeds are not finite."""
    values = losses.tolist()
    bad = [s for s, v in zip(seeds, values, strict=True) if v - v != 0]
    if bad:
        raise ReaderError(f"the loss is {sum(values)}", f"seeds {bad}", "lower the learning rate")


def step(
    network: Network, optimizer, x, labels, draws, objective: Objective, check: bool = True
) -> Metrics:
    """One forward pass, backward pass and update.

    Args:
        check: look whether the loss is finite, for which the host waits; else the caller does.

    Raises:
        ReaderError: the loss is not finite; weights are left as they were.
    """
    optimizer.zero_grad()
    activity = network(x, draws)
    total, metrics = evaluate_batch(activity, labels, len(network.seeds), objective, network.ops)
    if check and not torch.isfinite(total):
        bad = [s for s, v in zip(network.seeds, metrics.loss.tolist(), strict=True) if v - v != 0]
        raise ReaderError(
            f"the loss is {total.item()}",
            f"seeds {bad or list(network.seeds)}",
            "lower the learning rate",
        )
    total.backward()
    optimizer.step()
    return metrics
