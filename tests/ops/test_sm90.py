"""Every kernel of the sparse and learning operators compiles for sm_90, without spilling registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

F, D, H = "*fp32", "*fp64", "*bf16"
SYNAPSE = "paraspike.ops.synapse.cuda_kernels"
LISTS = {"pointers": "*i64", "units": "*i32", "rows": "*i64", "counts": F}


def synapse_jobs():
    for real, held in ((F, F), (F, H), (D, D)):
        for columns in (16, 64, 128):
            tile = {"EVENTS": 8, "COLUMNS": columns}
            given = LISTS | {"weight": held, "bias": real, "out": real, "grad": held}
            for biased in (True, False):
                yield [SYNAPSE, "currents", given, tile | {"BIASED": biased}, 1]
            yield [SYNAPSE, "weight_sums", given, tile, 1]
    for real in (F, D):
        given = {"grad": real, "out": real, "parts": real}
        yield [SYNAPSE, "row_sums", given, {"SPLITS": 64, "ROWS": 16, "COLUMNS": 128}, 1]
        for add in (True, False):
            yield [SYNAPSE, "add_parts", given, {"ADD": add, "BLOCK": 256}, 4]


JOBS = {"synapse": synapse_jobs}


@pytest.mark.parametrize("operator", JOBS)
def test_compiles_for_sm_90(operator):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    jobs = list(JOBS[operator]())
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("sm90.py")],
        input=json.dumps(jobs),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads(done.stdout)
    assert len(made) == len(jobs)
    for (kernel, registers, spilled, _, local), job in zip(made, jobs, strict=True):
        print(kernel, job[3], registers, spilled)
        assert not local and not spilled, (kernel, job, registers, spilled)
