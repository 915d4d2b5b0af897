"""Print what the config's runs would cost; called by workflow/rules/report.smk."""

from paraspike import config, plan
from paraspike.estimate import table

print(table(plan.build(config.load(snakemake.config))))
