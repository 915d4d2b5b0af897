import importlib

import pytest

from paraspike.errors import ReaderError

main = importlib.import_module("benchmarks.__main__")


def test_selection():
    given = main.arguments(["w2-500", "w1", "--threads", "1", "--libraries", "snntorch", "spyx"])
    assert [w.label.split()[0] for w in given.workloads] == ["W2", "W1", "W1"]
    assert given.libraries == ["snntorch", "spyx"] and given.rounds == 5
    quick = main.arguments(["--quick"])
    assert quick.rounds == 2 and quick.no_compile and len(quick.workloads) == 2


def test_more_threads_than_cores_stop():
    with pytest.raises(ReaderError, match="cannot be timed"):
        main.arguments(["w2", "--threads", "4096"])


def test_best_mode_is_kept(monkeypatch, tmp_path):
    """Modes are tried at the largest thread count, and in W2d at the first density only."""
    asked = []

    def best_of(library, workload, threads, folder, modes, slow):
        asked.append((library, threads, tuple(modes)))
        return [main.Entry(library, modes[-1], workload, threads)]

    monkeypatch.setattr(main, "best_of", best_of)
    options = main.arguments(["w2d", "--libraries", "snntorch", "--no-compile"])
    known = main.Known()
    for workload in options.workloads[:2]:
        main.enter(workload, 2, options, tmp_path, known)
    tried = [modes for library, _, modes in asked if library == "snntorch"]
    assert len(tried[0]) == 3 and tried[1] == (tried[0][-1],)
    assert {library for library, _, _ in asked} == {"snntorch", "torch loop"}
