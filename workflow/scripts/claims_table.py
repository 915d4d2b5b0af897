"""Put every paper's claims into one table; called by workflow/rules/report.smk."""

import pandas as pd

from paraspike.claims import write_csv

write_csv(pd.concat(map(pd.read_csv, snakemake.input), ignore_index=True), snakemake.output[0])
