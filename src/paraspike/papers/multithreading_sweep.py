"""The sweep of the SNN benchmark over coding, batch size, crew and threads."""

import numpy as np

from paraspike.papers import multithreading_throughput as paper
from paraspike.papers.multithreading_peer import installed


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
