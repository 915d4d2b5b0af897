"""What the workflow says at its start and at its end."""

import os
import sys
from pathlib import Path

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.machine import label
from paraspike.pipeline.plan import Plan


def announce(plan: Plan) -> None:
    """Say once which backend `auto` became and where results go; jobs inherit the answer."""
    config = plan.config
    auto = config.settings.backend == "auto"
    chosen = f"backend {label(config.backend)}{' (auto)' if auto else ''}"
    print(f"paraspike: {chosen}, results/{config.run}", file=sys.stderr)
    if plan.left_out:
        print(f"  left out, for they measure times: {', '.join(plan.left_out)}", file=sys.stderr)
    if auto:
        os.environ["PARASPIKE_AUTO_BACKEND"] = config.backend


def places(plan: Plan) -> list[str]:
    """Where figures, the claims table, everything measured and the report are; only what exists."""
    run = f"results/{plan.config.run}"
    wanted = {
        "figures": f"{run}/figures",
        "measured": ", ".join(f"{run}/{paper}.nc" for paper in plan.papers),
        "claims": f"{run}/claims.csv",
        "notebooks": f"{run}/notebooks",
        "report": f"{run}/report.zip",
    }
    return [
        f"{what + ':':<11}{where}"
        for what, where in wanted.items()
        if all((paths.root() / name).exists() for name in where.split(", "))
    ]


def summary(plan: Plan, since: float = 0.0) -> None:
    """Print the places and any paper over its budget, if results were written after `since`."""
    from paraspike.pipeline.estimate import budget_lines

    watched = [
        paths.root() / name for job in plan.figures.values() for name in job.outputs.values()
    ]
    if any(_newer(file, since) for file in watched):
        print("\n".join([*places(plan), *budget_lines(plan)]), flush=True)


def _newer(file: Path, since: float) -> bool:
    return file.exists() and file.stat().st_mtime > since


def main(arguments: list[str]) -> None:
    """`--run` prints the run's name, else where its results are."""
    from paraspike.pipeline import config, plan

    try:
        made = plan.build(config.load())
    except ReaderError as error:
        sys.exit(str(error))
    if "--run" in arguments:
        print(made.config.run)
    else:
        summary(made)


if __name__ == "__main__":
    main(sys.argv[1:])
