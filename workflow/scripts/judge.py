"""Judge one paper's claims; called by workflow/rules/report.smk."""

from paraspike.claims import judge_all, write_csv

write_csv(judge_all([snakemake.input[0]], snakemake.input[1]), snakemake.output[0])
