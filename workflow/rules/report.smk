"""Claims and readable notebooks: what the report holds besides the figures."""

for paper, figures in PLAN.figures.items():

    rule:
        """Judge every published claim of one paper by what was measured."""
        name:
            f"{paper}_judged"
        input:
            f"results/<run>/{paper}.nc",
            "data/published/claims.yaml",
            [file for file in figures.needs if file.endswith(".csv")],
            kept=figures.parameters.get("kept", []),
        output:
            f"results/<run>/claims/{paper}.csv",
        log:
            f"results/<run>/logs/{paper}/judged.log",
        benchmark:
            f"results/<run>/benchmarks/{paper}/judged.tsv"
        localrule: True
        conda:
            f"../../{PLAN.environment}"
        params:
            code=PLAN.module_code("claims", f"papers/{paper}_claims"),
        script:
            "../scripts/judge.py"

    rule:
        """Turn a paper's executed notebooks into pages that need no Jupyter."""
        name:
            f"{paper}_pages"
        input:
            [job.outputs["data"] for job in PLAN.of(paper)],
            list(figures.outputs.values()),
        output:
            report(
                [job.place("notebooks", ".html") for job in (*PLAN.of(paper), figures)],
                caption="../report/notebook.rst",
                category="Notebooks",
                subcategory=PLAN.papers[paper].title,
            ),
        log:
            f"results/<run>/logs/{paper}/pages.log",
        benchmark:
            f"results/<run>/benchmarks/{paper}/pages.tsv"
        localrule: True
        conda:
            f"../../{PLAN.environment}"
        script:
            "../scripts/pages.py"


rule claims_table:
    """One claims table for all papers."""
    input:
        expand("results/<run>/claims/{paper}.csv", paper=PLAN.papers),
    output:
        report(
            "results/<run>/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
        ),
    log:
        "results/<run>/logs/claims.log",
    benchmark:
        "results/<run>/benchmarks/claims.tsv"
    localrule: True
    conda:
        f"../../{PLAN.environment}"
    script:
        "../scripts/claims_table.py"


rule claims:
    """Print the claims table."""
    input:
        "results/<run>/claims.csv",
    log:
        "results/<run>/logs/claims_printed.log",
    localrule: True
    conda:
        f"../../{PLAN.environment}"
    script:
        "../scripts/print_claims.py"


rule estimate:
    """Say what the config's runs would cost, before they start."""
    log:
        "results/<run>/logs/estimate.log",
    localrule: True
    conda:
        f"../../{PLAN.environment}"
    script:
        "../scripts/estimate.py"
