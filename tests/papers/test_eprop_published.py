"""The e-prop paper's tables, and its missing tests against p values from its runs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paraspike.errors import ReaderError
from paraspike.papers import eprop_published as published
from paraspike.papers.eprop_published import BPTT, EPROP, holm, sample_deviation, welch


def test_accuracies_are_the_samples_of_the_stored_runs():
    cells, runs = published.accuracies(), published.published("accuracy_runs")
    runs = runs[runs.config == "shd_256_100_epochs"].test_acc_last_pct
    found = cells[EPROP, "ALIF", "recurrent", 256, "shd"]
    assert found == pytest.approx((runs.mean(), runs.std(ddof=1), len(runs)), abs=0.006)
    assert cells[BPTT, "LIF", "recurrent", 256, "shd"] == (80.0, 2.0, 10)
    mean, deviation, n = cells["BPTT (TensorFlow)", "LSNN", "recurrent", 256, "smnist"]
    assert mean == 96.4 and np.isnan(deviation) and n == 0 and isinstance(n, int | np.integer)


def test_bars_are_converted_to_sample_deviations():
    values = np.array([79.1, 80.1, 77.3, 77.9, 79.7])
    assert sample_deviation(values.std(), 5) == pytest.approx(values.std(ddof=1))
    assert np.isnan(sample_deviation(0.0, 1))
    table = published.published("accuracy_summary").dropna(subset="test_acc_std_pct_ddof1")
    converted = [
        sample_deviation(row.test_acc_std_pct_ddof0, row.n_runs) for row in table.itertuples()
    ]
    np.testing.assert_allclose(converted, table.test_acc_std_pct_ddof1, atol=0.0125)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ((EPROP, "ALIF", "recurrent", 256), (BPTT, "LIF", "recurrent", 256), 0.18),
        ((EPROP, "ALIF", "feedforward", 256), (BPTT, "LIF", "feedforward", 256), 0.0017),
        ((EPROP, "LIF", "recurrent", 256), (BPTT, "LIF", "recurrent", 256), 0.0021),
        ((EPROP, "ALIF", "recurrent", 512), (EPROP, "ALIF", "recurrent", 256), 0.00037),
        ((EPROP, "ALIF", "recurrent", 1024), (EPROP, "ALIF", "recurrent", 512), 0.071),
        ((EPROP, "ALIF", "feedforward", 512), (EPROP, "ALIF", "feedforward", 256), 0.84),
    ],
)
def test_welch_gives_the_sheets_p_values(first, second, p):
    cells = published.accuracies()
    found = welch(*cells[*first, "shd"], *cells[*second, "shd"])
    assert float(f"{found:.2g}") == p


def test_welch_is_scipys_on_samples():
    a, b = np.array([1.0, 2.0, 4.0, 4.5]), np.array([3.0, 5.0, 9.0])
    sides = [(x.mean(), x.std(ddof=1), len(x)) for x in (a, b)]
    assert welch(*sides[0], *sides[1]) == pytest.approx(stats.ttest_ind(a, b, equal_var=False)[1])
    assert np.isnan(welch(1.0, 0.1, 1, 2.0, 0.1, 5)) and np.isnan(welch(1, np.nan, 5, 2, 0.1, 5))


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7, np.nan]), [1, 1, np.nan])
    assert holm([0.04]) == [0.04] and len(holm([])) == 0
    with pytest.raises(ReaderError, match="within 0 .. 1"):
        holm([0.2, 1.2])


def test_times_keep_what_ran_out_of_memory():
    times = published.training_times()
    missing = times[times.status == "OOM"]
    assert {tuple(r) for r in missing[["hidden", "timesteps"]].values} == {
        (512, 1370),
        (1024, 685),
        (1024, 1370),
    }
    assert missing.batch_time_ms.isna().all() and set(missing.algorithm) == {BPTT}
    assert times[times.status == "ok"].batch_time_ms.notna().all()


def test_the_copied_power_alone_is_corrected():
    table = published.inference()
    (row,) = table[table.note.str.startswith("corrected")].itertuples()
    assert (row.batch_size, row.model) == (50, "GeNN LSNN (256 ALIF)")
    assert row.power_W == pytest.approx(52.507, abs=5e-4)
    assert row.energy_mJ == pytest.approx(9.706, abs=5e-4)
    assert row.edp_uJs == pytest.approx(89.71, abs=5e-3)
    assert row.energy_mJ_as_published == pytest.approx(8.452, abs=5e-4)
    assert "52.507 W" in row.note and "45.724 W" in row.note
    rest = table.drop(index=row.Index)
    assert len(rest) == 14
    pd.testing.assert_series_equal(
        rest.energy_mJ, rest.energy_mJ_as_published, check_names=False, check_exact=True
    )


def test_energy_is_power_times_latency_a_sample():
    table = published.inference()
    energy = table.power_W * table.latency_ms / table.batch_size
    np.testing.assert_allclose(table.energy_mJ, energy, rtol=1e-4)
    np.testing.assert_allclose(table.edp_uJs, table.energy_mJ * table.latency_ms, rtol=1e-4)


def test_sparse_networks_by_density():
    table = published.sparse()
    assert set(table.kind) == {"fixed", "Deep-R 50/50", "Deep-R 80/20"}
    grid = table.set_index(["kind", "input_density", "recurrent_density"]).sort_index()
    rewired, fixed = grid.loc["Deep-R 80/20", 0.1, 0.01], grid.loc["fixed", 0.1, 0.01]
    sides = [x[["mean", "deviation", "n"]] for x in (rewired, fixed)]
    assert welch(*sides[0], *sides[1]) == pytest.approx(2e-6, rel=0.5)
    assert list(grid.loc["fixed", 0.01, 0.01]["n"]) == [3, 2]
    times = published.sparse_times().set_index("density")
    assert times.fixed_s[1.0] == pytest.approx(5072, abs=1) and np.isnan(times.deep_r_s[1.0])


def test_mlgenns_time_is_the_tables():
    assert published.mlgenn_cpu() == 0.149
