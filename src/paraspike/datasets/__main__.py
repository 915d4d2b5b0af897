"""python -m paraspike.datasets fetch [names]: what `make fetch` runs."""

import argparse
import sys

from paraspike.datasets.fetch import fetch_all
from paraspike.datasets.registry import DATASETS


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if anything could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m paraspike.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fetch", help="fetch data sets, or see that they are there")
    command.add_argument(
        "names", nargs="*", metavar="name", help=f"of {', '.join(DATASETS)}; default all"
    )
    command.add_argument("--allow-unverified", action="store_true", help="accept other checksums")
    given = parser.parse_args(arguments)
    failures = fetch_all(given.names, allow_unverified=given.allow_unverified)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
