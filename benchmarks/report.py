"""The rows as CSV, and the table with ratios, floors and scaling in Markdown and on the screen."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import floors
from benchmarks.contest import Entry
from benchmarks.libraries import NAMES, NO_PEERS, OURS, YARDSTICK, adapter
from paraspike import machine, paths

COLUMNS = (
    "workload",
    "T",
    "batch",
    "density",
    "threads",
    "library",
    "version",
    "mode",
    "seconds_median",
    "seconds_min",
    "peak_rss_mb",
    "floor_seconds",
    "disturbed",
    "note",
)
_WHAT = ["workload", "T", "batch", "density"]
BEST, TRIED = "best of", "tried once"


def row(entry: Entry, floor: float, strict: float) -> dict:
    """One line of the CSV; `strict` is the floor at the faster of the two products."""
    w = entry.workload
    notes = list(entry.notes)
    if entry.library == OURS and entry.rounds:
        notes.append(f"floor at the faster product {strict:.3g} s")
    values = (w.name, w.steps, w.batch, w.density, entry.threads, entry.library, entry.version)
    times = (entry.median, entry.fastest, entry.peak_rss_mb, floor, entry.disturbed)
    return dict(zip(COLUMNS, (*values, entry.mode, *times, "; ".join(notes)), strict=True))


def write_csv(rows: list[dict], file: Path) -> None:
    """All rows so far, whole or not at all."""
    with paths.replacing(file) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for values in rows:
            short = {k: f"{v:.6g}" for k, v in values.items() if isinstance(v, float)}
            writer.writerow(values | {k: "" if v == "nan" else v for k, v in short.items()})


def best(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each library's best mode that were measured in turn."""
    timed = frame["seconds_median"].notna() & ~frame["note"].str.contains(TRIED)
    return frame[timed]


def fastest_peer(rows: pd.DataFrame) -> pd.Series | None:
    """The fastest library that does the same work as ours, None where there is none."""
    peers = rows[~rows["library"].isin(NO_PEERS)]
    return None if peers.empty else peers.loc[peers["seconds_median"].idxmin()]


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Ours against the rest, a row per workload and thread count."""
    out = []
    chosen = best(frame)
    for key, rows in chosen.groupby([*_WHAT, "threads"], sort=False):
        seconds = rows.set_index("library")["seconds_median"]
        memory = rows.set_index("library")["peak_rss_mb"]
        ours = seconds.get(OURS, np.nan)
        one = chosen.query("library == @OURS and threads == 1")
        for name, value in zip(_WHAT, key, strict=False):
            one = one[one[name] == value]
        peer = fastest_peer(rows)
        out.append(
            dict(zip([*_WHAT, "threads"], key, strict=True))
            | {
                "ours_s": ours,
                "fastest peer": "-" if peer is None else peer["library"],
                "peer_s": np.nan if peer is None else peer["seconds_median"],
                "peer / ours": np.nan if peer is None else peer["seconds_median"] / ours,
                "torch loop / ours": seconds.get(YARDSTICK, np.nan) / ours,
                "ours / floor": ours / rows["floor_seconds"].iloc[0],
                "1 -> n threads": one["seconds_median"].iloc[0] / ours if len(one) else np.nan,
                "memory, snnTorch / ours": memory.get("snntorch", np.nan)
                / memory.get(OURS, np.nan),
                "disturbed": bool(rows["disturbed"].any()),
            }
        )
    return pd.DataFrame(out)


def absent(workloads) -> list[str]:
    """A line for each library and kind of workload that the library has nothing for."""
    kinds = dict.fromkeys(w.kind for w in workloads)
    first = {kind: next(w for w in workloads if w.kind == kind) for kind in kinds}
    return [
        f"- {name}: nothing for {kind}"
        for kind in kinds
        for name in NAMES
        if not adapter(name).modes(first[kind])
    ]


def markdown(frame: pd.DataFrame, rates: dict[int, floors.Rates], workloads, lines) -> str:
    """The page: machine, ratios, a table per workload, what differs, what does not run."""
    text = ["# paraspike beside other SNN libraries", "", f"{machine.device('cpu')}.", ""]
    for threads, r in rates.items():
        text.append(
            f"- {threads} thread(s): torch.mm {r.mm / 1e9:.0f}, oneDNN {r.onednn / 1e9:.0f} GFLOP/s; "
            f"copy {r.copy / 1e9:.1f} GB/s"
        )
    text += ["", *[f"- {line}" for line in lines], "", "## Ours against the fastest peer", ""]
    text += [_table(ratios(frame)), ""]
    for key, rows in frame.groupby(_WHAT, sort=False):
        name, steps, batch, density = key
        text += [f"## {name}, T = {steps}, batch {batch}, density {density:.3g}", ""]
        shown = rows.drop(columns=_WHAT).sort_values(["threads", "seconds_median"])
        text += [_table(shown), ""]
    text += ["## What peers compute otherwise", ""]
    text += [f"- {n}: {adapter(n).DIFFERS}" for n in NAMES if adapter(n).DIFFERS]
    text += ["", "## Not offered", "", *absent(workloads), ""]
    text += [
        "Seconds are medians over rounds in which all libraries take their turn; every mode was tried",
        "once. Each library gets the input in its own form (dense, or index lists for ours), made",
        "outside the measurement. Memory is the peak during steps over that after imports, data and",
        "a first short step. The floor is the larger of arithmetic, sparse where input is, at",
        "torch.mm's rate, and traffic at the rate of a copy.",
    ]
    return "\n".join(text) + "\n"


def _table(frame: pd.DataFrame) -> str:
    """A Markdown table with three figures a number."""

    def cell(value):
        if isinstance(value, (bool, np.bool_)):
            return "yes" if value else ""
        if isinstance(value, (float, np.floating)):
            return "" if np.isnan(value) else f"{value:.3g}"
        return str(value)

    lines = [list(frame.columns), ["---"] * frame.shape[1]]
    lines += [[cell(v) for v in values] for values in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
