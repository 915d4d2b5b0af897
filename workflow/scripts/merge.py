"""Join the parts of a split experiment, weights too; called by workflow/rules/runs.smk."""

from pathlib import Path

from paraspike.merging import merge_parts
from paraspike.netcdf import load_weights, write, write_weights

write(merge_parts(snakemake.input.data), Path(snakemake.output.data))
if snakemake.output.get("weights"):
    write_weights(Path(snakemake.output.weights), load_weights(snakemake.input.weights))
