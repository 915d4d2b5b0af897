"""Figures: what a paper's experiments measured in one file, and the notebook that draws it."""

for paper, figures in PLAN.figures.items():

    rule:
        """Put everything measured for a paper into one DataTree, a group per experiment."""
        name:
            f"{paper}_collected"
        input:
            PLAN.measured(paper),
        output:
            f"results/<run>/{paper}.nc",
        log:
            f"results/<run>/logs/{paper}/collected.log",
        benchmark:
            f"results/<run>/benchmarks/{paper}/collected.tsv"
        localrule: True
        conda:
            f"../../{PLAN.environment}"
        params:
            code=PLAN.module_code("merging"),
        script:
            "../scripts/collect.py"

    rule:
        """Draw a paper's figures, ours beside the published values."""
        name:
            figures.name
        input:
            figures.needs,
            notebook=ancient(figures.notebook),
        output:
            **{name: captioned(paper, name, file) for name, file in figures.outputs.items()},
        log:
            text=figures.place("logs", ".log"),
            notebook=figures.place("notebooks", ".ipynb"),
        benchmark:
            figures.place("benchmarks", ".tsv")
        localrule: True
        conda:
            f"../../{PLAN.environment}"
        params:
            **figures.identity,
        script:
            "../scripts/run_notebook.py"
