"""One contestant in a process of its own: build, compare, then time steps when told to.

Speaks JSON, a line each way: reads commands on stdin, answers on what was stdout; whatever a library
prints goes to stderr.
"""

import gc
import json
import os
import sys
import time


class Contestant:
    """A runner with its memory before and during its steps.

    Args:
        spec: library, mode, workload (a dict), cores it may use, file its outputs are left in.
    """

    def __init__(self, spec: dict):
        import numpy as np

        from benchmarks.libraries import adapter, versions
        from benchmarks.workloads import Workload, draw
        from paraspike import measure

        self.measure = measure
        workload = Workload(**spec["workload"])
        module = adapter(spec["library"])
        # Loads kernels, starts thread pools: what any first step costs once.
        short, build = workload.short(), module.build
        if getattr(module, "SHORT_START", True):
            build(short, spec["mode"], draw(short)).step()
        self.runner = build(workload, spec["mode"], draw(workload))
        gc.collect()
        self.before = measure.memory_mb()
        np.savez(spec["outputs"], **self.runner.outputs())
        self.runner.restore()
        begin = time.perf_counter()
        self.runner.step()
        self.answer = {
            "ready": True,
            "version": versions(spec["library"]),
            "first": time.perf_counter() - begin,
            "remark": getattr(self.runner, "remark", str)(),
        }
        self.measure.forget_peak()

    def run(self, repeats: int) -> dict:
        """Time `repeats` steps, each from the workload's own weights."""
        seconds = []

        def step():
            self.runner.restore()
            begin = time.perf_counter()
            self.runner.step()
            seconds.append(time.perf_counter() - begin)

        load = self.measure.measure(step, repeats=repeats, warmup=0)
        increase = self.measure.memory_mb(peak=True) - self.before
        return {"seconds": seconds, "others": load.others, "peak_rss_mb": max(0.0, increase)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec = json.loads(sys.stdin.readline())
    # Before any library counts the cores it may use.
    os.sched_setaffinity(0, spec["cores"])
    try:
        contestant = Contestant(spec)
        print(json.dumps(contestant.answer), file=answers)
        for line in sys.stdin:
            print(json.dumps(contestant.run(json.loads(line)["repeats"])), file=answers)
    except Exception as error:
        import traceback

        traceback.print_exc()
        text = f"{type(error).__name__}: {error}".splitlines()
        print(json.dumps({"error": text[0]}), file=answers)


if __name__ == "__main__":
    main()
