"""Compiles a module's Triton kernels ahead of time for sm_90, no GPU needed; run as a program by the tests.

Input: a JSON list of [module, kernel, {argument: type}, {constexpr: value}, warps, widths are multiples
of 16], types as in Triton's signatures; an argument that is not named is an int32, or a constexpr where it is
among those given (as Triton makes of a width of 1).
Output, a kernel: [name, registers, bytes spilled, shared memory, uses local memory].
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGET = GPUTarget("cuda", 90, 32)


def compiled(module, kernel, types, constants, warps, wide):
    function = getattr(importlib.import_module(module), kernel)
    held = {function.arg_names[k] if isinstance(k, int) else k for k in function.do_not_specialize}
    signature, attributes = {}, {}
    for k, name in enumerate(function.arg_names):
        signature[name] = "constexpr" if name in constants else types.get(name, "i32")
        aligned = signature[name][0] == "*" or (
            wide and signature[name][0] == "i" and name not in held
        )
        if aligned:
            attributes[(k,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=TARGET, options={"num_warps": warps})
    ptx = made.asm["ptx"]
    registers, spilled = usage(ptx)
    local = re.search(r"\.local|ld\.local|st\.local", ptx) is not None
    return [kernel, registers, spilled, made.metadata.shared, local]


def usage(ptx):
    """(registers a thread, bytes spilled) by ptxas's own account; None where it cannot be asked."""
    folder = Path(triton.__file__).parent / "backends/nvidia/bin"
    for program in sorted(folder.glob("ptxas*")):
        with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
            file.write(ptx)
            file.flush()
            told = subprocess.run(
                [program, "-v", "-arch=sm_90a", file.name, "-o", "/dev/null"],
                capture_output=True,
                text=True,
            )
        if told.returncode == 0:
            text = told.stderr + told.stdout
            return (
                int(re.search(r"Used (\d+) registers", text)[1]),
                sum(map(int, re.findall(r"(\d+) bytes spill", text))),
            )
    return None, None


if __name__ == "__main__":
    print(json.dumps([compiled(*job) for job in json.load(sys.stdin)]))
