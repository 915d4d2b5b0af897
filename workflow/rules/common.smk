"""Helpers of the rules."""

from functools import cache


@cache
def located(name):
    """The files of a fetched data set, verified once."""
    from paraspike.datasets.locate import locate

    unverified = PLAN.config.settings.allow_unverified_data
    splits = [locate(name, split, allow_unverified=unverified) for split in ("train", "test")]
    return [str(found.path) for files in splits for found in files]


def dataset_files(job):
    """An input function: a job's data files, or the message that names the cure."""

    def files(wildcards):
        try:
            return [file for name in job.datasets for file in located(name)]
        except ReaderError as error:
            sys.exit(str(error))

    return files if job.datasets else []


def captioned(paper, figure, file):
    """A figure's file; the SVG goes into the report with its caption."""
    if not file.endswith(".svg"):
        return file
    name = figure.removesuffix("_svg")
    title = PLAN.papers[paper].figures[name]
    return report(
        file,
        caption=f"../report/{paper}/{name}.rst",
        category=PLAN.papers[paper].title,
        labels={"figure": title},
    )
