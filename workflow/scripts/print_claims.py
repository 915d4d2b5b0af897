"""Print the claims table; called by workflow/rules/report.smk."""

import pandas as pd

from paraspike.claims import print_table

print_table(pd.read_csv(snakemake.input[0]))
