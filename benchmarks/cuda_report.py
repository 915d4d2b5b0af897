"""What was measured on a GPU as CSV, Markdown and netCDF, each whole or not at all."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks import report
from benchmarks.cuda_turns import COLUMNS
from benchmarks.libraries import OURS
from paraspike import netcdf, paths

MEANING = {
    "workload": ("what is computed", "1"),
    "T": ("time steps", "1"),
    "batch": ("samples", "1"),
    "arm": ("library", "1"),
    "mode": ("way of computing", "1"),
    "version": ("version of the library", "1"),
    "seconds_median": ("time of a call, median over rounds", "s"),
    "seconds_min": ("time of a call in the fastest round", "s"),
    "seconds_max": ("time of a call in the slowest round", "s"),
    "rounds": ("rounds in turn", "1"),
    "repeats": ("calls in a round", "1"),
    "first_seconds": ("time of the first call, compilation included", "s"),
    "peak_mb": ("rise of the device's tensor memory during a call", "MiB"),
    "bytes": ("bytes that must be moved once", "byte"),
    "floor_seconds": ("those bytes at the measured copy rate", "s"),
    "over_floor": ("median time over the floor", "1"),
    "bytes_per_s": ("those bytes over the median time", "byte s-1"),
    "of_copy_rate": ("bytes per second over the measured copy rate", "1"),
    "others": ("share of the CPU cores that other processes used", "1"),
    "note": ("remarks", "1"),
}
SCAN = "SPSN-SB (scan)"
_SHOWN = [c for c in COLUMNS if c not in ("workload", "T", "batch", "bytes", "repeats", "others")]


def slug(device: str) -> str:
    """A device's name as a folder's: "NVIDIA H200" -> "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def write(rows: list[dict], facts: dict, stem: Path) -> list[Path]:
    """`stem`.csv, .md and .nc.

    Args:
        rows: with `cuda_turns.COLUMNS`.
        facts: device, driver, copy_rate (bytes/s), versions, commit, dirty and what else is to be kept.

    Returns:
        the files.
    """
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("csv", "md", "nc")]
    with paths.replacing(files[0]) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
    with paths.replacing(files[1]) as temporary:
        temporary.write_text(markdown(frame, facts))
    with paths.replacing(files[2]) as temporary:
        # SciPy's writer needs nothing else; xarray reads the file with any of its engines for netCDF 3.
        netcdf.canonical(dataset(frame, facts)).to_netcdf(temporary, engine="scipy")
    return files


def dataset(frame: pd.DataFrame, facts: dict) -> xr.Dataset:
    """The rows along `row`, the facts as attributes (what is no number or text, as JSON)."""
    columns = {}
    for name in COLUMNS:
        values = frame[name].to_numpy()
        counted = name in ("T", "batch", "rounds", "repeats")
        text = values.dtype.kind not in "if"
        values = values.astype(str) if text else values.astype(np.int32 if counted else float)
        columns[name] = ("row", values)
    kept = {
        k: v if isinstance(v, (str, int, float)) and not isinstance(v, bool) else json.dumps(v)
        for k, v in facts.items()
    }
    made = xr.Dataset(columns, {"row": np.arange(len(frame), dtype=np.int32)}, kept)
    made = netcdf.describe(made, row=("row of the table", "1"), **MEANING)
    netcdf.check(made, made.attrs)
    return made


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Ours (of figure 5's arms the scan), in its fastest mode, against every other arm in its own, a line a
    workload."""
    timed = frame[frame["seconds_median"].notna()]
    out = []
    for key, rows in timed.groupby(["workload", "T", "batch"], sort=False):
        least = rows.groupby("arm", sort=False)["seconds_median"].min()
        for ours in [name for name in (OURS, SCAN) if name in least]:
            line = dict(zip(("workload", "T", "batch"), key, strict=True))
            line |= {"ours_s": least[ours]}
            line |= {f"{n} / ours": v / least[ours] for n, v in least.items() if n != ours}
            out.append(line)
    return pd.DataFrame(out)


def markdown(frame: pd.DataFrame, facts: dict) -> str:
    """The page: device and versions, who was left out, ratios, a table per workload."""
    told = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    text = [f"# {facts['part']}, measured on {facts['device']}", ""]
    text += [f"- copy: {facts['copy_rate'] / 1e12:.3g} TB/s, read and written"]
    text += [f"- driver {facts['driver']}; {told}"]
    text += [f"- SpikingJelly: {facts['spikingjelly']}"]
    text += [
        f"- commit {facts['commit']}{', with changes' if facts['dirty'] else ''}; {facts['date']}"
    ]
    text += [f"- {name}: {facts[name]}" for name in ("dataset", "train", "test") if name in facts]
    without = frame[frame["note"].str.contains("not installed")]["arm"].drop_duplicates()
    text += [f"- left out, not installed: {', '.join(without)}"] if len(without) else []
    text += ["", "## Ours against the others, each in its fastest mode", ""]
    text += [report._table(ratios(frame)), ""]
    for (name, steps, batch), rows in frame.groupby(["workload", "T", "batch"], sort=False):
        text += [f"## {name}, T = {steps}, batch {batch}", ""]
        text += [report._table(rows[_SHOWN].sort_values("seconds_median")), ""]
    text += [
        "Seconds are medians over rounds in which all rows of a table take their turn, with the fastest and",
        "the slowest round. The floor is what must be read and written, once, at the measured rate of a copy;",
        "of_copy_rate is that many bytes over the median time and over the copy rate. Memory is what a call",
        "adds to the tensors on the device. Inputs lie there before, in each library's own form.",
    ]
    return "\n".join(text) + "\n"
