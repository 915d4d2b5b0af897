"""The only way a notebook is executed: papermill, with its rough edges taken off.

Unknown parameters are refused, the kernel talks over sockets in a private folder, the executed
notebook is kept whatever happens, and a failure is told in ten lines, what the reader can cure in
five.
"""

import json
import os
import pprint
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.parameters import check_values, read_parameters
from paraspike.pipeline.lease import gpu, variables_set
from paraspike.threads import environment

AUTOSAVE_SECONDS = 5
SOCKET_PATH_LIMIT = 90
RERUN = """\
# Runs this notebook again with these parameters; the pipeline's own results stay as they are.
from paraspike.pipeline.runner import run_notebook

parameters = {parameters}
run_notebook({notebook!r}, {executed!r}, parameters)
"""


class NotebookFailed(Exception):
    """A notebook stopped; the message is what the reader is told."""


def run_notebook(
    notebook: str | Path,
    executed: str | Path,
    parameters: Mapping | None = None,
    log: str | Path | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> float:
    """Execute a notebook and keep the executed copy, also when it fails.

    Args:
        notebook: the .ipynb to run; paths are relative to the repository.
        executed: where the executed copy goes.
        parameters: values for its parameters cell.
        log: a text file that gets what a failure prints.
        threads: threads of every library in the kernel; None leaves the environment as it is.
        progress: whether tqdm bars inside the notebook are drawn.

    Returns:
        Wall seconds.

    Raises:
        ReaderError: an unknown parameter or a value of the wrong type.
        NotebookFailed: the notebook raised, or its kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    parameters, start = dict(parameters or {}), time.perf_counter()
    source, copy = paths.resolve(notebook), paths.resolve(executed)
    check_values(parameters, read_parameters(source), paths.relative(source))
    copy.parent.mkdir(parents=True, exist_ok=True)
    variables = (environment(threads) if threads else {}) | (
        {} if progress else {"TQDM_DISABLE": "1"}
    )
    with ExitStack() as stack:
        stack.enter_context(variables_set(variables))
        stack.enter_context(_ending_on_sigterm())
        try:
            papermill.execute_notebook(
                source,
                copy,
                parameters,
                kernel_name="python3",
                language="python",
                autosave_cell_every=AUTOSAVE_SECONDS,
                progress_bar=False,
                extra_arguments=["--log-level=50"],
                kernel_manager_class=stack.enter_context(_private_sockets()),
            )
        except papermill.exceptions.PapermillExecutionError as error:
            failure = _told(error, source, copy, log)
        except DeadKernelError:
            failure = _died(source, copy, log)
        else:
            failure = None
        finally:
            if copy.exists():
                _add_rerun_cell(source, copy, parameters)
    if log:
        paths.resolve(log).parent.mkdir(parents=True, exist_ok=True)
        paths.resolve(log).write_text(f"{failure or 'finished'}\n")
    if failure:
        raise NotebookFailed(failure)
    return time.perf_counter() - start


def run_job(job, jobs: list, executed: str, log: str, threads: int) -> None:
    """Run one job of the plan, check what it left, and print one line: headline and what is left.

    Args:
        job: paraspike.pipeline.plan.Job.  jobs: its paper's experiments, for the count.
        executed, log: where the executed notebook and the text log go.
        threads: threads of every library.

    Raises:
        NotebookFailed: the notebook failed, or did not write what it should.
    """
    with gpu(job.backend):
        seconds = run_notebook(job.notebook, executed, job.parameters, log, threads, progress=False)
    missing = [name for name in job.outputs.values() if not (paths.root() / name).is_file()]
    if missing:
        raise NotebookFailed(
            f"{job.notebook} ran to its end but did not write {', '.join(missing)}\n"
            f"  hint: an experiment ends with `run.save(...)`, with weights= if workflow/papers/ "
            f"says weights: true"
        )
    if "record" not in job.outputs:
        print(f"{job.label}, {seconds:.0f} s: {len(job.outputs)} files", flush=True)
        return
    file = paths.root() / job.outputs["record"]
    record = json.loads(file.read_text()) | {"job": job.fingerprint}
    with paths.replacing(file) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    left = sum(not other.done for other in jobs)
    print(
        f"{job.label}, {seconds:.0f} s: {record['headline']} ({left} of {len(jobs)} runs left)",
        flush=True,
    )


@contextmanager
def _ending_on_sigterm():
    """SIGTERM becomes an exception, so that papermill saves the notebook and ends the kernel."""

    def end(*_):
        raise SystemExit(143)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _private_sockets():
    """A kernel manager over IPC: TCP ports are chosen before use, so parallel kernels collide."""
    from jupyter_client.manager import AsyncKernelManager

    folder = tempfile.mkdtemp(prefix="paraspike-")
    sockets = os.path.join(folder, "kernel")
    short = len(sockets) < SOCKET_PATH_LIMIT and os.name == "posix"
    body = {"transport": "ipc", "ip": sockets} if short else {}
    try:
        yield type("PrivateKernelManager", (AsyncKernelManager,), body)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add_rerun_cell(source: Path, copy: Path, parameters: Mapping) -> None:
    import nbformat

    by_hand = dict(parameters)
    scratch = f"results/scratch/{source.parent.name}/{source.stem}"
    if "output" in by_hand:
        by_hand["output"] = scratch + Path(by_hand["output"]).suffix
    text = RERUN.format(
        parameters=pprint.pformat(by_hand, width=96),
        notebook=paths.relative(source),
        executed=scratch + ".ipynb",
    )
    book = nbformat.read(copy, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(text, metadata={"tags": ["rerun"]}))
    with paths.replacing(copy) as temporary:
        nbformat.write(book, temporary)


def _told(error, source: Path, copy: Path, log: str | Path | None) -> str:
    """Ten lines: notebook, cell, source line, exception, deepest own line, files to open.

    A ReaderError says all that is needed: it is told in at most four lines, and the file to open.
    """
    if error.ename == ReaderError.__name__:
        return "\n".join([*str(error.evalue).splitlines()[:4], *_files_to_open(copy)])
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    arrows = re.findall(r"Cell In\[\d+\], line (\d+)", trace)
    line = int(arrows[-1]) if arrows else 1
    code = error.source.splitlines()
    own = re.findall(r"File (\S*paraspike\S*\.py):(\d+),? in ([^\n(]+)", trace)
    message = [
        f"{error.ename}: {row}" if i == 0 else f"  {row}"
        for i, row in enumerate(str(error.evalue).splitlines()[:4] or [""])
    ]
    return "\n".join(
        [
            f"{paths.relative(source)} stopped in cell [{error.exec_count}], line {line}:",
            f"    {code[min(line, len(code)) - 1].strip() if code else ''}",
            *message,
            *(
                f"  raised in {_short(file)}, line {number}, in {where.strip()}"
                for file, number, where in own[-1:]
            ),
            *_files_to_open(copy, log),
        ]
    )


def _died(source: Path, copy: Path, log: str | Path | None) -> str:
    return "\n".join(
        [
            f"{paths.relative(source)}: its kernel died without an exception",
            "  hint: it was killed or memory ran out; `snakemake estimate` names the largest runs",
            *_files_to_open(copy, log),
        ]
    )


def _files_to_open(copy: Path, log: str | Path | None = None) -> list[str]:
    shown = [f"  open: {paths.relative(copy)} (`make lab`); its last cell runs it again"]
    return shown + ([f"  log: {paths.relative(paths.resolve(log))}"] if log else [])


def _short(file: str) -> str:
    return paths.relative(Path(os.path.expanduser(file)).resolve())


def main_of_job(job, jobs: list, executed: str, log: str, threads: int) -> None:
    """`run_job` for a script: a failure's lines go to standard error, the exit status is 1."""
    try:
        run_job(job, jobs, executed, log, threads)
    except (NotebookFailed, ReaderError) as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(1)
