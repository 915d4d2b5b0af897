"""Every kernel of integrate, noise and spsn compiles for sm_90 without a GPU, and spills nothing.

Run as a program it prints one JSON line a variant; that happens in a process without the interpreter.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

POINTERS = ("x", "factor", "ends", "out", "spikes", "u", "noise", "grad", "key")
INTEGERS = ("steps", "rows", "n", "segment", "each", "trial", "stream")
RUNTIME = ("steps", "rows", "segment", "each", "trial", "stream")


def variants():
    """(kernel, warps, options) of all that the modules launch."""
    import triton.language as tl

    from paraspike.ops.integrate import cuda as integrate
    from paraspike.ops.noise import cuda as noise
    from paraspike.ops.spsn import cuda as spsn

    walk = {"LANES": integrate.LANES, "STAGES": integrate.STAGES}
    for weighted in (False, True):
        options = {"WEIGHTED": weighted, "BACKWARDS": weighted, **walk}
        yield integrate.ends_kernel, integrate.WARPS, options
        yield integrate.walk_kernel, integrate.WARPS, options
    yield integrate.walk_kernel, integrate.WARPS, {"WEIGHTED": False, "BACKWARDS": True, **walk}
    steps, lanes = integrate.TILE
    tile = {"BACKWARDS": True, "STEPS": steps, "LANES": lanes}
    yield integrate.scan_kernel, integrate.TILE_WARPS, tile
    for dtype in (tl.float32, tl.float64):
        yield noise.noise_kernel, noise.WARPS, {"GROUPS": noise.GROUPS, "DTYPE": dtype}
    fused = {"GROUPS": integrate.LANES // 4, "STAGES": spsn.STAGES}
    fused["AHEAD"] = integrate.STAGES
    block = {"BLOCK": spsn.BLOCK}
    for gumbel, unit in ((False, True), (True, True), (True, False)):
        for keep in (True, False):
            options = {"GUMBEL": gumbel, "UNIT": unit, "KEEP": keep}
            yield spsn.fire_kernel, integrate.WARPS, {**options, **fused}
            yield spsn.random_kernel, spsn.WARPS, {**options, **block}
    for difference in (False, True):
        options = {"DIFFERENCE": difference, **block}
        yield spsn.threshold_kernel, spsn.WARPS, options
        for shape in ("fast_sigmoid", "sigmoid", "triangle", "arctan", "boxcar"):
            windowed = {**options, "SHAPE": shape, "WINDOW": difference}
            yield spsn.threshold_backward_kernel, spsn.WARPS, windowed


def compiled(kernel, warps, options, n):
    """Compile for sm_90; n: "whole" (a multiple of 16), "any" or "one", as Triton specialises it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, attributes, constants = {}, {}, dict(options)
    whole = [["tt.divisibility", 16]]
    for index, name in enumerate(p.name for p in kernel.params):
        if name == "n" and n == "one":
            constants["n"] = 1
        if name in constants:
            signature[name] = "constexpr"
        elif name in POINTERS:
            wide = name == "out" and "fp64" in str(options.get("DTYPE"))
            signature[name] = "*i32" if name == "key" else "*fp64" if wide else "*fp32"
            attributes[(index,)] = whole
        else:
            signature[name] = "i32" if name in INTEGERS else "fp32"
            if name == "n" and n == "whole":
                attributes[(index,)] = whole
    return triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": warps, "enable_fp_fusion": False},
    )


def facts(kernel, warps, options, n) -> dict:
    """Registers and stack bytes of a thread, shared bytes, and what the PTX says."""
    import triton

    made = compiled(kernel, warps, options, n)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = {k.lower(): int(v) for k, v in re.findall(r"(REG|STACK):(\d+)", usage)}
    ptx = made.asm["ptx"]
    return {
        "kernel": kernel.__name__,
        "options": {k: str(v) for k, v in options.items()},
        "n": n,
        **found,
        "shared": made.metadata.shared,
        "local": ".local" in ptx,
        "prefetched": "cp.async" in ptx,
        "wide_stores": "st.global.v4" in ptx,
        "specialised": [p.name for p in kernel.params if not p.do_not_specialize],
    }


def main():
    import torch

    from paraspike.errors import ReaderError
    from paraspike.neurons import LeakyIntegrator
    from paraspike.ops.integrate import cuda

    for kernel, warps, options in variants():
        print(json.dumps(facts(kernel, warps, options, "whole")))
    seen = set()
    for kernel, warps, options in variants():
        for n in ("any", "one") if kernel not in seen else ():
            print(json.dumps(facts(kernel, warps, options, n)))
        seen.add(kernel)
    try:
        cuda.integrate(torch.zeros(1, 1, 1), LeakyIntegrator(0.5, 0.5, 0.5))
    except ReaderError as error:
        print(json.dumps({"refused": error.what, "hint": error.hint}))


@pytest.fixture(scope="module")
def lines():
    pytest.importorskip("triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kernel_compiles_for_sm_90_and_spills_nothing(lines):
    made = [line for line in lines if "kernel" in line]
    names = ("ends", "walk", "scan", "noise", "fire", "random", "threshold", "threshold_backward")
    assert {line["kernel"] for line in made} == {f"{name}_kernel" for name in names}
    for line in made:
        assert line["stack"] == 0 and not line["local"], line
        if line["kernel"] != "scan_kernel":
            assert line["reg"] <= 128, line


def test_hot_kernels_fetch_ahead_and_move_16_bytes_a_thread(lines):
    for line in lines:
        if line.get("n") == "whole" and line["kernel"] in ("fire_kernel", "walk_kernel"):
            assert line["prefetched"] and line["wide_stores"], line


def test_nothing_that_changes_between_batches_is_compiled_in(lines):
    for line in lines:
        assert not set(line.get("specialised", ())) & set(RUNTIME), line


def test_without_a_gpu_or_the_interpreter_the_operator_says_what_it_needs(lines):
    (refused,) = [line for line in lines if "refused" in line]
    assert refused["refused"] == "activity on cpu" and "CUDA device" in refused["hint"]


if __name__ == "__main__":
    main()
