"""Data sets: `snakemake fetch` is the only thing here that touches the network."""


rule fetch:
    """Download and verify every fetched data set the config asks for."""
    log:
        "results/<run>/logs/fetch.log",
    localrule: True
    conda:
        f"../../{PLAN.environment}"
    params:
        datasets=sorted({name for job in PLAN.jobs for name in job.datasets}),
        allow_unverified=PLAN.config.settings.allow_unverified_data,
    script:
        "../scripts/fetch.py"
