"""The runtime against the emulator, to the bit, and what it does when a process fails, dies or hangs."""

import contextlib
import copy
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import psutil
import pytest
import spikepipe_runtime_example as example
import torch
from spikepipe_runtime_example import DENSE, PLANES, Batches
from torch.nn.functional import cross_entropy

from paraspike.errors import ReaderError
from paraspike.pipelining import heuristics
from paraspike.pipelining.checker import check
from paraspike.pipelining.crew import Crew
from paraspike.pipelining.cut import Cut, gradients, padding
from paraspike.pipelining.ordering import shorten
from paraspike.pipelining.runtime import plan_of, train
from paraspike.pipelining.schedules import Piece, settle
from paraspike.pipelining.staleness import Emulator
from paraspike.pipelining.synchronous import one_f_one_b
from paraspike.pipelining.tasks import graph_of_cycles, task_graph

FACTORIES = {"dense": example.dense_layers, "planes": example.planes_layers}
NETWORKS = {"dense": DENSE, "planes": PLANES}
UPDATES = 8


def at_random(graph, processors, seed=0):
    rng = random.Random(seed)
    chosen = {task.key: rng.randrange(processors) for task in graph.tasks}
    return heuristics.assigned(graph, processors, chosen)


def one_after_the_other(graph, processors):
    """Every task on another processor than its predecessor, nothing at a time: no delays."""
    clock, pieces = 0, []
    for number, task in enumerate(graph.tasks):
        pieces.append(Piece(*task.key, number % processors, clock, task.cycles))
        clock += task.cycles
    return settle(graph, "one after the other", processors, clock, pieces)


SCHEDULES = {
    "contiguous": heuristics.contiguous,
    "separate ticks": partial(heuristics.contiguous, ticks="separate"),
    "LPT": heuristics.lpt,
    "short delays": lambda graph, processors: shorten(heuristics.lpt(graph, processors)),
    "random": at_random,
    "no delays": one_after_the_other,
}


@pytest.fixture(scope="module")
def held():
    """Crews that may still be used."""
    crews = []
    yield crews
    for crew in crews:
        crew.close()


@pytest.fixture
def crew(held):
    if not held:
        held.append(Crew(4))
    return held[-1]


def emulated(network, staleness, optimizer, versions="stash"):
    stack = FACTORIES[network.name]()
    emulator = Emulator(stack, staleness, optimizer(parameters(stack)), versions)
    for n in range(UPDATES):
        emulator.step(Batches(network).inputs(n), Batches(network).labels(n))
    return emulator


def parameters(stack):
    return [p for layer in stack for p in layer.synapse.parameters()]


def assert_same_bits(result, stack, losses, network):
    assert result.losses == losses
    start = FACTORIES[network.name]()
    for mine, layer, old in zip(result.weights, stack, start, strict=True):
        for name, wanted in layer.synapse.named_parameters():
            assert torch.equal(mine[name], wanted.detach())
            assert not torch.equal(mine[name], old.synapse.get_parameter(name))


@pytest.mark.parametrize("processors", [2, 3, 4])
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_the_emulators_to_the_bit(crew, name, kind, processors):
    network = NETWORKS[name]
    # Two of the processes import torch's optimisers, which takes seconds.
    theirs = {"dense": example.adam, "planes": example.momentum}[name]
    optimizer = theirs if processors == 2 else example.Momentum
    schedule = SCHEDULES[kind](task_graph(network, 3), processors)
    result = train(
        schedule, FACTORIES[name], Batches(network), UPDATES, optimizer, crew=crew, trace=True
    )
    emulator = emulated(network, schedule.staleness, optimizer)
    assert_same_bits(result, emulator.layers, emulator.history, network)
    assert any(schedule.staleness) == (kind != "no delays")
    # Every task of every sample ran once, where the schedule has it, with the version it names.
    place = {(p.kind, p.layer): p.processor for p in schedule.pieces}
    assert len(result.events) == UPDATES * len(place)
    for event in result.events:
        assert event.processor == place[event.kind, event.layer]
        delay = schedule.staleness[event.layer - 1]
        wanted = event.sample + 1 if event.kind == "W" else max(0, event.sample - delay)
        assert event.version == wanted
    full = UPDATES - 1 - 2 * max(piece.period for piece in schedule.pieces)
    assert np.isnan(result.steady) if full < 1 else 0 < result.steady * full <= result.seconds
    assert len(result.busy) == processors and max(result.busy) <= 1
    assert all(
        held <= most for held, most in zip(result.versions, check(schedule).versions, strict=True)
    )


