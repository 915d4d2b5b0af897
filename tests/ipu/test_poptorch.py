"""The static-shape sparse network against a dense backpropagation through time with both thresholds."""

import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paraspike.errors import ReaderError
from paraspike.ipu.poptorch import SparseLayer, SparseNetwork, missing, on_ipu
from paraspike.neurons import LIF, Surrogate
from paraspike.ops.lif.reference import lif

DECAY, GAIN, SLOPE = 0.95, 10.0, 10.0
TH, TH2 = 1.0, 0.9


def dense(x, weights, labels, *, delay, reset, threshold, second_threshold):
    """Loss, weight gradients, potentials [T, B, N] per layer and counts; the backward pass by hand."""
    layers, steps = len(weights), len(x)
    gain = GAIN * (1 - DECAY)

    def read(spikes, k, t):
        source = x if k == 0 else spikes[k - 1]
        return source[t - delay] if t >= delay else torch.zeros_like(source[0])

    u = [x.new_zeros(steps, x.shape[1], w.shape[1]) for w in weights]
    s = [torch.zeros_like(potential) for potential in u]
    for t in range(steps):
        for k, w in enumerate(weights):
            if t:
                u[k][t] = DECAY * u[k][t - 1] * (1 - s[k][t - 1])
            u[k][t] += gain * (read(s, k, t) @ w)
            s[k][t] = (u[k][t] > threshold).double()
    counts = s[-1].sum(0)
    batch = torch.arange(len(labels))
    loss = (counts.logsumexp(1) - counts[batch, labels]).mean()
    to_count = counts.softmax(1)
    to_count[batch, labels] -= 1
    to_count /= len(labels)
    # to_u[k][t] is the derivative of the loss by u[k][t]; a row more than T stays zero.
    to_u = [potential.new_zeros(steps + 1, *potential.shape[1:]) for potential in u]
    to_w = [torch.zeros_like(w) for w in weights]
    for t in reversed(range(steps)):
        for k in reversed(range(layers)):
            if k == layers - 1:
                to_s = to_count
            else:
                to_s = gain * to_u[k + 1][t + delay] @ weights[k + 1].T
            surrogate = (u[k][t] > second_threshold) / (
                SLOPE * (u[k][t] - threshold).abs() + 1
            ) ** 2
            kept = DECAY * (1 - s[k][t]) if reset == "masked" else DECAY
            to_u[k][t] = kept * to_u[k][t + 1] + surrogate * to_s
            to_w[k] += gain * read(s, k, t).T @ to_u[k][t]
    return loss, to_w, u, counts


@st.composite
def problems(draw):
    """(x [T, B, N] of 0 and 1, weights, labels, options), float64."""
    size = st.integers(1, 8)
    steps, batch, sizes = (
        draw(size),
        draw(st.integers(1, 3)),
        draw(st.lists(size, min_size=2, max_size=4)),
    )
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    rate, scale = (
        draw(st.sampled_from([0.8, 0.4, 1.0, 0.0])),
        draw(st.sampled_from([3.0, 6.0, 1.0])),
    )
    x = (torch.rand(steps, batch, sizes[0], generator=g) < rate).double()
    weights = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        w = torch.randn(n_in, n_out, generator=g, dtype=torch.float64)
        weights.append((w + 0.5) * scale / n_in**0.5)
    threshold = draw(st.floats(0.2, 1.5))
    options = dict(
        delay=draw(st.integers(0, 1)),
        reset=draw(st.sampled_from(["through", "masked"])),
        threshold=threshold,
        second_threshold=threshold - draw(st.sampled_from([0.1, 0.5, 0.0, 100.0])),
    )
    return x, weights, torch.randint(sizes[-1], (batch,), generator=g), options


def lists(x, junk=-7):
    """x [T, B, N] as ids [T, B, s], with junk behind the valid ones, and counts [T, B]."""
    counts = (x != 0).sum(2)
    order = (x == 0).to(torch.int8).argsort(dim=2, stable=True)
    ids = torch.where(torch.arange(x.shape[2]) < counts.unsqueeze(2), order, junk)
    return ids[:, :, : int(counts.max()) if counts.numel() else 0], counts


