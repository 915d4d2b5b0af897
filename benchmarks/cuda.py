"""`python -m benchmarks.cuda [part ...]`: times on a GPU, kept under data/measured/<device>/."""

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.cuda_turns import ROUNDS, in_turn
from paraspike import machine, paths
from paraspike.errors import ReaderError

PARTS = ("layer", "networks", "figure5", "projection")


def arguments(words=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda",
        description="Time paraspike's CUDA backend beside other SNN libraries and the memory floor.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns, {ROUNDS} or more")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds a call may take")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--output", help="folder of the files, else data/measured/<device>")
    given = parser.parse_args(words)
    for part in given.parts:
        if part not in PARTS:
            raise ReaderError(f"part {part!r} is unknown", "BENCH", f"one of {', '.join(PARTS)}")
    if given.rounds < ROUNDS:
        what = f"a spread over {given.rounds} rounds says too little"
        raise ReaderError(what, "--rounds", f"{ROUNDS} or more")
    if not given.limit > 0:
        raise ReaderError(f"a limit of {given.limit:g} s leaves nothing", "--limit", "above 0")
    given.parts = [part for part in PARTS if not given.parts or part in given.parts]
    return given


def cannot_run() -> str | None:
    """Why nothing can be timed here, or None."""
    from benchmarks.cuda_lif import unavailable

    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET=1 is set; kernels under an interpreter have no speed"
    return unavailable()


def groups(part: str, options):
    """The groups of cases of one part."""
    from benchmarks import cuda_cases

    if part == "layer":
        return cuda_cases.layer(**cuda_cases.LAYER)
    if part == "networks":
        return cuda_cases.networks(compiled=not options.no_compile)
    if part == "figure5":
        return cuda_cases.figure5(limit=options.limit)
    return cuda_cases.projection()


def facts(options) -> dict:
    """What every file of this run says about where its numbers come from."""
    import torch

    from benchmarks.cuda_cases import PEERS, absent, version
    from benchmarks.cuda_lif import copy_rate
    from benchmarks.libraries import adapter

    commit, dirty = machine.commit()
    jelly = absent("spikingjelly")
    return {
        "device": torch.cuda.get_device_name(),
        "driver": machine.driver("cuda"),
        "copy_rate": copy_rate(),
        "versions": machine.versions() | {name: version(name) for name in PEERS},
        "spikingjelly": jelly or adapter("spikingjelly").implementation(),
        "cuda": torch.version.cuda or "none",
        "commit": commit,
        "dirty": dirty,
        "rounds": options.rounds,
        "limit_s": options.limit,
    }


def measure(part: str, options, known: dict, folder: Path) -> list[Path]:
    """One part's rows, written after each group: a run that is killed leaves what it had."""
    from benchmarks import cuda_report

    rows, files = [], []
    for group in groups(part, options):
        for case in in_turn(group, options.rounds, options.limit):
            rows.append(case.row(known["copy_rate"]))
            timed = f"{rows[-1]['seconds_median']:.4g} s" if case.rounds else "; ".join(case.notes)
            where = f"{case.workload} T={case.steps} B={case.batch}"
            print(f"  {where}  {case.arm}, {case.mode}: {timed}", flush=True)
        files = cuda_report.write(rows, known | {"part": part}, folder / f"bench_{part}")
    return files


def main(words=None) -> int:
    options = arguments(words)
    if why := cannot_run():
        print(f"nothing timed, nothing recorded: {why}", file=sys.stderr)
        return 0
    from benchmarks.cuda_report import slug

    begin, known = time.monotonic(), facts(options)
    folder = paths.resolve(options.output or Path("data/measured") / slug(known["device"]))
    print(f"{known['device']}: a copy moves {known['copy_rate'] / 1e12:.3g} TB/s", flush=True)
    for part in options.parts:
        print(part, flush=True)
        files = measure(part, options, known, folder)
        print(f"  {', '.join(map(paths.relative, files))}; {time.monotonic() - begin:.0f} s so far")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReaderError as error:
        sys.exit(f"error: {error}")
