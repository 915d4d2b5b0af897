"""Experiments: each notebook once, or once per part, then everything of a paper in one file.

A run's inputs are its code cells and the modules they import: they enter as one hash in `params`,
so an edit reruns exactly what it touches, and the notebook itself as `ancient`, so its markdown does not.
"""

for rank, job in enumerate(PLAN.jobs):

    rule:
        """Execute an experiment's notebook; keep what it measured and the executed notebook."""
        name:
            job.name
        input:
            weights=job.needs,
            data=dataset_files(job),
            notebook=ancient(job.notebook),
        output:
            **job.outputs,
        log:
            text=job.place("logs", ".log"),
            notebook=job.place("notebooks", ".ipynb"),
        benchmark:
            job.place("benchmarks", ".tsv")
        priority: len(PLAN.jobs) - rank
        conda:
            f"../../{PLAN.environment}"
        threads: (workflow.cores if job.timed else None) or PLAN.config.threads
        resources:
            gpu=int(job.backend == "cuda"),
            slurm_extra="--exclusive" if job.timed else "",
        params:
            **job.identity,
        script:
            "../scripts/run_notebook.py"


for (paper, experiment), parts in PLAN.split().items():

    rule:
        """Join the parts of an experiment that was cut into jobs."""
        name:
            f"{paper}_{experiment}_merged"
        input:
            data=[part.outputs["data"] for part in parts],
            weights=[
                file for part in parts for kind, file in part.outputs.items() if kind == "weights"
            ],
        output:
            **parts[0].merged,
        log:
            f"results/<run>/logs/{paper}/{experiment}.merged.log",
        benchmark:
            f"results/<run>/benchmarks/{paper}/{experiment}.merged.tsv"
        localrule: True
        conda:
            f"../../{PLAN.environment}"
        params:
            code=PLAN.module_code("merging"),
        script:
            "../scripts/merge.py"