def lost(potentials, capacity, threshold, second_threshold):
    """[2]: spikes and near-threshold neurons beyond the capacity, counted one list at a time."""
    spikes = near = 0
    for row in potentials.flatten(0, 1).tolist():
        names = sorted((u > threshold for u in row if u > second_threshold), reverse=True)
        spikes += sum(names[capacity:])
        near += len(names[capacity:]) - sum(names[capacity:])
    return [spikes, near]


@settings(max_examples=200)
@given(problems(), st.data())
def test_equals_dense_bptt_where_no_list_overflows(problem, data):
    x, weights, labels, options = problem
    loss, gradients, potentials, counts = dense(x, weights, labels, **options)
    capacities = []
    for u in potentials:
        occupied = int((u > options["second_threshold"]).sum(2).max())
        capacities.append(data.draw(st.integers(max(1, occupied), u.shape[2])))
    network = SparseNetwork(weights, capacities, **options)
    got_counts, got, overflow = network(*lists(x), labels)
    got.backward()
    assert overflow.tolist() == [[0, 0]] * len(weights)
    torch.testing.assert_close(got_counts, counts, rtol=0, atol=0)
    torch.testing.assert_close(got, loss, rtol=1e-10, atol=1e-10)
    for layer, gradient in zip(network.layers, gradients, strict=True):
        # With delays and few steps a layer may be out of the last one's reach: then it has no gradient.
        got = torch.zeros_like(gradient) if layer.weight.grad is None else layer.weight.grad
        torch.testing.assert_close(got, gradient, rtol=1e-10, atol=1e-10)


@settings(max_examples=80)
@given(problems(), st.data())
def test_overflow_is_counted_and_harmless(problem, data):
    x, weights, labels, options = problem
    potentials = dense(x, weights, labels, **options)[2]
    # Layers before the short list and it itself still compute what the dense network does.
    short = data.draw(st.integers(0, len(weights) - 1))
    capacities = [
        w.shape[1] if k < short else data.draw(st.integers(1, w.shape[1]))
        for k, w in enumerate(weights)
    ]
    network = SparseNetwork(weights, capacities, **options)
    counts, loss, overflow = network(*lists(x), labels)
    loss.backward()
    levels = options["threshold"], options["second_threshold"]
    for k in range(short + 1):
        assert overflow[k].tolist() == lost(potentials[k], capacities[k], *levels)
    assert counts.isfinite().all() and loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("reset", ["through", "masked"])
def test_is_the_lif_normal_form_of_the_engine(reset):
    torch.manual_seed(1)
    x = (torch.rand(20, 3, 6) < 0.4).double()
    w = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    neuron = LIF(
        a_uu=DECAY,
        a_ui=0.0,
        c0=GAIN * (1 - DECAY),
        reset="zero",
        reset_at="next_step",
        reset_grad=reset,
        surrogate=Surrogate(slope=SLOPE, below=TH - TH2),
    )
    expected = lif(x @ w, neuron).sum(0)
    network = SparseNetwork([w], [5], delay=0, reset=reset)
    counts, _ = network(*lists(x))
    head = torch.randn(3, 5, dtype=torch.float64)
    (expected * head).sum().backward()
    (counts * head).sum().backward()
    assert expected.sum() > 10
    torch.testing.assert_close(counts, expected)
    torch.testing.assert_close(network.layers[0].weight.grad, w.grad)


def test_the_posters_example():
    u = torch.tensor([[0.8, 1.2, -0.5, 0.6, 0.95, 0.1, 0.98]])
    layer = SparseLayer(torch.zeros(2, 7), 3, threshold=TH, second_threshold=TH2)
    ids, values = layer.compact(u)
    assert set(ids[0].tolist()) == {1, 4, 6}
    assert ids[0][values[0] > 0].tolist() == [1]
    assert values[0].tolist() == [1.0, 0.0, 0.0]
    assert layer.overflow(u).tolist() == [0, 0]
    assert SparseLayer(torch.zeros(2, 7), 2).overflow(u).tolist() == [0, 1]
    assert SparseLayer(torch.zeros(2, 7), 2, threshold=0.9).overflow(u).tolist() == [1, 0]


