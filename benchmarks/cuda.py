"""`python -m benchmarks.cuda [part ...]`: times on a GPU, kept under data/measured/<device>/."""

import argparse
import math
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cuda_turns import ROUNDS, in_turn
from paraspike import machine, paths
from paraspike.errors import ReaderError
from paraspike.ops.table import PRECISIONS

# The last one needs the recordings of SHD, and is run where it is asked for.
PARTS = ("layer", "networks", "figure5", "table2")


def arguments(words=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda",
        description="Time paraspike's CUDA backend beside other SNN libraries and the memory floor. Files are"
        " written after every round of turns or every cell: a run that is killed leaves what it had.",
        epilog="Expected on an H200: layer 1 minute, networks 3, torch.compile 7 more, figure5 4, table2 8.",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; the first three"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns, {ROUNDS} or more")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds a call may take")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="begin nothing after so long"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--words", default="w2-500 w2r w2i", help="workloads of networks: %(default)s"
    )
    parser.add_argument("--dataset", default="shd", help="of table2: %(default)s, or cochlea")
    parser.add_argument("--epochs", type=int, default=10, help="timed epochs of a cell of table2")
    parser.add_argument("--samples", type=int, help="recordings that table2 trains on, else all")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="of table2's products: %(default)s",
    )
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
    if given.epochs < 1:
        raise ReaderError(f"{given.epochs} epochs cannot be timed", "--epochs", "1 or more")
    given.parts = [part for part in PARTS if part in (given.parts or PARTS[:3])]
    return given


def cannot_run() -> str | None:
    """Why nothing can be timed here, or None."""
    from benchmarks import cuda_lif

    return cuda_lif.cannot_run()


def groups(part: str, options):
    """The groups of cases of one part that take turns."""
    from benchmarks import cuda_cases

    if part == "layer":
        return cuda_cases.layer(**cuda_cases.LAYER)
    if part == "networks":
        return cuda_cases.networks(options.words.split(), compiled=not options.no_compile)
    return cuda_cases.figure5(limit=options.limit)


def facts(options) -> dict:
    """What every file of this run says about where its numbers come from."""
    import torch

    from benchmarks.cuda_cases import PEERS, version
    from benchmarks.cuda_lif import copy_rate

    commit, dirty = machine.commit()
    return {
        "device": torch.cuda.get_device_name(),
        "driver": machine.driver("cuda"),
        "copy_rate": copy_rate(),
        "versions": machine.versions() | {name: version(name) for name in PEERS},
        "spikingjelly": _jelly(),
        "cuda": torch.version.cuda or "none",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": dirty,
        "rounds": options.rounds,
        "limit_s": options.limit,
    }


def _jelly() -> str:
    """What SpikingJelly's LIF runs on, or why it is left out; a package it lacks must not end the run."""
    from benchmarks.cuda_cases import absent
    from benchmarks.libraries import adapter

    try:
        return absent("spikingjelly") or adapter("spikingjelly").implementation()
    except Exception as error:
        return f"cannot be asked: {type(error).__name__}: {error}"


def measure(part: str, options, known: dict, folder: Path, until: float) -> list[Path]:
    """One part's rows, written whenever there are more: a run that is killed leaves what it had."""
    from benchmarks import cuda_report

    done, now, files, extra = [], [], [], {"part": part}

    def write():
        rows = [case.row(known["copy_rate"]) for case in (*done, *now)]
        files[:] = cuda_report.write(rows, known | extra, folder / f"bench_{part}")

    if part == "table2":
        from benchmarks import cuda_table2

        given = (options.dataset, options.epochs, options.samples, until)
        products = {"precision": options.precision, "describe": extra.update}
        finished = ([case] for case in cuda_table2.cases(*given, **products))
    else:
        finished = _in_turn(groups(part, options), options, until, now, write)
    for group in finished:
        now.clear()
        done += group
        for case in group:
            median = case.row(known["copy_rate"])["seconds_median"]
            timed = f"{median:.4g} s" if case.rounds else "left out"
            where = f"{case.workload} T={case.steps} B={case.batch}"
            print(
                f"  {where}  {case.arm}, {case.mode}: {'; '.join([timed, *case.notes])}", flush=True
            )
        write()
    return files


def _in_turn(cases, options, until, now, write):
    for group in cases:
        now[:] = group
        yield in_turn(group, options.rounds, options.limit, until, write)


def main(words=None) -> int:
    options = arguments(words)
    if why := cannot_run():
        print(f"nothing timed, nothing recorded: {why}", file=sys.stderr)
        return 0
    from benchmarks.cuda_report import slug

    begin, known, failed = time.monotonic(), facts(options), []
    folder = paths.resolve(options.output or Path("data/measured") / slug(known["device"]))
    print(f"{known['device']}: a copy moves {known['copy_rate'] / 1e12:.3g} TB/s", flush=True)
    for part in options.parts:
        print(part, flush=True)
        try:
            files = measure(part, options, known, folder, begin + options.seconds)
        # Data that is not there, or a part that breaks, must not cost the others.
        except Exception as error:
            failed.append(part)
            print(f"  {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        print(
            f"  {', '.join(map(paths.relative, files))}; {time.monotonic() - begin:.0f} s so far",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReaderError as error:
        sys.exit(f"error: {error}")
