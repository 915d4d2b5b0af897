"""A run and its files: a netCDF that repeats byte for byte, and the circumstances beside it."""

import json
import os
import resource
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import xarray as xr
import yaml

from paraspike import backends, paths
from paraspike.errors import ReaderError
from paraspike.machine import commit, device, driver, versions
from paraspike.merging import collect, merge_parts
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

__all__ = [
    "Run",
    "collect",
    "describe",
    "load_weights",
    "merge_parts",
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
        headline: the run's main number; None until `save`.
    """

    def __init__(self, paper: str, experiment: str, parameters: Mapping, output: str | Path):
        from paraspike.provenance import code_hash
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
        self.scale = str(self.parameters.get("scale", "quick"))
        self.backend = backends.resolve(self.parameters.get("backend", "auto"))
        self.code = code_hash(paths.notebook(paper, experiment), self.backend)
        self.threads = set_threads()
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
        how = f"{run.scale}, {run.backend}, {run.threads} thread(s)"
        print(f"{paper} {experiment}: {how} -> {paths.relative(run.output)}")
        return run

    @property
    def checkpoints(self) -> Path:
        """results/.checkpoints/<hash of parameters, backend, code>; gone once the run is saved."""
        key = [self.paper, self.experiment, self.parameters, self.backend, self.code]
        name = sha256(canonical_json(key).encode()).hexdigest()[:20]
        return paths.results(".checkpoints", name)

    def save(
        self,
        dataset: xr.Dataset,
        headline: str,
        weights: Mapping[str, np.ndarray] | None = None,
        timed: bool = False,
        data: Sequence = (),
        operators: Mapping[str, str] | None = None,
    ) -> Path:
        """Write weights, `.run.json`, then the netCDF; each appears whole or not at all.

        Args:
            dataset: every variable and coordinate has `long_name` and `units` (see `describe`).
            headline: one line, e.g. "LIF 81.2 %, SPSN-SB 84.0 %".
            weights: arrays by name, written to `<output>.weights.npz`.
            timed: the values are times: repetition changes the bytes, device and threads are kept.
            data: the EventData used (name, split, checksum, verified, len).
            operators: operator -> implementation that ran; the backend's own unless given.

        Returns:
            The netCDF's path.

        Raises:
            ReaderError: names the variable that lacks a unit or a name, or the attribute that is no
                text, number or list.
        """
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
        papers = yaml.safe_load(paths.published("papers.yaml").read_text())
        seeds = self.parameters.get("seeds", self.parameters.get("seed", []))
        used = {(d.name, d.split, len(d), d.checksum, bool(d.verified)) for d in data}
        fields = ("name", "split", "samples", "checksum", "verified")
        return {
            "paper": self.paper,
            "experiment": self.experiment,
            "parameters": canonical_json(self.parameters),
            "seeds": canonical_json(seeds if isinstance(seeds, list) else [seeds]),
            "data": canonical_json([dict(zip(fields, row, strict=True)) for row in sorted(used)]),
            "data_verified": int(all(row[-1] for row in used)),
            "code": self.code,
            "backend": self.backend,
            "scale": self.scale,
            "references": papers[self.paper]["reference"],
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
