"""Run one notebook of the plan: an experiment, a part of one, or a paper's figures."""

import sys

# jsonschema, behind papermill, would spend 0.7 s on a grammar for addresses that no notebook needs.
sys.modules["rfc3987_syntax"] = None

from paraspike.pipeline import config, plan  # noqa: E402
from paraspike.pipeline.runner import main_of_job  # noqa: E402

everything = plan.build(config.load(snakemake.config))
jobs = [*everything.jobs, *everything.figures.values()]
job = next(job for job in jobs if job.name == snakemake.rule)
log, threads = snakemake.log, everything.config.threads
main_of_job(job, everything.of(job.paper), log.notebook, log.text, threads)
