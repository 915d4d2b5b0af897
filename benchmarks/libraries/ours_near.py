"""Ours, learning only near threshold: what is gained, and what is lost, by a surrogate with a band."""

from functools import partial

from benchmarks.libraries import ours

BAND = 0.2
PACKAGES = ours.PACKAGES
DIFFERS = (
    f"surrogate zero farther than {BAND} from threshold: drops what neurons there would learn, so that "
    "its gradients are others; never compared with peers"
)
build = partial(ours.build, band=BAND)


def modes(workload):
    return ("Layer",) if workload.kind == "train" and workload.name != "W2d" else ()
