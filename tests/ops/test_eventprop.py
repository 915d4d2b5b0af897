import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.ops.eventprop import cpu, reference
from paraspike.threads import set_threads

TIME = {"tau_mem": 0.02, "tau_syn": 0.005, "duration": 0.1}
BOTH = pytest.mark.parametrize(
    "eventprop", [reference.eventprop, cpu.eventprop], ids=["reference", "cpu"]
)


def drawn(seed, trials=3, events=25, sizes=(6, 5, 3), recurrent=True, scale=3.0, stack=(), **form):
    """(events, weights) of a made-up task; a tenth of the events comes after the end."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 0.11, (trials, events)), 1).reshape(-1)
    if form.get("on_grid"):
        times = np.floor(times * 200) / 200
    units = random.integers(0, sizes[0], trials * events).astype(np.int32)
    n_in, n, classes = sizes
    shapes = (n_in, n), (n, n) if recurrent else None, (n, classes)
    w_in, w_rec, w_out = (
        None if s is None else torch.from_numpy(random.normal(size=(*stack, *s))) for s in shapes
    )
    if recurrent:
        # Mostly inhibitory, or some networks would run away.
        w_rec = 0.5 * w_rec - 0.4
    return (times, units, np.arange(trials + 1) * events), [(w_in + 0.5) * scale, w_rec, w_out]


def run(eventprop, events, weights, **constants):
    """(logits, counts, loss, gradients)."""
    leaves = [None if w is None else w.detach().clone().requires_grad_() for w in weights]
    logits, counts = eventprop(events, *leaves, **TIME | constants)
    # Means over a trial are small; the loss should be neither flat nor saturated.
    loss = cross_entropy(50 * logits, torch.arange(len(logits)) % logits.shape[1])
    loss.backward()
    return logits.detach(), counts, loss.item(), [None if w is None else w.grad for w in leaves]


def slope(events, weights, which, direction, eventprop, constants, step=2e-5):
    """Fourth-order central difference of the loss; None where a spike appears or vanishes."""
    seen, losses = [], []
    for factor in (-2, -1, 1, 2):
        moved = list(weights)
        moved[which] = weights[which] + factor * step * direction
        _, counts, loss, _ = run(eventprop, events, moved, **constants)
        seen.append(counts)
        losses.append(loss)
    if any(not torch.equal(c, seen[0]) for c in seen):
        return None
    return (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * step)


@pytest.mark.parametrize(
    "constants",
    [{}, {"horizon": 0.05}, {"tau_mem": 0.006, "tau_syn": 0.01, "horizon": 0.1}],
    ids=["mean", "horizon", "slow synapse"],
)
@pytest.mark.parametrize("recurrent", [False, True], ids=["feedforward", "recurrent"])
@pytest.mark.parametrize("seed", [1, 4])
def test_gradient_equals_finite_differences(seed, recurrent, constants):
    events, weights = drawn(seed, recurrent=recurrent)
    _, counts, _, gradients = run(cpu.eventprop, events, weights, **constants)
    assert counts.sum() > 10
    for which, gradient in enumerate(gradients):
        if gradient is None:
            continue
        scale = gradient.abs().max().item()
        assert scale > 1e-4
        for place in np.ndindex(*gradient.shape):
            one = torch.zeros_like(gradient)
            one[place] = 1.0
            expected = slope(events, weights, which, one, cpu.eventprop, constants)
            assert expected is not None, "a spike came or went: choose other seeds"
            assert gradient[place].item() == pytest.approx(expected, rel=1e-6, abs=1e-6 * scale)


def test_gradient_of_the_reference_equals_a_finite_difference():
    events, weights = drawn(3)
    gradients = run(reference.eventprop, events, weights, horizon=0.1)[3]
    for which, gradient in enumerate(gradients):
        way = torch.from_numpy(np.random.default_rng(which).normal(size=gradient.shape))
        expected = slope(events, weights, which, way, reference.eventprop, {"horizon": 0.1}, 1e-5)
        assert (gradient * way).sum().item() == pytest.approx(expected, rel=1e-6)


@BOTH
@pytest.mark.parametrize("horizon", [math.inf, 0.03])
def test_one_spike_in_closed_form(eventprop, horizon):
    """tau_mem = 2 tau_syn: V = w (x - x^2), x = exp(-(t - start) / tau_mem), peaks at w / 4."""
    tau, start, end, w, out = 0.02, 0.013, 0.1, 4.5, 1.7
    constants = {"tau_mem": tau, "tau_syn": tau / 2, "duration": end, "horizon": horizon}
    events = np.array([start]), np.zeros(1, np.int64), np.array([0, 1])
    x = (1 + math.sqrt(1 - 4 / w)) / 2

    def logit(t):
        def potential(u):
            fallen = math.exp(-(u - t) / tau)
            return math.exp(-u / horizon) * out * (fallen - fallen**2) / end

        return quad(potential, t, end, epsabs=1e-14)[0]

    spike = start - tau * math.log(x)
    w_in = torch.tensor([[w]], dtype=torch.float64, requires_grad=True)
    w_out = torch.tensor([[out]], dtype=torch.float64, requires_grad=True)
    logits, counts = eventprop(events, w_in, None, w_out, **constants)
    logits.sum().backward()
    assert counts.tolist() == [[1]]
    assert logits.item() == pytest.approx(logit(spike), rel=1e-10)
    assert w_out.grad.item() == pytest.approx(logit(spike) / out, rel=1e-10)
    moved = (logit(spike + 1e-5) - logit(spike - 1e-5)) / 2e-5
    # dt/dw = -tau / x dx/dw with dx/dw = 1 / (w^2 (2 x - 1)).
    assert w_in.grad.item() == pytest.approx(-moved * tau / x / w**2 / (2 * x - 1), rel=1e-6)

    weak = torch.tensor([[3.999]], dtype=torch.float64)
    logits, counts = eventprop(events, weak, None, w_out, **constants)
    assert counts.item() == 0 and logits.item() == 0


@BOTH
def test_forward_equals_a_numerical_solution(eventprop):
    """scipy solves the differential equations from event to event and finds the spikes itself."""
    events, weights = drawn(2, trials=1, events=15, sizes=(4, 3, 2), scale=4.0)
    times, units, _ = events
    w_in, w_rec, w_out = (w.numpy() for w in weights)
    horizon, n, classes = 0.06, 3, 2
    constants = TIME | {"horizon": horizon}
    tau_m, tau_s, end = TIME["tau_mem"], TIME["tau_syn"], TIME["duration"]

    def flow(t, state):
        v, i, u, k, _ = np.split(state, [n, 2 * n, 2 * n + classes, 2 * n + 2 * classes])
        weighted = math.exp(-t / horizon) * u / end
        return np.concatenate([(i - v) / tau_m, -i / tau_s, (k - u) / tau_m, -k / tau_s, weighted])

    def threshold(j):
        def reached(t, state):
            return state[j] - 1

        reached.terminal, reached.direction = True, 1
        return reached

    state, now, counts = np.zeros(2 * n + 3 * classes), 0.0, np.zeros(n, int)
    for t, unit in [*zip(times[times < end], units, strict=False), (end, None)]:
        while now < t:
            path = solve_ivp(
                flow, (now, t), state, "DOP853", rtol=1e-11, atol=1e-13,
                events=[threshold(j) for j in range(n)],
            )  # fmt: skip
            state, now = path.y[:, -1].copy(), path.t[-1]
            for j in [j for j, found in enumerate(path.t_events) if len(found)]:
                counts[j] += 1
                state[j] = 0
                state[n : 2 * n] += w_rec[j]
                state[2 * n + classes : 2 * n + 2 * classes] += w_out[j]
        if unit is not None:
            state[n : 2 * n] += w_in[unit]
    logits, fired = eventprop(events, *weights, **constants)
    assert counts.sum() >= 5 and (counts > 0).all()
    assert fired[0].tolist() == counts.tolist()
    np.testing.assert_allclose(logits[0], state[-classes:], rtol=1e-7)


@given(
    st.integers(0, 3), st.integers(0, 40), st.tuples(*[st.integers(1, 7)] * 3), st.booleans(),
    st.sampled_from([0.0, 1.0, 4.0, 15.0]), st.sampled_from([(), (1,), (2,)]), st.booleans(),
    st.sampled_from([{}, {"horizon": 0.1}, {"tau_mem": 0.004}, {"duration": 0.03}]),
    st.integers(0, 999),
)  # fmt: skip
@example(0, 0, (1, 1, 1), True, 4.0, (2,), False, {}, 0)
@example(2, 0, (1, 1, 1), True, 4.0, (), False, {}, 0)
@example(2, 1, (1, 2, 2), False, 15.0, (), True, {}, 0)
@example(2, 40, (3, 9, 2), True, 0.0, (), False, {}, 0)
@example(2, 40, (3, 9, 2), True, 15.0, (2,), True, {"horizon": 0.1}, 1)
@settings(max_examples=25)
def test_cpu_equals_reference(
    trials, count, sizes, recurrent, scale, stack, on_grid, constants, seed
):
    trials *= stack[0] if stack else 1
    events, weights = drawn(seed, trials, count, sizes, recurrent, scale, stack, on_grid=on_grid)
    expected = run(reference.eventprop, events, weights, **constants)
    actual = run(cpu.eventprop, events, weights, **constants)
    assert torch.equal(actual[1], expected[1])
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-10, atol=1e-10)
    for a, e in zip(actual[3], expected[3], strict=True):
        if e is None:
            assert a is None
        elif e.numel() and trials:
            # A spike that barely reaches the threshold magnifies rounding by 1 / (I - 1) and more.
            torch.testing.assert_close(a, e, rtol=0, atol=1e-8 * max(1.0, e.abs().max().item()))


@BOTH
def test_what_has_no_effect(eventprop):
    """Events from the end on; others at one instant in another order; other trials."""
    events, weights = drawn(7, trials=2, on_grid=True)
    times, units, offsets = events
    logits, counts, _, _ = run(eventprop, events, weights)
    first = slice(0, offsets[1])
    order = np.lexsort((units[first], times[first]))
    early = order[times[order] < TIME["duration"]]
    alone = times[early], units[early], np.array([0, len(early)])
    again = run(eventprop, alone, weights)
    assert 0 < len(early) < len(order)
    torch.testing.assert_close(again[0][0], logits[0], rtol=1e-12, atol=0)
    assert torch.equal(again[1][0], counts[0])


def test_more_spikes_than_the_first_guess_holds():
    """The first guess is 64 spikes a neuron."""
    events, (w_in, _, w_out) = drawn(0, trials=2, events=60, sizes=(2, 1, 1), recurrent=False)
    w_in = w_in.abs() * 10
    expected, actual = (
        run(f, events, [w_in, None, w_out]) for f in (reference.eventprop, cpu.eventprop)
    )
    assert actual[1].max() > 65 and torch.equal(actual[1], expected[1])
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(actual[3][2], expected[3][2], rtol=1e-9, atol=1e-12)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_bits_depend_neither_on_threads_nor_on_other_seeds():
    events, weights = drawn(2, trials=3 * 19, sizes=(9, 33, 4), scale=3.0, stack=(3,))
    seen = []
    try:
        for count in (1, 2, 3):
            set_threads(count)
            logits, counts, _, gradients = run(cpu.eventprop, events, weights)
            seen.append([logits, counts, *gradients])
    finally:
        set_threads(1)
    assert same(seen[0], seen[1]) and same(seen[0], seen[2])

    signal = torch.from_numpy(np.random.default_rng(0).normal(size=(57, 4)))
    times, units, offsets = events
    last = slice(offsets[38], offsets[57])
    alone = times[last], units[last], offsets[38:] - offsets[38]
    results = []
    for given_, rows, part in ((events, slice(None), slice(None)), (alone, slice(38, 57), 2)):
        leaves = [w[part].clone().requires_grad_() for w in weights]
        logits, counts = cpu.eventprop(given_, *leaves, **TIME)
        logits.backward(signal[rows])
        results.append([logits.detach(), counts, *[w.grad for w in leaves]])
    together, single = results
    assert same([a[38:] for a in together[:2]] + [g[2] for g in together[2:]], single)


def test_float32_weights_are_computed_in_float64_and_one_kernel_serves_all():
    events, weights = drawn(0)
    exact = run(cpu.eventprop, events, [w.float().double() for w in weights])
    single = run(cpu.eventprop, events, [w.float() for w in weights])
    assert single[0].dtype == torch.float32 and single[3][0].dtype == torch.float32
    assert torch.equal(single[0], exact[0].float())
    wide = events[0], events[1].astype(np.int64), events[2]
    assert torch.equal(run(cpu.eventprop, wide, weights)[0], run(cpu.eventprop, events, weights)[0])
    assert len(cpu._forward.signatures) == len(cpu._backward.signatures) == 1


def test_weights_may_change_before_the_backward_pass():
    events, weights = drawn(0)
    expected = run(cpu.eventprop, events, weights)[3]
    leaves = [w.clone().requires_grad_() for w in weights]
    logits, _ = cpu.eventprop(events, *leaves, **TIME)
    loss = cross_entropy(50 * logits, torch.arange(3))
    with torch.no_grad():
        for w in leaves:
            w.zero_()
    loss.backward()
    assert same([w.grad for w in leaves], expected)


@BOTH
def test_a_network_that_runs_away_is_refused(eventprop):
    events, (w_in, _, w_out) = drawn(0, trials=2, sizes=(2, 3, 1))
    loop = torch.full((3, 3), 9.0, dtype=torch.float64)
    with pytest.raises(ReaderError, match="trial 0: more than 100 spikes"):
        eventprop(events, w_in.abs(), loop, w_out, **TIME)


NOW, ONE, TWO = np.array([0.01, 0.02]), np.zeros(2, np.int32), np.array([0, 2])


@BOTH
@pytest.mark.parametrize(
    "change, word",
    [
        ({"w_in": torch.zeros(3)}, "w_in is"),
        ({"w_in": torch.zeros(2, 3, dtype=torch.int64)}, "w_in is"),
        ({"w_in": torch.full((2, 3), math.nan)}, "w_in holds"),
        ({"w_in": None}, "w_in is NoneType"),
        ({"w_in": torch.zeros(1, 2, 3)}, "w_rec is"),
        ({"w_rec": torch.zeros(3, 4)}, "w_rec is"),
        ({"w_out": torch.zeros(4, 2)}, "w_out is"),
        ({"w_out": torch.zeros(3, 2, dtype=torch.float64)}, "w_out is"),
        ({"w_out": torch.zeros(3, 2, device="meta")}, "w_out lies on meta"),
        ({"tau_mem": 0.0}, "tau_mem = 0"),
        ({"tau_mem": 0.005}, "are the same"),
        ({"tau_syn": math.nan}, "tau_syn = nan"),
        ({"duration": math.inf}, "duration = inf"),
        ({"horizon": -1.0}, "horizon = -1"),
        ({"events": (NOW.astype(np.float32), ONE, TWO)}, "times is float32"),
        ({"events": (torch.from_numpy(NOW), ONE, TWO)}, "times is torch"),
        ({"events": (NOW, ONE.astype(float), TWO)}, "units is float64"),
        ({"events": (NOW, ONE[:1], TWO)}, "2 times, but 1 units"),
        ({"events": (NOW, ONE, TWO.astype(np.int32))}, "offsets is int32"),
        ({"events": (NOW, ONE, np.array([0, 1]))}, "offsets do not split"),
        ({"events": (NOW, ONE, np.array([0, 2, 1, 2]))}, "offsets do not split"),
        ({"events": (NOW * math.nan, ONE, TWO)}, "time is no time[^/]*trial 0, event 0"),
        ({"events": (NOW - 0.015, ONE, TWO)}, "time is no time"),
        ({"events": (NOW[::-1], ONE, TWO)}, "earlier than[^/]*trial 0, event 1"),
        ({"events": (NOW, ONE + np.int32(2), TWO)}, "no such unit"),
        ({"events": (NOW, ONE - np.int32(1), TWO)}, "no such unit"),
        ({"events": (NOW,)}, "events are"),
        (
            {"w_in": torch.zeros(2, 2, 3), "w_rec": None, "w_out": torch.zeros(2, 3, 2)},
            "1 trials cannot belong to 2 seeds",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_named(eventprop, change, word):
    given_ = {
        "events": (NOW, ONE, TWO), "w_in": torch.zeros(2, 3), "w_rec": torch.zeros(3, 3),
        "w_out": torch.zeros(3, 2),
    }  # fmt: skip
    with pytest.raises(ReaderError, match=word):
        eventprop(**given_ | TIME | change)


@BOTH
def test_trials_may_start_before_the_end_of_the_one_before(eventprop):
    events = np.array([0.05, 0.01]), ONE, np.array([0, 1, 1, 2])
    logits, counts = eventprop(events, torch.zeros(2, 3), None, torch.zeros(3, 2), **TIME)
    assert logits.shape == (3, 2) and counts.shape == (3, 3) and not logits.any()
