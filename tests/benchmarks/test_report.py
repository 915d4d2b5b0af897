import matplotlib.pyplot as plt
import pandas as pd
import pytest

from benchmarks import figure, floors, report, workloads
from benchmarks.contest import Entry

RATES = {2: floors.Rates(200e9, 400e9, 80e9)}


def entry(library, seconds, threads=2, peak=100.0, name="w2-500", notes=()):
    workload = workloads.select([name])[0]
    rounds = [[seconds, seconds * 1.1]] if seconds else []
    found = Entry(library, "step", workload, threads, "1.0", None, rounds, [0.0], peak)
    found.notes += notes
    return found


@pytest.fixture
def rows():
    entries = [
        entry("torch loop", 0.3),
        entry("paraspike", 0.02, peak=80.0),
        entry("paraspike", 0.038, threads=1, peak=80.0),
        entry("snntorch", 0.4, peak=350.0),
        entry("spyx", 0.16),
        entry("norse", 0.01, notes=["tried once, not the best mode"]),
        entry("sinabs", None, notes=["not installed (sinabs)"]),
    ]
    return [report.row(e, 0.0125, 0.0065) for e in entries]


def test_csv(rows, tmp_path):
    report.write_csv(rows, tmp_path / "out.csv")
    header = "workload,T,batch,density,threads,library,version,mode,seconds_median,seconds_min,"
    header += "peak_rss_mb,floor_seconds,disturbed,note"
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == header
    back = pd.read_csv(tmp_path / "out.csv")
    assert back["seconds_median"].isna().sum() == 1
    assert [f.name for f in tmp_path.iterdir()] == ["out.csv"]


def test_ratios(rows):
    two = report.ratios(pd.DataFrame(rows)).set_index("threads").loc[2]
    assert two["fastest peer"] == "spyx"
    assert two["peer / ours"] == pytest.approx(8.0)
    assert two["1 -> n threads"] == pytest.approx(1.9)
    assert two["memory, snnTorch / ours"] == pytest.approx(350 / 80)
    assert two["ours / floor"] == pytest.approx(0.021 / 0.0125)


def test_page_and_figure(rows):
    frame = pd.DataFrame(rows + [report.row(entry("paraspike", 0.1, name="w2d"), 0.01, 0.01)])
    page = report.markdown(frame, RATES, workloads.plan(), ["a line"])
    assert "not installed (sinabs)" in page and "brian2: nothing for train" in page
    fig = figure.draw(frame)
    assert [ax.get_title(loc="left") for ax in fig.axes][0].startswith("W2: T = 500")
    plt.close(fig)
