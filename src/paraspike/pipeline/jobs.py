"""The jobs of the workflow: where each one's files lie, and what makes it run again."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from paraspike import paths
from paraspike.pipeline.config import Config
from paraspike.pipeline.description import Paper
from paraspike.provenance import code_hash, reference


def place(run: str, folder: str, paper: str, experiment: str, part: str, suffix: str) -> str:
    """results/<run>/<folder>/<paper>/<experiment>[/<part>]<suffix>."""
    return "/".join(filter(None, ("results", run, folder, paper, experiment, part))) + suffix


@dataclass(frozen=True)
class Job:
    """One execution of one notebook; every path is relative to the repository.

    Attributes:
        part: "" for a whole experiment, else the values this part holds, as a file name.
        timed_threads: threads of a run that measures time, which its result depends on; None of
            others.
        parameters: what the notebook's cell is overridden with.
        outputs: files it writes, by kind (data, record, weights; or by figure).
        needs: result files and published tables it reads.  datasets: fetched data sets it reads.
    """

    paper: str
    experiment: str
    part: str
    run: str
    backend: str
    timed_threads: int | None
    parameters: dict[str, Any]
    outputs: dict[str, str]
    needs: list[str]
    datasets: list[str]

    @property
    def timed(self) -> bool:
        """Whether it measures time, so that it runs alone."""
        return self.timed_threads is not None

    @property
    def label(self) -> str:
        """As in messages: `spsn augmentation` and the part, if any."""
        return " ".join(filter(None, (self.paper, self.experiment, self.part)))

    @property
    def name(self) -> str:
        """As the rule is called."""
        return re.sub(r"\W+", "_", self.label)

    @property
    def notebook(self) -> str:
        """The notebook in git."""
        return f"notebooks/{self.paper}/{self.experiment}.ipynb"

    def place(self, folder: str, suffix: str) -> str:
        """results/<run>/<folder>/<paper>/<experiment>[/<part>]<suffix>."""
        return place(self.run, folder, self.paper, self.experiment, self.part, suffix)

    @property
    def merged(self) -> dict[str, str]:
        """Where the parts of this experiment are joined: data and weights."""
        suffixes = {"data": ".nc", "weights": ".weights.npz"}
        return {
            kind: place(self.run, "runs", self.paper, self.experiment, "", suffix)
            for kind, suffix in suffixes.items()
            if kind in self.outputs
        }

    @cached_property
    def code(self) -> str:
        """Hash of the code cells and of all they import; plots count for figures only."""
        exclude = () if self.experiment == "figures" else ("plots",)
        return code_hash(paths.root() / self.notebook, self.backend, exclude)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Beside its input files, what a job's outputs depend on: when one of these texts changes,
        Snakemake runs it again."""
        return {
            "code": self.code,
            "parameters": json.dumps(self.parameters, sort_keys=True),
            "reference": reference(self.paper),
            "threads": str(self.timed_threads or "any"),
        }

    @property
    def fingerprint(self) -> str:
        """Stands for the identity in the run's record."""
        return sha256("".join(self.identity.values()).encode()).hexdigest()[:16]

    @property
    def done(self) -> bool:
        """Whether this very job, of the same identity, has left its record."""
        try:
            record = json.loads((paths.root() / self.outputs["record"]).read_text())
        except (OSError, ValueError):
            return False
        return record.get("job") == self.fingerprint


@dataclass(frozen=True)
class Plan:
    """Everything one call of the workflow may run: experiments, and one figures job a paper; `left_out`
    names experiments that the backend cannot run."""

    config: Config
    papers: dict[str, Paper]
    jobs: list[Job]
    figures: dict[str, Job]
    left_out: list[str] = field(default_factory=list)

    @property
    def environment(self) -> str:
        """The conda environment of the rules."""
        return f"envs/{'cuda' if self.config.backend == 'cuda' else 'cpu'}.yaml"

    def module_code(self, *modules: str) -> str:
        """One hash for modules named below paraspike (those that exist) and all they import."""
        files = [paths.root() / "src" / "paraspike" / f"{module}.py" for module in modules]
        hashes = [code_hash(file, self.config.backend) for file in files if file.is_file()]
        return sha256("".join(hashes).encode()).hexdigest()

    def of(self, paper: str) -> list[Job]:
        """A paper's experiments."""
        return [job for job in self.jobs if job.paper == paper]

    def split(self) -> dict[tuple[str, str], list[Job]]:
        """The parts of every experiment that is cut into jobs, by (paper, experiment)."""
        found: dict[tuple[str, str], list[Job]] = {}
        for job in self.jobs:
            if job.part:
                found.setdefault((job.paper, job.experiment), []).append(job)
        return found

    def measured(self, paper: str) -> list[str]:
        """One netCDF an experiment, parts merged."""
        names = [place(job.run, "runs", paper, job.experiment, "", ".nc") for job in self.of(paper)]
        return list(dict.fromkeys(names))
