"""The e-prop paper's claims: judges that can fail, and the authors' own runs put through them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from paraspike import claims, judges
from paraspike.papers import eprop_claims
from paraspike.papers import eprop_published as published

CLAIMS = {c.id.removeprefix("eprop-"): c for c in claims.load() if c.paper == "eprop"}
PAPER = {"scale": "paper", "backend": "cuda", "device": "NVIDIA Titan V", "data_verified": 1}
CONNECTIVITY = ("feedforward", "recurrent")
HIDDEN, LENGTHS, BATCHES = (256, 512, 1024), (343, 685, 1370), (1, 50, 100, 200, 400, 800)


def grid(dims: dict, **variables) -> xr.Dataset:
    """Variables on (some of) the named axes, all NaN."""
    made = {}
    for name, axes in variables.items():
        made[name] = (axes, np.full([len(dims[a]) for a in axes], np.nan))
    return xr.Dataset(made, coords={k: list(v) for k, v in dims.items()})


def tree(scale="paper", **groups) -> xr.DataTree:
    facts = PAPER | {"scale": scale}
    data = {"accuracy": "shd", "beyond": "shd", "sequential": "mnist", "inference": "mnist"}
    root = xr.Dataset(attrs={"paper": "eprop", "scale": scale, "backend": "cuda"})
    named = {
        name: group.assign_attrs(facts | {"dataset": data.get(name, "none")} | group.attrs)
        for name, group in groups.items()
    }
    return xr.DataTree.from_dict({"/": root, **named})


def judge(results, name):
    return claims.judge(CLAIMS[name], results)


def verdicts(results, *names):
    return [judge(results, name)["verdict"] for name in names]


def exactly(mean, deviation, n):
    """n values with this mean and (ddof 1) deviation."""
    values = np.linspace(-1, 1, n)
    return mean + deviation * values / values.std(ddof=1)


def accuracy(runs: dict, hidden=HIDDEN) -> xr.Dataset:
    """`runs`: (arm, connectivity, neurons) -> values, one a seed."""
    arms = ("eProp ALIF", "eProp LIF", "BPTT LIF")
    dims = {"arm": arms, "connectivity": CONNECTIVITY, "hidden": hidden, "seed": range(10)}
    data = grid(dims, test_accuracy=("arm", "connectivity", "hidden", "seed"))
    for (arm, connectivity, n), values in runs.items():
        where = {"arm": arm, "connectivity": connectivity, "hidden": n}
        data.test_accuracy.loc[where] = np.pad(
            values, (0, 10 - len(values)), constant_values=np.nan
        )
    return data


def training(seconds=None, peak=None, size_peak=None, budget=12288.0, lengths=LENGTHS):
    """Milliseconds by (arm, neurons, steps), MiB by (arm, steps) and (arm, neurons, steps)."""
    arms = ("BPTT as published", "BPTT fair", "BPTT fused", "eProp online", "eProp factorised")
    dims = {"arm": arms, "hidden": HIDDEN, "length": lengths, "repeat": range(2)}
    dims |= {"size_arm": arms, "memory_arm": arms, "memory_length": (100, 1000, 10_000)}
    data = grid(
        dims,
        seconds=("arm", "hidden", "length", "repeat"),
        size_peak=("size_arm", "hidden", "length"),
        peak=("memory_arm", "memory_length"),
    )
    for (arm, n, t), ms in (seconds or {}).items():
        data.seconds.loc[arm, n, t] = ms / 1e3
    for (arm, n, t), mib in (size_peak or {}).items():
        data.size_peak.loc[arm, n, t] = mib
    for arm, row in (peak or {}).items():
        data.peak.loc[arm] = row
    return data.assign_attrs(budget=budget)


def inference(latency, energy=None, devices=("cuda",), batches=BATCHES, reason=""):
    """Seconds and J an inference by (device, model), one a batch size."""
    dims = {"device": devices, "model": ("LSNN", "LSTM"), "batch": batches, "repeat": range(1)}
    axes = ("device", "model", "batch")
    data = grid(dims, seconds=(*axes, "repeat"), energy=axes, energy_delay=axes)
    for key, row in latency.items():
        data.seconds.loc[key] = np.asarray(row, float)[:, None]
        if energy:
            data.energy.loc[key] = energy[key]
            data.energy_delay.loc[key] = np.multiply(energy[key], row)
    return data.assign_attrs(energy_reason=reason)


@pytest.fixture(scope="module")
def authors():
    """The authors' own runs; BPTT's from the mean, deviation and number that they quote."""
    table, runs = published.published("accuracy_runs"), {}
    for cell, prefix in (("ALIF", "shd"), ("LIF", "shd_0")):
        for connectivity, middle in zip(CONNECTIVITY, ("_feedforward", ""), strict=True):
            for n in HIDDEN:
                chosen = table[table.config == f"{prefix}_{n}{middle}_100_epochs"]
                runs[f"eProp {cell}", connectivity, n] = chosen.test_acc_last_pct.values
    for connectivity in CONNECTIVITY:
        found = published.accuracies()[published.BPTT, "LIF", connectivity, 256, "shd"]
        runs["BPTT LIF", connectivity, 256] = exactly(*found)
    times = published.training_times().query("device == 'Titan V 12 GB'")
    arms = {published.BPTT: "BPTT as published", published.EPROP: "eProp online"}
    rows = [(arms[r.algorithm], r.hidden, r.timesteps, r.batch_time_ms) for r in times.itertuples()]
    seconds = {row[:3]: row[3] for row in rows}
    fits = {row[:3]: 1.0 if np.isfinite(row[3]) else np.inf for row in rows}
    known = published.inference()
    places = {"Titan V": "cuda", "Intel Core i5-7440HQ": "cpu", "Intel Core i5-9400F": "cpu"}
    latency, energy = {}, {}
    for (device, model), part in known[known.device.isin(places)].groupby(["device", "model"]):
        key = places[device], "LSTM" if "LSTM" in model else "LSNN"
        part = part.set_index("batch_size").reindex(BATCHES)
        latency[key], energy[key] = part.latency_ms.values / 1e3, part.energy_mJ.values / 1e3
    return tree(
        accuracy=accuracy(runs),
        training=training(seconds, size_peak=fits),
        inference=inference(latency, energy, devices=("cpu", "cuda")),
    )


def test_the_authors_accuracies_reproduce_their_sheet(authors):
    kinds = ("no-difference-recurrent", "no-difference-feedforward", "no-difference-lif-recurrent")
    assert verdicts(authors, *kinds) == ["reproduced", "not reproduced", "not reproduced"]
    rows = [judge(authors, kind) for kind in kinds]
    assert [r["measured"] for r in rows] == pytest.approx([-1.18, -3.66, -14.42], abs=0.01)
    for row, p in zip(rows, ("0.18", "0.0017", "0.0021"), strict=True):
        assert f"two-sided Welch p = {p}, n = " in row["note"]
    assert "interval -2.97 to 0.60" in rows[0]["note"] and "equal within 5" in rows[0]["note"]
    larger = ("larger-recurrent", "larger-feedforward", "largest-recurrent", "largest-feedforward")
    assert verdicts(authors, *larger) == ["reproduced", *["not reproduced"] * 3]
    assert [judge(authors, n)["measured"] > 0 for n in larger] == [True, False, True, True]
    assert judge(authors, "comparable")["verdict"] == "reproduced"
    bars = [name for name in CLAIMS if name.startswith("accuracy-")]
    assert len(bars) == 8 and set(verdicts(authors, *bars)) == {"reproduced"}
    assert "beyond was not run" in judge(authors, "no-difference-alif")["note"]


def test_the_authors_times_and_memory(authors):
    row = judge(authors, "time-growth")
    assert row["verdict"] == "reproduced" and row["measured"] == pytest.approx(0.917, abs=1e-3)
    assert "eProp online 1.00, BPTT as published 1.91 (685 to 1370 steps, 256 n" in row["note"]
    assert judge(authors, "time-growth-fair")["verdict"] == "not tested here"
    assert verdicts(authors, "time-short", "time-long") == ["reproduced"] * 2
    row = judge(authors, "larger-models")
    assert row["verdict"] == "reproduced" and row["measured"] == 4
    assert "at 1370 steps eProp online up to 1024 neurons, BPTT as published up" in row["note"]


def test_the_authors_inference(authors):
    kinds = ("latency-up-to-7", "energy-up-to-7", "latency-all-batches", "edp-all-batches")
    kinds += ("energy-all-batches", "gap-latency", "gap-edp", "latency-all-batches-cpu")
    kinds += ("energy-all-batches-cpu", "cpu-suited")
    rows = {kind: judge(authors, kind) for kind in kinds}
    assert {r["verdict"] for r in rows.values()} == {"reproduced"}
    found = [rows[kind]["measured"] for kind in kinds]
    truth = [7.1108, 7.4033, 1.6211, 2.4232, 1.4948, 0.228, 0.04603, 20.304, 16.143, 2.855]
    assert found == pytest.approx(truth, rel=1e-3)
    cpu = judge(authors, "cpu-latency")
    assert cpu["verdict"] == "not tested here" and cpu["measured"] == pytest.approx(20.3, abs=0.01)
    assert verdicts(authors, "loihi-edp", "loihi-latency") == ["not tested here"] * 2


def test_claims_state_the_published_tables():
    known = published.accuracies()
    for n, connectivity in ((n, c) for n in HIDDEN for c in CONNECTIVITY):
        mean = known[published.EPROP, "ALIF", connectivity, n, "shd"][0]
        assert CLAIMS[f"accuracy-{connectivity}-{n}"].published == mean
    for n in HIDDEN:
        mean = known[published.EPROP, "ALIF", "recurrent", n, "smnist"][0]
        assert CLAIMS[f"smnist-{n}"].published == mean
    assert len(CLAIMS) >= 40 and all(c.about != "augmentation" for c in CLAIMS.values())


def sides(a, b, names=("a", "b")):
    return [{n: xr.DataArray(v, dims="seed", name="x")} for n, v in zip(names, (a, b), strict=True)]


CLAIM = CLAIMS["no-difference-recurrent"]


@pytest.mark.parametrize(
    "a, b, holds, beyond, towards, said",
    [
        ([80.0, 81, 82], [80.5, 81, 82], True, False, True, "equal within 5"),
        ([80.0, 90], [80.5, 86], True, False, False, "no proof of equality"),
        ([70.0, 71, 70], [80.0, 81, 82], False, False, False, "p = "),
        ([80.0, 81, 82], [70.0, 71, 70], False, True, False, "p = "),
        ([80.0, np.nan], [70.0, 71], None, False, None, "one value each, no test"),
        ([80.0, 80], [80.0, 80], True, False, True, "no spread"),
        ([80.0, 80], [79.0, 79], False, True, True, "no spread"),
    ],
)
def test_no_difference(a, b, holds, beyond, towards, said):
    found = eprop_claims.no_difference(None, CLAIM, *sides(a, b))
    assert (found.holds, found.beyond, found.towards) == (holds, beyond, towards)
    assert said in found.text and found.measured == pytest.approx(np.nanmean(a) - np.nanmean(b))


def test_no_difference_needs_numbers_and_on_synthetic_data_a_narrow_interval():
    with pytest.raises(judges.Missing, match="holds no number"):
        eprop_claims.no_difference(None, CLAIM, *sides([np.nan], [1.0, 2]))
    for values, verdict in (([80.0, 83], "not tested here"), ([80, 80.1], "direction holds")):
        key = {(arm, "recurrent", 256): values for arm in ("eProp ALIF", "BPTT LIF")}
        results = tree("quick", accuracy=accuracy(key).assign_attrs(dataset="cochlea"))
        assert verdicts(results, "no-difference-recurrent")[0].startswith(verdict)


def test_larger_networks_are_compared_by_order_of_size():
    small = (64, 128, 256)
    runs = {("eProp ALIF", "recurrent", n): exactly(70 + n / 16, 1, 5) for n in small}
    results = tree(accuracy=accuracy(runs, small))
    assert "128 neurons 78 against 64 neurons 74" in judge(results, "larger-recurrent")["note"]
    assert verdicts(results, "larger-recurrent", "largest-recurrent") == ["reproduced"] * 2
    missing = judge(results, "larger-feedforward")
    assert missing["verdict"] == "not tested here" and "0 size(s), 2 needed" in missing["note"]
    runs["eProp ALIF", "recurrent", 128] = [60.0]
    results = tree(accuracy=accuracy(runs, small))
    assert verdicts(results, "larger-recurrent") == ["not tested here"]
    assert judge(results, "larger-recurrent")["measured"] == -14


def growing(**exponents):
    """All arms at 256 neurons with these exponents, 512 timed at one length."""
    names = {"pub": "BPTT as published", "fair": "BPTT fair", "eprop": "eProp online"}
    times = {(names[k], 256, t): t**e for k, e in exponents.items() for t in LENGTHS}
    return times | {("eProp online", 512, 343): 1.0, ("BPTT as published", 512, 343): 1.0}


def test_growth_is_that_of_the_size_timed_at_most_lengths():
    times = growing(pub=1.9, fair=1.0, eprop=1.0)
    results = tree(training=training(times))
    both = ("time-growth", "time-growth-fair")
    assert verdicts(results, *both) == ["reproduced", "not reproduced"]
    assert "factorised" not in judge(results, both[0])["note"]
    times |= {("eProp factorised", 256, t): t**0.5 for t in LENGTHS}
    note = judge(tree(training=training(times)), both[0])["note"]
    assert "eProp factorised 0.50 (685 to 1370 steps, 256 neurons)" in note
    less = judge(tree(training=training(growing(pub=1.05, fair=0.8, eprop=1.0))), both[0])
    assert less["verdict"] == "not reproduced" and less["measured"] == pytest.approx(0.05)
    few = tree(training=training({("eProp online", 256, t): t for t in LENGTHS}))
    assert "needs two lengths that eProp online and" in judge(few, both[0])["note"]


def test_what_fits_into_the_budget():
    sizes = {("eProp online", n, t): 60.0 for n in HIDDEN for t in LENGTHS}
    sizes |= {("BPTT fused", n, t): n / 16 for n in HIDDEN for t in LENGTHS}
    sizes |= {("BPTT as published", n, 343): 50 * n / 256 for n in HIDDEN}
    peak = {"eProp online": [2, 2, 2], "BPTT as published": [20, np.nan, np.nan]}
    peak["BPTT fused"] = [1, 10, 100]
    results = tree(training=training(peak=peak, size_peak=sizes, budget=64))
    names = ("larger-models", "larger-models-fused", "longer-stimuli", "longer-stimuli-fused")
    assert verdicts(results, *names) == ["reproduced", "not tested here", *["reproduced"] * 2]
    # At the longest length BPTT ran at no size: nothing of it fits, and there is no ratio.
    assert np.isnan(judge(results, names[0])["measured"])
    assert "up to 1024 neurons, BPTT fused" in judge(results, names[1])["note"]
    assert "all fits" in judge(results, names[1])["note"]
    assert [judge(results, n)["measured"] for n in names[2:]] == [100, 10]
    small = tree(training=training(peak=peak, size_peak=sizes, budget=55))
    assert verdicts(small, names[1]) == ["not reproduced"]
    nothing = judge(tree(training=training()), names[0])
    assert nothing["verdict"] == "not tested here" and "no peak was measured" in nothing["note"]


def test_less_memory_is_judged_at_the_longest_length():
    sizes = {("eProp online", n, t): 10.0 for n in HIDDEN for t in LENGTHS}
    sizes |= {("BPTT as published", n, 343): 5.0 for n in HIDDEN}
    sizes |= {("BPTT as published", 256, 1370): 40.0}
    sizes |= {("BPTT fused", n, t): 2.0 for n in HIDDEN for t in LENGTHS}
    results = tree(training=training(size_peak=sizes))
    row = judge(results, "memory-reduced")
    assert row["verdict"] == "reproduced" and row["measured"] == 4
    assert "0.5 at 343, 4 at 1370 steps; at 1370 steps BPTT as published" in row["note"]
    assert "over the budget at 512, 1024 neurons" in row["note"]
    assert verdicts(results, "memory-reduced-fused") == ["not reproduced"]
    assert "no number there" in judge(tree(training=training()), "memory-reduced")["note"]


def timed(lsnn, lstm, **more):
    return tree(inference=inference({("cuda", "LSNN"): lsnn, ("cuda", "LSTM"): lstm}, **more))


def test_inference_claims_can_fail():
    slow = timed([2, 2, 2, 2, 2, 2], [1, 4, 5, 6, 7, 8])
    names = ("latency-up-to-7", "latency-all-batches", "gap-latency")
    assert verdicts(slow, *names) == ["not reproduced"] * 3
    assert "no gap at the smallest batch" in judge(slow, names[2])["note"]
    fast = timed([1] * 6, [20, 9, 8, 7, 6, 5])
    assert verdicts(fast, *names) == ["beyond", "reproduced", "reproduced"]
    part = timed([1, *[np.nan] * 5], [7, *[np.nan] * 5])
    assert verdicts(part, *names) == ["reproduced", "reproduced", "not tested here"]
    assert "one batch size alone" in judge(part, names[2])["note"]


def test_on_a_cpu_alone_the_gpu_claims_only_point_somewhere():
    rows = {("cpu", "LSNN"): [1.0] * 6, ("cpu", "LSTM"): [5.0] * 6}
    results = tree("quick", inference=inference(rows, devices=("cpu",), reason="cpu: no counter"))
    results["inference"].attrs |= {"backend": "cpu", "device": "AMD EPYC", "dataset": "digits"}
    scores = xr.DataArray([[40.0, 94.0]], dims=("device", "model"))
    results["inference"] = xr.DataTree(
        results["inference"].to_dataset().assign(test_accuracy=scores)
    )
    row = judge(results, "latency-up-to-7")
    assert row["verdict"] == "not tested here" and row["measured"] == 5
    assert "needs scale paper (here quick), backend cuda (here cpu), device Titan V" in row["note"]
    assert "the direction shows here" in row["note"] and "LSNN 40 %, LSTM 94 %" in row["note"]
    row = judge(results, "latency-all-batches-cpu")
    assert row["verdict"] == "not tested here" and "the direction shows" in row["note"]
    for name in ("energy-up-to-7", "energy-all-batches-cpu", "edp-all-batches", "gap-edp"):
        row = judge(results, name)
        assert row["verdict"] == "not tested here" and np.isnan(row["measured"])
        assert "no energy was measured (cpu: no counter)" in row["note"]
    assert "needs both a CPU and a GPU" in judge(results, "cpu-suited")["note"]


def test_suited_to_the_cpu_compares_the_two_devices():
    rows = {
        ("cpu", "LSNN"): 4.0,
        ("cuda", "LSNN"): 2.0,
        ("cpu", "LSTM"): 5.0,
        ("cuda", "LSTM"): 5.0,
    }
    rows = {key: [value, *[1.0] * 5] for key, value in rows.items()}
    results = tree(inference=inference(rows, devices=("cpu", "cuda")))
    row = judge(results, "cpu-suited")
    assert row["verdict"] == "not reproduced" and row["measured"] == 0.5
    rows["cuda", "LSNN"] = [np.nan] * 6
    results = tree(inference=inference(rows, devices=("cpu", "cuda")))
    assert "holds no number" in judge(results, "cpu-suited")["note"]


def test_without_results_every_claim_says_what_was_not_run():
    table = pd.DataFrame([claims.judge(c, xr.DataTree()) for c in CLAIMS.values()])
    assert (table.verdict == "not tested here").all()
    assert table.note.str.contains("was not run").sum() == sum(
        bool(c.left) for c in CLAIMS.values()
    )
