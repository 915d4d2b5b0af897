"""The sweep of the SNN benchmark over threads, in a process that is started as the authors started theirs.

Our own runs tell OpenMP's threads to sleep and count one thread; the published baseline would then be half as
fast.
"""

import multiprocessing
import os

import numpy as np

from paraspike.errors import ReaderError
from paraspike.papers import multithreading_throughput as paper
from paraspike.papers.multithreading_peer import installed
from paraspike.threads import as_others_start


def sweep(
    images: np.ndarray,
    arms,
    codings,
    batches,
    threads,
    forms,
    devices,
    batches_per_run: int,
    repeats: int,
    loop_repeats: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Every arm, form, coding, batch size and thread count.

    Args:
        images: uint8 [n, 28, 28].  repeats: timed runs; loop_repeats: the same for a `Job` that `loops`.

    Returns:
        seconds per image [device, arm, form, coding, batch, threads, repeat], NaN where nothing was asked;
        disturbed, the same without repeat; encoding [arm, coding, repeat] per image; peer, BindsNET's seconds
        [arm, coding, batch, repeat].
    """
    shape = tuple(map(len, (devices, arms, forms, codings, batches, threads)))
    seconds, disturbed = np.full((*shape, repeats), np.nan), np.zeros(shape)
    encoding = np.full((len(arms), len(codings), repeats), np.nan)
    peer = np.full((len(arms), len(codings), len(batches), repeats), np.nan)
    for d, a, c, b in np.ndindex(shape[0], shape[1], shape[3], shape[4]):
        data = paper.batches_of(images, batches[b], batches_per_run)
        count = batches[b] * batches_per_run
        job = paper.Job(arms[a], codings[c], data, device=devices[d], seed=seed)
        runs = loop_repeats if job.loops else repeats
        for f, k in np.ndindex(len(forms), len(threads)):
            if forms[f] == "queue" and (
                job.coding != "rate" or not job.published or not threads[k]
            ):
                continue
            timing = paper.time_job(job, forms[f], threads[k], runs)
            seconds[d, a, f, c, b, k, :runs] = timing.seconds / count
            disturbed[d, a, f, c, b, k] = timing.disturbed
        if d == 0 and b == 0:
            encoding[a, c, :runs] = paper.time_encoding(job, runs).seconds / count
        if d == 0 and installed():
            theirs = paper.Job(arms[a], codings[c], data, seed=seed, peer=True)
            peer[a, c, b] = paper.time_job(theirs, "serial", 0, repeats).seconds / count
    return {"seconds": seconds, "disturbed": disturbed, "encoding": encoding, "peer": peer}


def in_own_process(**settings) -> dict[str, np.ndarray]:
    """`sweep` in a process of its own, which ends with this one.

    Raises:
        ReaderError: the sweep failed; the message is its own.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, os.getpid(), settings), daemon=True)
    with as_others_start():
        process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError as error:
        raise ReaderError(
            "the process of the sweep ended by itself", "multithreading_sweep"
        ) from error
    finally:
        process.terminate()
        process.join()
    if isinstance(answer, Exception):
        raise ReaderError(f"the sweep failed: {answer}", "multithreading_sweep") from answer
    return answer


def _serve(pipe, parent, settings):
    _end_with(parent)
    try:
        pipe.send(sweep(**settings))
    except KeyboardInterrupt:
        return
    except Exception as error:
        pipe.send(error)


def _end_with(parent: int) -> None:
    """End this process within a second of its parent's end."""
    import threading
    import time

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
