"""What Bettendorf & Shears published, and what their repository holds (sheet, section 1)."""

import pandas as pd

from paraspike import paths

# Figure 1 and what the text says of the CNN: batch 128, 1 and about 20 processes, batches per second.
PROFILE = {"layers": 0.40, "synapses": 0.22, "weights": 0.16}
CNN = {1: 252.0, 20: 507.0}
TABLE = {
    "processor": "64 Intel Xeon Gold 5218, 2.30 GHz",
    "cores (threads)": "16 (32) per CPU",
    "cores we may use": "not said",
    "caches": "not said",
    "RAM": "383 GB",
    "GPU": "none (other cluster: Tesla T4, 8 Xeon E5-2630 v3)",
    "system": "Python 3.6, PyTorch",
}


def throughput(device: str, coding: str, batch: int) -> pd.DataFrame:
    """The authors' final images per second against threads (0: single-threaded); device cpu or gpu."""
    table = pd.read_csv(paths.published("multithreading", "snn_exec_times.csv"))
    rows = table.query("device == @device and encoding == @coding and batch == @batch")
    # The "short" files are an earlier set of one batch size, by another program.
    rows = rows[~rows.file.str.contains("short")]
    return rows.sort_values("n_threads")[["n_threads", "images_per_s"]]


def tasks() -> pd.DataFrame:
    """The authors' mean times of a task, chains of 100 x 100 and 1000 x 1000."""
    return pd.read_csv(paths.published("multithreading", "fig6_threadpool_tasks.csv"))


def waits() -> pd.DataFrame:
    """The authors' mean wait by place in the queue."""
    return pd.read_csv(paths.published("multithreading", "fig6_wait_by_queue_position.csv"))


def timeline() -> pd.DataFrame:
    """The authors' start and end of six tasks of one step."""
    return pd.read_csv(paths.published("multithreading", "fig7_task_start_end.csv"))
