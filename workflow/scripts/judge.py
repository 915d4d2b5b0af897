"""Judge one paper's claims; called by workflow/rules/report.smk."""

from paraspike.claims import judge_all, write_csv

table = judge_all([snakemake.input[0]], snakemake.input[1], snakemake.input.kept)
write_csv(table, snakemake.output[0])
