"""What a paper consists of: workflow/papers/<paper>.yaml."""

from pydantic import Field

from paraspike import paths
from paraspike.pipeline.config import Model, read_yaml, validate


class Experiment(Model):
    """One notebook of a paper: what it needs, what it leaves, what it costs."""

    timed: bool = Field(False, description="Measures time, so it runs alone.")
    weights: bool = Field(False, description="Also writes <experiment>.weights.npz.")
    needs: dict[str, str] = Field(
        {}, description="Parameter -> experiment whose weights file it is given."
    )
    split: list[str] = Field(
        [], description="List parameters that may be cut into one job per value."
    )
    work: str = Field("1", description="Units of work as an expression over the parameters.")
    seconds_per_unit: float = Field(
        60.0, description="Used where no quick run of this machine is found."
    )
    memory: str = Field("1000", description="MB at the peak, as an expression over the parameters.")
    disk: str = Field("1", description="MB left behind, as an expression over the parameters.")


class Paper(Model):
    """workflow/papers/<paper>.yaml."""

    title: str = Field(description="As the report shows it.")
    budget: float = Field(description="Wall seconds allowed at quick scale on two cores.")
    datasets: list[str] = Field(
        [], description="What the top-level `dataset` may be, besides embedded."
    )
    experiments: dict[str, Experiment] = Field(
        description="By notebook name, in the order they run."
    )
    figures: dict[str, str] = Field(
        description="Figure -> title; captions in workflow/report/<paper>/."
    )


def read_papers() -> dict[str, Paper]:
    """Every paper that workflow/papers/ describes, by file name.

    Raises:
        ReaderError: a file with an unknown key or a wrong type.
    """
    files = sorted((paths.root() / "workflow" / "papers").glob("*.yaml"))
    return {file.stem: validate(Paper, read_yaml(file), paths.relative(file)) for file in files}