def test_no_delays_are_plain_training(crew):
    schedule = one_after_the_other(task_graph(DENSE, 3), 2)
    result = train(
        schedule, example.dense_layers, Batches(DENSE), UPDATES, example.momentum, crew=crew
    )
    stack, losses = example.dense_layers(), []
    optimizer = example.momentum(parameters(stack))
    for n in range(UPDATES):
        x = Batches(DENSE).inputs(n)
        for layer in stack:
            x = layer(x)
        loss = cross_entropy(x, Batches(DENSE).labels(n))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert_same_bits(result, stack, losses, DENSE)


def with_versions(shift, optimizer):
    """A loop that keeps every version of DENSE, layer by layer: back through version n + shift, which may be
    the one that sample n itself has made."""
    newest, losses = example.dense_layers(), []
    steps = [optimizer(list(layer.synapse.parameters())) for layer in newest]
    stored = [[copy.deepcopy(layer)] for layer in newest]
    for n in range(UPDATES):
        inputs = [Batches(DENSE).inputs(n)]
        used = [stored[k][max(0, n + shift["F", k + 1])] for k in range(4)]
        for layer in used:
            inputs.append(layer(inputs[-1].detach().requires_grad_()))
        logits = inputs.pop().detach().requires_grad_()
        loss = cross_entropy(logits, Batches(DENSE).labels(n))
        error = torch.autograd.grad(loss, logits)[0]
        for k in (3, 2, 1, 0):
            gradients = torch.autograd.grad(
                used[k](inputs[k].detach()), used[k].parameters(), error
            )
            for p, gradient in zip(newest[k].parameters(), gradients, strict=True):
                p.grad = gradient
            steps[k].step()
            stored[k].append(copy.deepcopy(newest[k]))
            back = stored[k][max(0, n + shift.get(("B", k + 1), 0))].synapse
            x = inputs[k].detach().requires_grad_()

            def apart(rows, forth=used[k].synapse, back=back):
                through = back(rows)
                return forth(rows.detach()) + (through - through.detach())

            error = torch.autograd.grad(used[k](x, apart), x, error)[0]
        losses.append(loss.item())
    return newest, losses


@pytest.mark.parametrize("seed, wanted", [(0, [0, 0, 0]), (10, [1, 1, -1])])
def test_newest_is_the_version_that_is_newest_by_the_schedule(crew, seed, wanted):
    schedule = replace(at_random(task_graph(DENSE, 3), 2, seed), policy="newest")
    give = (example.dense_layers, Batches(DENSE), UPDATES)
    shift = plan_of(schedule, *give).shift
    assert [shift["B", layer] for layer in (2, 3, 4)] == wanted
    result = train(schedule, *give, example.momentum, crew=crew)
    assert_same_bits(result, *with_versions(shift, example.momentum), DENSE)
    if not any(wanted):
        emulator = emulated(DENSE, schedule.staleness, example.momentum, "newest")
        assert_same_bits(result, emulator.layers, emulator.history, DENSE)


def test_a_newer_version_that_is_there_already_is_not_read(crew):
    """F1 comes late, held up by W2 before it, while the other processor goes on as far as it can."""
    graph = task_graph(DENSE, 3)
    clock, pieces = [0, 0], []
    for task in sorted(graph.tasks, key=lambda task: task.name != "W2"):
        processor = int(task.name not in ("F1", "W2"))
        pieces.append(Piece(*task.key, processor, clock[processor], task.cycles))
        clock[processor] += task.cycles
    schedule = settle(graph, "W2 first", 2, max(clock), pieces)
    result = train(
        schedule, example.dense_layers, Batches(DENSE), UPDATES, example.SlowSecond,
        crew=crew, trace=True,
    )  # fmt: skip
    made = {e.version: e.end for e in result.events if (e.kind, e.layer) == ("W", 1)}
    reads = [e for e in result.events if (e.kind, e.layer) == ("F", 1)]
    newer = [e for e in reads if made.get(e.version + 1, 1e9) < e.begin]
    assert len(newer) > 3
    emulator = emulated(DENSE, schedule.staleness, example.SlowSecond)
    assert_same_bits(result, emulator.layers, emulator.history, DENSE)


