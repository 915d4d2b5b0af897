"""The three stand-in networks of the pipelining experiments, and what their tasks multiply, read and write."""

from dataclasses import dataclass

from paraspike.errors import ReaderError


@dataclass(frozen=True)
class Widths:
    """Bits of a number (sheet, section 5: operands of F are 1 bit, of B and W full precision).

    Attributes:
        spike: a spike where F reads or writes it.  value: a weight, an error, a gradient.
        operand: a spike where W reads it, as a full-precision operand; 1 would be what it carries.
        window: whether the surrogate's window was open, kept beside the spike for the way back.
    """

    spike: int = 1
    value: int = 32
    operand: int = 32
    window: int = 1


WIDTHS = Widths()


@dataclass(frozen=True)
class Layer:
    """A synaptic layer in front of LIF neurons (the last one in front of the readout).

    Attributes:
        n_in, n_out: channels of a convolution, neurons of a dense layer.
        side: pixels along a square plane, in and out alike (same padding); 1 for a dense layer.
        kernel: pixels along a square kernel; 1 for a dense layer.
        pool: planes are halved along both sides after the neurons; pooling costs no cycles.
    """

    n_in: int
    n_out: int
    side: int = 1
    kernel: int = 1
    pool: bool = False

    @property
    def parameters(self) -> int:
        """Weights: n_in kernel^2 n_out; biases are not counted."""
        return self.n_in * self.kernel**2 * self.n_out

    @property
    def inputs(self) -> int:
        """Numbers that come in at one time step of one sample."""
        return self.n_in * self.side**2

    @property
    def neurons(self) -> int:
        """Neurons, before pooling."""
        return self.n_out * self.side**2

    @property
    def outputs(self) -> int:
        """Numbers that go on to the next layer at one time step of one sample, after pooling."""
        return self.neurons // 4 if self.pool else self.neurons

    def gemm(self, kind: str, rows: int) -> tuple[int, int, int]:
        """(m, k, n) of a task: [m, k] x [k, n] (sheet, section 5).

            F  (rows P) x (n_in kernel^2) x n_out       the convolution unfolded, all steps at once
            B  (rows P) x (n_out kernel^2) x n_in       dx = the error convolved with the turned kernel
            W  (n_in kernel^2) x (rows P) x n_out       dW = sum over samples, steps and pixels

        Args:
            kind: F, B or W.  rows: samples times time steps; P = side^2 pixels are multiplied to it.
        """
        pixels, area = rows * self.side**2, self.kernel**2
        return {
            "F": (pixels, self.n_in * area, self.n_out),
            "B": (pixels, self.n_out * area, self.n_in),
            "W": (self.n_in * area, pixels, self.n_out),
        }[kind]


