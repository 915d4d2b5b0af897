"""Download and verify data sets; called by workflow/rules/data.smk."""

import sys

from paraspike.datasets.fetch import fetch_all

names = snakemake.params.datasets
if not names:
    print("nothing to fetch: these runs use embedded data (see `dataset` in config/README.md)")
elif failures := fetch_all(names, allow_unverified=snakemake.params.allow_unverified):
    sys.exit("\n".join(map(str, failures)))
