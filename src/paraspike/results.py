"""A run and its files: a netCDF that repeats byte for byte, and the circumstances beside it."""

import json
import os
import resource
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence, Sized
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from paraspike import backends, paths
from paraspike.errors import ReaderError
from paraspike.machine import commit, device, driver, label, versions
from paraspike.netcdf import (
    canonical_json,
    check,
    describe,
    load_weights,
    open_paper,
    open_run,
    write,
    write_weights,
)
from paraspike.parameters import parameter_names
from paraspike.provenance import code_hash, reference

__all__ = [
    "Run",
    "describe",
    "load_weights",
    "open_paper",
    "open_run",
]


class Run:
    """One execution of an experiment notebook; its first line is `run = Run.begin(globals(), ...)`.

    Attributes:
        paper, experiment: names, as in notebooks/<paper>/<experiment>.ipynb.
        parameters: the values of the notebook's `parameters` cell, without `output`.
        backend: the backend in force, `auto` resolved.  scale: smoke, quick or paper.
        threads: threads of every library.  output: the netCDF to write (absolute).
        code: hash of the notebook's code cells and of the modules it imports.
        inputs: sha256 of each file under results/ that a parameter names, by parameter.
        headline: the run's main number; None until `save`.
    """

    def __init__(self, paper: str, experiment: str, parameters: Mapping, output: str | Path):
        from paraspike.threads import set_threads

        self.paper, self.experiment, self.headline = paper, experiment, None
        # a path inside the repository is kept as one from its root: no machine's paths in results
        inside = f"{paths.root()}{os.sep}"
        self.parameters = {
            k: v.removeprefix(inside) if isinstance(v, str) else v
            for k, v in parameters.items()
            if k != "output"
        }
        self.output = paths.resolve(output)
        if self.output.suffix != ".nc":
            raise ReaderError(f"output {str(output)!r} does not end in .nc", "parameter 'output'")
        if self.parameters.get("seeds") == []:
            raise ReaderError("no seeds are given", "parameter 'seeds'", "seeds = [0]")
        self.inputs = {
            name: sha256(file.read_bytes()).hexdigest()
            for name, file in _result_files(self.parameters)
        }
        self._data: Sequence[Sized] = ()
        self.scale = str(self.parameters.get("scale", "quick"))
        self.backend = backends.resolve(self.parameters.get("backend", "auto"))
        self.code = code_hash(paths.notebook(paper, experiment), self.backend)
        self.threads = set_threads()
        _check_place(self.output)
        self._started, self._clock = datetime.now(UTC), time.perf_counter()
        self._load = os.getloadavg()

    @classmethod
    def begin(cls, namespace: Mapping, paper: str, experiment: str) -> "Run":
        """Take the parameters from a notebook's globals, set the threads, resolve the backend.

        Which names are parameters is read from the notebook's own `parameters` cell.

        Raises:
            ReaderError: no such notebook or cell, a parameter without a value or not fit for JSON,
                an unavailable backend.
        """
        file = paths.notebook(paper, experiment)
        values = {}
        for name in parameter_names(file):
            if name not in namespace:
                hint = "run the parameters cell first"
                raise ReaderError(f"parameter {name!r} has no value", paths.relative(file), hint)
            try:
                values[name] = json.loads(json.dumps(namespace[name]))
            except TypeError as error:
                what = f"parameter {name!r} is a {type(namespace[name]).__name__}"
                hint = "use numbers, text, true/false and lists of them"
                raise ReaderError(what, paths.relative(file), hint) from error
        output = values.get("output", f"results/scratch/{paper}/{experiment}.nc")
        run = cls(paper, experiment, values, output)
        how = f"{run.scale}, {label(run.backend)}, {run.threads} thread(s)"
        print(f"{paper} {experiment}: {how} -> {paths.relative(run.output)}")
        return run

    def reads(self, *data: Sized) -> None:
        """Say which EventData the run uses, right after loading: checkpoints are kept apart by
        their checksums, and `save` records them."""
        self._data = data

    @property
    def checkpoints(self) -> Path:
        """results/.checkpoints/<hash of all the weights depend on, and of `output`: two runs at a
        time share no folder>; gone once the run is saved."""
        output, torch = paths.relative(self.output), version("torch")
        key = [self.paper, self.experiment, self.parameters, self.backend, self.code, output, torch]
        key += _facts(self._data)
        name = sha256(canonical_json(key).encode()).hexdigest()[:20]
        return paths.results(".checkpoints", name)

    def save(
        self,
        dataset: xr.Dataset,
        headline: str,
        weights: Mapping[str, np.ndarray] | None = None,
        timed: bool = False,
        data: Sequence[Sized] | None = None,
        operators: Mapping[str, str] | None = None,
    ) -> Path:
        """Write weights, `.run.json`, then the netCDF; each appears whole or not at all.

        Args:
            dataset: every variable and coordinate has `long_name` and `units` (see `describe`).
            headline: one line, e.g. "LIF 81.2 %, SPSN-SB 84.0 %".
            weights: arrays by name, written to `<output>.weights.npz`.
            timed: the values are times: repetition changes the bytes, device and threads are kept.
            data: the EventData used (name, split, checksum, verified, len); those of `reads`
                unless given.
            operators: operator -> implementation that ran; the backend's own unless given.

        Returns:
            The netCDF's path.

        Raises:
            ReaderError: names the variable that lacks a unit or a name, or the attribute that is no
                text, number or list; times of a simulated backend.
        """
        if timed and self.backend == "ipu":
            raise ReaderError(
                "backend ipu (simulated) gives no measured times",
                f"{self.paper} {self.experiment}",
                "cpu does",
            )
        data = self._data if data is None else data
        attrs = dict(dataset.attrs) | self._attributes(data)
        attrs.setdefault("title", f"{self.paper}: {self.experiment}")
        attrs.setdefault("dataset", ", ".join(sorted({d.name for d in data})) or "none")
        labels = backends.operators(self.backend).labels if operators is None else operators
        attrs["operators"] = canonical_json(dict(labels))
        if timed:
            attrs |= {"timed": 1, "device": device(self.backend), "threads": self.threads}
        check(dataset, attrs)
        if weights is not None:
            file = self.output.with_suffix(".weights.npz")
            write_weights(file, weights)
            attrs["weights_sha256"] = sha256(file.read_bytes()).hexdigest()
        self.headline = headline
        with paths.replacing(self.output.with_suffix(".run.json")) as temporary:
            record = json.dumps(self._record(timed), indent=1, ensure_ascii=False)
            temporary.write_text(f"{record}\n")
        write(dataset.assign_attrs(attrs), self.output)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        print(f"{self.paper} {self.experiment}: {headline}")
        return self.output

    def _attributes(self, data: Sequence) -> dict:
        seeds = self.parameters.get("seeds", self.parameters.get("seed", []))
        return {
            "paper": self.paper,
            "experiment": self.experiment,
            "parameters": canonical_json(self.parameters),
            "seeds": canonical_json(seeds if isinstance(seeds, list) else [seeds]),
            "inputs": canonical_json(self.inputs),
            "data": canonical_json(_facts(data)),
            "data_verified": int(all(d.verified for d in data)),
            "code": self.code,
            "backend": self.backend,
            "scale": self.scale,
            "references": reference(self.paper),
        }

    def _record(self, timed: bool) -> dict:
        revision, dirty = commit()
        return {
            "paper": self.paper,
            "experiment": self.experiment,
            "headline": self.headline,
            "scale": self.scale,
            "backend": self.backend,
            "timed": timed,
            "parameters": self.parameters,
            "code": self.code,
            "commit": revision,
            "dirty": dirty,
            "versions": versions(),
            "device": device(self.backend),
            "driver": driver(self.backend),
            "threads": self.threads,
            "load_before": list(self._load),
            "load_after": list(os.getloadavg()),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "started": self._started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": round(time.perf_counter() - self._clock, 3),
        }


def _facts(data: Sequence) -> list[dict]:
    """What identifies the recordings a run used, one row a set, sorted."""
    used = {(d.name, d.split, len(d), d.checksum, bool(d.verified)) for d in data}
    fields = ("name", "split", "samples", "checksum", "verified")
    return [dict(zip(fields, row, strict=True)) for row in sorted(used)]


def _result_files(parameters: Mapping) -> Iterator[tuple[str, Path]]:
    for name, value in parameters.items():
        file = paths.resolve(value) if isinstance(value, str) and value else None
        if file and file.is_file() and file.is_relative_to(paths.results()):
            yield name, file


def _check_place(output: Path):
    """Refuse, before any work, a file that could not be written after it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir() or not os.access(output.parent, os.W_OK):
            raise PermissionError("a folder, or in one that is not yours")
    except OSError as error:
        raise ReaderError(
            f"output cannot be written: {error}", paths.relative(output), "name another"
        ) from error
