"""What a contestant computed, beside what the torch loop did."""

import numpy as np

from benchmarks.workloads import Workload

# Outputs count as the same below these relative differences: spikes near threshold may fall either
# way when sums are rounded in another order, and later spikes follow them.
SAME_SPIKES, SAME_GRADIENTS = 1e-2, 5e-2


def differences(found: dict, truth: dict) -> tuple[bool, str]:
    """Whether outputs are the same as the yardstick's, and in words by how much they differ."""

    def relative(name):
        a, b = found[name].astype(float), truth[name].astype(float)
        return float(np.abs(a - b).sum() / max(np.abs(b).sum(), 1e-30))

    def part(prefix, floor):
        names = [n for n in truth if n.startswith(prefix)]
        if any(n not in found or found[n].shape != truth[n].shape for n in names):
            return False, [f"no {prefix} to compare"]
        far = [relative(name) for name in names]
        words = " / ".join(f"{100 * d:.3g} %" for d in far)
        return max(far, default=0.0) <= floor, [f"{prefix} by {words}"] if far else []

    same, words = True, []
    for prefix, floor in (
        ("spikes", SAME_SPIKES),
        ("weights", SAME_GRADIENTS),
        ("loss", SAME_SPIKES),
        ("gradient", SAME_GRADIENTS),
    ):
        near, text = part(prefix, floor)
        same &= near
        words += text
    return same, ("same outputs, up to: " if same else "differs: ") + ", ".join(words)


def densities(workload: Workload, outputs: dict) -> list[float]:
    """Densities of the layers' inputs, and of the output last, from the spikes of each layer."""
    hidden = [outputs[name] for name in sorted(outputs) if name.startswith("spikes")]
    return [workload.density, *(float(h.sum() / h.size / workload.steps) for h in hidden)]
