"""Print what the config's runs would cost; called by workflow/rules/report.smk."""

from paraspike.pipeline import config, plan
from paraspike.pipeline.estimate import table

print(table(plan.build(config.load(snakemake.config))))
