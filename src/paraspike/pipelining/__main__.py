"""`python -m paraspike.pipelining solve`: the schedules of `solved`, cell by cell, saved as they come."""

import argparse
import itertools

from paraspike.errors import ReaderError
from paraspike.pipelining import solved, solving
from paraspike.pipelining.networks import NETWORKS


def main(arguments=None) -> None:
    """Solve cells that are not there yet, or with --again all of them, starting from what is known."""
    parser = argparse.ArgumentParser(prog="python -m paraspike.pipelining", description=__doc__)
    parser.add_argument("what", choices=["solve"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=solved.BATCHES)
    parser.add_argument("--arrays", nargs="+", type=int, default=solved.ARRAYS)
    parser.add_argument("--processors", nargs="+", type=int, default=solved.PROCESSORS)
    parser.add_argument("--seconds", type=float, default=30.0, help="for every problem, at most")
    parser.add_argument("--workers", type=int, default=2, help="threads of the solver")
    parser.add_argument("--rounds", type=int, default=0, help="of search between the points found")
    parser.add_argument("--again", action="store_true", help="cells that are solved already, too")
    asked = parser.parse_args(arguments)
    for name in asked.networks:
        cells = solved.all_of(name)
        keys = list(itertools.product(asked.batches, asked.arrays, asked.processors))
        for number, key in enumerate(keys, 1):
            if key in cells and not asked.again:
                continue
            print(f"[{name} {number}/{len(keys)}]", end=" ", flush=True)
            cells[key] = solving.solve(
                name,
                *key,
                seconds=asked.seconds,
                workers=asked.workers,
                note=_say,
                known=cells.get(key),
                rounds=asked.rounds,
            )
            solving.save(cells, name)


def _say(line):
    print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except ReaderError as error:
        raise SystemExit(f"error: {error}") from None
