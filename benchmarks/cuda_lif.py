"""LIF layers on a GPU under different launches, against the memory floor, for `benchmarks.cuda_tables`."""

import os
import time

import torch

from paraspike.neurons import cuba
from paraspike.ops.lif import cuda, cuda_launch

# Input and spikes forward, both gradients backward: float32, each once.
FLOOR_BYTES = 16
KEEPS = ("potential", "states")


def own_bytes(keep: str, neurons: int) -> float:
    """Forward + backward of `cuba`, a neuron and step, by what is kept: see ops/lif/cuda.py. States are i and
    u, written and read once a chunk of the launch that so many neurons get."""
    if keep == "potential":
        return 24.0
    return 20.0 + 2 * 2 * 4 / cuda_launch.launch(neurons)[0]["CHUNK"]


def unavailable() -> str | None:
    """Why nothing can be measured here; None where it can."""
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no CUDA device; kernels under an interpreter have no speed"
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton is not installed"
    return None


def cannot_run() -> str | None:
    """Why nothing can be timed here, or None."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET=1 is set; kernels under an interpreter have no speed"
    return unavailable()


def fused_layer(steps: int = 500, batch: int = 64, neurons: int = 1024, repeats: int = 50) -> dict:
    """Seconds of the fused layer, forward + backward, over given input currents [T, B, N].

    Returns:
        {"unavailable": why} where it cannot run; else device, sizes, copy_bytes_per_s (read + written),
        floor_s, and under "potential" and "states", the two ways back: seconds (device time of one pass,
        `repeats` queued passes between two events), queued_s (the host's part of it: where it is the larger,
        the device waits for launches), over_floor, bytes_per_s of its own traffic.
    """
    if why := unavailable():
        return {"unavailable": why}
    x = torch.randn(
        steps, batch, neurons, device="cuda", generator=torch.Generator("cuda").manual_seed(0)
    )
    x.mul_(2.0).requires_grad_()
    grad = torch.randn_like(x)
    neuron = cuba(1e-3, 5e-3, 1e-2)
    rate = copy_rate()
    floor = FLOOR_BYTES * x.numel() / rate
    out = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__, "steps": steps, "batch": batch,
        "neurons": neurons, "copy_bytes_per_s": rate, "floor_s": floor,
    }  # fmt: skip
    for keep in KEEPS:

        def both(keep=keep):
            x.grad = None
            cuda.lif(x, neuron, keep=keep).backward(grad)

        seconds, queued = timed(both, repeats)
        out[keep] = {
            "seconds": seconds, "queued_s": queued, "over_floor": seconds / floor,
            "bytes_per_s": own_bytes(keep, batch * neurons) * x.numel() / seconds,
        }  # fmt: skip
    return out


def recurrent_layer(
    steps=500,
    batch=64,
    neurons=256,
    seeds=1,
    density=0.05,
    repeats=10,
    ways=("persistent", "steps"),
) -> dict:
    """Seconds of a recurrent layer, forward + backward, each way through its steps: decides
    `ops.lif.cuda.PERSISTENT_UP_TO`; `batch` samples for each of `seeds`, input at `density` spikes a step.

    Returns:
        {"unavailable": why}, or sizes, the spikes' density and seconds: "persistent" (where it is possible)
        and "steps_s".
    """
    if why := unavailable():
        return {"unavailable": why}
    draw = torch.Generator("cuda").manual_seed(0)
    neuron = cuba(1e-3, 5e-3, 1e-2)
    shape = (steps, seeds * batch, neurons)
    x = (20.0 * (torch.rand(shape, device="cuda", generator=draw) < density)).requires_grad_()
    weight = torch.randn(seeds, neurons, neurons, device="cuda", generator=draw) / neurons**0.5
    weight.requires_grad_()
    grad = torch.randn(shape, device="cuda", generator=draw)
    out = {"steps": steps, "batch": batch, "neurons": neurons, "seeds": seeds}
    out["density"] = float(cuda.lif(x.detach(), neuron).mean())
    for way in ways:
        if way == "persistent" and neurons > cuda.PERSISTENT_UP_TO:
            continue

        def both(way=way):
            x.grad = weight.grad = None
            cuda.lif(x, neuron, recurrent=weight, way=way).backward(grad)

        out["steps_s" if way == "steps" else way] = timed(both, repeats)[0]
    return out


def copy_rate(size: int = 1 << 30) -> float:
    """Bytes a second, read and written, of the device's own copy of `size` bytes."""
    source = torch.rand(size // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * size / timed(lambda: target.copy_(source), 20)[0]


def timed(function, repeats: int) -> tuple[float, float]:
    """(device seconds, host seconds until all was queued) of one call among `repeats` in a row."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin = time.perf_counter()
    first.record()
    for _ in range(repeats):
        function()
    last.record()
    queued = time.perf_counter() - begin
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / repeats, queued / repeats


def sweep(launches, repeats: int = 30, **sizes) -> list[dict]:
    """`fused_layer` under each launch, a row of `ops.lif.cuda_launch.LAUNCH` without its first number; the
    table is as before afterwards. A launch that fails gives its "error"."""
    return _tried("LAUNCH", "launch", launches, lambda: fused_layer(repeats=repeats, **sizes))


def sweep_blocks(neurons: int, blocks, **sizes) -> list[dict]:
    """`recurrent_layer` in one launch under each block, a row of `BLOCKS` likewise."""
    given = {"steps": 200, "repeats": 3, "neurons": neurons, "seeds": 10} | sizes
    return _tried("BLOCKS", "block", blocks, lambda: recurrent_layer(**given, ways=("persistent",)))


def _tried(table, name, choices, call):
    before, rows = getattr(cuda_launch, table), []
    try:
        for choice in choices:
            setattr(cuda_launch, table, ((0, *choice),))
            try:
                found = call()
            # A launch may ask for more registers or shared memory than there are.
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
            rows.append({name: choice} | found)
    finally:
        setattr(cuda_launch, table, before)
    return rows
