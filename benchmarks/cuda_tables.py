"""Sweeps what the CUDA backend's launch tables decide by, on a GPU, and prints the tables ready to paste. Every
measured row is kept in tables.json as it comes. Expected on an H200: 5 minutes."""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import cuda_lif, cuda_spsn, cuda_synapse
from paraspike import machine, paths

# Neurons of a program, its warps, steps fetched ahead or of a chunk.
LAUNCHES = tuple(
    (block, warps, steps)
    for block, warps in ((32, 1), (64, 1), (64, 2), (128, 1), (128, 4), (256, 4))
    for steps in (8, 16)
)
# Neurons (batch x layer) that a launch is swept at, and the most neuron-steps: 0.5 GB a tensor.
SIZES, MOST = (8192, 1 << 16, 1 << 18), 1 << 27
RECURRENT, SEEDS = (64, 128, 256, 512), (1, 10)
# Recurrent neurons, and the blocks (samples, warps) they are tried with.
BLOCKS = ((32, (16, 4), (16, 8)), (128, (8, 4), (16, 8), (8, 8)), (256, (4, 8), (8, 8), (4, 16)),
          (512, (4, 16), (8, 16), (2, 16)))  # fmt: skip


def crossings(best: list[tuple[int, object]]) -> tuple:
    """Rows (from which size, *choice) of a table from the best choice at each measured size, ascending; a
    change lies at the geometric mean of the two sizes around it."""
    rows, before = [], None
    for size, choice in best:
        if not rows:
            rows.append((0, *choice))
        elif choice != rows[-1][1:]:
            rows.append((round((before * size) ** 0.5), *choice))
        before = size
    return tuple(rows)


def lif(keep):
    """LAUNCH of ops/lif/cuda_launch.py and KEEP of ops/lif/cuda.py."""
    rows = []
    for m in SIZES:
        for launch in LAUNCHES:
            sizes = {"steps": min(4096, MOST // m), "batch": m // 128, "neurons": 128}
            rows += keep("lif", cuda_lif.sweep([launch], repeats=5, **sizes))
    timed = [r | {"m": r["batch"] * r["neurons"]} for r in rows if "error" not in r]
    least = {}
    for row in timed:
        for way in cuda_lif.KEEPS:
            seconds, launch = least.get((way, row["m"]), (float("inf"), None))
            least[way, row["m"]] = min((seconds, launch), (row[way]["seconds"], row["launch"]))
    sizes = list(dict.fromkeys(r["m"] for r in timed))
    fastest = {m: min(least[way, m][0] for way in cuda_lif.KEEPS) for m in sizes}
    # One way for all sizes: the one that loses least against the better one at each.
    best = min(cuda_lif.KEEPS, key=lambda way: sum(least[way, m][0] / fastest[m] for m in sizes))
    return {"LAUNCH": crossings([(m, least[best, m][1]) for m in sizes]), "KEEP": best}


def recurrent(keep):
    """PERSISTENT_UP_TO of ops/lif/cuda.py and BLOCKS of ops/lif/cuda_launch.py."""
    rows = []
    for n in RECURRENT:
        for seeds in SEEDS:
            rows += keep("recurrent", [cuda_lif.recurrent_layer(200, 64, n, seeds, repeats=3)])
    slower = {r["neurons"] for r in rows if r.get("persistent", float("inf")) >= r["steps_s"]}
    up_to = max((n for n in RECURRENT if n < min(slower, default=1 << 30)), default=0)
    blocks = []
    for n, *choices in BLOCKS:
        found = keep("blocks", cuda_lif.sweep_blocks(n, choices))
        timed = [r for r in found if "error" not in r]
        if timed:
            blocks.append((n, min(timed, key=lambda r: r["persistent"])["block"]))
    return {"PERSISTENT_UP_TO": up_to, "BLOCKS": crossings(blocks)}


def integrate(keep):
    """From how many columns of programs (128 neurons each) one walk over time beats segments side by side:
    the smallest measured from which it does at every length of more than one segment, None where nowhere."""
    out = {}
    for operator, function in (("integrate", cuda_spsn.forms), ("spsn", cuda_spsn.fused_forms)):
        rows = keep(operator, function())
        seconds = {(r["steps"], r["neurons"], r["form"]): r["seconds"] for r in rows}
        walks = {}
        for steps, neurons, form in seconds:
            if form == "walk" and (steps, neurons, "split") in seconds and steps > 128:
                faster = seconds[steps, neurons, "walk"] <= seconds[steps, neurons, "split"]
                walks[neurons] = walks.get(neurons, True) and faster
        last = [n for n in sorted(walks) if all(walks[k] for k in walks if k >= n)]
        out[f"{operator}: WALK_FROM"] = last[0] // 128 if last else None
    return out


def synapse(keep):
    """PRODUCT_FROM and TRITON_UP_TO of ops/synapse/cuda.py."""
    rows = []
    for arguments in cuda_synapse.plan():
        rows += keep("synapse", [cuda_synapse.one(*arguments)])
    return {
        "PRODUCT_FROM": cuda_synapse.product_from(rows),
        "TRITON_UP_TO": cuda_synapse.triton_up_to(rows),
        "by size": cuda_synapse.crossover(rows),
    }


# What compiles longest comes last.
PARTS = {"lif": lif, "synapse": synapse, "integrate": integrate, "recurrent": recurrent}


class Ended(Exception):
    """The time given is over."""


class Kept:
    """Rows by part in a file that is whole after each of them; raises Ended once `until` has passed."""

    def __init__(self, file: Path, facts: dict, until: float):
        self.file, self.found, self.until = file, {"facts": facts}, until

    def rows(self, part: str, rows: list[dict]) -> list[dict]:
        self.found.setdefault(part, []).extend(rows)
        for row in rows:
            print(f"  {part}: {json.dumps(row)}", flush=True)
        self.write()
        self.check()
        return rows

    def check(self):
        if time.monotonic() > self.until:
            raise Ended

    def write(self):
        with paths.replacing(self.file) as temporary:
            temporary.write_text(json.dumps(self.found, indent=1))


def main(words=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda_tables", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all")
    parser.add_argument("--output", default="results/scratch", help="folder of tables.json")
    parser.add_argument("--seconds", type=float, default=480.0, help="begin no row after so long")
    given = parser.parse_args(words)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"part {unknown[0]!r} is unknown: one of {', '.join(PARTS)}")
    if why := cuda_lif.cannot_run():
        print(f"nothing timed, nothing recorded: {why}", file=sys.stderr)
        return 0
    facts = machine.versions() | {"device": machine.device("cuda"), "commit": machine.commit()}
    facts["copy_rate"] = cuda_lif.copy_rate()
    file = paths.resolve(given.output) / "tables.json"
    kept = Kept(file, facts, time.monotonic() + given.seconds)
    tables = kept.found["tables"] = {}
    for name in given.parts or PARTS:
        try:
            kept.check()
            tables[name] = PARTS[name](kept.rows)
        except Ended:
            tables[name] = f"not finished within {given.seconds:g} s"
        # What one kernel cannot do must not cost the other tables.
        except Exception as error:
            tables[name] = f"{type(error).__name__}: {str(error)[:300]}"
        kept.write()
    for name, table in tables.items():
        lines = table.items() if isinstance(table, dict) else [("", table)]
        print(*(f"{name}: {key} = {value!r}" for key, value in lines), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