def test_bytes_sent_and_one_processor(crew):
    """Spikes up as bytes, their error down as float32 at the cut of two stages; one processor sends nothing."""
    graph = task_graph(DENSE, 3)
    give = (example.dense_layers, Batches(DENSE), UPDATES, example.momentum)
    result = train(heuristics.contiguous(graph, 2, (2, 2)), *give, crew=crew)
    assert result.sent == {"spikes": UPDATES * 5 * 3 * 8, "error": UPDATES * 5 * 3 * 8 * 4}
    assert result.bytes_per_repetition == 5 * 3 * 8 * 5
    alone = train(heuristics.contiguous(graph, 1), *give, crew=crew)
    assert alone.sent == {} and alone.losses[0] == result.losses[0]
    assert alone.versions == [1] * 4 and alone.busy[0] <= 1


def test_workers_have_one_thread_and_little_to_import(crew):
    assert crew.run(example.threads_of, [()] * 4) == [(1, 1, [])] * 4


def test_b_and_w_by_themselves_equal_autograd():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 1, 8, 8, generator=generator)
    layer = example.planes_layers()[0]
    cut = Cut(layer, x, layer.synapse)
    error = torch.rand(cut.out.shape, generator=generator)
    x.requires_grad_()
    wanted = torch.autograd.grad(layer(x), [x, *layer.parameters()], error)
    assert torch.equal(cut.below(error, layer.synapse.weight), wanted[0])
    for mine, other in zip(cut.update(error), wanted[1:], strict=True):
        assert torch.equal(mine, other)
    strided = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    rows = torch.rand(2, 4, 7, 7, generator=generator, requires_grad=True)
    out = strided(rows)
    error = torch.rand(out.shape, generator=generator)
    wanted = torch.autograd.grad(out, [rows, strided.weight], error)
    found = gradients(strided, strided.weight, rows, error, [True, True, False])
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
    assert padding(torch.nn.Conv2d(1, 1, 2, padding="same")) is None
    assert padding(torch.nn.Conv2d(1, 1, 5, padding="valid")) == [0, 0]


def refused(schedule, factory=example.dense_layers, source=None, message="", **given):
    before = psutil.Process().children()
    with pytest.raises(ReaderError, match=message):
        train(schedule, factory, source or Batches(DENSE), 3, example.momentum, **given)
    assert psutil.Process().children() == before


def strange_layers():
    stack = example.dense_layers()
    stack[1].synapse = torch.nn.Conv2d(1, 1, 2, padding="same")
    return stack


def test_refused_before_any_process_starts():
    graph = task_graph(DENSE, 3)
    good = heuristics.contiguous(graph, 2)
    refused(heuristics.wrap_around(graph, 3), message="F.* split between processors|W.* split")
    refused(one_f_one_b(graph, 2, 4), message="4 microbatches an update")
    wrong = replace(good, staleness=(0, 0, 0, 0))
    refused(wrong, message="the schedule cannot run: .*F1 of sample 1 reads stale weights")
    refused(heuristics.contiguous(graph_of_cycles([(1, 1, 1)] * 3), 2), message="4 layers")
    refused(good, strange_layers, message="layer 2 has the synapse Conv2d")
    refused(good, lambda: example.dense_layers(), message="cannot be sent to a process")
    refused(good, loss=lambda out, labels: out.sum(), message="cannot be sent to a process")
    with pytest.raises(ReaderError, match="0 updates"):
        train(good, example.dense_layers, Batches(DENSE), 0, example.momentum)
    with pytest.raises(ReaderError, match="0 processes"):
        Crew(0)