@dataclass(frozen=True)
class Network:
    """Layers in a row, run for `steps` time steps."""

    name: str
    steps: int
    layers: tuple[Layer, ...]

    def __post_init__(self):
        if not self.layers or self.steps < 1:
            raise ReaderError(
                f"network {self.name}: {len(self.layers)} layers, {self.steps} steps", "Network"
            )
        for number, (layer, following) in enumerate(
            zip(self.layers, self.layers[1:], strict=False), 1
        ):
            if layer.outputs != following.inputs:
                raise ReaderError(
                    f"network {self.name}: layer {number} gives {layer.outputs} numbers, "
                    f"layer {number + 1} takes {following.inputs}",
                    "Network",
                )

    @property
    def depth(self) -> int:
        """L, layers with weights."""
        return len(self.layers)

    @property
    def parameters(self) -> int:
        """Weights of all layers."""
        return sum(layer.parameters for layer in self.layers)

    def tasks(self) -> tuple[tuple[str, int], ...]:
        """(kind, layer from 1) of every task in an order their dependencies allow: F_1 .. F_L, then
        B_l, W_l from L down. The first layer has no B: nobody asks for the input's error."""
        return task_order(self.depth)

    def data(self, batch: int, widths: Widths = WIDTHS) -> dict[tuple[str, int], int]:
        """Bits of everything that passes between tasks, for `batch` samples; layer l from 1.

        Keys:
            ("spikes", l): spikes into layer l, as F reads them.  ("operand", l): the same, as W reads them.
            ("state", l): spike and window of l's neurons, which turn dS into dI on the way back; none
                for the readout, which is linear.
            ("error", l): dS of layer l after pooling, 32 bit; for the readout dlogits, one number a class
                and sample (the same for all steps but the last).
            ("weights", l): weights of layer l, or their gradient, or their update.
        """
        bits = {}
        for number, layer in enumerate(self.layers, 1):
            rows, last = batch * self.steps, number == self.depth
            bits["spikes", number] = rows * layer.inputs * widths.spike
            bits["operand", number] = rows * layer.inputs * widths.operand
            bits["state", number] = (
                0 if last else rows * layer.neurons * (widths.spike + widths.window)
            )
            bits["error", number] = (
                batch * layer.n_out if last else rows * layer.outputs
            ) * widths.value
            bits["weights", number] = layer.parameters * widths.value
        return bits

    def traffic(self, kind: str, layer: int, batch: int, widths: Widths = WIDTHS):
        """(bits read, bits written) by one task, each operand counted once (no re-reads by folds).

        F_l reads spikes, weights; writes the next layer's spikes and its own state (F_L: dlogits)
        B_l reads error and state of l, weights; writes error of l - 1
        W_l reads error and state of l, spikes into l as operand; writes weights
        """
        bits = self.data(batch, widths)
        back = bits["error", layer] + bits["state", layer]
        if kind == "F":
            last = layer == self.depth
            written = bits["error", layer] if last else bits["spikes", layer + 1]
            return bits["spikes", layer] + bits["weights", layer], written + bits["state", layer]
        if kind == "B":
            return back + bits["weights", layer], bits["error", layer - 1]
        return back + bits["operand", layer], bits["weights", layer]


def task_order(depth: int) -> tuple[tuple[str, int], ...]:
    """(kind, layer) of the 3 L - 1 tasks in an order their dependencies allow."""
    forward = [("F", layer) for layer in range(1, depth + 1)]
    backward = [(kind, layer) for layer in range(depth, 0, -1) for kind in "BW"]
    return tuple(forward + backward[:-2] + backward[-1:])


def dense(*sizes: int) -> tuple[Layer, ...]:
    """Dense layers from size to size."""
    return tuple(Layer(a, b) for a, b in zip(sizes, sizes[1:], strict=False))


def conv(n_in: int, n_out: int, side: int, pool: bool = False) -> Layer:
    """A 3 x 3 convolution with same padding on planes of side x side."""
    return Layer(n_in, n_out, side, 3, pool)


# Stand-ins of ours (assumption A4; shapes: sheet, section 4); the paper's three networks are not known.
NETWORKS = {
    "mlp3": Network("mlp3", 20, dense(784, 512, 256, 10)),
    "amr4": Network(
        "amr4", 64, (conv(1, 32, 16, True), conv(32, 64, 8, True), *dense(1024, 128, 11))
    ),
    "vgg8": Network(
        "vgg8",
        10,
        (
            conv(2, 64, 32),
            conv(64, 128, 32, True),
            conv(128, 128, 16),
            conv(128, 256, 16, True),
            conv(256, 256, 8),
            conv(256, 512, 8, True),
            *dense(8192, 256, 10),
        ),
    ),
}


def network(name: str) -> Network:
    """A stand-in network by its name: mlp3, amr4 or vgg8.

    Raises:
        ReaderError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ReaderError(
            f"network {name!r} is unknown",
            "paraspike.pipelining.networks",
            f"one of {', '.join(NETWORKS)}",
        )
    return NETWORKS[name]
