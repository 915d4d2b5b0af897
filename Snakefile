"""paraspike: five papers that train spiking neural networks faster, on one engine.

    snakemake                                         everything config/config.yaml asks for
    snakemake spsn                                    one paper: its figures and its claims
    snakemake --config scale=paper backend=cuda       the papers' own sizes and data
    snakemake estimate --config scale=paper           runs, hours, disk, memory before you start
    snakemake fetch --config dataset=shd              download and verify data
    snakemake claims                                  the claims table, printed
    snakemake --profile profiles/slurm                the same on a cluster

Experiments are notebooks/<paper>/*.ipynb; workflow/papers/<paper>.yaml says what a paper consists
of; config/README.md explains every key. All outputs lie under results/<run>/.
"""

import sys
import time

from snakemake.utils import min_version

from paraspike.pipeline import closing, plan
from paraspike.pipeline import config as configuration
from paraspike.errors import ReaderError

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


STARTED = time.time()
try:
    PLAN = plan.build(configuration.load(config))
except ReaderError as error:
    sys.exit(str(error))
closing.announce(PLAN)


pathvars:
    run=PLAN.config.run,


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


rule all:
    """Every paper's figures, everything measured, the claims table and the executed notebooks."""
    default_target: True
    input:
        "results/<run>/claims.csv",
        expand("results/<run>/notebooks/{paper}/figures.html", paper=PLAN.papers),
    localrule: True


for paper, figures in PLAN.figures.items():

    rule:
        """One paper: its figures and its claims."""
        name:
            paper
        input:
            f"results/<run>/claims/{paper}.csv",
            f"results/<run>/{paper}.nc",
            list(figures.outputs.values()),
        localrule: True


onsuccess:
    closing.summary(PLAN, since=STARTED)
