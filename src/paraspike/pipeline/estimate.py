"""What runs would cost before they start, and whether those that ran kept to their budget."""

import ast
import json
import math
import os
from collections.abc import Mapping

import pandas as pd

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.machine import label
from paraspike.parameters import did_you_mean, read_parameters
from paraspike.pipeline.plan import Experiment, Job, Plan

FUNCTIONS = {
    "len": len,
    "sum": sum,
    "zip": zip,
    "min": min,
    "max": max,
    "log2": math.log2,
    "ceil": math.ceil,
}
OVERHEAD_SECONDS = 4.0


def evaluate(expression: str, parameters: Mapping, where: str) -> float:
    """The value of a cost expression over an experiment's parameters.

    Raises:
        ReaderError: it names something that is no parameter, or cannot be computed.
    """
    known = {**FUNCTIONS, **parameters}
    try:
        tree = ast.parse(str(expression), mode="eval")
        own = {
            n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id not in known and node.id not in own:
                raise ReaderError(
                    f"{node.id!r} is not a parameter", where, did_you_mean(node.id, known)
                )
        return float(eval(compile(tree, where, "eval"), {"__builtins__": {}}, known))
    except (SyntaxError, TypeError, ValueError, ZeroDivisionError, NameError) as error:
        raise ReaderError(f"cannot compute {expression!r}: {error}", where) from None


def rows(plan: Plan) -> list[dict]:
    """One row an experiment: runs, hours (one after another), disk and memory in MB."""
    found = []
    for paper in plan.papers:
        for experiment, description in plan.papers[paper].experiments.items():
            jobs = [job for job in plan.of(paper) if job.experiment == experiment]
            where = f"workflow/papers/{paper}.yaml, {experiment}"
            every = [_parameters(job) for job in jobs]
            measured = _quick_run(plan.config.backend, paper, experiment)
            rate, source = _rate(description, measured, where)
            work = sum(evaluate(description.work, p, where) for p in every)
            memory = max(evaluate(description.memory, p, where) for p in every)
            if measured:
                memory = max(memory, measured.get("peak_memory_mib", 0.0) * 1.05)
            found.append(
                {
                    "paper": paper,
                    "experiment": experiment,
                    "runs": len(jobs),
                    "hours": (work * rate + OVERHEAD_SECONDS * len(jobs)) / 3600,
                    "disk_mb": sum(evaluate(description.disk, p, where) for p in every),
                    "memory_mb": memory,
                    "rate_from": source,
                }
            )
    return found


def table(plan: Plan) -> str:
    """The estimate as text, totals last; says where the rates come from."""
    frame = pd.DataFrame(rows(plan))
    threads, cores = plan.config.threads, len(os.sched_getaffinity(0))
    abreast = max(1, cores // threads)
    timed = [plan.papers[r.paper].experiments[r.experiment].timed for r in frame.itertuples()]
    alone = frame.hours[timed].sum()
    wall = alone + (frame.hours.sum() - alone) / abreast
    shown = frame.assign(
        hours=frame.hours.map("{:.2f}".format),
        disk_mb=frame.disk_mb.map("{:.0f}".format),
        memory_mb=frame.memory_mb.map("{:.0f}".format),
    ).rename(
        columns={
            "disk_mb": "disk MB",
            "memory_mb": "memory MB",
            "rate_from": "seconds per unit of work from",
        }
    )
    return "\n".join(
        [
            f"Estimated, not measured: results/{plan.config.run}, backend {label(plan.config.backend)}",
            shown.to_string(index=False),
            f"in all {frame.runs.sum()} runs, {frame.hours.sum():.2f} h of work, "
            f"about {wall:.2f} h here ({abreast} at a time, timed runs alone), "
            f"{frame.disk_mb.sum():.0f} MB on disk",
        ]
    )


def spent(plan: Plan, paper: str) -> float:
    """Wall seconds of a paper's last run: its benchmark files added up.

    Timed runs count in full; the other experiments share the cores.
    """
    share = min(1.0, plan.config.threads / len(os.sched_getaffinity(0)))
    abreast = {
        paths.root() / job.place("benchmarks", ".tsv") for job in plan.of(paper) if not job.timed
    }
    files = paths.results(plan.config.run, "benchmarks", paper).rglob("*.tsv")
    return sum(
        pd.read_csv(f, sep="\t")["s"].mean() * (share if f in abreast else 1.0) for f in files
    )


def budget_lines(plan: Plan) -> list[str]:
    """A line for each paper that took longer than its quick-scale budget."""
    if plan.config.settings.scale != "quick":
        return []
    found = {name: spent(plan, name) for name in plan.papers}
    return [
        f"over budget: {name} took about {found[name]:.0f} s, its budget is {paper.budget:.0f} s "
        f"(results/{plan.config.run}/benchmarks/{name}/)"
        for name, paper in plan.papers.items()
        if found[name] > paper.budget
    ]


def _parameters(job: Job) -> dict:
    cell = read_parameters(paths.root() / job.notebook)
    return {name: p.default for name, p in cell.items()} | job.parameters


def _quick_run(backend: str, paper: str, experiment: str) -> dict | None:
    file = paths.results(f"quick-{backend}", "runs", paper, f"{experiment}.run.json")
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def _rate(description: Experiment, measured: dict | None, where: str) -> tuple[float, str]:
    """Seconds per unit of work, and where that number comes from."""
    if measured and "wall_seconds" in measured:
        try:
            work = evaluate(description.work, measured["parameters"], where)
        except ReaderError:
            work = 0.0
        if work > 0:
            return measured["wall_seconds"] / work, "this machine's quick run"
    return description.seconds_per_unit, "the committed table"
