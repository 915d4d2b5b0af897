"""Compiles the LIF kernels for sm_90 without a GPU; run by test_lif_cuda.py without TRITON_INTERPRET.

Prints one line of JSON a kernel: {"name", "local", "shared", "registers", "spills",
"free": integers specialised on}.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from paraspike.neurons import LIF, Surrogate, cuba
from paraspike.ops.lif import cuda_kernels, cuda_launch, cuda_recurrent
from paraspike.ops.lif.options import options

NEURONS = {
    "cuba": cuba(1e-3, 5e-3, 1e-2),
    "adaptive": LIF(reset="subtract", beta=0.3, rho=0.9, surrogate=Surrogate("triangle")),
    "all": LIF(
        a_ii=0.7, c1=0.1, beta=0.3, rho=0.9, reset_at="next_step", reset_grad="full", gate_input=True,
        refractory="block_spike", refractory_steps=2, surrogate=Surrogate("arctan", below=0.5),
    ),
    "post": LIF(
        beta=0.3, reset_grad="full", surrogate_at="post", refractory="clamp_input", refractory_steps=2,
        surrogate=Surrogate("sigmoid"),
    ),
}  # fmt: skip


def cases(real):
    """(name, kernel, constexprs, options) of what is launched on a GPU, numbers of type `real`."""
    for name, neuron in NEURONS.items():
        packed = cuda_launch.packed(options(neuron))
        option = {"OPTION": packed}
        for m in (1 << 12, 1 << 18):
            sizes, how = cuda_launch.launch(m)
            sizes = option | sizes | {"ROWS": cuda_launch.state_rows(packed)}
            for keep in (0, 1, 2):
                yield (
                    f"forward-{name}-{m}-{keep}",
                    cuda_kernels.forward,
                    {"KEEP": keep, "CARRY": 0} | sizes,
                    how,
                )
            yield (
                f"forward-{name}-{m}-step",
                cuda_kernels.forward,
                sizes | {"KEEP": 1, "CARRY": 1, "CHUNK": 1},
                how,
            )
            for keep in (1, 2):
                yield (
                    f"backward-{name}-{m}-{keep}",
                    cuda_kernels.backward,
                    sizes | {"KEEP": keep, "CARRY": 0},
                    how,
                )
            yield (
                f"backward-{name}-{m}-step",
                cuda_kernels.backward,
                sizes | {"KEEP": 1, "CARRY": 1, "CHUNK": 1},
                how,
            )
        for n in (16, 64, 128, 256, 512):
            sizes, how = cuda_launch.program(n, DTYPES[real])
            yield (
                f"loop-forward-{name}-{n}",
                cuda_recurrent.forward,
                {"KEEP": 1} | option | sizes,
                how,
            )
            for block in (False, True):
                sizes, how = cuda_launch.program(n, DTYPES[real], block)
                sizes = {"LOCAL": 0, "BLOCK_B": 1} | option | sizes
                yield (
                    f"loop-backward-{name}-{n}-{sizes['BLOCK_B']}",
                    cuda_recurrent.backward,
                    sizes,
                    how,
                )


DTYPES = {"fp32": torch.float32, "fp64": torch.float64}
INTEGERS = ("first", "steps", "m", "patience", "batch", "per_seed", "n")


def compile_one(name, kernel, constants, how, real):
    signature = {}
    for argument in kernel.arg_names:
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in INTEGERS:
            signature[argument] = "i32"
        else:
            signature[argument] = "*i32" if argument == "words" else f"*{real}"
    places = {(kernel.arg_names.index(k),): v for k, v in constants.items()}
    # As tensors lie in memory: pointers are multiples of 16.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, a in enumerate(kernel.arg_names)
        if signature[a][0] == "*"
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=how)
    ptx = built.asm["ptx"]
    told = assembled(ptx)
    return {
        "name": f"{name}-{real}",
        "local": len(re.findall(r"\.local", ptx)),
        "shared": built.metadata.shared,
        "free": [p.name for p in kernel.params if p.name in INTEGERS and not p.do_not_specialize],
        **told,
    }


def assembled(ptx):
    """Registers and spilled bytes as ptxas tells them."""
    from triton.backends.nvidia.compiler import get_ptxas

    found = get_ptxas(90)
    path = found.path if hasattr(found, "path") else found[0]
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "kernel.ptx"
        text.write_text(ptx)
        done = subprocess.run(
            [path, "-v", "--gpu-name=sm_90a", str(text), "-o", f"{folder}/kernel.cubin"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    registers = re.search(r"Used (\d+) registers", done.stderr)
    spills = re.search(r"(\d+) bytes spill stores", done.stderr)
    return {"registers": int(registers[1]), "spills": int(spills[1])}


if __name__ == "__main__":
    for kind in sys.argv[1].split(","):
        for case in cases(kind):
            if re.search(sys.argv[2], case[0]):
                print(json.dumps(compile_one(*case, kind)), flush=True)
