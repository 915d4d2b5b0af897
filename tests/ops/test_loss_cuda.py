"""Cross entropy of all seeds at once, against torch's, seed by seed."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike import backends
from paraspike.errors import ReaderError
from paraspike.learning.bptt import Objective, evaluate_batch
from paraspike.network import Activity
from paraspike.spikes import Spikes

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a CUDA device", allow_module_level=True)

from paraspike.ops.loss import cuda  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
READOUTS = ("mean", "sum", "max", "last")


class Ops:
    loss = staticmethod(cuda.losses)


def drawn(seed, steps, seeds, per_seed, n, dtype):
    draw = torch.Generator().manual_seed(seed)
    readout = torch.randn(steps, seeds * per_seed, n, generator=draw, dtype=torch.float64)
    labels = torch.randint(n, (seeds * per_seed,), generator=draw)
    hidden = [
        (torch.rand(steps, seeds * per_seed, k, generator=draw) < 0.4).to(dtype) for k in (3, 6)
    ]
    return readout.to(dtype).to(DEVICE), labels.to(DEVICE), [h.to(DEVICE) for h in hidden]


def judged(readout, labels, hidden, seeds, objective, ops=None):
    """Metrics, gradients of readout and hidden activity."""
    leaves = [v.clone().requires_grad_() for v in (readout, *hidden)]
    held = [Spikes.from_dense(leaves[1]), leaves[2]]
    if not objective.rate_budget:
        held[1] = Spikes.from_dense(leaves[2])
    activity = Activity(leaves[0], held)
    total, m = evaluate_batch(activity, labels, seeds, objective, ops)
    total.backward()
    grads = [torch.zeros_like(v) if v.grad is None else v.grad for v in leaves]
    return [total.detach(), m.loss, m.correct, m.spikes_per_step, m.rates, *grads]


@given(
    st.integers(0, 999), st.sampled_from([1, 2, 64, 65, 200]), st.integers(1, 3), st.integers(1, 5),
    st.sampled_from([1, 2, 11, 20]), st.sampled_from(READOUTS), st.sampled_from([0.0, 0.2]),
    st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
@settings(max_examples=25)
def test_all_seeds_at_once_as_seed_by_seed(seed, steps, seeds, per_seed, n, readout, budget, dtype):
    given_, objective = drawn(seed, steps, seeds, per_seed, n, dtype), Objective(readout, budget)
    wanted = judged(*given_, seeds, objective)
    found = judged(*given_, seeds, objective, Ops)
    near = (
        {"rtol": 2e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, **near)


@pytest.mark.parametrize("steps, per_seed", [(70, 3), (3, 150)])
def test_a_seed_is_the_same_alone_and_among_others(steps, per_seed):
    readout, labels, hidden = drawn(1, steps, 3, per_seed, 20, torch.float32)
    objective = Objective("mean", 0.2)
    together = judged(readout, labels, hidden, 3, objective, Ops)
    own = slice(per_seed, 2 * per_seed)
    alone = judged(readout[:, own], labels[own], [h[:, own] for h in hidden], 1, objective, Ops)
    for a, b in zip(together[1:4], alone[1:4], strict=True):
        assert torch.equal(a[1:2], b)
    for a, b in zip(together[5:], alone[5:], strict=True):
        assert torch.equal(a[:, own], b)


@pytest.mark.parametrize("where, value", [((0, 1, 0), float("nan")), ((0, 1, 2), float("inf"))])
def test_what_is_not_finite_stays_with_its_seed(where, value):
    readout, labels, _ = drawn(2, 3, 2, 2, 4, torch.float32)
    readout[where] = value
    found, _ = cuda.losses(readout, labels, 2)
    assert not torch.isfinite(found[0]) and torch.isfinite(found[1])


def test_a_label_that_is_no_class_is_no_finite_loss():
    readout, labels, _ = drawn(2, 3, 2, 2, 4, torch.float32)
    labels[3] = 4
    assert torch.isfinite(cuda.losses(readout, labels, 2)[0]).tolist() == [True, False]


def test_the_operator_is_the_backends_own():
    assert backends.operator("loss", "cuda") is cuda.losses


def test_what_does_not_fit_is_named():
    readout, labels, _ = drawn(2, 3, 2, 2, 4, torch.float32)
    for bad in ((readout, labels[:3], 2), (readout, labels.int(), 2), (readout, labels, 3)):
        with pytest.raises(ReaderError, match=r"\[T, S\*B, C\]"):
            cuda.losses(*bad)


def test_second_derivatives_are_refused():
    readout = torch.randn(3, 4, 5, device=DEVICE, requires_grad=True)
    losses, _ = cuda.losses(readout, torch.zeros(4, dtype=torch.int64, device=DEVICE), 2)
    (first,) = torch.autograd.grad(losses.square().sum(), readout, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
