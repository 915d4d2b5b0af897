"""`python -m benchmarks [workload ...]`: run the suite, write results/benchmarks.{csv,md,svg,png}."""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmarks import floors, report
from benchmarks.compare import densities, differences
from benchmarks.contest import ROUNDS, Entry, best_of, in_turn, libraries
from benchmarks.libraries import NAMES, YARDSTICK, adapter
from benchmarks.workloads import check_densities, select
from paraspike import paths
from paraspike.errors import ReaderError

# Time against density is a question to the fastest few.
DENSITY_PEERS = ("paraspike", YARDSTICK, "snntorch", "spikingjelly", "spyx")
QUICK = ["w2-100", "w1-10"]


def arguments(words=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time paraspike beside other SNN libraries."
    )
    parser.add_argument("workloads", nargs="*", help="w2, w2-500, w2r, w2d, w2i, w1, w1e; all")
    counts = [n for n in (1, 2) if n <= len(os.sched_getaffinity(0))]
    parser.add_argument("--threads", type=int, nargs="+", default=counts, metavar="N")
    parser.add_argument("--libraries", nargs="+", default=[], choices=NAMES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each library")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true", help=f"{' '.join(QUICK)}, 2 rounds")
    parser.add_argument("--output", default="results/benchmarks", help="stem of the files")
    given = parser.parse_args(words)
    if given.quick:
        given.workloads, given.rounds = given.workloads or QUICK, min(2, given.rounds)
        given.no_compile = True
    given.workloads = select(given.workloads)
    cores = len(os.sched_getaffinity(0))
    if not 1 <= min(given.threads) <= max(given.threads) <= cores:
        raise ReaderError(
            f"{given.threads} threads cannot be timed", "--threads", f"{cores} cores are ours here"
        )
    return given


@dataclass
class Known:
    """What earlier workloads showed: (workload, library) -> best mode, and `slow` as `best_of`."""

    modes: dict = field(default_factory=dict)
    slow: dict = field(default_factory=dict)


def enter(workload, threads, options, folder, known) -> list[Entry]:
    """Every library's entries, its best mode alive; that is kept for the next thread count, and in
    W2d for the next density."""
    wanted = options.libraries
    if workload.name == "W2d":
        wanted = [name for name in DENSITY_PEERS if not wanted or name in wanted]
    entered = []
    for library in libraries(workload, wanted):
        key = (workload.name if workload.name == "W2d" else workload.label, library)
        modes = [known.modes[key]] if key in known.modes else adapter(library).modes(workload)
        if options.no_compile:
            modes = [m for m in modes if "compile" not in m]
        entries = best_of(library, workload, threads, folder, modes, known.slow)
        if options.no_compile:
            entries[0].notes.append("torch.compile not tried (--no-compile)")
        known.modes[key] = entries[0].mode
        entered += entries
        print(f"  {threads} thr  {library}: {_brief(entries)}", flush=True)
    return entered


def race(workload, options, rates, folder, known) -> tuple[list[dict], str]:
    """The CSV's rows of a workload at every thread count, and a line with its densities.

    Modes are compared at the largest thread count.

    Raises:
        ReaderError: the loop that outputs are held to failed, or W2's densities are off.
    """
    rows = []
    for threads in sorted(options.threads, reverse=True):
        entered = enter(workload, threads, options, folder, known)
        try:
            loop = next(e for e in entered if e.library == YARDSTICK)
            if not loop.outputs:
                raise ReaderError(f"the torch loop failed on {workload.label}", *loop.notes[:1])
            shares = densities(workload, loop.outputs)
            line = check_densities(workload, shares)
            for entry in entered:
                if entry is not loop and entry.outputs and workload.kind != "encode":
                    entry.notes.append(differences(entry.outputs, loop.outputs)[1])
            in_turn([e for e in entered if e.child is not None], options.rounds)
        finally:
            for entry in entered:
                entry.stop()
        for entry in entered:
            limits = [floors.seconds(workload, shares, rates[threads], f) for f in (False, True)]
            rows.append(report.row(entry, *limits))
    print(f"  {line}", flush=True)
    return rows, line


def _brief(entries) -> str:
    return "; ".join(
        f"{e.mode} {e.median:.4g} s" if e.rounds else f"{e.mode}: {', '.join(e.notes)}"
        for e in entries
    )


def main(words=None) -> int:
    options = arguments(words)
    stem = paths.resolve(options.output)
    begin, rows, lines, known = time.monotonic(), [], [], Known()
    rates = {threads: floors.measured(threads) for threads in options.threads}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for workload in options.workloads:
            print(workload.label, flush=True)
            measured, line = race(workload, options, rates, Path(folder), known)
            rows += measured
            lines.append(line)
            report.write_csv(rows, stem.with_suffix(".csv"))
    frame = pd.DataFrame(rows)
    with paths.replacing(stem.with_suffix(".md")) as temporary:
        temporary.write_text(report.markdown(frame, rates, options.workloads, lines))
    from benchmarks.figure import draw
    from paraspike import plots

    written = plots.save(draw(frame), stem)
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(report.ratios(frame).to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    names = ", ".join(paths.relative(f) for f in (stem.with_suffix(".csv"), *written))
    print(f"{names} and {stem.stem}.md after {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReaderError as error:
        sys.exit(f"error: {error}")