def test_only_the_listed_neurons_pass_a_gradient():
    u = torch.tensor([[0.8, 1.2, -0.5, 0.6, 0.95, 0.1, 0.98]], requires_grad=True)
    ids, values = SparseLayer(torch.zeros(2, 7), 7).compact(u)
    values.sum().backward()
    expected = [1 / (10 * abs(v - 1) + 1) ** 2 if v > 0.9 else 0.0 for v in u[0].tolist()]
    torch.testing.assert_close(u.grad[0], torch.tensor(expected))


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("masked", [False, True], ids=["counts", "mask"])
def test_a_trace_is_the_network(delay, masked):
    torch.manual_seed(0)
    steps, batch, s_in = 4, 3, 5
    weights = [torch.randn(8, 9) * 2, torch.randn(9, 4) * 2]
    network = SparseNetwork(weights, [4, 2], delay=delay)

    def inputs(level):
        ids = torch.rand(steps, batch, 8).argsort(2)[:, :, :s_in]
        if masked:
            return ids, torch.rand(steps, batch, s_in) < level, torch.randint(4, (batch,))
        return ids, (torch.rand(steps, batch) * 6 * level).long(), torch.randint(4, (batch,))

    with warnings.catch_warnings():
        # A TracerWarning is a value baked in; that torch will drop torch.jit one day is beside the point.
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network, inputs(0.7), check_trace=True, check_inputs=[inputs(0.2)])
    seen = set()
    for level in (0.0, 0.3, 0.99):
        given_inputs = inputs(level)
        wanted, got = network(*given_inputs), traced(*given_inputs)
        for a, b in zip(wanted, got, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        expected = torch.autograd.grad(wanted[1], list(network.parameters()))
        traced_gradients = torch.autograd.grad(got[1], list(traced.parameters()))
        torch.testing.assert_close(expected, traced_gradients)
        seen.add(tuple(tuple(a.shape) for a in got))
    assert seen == {((batch, 4), (), (2, 2))}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_step_of_a_layer_traces():
    torch.manual_seed(0)
    layer = SparseLayer(torch.randn(6, 7) * 2, 3)

    def inputs():
        return torch.randint(6, (2, 4)), (torch.rand(2, 4) < 0.5).float(), torch.randn(2, 7)

    traced = torch.jit.trace(layer, inputs(), check_trace=True)
    for _ in range(3):
        given_inputs = inputs()
        torch.testing.assert_close(traced(*given_inputs), layer(*given_inputs), rtol=0, atol=0)


def test_delay_is_one_step_for_every_layer():
    weights = [torch.full((1, 1), 4.0), torch.full((1, 1), 4.0)]
    ids = torch.zeros(5, 1, 1, dtype=torch.int64)
    valid = torch.tensor([1, 0, 0, 0, 0]).reshape(5, 1)
    for delay, first in ((0, 1), (1, 3)):
        network = SparseNetwork(weights, [1, 1], delay=delay)
        fired = [network(ids[:t], valid[:t])[0].item() for t in range(6)]
        assert fired == [float(t >= first) for t in range(6)]


def test_numbers_in_a_mask_are_input_values():
    torch.manual_seed(2)
    w = torch.rand(4, 3)
    ids = torch.arange(4).expand(6, 2, 4)
    values = torch.rand(6, 2, 4) * (torch.rand(6, 2, 4) < 0.5)
    layer = SparseLayer(w, 3)
    u = torch.zeros(2, 3)
    for i, v in zip(ids, values, strict=True):
        u_before, (_, _, u) = u, layer(i, v, u)
        held = u_before * (u_before <= TH)
        torch.testing.assert_close(u, DECAY * held + GAIN * (1 - DECAY) * v @ w)
    counts, _ = SparseNetwork([w], [3], delay=0)(ids, values)
    spread, _ = SparseNetwork([w], [3], delay=0)(ids.flip(2), values.flip(2))
    torch.testing.assert_close(counts, spread)


def test_no_steps_no_inputs_and_no_spikes():
    network = SparseNetwork([torch.randn(3, 4), torch.randn(4, 2)], [2, 1])
    labels = torch.tensor([0, 1])
    for shape in ((0, 2, 3), (4, 2, 0), (4, 2, 3)):
        ids, valid = torch.full(shape, 99), torch.zeros(shape[:2], dtype=torch.int64)
        counts, loss, overflow = network(ids, valid, labels)
        assert counts.tolist() == [[0.0, 0.0]] * 2 and overflow.tolist() == [[0, 0]] * 2
        assert loss.item() == pytest.approx(torch.tensor(2.0).log().item())


def test_lists_of_one_of_all_and_a_layer_of_one():
    ids, valid = torch.zeros(3, 1, 1, dtype=torch.int64), torch.ones(3, 1, dtype=torch.int64)
    w = torch.tensor([[9.0, 8.0, 7.0]])
    one = SparseNetwork([w], [1], delay=0)(ids, valid)
    assert one[0].tolist() == [[3.0, 0.0, 0.0]] and one[1].tolist() == [[6, 0]]
    whole = SparseNetwork([w], [3], delay=0)(ids, valid)
    assert whole[0].tolist() == [[3.0, 3.0, 3.0]] and whole[1].tolist() == [[0, 0]]
    single = SparseNetwork([w[:, :1]], [1], delay=0)(ids, valid)
    assert single[0].tolist() == [[3.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_exact_and_dtypes_stay(dtype):
    u = torch.linspace(-3, 3, 97, dtype=dtype)[None]
    ids, values = SparseLayer(torch.zeros(1, 97, dtype=dtype), 97).compact(u)
    assert values.dtype == dtype and ids.dtype == torch.int64
    assert set(values[0].tolist()) == {0.0, 1.0}
    network = SparseNetwork([torch.rand(2, 3, dtype=dtype) * 9], [3])
    counts, loss, _ = network(torch.zeros(4, 1, 2).long(), torch.ones(4, 1), torch.tensor([0]))
    assert counts.dtype == loss.dtype == dtype and counts.sum() > 0


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("reset", ["through", "masked"])
def test_a_nan_weight_is_seen(layer, reset):
    torch.manual_seed(0)
    weights = [torch.rand(3, 4) * 5, torch.rand(4, 2) * 5]
    weights[layer][0, 1] = torch.nan
    network = SparseNetwork(weights, [1 if layer == 0 else 4, 1], delay=0, reset=reset)
    ids, valid = torch.arange(3).expand(4, 2, 3), torch.full((4, 2), 3)
    counts, loss, _ = network(ids, valid, torch.tensor([0, 1]))
    loss.backward()
    assert counts.isnan().any() and loss.isnan()
    assert network.layers[layer].weight.grad.isnan().any()


@pytest.mark.parametrize(
    "weights, capacities, options, word",
    [
        ([(3, 4)], [0], {}, "capacity 0"),
        ([(3, 4)], [5], {}, "capacity 5"),
        ([(3, 4)], [2.5], {}, "capacity 2.5"),
        ([(3, 4), (5, 2)], [2, 2], {}, "do not stack"),
        ([(3, 4)], [2, 2], {}, "1 layers, 2 lists"),
        ([], [], {}, "0 layers, 0 lists"),
        ([(3,)], [2], {}, "N_in, N_out"),
        ([(3, 4)], [2], {"delay": 2}, "0 or 1"),
        ([(3, 4)], [2], {"reset": "none"}, "through or masked"),
        ([(3, 4)], [2], {"second_threshold": 1.5}, "second_threshold=1.5"),
    ],
)
def test_what_makes_no_network_is_named(weights, capacities, options, word):
    with pytest.raises(ReaderError, match=word):
        SparseNetwork([torch.ones(shape) for shape in weights], capacities, **options)


def test_inputs_of_the_wrong_rank_are_named():
    network = SparseNetwork([torch.ones(3, 4)], [2])
    with pytest.raises(ReaderError, match="T, B, s_in"):
        network(torch.zeros(4, 2).long(), torch.ones(4, 2))


class Sdk(SimpleNamespace):
    """Stands in for the module poptorch and writes down what it is asked."""

    def __init__(self, attached=True):
        self.calls = calls = []
        self.on_ipu = False

        class Options:
            def useIpuModel(self, use_model):
                calls.append(("useIpuModel", use_model))

        self.Options = Options
        self.isRunningOnIpu = lambda: self.on_ipu
        self.ipuHardwareIsAvailable = lambda: attached

    def trainingModel(self, model, options=None, optimizer=None):
        self.calls.append(("trainingModel", model, type(options), optimizer))
        return "training"

    def inferenceModel(self, model, options=None):
        self.calls.append(("inferenceModel", model, type(options)))
        return "inference"

    def identity_loss(self, x, reduction):
        self.calls.append(("identity_loss", reduction))
        return 1 * x


def small():
    return SparseNetwork([torch.ones(3, 4)], [2])


def test_without_the_sdk_the_error_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "poptorch", None)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.13.0+cpu"))
    monkeypatch.setenv("POPLAR_SDK_ENABLED", "an-sdk-elsewhere")
    assert "poptorch" in missing() and "not installed" in missing()
    with pytest.raises(ReaderError) as error:
        on_ipu(small())
    text = str(error.value)
    for word in ("not on PyPI", "SDK", "never `pip install popart`", "backend cpu", "cost model"):
        assert word in text
    assert "PopTorch 3.3 needs torch 2.0.1, not 2.13.0+cpu" in text
    assert sys.executable in text and "an-sdk-elsewhere" in text
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.0.1+cpu"))
    with pytest.raises(ReaderError) as error:
        on_ipu(small())
    assert "needs torch" not in str(error.value)


@pytest.mark.parametrize(
    "body, word",
    [
        ("import torch\nassert False, 'This version only works with torch==2.0.1'", "torch==2.0.1"),
        ("raise ImportError('libpopart.so: cannot open shared object file')", "libpopart"),
        ("import popart_is_not_here", "popart_is_not_here"),
        ("trainingModel = None", "not Graphcore's: no Options"),
    ],
)
def test_an_sdk_that_does_not_load_says_why(body, word, tmp_path, monkeypatch):
    (tmp_path / "poptorch.py").write_text(body)
    monkeypatch.delitem(sys.modules, "poptorch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert word in missing()
        with pytest.raises(ReaderError, match="enable.sh"):
            on_ipu(small())
    finally:
        sys.modules.pop("poptorch", None)


@pytest.mark.parametrize("machine", ["ipu2", "model"])
def test_the_calls_to_poptorch(machine, monkeypatch):
    sdk = Sdk()
    monkeypatch.setitem(sys.modules, "poptorch", sdk)
    network = small()
    optimizer = torch.optim.Adam(network.parameters())
    assert missing() is None
    assert on_ipu(network, optimizer, machine=machine) == "training"
    assert on_ipu(network, machine=machine) == "inference"
    model = ("useIpuModel", machine == "model")
    assert sdk.calls == [
        model,
        ("trainingModel", network, sdk.Options, optimizer),
        model,
        ("inferenceModel", network, sdk.Options),
    ]


def test_the_loss_is_marked_on_the_ipu_only(monkeypatch):
    sdk = Sdk()
    monkeypatch.setitem(sys.modules, "poptorch", sdk)
    ids, valid, labels = torch.zeros(3, 2, 2).long(), torch.full((3, 2), 2), torch.tensor([0, 1])
    plain = small()(ids, valid, labels)
    assert sdk.calls == []
    sdk.on_ipu = True
    marked = small()(ids, valid, labels)
    assert sdk.calls == [("identity_loss", "none")]
    torch.testing.assert_close(plain, marked)
    small()(ids, valid)
    assert len(sdk.calls) == 1


def test_what_the_ipu_cannot_do_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "poptorch", Sdk(attached=False))
    with pytest.raises(ReaderError, match="no IPU is attached"):
        on_ipu(small())
    assert on_ipu(small(), machine="model") == "inference"
    # The caller's options may be for an offline target.
    assert on_ipu(small(), options=sys.modules["poptorch"].Options()) == "inference"
    with pytest.raises(ReaderError, match="float64"):
        on_ipu(small().double(), machine="model")
    with pytest.raises(ReaderError, match="ipu2 or model"):
        on_ipu(small(), machine="ipu3")
