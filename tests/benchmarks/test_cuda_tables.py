import json

import pytest
import torch

from benchmarks import cuda_lif, cuda_tables


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_why_and_records_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert cuda_tables.main(["--output", str(tmp_path)]) == 0
    assert "no CUDA device" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_choice_changes_halfway_between_sizes():
    assert cuda_tables.crossings([(100, (1, 2)), (400, (1, 2)), (1600, (3, 4))]) == (
        (0, 1, 2), (800, 3, 4),
    )  # fmt: skip


def layer(times):
    """`fused_layer` whose time is that of the launch in the table."""

    def measured(**sizes):
        (launch,) = cuda_lif.cuda_launch.LAUNCH
        fast = times[sizes["batch"] * 128][launch[1:]]
        if fast is None:
            raise RuntimeError("out of registers")
        return {"potential": {"seconds": fast}, "states": {"seconds": 1.5}} | {
            k: v for k, v in sizes.items() if k != "repeats"
        }

    return measured


def test_the_launch_table_takes_the_fastest_and_survives_what_cannot_launch(monkeypatch):
    small, large = (32, 1, 8), (128, 4, 8)
    times = {256: {small: 1.0, large: 2.0}, 1024: {small: None, large: 2.0}}
    monkeypatch.setattr(cuda_tables, "SIZES", tuple(times))
    monkeypatch.setattr(cuda_tables, "LAUNCHES", (small, large))
    monkeypatch.setattr(cuda_lif, "fused_layer", layer(times))
    table = cuda_lif.cuda_launch.LAUNCH
    found = cuda_tables.lif(lambda part, rows: rows)
    assert found["LAUNCH"] == ((0, *small), (512, *large))
    assert found["KEEP"] == "potential", "1.0 and 2.0 s lose less than 1.5 and 1.5"
    assert cuda_lif.cuda_launch.LAUNCH is table


def test_persistent_up_to_the_last_size_where_it_is_faster(monkeypatch):
    def layer(steps, batch, neurons, seeds, repeats=1, ways=()):
        if ways:
            return {"persistent": abs(cuda_lif.cuda_launch.BLOCKS[0][1] - 8)}
        return {"neurons": neurons, "persistent": neurons * seeds, "steps_s": 1500}

    monkeypatch.setattr(cuda_lif, "recurrent_layer", layer)
    monkeypatch.setattr(cuda_lif, "sweep_blocks", lambda n, choices: cuda_lif._tried(
        "BLOCKS", "block", choices, lambda: layer(1, 1, n, 1, ways=("persistent",))))  # fmt: skip
    found = cuda_tables.recurrent(lambda part, rows: rows)
    assert found["PERSISTENT_UP_TO"] == 128
    assert found["BLOCKS"][0] == (0, 16, 4) and (8, 4) in {row[1:] for row in found["BLOCKS"]}


def test_a_walk_from_where_it_wins_at_every_length(monkeypatch):
    def forms():
        times = {"walk": {1024: 3, 4096: 1, 16_384: 1}, "split": {1024: 2, 4096: 2, 16_384: 2}}
        for steps in (100, 1000, 3000):
            for form, by_size in times.items():
                for n, seconds in by_size.items():
                    late = steps == 3000 and n == 4096 and form == "walk"
                    yield {
                        "form": form,
                        "steps": steps,
                        "neurons": n,
                        "seconds": seconds + 2 * late,
                    }

    monkeypatch.setattr(cuda_tables.cuda_spsn, "forms", lambda: list(forms()))
    monkeypatch.setattr(cuda_tables.cuda_spsn, "fused_forms", lambda: list(forms())[:2])
    found = cuda_tables.integrate(lambda part, rows: rows)
    assert found == {"integrate: WALK_FROM": 128, "spsn: WALK_FROM": None}


def test_rows_are_kept_as_they_come_and_a_part_that_breaks_costs_no_other(
    tmp_path, monkeypatch, capsys
):
    def broken(keep):
        keep("x", [{"seconds": 1.0}])
        raise RuntimeError("no such launch")

    monkeypatch.setattr(cuda_tables, "PARTS", {"x": broken, "y": lambda keep: {"A": 1}})
    monkeypatch.setattr(cuda_lif, "cannot_run", lambda: None)
    monkeypatch.setattr(cuda_lif, "copy_rate", lambda: 1.0)
    assert cuda_tables.main(["--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "tables.json").read_text())
    assert found["x"] == [{"seconds": 1.0}] and found["tables"]["y"] == {"A": 1}
    said = capsys.readouterr().out
    assert "no such launch" in said and "y: A = 1" in said
    monkeypatch.setattr(cuda_tables, "PARTS", {"x": broken})
    cuda_tables.main(["--output", str(tmp_path), "--seconds", "0"])
    assert "not finished" in capsys.readouterr().out
