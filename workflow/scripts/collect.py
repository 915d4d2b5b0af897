"""Put a paper's runs into one DataTree; called by workflow/rules/figures.smk."""

from paraspike.merging import collect

collect(list(snakemake.input), snakemake.output[0])