def ended(pid):
    """An orphan that has ended stays a zombie until whoever took it over looks."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def gone(pids, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(map(ended, pids)):
            return True
        time.sleep(0.05)
    return False


def test_who_computes_before_its_first_word_is_given_time(crew):
    assert crew.run(example.computes_while_others_sleep, [(1.5,)] * 2, 0.5) == [0, 1]


def test_much_to_send_and_to_answer(crew):
    sizes = crew.run(example.size_of, [(bytes(20_000_000),), (b"",)])
    assert sizes == [20_000_000, 0]
    assert len(crew.run(example.echo, [(bytes(20_000_000),)])[0]) == 20_000_000


def trained(crew, layers=example.dense_layers, optimizer=example.Descent, patience=1.0):
    graph, source = task_graph(DENSE, 3), Batches(DENSE)
    schedule = heuristics.contiguous(graph, len(crew))
    train(schedule, layers, source, 30, optimizer, crew=crew, patience=patience)


def sent_to_a_stopped_one(crew):
    os.kill(crew.pids[0], signal.SIGSTOP)
    crew.run(example.size_of, [(bytes(50_000_000),)], 1.0)


# Processes, what happens to them, and how the last of them is named.
FAULTS = {
    "killed": (
        # Patience is for those who are silent.
        2, lambda crew: trained(crew, partial(example.faulty_layers, "killed"), patience=60.0),
        "was killed by SIGKILL in F4 of sample 3",
    ),
    "hangs": (
        2, lambda crew: trained(crew, partial(example.faulty_layers, "hangs")),
        "hangs in F4 of sample 3(.|\n)*processor 0 while it waited",
    ),
    "hangs while loading": (
        1, lambda crew: trained(crew, optimizer=example.never_ready),
        "hangs while it loaded its work",
    ),
    "all wait": (
        2, lambda crew: crew.run(example.wait_for_each_other, [()] * 2, 1.0),
        "waits, as all others do,(.|\n)*processor 0 while it waited for what F2 of sample 0 needs; "
        "processor 1 while it waited for what F3 of sample 0 needs",
    ),
    "stopped": (
        1, lambda crew: crew.run(example.stops, [()], 1.0),
        "does not respond in W2 of sample 5",
    ),
    "stopped before its work": (
        1, sent_to_a_stopped_one, "does not respond while its work was sent to it"
    ),
    "stopped in its answer": (
        1, lambda crew: crew.run(example.stops_in_its_answer, [()], 1.0),
        "does not respond while it sent its answer",
    ),
}  # fmt: skip


def suffer(fault, spare):
    """(pids, what was raised, after how many seconds, what the crew says then)"""
    processes, happens, _ = FAULTS[fault]
    with spare.pop() if fault == "killed" and spare else Crew(processes) as crew:
        pids, begin = crew.pids, time.monotonic()
        with pytest.raises(ReaderError) as raised:
            happens(crew)
        seconds = time.monotonic() - begin
        with pytest.raises(ReaderError) as after:
            crew.run(example.threads_of, [()])
    return pids, str(raised.value), seconds, str(after.value)


ENDS = signal.SIGINT, signal.SIGKILL, signal.SIGTERM
PARENTS = """
import os
import signal
import time

from paraspike.pipelining.crew import Crew


def rests(desk):
    time.sleep(600)


if __name__ == "__main__":
    # Whoever is started in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Once for all of them.
    import torch.distributed

    for _ in range(3):
        if not os.fork():
            with Crew(1) as crew:
                print(os.getpid(), *crew.pids, flush=True)
                crew.run(rests, [()], 600)
    for _ in range(3):
        os.wait()
"""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """Parents that run crews of their own."""
    script = tmp_path_factory.mktemp("parents") / "parents.py"
    script.write_text(PARENTS)
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths}, text=True, start_new_session=True,
    ) as started:  # fmt: skip
        yield started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def suffered(held, launcher):
    """All faults side by side, beside the launcher: most of the time is spent in starting and in patience."""
    before = threading.active_count()
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        found = dict(zip(FAULTS, pool.map(partial(suffer, spare=held), FAULTS), strict=True))
    assert threading.active_count() == before
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_run_and_is_named(suffered, fault):
    pids, message, seconds, after = suffered[fault]
    last = 0 if fault == "all wait" else len(pids) - 1
    wanted = rf"processor {last} \(pid {pids[last]}\) {FAULTS[fault][2]}"
    assert re.search(wanted, message), message
    assert seconds < 8 and not any(map(psutil.pid_exists, pids))
    assert "there are 0" in after


def test_children_end_with_their_parent(launcher):
    """By Ctrl-C, which the parent turns into an orderly end, and by signals that they must notice, stopped or
    not."""
    families = [list(map(int, launcher.stdout.readline().split())) for _ in range(3)]
    for number, (parent, child) in zip(ENDS, families, strict=True):
        assert psutil.pid_exists(child)
        if number == signal.SIGTERM:
            os.kill(child, signal.SIGSTOP)
        os.kill(parent, number)
        if number == signal.SIGTERM and sys.platform != "linux":
            os.kill(child, signal.SIGCONT)
    assert gone([child for _, child in families])
    assert launcher.communicate(timeout=20)[1].count("\nKeyboardInterrupt") == 1


def test_an_exception_arrives_with_its_traceback():
    schedule = heuristics.contiguous(task_graph(DENSE, 3), 1)
    give = (example.dense_layers, example.Growing(DENSE), 4, example.Descent)
    message = (
        r"processor 0 .* failed in F1 of sample 2(.|\n)*in read(.|\n)*input 2 is .*\[5, 4, 12\]"
    )
    with pytest.raises(ReaderError, match=message):
        train(schedule, *give)
    assert not [child for child in psutil.Process().children() if "spawn_main" in child.name()]
