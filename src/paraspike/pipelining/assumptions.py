"""What the paper leaves unknown, and what is assumed instead: the table printed with every figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """One unknown of the paper.  id: A1 to A11.  text: what is assumed.  enters: where it matters."""

    id: str
    text: str
    enters: str


# The register at the end of the sheet.
_REGISTER = (
    Assumption(
        "A1",
        "The neuron is the bilinear LIF section of the first author's public code, fitting figures 1-3 and 5",
        "neuron, training",
    ),
    Assumption(
        "A2",
        "The surrogate is a rectangle, alpha = 0.5, its window on the potential after reset",
        "backward pass, accuracy",
    ),
    Assumption(
        "A3",
        "The readout is W (2 sum_t x[t] - x[T]), linear in the spikes",
        "output layer, accuracy",
    ),
    Assumption(
        "A4",
        "Networks, data and time steps are stand-ins: mlp3 (T 20), amr4 (T 64), vgg8 (T 10)",
        "all figures",
    ),
    Assumption(
        "A5", "Identical systolic arrays of 32 x 32, and of 128 x 128, multipliers", "cycle model"
    ),
    Assumption(
        "A6",
        "F output-, B weight-, W output-stationary; folds one after the other, no stalls for memory, "
        "sparsity not exploited, neurons and pooling free, no B for the first layer",
        "cycle model",
    ),
    Assumption(
        "A7",
        "Delays are 2 (L - l) updates, B_l reads the weight version F_l read (stash)",
        "accuracy under delay",
    ),
    Assumption(
        "A8",
        "Algorithm 1 is like McNaughton's wrap-around: processors are filled in turn, the task that "
        "overflows is split between neighbours",
        "schedules, communication",
    ),
    Assumption(
        "A9",
        "Standard pipelining is a contiguous partition of layers, F + B + W of a layer one task",
        "speedups",
    ),
    Assumption(
        "A10",
        "Speedup is all task cycles over the period; overhead is the bits moved beyond those of a "
        "contiguous partition, over all bits read and written; spikes are 1 bit in F, 32 in W, all else 32",
        "speedups, communication",
    ),
    Assumption("A11", "One period trains on one (micro)batch", "schedules, accuracy"),
)


def assumptions(*ids: str) -> tuple[Assumption, ...]:
    """The register A1 to A11, or the entries of these ids in the register's order."""
    return tuple(row for row in _REGISTER if not ids or row.id in ids)


def table(*ids: str) -> str:
    """The register as lines of text to print beside a figure: id, assumption, where it enters."""
    return "\n".join(f"{row.id:<4}{row.text}  [{row.enters}]" for row in assumptions(*ids))
