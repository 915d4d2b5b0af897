"""The cycle model against SCALE-Sim 3, and the three networks against the sheet."""

import numpy as np
import pytest

from paraspike.errors import ReaderError
from paraspike.pipelining.assumptions import assumptions, table
from paraspike.pipelining.networks import NETWORKS, Layer, Network, Widths, network
from paraspike.pipelining.systolic import DATAFLOWS, gemm_cycles, gemm_streams, gemm_utilisation
from paraspike.pipelining.tasks import task_graph


def draws(number, seed=7):
    """Sizes m, k, n and array rows, columns [number, 5]: small ones, edges included."""
    sizes = np.random.default_rng(seed).integers(1, 33, (number, 5))
    sizes[:8, :3] = [
        [1, 1, 1],
        [1, 9, 1],
        [8, 8, 8],
        [9, 8, 8],
        [8, 9, 8],
        [8, 8, 9],
        [16, 7, 3],
        [5, 1, 5],
    ]
    sizes[:8, 3:] = [8, 8]
    return sizes


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_cycles_and_streams_are_scale_sims(dataflow):
    from importlib import import_module

    from scalesim.scale_config import scale_config

    module = import_module(f"scalesim.compute.systolic_compute_{dataflow}")
    sizes = draws(240)
    ours = gemm_cycles(dataflow, *sizes.T)
    streams = np.stack(gemm_streams(dataflow, *sizes.T), axis=1)
    for (m, k, n, rows, columns), cycles, counts in zip(sizes, ours, streams, strict=True):
        config = scale_config()
        config.array_rows, config.array_cols, config.valid_conf_flag = rows, columns, True
        simulated = getattr(module, f"systolic_compute_{dataflow}")()
        simulated.set_params(config, np.ones((m, k)), np.ones((m, n)), np.ones((k, n)))
        simulated.create_demand_matrices()
        assert cycles == simulated.ofmap_demand_matrix.shape[0]
        assert counts[0] == simulated.ifmap_reads
        assert counts[1] == simulated.filter_reads
        if dataflow != "os":  # its counter of writes also adds the sizes of each fold's padding
            assert counts[2] == simulated.ofmap_writes


def test_cycles_by_hand_and_in_arrays():
    # One fold fills (R + C - 2 steps) and streams k; two folds do it twice.
    assert gemm_cycles("os", 4, 10, 4, 4, 4) == 4 + 4 + 10 - 2
    assert gemm_cycles("os", 5, 10, 4, 4, 4) == 2 * (4 + 4 + 10 - 2)
    assert gemm_cycles("ws", 10, 4, 4, 4, 4) == 8 + 4 + 10 - 2
    assert gemm_cycles("is", 4, 4, 10, 4, 4) == 8 + 4 + 10 - 2
    many = gemm_cycles("ws", np.arange(1, 6)[:, None], 3, np.arange(1, 4), 2, 2)
    assert many.shape == (5, 3)
    assert many[3, 1] == gemm_cycles("ws", 4, 3, 2, 2, 2)
    assert isinstance(gemm_cycles("ws", 4, 3, 2, 2, 2), int)
    # Beyond 2^31: the sizes of a batch are multiplied in 64 bits.
    assert gemm_cycles("os", np.int32(2**30), 64, np.int32(2**12), 32, 32) == 2**25 * 2**7 * 126
    share = gemm_utilisation("os", 3200, 10000, 3200, 32, 32)
    assert 0.98 < share < 1


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: gemm_cycles("rs", 1, 1, 1), "one of os, ws, is"),
        (lambda: gemm_cycles("os", 0, 1, 1), "m is 0"),
        (lambda: gemm_cycles("os", 1, 1.5, 1), "k is no whole number"),
        (lambda: gemm_cycles("os", 1, 1, 1, -3), "rows is -3"),
        (lambda: gemm_cycles("os", [1, 2], [1, 2, 3], 1), "do not broadcast"),
        (lambda: network("vgg9"), "mlp3, amr4, vgg8"),
        (lambda: Network("odd", 4, (Layer(2, 3), Layer(4, 5))), "layer 1 gives 3 numbers"),
        (lambda: task_graph(network("mlp3"), 0), "batch 0"),
    ],
)
def test_bad_sizes_are_refused(call, text):
    with pytest.raises(ReaderError, match=text):
        call()


def test_networks_are_the_sheets():
    depth = {name: one.depth for name, one in NETWORKS.items()}
    assert depth == {"mlp3": 3, "amr4": 4, "vgg8": 8}
    assert {name: one.steps for name, one in NETWORKS.items()} == {
        "mlp3": 20,
        "amr4": 64,
        "vgg8": 10,
    }
    assert network("mlp3").parameters == 784 * 512 + 512 * 256 + 256 * 10
    assert network("amr4").parameters == 9 * 32 + 9 * 32 * 64 + 1024 * 128 + 128 * 11
    convs = [(2, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    assert network("vgg8").parameters == sum(9 * a * b for a, b in convs) + 8192 * 256 + 256 * 10


def test_task_products_and_bits_by_hand():
    graph = task_graph(network("amr4"), batch=3)
    rows = 3 * 64 * 8 * 8  # samples, steps, pixels of the second convolution
    assert graph.task("F", 2).gemm == (rows, 32 * 9, 64)
    assert graph.task("B", 2).gemm == (rows, 64 * 9, 32)
    assert graph.task("W", 2).gemm == (32 * 9, rows, 64)
    assert ("B", 1) not in [task.key for task in graph.tasks]
    assert len(graph.tasks) == 3 * 4 - 1
    weights, neurons = 32 * 9 * 32 * 64, rows * 64
    spikes_in, spikes_out = rows * 32, rows * 64 // 4
    assert graph.task("F", 2).bits_read == spikes_in + weights
    assert graph.task("F", 2).bits_written == spikes_out + 2 * neurons
    assert graph.task("B", 2).bits_read == 32 * spikes_out + 2 * neurons + weights
    assert graph.task("B", 2).bits_written == 32 * spikes_in
    assert graph.task("W", 2).bits_read == 32 * spikes_out + 2 * neurons + 32 * spikes_in
    assert graph.task("W", 2).bits_written == weights
    thin = task_graph(network("amr4"), batch=3, widths=Widths(operand=1))
    assert graph.bits - thin.bits == 31 * sum(
        3 * 64 * layer.inputs for layer in network("amr4").layers
    )


def test_register_of_assumptions_is_whole():
    assert [row.id for row in assumptions()] == [f"A{k}" for k in range(1, 12)]
    assert table("A5", "A8").count("\n") == 1
    assert "32 x 32" in table("A5")
