"""The e-prop paper's numbers, keyed as its figures need them, and the tests its draft left to do.

Tables are in data/published/eprop/, each row with its source; accuracies in percent.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from paraspike import paths
from paraspike.errors import ReaderError

EPROP, BPTT = "eProp (GeNN)", "BPTT (PyTorch)"

# A published power and the one recomputed from its trace agree to 1e-5, or one of them is wrong.
_AGREE = 1e-3

# Names of the fixed and rewired networks in the tables.
SPARSE = {"fixed sparse": "fixed", "Deep-R 50/50": "Deep-R 50/50", "Deep-R 80/20": "Deep-R 80/20"}


def published(name: str) -> pd.DataFrame:
    """A table of data/published/eprop/."""
    return pd.read_csv(paths.published("eprop", f"{name}.csv"))


def accuracies() -> dict[tuple[str, str, str, int, str], tuple[float, float, int]]:
    """Dense networks: (algorithm, cell, connectivity, hidden, data set) -> mean, deviation, n runs.

    Test accuracy after the last epoch. Where runs are stored, the deviation is the sample's (ddof
    1), while the figure's bars are ddof 0; BPTT's are as quoted, their ddof unknown. NaN and 0
    runs: none given.
    """
    table = published("accuracy_summary").query("sparsity == 'dense'")
    deviations = table.test_acc_std_pct_ddof1.fillna(table.test_acc_std_pct_ddof0)
    keys = zip(
        table.algorithm, table.cell, table.connectivity, table.hidden, table.dataset, strict=True
    )
    values = zip(
        table.test_acc_mean_pct, deviations, table.n_runs.fillna(0).astype(int), strict=True
    )
    return dict(zip(keys, values, strict=True))


def training_times() -> pd.DataFrame:
    """Milliseconds a batch of 512 takes; rows that ran out of memory have status "OOM" and NaN."""
    return published("training_time")


def inference() -> pd.DataFrame:
    """Spiking sMNIST: batch_size, device, model, latency_ms a batch, power_W in all, energy_mJ an
    inference, edp_uJs (that energy times the batch's latency), and the two as_published.

    Where the stored trace contradicts the published power, the trace's values are given, and `note`
    says so.
    """
    table = published("inference_energy")
    power = table.recomputed_experiment_power_W
    wrong = (power / table.experiment_power_W - 1).abs() > _AGREE
    found = pd.DataFrame(
        {
            "batch_size": table.batch_size,
            "device": table.device,
            "model": table.model,
            "latency_ms": table.latency_per_batch_ms,
            "power_W": table.experiment_power_W.where(~wrong, power),
            "static_W": table.static_power_W,
            "energy_mJ": table.energy_per_inference_mJ.where(
                ~wrong, table.recomputed_energy_per_inference_mJ
            ),
            "edp_uJs": table.edp_uJs.where(~wrong, table.recomputed_edp_uJs),
            "energy_mJ_as_published": table.energy_per_inference_mJ,
            "edp_uJs_as_published": table.edp_uJs,
            "note": table.note.fillna(""),
        }
    )
    for row in found[wrong].itertuples():
        found.loc[row.Index, "note"] = (
            f"corrected: the published power, {table.experiment_power_W[row.Index]:.3f} W, is a "
            f"copy of the TF LSTM's at this batch size; the trace gives {row.power_W:.3f} W, so "
            f"{row.energy_mJ:.3f} mJ for {row.energy_mJ_as_published:.3f} and "
            f"{row.edp_uJs:.2f} uJ s for {row.edp_uJs_as_published:.2f}"
        )
    return found


def mlgenn_cpu() -> float:
    """Seconds a sample of mlGeNN's CPU backend, the least of the range in peers.csv (700-256-20 recurrent ALIF,
    100 steps, batch 1, measured on another day and machine)."""
    rows = published("peers").set_index("implementation").reported_or_measured
    return (
        float(re.search(r"([0-9.]+)-[0-9.]+ ms/sample CPU", rows.filter(like="mlGeNN").iloc[0])[1])
        / 1e3
    )


def sparse() -> pd.DataFrame:
    """SHD, 256 recurrent ALIF: kind ("fixed", "Deep-R 50/50", "Deep-R 80/20": shares exc. and
    inh.), input_density, recurrent_density, mean, deviation (ddof 1), n, runs (the stored series).

    Fixed 0.01/0.01 has two series, far apart (66.6 of 3 and 61.1 of 2 runs): both are listed.
    """
    table = published("accuracy_summary")
    table = table[table.sparsity.isin(SPARSE)]
    found = pd.DataFrame(
        {
            "kind": table.sparsity.map(SPARSE),
            "input_density": table.input_density,
            "recurrent_density": table.recurrent_density,
            "mean": table.test_acc_mean_pct,
            "deviation": table.test_acc_std_pct_ddof1,
            "n": table.n_runs.astype(int),
            "runs": table.source.str.rpartition("/")[2].str.removesuffix("_*"),
        }
    )
    order = ["kind", "input_density", "recurrent_density", "n"]
    return found.sort_values(order, ascending=[True, False, False, False], ignore_index=True)


def sparse_times() -> pd.DataFrame:
    """Seconds of training by density (input and recurrent): fixed_s, deep_r_s; epochs unstated."""
    table = published("deep_r_shd")
    milliseconds = {"fixed_s": "train_time_fixed_ms", "deep_r_s": "train_time_deep_r_ms"}
    return pd.DataFrame(
        {"density": table.density} | {name: table[c] / 1e3 for name, c in milliseconds.items()}
    )


def sample_deviation(deviation: float, n: int) -> float:
    """The sample's deviation (ddof 1) of n values from the ddof 0 that the paper's bars show."""
    return deviation * np.sqrt(n / (n - 1)) if n > 1 else np.nan


def welch(a_mean: float, a_sd: float, a_n: int, b_mean: float, b_sd: float, b_n: int) -> float:
    """Two-sided p of Welch's t for a difference of means.

    Deviations are the samples', ddof 1: the paper's bars go through `sample_deviation` first.
    NaN where a side has fewer than two values or no deviation.
    """
    if min(a_n, b_n) < 2 or np.isnan([a_sd, b_sd]).any():
        return float("nan")
    return float(
        stats.ttest_ind_from_stats(a_mean, a_sd, a_n, b_mean, b_sd, b_n, equal_var=False).pvalue
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's correction for several comparisons: adjusted p [n] in the order given; NaN is none.

    Source: S. Holm (1979), Scandinavian Journal of Statistics 6:65; SciPy has no such function.

    Raises:
        ReaderError: a value outside 0 .. 1.
    """
    p = np.asarray(p_values, float)
    if ((p < 0) | (p > 1)).any():
        raise ReaderError(f"p values must lie within 0 .. 1, not {p.tolist()}", "holm")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return adjusted
