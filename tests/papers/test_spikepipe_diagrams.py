"""SpikePipe's drawings: the graphs compute the neuron, and the figures say what the code says."""

import dataclasses

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from spikepipe_pictures import legible, words  # noqa: E402

from paraspike.errors import ReaderError  # noqa: E402
from paraspike.papers import spikepipe_diagrams as diagrams  # noqa: E402
from paraspike.papers.spikepipe import EXAMPLE, Bilinear, spike  # noqa: E402
from paraspike.papers.spikepipe_networks import network_figure, task_dataflow  # noqa: E402
from paraspike.papers.spikepipe_unrolled import (  # noqa: E402
    LIF_SECTION,
    SECTION,
    Edge,
    contracted,
    evaluate,
    unrolled,
)
from paraspike.pipelining.networks import NETWORKS, Network, dense  # noqa: E402
from paraspike.pipelining.tasks import graph_of_cycles, task_graph  # noqa: E402

SAMPLE = Network("sample", 20, dense(4, 3, 2))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(steps, seed, strength=2.0):
    generator = torch.Generator().manual_seed(seed)
    return strength * torch.randn(steps, generator=generator, dtype=torch.float64)


@given(
    st.integers(1, 12),
    st.floats(-0.5, 1.5),
    st.floats(0.5, 10),
    st.floats(0.05, 4),
    st.sampled_from([0.3, 2.0, 10.0]),
    st.integers(0, 2**20),
)
@settings(max_examples=60)
def test_figure_5_computes_the_neuron(steps, threshold, c, lam, strength, seed):
    neuron = Bilinear(c=c, lam=lam, threshold=threshold)
    currents = drawn(steps, seed, strength)
    spikes, potential = spike(currents[:, None], neuron, trace=True)
    whole = unrolled(LIF_SECTION, steps)
    for graph in (whole, contracted(whole)):
        values = evaluate(graph, currents.tolist(), neuron)
        for t in range(steps):
            assert values[f"S[{t + 1}]"] == spikes[t]
            assert values[f"V[{t + 1}]"] == pytest.approx(float(potential[t]), rel=1e-12, abs=1e-12)


def test_figure_1_computes_the_neuron_that_never_fires():
    currents = drawn(9, 3)
    _, potential = spike(currents[:, None], dataclasses.replace(EXAMPLE, threshold=1e9), trace=True)
    values = evaluate(unrolled(SECTION, 9), currents.tolist(), EXAMPLE)
    assert [values[f"V[{t}]"] for t in range(1, 10)] == pytest.approx(potential[:, 0].tolist())


def test_a_spike_gates_the_old_current_and_the_old_potential():
    graph = contracted(unrolled(LIF_SECTION, 3))
    assert {edge for edge in graph if edge.target == "V[3]"} == {
        Edge("I[3]", "V[3]", "s"),
        Edge("I[2]", "V[3]", "s", cleared_by="S[2]"),
        Edge("V[2]", "V[3]", "m", cleared_by="S[2]"),
    }
    assert len(graph) == 3 * 2 + 2 * 2


def test_what_cannot_be_unrolled_is_refused():
    with pytest.raises(ReaderError, match="0 steps"):
        unrolled(SECTION, 0)
    twice = [Edge("I[1]", "x", cleared_by="S[1]"), Edge("x", "V[2]", cleared_by="S[1]")]
    with pytest.raises(ReaderError, match="two gates"):
        contracted(twice)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_figure_5_shows_every_gate(steps):
    fig = diagrams.dataflow(steps)
    legible(fig)
    assert words(fig).count("×") == 2 * (steps - 1)
    assert f"$S[{steps}]$" in words(fig)


def test_another_neuron_is_another_drawing():
    ungated = [dataclasses.replace(edge, cleared_by=None) for edge in LIF_SECTION]
    assert "×" not in words(diagrams.dataflow(3, ungated))


def test_sections_show_their_gains():
    one, two = diagrams.section(), diagrams.lif_section(Bilinear(c=3.75, lam=0.25, threshold=0.7))
    legible(one, two)
    assert {"$s$ = 0.235", "$m$ = 0.882", "$z^{-1}$"} <= set(words(one))
    assert {"$s$ = 0.250", "$m$ = 0.875", r"$>\theta$", "a spike clears"} <= set(words(two))
    assert "a spike clears" not in words(one)


def test_figure_3_draws_the_example():
    fig = diagrams.example_figure()
    legible(fig)
    current, potential, spikes = fig.axes
    assert potential.lines[1].get_ydata() == pytest.approx(diagrams.example()["potential"])
    fired = [[s[0, 0] for s in lines.get_segments()] for lines in spikes.collections]
    assert fired == [[4, 7, 17, 19], [4, 8, 17, 19]]
    assert (
        all(ax.get_ylabel() for ax in (current, potential)) and spikes.get_xlabel() == "time step"
    )


def test_figure_4_draws_the_network():
    fig = network_figure(SAMPLE)
    legible(fig)
    weights = {"weights $W_{1}$\n4 × 3", "weights $W_{2}$\n3 × 2"}
    assert weights | {"F1", "F2", "B2", "W1", "W2"} <= set(words(fig))
    assert "B1" not in words(fig) and "⋮" not in words(fig)
    large = network_figure(NETWORKS["mlp3"])
    legible(large)
    assert words(large).count("⋮") == 4
    with pytest.raises(ReaderError, match="convolutions"):
        network_figure(NETWORKS["vgg8"])


def test_training_step_shows_tasks_and_delays():
    fig = task_dataflow(task_graph(NETWORKS["vgg8"]))
    legible(fig)
    assert [w for w in words(fig) if w.endswith("D")] == [*(f"{k}D" for k in range(15, 2, -2)), "D"]
    assert "56 updates" in fig.get_suptitle()
    graph = graph_of_cycles([(5, 4, 3), (5, 4, 3)])
    fig = task_dataflow(graph, [1, 0])
    assert [w for w in words(fig) if w.endswith("D")] == ["2D", "D"]
    with pytest.raises(ReaderError):
        task_dataflow(graph, [1])
