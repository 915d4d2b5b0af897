"""E-prop three ways: online traces, the factorised pass of a network, autograd that stops between neurons."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.learning import bptt
from paraspike.learning.eprop import EveryStep
from paraspike.learning.streaming import GENN, MLGENN, Stream, Timing
from paraspike.neurons import LIF, LeakyIntegrator, Surrogate
from paraspike.ops.surrogate import Fire
from paraspike.recurrent import RateTarget, RecurrentNetwork
from paraspike.spikes import Spikes

READOUT = LeakyIntegrator(0.0, 0.8, 1.0)
RATE = RateTarget(0.1, 0.05, 0.95)
# Adaptation, refractory steps, recurrent: few, for each compiles kernels of its own.
KINDS = [(0.3, 2, True), (0.3, 2, False), (0.0, 0, True)]


def cell(beta=0.3, refractory=2):
    return LIF(
        a_uu=0.9, a_ui=1.0, threshold=0.6, strict=False, beta=beta, rho=0.97, reset="subtract",
        refractory="block_spike" if refractory else "none", refractory_steps=refractory,
        reset_grad="through", surrogate=Surrogate("triangle", 1 / 0.6, 0.3 / 0.6),
    )  # fmt: skip


def raster(steps, batch, n, density=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, n, generator=generator) < density).double()


def network(hidden, neuron, seeds=(3,), n_in=7, n_out=4, **options):
    options = {"rate": RATE, "backend": "cpu"} | options
    return RecurrentNetwork(n_in, hidden, n_out, neuron, READOUT, seeds, **options).double()


def grads(net, x, labels):
    net.zero_grad()
    spikes = Spikes.from_dense(x)
    total, metrics = bptt.evaluate_batch(net(spikes), labels, len(net.seeds), EveryStep())
    total.backward()
    return {name: p.grad for name, p in net.named_parameters()}, metrics


def stopped(net, x, labels):
    """The same gradients from a plain loop over time, by autograd that stops at every spike sent to
    another hidden neuron (Bellec et al. 2020, equation 4); seed by seed."""
    found = []
    for s in range(len(net.seeds)):
        w = {n: p.detach()[s].clone().requires_grad_() for n, p in net.named_parameters()}
        block, target = x.chunk(len(net.seeds), 1)[s], labels.chunk(len(net.seeds))[s]
        zero = [block.new_zeros(block.shape[1], net.layers[i].n_out) for i in range(net.depth)]
        u, a, z, f, left = (list(zero) for _ in range(5))
        y, loss = 0.0, 0.0
        for t in range(len(block)):
            given = block[t]
            for i in range(net.depth):
                neuron = net.layers[i].neuron
                current = given @ w[f"layers.{i}.weight"]
                if f"layers.{i}.recurrent_weight" in w:
                    current = current + z[i].detach() @ w[f"layers.{i}.recurrent_weight"]
                u[i] = neuron.a_uu * u[i] + current
                v, free = u[i] - neuron.threshold - neuron.beta * a[i], left[i] <= 0
                fired = (v >= 0) & free
                z[i] = Fire.apply(v, fired, v.detach(), neuron.surrogate, free)
                u[i] = u[i] - neuron.threshold * z[i].detach()
                a[i] = neuron.rho * a[i] + z[i]
                left[i] = torch.where(fired, float(neuron.refractory_steps), left[i] - 1)
                f[i] = RATE.keep * f[i] + (1 - RATE.keep) * z[i].detach()
                loss = loss + (RATE.weight * (f[i] - RATE.target) * z[i]).sum()
                given = z[i].detach()
            heard = sum(z[i] @ w[f"layers.{net.depth + i}.weight"] for i in range(net.depth))
            y = READOUT.a_uu * y + heard + w[f"layers.{2 * net.depth - 1}.bias"]
            loss = loss + torch.nn.functional.cross_entropy(y, target, reduction="sum")
        found.append(dict(zip(w, torch.autograd.grad(loss, list(w.values())), strict=True)))
    return {name: torch.stack([part[name] for part in found]) for name in found[0]}


def near(actual, expected, rtol=1e-10):
    for name, value in expected.items():
        scale = max(1.0, float(value.detach().abs().max()))
        torch.testing.assert_close(actual[name], value, rtol=0, atol=rtol * scale, msg=name)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("kind", KINDS, ids=["ALIF", "feedforward", "LIF"])
@pytest.mark.parametrize("hidden", [[11], [9, 6, 5]], ids=["one", "three"])
def test_factorised_equals_stopped_autograd(backend, kind, hidden):
    beta, refractory, recurrent = kind
    net = network(hidden, cell(beta, refractory), (3, 8), recurrent=recurrent, backend=backend)
    x, labels = raster(25, 6, 7), torch.tensor([0, 1, 2, 3, 1, 1])
    actual, metrics = grads(net, x, labels)
    assert 0.01 < float(metrics.rates.mean()) < 0.6
    near(actual, stopped(net, x, labels))


def streamed(net, x, labels, chunk, pieces=1, **options):
    layers = dict(net.named_parameters())
    w = [layers.get(k) for k in ("layers.0.weight", "layers.0.recurrent_weight", "layers.1.weight")]
    w = [None if p is None else p[0] for p in (*w, layers["layers.1.bias"])]
    stream = Stream(*w, net.layers[0].neuron, READOUT, chunk=chunk, rate=net.rate, **options)
    y = [stream(part, labels) for part in x.chunk(pieces)]
    names = ["layers.0.weight", "layers.0.recurrent_weight", "layers.1.weight", "layers.1.bias"]
    taken = {k: None if g is None else g[None] for k, g in zip(names, stream.take(), strict=True)}
    return {k: g for k, g in taken.items() if g is not None}, torch.cat(y)


@given(
    st.integers(1, 30), st.integers(1, 5), st.integers(1, 40), st.sampled_from(KINDS),
    st.sampled_from([1, 4, 50]), st.booleans(),
    st.sampled_from(["reference", "cpu"]), st.sampled_from([0.0, 0.2, 1.0]), st.integers(0, 99),
)  # fmt: skip
@example(25, 3, 37, KINDS[0], 1, False, "cpu", 0.2, 0)
@example(25, 3, 37, KINDS[0], 7, True, "cpu", 0.2, 0)
@settings(max_examples=25, deadline=None)
def test_online_and_chunked_equal_factorised(
    steps, batch, n, kind, chunk, blocked, backend, density, seed
):
    beta, refractory, recurrent = kind
    net = network([n], cell(beta, refractory), (seed,), recurrent=recurrent)
    x, labels = raster(steps, batch, 7, density, seed), torch.arange(batch) % 4
    expected, _ = grads(net, x, labels)
    for pieces in (1, 3):
        actual, y = streamed(net, x, labels, chunk, pieces, backend=backend, blocked=blocked)
        near(actual, expected)
        near({"y": y}, {"y": net(Spikes.from_dense(x)).readout})


def as_genn(w_in, w_rec, w_out, bias, batches, c, late_softmax):
    """The sheet's account of GeNN's e-prop, statement by statement, a synapse phase before a neuron
    phase, nothing reset between batches: gradient sums a batch."""
    n, k = w_out.shape
    batch = batches[0][0].shape[1]
    zero = np.zeros((batch, n))
    v, a, r, eh, favg, psi, zbar, z = (zero.copy() for _ in range(8))
    zbar_in, z_in = (np.zeros((batch, len(w_in))) for _ in range(2))
    y, error, pi = (np.zeros((batch, k)) for _ in range(3))
    ea = [np.zeros((batch, m, n)) for m in (len(w_in), n)]
    ebar = [np.zeros((batch, m, n)) for m in (len(w_in), n)]
    out = []
    for spikes, labels in batches:
        sums = [np.zeros_like(w) for w in (w_in, w_rec, w_out, bias)]
        onehot = np.eye(k)[labels]
        for t in range(len(spikes)):
            sums[2] += np.einsum("bj,bk->jk", zbar, error)
            feedback = error @ w_out.T
            for i, pre in enumerate((zbar_in, zbar)):
                e = psi[:, None] * (pre[:, :, None] - c["beta"] * ea[i])
                ea[i] = (
                    psi[:, None] * pre[:, :, None] + (c["rho"] - c["beta"] * psi[:, None]) * ea[i]
                )
                ebar[i] = c["alpha"] * ebar[i] + e
                penalty = c["reg"] * (favg - c["target"])
                sums[i] += (ebar[i] * eh[:, None] + penalty[:, None] * e).sum(0)
            current, arriving = z_in @ w_in + z @ w_rec, z @ w_out
            v, a, r = c["alpha"] * v + current, c["rho"] * a, np.where(r > 0, r - 1, r)
            eh, zbar, favg = feedback, c["alpha"] * zbar, c["alpha_f"] * favg
            level = c["threshold"] + c["beta"] * a
            psi = 0.3 / 0.6 * np.maximum(0, 1 - np.abs(v - level) / 0.6) * (r <= 0)
            z = ((r <= 0) & (v >= level)).astype(float)
            zbar, favg = zbar + z, favg + (1 - c["alpha_f"]) * z
            v, a, r = v - c["threshold"] * z, a + z, np.where(z > 0, c["refractory"], r)
            z_in = spikes[t]
            zbar_in = c["alpha"] * zbar_in + z_in
            y = c["alpha"] * y + arriving + bias
            now = np.exp(y) / np.exp(y).sum(1, keepdims=True)
            error = (pi if late_softmax else now) - onehot
            pi = now
            sums[3] += error.sum(0)
        out.append(sums)
    return out


@pytest.mark.parametrize("timing, late", [(GENN, False), (MLGENN, True)], ids=["P", "mlGeNN"])
@pytest.mark.parametrize("chunk, blocked", [(1, False), (6, True)])
def test_stream_reproduces_genn_over_batches_without_reset(timing, late, chunk, blocked):
    alpha, rho, beta = 0.9, 0.98, 0.3
    rng = np.random.default_rng(5)
    n_in, n, k, batch, steps = 6, 9, 4, 3, 20
    weights = [rng.normal(size=s) / s[0] ** 0.5 for s in ((n_in, n), (n, n), (n, k))]
    weights = [1.5 * weights[0], *weights[1:], 0.1 * rng.normal(size=k)]
    c = {"alpha": alpha, "rho": rho, "beta": beta, "alpha_f": 0.95, "reg": 0.05, "target": 0.1,
         "threshold": 0.6, "refractory": 5}  # fmt: skip
    batches = [
        ((rng.random((steps, batch, n_in)) < 0.3).astype(float), rng.integers(0, k, batch))
        for _ in range(3)
    ]
    neuron = LIF(
        a_uu=alpha, a_ui=1.0, threshold=0.6, strict=False, beta=beta * rho, rho=rho,
        reset="subtract", refractory="block_spike", refractory_steps=4, reset_grad="through",
        surrogate=Surrogate("triangle", 1 / 0.6, 0.3 / 0.6),
    )  # fmt: skip
    stream = Stream(
        *(torch.from_numpy(w) for w in weights), neuron, LeakyIntegrator(0.0, alpha, 1.0),
        chunk=chunk, blocked=blocked, rate=RateTarget(0.1, 0.05, 0.95), timing=timing, trace_beta=beta,
    )  # fmt: skip
    wanted = as_genn(*weights, batches, c, late)
    for (spikes, labels), sums in zip(batches, wanted, strict=True):
        stream(torch.from_numpy(spikes), torch.from_numpy(labels))
        near(
            {str(i): g for i, g in enumerate(stream.take())},
            {str(i): torch.from_numpy(g) for i, g in enumerate(sums)},
        )
    assert np.abs(wanted[1][0]).max() > 0.1


def test_genn_deviates_from_exact_by_little():
    net = network([20], cell(0.05, 2), n_in=15, rate=None)
    x, labels = raster(200, 4, 15, 0.05), torch.arange(4)
    exact, _ = streamed(net, x, labels, 10)
    genn, _ = streamed(net, x, labels, 10, timing=GENN)
    for name in ("layers.0.weight", "layers.1.weight"):
        a, b = exact[name].flatten(), genn[name].flatten()
        assert 0.9 < float(a @ b / a.norm() / b.norm()) < 1 - 1e-6


def test_listening_changes_no_trace_and_reset_forgets():
    net = network([12], cell())
    x, labels = raster(9, 2, 7, 0.4), torch.tensor([1, 2])
    w = [p[0] for p in net.parameters()]
    stream = Stream(w[0], w[1], w[2], w[3], net.layers[0].neuron, READOUT, chunk=3)
    first = stream(x, labels)
    stream.take()
    second = stream(x, labels, learn=False)
    assert all(not g.any() for g in stream.take()) and not torch.equal(first, second)
    stream.reset()
    assert torch.equal(stream(x, labels), first)


def test_feedback_random_and_adaptive():
    x, labels = raster(30, 4, 7), torch.arange(4)
    fixed, moving = (network([11], cell(), feedback=f) for f in ("random", "adaptive"))
    back = fixed.feedback0[0]
    wanted, _ = streamed(fixed, x, labels, 30, feedback=back)
    actual, _ = grads(fixed, x, labels)
    near(actual, wanted)
    assert "feedback0" not in dict(fixed.named_parameters())
    assert torch.equal(moving.feedback0, fixed.feedback0)
    readout = moving.layers[1].weight
    apart = (readout - moving.feedback0).detach().norm()
    got, _ = grads(moving, x, labels)
    for name in ("layers.1.weight", "feedback0"):
        torch.testing.assert_close(got[name], actual["layers.1.weight"])
    near({"w": got["layers.0.weight"]}, {"w": actual["layers.0.weight"]})
    optimizer = torch.optim.Adam(moving.parameters(), lr=1e-3)
    for _ in range(100):
        grads(moving, x, labels)
        optimizer.step()
    assert (readout - moving.feedback0).detach().norm() < 0.5 * apart


def test_bptt_differs_only_by_what_passes_between_neurons():
    x, labels = raster(30, 4, 7), torch.arange(4)
    same = [
        grads(network([11], cell(), recurrent=False, rule=r), x, labels)[0]
        for r in ("eprop", "bptt")
    ]
    near(*same)
    local, whole = (grads(network([11], cell(), rule=r), x, labels)[0] for r in ("eprop", "bptt"))
    near({"b": local["layers.1.weight"]}, {"b": whole["layers.1.weight"]})
    assert not torch.allclose(local["layers.0.weight"], whole["layers.0.weight"], rtol=1e-3)


def test_a_seed_gives_the_same_bits_alone_and_among_others():
    x, labels = raster(20, 4, 7).float(), torch.arange(4)
    many = network([8, 6], cell(), (1, 5)).float()
    alone = network([8, 6], cell(), (5,)).float()
    together, _ = grads(many, x.repeat(1, 2, 1), labels.repeat(2))
    single, _ = grads(alone, x, labels)
    for name, value in single.items():
        assert torch.equal(together[name][1], value[0]), name


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: network([5], cell(), rule="rtrl"), "rule 'rtrl'"),
        (lambda: network([5], cell(), feedback="none"), "feedback 'none'"),
        (lambda: network([], cell()), "no hidden layer"),
        (lambda: streamed(network([5], cell()), raster(3, 1, 7), torch.tensor([0]), 0), "chunk 0"),
        (
            lambda: Stream(
                *[torch.zeros(2, 2)] * 3, torch.zeros(2), cell(), LeakyIntegrator(0.5, 0.5, 1.0)
            ),
            "readout",
        ),
        (
            lambda: Stream(
                *[torch.zeros(2, 2)] * 3, torch.zeros(2), LIF(a_ii=0.5), READOUT, timing=Timing()
            )(torch.zeros(1, 1, 2), torch.tensor([0])),
            "a_ii = c0 = c1 = 0",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, word):
    with pytest.raises(ReaderError, match=word):
        make()
